//! Client certificates, put by the API and presented by `curl`.

use std::path::{Path, PathBuf};

use proxima_control::FIRST_ACCOUNT;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use super::*;

/// An authority's PEM, and a certificate of it with its key, in files.
pub(crate) struct Identity {
    pub(crate) authority: String,
    files: [PathBuf; 2],
}

impl Identity {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let authority = parameters.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(parameters, key);
        let key = KeyPair::generate().unwrap();
        let client = CertificateParams::new(["client".to_owned()]).unwrap();
        let certificate = client.signed_by(&key, &issuer).unwrap().pem();
        let files = [folder.join(format!("{name}.pem")), folder.join(format!("{name}.key"))];
        std::fs::write(&files[0], certificate).unwrap();
        std::fs::write(&files[1], key.serialize_pem()).unwrap();
        Self { authority, files }
    }

    /// `curl`'s options.
    fn options(&self) -> [&str; 4] {
        ["--cert", self.files[0].to_str().unwrap(), "--key", self.files[1].to_str().unwrap()]
    }
}

fn ok(dev: &Dev, method: &str, path: &str, body: &Value) -> Value {
    let (code, answer) = dev.api(method, path, Some(body), None);
    assert_eq!(code, "200", "{answer}");
    answer["result"].clone()
}

#[test]
fn a_host_with_client_authentication_answers_nobody_without_a_certificate_that_holds() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (Identity::new(folder.path(), "ours"), Identity::new(folder.path(), "others"));
    let url = dev.https_url(HOST, "/page");
    // It is in the cache from before.
    dev.curl_until(&["-sSi", &url], "cf-cache-status: HIT");

    let authorities = format!("/accounts/{FIRST_ACCOUNT}/mtls_certificates");
    let uploaded = ok(&dev, "POST", &authorities, &json!({"ca": true, "certificates": ours.authority}));
    let associations =
        format!("/zones/{}/certificate_authorities/hostname_associations", dev.zone("example.com"));
    let associate = |hosts: &[&str]| {
        let body = json!({"hostnames": hosts, "mtls_certificate_id": uploaded["id"], "enforce": true});
        ok(&dev, "PUT", &associations, &body);
    };
    associate(&[HOST]);
    dev.curl_until(&["-sSi", &url], " 403");
    for how in [&["--http1.1", "--tls-max", "1.2"][..], &["--http2", "--tls-max", "1.2"], &["--http2"]] {
        let ask = |more: &[&str]| dev.curl(&[&["-sSi"], how, more, &[&url]].concat());
        let refused = ask(&[]);
        assert!(refused.contains(" 403") && !refused.contains("the page"), "{how:?}: {refused}");
        let refused = ask(&others.options());
        assert!(refused.contains(" 403") && !refused.contains("the page"), "{how:?}: {refused}");
        let answered = ask(&ours.options());
        assert!(
            answered.contains("cf-cache-status: HIT") && answered.contains("the page"),
            "{how:?}: {answered}"
        );
        // What it stores for who has one is not for who has none.
        let own = dev.https_url(HOST, &format!("/own{}", how.len()));
        dev.curl_until(&[&["-sSi"], how, &ours.options(), &[own.as_str()]].concat(), "cf-cache-status: HIT");
        assert!(dev.curl(&[&["-sSi"], how, &[own.as_str()]].concat()).contains(" 403"));
    }
    let clear = dev.curl(&["-sSi", &dev.http_url(HOST, "/page")]);
    assert!(clear.contains(" 403"), "{clear}");
    let told = dev.proxima(&["explain", &url]);
    assert!(told.contains("client certificates") && told.contains("none was presented"), "{told}");

    associate(&[]);
    dev.curl_until(&["-sSi", &url], "cf-cache-status: HIT");
}

//! Authorities of client certificates, and the hosts that are associated with them.

use proxima_control::FIRST_ACCOUNT;
use proxima_model::ClientAuthentication;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::harness::Node;

fn authority() -> Value {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    json!({"ca": true, "certificates": pem, "name": "devices"})
}

#[tokio::test]
async fn an_authority_is_uploaded_associated_with_hosts_and_only_then_deleted() {
    let node = Node::start().await;
    let authorities = format!("/accounts/{FIRST_ACCOUNT}/mtls_certificates");
    let associations =
        format!("/zones/{}/certificate_authorities/hostname_associations", node.zone("example.com").await);
    let uploaded = node.ok("POST", &authorities, Some(authority())).await;
    let id = uploaded["id"].as_str().unwrap();
    assert_eq!((&uploaded["ca"], &uploaded["name"]), (&json!(true), &json!("devices")));
    assert_eq!(node.ok("GET", &authorities, None).await, json!([uploaded]));
    let one = format!("{authorities}/{id}");
    assert_eq!(node.ok("GET", &one, None).await, uploaded);

    let of_it = format!("{associations}?mtls_certificate_id={id}");
    let none = json!({"hostnames": [], "enforce": false});
    assert_eq!(node.ok("GET", &of_it, None).await, none);
    let hosts = ["WWW.example.com", "example.com", "www.example.com"];
    let body = json!({"hostnames": hosts, "mtls_certificate_id": id, "enforce": true});
    let shown = json!({"hostnames": ["example.com", "www.example.com"], "enforce": true});
    assert_eq!(node.ok("PUT", &associations, Some(body)).await, shown);
    assert_eq!(node.ok("GET", &of_it, None).await, shown);
    let fewer = json!({"hostnames": ["www.example.com"], "mtls_certificate_id": id});
    assert_eq!(
        node.ok("PUT", &associations, Some(fewer)).await["enforce"],
        true,
        "who says nothing keeps it"
    );

    assert_eq!(node.refused("DELETE", &one, None).await, (400, 1302));
    let ended = json!({"hostnames": [], "mtls_certificate_id": id});
    assert_eq!(node.ok("PUT", &associations, Some(ended)).await, none);
    node.ok("DELETE", &one, None).await;
    assert_eq!(node.refused("GET", &one, None).await, (404, 1301));
    assert_eq!(node.refused("GET", &of_it, None).await, (404, 1301));
}

#[tokio::test]
async fn what_cannot_verify_or_is_not_the_zones_is_refused() {
    let node = Node::start().await;
    let authorities = format!("/accounts/{FIRST_ACCOUNT}/mtls_certificates");
    let zone = node.zone("example.com").await;
    let associations = format!("/zones/{zone}/certificate_authorities/hostname_associations");
    let leaf = rcgen::generate_simple_self_signed(["www.example.com".to_owned()]).unwrap().cert.pem();
    for (body, expected) in [
        (json!({"ca": true, "certificates": leaf}), (400, 1302)),
        (json!({"ca": true, "certificates": "nonsense"}), (400, 1302)),
        (json!({"ca": false, "certificates": leaf}), (400, 1107)),
        (json!({"ca": true, "certificates": leaf, "private_key": "x"}), (400, 1107)),
    ] {
        assert_eq!(node.refused("POST", &authorities, Some(body)).await, expected);
    }

    // Another account's is none for this one's zones.
    let other = node.account("other").await;
    let theirs = node.ok("POST", &format!("/accounts/{other}/mtls_certificates"), Some(authority())).await;
    let ours = node.ok("POST", &authorities, Some(authority())).await;
    for (host, id, expected) in [
        ("www.example.com", &theirs["id"], (404, 1301)),
        ("www.example.com", &json!("nonsense"), (404, 1301)),
        ("www.example.com", &json!(null), (400, 1107)),
        ("www.example.net", &ours["id"], (400, 1302)),
        ("*.example.com", &ours["id"], (400, 1302)),
    ] {
        let body = json!({"hostnames": [host], "mtls_certificate_id": id});
        assert_eq!(node.refused("PUT", &associations, Some(body)).await, expected, "{host} {id}");
    }
    let too_many: Vec<_> = (0..101).map(|number| format!("h{number}.example.com")).collect();
    let body = json!({"hostnames": too_many, "mtls_certificate_id": ours["id"]});
    assert_eq!(node.refused("PUT", &associations, Some(body)).await, (400, 1302));

    // The zone goes, and its associations with it.
    let body = json!({"hostnames": ["www.example.com"], "mtls_certificate_id": ours["id"]});
    node.ok("PUT", &associations, Some(body)).await;
    node.ok("DELETE", &format!("/zones/{zone}"), None).await;
    assert_eq!(node.count::<ClientAuthentication>(), 0);
}

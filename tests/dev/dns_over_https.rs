//! DNS over HTTPS at the name servers' names: asked by kdig, curl and dnspython.

use std::{path::Path, process::Command};

use crate::{dev::Dev, http3::python, process::output};

/// A query for `www.proxima.test`, A.
const QUERY: &[u8] = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x03www\x07proxima\x04test\0\0\x01\0\x01";

#[test]
fn name_servers_answer_queries_by_every_version_of_http() {
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "proxima.test"]);
    dev.proxima(&["dns", "add", "proxima.test", "A", "www", "192.0.2.1"]);
    dev.proxima(&["dns", "add", "proxima.test", "A", "site", "192.0.2.2", "--proxied"]);
    let url = dev.https_url("ns1.proxima.test", "/dns-query");
    let status = ["-sS", "-o", "/dev/null", "-w", "%{http_code}"];
    let asked = |more: &[&str], wanted: &str| dev.curl_until(&[&status[..], more].concat(), wanted);
    // Once its zone has a certificate.
    asked(&[&url], "400");
    asked(&[&format!("{url}?dns=AAA=")], "400");
    asked(&[&format!("{url}?dns=AAAA")], "400");
    asked(&["-X", "PUT", &url], "405");
    asked(&["-d", "text", &url], "415");

    let folder = tempfile::tempdir().unwrap();
    let query = folder.path().join("query");
    std::fs::write(&query, QUERY).unwrap();
    let data = format!("@{}", query.display());
    let kind = "content-type: application/dns-message";
    for version in ["--http1.1", "--http2"] {
        let post = ["-sSi", version, "-H", kind, "--data-binary", &data, &url];
        let answer = output(&mut dev.curl_command(&dev.data().join("ca.pem"), &post)).1;
        assert!(answer.contains(" 200") && answer.contains("cache-control: max-age=300"), "{answer}");
        assert!(answer.contains("content-type: application/dns-message"), "{answer}");
    }
    let too_long = folder.path().join("long");
    std::fs::write(&too_long, vec![0; 5_000]).unwrap();
    asked(&["-H", kind, "--data-binary", &format!("@{}", too_long.display()), &url], "413");
    // At a customer's host the path is the customer's.
    let site = dev.https_url("site.proxima.test", "/dns-query");
    let there = dev.curl(&[
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        kind,
        "--data-binary",
        &data,
        &site,
    ]);
    assert!(there.starts_with('5'), "{there}");

    let (at, port) = (dev.https().ip().to_string(), dev.https().port().to_string());
    let authority = dev.data().join("ca.pem");
    for method in ["+https-get", "+nohttps-get"] {
        let mut kdig = Command::new("kdig");
        kdig.args([&format!("@{at}"), "-p", &port, "+norec", "+https=ns1.proxima.test/dns-query", method])
            .args(["+tls-hostname=ns1.proxima.test", &format!("+tls-ca={}", authority.display())])
            .args(["www.proxima.test", "A"]);
        let (_, answer) = output(&mut kdig);
        assert!(answer.contains("192.0.2.1") && answer.contains("HTTP/2"), "{answer}");
    }
    let mut by_http3 = Command::new(python());
    by_http3
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/dns_over_https.py"))
        .args([&at, &port])
        .arg(authority);
    assert_eq!(output(&mut by_http3), (true, "answered\n".to_owned()));
}

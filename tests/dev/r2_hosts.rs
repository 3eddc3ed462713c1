//! The names of the endpoint of S3.

use std::process::Command;

use crate::{
    cluster::{Cluster, token, until},
    process::{free_for_both, output},
    r2::keys,
};

const NAMES: [&str; 2] = ["s3.corp.example", "s3.example.com"];

#[test]
fn an_endpoint_has_a_name_inside_and_one_outside_with_buckets_below_each() {
    let s3 = free_for_both();
    let cluster = Cluster::with(|name| match name {
        "log" => format!("[r2]\nlisten = [\"{s3}\"]\nhost = {NAMES:?}\n"),
        _ => String::new(),
    });
    let _log = cluster.start("log");
    let (key, secret) = keys(&token(&cluster));
    let user = format!("{key}:{secret}");
    let ask = |host: &str, path: &str, args: &[&str]| {
        let (port, address) = (s3.port(), s3.ip());
        let mut curl = Command::new("curl");
        curl.args(["-sSi", "--max-time", "20", "--aws-sigv4", "aws:amz:auto:s3", "--user", &user]);
        curl.args(["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]);
        curl.args(["--resolve", &format!("{host}:{port}:{address}")]).args(args);
        output(curl.arg(format!("http://{host}:{port}{path}")))
    };
    until("HTTP/1.1 200", || ask(NAMES[0], "/photos", &["-X", "PUT"]));
    for name in NAMES {
        let below = |name: &str| format!("photos.{name}");
        let (_, put) = ask(&below(name), &format!("/{name}"), &["-X", "PUT", "-d", name]);
        assert!(put.starts_with("HTTP/1.1 200"), "{put}");
        for other in NAMES {
            for (host, path) in
                [(below(other), format!("/{name}")), (other.to_owned(), format!("/photos/{name}"))]
            {
                let (_, got) = ask(&host, &path, &[]);
                assert!(got.starts_with("HTTP/1.1 200") && got.ends_with(name), "{host}{path}: {got}");
            }
        }
    }
    let (_, elsewhere) = ask("photos.s3.example.org", "/key", &["-X", "PUT", "-d", "x"]);
    assert!(elsewhere.starts_with("HTTP/1.1 400"), "{elsewhere}");
    assert!(elsewhere.contains("S3 is asked at s3.corp.example, s3.example.com here"), "{elsewhere}");
    let (_, listed) = ask(NAMES[1], "/", &[]);
    assert_eq!(listed.matches("<Bucket>").count(), 1, "no key was taken for a bucket: {listed}");
}

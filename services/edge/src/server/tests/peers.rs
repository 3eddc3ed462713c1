//! Clients that we did not write. `cargo xtask setup` installs them.

use std::process::Stdio;

use tokio::process::Command;

use super::*;
use crate::tls::tests::World;

/// Whether a program succeeded, and what it printed.
async fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let child = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output =
        within(child).await.unwrap_or_else(|error| panic!("{program}: {error}: run `cargo xtask setup`"));
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn curl_gets_and_posts_by_both_protocols() {
    let server = Server::start().await;
    let url = |path: &str| format!("http://{}{path}", server.address);
    let upload = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(upload.path(), vec![b'x'; 3_000_000]).unwrap();
    let file = format!("@{}", upload.path().display());
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        let common = ["-sS", "--max-time", "15", protocol];
        let (good, text) = run("curl", &[&common[..], &[&url("/now")]].concat()).await;
        assert!(good && text == "now", "{protocol}: {text}");
        let posted = run("curl", &[&common[..], &["--data-binary", &file, &url("/count")]].concat()).await;
        assert_eq!(posted, (true, "3000000".to_owned()), "{protocol}");
        let arguments = ["-o", "/dev/null", "-w", "%{size_download}", &url("/big-chunked")];
        let got = run("curl", &[&common[..], &arguments].concat()).await;
        assert_eq!(got, (true, BIG_BYTES.to_string()), "{protocol}");
        let (good, _) = run("curl", &[&common[..], &[&url("/cut-chunked")]].concat()).await;
        assert!(!good, "{protocol}: a cut body must be an error");
    }
}

#[tokio::test]
async fn curl_speaks_tls_with_the_zones_certificate_and_negotiates_http2() {
    let world = World::new().await;
    let trusted = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(trusted.path(), world.certify_pem(1, &["a.example", "*.a.example"]).await).unwrap();
    let server = Server::with(100, Some(Arc::new(world.acceptor()))).await;
    let trusted = trusted.path().display().to_string();
    let port = server.address.port();
    for (name, protocol, version) in [
        ("a.example", "--http1.1", "1.1"),
        ("www.a.example", "--http2", "2"),
        ("x.y.a.example", "--http2", ""),
    ] {
        let resolve = format!("{name}:{port}:{}", server.address.ip());
        let url = format!("https://{name}:{port}/now");
        let arguments = ["-sS", "--max-time", "15", "--cacert", &trusted, "--resolve", &resolve, protocol];
        let told = ["-w", " %{http_version}", &url];
        let (good, text) = run("curl", &[&arguments[..], &told].concat()).await;
        match version {
            "" => assert!(!good, "a name without certificate is refused"),
            version => assert_eq!((good, text), (true, format!("now {version}"))),
        }
    }
}

#[tokio::test]
async fn h2load_ends_all_of_its_requests() {
    let server = Server::start().await;
    let url = format!("http://{}/now", server.address);
    let (good, text) = run("h2load", &["-n", "2000", "-c", "4", "-m", "20", &url]).await;
    assert!(good && text.contains("2000 succeeded, 0 failed, 0 errored"), "{text}");
}

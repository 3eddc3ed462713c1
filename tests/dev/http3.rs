//! HTTP/3, asked by aioquic, which shares no code with ours (`tests/clients/http3.py`).

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    HOST,
    dev::{DEADLINE, Dev},
    origin::Origin,
    process::output,
    steady::{Steady, command},
    upgrade::send,
    with_site,
};

/// The Python that has the packages of tests/requirements.txt, as `cargo xtask test` says.
pub(crate) fn python() -> PathBuf {
    let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
    std::env::var_os("PROXIMA_PYTHON").map_or_else(ours, PathBuf::from)
}

/// aioquic, about to ask for these paths over one connection.
pub(crate) fn asking(dev: &Dev, more: &[&str], paths: &[&str]) -> Command {
    let mut python = Command::new(python());
    python
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/http3.py"))
        .args(["--connect", &dev.https().to_string(), "--ca"])
        .arg(dev.data().join("ca.pem"))
        .args(more)
        .args(paths.iter().map(|path| dev.https_url(HOST, path)));
    python
}

/// The answers, in order.
pub(crate) fn ask(dev: &Dev, more: &[&str], paths: &[&str]) -> Vec<Value> {
    let (succeeded, text) = output(&mut asking(dev, more, paths));
    assert!(succeeded, "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}"))).collect()
}

#[test]
fn a_site_is_served_over_http3_by_the_same_pipeline() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let answers = ask(&dev, &[], &["/page", "/cdn-cgi/trace", "/other"]);
    for answer in &answers {
        assert_eq!(answer["status"], 200, "{answer}");
        assert!(answer["headers"]["cf-ray"].as_str().unwrap().ends_with("-DEV"), "{answer}");
        assert_eq!(answer["headers"]["alt-svc"], Value::Null, "it is spoken already");
    }
    assert_eq!(answers[0]["body"], "the page /page");
    assert_eq!(answers[0]["headers"]["cf-cache-status"], "MISS");
    assert!(answers[1]["body"].as_str().unwrap().contains("http=http/3\n"), "{}", answers[1]);
    let hit = dev.curl_until(&["-sSi", "--http2", &dev.https_url(HOST, "/page")], "cf-cache-status: HIT");
    assert!(hit.ends_with("the page /page"), "one cache for all protocols: {hit}");
    let echoed = ask(&dev, &["--data", "an upload"], &["/echo"]);
    assert_eq!((&echoed[0]["status"], &echoed[0]["body"]), (&200.into(), &"an upload".into()));
}

#[test]
fn visitors_are_told_of_http3_unless_the_zone_does_not_want_it() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let told = format!("alt-svc: h3=\":{}\"; ma=86400", dev.https().port());
    for version in ["--http1.1", "--http2"] {
        let answer = dev.curl(&["-sSi", version, &dev.https_url(HOST, "/page")]);
        assert!(answer.contains(&told), "{answer}");
    }
    assert!(!dev.curl(&["-sSi", &dev.http_url(HOST, "/page")]).contains("alt-svc"));
    let answer = dev.dig(&["+short", HOST, "HTTPS"]);
    assert!(answer.contains("1 . alpn=\"h3,h2\" ipv4hint=127.0.0.1"), "{answer}");

    dev.set("example.com", "http3", "off");
    let url = dev.https_url(HOST, "/page");
    while dev.curl(&["-sSi", &url]).contains("alt-svc") {}
    assert!(dev.dig(&["+short", HOST, "HTTPS"]).contains("alpn=\"h2\""));
}

#[test]
fn a_session_is_resumed_also_by_the_process_that_takes_over() {
    let origin = Origin::start();
    let mut dev = with_site(&origin);
    let kept = dev.data().join("session");
    let session = ["--session", kept.to_str().unwrap()];
    assert_eq!(ask(&dev, &session, &["/page"])[0]["resumed"], false);
    assert_eq!(ask(&dev, &session, &["/page"])[0]["resumed"], true);
    dev.restart_gracefully();
    assert_eq!(ask(&dev, &session, &["/page"])[0]["resumed"], true);
}

#[test]
fn a_graceful_restart_refuses_no_connection_of_quic() {
    let origin = Origin::start();
    let mut dev = with_site(&origin);
    let steady = Steady::start(vec![
        command(asking(&dev, &[], &["/steady", "/steady"]), "the page /steady"),
        command(asking(&dev, &["--data", "x"], &["/echo"]), "\"status\": 200"),
    ]);
    steady.each(2);
    dev.restart_gracefully();
    steady.each(2);
    // Once more: who took over has a socket of its own to hand on.
    let former = dev.pid();
    send(former, Signal::SIGUSR2);
    let begun = Instant::now();
    while dev.pid() == former {
        assert!(begun.elapsed() < DEADLINE, "nobody takes over");
    }
    steady.each(2);
    steady.stop();
}

//! A Worker is loaded while the client that is about to ask for it still shakes hands: told by what was loaded, not by the clock.

use std::io::{Read as _, Write as _};

use rustls::crypto::aws_lc_rs::default_provider;

use crate::{
    HOST,
    http3::ask,
    observed::{metric, until_metric},
    origin::Origin,
    tls::{client, connect},
    with_site,
    workers::{Project, get},
};

const LOADS: &str = "proxima_workers_loads_total";
const PREWARMS: &str = "proxima_workers_prewarms_total{outcome=\"Loaded\"}";

#[test]
fn the_first_request_after_a_handshake_finds_its_worker_loaded_and_no_request_run() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    let code = |version: u32| {
        format!(
            "let asked = 0; export default {{ fetch: () => new Response(`version {version}, request ${{asked += 1}}`) }}"
        )
    };
    project.write(&code(1));
    project.wrangler(&dev, &["deploy"]);
    assert_eq!(metric(&dev, LOADS), Some(0.0));

    let mut session = connect(&dev, client(&dev, &[b"http/1.1"], default_provider()));
    until_metric(&dev, PREWARMS, |loaded| loaded >= 1.0);
    assert_eq!(metric(&dev, LOADS), Some(1.0));
    let request = format!("GET /app/x HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    session.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    session.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("version 1, request 1"), "{answer}");
    assert_eq!(metric(&dev, LOADS), Some(1.0), "nothing was left to load");

    // Another version, and a client that comes by QUIC for what no route matches.
    project.write(&code(2));
    project.wrangler(&dev, &["deploy"]);
    assert_eq!(ask(&dev, &[], &["/page"])[0]["status"], 200);
    until_metric(&dev, PREWARMS, |loaded| loaded >= 2.0);
    assert_eq!(metric(&dev, LOADS), Some(2.0));
    assert_eq!(get(&dev, "/app/x"), "version 2, request 1");
    assert_eq!(metric(&dev, LOADS), Some(2.0));
}

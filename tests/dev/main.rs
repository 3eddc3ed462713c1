//! `proxima dev`, as a developer uses it: the real binary, its own command line, `curl`, `dig`, and a real origin.

#![allow(clippy::unwrap_used, reason = "in a test, what should be there and is not ends it")]

mod dev;
mod origin;

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use dev::Dev;
use origin::Origin;
use serde_json::json;

const HOST: &str = "www.example.com";

/// A server with one site, whose origin is `origin`.
fn with_site(origin: &Origin) -> Dev {
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com"]);
    dev.proxima(&["dns", "add", "example.com", "A", "www", "127.0.0.1", "--proxied"]);
    dev.send_to_origin("example.com", origin.port());
    // The origin speaks no TLS.
    dev.set("example.com", "ssl", "flexible");
    dev
}

#[test]
fn a_site_is_served_over_http_and_https_and_its_names_answer() {
    let origin = Origin::start();
    let dev = with_site(&origin);

    let first = dev.curl(&["-sSi", &dev.http_url(HOST, "/page")]);
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    assert!(first.contains("cf-cache-status: MISS") && first.contains("-DEV\r\n"), "{first}");
    assert!(first.ends_with("the page /page"), "{first}");
    let second = dev.curl_until(&["-sSi", &dev.http_url(HOST, "/page")], "cf-cache-status: HIT");
    assert!(second.ends_with("the page /page"), "{second}");
    assert_eq!(origin.requests("/page"), 1);

    let secure = dev.curl(&["-sSi", "--http2", &dev.https_url(HOST, "/page")]);
    assert!(secure.starts_with("HTTP/2 200"), "{secure}");
    let old = dev.curl(&["-sSi", "--http1.1", "--tls-max", "1.2", &dev.https_url(HOST, "/page")]);
    assert!(old.starts_with("HTTP/1.1 200"), "{old}");

    let answer = dev.dig(&[HOST, "A"]);
    assert!(
        answer.contains("status: NOERROR") && answer.contains("flags: qr aa") && answer.contains("127.0.0.1"),
        "{answer}"
    );
    assert!(dev.dig(&["nothing.example.com", "A"]).contains("status: NXDOMAIN"));
    assert!(dev.dig(&["example.org", "A"]).contains("status: REFUSED"));
    assert!(dev.dig(&["+tcp", HOST, "A"]).contains("status: NOERROR"));
}

#[test]
fn state_survives_a_restart_and_a_sigkill_at_any_point() {
    let origin = Origin::start();
    let mut dev = with_site(&origin);
    let mut acknowledged = Vec::new();
    for number in 0..8 {
        let name = format!("name-{number}");
        let write = ["dns", "add", "example.com", "TXT", &name, "\"here\""];
        if number % 2 == 0 {
            dev.proxima(&write);
            acknowledged.push(name);
            continue;
        }
        // Killed while it is asked to write: wherever that hits, what was acknowledged is there, once.
        let under_way = dev.begin(&write);
        dev.kill();
        if under_way.wait_with_output().unwrap().status.success() {
            acknowledged.push(name);
        }
        dev.start_again();
    }
    dev.terminate();
    dev.start_again();
    let listed = dev.proxima(&["dns", "list", "example.com"]);
    for name in acknowledged {
        assert_eq!(listed.matches(&format!("{name}.example.com")).count(), 1, "{name} in {listed}");
    }
    assert!(dev.curl(&["-sSi", &dev.http_url(HOST, "/after")]).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_graceful_restart_refuses_no_connection() {
    let origin = Origin::start();
    let mut dev = with_site(&origin);
    let address = dev.http;
    let (stop, begun) = (Arc::new(AtomicBool::new(false)), std::sync::mpsc::channel());
    let asking = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut stream = TcpStream::connect(address).expect("no connection is refused");
                write!(stream, "GET /steady HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n").unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).expect("no connection is reset");
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                asked += 1;
                if asked == 10 {
                    begun.0.send(()).ok();
                }
            }
            asked
        }
    });
    begun.1.recv().unwrap();
    let before = dev.pid();
    dev.restart_gracefully();
    assert_ne!(dev.pid(), before);
    stop.store(true, Ordering::Relaxed);
    assert!(asking.join().unwrap() >= 10);
    assert!(dev.curl(&["-sSi", &dev.http_url(HOST, "/after")]).starts_with("HTTP/1.1 200"));
}

#[test]
fn explain_tells_what_each_stage_decided() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let told = dev.proxima(&["explain", &format!("http://{HOST}/page")]);
    assert!(told.contains("status 200 by dev"), "{told}");
    for stage in ["zone", "cache", "origin"] {
        assert!(told.contains(stage), "{stage} is missing in {told}");
    }
}

#[test]
fn purging_makes_the_next_request_a_miss() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    dev.curl(&["-sSi", &dev.http_url(HOST, "/page")]);
    dev.curl_until(&["-sSi", &dev.http_url(HOST, "/page")], "cf-cache-status: HIT");
    dev.proxima(&["purge", "example.com"]);
    dev.curl_until(&["-sSi", &dev.http_url(HOST, "/page")], "cf-cache-status: MISS");
    assert_eq!(origin.requests("/page"), 2);
}

#[test]
fn what_fails_is_said_with_the_ray_to_people_and_to_programs() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    dev.send_to_origin("example.com", closed);
    let page = dev.curl_until(&["-sSi", "-H", "accept: text/html", &dev.http_url(HOST, "/")], "HTTP/1.1 521");
    assert!(page.contains("Web server is down") && page.contains("-DEV"), "{page}");
    let json = dev.curl(&["-sSi", "-H", "accept: application/json", &dev.http_url(HOST, "/")]);
    assert!(json.contains("\"name\":\"origin_down\"") && json.contains("\"blame\":\"origin\""), "{json}");
    let unknown = dev.curl(&["-sSi", &dev.http_url("nobody.example.net", "/")]);
    assert!(unknown.starts_with("HTTP/1.1 530") && unknown.contains("error 1001"), "{unknown}");
}

#[test]
fn a_bad_zone_file_names_every_bad_line_and_imports_nothing() {
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com"]);
    let file = dev.data().join("bad.zone");
    std::fs::write(&file, "good IN A 192.0.2.1\nbad IN A 192.0.2.300\nworse IN MX mail\n").unwrap();
    let refused = dev.proxima_fails(&["dns", "import", "example.com", file.to_str().unwrap()]);
    assert!(refused.contains('2') && refused.contains('3') && refused.contains("192.0.2.300"), "{refused}");
    assert!(!dev.proxima(&["dns", "list", "example.com"]).contains("good.example.com"));
}

#[test]
fn the_api_refuses_bad_input_in_its_envelope() {
    let dev = Dev::start();
    let cases = [
        ("POST", "/zones", Some(json!({ "name": 7 })), "400"),
        ("POST", "/zones", Some(json!({ "name": "no dots" })), "400"),
        ("GET", "/zones/0123456789abcdef0123456789abcdef", None, "404"),
        ("GET", "/nothing", None, "404"),
    ];
    for (method, path, body, status) in cases {
        let (code, answer) = dev.api(method, path, body.as_ref(), None);
        assert_eq!(code, status, "{method} {path}: {answer}");
        assert_eq!(answer["success"], false, "{method} {path}: {answer}");
        assert!(
            answer["errors"][0]["code"].is_u64() && answer["errors"][0]["message"].is_string(),
            "{answer}"
        );
    }
    let (code, answer) =
        dev.api("GET", "/zones", None, Some(&format!("{}_{}", "0".repeat(32), "0".repeat(64))));
    assert_eq!((code.as_str(), answer["success"].as_bool()), ("401", Some(false)), "{answer}");
}

#[test]
fn an_idle_node_stays_small() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    dev.curl(&["-sSi", &dev.http_url(HOST, "/page")]);
    let kib = dev.resident_kib();
    assert!(kib <= 60 * 1024, "an idle node has {kib} KiB resident; the most is 60 MiB");
}

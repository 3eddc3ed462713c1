//! `proxima dev`, as a developer uses it: the real binary, its own command line, `curl`, `dig`, `delv`, and a real origin.

#![allow(clippy::unwrap_used, reason = "in a test, what should be there and is not ends it")]

mod assets;
mod attacks;
mod balancers;
mod cache_api;
mod client_auth;
mod cluster;
mod command_line;
mod compression;
mod dev;
mod disk;
mod dns_over_https;
mod dnssec;
mod durable;
mod durable_servers;
mod early_hints;
mod engines;
mod glance;
mod grpc;
mod http3;
mod kv;
mod multi_signer;
mod node;
mod observed;
mod origin;
mod presigned;
mod prewarm;
mod process;
mod queues;
mod r2;
mod r2_connections;
mod r2_engine;
mod r2_hosts;
mod r2_notifications;
mod r2_public;
mod r2_servers;
mod r2_tokens;
mod records;
mod resolver;
mod rules;
mod running;
mod sdk;
mod secondaries;
mod steady;
mod tail;
mod tls;
mod transfers;
mod upgrade;
mod websocket;
mod workers;
mod workers_calling;
mod wrangler;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use dev::{DEADLINE, DRAIN, Dev};
use origin::Origin;
use process::output;
use serde_json::json;
use steady::{Steady, command};

const HOST: &str = "www.example.com";

/// A server with one site, whose origin is `origin`.
fn with_site(origin: &Origin) -> Dev {
    let dev = Dev::start();
    set_up_site(&dev, origin);
    dev
}

fn set_up_site(dev: &Dev, origin: &Origin) {
    dev.proxima(&["zones", "add", "example.com"]);
    dev.proxima(&["dns", "add", "example.com", "A", "www", "127.0.0.1", "--proxied"]);
    dev.send_to_origin("example.com", origin.port());
    // The origin speaks no TLS.
    dev.set("example.com", "ssl", "flexible");
}

/// Sends this over a new connection to the HTTP port; reading from it has a deadline.
fn send(dev: &Dev, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(dev.http).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Reads up to the end of `wanted`, and not one octet more.
fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let (mut read, mut octet) = (Vec::new(), [0]);
    while !read.ends_with(wanted.as_bytes()) {
        let one = stream.read_exact(&mut octet);
        one.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&read)));
        read.push(octet[0]);
    }
    String::from_utf8(read).unwrap()
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
    let authority = dev.data().join("ca.pem");
    let page = "the page /steady";
    let by_http = move || {
        let mut stream = TcpStream::connect(address).expect("no connection is refused");
        write!(stream, "GET /steady HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("no connection is reset");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(page), "{answer}");
    };
    let dig = |transport| dev.dig_command(&["+tries=1", "+time=5", transport, HOST, "A"]);
    let steady = Steady::start(vec![
        Box::new(by_http),
        command(dev.curl_command(&authority, &["-sS", "--http1.1", &dev.https_url(HOST, "/steady")]), page),
        command(dev.curl_command(&authority, &["-sS", "--http2", &dev.https_url(HOST, "/steady")]), page),
        command(dig("+notcp"), "status: NOERROR"),
        command(dig("+tcp"), "status: NOERROR"),
        command(dev.api_command("GET", "/zones", None, None), "\n200"),
    ]);
    steady.each(2);
    let before = dev.pid();
    dev.restart_gracefully();
    assert_ne!(dev.pid(), before);
    steady.each(2);
    steady.stop();
}

#[test]
fn an_answer_that_never_ends_holds_the_drain_up_to_its_deadline_and_no_longer() {
    let origin = Origin::start();
    let mut dev = with_site(&origin);
    let mut under_way = send(&dev, "GET /never-ends HTTP/1.1\r\nhost: www.example.com\r\n\r\n");
    read_until(&mut under_way, "the beginning");
    let took = dev.terminate();
    assert!(took >= DRAIN, "what was begun had its time: {took:?}");
    assert!(took < DRAIN + Duration::from_secs(5), "the deadline is one: {took:?}");
    // Cut off: ended or reset, and nothing came that the origin never sent.
    let mut rest = Vec::new();
    under_way.read_to_end(&mut rest).ok();
    assert_eq!(rest, b"");
}

#[test]
fn a_websocket_goes_through_the_whole_pipeline() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let mut socket = send(
        &dev,
        "GET /chat HTTP/1.1\r\nhost: www.example.com\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let head = read_until(&mut socket, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") && head.contains("cf-ray: "), "{head}");
    // A masked text frame (RFC 6455, 5.7), and octets that are no HTTP.
    for message in [&b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"[..], &[0; 70_000], b"\r\n\r\nGET "] {
        socket.write_all(message).unwrap();
        let mut back = vec![0; message.len()];
        socket.read_exact(&mut back).unwrap();
        assert_eq!(back, message);
    }
    socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap(), 0, "the origin's end comes through");
    assert_eq!(origin.requests("/chat"), 1);
}

#[test]
fn an_upload_is_answered_chunk_by_chunk_while_it_is_sent() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let mut upload =
        send(&dev, "POST /echo HTTP/1.1\r\nhost: www.example.com\r\ntransfer-encoding: chunked\r\n\r\n");
    let head = read_until(&mut upload, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    for piece in ["the first", "the second", "the third"] {
        // Nothing is sent before what was sent has come back.
        write!(upload, "{:x}\r\n{piece}\r\n", piece.len()).unwrap();
        read_until(&mut upload, piece);
    }
    upload.write_all(b"0\r\n\r\n").unwrap();
    read_until(&mut upload, "0\r\n\r\n");
}

#[test]
fn a_certificate_of_the_owners_is_shown_from_the_moment_it_is_uploaded() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let own = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
    let authority = dev.data().join("own.pem");
    std::fs::write(&authority, own.cert.pem()).unwrap();
    let secure = dev.https_url(HOST, "/page");
    let trusting_it = || output(&mut dev.curl_command(&authority, &["-sSi", "--http1.1", &secure]));
    assert!(!trusting_it().0, "the network's own certificate is not one of the owner's");

    let body = json!({ "certificate": own.cert.pem(), "private_key": own.signing_key.serialize_pem() });
    let path = format!("/zones/{}/custom_certificates", dev.zone("example.com"));
    let (code, answer) = dev.api("POST", &path, Some(&body), None);
    assert_eq!(code, "200", "{answer}");
    let begun = Instant::now();
    loop {
        let (succeeded, text) = trusting_it();
        if succeeded && text.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(begun.elapsed() < DEADLINE, "the uploaded certificate is not shown: {text}");
    }
    let id = answer["result"]["id"].as_str().unwrap();
    let (code, answer) = dev.api("DELETE", &format!("{path}/{id}"), None, None);
    assert_eq!(code, "200", "{answer}");
    dev.curl_until(&["-sSi", "--http1.1", &secure], "HTTP/1.1 200");
}

#[test]
fn it_needs_no_root() {
    let origin = Origin::start();
    let mut dev = Dev::start_without_root();
    assert_ne!(dev.user(), 0);
    set_up_site(&dev, &origin);
    assert!(dev.curl(&["-sSi", &dev.https_url(HOST, "/page")]).contains("the page /page"));
    assert!(dev.dig(&[HOST, "A"]).contains("status: NOERROR"));
    dev.restart_gracefully();
    assert_ne!(dev.user(), 0);
    assert!(dev.curl(&["-sSi", &dev.http_url(HOST, "/page")]).contains("the page /page"));
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
fn purging_by_tag_prefix_and_host_forgets_what_it_names_and_leaves_the_rest() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let ask = |path: &str| dev.curl(&["-sSi", &dev.http_url(HOST, path)]);
    let (one, two, page) = ("/tagged/One", "/tagged/two", "/page");
    let all_are_stored = || {
        for path in [one, two, page] {
            let answer = dev.curl_until(&["-sSi", &dev.http_url(HOST, path)], "cf-cache-status: HIT");
            assert!(!answer.contains("cache-tag"), "tags are for caches: {answer}");
        }
    };
    let prefix = format!("{HOST}/tagged");
    for (option, name, forgotten) in [
        ("--tag", "one", &[one][..]),
        ("--tag", "ALL", &[one, two]),
        ("--prefix", &prefix, &[one, two]),
        ("--host", "WWW.example.com", &[one, two, page]),
    ] {
        all_are_stored();
        dev.proxima(&["purge", "example.com", option, name]);
        dev.curl_until(&["-sSi", &dev.http_url(HOST, one)], "cf-cache-status: MISS");
        for path in [two, page] {
            let expected = if forgotten.contains(&path) { "MISS" } else { "HIT" };
            let answer = ask(path);
            assert!(answer.contains(&format!("cf-cache-status: {expected}")), "{option} {path}: {answer}");
        }
    }
    let refused = dev.proxima_fails(&["purge", "example.com", "--host", "www.example.net"]);
    assert!(refused.contains("www.example.net is not in the zone example.com"), "{refused}");
    let refused = dev.proxima_fails(&["purge", "example.com", "--host", HOST, "--tag", "one"]);
    assert!(refused.contains("cannot be used with"), "{refused}");
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
    // How much the kernel keeps of the program beside that follows from how it was built.
    let kib = dev.process_status("RssAnon:") + dev.process_status("RssShmem:");
    println!("{kib} KiB of its own");
    assert!(kib <= 24 * 1024, "an idle node has {kib} KiB of its own; the most is 24 MiB");
}

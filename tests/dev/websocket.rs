//! WebSocket within HTTP/2 and HTTP/3: h2 and aioquic (`tests/clients/websocket.py`), and tungstenite at the origin, by way
//! of the real binary.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::mpsc,
};

use serde_json::Value;
use tungstenite::{
    Message, accept_hdr,
    handshake::server::{Request, Response},
};

use crate::{HOST, dev::Dev, http3::python, process::output};

/// A site whose origin speaks WebSocket and nothing else; tells the head of each request that opens one.
fn site() -> (Dev, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heads, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let heads = heads.clone();
            std::thread::spawn(move || echo(stream, &heads));
        }
    });
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com"]);
    dev.proxima(&["dns", "add", "example.com", "A", "www", "127.0.0.1", "--proxied"]);
    dev.send_to_origin("example.com", port);
    dev.set("example.com", "ssl", "flexible");
    (dev, heard)
}

/// Sends every message back, until the client closes.
fn echo(stream: TcpStream, heads: &mpsc::Sender<String>) {
    #[expect(clippy::result_large_err, reason = "it is the type of the crate's callback")]
    let opened = accept_hdr(stream, |request: &Request, response: Response| {
        heads.send(format!("{} {} {:?}", request.method(), request.uri(), request.headers())).ok();
        Ok(response)
    });
    let Ok(mut socket) = opened else { return };
    while let Ok(message) = socket.read() {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).is_err() {
            return;
        }
    }
}

fn converse(dev: &Dev, version: &str, messages: &[&str]) -> Value {
    let mut client = Command::new(python());
    client
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/websocket.py"))
        .args(["--http", version, "--connect", &dev.https().to_string(), "--ca"])
        .arg(dev.data().join("ca.pem"))
        .arg(dev.https_url(HOST, "/chat"))
        .args(messages);
    let (succeeded, text) = output(&mut client);
    assert!(succeeded, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
}

#[test]
fn a_websocket_goes_through_http2_and_http3_to_an_origin_that_knows_neither() {
    let (dev, heads) = site();
    let long = "a long message, ".repeat(7_000);
    for version in ["2", "3"] {
        let messages = ["hello", &long, "goodbye"];
        let told = converse(&dev, version, &messages);
        assert_eq!(told["status"], 200, "{told}");
        assert!(told["messages"].as_array().unwrap().iter().eq(messages), "HTTP/{version}: other messages");
        assert_eq!(told["closed"], 1000, "the origin's farewell");
        assert!(told["headers"]["cf-ray"].as_str().unwrap().ends_with("-DEV"), "{told}");
        let head = heads.recv().unwrap();
        assert!(head.starts_with("GET /chat "), "{head}");
        for field in ["sec-websocket-key", "\"sec-websocket-version\": \"13\"", "cf-connecting-ip"] {
            assert!(head.contains(field), "{field} is missing: {head}");
        }
    }
    // Switched off, nobody is asked, and nothing looks open.
    dev.set("example.com", "websockets", "off");
    for version in ["2", "3"] {
        let told = converse(&dev, version, &["hello"]);
        assert_ne!(told["status"], 200, "{told}");
        assert_eq!(told["messages"], serde_json::json!([]));
    }
    assert!(heads.try_recv().is_err(), "it was asked for all the same");
}

//! WebSocket within HTTP/2 and HTTP/3: h2 and aioquic (`tests/clients/websocket.py`), and tungstenite at the origin, by way
//! of the real binary.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::mpsc,
};

use serde_json::{Value, json};
use tungstenite::{
    Message, accept_hdr,
    handshake::server::{ErrorResponse, Request, Response},
    http::StatusCode,
    protocol::CloseFrame,
};

use crate::{HOST, dev::Dev, http3::python, process::output, workers::Project};

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
        assert_eq!(told["messages"], json!([]));
    }
    assert!(heads.try_recv().is_err(), "it was asked for all the same");
}

/// A server that declines `/app/declined`, and of every other path sends messages back, and closes with 4001 when it is asked to.
/// Tells with which codes it was closed.
fn closing_origin() -> (u16, mpsc::Receiver<u16>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (codes, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let codes = codes.clone();
            std::thread::spawn(move || serve_closing(stream, &codes));
        }
    });
    (port, heard)
}

fn serve_closing(stream: TcpStream, codes: &mpsc::Sender<u16>) {
    #[expect(clippy::result_large_err, reason = "it is the type of the crate's callback")]
    let opened = accept_hdr(stream, |request: &Request, response: Response| {
        if request.uri().path() != "/declined" {
            return Ok(response);
        }
        let mut declined = ErrorResponse::new(Some("not you".to_owned()));
        *declined.status_mut() = StatusCode::FORBIDDEN;
        Err(declined)
    });
    let Ok(mut socket) = opened else { return };
    while let Ok(message) = socket.read() {
        match message {
            Message::Close(frame) => codes.send(frame.map_or(1005, |frame| frame.code.into())).unwrap(),
            Message::Text(text) if text.as_str() == "close" => {
                socket.close(Some(CloseFrame { code: 4001.into(), reason: "as you say".into() })).ok();
            }
            Message::Text(_) => socket.send(message).unwrap(),
            _ => {}
        }
    }
}

#[test]
fn a_worker_opens_websockets_to_its_sites_origin_and_neither_inside_nor_where_it_is_declined() {
    let (port, codes) = closing_origin();
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com"]);
    dev.proxima(&["dns", "add", "example.com", "A", "www", "127.0.0.1", "--proxied"]);
    dev.send_to_origin("example.com", port);
    dev.set("example.com", "ssl", "flexible");
    let project = Project::new();
    project.write(&format!(
        "const open = (url) => fetch(url, {{ headers: {{ Upgrade: 'websocket' }} }});
         const talk = (socket, last) => new Promise((done) => {{
           const heard = [];
           socket.addEventListener('message', ({{ data }}) => (heard.push(data), last(socket)));
           socket.addEventListener('close', ({{ code }}) => done([...heard, code]));
           socket.accept();
           socket.send('hello');
         }});
         export default {{ async fetch() {{
           const declined = await open('https://{HOST}/declined');
           const inside = await open('http://127.0.0.1:{port}/');
           return Response.json([
             await talk((await open('https://{HOST}/chat')).webSocket, (socket) => socket.close(4000, 'enough')),
             await talk((await open('https://{HOST}/chat')).webSocket, (socket) => socket.send('close')),
             [declined.status, await declined.text(), declined.webSocket],
             [inside.status, (await inside.text()).includes('address is not allowed'), inside.webSocket],
           ]);
         }} }}"
    ));
    project.wrangler(&dev, &["deploy"]);
    let answer = dev.curl(&["-sS", &dev.http_url(HOST, "/app/")]);
    let told: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"));
    let [closes, closed, declined, inside] = told.as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!((closes, closed), (&json!(["hello", 4000]), &json!(["hello", 4001])), "{told}");
    assert_eq!(declined, &json!([403, "not you", null]), "{told}");
    assert_eq!((&inside[1], &inside[2]), (&json!(true), &Value::Null), "{told}");
    assert_eq!([codes.recv().unwrap(), codes.recv().unwrap()], [4000, 4001]);
}

//! Known attacks on proxies and caches, sent to the real binary, with an origin behind it that keeps every octet.
//!
//! ```text
//!  table of attacks ──▶ proxima dev ──▶ Recorder ──▶ octets of each connection
//!                            │                             │ read in three ways (readings)
//!  a bystander's request ──▶ ┘                             ▼
//!        gets its own answer                  the same requests, or the test fails
//! ```
//!
//! Invariants. What reaches the origin has one meaning, whichever framing field a reader believes first; nothing that
//! an attacker hid in a message becomes a request of its own; whoever asks next, over the same connection or another,
//! is answered what it asked. Each row of a table says why it is dangerous.

mod answers;
mod downgrade;
mod floods;
mod frames;
mod http3_floods;
mod poisoning;
mod readings;
mod recorder;
mod smuggling;

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use recorder::Recorder;

use crate::dev::{DEADLINE, Dev};

/// A word that stands in whatever an attacker hides, and in nothing else.
const HIDDEN: &str = "hidden";

/// A server with one site behind which `origin` answers.
fn before(origin: &Recorder) -> Dev {
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com"]);
    dev.proxima(&["dns", "add", "example.com", "A", "www", "127.0.0.1", "--proxied"]);
    dev.send_to_origin("example.com", origin.port());
    dev.set("example.com", "ssl", "flexible");
    let begun = std::time::Instant::now();
    while !ask(&dev, "GET", "/ready", "").starts_with("HTTP/1.1 200") {
        assert!(begun.elapsed() < DEADLINE, "the site is not served");
    }
    dev
}

/// Sends these octets over a new connection.
fn open(dev: &Dev, octets: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(dev.http).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // It may be refused before all of it is sent.
    stream.write_all(octets).ok();
    stream
}

/// Everything up to the end of the connection, as text.
fn read_all(stream: &mut TcpStream) -> String {
    String::from_utf8_lossy(&read_octets(stream)).into_owned()
}

/// Everything up to the end of the connection.
fn read_octets(stream: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => all.extend_from_slice(&piece[..length]),
            // Closed while it sent more than was read.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&all)),
        }
    }
    all
}

/// The answer to one request, over a connection of its own.
fn ask(dev: &Dev, method: &str, target: &str, fields: &str) -> String {
    let request =
        format!("{method} {target} HTTP/1.1\r\nhost: www.example.com\r\nconnection: close\r\n{fields}\r\n");
    read_all(&mut open(dev, request.as_bytes()))
}

/// How many answers there are in what came over a connection.
fn answers_in(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count()
}

//! 103 Early Hints (RFC 8297) from the origin to a client of each version of HTTP: before the answer is there, or they were
//! not early.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::mpsc::{Sender, channel},
};

use crate::{HOST, dev::Dev, http3, process::dies_with_the_test};

const HINT: &str = "</style.css>; rel=preload; as=style";

/// An origin that gives hints, and answers each request when it is told to.
struct Hinting {
    port: u16,
    answer: Sender<()>,
}

impl Hinting {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, told) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut writer = stream.try_clone().unwrap();
                let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
                while let Some(request) = lines.next() {
                    lines.by_ref().find(|line| line.is_empty());
                    write!(writer, "HTTP/1.1 103 Early Hints\r\nlink: {HINT}\r\n\r\n").ok();
                    if told.recv().is_err() {
                        return;
                    }
                    // What can be stored takes another way than what cannot.
                    let lifetime = if request.contains("/stored") { "max-age=600" } else { "no-store" };
                    let fields = format!("cache-control: {lifetime}\r\nlink: {HINT}\r\ncontent-length: 8");
                    write!(writer, "HTTP/1.1 200 OK\r\n{fields}\r\n\r\nthe page").ok();
                }
            }
        });
        Self { port, answer }
    }
}

fn started(command: &mut Command) -> Child {
    dies_with_the_test(command.stdout(Stdio::piped()).stderr(Stdio::piped())).spawn().unwrap()
}

#[test]
fn early_hints_reach_the_client_before_the_answer_by_each_version_of_http() {
    let origin = Hinting::start();
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com"]);
    dev.proxima(&["dns", "add", "example.com", "A", "www", "127.0.0.1", "--proxied"]);
    dev.send_to_origin("example.com", origin.port);
    dev.set("example.com", "ssl", "flexible");
    dev.curl_until(&["-sS", &dev.https_url(HOST, "/cdn-cgi/trace")], "http=");
    let authority = dev.data().join("ca.pem");
    for (version, name) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2"), ("", "HTTP/3")] {
        for path in ["/page", "/stored"] {
            let path = format!("{path}-by-{}", &name[5..]);
            let (mut command, hints, answered) = if name == "HTTP/3" {
                let command = http3::asking(&dev, &["--tell-interim"], &[&path]);
                (command, "\"interim\": 103".to_owned(), "\"status\": 200".to_owned())
            } else {
                let url = dev.https_url(HOST, &path);
                let command = dev.curl_command(&authority, &["-sSv", version, &url]);
                (command, format!("< {name} 103"), format!("< {name} 200"))
            };
            let mut client = started(&mut command);
            let (mut body, mut told) = (client.stdout.take().unwrap(), client.stderr.take().unwrap());
            // curl tells of heads as they come on standard error; its standard output it keeps back.
            let heads: &mut dyn Read = if name == "HTTP/3" { &mut body } else { &mut told };
            let (mut heads, mut text) = (BufReader::new(heads), String::new());
            // The origin has not answered, and does not before the hints are here.
            while !(text.contains(&hints) && text.contains(HINT)) {
                let octets = heads.read_line(&mut text).unwrap();
                assert!(octets > 0 && !text.contains(&answered), "{name} {path}: {text}");
            }
            origin.answer.send(()).unwrap();
            let mut rest = String::new();
            heads.read_to_string(&mut rest).unwrap();
            body.read_to_string(&mut rest).unwrap();
            assert!(rest.contains(&answered) && rest.contains("the page"), "{name} {path}: {rest}");
            assert!(rest.contains(HINT), "the answer has the field, too: {rest}");
            assert!(client.wait().unwrap().success());
        }
    }
    // A hit is there at once: there is nothing to hint at before it.
    let hit = dev.curl(&["-sSi", "--http2", &dev.https_url(HOST, "/stored-by-2")]);
    assert!(hit.contains("cf-cache-status: HIT") && !hit.contains(" 103"), "{hit}");
}

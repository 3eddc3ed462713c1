//! gRPC through the real binary, to an origin of grpcio's (`tests/clients/grpc_calls.py`): grpcio is the client by HTTP/2, and
//! aioquic by HTTP/3, which grpcio does not speak.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    HOST,
    dev::Dev,
    http3::{ask, python},
    running::Running,
};

/// A server of grpcio's behind a site, and a client of its that waits to be told to begin.
struct Grpc {
    python: Running,
    dev: Dev,
    tell: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Grpc {
    fn start() -> Self {
        let dev = Dev::start();
        let mut command = Command::new(python());
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/grpc_calls.py"))
            .args(["--connect", &dev.https().to_string(), "--host", HOST, "--ca"])
            .arg(dev.data().join("ca.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut python = Running::start(&mut command);
        let tell = python.0.stdin.take().unwrap();
        let mut said = BufReader::new(python.0.stdout.take().unwrap()).lines();
        let port = said.next().expect("it serves").unwrap().parse().expect("a port");

        dev.proxima(&["zones", "add", "example.com"]);
        dev.proxima(&["dns", "add", "example.com", "A", "www", "127.0.0.1", "--proxied"]);
        dev.send_to_origin("example.com", port);
        dev.set("example.com", "ssl", "full");
        Self { python, dev, tell, said }
    }
}

#[test]
fn calls_of_every_kind_come_back_with_their_trailers() {
    let mut grpc = Grpc::start();
    writeln!(grpc.tell, "go").unwrap();
    let told: Value = serde_json::from_str(&grpc.said.next().expect("it tells").unwrap()).unwrap();
    let expected = json!({
        "echo": [true, "this", "OK"],
        "refuse": ["NOT_FOUND", "there is none: 100 %"],
        "unheard-of": "UNIMPLEMENTED",
        "count": ["0", "1", "2", "3"],
        "sum": "42",
        "chat": ["you said hello", "you said goodbye"],
    });
    assert_eq!(told, expected);
    assert!(grpc.python.0.wait().unwrap().success());
}

/// Messages as gRPC puts them into a body: not compressed, and of this length.
fn framed(messages: &[&str]) -> String {
    messages
        .iter()
        .map(|message| format!("\0\0\0\0{}{message}", char::from(u8::try_from(message.len()).unwrap())))
        .collect()
}

#[test]
fn calls_by_http3_come_back_with_their_trailers() {
    let grpc = Grpc::start();
    let call = |method: &str, messages: &[&str]| {
        let octets: String = framed(messages).bytes().map(|octet| format!("{octet:02x}")).collect();
        let fields = ["content-type: application/grpc", "te: trailers", "x-asked: this"];
        let more: Vec<&str> =
            fields.iter().flat_map(|field| ["--field", field]).chain(["--data-hex", &octets]).collect();
        ask(&grpc.dev, &more, &[&format!("/test/{method}")]).remove(0)
    };
    let echo = call("Echo", &["hello"]);
    assert_eq!((&echo["status"], &echo["body"]), (&json!(200), &json!(framed(&["hello"]))), "{echo}");
    assert_eq!(echo["headers"]["content-type"], "application/grpc", "{echo}");
    assert_eq!(echo["headers"]["grpc-status"], Value::Null, "it comes behind the message: {echo}");
    assert_eq!((&echo["trailers"]["grpc-status"], &echo["trailers"]["x-saw"]), (&json!("0"), &json!("this")));

    let count = call("Count", &["3"]);
    assert_eq!(count["body"], framed(&["0", "1", "2"]), "{count}");
    assert_eq!(count["trailers"]["grpc-status"], "0", "{count}");
    let sum = call("Sum", &["1", "2", "39"]);
    assert_eq!((&sum["body"], &sum["trailers"]["grpc-status"]), (&json!(framed(&["42"])), &json!("0")));

    // Where there is no message, trailers are all that there is: the head has them, or they stand alone behind it.
    let refused = call("Refuse", &[""]);
    let said = |field: &str| refused["trailers"][field].as_str().or(refused["headers"][field].as_str());
    assert_eq!((said("grpc-status"), refused["body"].as_str()), (Some("5"), Some("")), "{refused}");
    assert_eq!(said("grpc-message"), Some("there is none: 100 %25"), "{refused}");
}

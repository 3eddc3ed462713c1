//! gRPC through the real binary: grpcio is the client and the origin (`tests/clients/grpc_calls.py`).

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{HOST, dev::Dev, http3::python, process::dies_with_the_test};

#[test]
fn calls_of_every_kind_come_back_with_their_trailers() {
    let dev = Dev::start();
    let mut command = Command::new(python());
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/grpc_calls.py"))
        .args(["--connect", &dev.https().to_string(), "--host", HOST, "--ca"])
        .arg(dev.data().join("ca.pem"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut client = dies_with_the_test(&mut command).spawn().unwrap();
    let mut said = BufReader::new(client.stdout.take().unwrap()).lines();
    let port = said.next().expect("it serves").unwrap().parse().expect("a port");

    dev.proxima(&["zones", "add", "example.com"]);
    dev.proxima(&["dns", "add", "example.com", "A", "www", "127.0.0.1", "--proxied"]);
    dev.send_to_origin("example.com", port);
    dev.set("example.com", "ssl", "full");
    writeln!(client.stdin.take().unwrap(), "go").unwrap();

    let told: Value = serde_json::from_str(&said.next().expect("it tells").unwrap()).unwrap();
    let expected = json!({
        "echo": [true, "this", "OK"],
        "refuse": ["NOT_FOUND", "there is none: 100 %"],
        "unheard-of": "UNIMPLEMENTED",
        "count": ["0", "1", "2", "3"],
        "sum": "42",
        "chat": ["you said hello", "you said goodbye"],
    });
    assert_eq!(told, expected);
    assert!(client.wait().unwrap().success());
}

//! Connections to S3: who gives no place back by themselves, who takes too many, and TLS.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{
    cluster::{Cluster, until},
    dev::Dev,
    process::{free_for_both, output},
};

/// How long the server waits for a first request, and how long for the next one; it looks every three seconds.
const HEAD_DEADLINE: Duration = Duration::from_secs(15);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Beyond that, a busy machine.
const LATE_MAX: Duration = Duration::from_secs(25);

/// Says something, and tells when the server closes, with what it had answered.
fn closed_after(address: SocketAddr, said: &'static [u8]) -> (Duration, String) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(said).unwrap();
    stream.set_read_timeout(Some(KEEP_ALIVE + LATE_MAX)).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{:?}: {error}", String::from_utf8_lossy(said)),
    }
    (begun.elapsed(), String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn who_says_nothing_or_no_more_gives_the_place_back() {
    let dev = Dev::start();
    let s3 = dev.s3;
    let asks = b"GET /abc HTTP/1.1\r\nhost: a\r\n\r\n";
    let cases: [(&'static [u8], Duration); 6] = [
        (b"", HEAD_DEADLINE),
        (b"PRI * HTT", HEAD_DEADLINE),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", HEAD_DEADLINE),
        (b"GET /abc HTTP/1.1\r\nhost: a\r\nx-a: ", HEAD_DEADLINE),
        (asks, KEEP_ALIVE),
        // Its body is announced and does not come; it is refused all the same.
        (b"PUT /abc/k HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n", Duration::ZERO),
    ];
    let threads = cases.map(|(said, least)| (said, least, thread::spawn(move || closed_after(s3, said))));
    for (said, least, thread) in threads {
        let (took, answer) = thread.join().unwrap();
        let told = String::from_utf8_lossy(said);
        assert!(took >= least && took < least + KEEP_ALIVE + LATE_MAX, "{told:?}: closed after {took:?}");
        assert_eq!(answer.starts_with("HTTP/1.1 403"), least != HEAD_DEADLINE, "{told:?}: {answer}");
    }
}

#[test]
fn a_client_has_so_many_connections_and_tls_is_the_nodes_own() {
    let (s3, https) = (free_for_both(), free_for_both());
    let cluster = Cluster::with(|name| match name {
        "log" => {
            format!("[r2]\nlisten = [\"{s3}\"]\nhttps = [\"{https}\"]\nconnections_per_client_max = 2\n")
        }
        _ => String::new(),
    });
    let _log = cluster.start("log");
    let curl = |resolve: &str, scheme: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "--cacert"]).arg(cluster.at("ca").join("ca.pem"));
        output(curl.args(["--resolve", resolve, scheme]))
    };
    let (port, name) = (https.port(), "log.node.internal");
    let resolve = format!("{name}:{port}:{}", https.ip());
    let text = until("AccessDenied", || curl(&resolve, &format!("https://{name}:{port}/bucket")));
    assert!(text.contains("<Error>"), "{text}");
    let open = || TcpStream::connect(s3).unwrap();
    let is_closed = |mut stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        match stream.read(&mut [0]) {
            Ok(octets) => octets == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    };
    // Places of what came before are free when that has ended.
    let mut kept = Vec::new();
    until("both", || {
        kept = vec![open(), open()];
        (true, if kept.iter().any(is_closed) { String::new() } else { "both".to_owned() })
    });
    assert!(is_closed(&open()), "the third is one too many");
    drop(kept);
    until("AccessDenied", || curl(&resolve, &format!("http://{s3}/bucket")));
}

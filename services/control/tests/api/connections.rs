//! Connections of clients, when the node goes, and when a body is not read.

use proxima_control::limits;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::Node;

const REQUEST: &[u8] = b"GET /client/v4/user/tokens/verify HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

async fn ask(mut stream: TcpStream) -> String {
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn who_had_connected_before_a_drain_is_heard_and_answered() {
    let node = Node::start().await;
    let first = TcpStream::connect(node.bound[0]).await.unwrap();
    // Connections are accepted in their order: with the answer to this one, the first has been, too.
    let answer = ask(TcpStream::connect(node.bound[0]).await.unwrap()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    node.context.shutdown.begin_drain();
    let answer = ask(first).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("\"success\":false"), "{answer}");
}

/// Octets of a body that lies in no buffer of the system between.
const LARGE: usize = 12 << 20;

/// A request that is refused before its body is read.
fn refused(framing: &str) -> String {
    format!("PUT /client/v4/nothing HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n")
}

/// Reads an answer that says how long it is; its head, in lower case, and its body.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let (_, length) = head.split_once("content-length: ").unwrap_or_else(|| panic!("{head}"));
    let length = length.split_once("\r\n").unwrap().0.parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn a_connection_goes_on_after_a_small_body_that_nobody_reads() {
    let node = Node::start().await;
    let mut stream = TcpStream::connect(node.bound[0]).await.unwrap();
    for (framing, body) in
        [("content-length: 5", "hello"), ("transfer-encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")]
    {
        stream.write_all(refused(framing).as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let (head, body) = answer(&mut stream).await;
        assert!(head.starts_with("http/1.1 404 ") && !head.contains("connection: close"), "{head}");
        assert!(body.contains("7000"), "{body}");
    }
    assert!(ask(stream).await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test]
async fn who_sends_all_of_a_large_body_before_it_reads_is_answered_and_told_that_the_connection_ends() {
    let node = Node::start().await;
    for is_chunked in [false, true] {
        let mut stream = TcpStream::connect(node.bound[0]).await.unwrap();
        let framing = match is_chunked {
            true => "transfer-encoding: chunked".to_owned(),
            false => format!("content-length: {LARGE}"),
        };
        stream.write_all(refused(&framing).as_bytes()).await.unwrap();
        if is_chunked {
            stream.write_all(format!("{LARGE:x}\r\n").as_bytes()).await.unwrap();
        }
        stream.write_all(&vec![b'x'; LARGE]).await.unwrap();
        if is_chunked {
            stream.write_all(b"\r\n0\r\n\r\n").await.unwrap();
        }
        let (head, body) = answer(&mut stream).await;
        assert!(head.contains("\r\nconnection: close\r\n") && body.contains("7000"), "{head}{body}");
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_body_without_end_is_not_read_without_end_and_its_sender_hears_why() {
    let node = Node::start().await;
    let stream = TcpStream::connect(node.bound[0]).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let sent = tokio::spawn(async move {
        writing.write_all(refused(&format!("content-length: {}", u64::MAX / 4)).as_bytes()).await.unwrap();
        let octets = vec![b'x'; 1 << 20];
        let mut sent = 0;
        while writing.write_all(&octets).await.is_ok() {
            sent += octets.len();
        }
        sent
    });
    let (head, body) = answer(&mut reading).await;
    assert!(head.contains("\r\nconnection: close\r\n") && body.contains("7000"), "{head}{body}");
    let sent = sent.await.unwrap();
    assert!(sent < 2 * (limits::UNREAD_DISCARDED_OCTETS_MAX + limits::LINGER_OCTETS_MAX), "{sent}");
}

#[tokio::test]
async fn who_waits_to_be_asked_for_a_body_is_refused_without_being_asked() {
    let node = Node::start().await;
    let mut stream = TcpStream::connect(node.bound[0]).await.unwrap();
    let framing = format!("expect: 100-continue\r\ncontent-length: {LARGE}");
    stream.write_all(refused(&framing).as_bytes()).await.unwrap();
    let (head, _) = answer(&mut stream).await;
    assert!(head.starts_with("http/1.1 404 ") && head.contains("\r\nconnection: close\r\n"), "{head}");
    // One that did not wait for long gets to send.
    stream.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

//! Bodies of requests.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use proxima_pipeline::{Body, BodyError, Fault};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Mutex,
};

use super::harness::{Edge, FakeOrigin, PATIENCE, read_head, text};

/// Tells all that it gets up to `end`, then answers 204.
async fn recording(end: &'static str) -> (FakeOrigin, Arc<Mutex<String>>) {
    let got = Arc::new(Mutex::new(String::new()));
    let record = got.clone();
    let origin = FakeOrigin::start(move |mut socket, _| {
        let record = record.clone();
        async move {
            let mut all = Vec::new();
            while !all.ends_with(end.as_bytes()) {
                match socket.read_u8().await {
                    Ok(octet) => all.push(octet),
                    Err(_) => break,
                }
            }
            *record.lock().await = String::from_utf8(all).unwrap();
            socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok();
        }
    })
    .await;
    (origin, got)
}

async fn sent(method: Method, body: Body, end: &'static str) -> String {
    let (origin, got) = recording(end).await;
    let edge = Edge::new();
    let mut exchange = edge.request(origin.address, "/path?query");
    exchange.request.method = method;
    exchange.request_body = body;
    assert_eq!(edge.fetch(&mut exchange).await.unwrap().status, StatusCode::NO_CONTENT);
    std::mem::take(&mut *got.lock().await)
}

#[tokio::test]
async fn requests_are_written_with_the_framing_that_their_body_has() {
    let head = |rest: &str| format!(" /path?query HTTP/1.1\r\nhost: www.example.com\r\n{rest}\r\n");
    assert_eq!(sent(Method::GET, Body::empty(), "\r\n\r\n").await, format!("GET{}", head("")));
    let empty = head("content-length: 0\r\n");
    assert_eq!(sent(Method::POST, Body::empty(), "\r\n\r\n").await, format!("POST{empty}"));
    let whole = head("content-length: 5\r\n");
    assert_eq!(sent(Method::PUT, Body::full("hello"), "hello").await, format!("PUT{whole}hello"));

    let (mut sender, body) = Body::channel(4, None);
    sender.send(Bytes::from_static(b"hello ")).await.unwrap();
    sender.send(Bytes::from_static(b"world")).await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    sender.send_trailers(trailers).await.unwrap();
    sender.finish().await;
    let chunked = head("transfer-encoding: chunked\r\n");
    assert_eq!(
        sent(Method::POST, body, "7\r\n\r\n").await,
        format!("POST{chunked}6\r\nhello \r\n5\r\nworld\r\n0\r\nx-sum: 7\r\n\r\n")
    );
}

#[tokio::test]
async fn the_origin_sees_the_host_that_a_rule_says_and_the_stages_the_one_asked_for() {
    let (origin, got) = recording("\r\n\r\n").await;
    let edge = Edge::new();
    let mut exchange = edge.request(origin.address, "/");
    exchange.origin.host_header = Some("inner.example:8000".into());
    edge.fetch(&mut exchange).await.unwrap();
    assert!(got.lock().await.contains("\r\nhost: inner.example:8000\r\n"));
    assert_eq!(exchange.request.headers["host"], "www.example.com");
}

#[tokio::test]
async fn a_body_streams_while_its_answer_streams_back() {
    // An echo: the answer begins before the request has ended.
    let origin = FakeOrigin::start(|mut socket, _| async move {
        read_head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n").await.ok();
        let mut piece = [0; 4];
        for _ in 0..2 {
            socket.read_exact(&mut piece).await.unwrap();
            socket.write_all(&piece).await.unwrap();
        }
        assert!(!read_head(&mut socket).await.is_empty(), "the connection is used again");
        socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok();
    })
    .await;
    let edge = Edge::new();
    let mut exchange = edge.request(origin.address, "/");
    exchange.request.method = Method::POST;
    let (mut sender, body) = Body::channel(1, Some(8));
    exchange.request_body = body;
    let mut answer = edge.fetch(&mut exchange).await.unwrap().body;
    for piece in [&b"ping"[..], b"pong"] {
        sender.send(Bytes::from_static(piece)).await.unwrap();
        let echoed = tokio::time::timeout(PATIENCE, answer.next_frame()).await.unwrap();
        assert_eq!(echoed.unwrap().unwrap().into_data().unwrap(), piece);
    }
    assert!(answer.next_frame().await.is_none());
    assert_eq!(edge.get(&origin).await.unwrap().status, StatusCode::NO_CONTENT);
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn an_origin_that_answers_early_and_stops_reading_is_heard() {
    let origin = FakeOrigin::start(|mut socket, _| async move {
        read_head(&mut socket).await;
        let answer = "HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nno!";
        socket.write_all(answer.as_bytes()).await.ok();
        // As servers do it: say no more, and read on until the other side has heard.
        socket.shutdown().await.ok();
        tokio::io::copy(&mut socket, &mut tokio::io::sink()).await.ok();
    })
    .await;
    let edge = Edge::new();
    let mut exchange = edge.request(origin.address, "/");
    exchange.request.method = Method::POST;
    let (mut sender, body) = Body::channel(1, None);
    exchange.request_body = body;
    sender.send(Bytes::from(vec![b'x'; 1 << 20])).await.unwrap();
    let response = edge.fetch(&mut exchange).await.unwrap();
    assert_eq!(response.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(text(response).await.unwrap(), "no!");
    sender.closed().await;
}

#[tokio::test]
async fn a_request_body_that_breaks_off_is_the_clients_fault() {
    for (error, status) in [
        (BodyError::Aborted, 400),
        (BodyError::Malformed, 400),
        (BodyError::WrongLength, 400),
        (BodyError::TooLarge, 413),
        (BodyError::TimedOut, 408),
    ] {
        let (origin, _) = recording("never").await;
        let edge = Edge::new();
        let mut exchange = edge.request(origin.address, "/");
        exchange.request.method = Method::POST;
        let (mut sender, body) = Body::channel(2, None);
        exchange.request_body = body;
        sender.send(Bytes::from_static(b"hello")).await.unwrap();
        sender.fail(error).await;
        let fault = edge.fetch(&mut exchange).await.unwrap_err();
        assert_eq!(fault.status().as_u16(), status, "{error:?}");
    }
}

#[tokio::test]
async fn a_request_body_of_the_wrong_length_never_ends_a_request() {
    let cases: [(&'static [u8], u64); 2] = [(b"longer than that", 4), (b"shorter", 400)];
    for (data, length) in cases {
        let (origin, got) = recording("never").await;
        let edge = Edge::new();
        let mut exchange = edge.request(origin.address, "/");
        exchange.request.method = Method::POST;
        let (mut sender, body) = Body::channel(2, Some(length));
        exchange.request_body = body;
        sender.send(Bytes::from_static(data)).await.unwrap();
        sender.finish().await;
        let fault = edge.fetch(&mut exchange).await.unwrap_err();
        assert!(matches!(fault, Fault::BadRequest(_)), "{fault:?}");
        drop(got);
    }
}

#[tokio::test]
async fn half_a_request_gets_no_whole_answer() {
    let origin = FakeOrigin::start(|mut socket, _| async move {
        read_head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf").await.ok();
        tokio::io::copy(&mut socket, &mut tokio::io::sink()).await.ok();
    })
    .await;
    let edge = Edge::new();
    let mut exchange = edge.request(origin.address, "/");
    exchange.request.method = Method::POST;
    let (sender, body) = Body::channel(1, Some(8));
    exchange.request_body = body;
    let mut answer = edge.fetch(&mut exchange).await.unwrap().body;
    assert_eq!(answer.next_frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    sender.fail(BodyError::Malformed).await;
    assert_eq!(answer.next_frame().await.unwrap().unwrap_err(), BodyError::Aborted);
}

//! Bodies of answers.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use http::{Method, StatusCode};
use http_body::Body as _;
use proxima_pipeline::BodyError;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::{Duration, timeout},
};

use super::harness::{Edge, FakeOrigin, PATIENCE, patient, read_head, reset, short, text, until};
use crate::origin::{OriginConfig, OriginTimeouts};

#[tokio::test]
async fn every_framing_is_read_to_its_end() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\n\r\nhello",
    ] {
        let origin = FakeOrigin::answering(answer).await;
        assert_eq!(text(Edge::new().get(&origin).await.unwrap()).await.unwrap(), "hello", "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_meant_for_one_connection_is_taken_off() {
    let answer = "HTTP/1.1 200 OK\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
                  proxy-authenticate: Basic\r\ncontent-length: 0\r\nx-kept: 1\r\n\r\n";
    let origin = FakeOrigin::answering(answer).await;
    let headers = Edge::new().get(&origin).await.unwrap().headers;
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "x-kept"]);
}

#[tokio::test]
async fn trailers_are_passed_on() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n";
    let origin = FakeOrigin::answering(answer).await;
    let mut body = Edge::new().get(&origin).await.unwrap().body;
    assert_eq!(body.next_frame().await.unwrap().unwrap().into_data().unwrap(), "hi");
    let trailers = body.next_frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["x-sum"], "7");
    assert!(body.next_frame().await.is_none());
}

#[tokio::test]
async fn answers_without_body_have_none_whatever_they_declare() {
    for (method, status, line) in [
        (Method::HEAD, StatusCode::OK, "200 OK"),
        (Method::GET, StatusCode::NOT_MODIFIED, "304 Not Modified"),
        (Method::GET, StatusCode::NO_CONTENT, "204 No Content"),
    ] {
        let answer = format!("HTTP/1.1 {line}\r\ncontent-length: 5\r\n\r\n").leak();
        let origin = FakeOrigin::persistent(answer).await;
        let edge = Edge::new();
        for _ in 0..2 {
            let mut exchange = edge.request(origin.address, "/");
            exchange.request.method = method.clone();
            let response = edge.fetch(&mut exchange).await.unwrap();
            assert_eq!((response.status, response.body.is_empty()), (status, true));
            assert_eq!(response.headers["content-length"], "5");
        }
        assert_eq!(origin.accepted(), 1, "{line}: the connection is used again");
    }
}

#[tokio::test]
async fn bodies_that_break_off_or_break_their_framing_say_how() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", BodyError::WrongLength),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", BodyError::Aborted),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", BodyError::Aborted),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloX", BodyError::Malformed),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n", BodyError::Malformed),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n", BodyError::Malformed),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", BodyError::Malformed),
    ] {
        let origin = FakeOrigin::answering(answer).await;
        let response = Edge::new().get(&origin).await.unwrap();
        assert_eq!(text(response).await.unwrap_err(), expected, "{answer:?}");
    }
}

#[tokio::test]
async fn a_reset_within_the_body_aborts_it() {
    let (tell, mut told) = mpsc::channel::<()>(1);
    let told = Arc::new(tokio::sync::Mutex::new(Some(async move { told.recv().await })));
    let origin = FakeOrigin::start(move |mut socket, _| {
        let told = told.clone();
        async move {
            read_head(&mut socket).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").await.ok();
            if let Some(told) = told.lock().await.take() {
                told.await;
            }
            reset(socket);
        }
    })
    .await;
    let mut body = Edge::new().get(&origin).await.unwrap().body;
    assert_eq!(body.next_frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    tell.send(()).await.unwrap();
    let next = timeout(PATIENCE, body.next_frame()).await.unwrap();
    assert_eq!(next.unwrap().unwrap_err(), BodyError::Aborted);
    assert!(body.next_frame().await.is_none());
}

#[tokio::test]
async fn a_body_that_stalls_times_out() {
    let origin = FakeOrigin::start(|mut socket, _| async move {
        read_head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").await.ok();
        socket.read_to_end(&mut Vec::new()).await.ok();
    })
    .await;
    let timeouts = OriginTimeouts { between_reads: short().between_reads, ..patient() };
    let edge = Edge::with(OriginConfig { timeouts, ..OriginConfig::default() }, |_| {});
    assert_eq!(text(edge.get(&origin).await.unwrap()).await.unwrap_err(), BodyError::TimedOut);
}

#[tokio::test]
async fn what_comes_behind_an_answer_is_nobodys_and_ends_the_connection() {
    let origin = FakeOrigin::persistent(
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
    )
    .await;
    let edge = Edge::new();
    for request in 1..=3 {
        assert_eq!(text(edge.get(&origin).await.unwrap()).await.unwrap(), "hello");
        assert_eq!(origin.accepted(), request);
    }
}

/// Octets of the body in the test below: far more than may lie in between.
const HUGE: u64 = 256 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_body_waits_for_its_reader() {
    let written = Arc::new(AtomicU64::new(0));
    let (stalled, mut stalls) = mpsc::channel::<u64>(1);
    let counter = written.clone();
    let origin = FakeOrigin::start(move |mut socket, _| {
        let (written, stalled) = (counter.clone(), stalled.clone());
        async move {
            read_head(&mut socket).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {HUGE}\r\n\r\n");
            socket.write_all(head.as_bytes()).await.unwrap();
            let piece = vec![b'x'; 1 << 16];
            let mut left = HUGE;
            while left > 0 {
                let octets = usize::try_from(left.min(piece.len() as u64)).unwrap();
                let mut writing = Box::pin(socket.write(&piece[..octets]));
                let done = match timeout(Duration::from_millis(300), &mut writing).await {
                    Ok(done) => done,
                    Err(_) => {
                        // Only the first counts, and nobody takes the others.
                        stalled.try_send(written.load(Ordering::SeqCst)).ok();
                        writing.await
                    }
                };
                let done = done.unwrap() as u64;
                written.fetch_add(done, Ordering::SeqCst);
                left -= done;
            }
        }
    })
    .await;
    let mut body = Edge::new().get(&origin).await.unwrap().body;
    assert_eq!(body.size_hint().exact(), Some(HUGE));
    let mut read = body.next_frame().await.unwrap().unwrap().into_data().unwrap().len() as u64;
    // Nobody reads on: the origin fills the kernel's buffers, and then it waits.
    let in_flight = timeout(PATIENCE, stalls.recv()).await.expect("the origin is made to wait").unwrap();
    assert!(in_flight < HUGE / 8, "{in_flight} octets are in flight although nobody reads");
    let mut longest = 0;
    while let Some(frame) = body.next_frame().await {
        let data = frame.unwrap().into_data().unwrap();
        longest = longest.max(data.len());
        read += data.len() as u64;
    }
    assert_eq!(read, HUGE);
    assert!(longest <= 128 * 1024, "a piece has {longest} octets");
}

#[tokio::test]
async fn a_body_that_is_dropped_closes_its_connection() {
    let closed = Arc::new(AtomicU64::new(0));
    let counter = closed.clone();
    let origin = FakeOrigin::start(move |mut socket, _| {
        let closed = counter.clone();
        async move {
            read_head(&mut socket).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhello").await.ok();
            socket.read_to_end(&mut Vec::new()).await.ok();
            closed.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    drop(Edge::new().get(&origin).await.unwrap());
    until("the origin sees the end", || closed.load(Ordering::SeqCst) == 1).await;
}

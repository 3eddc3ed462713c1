//! Connections that are used again, and requests that are sent again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use proxima_pipeline::{Body, Fault};
use tokio::{
    io::AsyncWriteExt,
    sync::{Notify, Semaphore},
};

use super::harness::{Edge, FakeOrigin, patient, read_head, short, text, until};
use crate::origin::{OriginConfig, OriginLimits, OriginTimeouts};

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_connection_is_used_again_once_its_answer_was_read() {
    let origin = FakeOrigin::persistent(HELLO).await;
    let edge = Edge::new();
    for _ in 0..5 {
        assert_eq!(text(edge.get(&origin).await.unwrap()).await.unwrap(), "hello");
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn an_answer_that_says_close_ends_its_connection() {
    for answer in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ] {
        let origin = FakeOrigin::persistent(answer).await;
        let edge = Edge::new();
        for _ in 0..2 {
            assert_eq!(text(edge.get(&origin).await.unwrap()).await.unwrap(), "hello");
        }
        assert_eq!(origin.accepted(), 2, "{answer}");
    }
}

#[tokio::test]
async fn a_connection_that_was_idle_for_too_long_is_not_used() {
    let origin = FakeOrigin::persistent(HELLO).await;
    let timeouts = OriginTimeouts { idle: Duration::ZERO, ..OriginTimeouts::default() };
    let edge = Edge::with(OriginConfig { timeouts, ..OriginConfig::default() }, |_| {});
    for _ in 0..2 {
        assert_eq!(text(edge.get(&origin).await.unwrap()).await.unwrap(), "hello");
    }
    assert_eq!(origin.accepted(), 2);
}

/// Answers the first request of its first connection, and closes it on the second, which it counts.
async fn closing(second_requests: Arc<AtomicUsize>) -> FakeOrigin {
    FakeOrigin::start(move |mut socket, before| {
        let second_requests = second_requests.clone();
        async move {
            read_head(&mut socket).await;
            socket.write_all(HELLO.as_bytes()).await.ok();
            if !read_head(&mut socket).await.is_empty() {
                if before == 0 {
                    second_requests.fetch_add(1, Ordering::SeqCst);
                } else {
                    socket.write_all(HELLO.as_bytes()).await.ok();
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_safe_request_is_sent_again_when_a_reused_connection_closes_without_an_answer() {
    let seen = Arc::new(AtomicUsize::new(0));
    let origin = closing(seen.clone()).await;
    let edge = Edge::new();
    assert_eq!(text(edge.get(&origin).await.unwrap()).await.unwrap(), "hello");
    assert_eq!(text(edge.get(&origin).await.unwrap()).await.unwrap(), "hello");
    assert_eq!((seen.load(Ordering::SeqCst), origin.accepted()), (1, 2));
}

#[tokio::test]
async fn an_idempotent_request_is_sent_again_with_its_body_while_that_is_here() {
    let seen = Arc::new(AtomicUsize::new(0));
    let origin = closing(seen.clone()).await;
    let edge = Edge::new();
    edge.get(&origin).await.unwrap();
    let mut exchange = edge.request(origin.address, "/");
    exchange.request.method = Method::PUT;
    exchange.request_body = Body::full("whole");
    assert_eq!(text(edge.fetch(&mut exchange).await.unwrap()).await.unwrap(), "hello");
    assert_eq!((seen.load(Ordering::SeqCst), origin.accepted()), (1, 2));
}

#[tokio::test]
async fn a_request_that_could_act_twice_is_not_sent_again() {
    for (method, streams) in [(Method::POST, false), (Method::POST, true), (Method::PUT, true)] {
        let seen = Arc::new(AtomicUsize::new(0));
        let origin = closing(seen.clone()).await;
        let edge = Edge::new();
        edge.get(&origin).await.unwrap();
        let mut exchange = edge.request(origin.address, "/");
        exchange.request.method = method.clone();
        exchange.request_body = if streams {
            let (mut sender, body) = Body::channel(2, None);
            sender.send(Bytes::from_static(b"gone")).await.unwrap();
            sender.finish().await;
            body
        } else {
            Body::full("gone")
        };
        let fault = edge.fetch(&mut exchange).await.unwrap_err();
        assert_eq!(fault, Fault::OriginClosed, "{method}, streams: {streams}");
        assert_eq!((seen.load(Ordering::SeqCst), origin.accepted()), (1, 1), "{method}, streams: {streams}");
    }
}

#[tokio::test]
async fn a_request_that_could_act_twice_is_not_sent_into_a_connection_that_has_ended() {
    let ended = Arc::new(Notify::new());
    let notifier = ended.clone();
    let origin = FakeOrigin::start(move |mut socket, _| {
        let ended = notifier.clone();
        async move {
            read_head(&mut socket).await;
            socket.write_all(HELLO.as_bytes()).await.ok();
            socket.shutdown().await.ok();
            ended.notify_one();
        }
    })
    .await;
    let edge = Edge::new();
    for request in 1..=3 {
        let mut exchange = edge.request(origin.address, "/");
        exchange.request.method = Method::POST;
        assert_eq!(text(edge.fetch(&mut exchange).await.unwrap()).await.unwrap(), "hello");
        ended.notified().await;
        assert_eq!(origin.accepted(), request);
    }
}

#[tokio::test]
async fn requests_beyond_the_limit_wait_and_those_beyond_the_queue_are_refused() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let origin = FakeOrigin::start(move |mut socket, _| {
        let gate = held.clone();
        async move {
            while !read_head(&mut socket).await.is_empty() {
                gate.acquire().await.unwrap().forget();
                socket.write_all(HELLO.as_bytes()).await.ok();
            }
        }
    })
    .await;
    let limits =
        OriginLimits { connections_per_origin_max: 1, waiting_per_origin_max: 1, ..OriginLimits::default() };
    let edge = Edge::with(OriginConfig { limits, ..OriginConfig::default() }, |_| {});
    let (mut first, mut second, mut third) = (
        edge.request(origin.address, "/1"),
        edge.request(origin.address, "/2"),
        edge.request(origin.address, "/3"),
    );
    let (first, second, ()) = tokio::join!(edge.fetch(&mut first), edge.fetch(&mut second), async {
        until("the first request has come", || origin.accepted() == 1).await;
        assert_eq!(edge.fetch(&mut third).await.unwrap_err(), Fault::Overloaded);
        gate.add_permits(2);
    });
    for answer in [first, second] {
        assert_eq!(text(answer.unwrap()).await.unwrap(), "hello");
    }
    assert_eq!(origin.accepted(), 1, "who waited gets the same connection");
}

#[tokio::test]
async fn who_waits_for_a_connection_does_not_wait_without_end() {
    let origin = FakeOrigin::start(|mut socket, _| async move {
        read_head(&mut socket).await;
        std::future::pending::<()>().await;
    })
    .await;
    let limits = OriginLimits { connections_per_origin_max: 1, ..OriginLimits::default() };
    let timeouts = OriginTimeouts { queue: short().queue, first_byte: Duration::from_secs(60), ..patient() };
    let edge = Edge::with(OriginConfig { limits, timeouts, ..OriginConfig::default() }, |_| {});
    let mut hanging = edge.request(origin.address, "/");
    tokio::select! {
        _ = edge.fetch(&mut hanging) => panic!("the origin does not answer"),
        () = async {
            until("the first request has come", || origin.accepted() == 1).await;
            assert_eq!(edge.get(&origin).await.unwrap_err(), Fault::Overloaded);
        } => {}
    }
}

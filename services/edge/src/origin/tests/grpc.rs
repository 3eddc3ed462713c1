//! gRPC, by HTTP/2 to the origin.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Method, Request, Response as Head, StatusCode};
use http_body::{Body as _, Frame};
use proxima_model::{OriginMaxHttpVersion, SslMode};
use proxima_pipeline::{Body, BodyError, Exchange, Fault, Response};
use rustls::ServerConfig;
use tokio::{
    io::AsyncWriteExt,
    sync::{Notify, Semaphore},
};
use tokio_rustls::TlsAcceptor;

use super::{
    harness::{Edge, FakeOrigin, PATIENCE, patient, read_head, short, text},
    tls::{Authority, edge},
};
use crate::origin::{OriginConfig, OriginLimits, OriginTimeouts};

/// An origin that speaks these protocols by TLS, and HTTP/2 by `script`, which gets each request.
async fn origin<F>(
    protocols: &'static [&'static str],
    script: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + Sync + 'static,
) -> FakeOrigin
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut config: ServerConfig = (*Authority::new().server("www.example.com")).clone();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let (config, script) = (Arc::new(config), Arc::new(script));
    FakeOrigin::start(move |socket, _| {
        let (acceptor, script) = (TlsAcceptor::from(config.clone()), script.clone());
        async move {
            let Ok(mut tls) = acceptor.accept(socket).await else { return };
            if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
                while !read_head(&mut tls).await.is_empty() {
                    tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold").await.ok();
                    tls.flush().await.ok();
                }
                return;
            }
            let Ok(mut connection) = h2::server::handshake(tls).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                let gone = request.uri().path() == "/goes-away";
                tokio::spawn(script(request, respond));
                if gone {
                    connection.graceful_shutdown();
                }
            }
        }
    })
    .await
}

fn call(edge: &Edge, to: &FakeOrigin, path: &str, body: Body) -> Exchange {
    let mut exchange = edge.request_by("https", to.address, path);
    exchange.request.method = Method::POST;
    exchange.request.headers.insert("content-type", "application/grpc+proto".parse().unwrap());
    exchange.request_body = body;
    exchange
}

fn trailers(status: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    trailers
}

/// Sends every message back as it comes, then the trailers.
async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    assert_eq!(request.headers()["te"], "trailers");
    assert_eq!(request.uri().host(), Some("www.example.com"));
    let head = Head::builder().header("content-type", "application/grpc+proto").body(()).unwrap();
    match request.uri().path() {
        "/trailers-only" => {
            let mut head = head;
            head.headers_mut().extend(trailers("12"));
            respond.send_response(head, true).unwrap();
            return;
        }
        "/reset" => return respond.send_reset(h2::Reason::INTERNAL_ERROR),
        "/silent" => return std::future::pending().await,
        _ => {}
    }
    let mut answer = respond.send_response(head, false).unwrap();
    let mut body = request.into_body();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        // A client that has gone is nothing to an echo.
        answer.send_data(data, false).ok();
    }
    answer.send_trailers(trailers("0")).ok();
}

fn edge_with(timeouts: OriginTimeouts, limits: OriginLimits) -> Edge {
    let config = OriginConfig { timeouts, limits, ..OriginConfig::default() };
    Edge::with(config, |zone| zone.settings.ssl = SslMode::Full)
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, BodyError>> {
    let frame = std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context));
    tokio::time::timeout(PATIENCE, frame).await.expect("a frame comes in time")
}

/// The data of an answer, and its trailers.
async fn whole(response: Response) -> (Vec<u8>, HeaderMap) {
    let (mut body, mut data) = (response.body, Vec::new());
    while let Some(frame) = next(&mut body).await {
        match frame.unwrap().into_data() {
            Ok(piece) => data.extend_from_slice(&piece),
            Err(frame) => return (data, frame.into_trailers().unwrap()),
        }
    }
    (data, HeaderMap::new())
}

#[tokio::test]
async fn calls_share_one_connection_and_their_trailers_come_back() {
    let origin = origin(&["h2", "http/1.1"], echo).await;
    let edge = edge(SslMode::Full, None);
    let large = Bytes::from(vec![b'x'; 1_000_000]);
    let mut calls = [b"one".as_slice().into(), large.clone(), Bytes::new()]
        .map(|body| call(&edge, &origin, "/echo", Body::full(body)));
    let [one, two, three] = &mut calls;
    let (one, two, three) = tokio::join!(edge.fetch(one), edge.fetch(two), edge.fetch(three));
    for (answer, expected) in [(one, Bytes::from("one")), (two, large), (three, Bytes::new())] {
        let (data, trailers) = whole(answer.unwrap()).await;
        assert!(data == expected, "{} octets came back", data.len());
        assert_eq!(trailers["grpc-status"], "0");
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn messages_go_both_ways_at_once() {
    let origin = origin(&["h2"], echo).await;
    let edge = edge(SslMode::Full, None);
    let (mut sender, body) = Body::channel(1, None);
    let mut answer = edge.fetch(&mut call(&edge, &origin, "/echo", body)).await.unwrap();
    for message in ["the first", "the second"] {
        // Nothing is sent before what was sent has come back.
        sender.send(Bytes::from(message)).await.unwrap();
        let frame = next(&mut answer.body).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), message);
    }
    sender.finish().await;
    let frame = next(&mut answer.body).await.unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap()["grpc-status"], "0");
    assert!(next(&mut answer.body).await.is_none());
}

#[tokio::test]
async fn what_an_origin_may_be_silent_for_otherwise_does_not_end_a_call() {
    let origin = origin(&["h2"], echo).await;
    let none = std::time::Duration::ZERO;
    let timeouts = OriginTimeouts { first_byte: none, between_reads: none, ..patient() };
    let edge = edge_with(timeouts, OriginLimits::default());
    let (mut sender, body) = Body::channel(1, None);
    let mut answer = edge.fetch(&mut call(&edge, &origin, "/echo", body)).await.unwrap();
    let (sent, frame) = tokio::join!(sender.send(Bytes::from("late")), next(&mut answer.body));
    sent.unwrap();
    assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "late");
    // And a call in which nothing moves at all ends.
    let edge =
        edge_with(OriginTimeouts { call_idle: short().call_idle, ..patient() }, OriginLimits::default());
    let (_sender, body) = Body::channel(1, None);
    let mut answer = edge.fetch(&mut call(&edge, &origin, "/echo", body)).await.unwrap();
    assert_eq!(next(&mut answer.body).await.unwrap().err(), Some(BodyError::TimedOut));
}

#[tokio::test]
async fn that_all_places_are_taken_is_not_remembered_of_the_origin() {
    let (answers, asked) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let mut config: ServerConfig = (*Authority::new().server("www.example.com")).clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (config, waits, tells) = (Arc::new(config), answers.clone(), asked.clone());
    let origin = FakeOrigin::start(move |socket, _| {
        let (acceptor, waits, tells) = (TlsAcceptor::from(config.clone()), waits.clone(), tells.clone());
        async move {
            let mut tls = acceptor.accept(socket).await.unwrap();
            if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                let mut connection = h2::server::handshake(tls).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(echo(request, respond));
                }
                return;
            }
            read_head(&mut tls).await;
            tells.add_permits(1);
            waits.notified().await;
            tls.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nold")
                .await
                .unwrap();
            tls.flush().await.unwrap();
        }
    })
    .await;
    let limits = OriginLimits { connections_per_origin_max: 1, ..OriginLimits::default() };
    let edge = edge_with(OriginTimeouts { queue: short().queue, ..patient() }, limits);
    let mut slow = edge.request_by("https", origin.address, "/");
    let first = async { text(edge.fetch(&mut slow).await.unwrap()).await.unwrap() };
    let second = async {
        let _asked = asked.acquire().await.unwrap();
        let refused = edge.fetch(&mut call(&edge, &origin, "/echo", Body::full("x"))).await;
        answers.notify_one();
        refused.err()
    };
    let (first, refused) = tokio::join!(first, second);
    assert_eq!((first.as_str(), refused), ("old", Some(Fault::Overloaded)));
    let answer = edge.fetch(&mut call(&edge, &origin, "/echo", Body::full("x"))).await.unwrap();
    assert_eq!(whole(answer).await.0, b"x", "at once");
}

#[tokio::test]
async fn a_refusal_without_a_body_is_an_answer() {
    let origin = origin(&["h2"], echo).await;
    let edge = edge(SslMode::Full, None);
    let answer = edge.fetch(&mut call(&edge, &origin, "/trailers-only", Body::full("x"))).await.unwrap();
    assert_eq!((answer.status, &answer.headers["grpc-status"]), (StatusCode::OK, &"12".parse().unwrap()));
    assert_eq!(whole(answer).await, (Vec::new(), HeaderMap::new()));
}

#[tokio::test]
async fn what_fails_is_the_calls_alone_and_a_connection_that_ends_is_replaced() {
    let origin = origin(&["h2"], echo).await;
    // One call meets it, and the others do not even on a busy machine.
    let first_byte = short().first_byte * 10;
    let edge = edge_with(OriginTimeouts { first_byte, ..patient() }, OriginLimits::default());
    let fails = async |path| edge.fetch(&mut call(&edge, &origin, path, Body::full("x"))).await.err();
    assert_eq!(fails("/reset").await, Some(Fault::OriginClosed));
    assert_eq!(fails("/silent").await, Some(Fault::OriginTimeout));
    for (path, accepted) in [("/echo", 1), ("/goes-away", 1)] {
        let answer = edge.fetch(&mut call(&edge, &origin, path, Body::full("x"))).await.unwrap();
        assert_eq!(whole(answer).await.0, b"x");
        assert_eq!(origin.accepted(), accepted, "{path}");
    }
    // What the origin has said about its connection may still be on its way.
    while origin.accepted() < 2 {
        if let Ok(answer) = edge.fetch(&mut call(&edge, &origin, "/echo", Body::full("x"))).await {
            assert_eq!(whole(answer).await.0, b"x");
        }
    }
}

#[tokio::test]
async fn an_origin_without_http2_and_requests_that_are_not_grpc_go_by_http1() {
    let old = origin(&["http/1.1"], echo).await;
    let edge = edge(SslMode::Full, None);
    for _ in 0..2 {
        let answer = edge.fetch(&mut call(&edge, &old, "/echo", Body::full("x"))).await.unwrap();
        assert_eq!(text(answer).await.unwrap(), "old");
    }
    assert_eq!(old.accepted(), 2, "it is asked for HTTP/2 once");
    let both = origin(&["h2", "http/1.1"], echo).await;
    for kind in ["application/grpc-web", "application/json"] {
        let mut exchange = call(&edge, &both, "/echo", Body::full("x"));
        exchange.request.headers.insert("content-type", kind.parse().unwrap());
        assert_eq!(text(edge.fetch(&mut exchange).await.unwrap()).await.unwrap(), "old", "{kind}");
    }
}

#[tokio::test]
async fn a_zone_can_do_without_http2_to_its_origins() {
    let both = origin(&["h2", "http/1.1"], echo).await;
    let mut edge = edge(SslMode::Full, None);
    let site = Arc::make_mut(&mut edge.site);
    site.zone.settings.origin_max_http_version = OriginMaxHttpVersion::V1;
    let answer = edge.fetch(&mut call(&edge, &both, "/echo", Body::full("x"))).await.unwrap();
    assert_eq!(text(answer).await.unwrap(), "old");
}

#[tokio::test]
async fn callers_of_a_place_that_never_answers_do_not_wait_for_one_another() {
    let silent = FakeOrigin::start(|socket, _| async move {
        std::future::pending::<()>().await;
        drop(socket);
    })
    .await;
    // Who waits gets what was found out, even where that takes longer than a place in a queue may.
    let edge = edge_with(
        OriginTimeouts { handshake: short().queue * 3, queue: short().queue, ..patient() },
        OriginLimits::default(),
    );
    let mut calls: Vec<_> = (0..50).map(|_| call(&edge, &silent, "/echo", Body::full("x"))).collect();
    let begun = std::time::Instant::now();
    let answers = futures_util::future::join_all(calls.iter_mut().map(|exchange| edge.fetch(exchange))).await;
    let took = begun.elapsed();
    for answer in answers {
        assert_eq!(answer.err(), Some(Fault::OriginTls));
    }
    // One after the other they would take fifty times as long as one handshake may.
    let one = short().queue * 3;
    assert!(took < one * 10, "{took:?}, of which one attempt takes {one:?}");
    assert!(silent.accepted() < 10, "{} attempts", silent.accepted());
}

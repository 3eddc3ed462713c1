//! Connections that leave HTTP.

use std::sync::Arc;

use http::StatusCode;
use proxima_pipeline::Exchange;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Mutex,
};

use super::harness::{Edge, FakeOrigin, read_head, text};
use crate::origin::OriginConfig;

fn websocket(edge: &Edge, origin: &FakeOrigin, protocol: &str) -> Exchange {
    let mut exchange = edge.request(origin.address, "/chat");
    exchange.request.upgrade = Some(protocol.into());
    exchange.request.headers.insert("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
    exchange
}

#[tokio::test]
async fn a_websocket_is_switched_and_nothing_that_came_early_is_lost() {
    let origin = FakeOrigin::start(|mut socket, _| async move {
        let head = read_head(&mut socket).await;
        assert!(head.contains("\r\nconnection: upgrade\r\nupgrade: websocket\r\n"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nearly";
        socket.write_all(answer.as_bytes()).await.unwrap();
        let mut piece = [0; 4];
        socket.read_exact(&mut piece).await.unwrap();
        socket.write_all(&piece).await.unwrap();
    })
    .await;
    let edge = Edge::new();
    let response = edge.fetch(&mut websocket(&edge, &origin, "websocket")).await.unwrap();
    assert_eq!(response.status, StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers["upgrade"], "WebSocket");
    assert!(response.headers.contains_key("sec-websocket-accept"));
    let mut upgraded = response.upgraded.unwrap();
    let mut early = [0; 5];
    upgraded.read_exact(&mut early[..2]).await.unwrap();
    upgraded.read_exact(&mut early[2..]).await.unwrap();
    assert_eq!(&early, b"early");
    upgraded.write_all(b"ping").await.unwrap();
    let mut rest = Vec::new();
    upgraded.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"ping");
}

#[tokio::test]
async fn a_refused_websocket_is_a_plain_answer() {
    let origin = FakeOrigin::answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
    let edge = Edge::new();
    let response = edge.fetch(&mut websocket(&edge, &origin, "websocket")).await.unwrap();
    assert_eq!((response.status, response.upgraded.is_none()), (StatusCode::FORBIDDEN, true));
    assert_eq!(text(response).await.unwrap(), "no");
}

#[tokio::test]
async fn other_protocols_and_websockets_that_are_switched_off_are_not_asked_for() {
    for (protocol, allowed) in [("h2c", true), ("websocket", false)] {
        let heads = Arc::new(Mutex::new(String::new()));
        let record = heads.clone();
        let origin = FakeOrigin::start(move |mut socket, _| {
            let record = record.clone();
            async move {
                *record.lock().await = read_head(&mut socket).await;
                socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
        })
        .await;
        let edge = Edge::with(OriginConfig::default(), |zone| zone.settings.websockets = allowed);
        let response = edge.fetch(&mut websocket(&edge, &origin, protocol)).await.unwrap();
        assert_eq!(response.status, StatusCode::NO_CONTENT);
        assert!(!heads.lock().await.contains("upgrade"), "{protocol}");
    }
}

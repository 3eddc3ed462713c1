//! WebSocket within HTTP/2 (RFC 8441) and HTTP/3 (RFC 9220).

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::Request;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::http3::{Fate, Quic, fate, raw};
use super::*;

const MESSAGE_ERROR: u64 = 0x10e;
const REQUEST_CANCELLED: u64 = 0x10c;
const FRAME_UNEXPECTED: u64 = 0x105;

/// An origin's end of a tunnel that fails after some octets.
pub(super) struct Failing(pub(super) &'static [u8]);

impl AsyncRead for Failing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let some = std::mem::take(&mut self.0);
        buffer.put_slice(some);
        Poll::Ready(if some.is_empty() { Err(std::io::ErrorKind::ConnectionReset.into()) } else { Ok(()) })
    }
}

impl AsyncWrite for Failing {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn connect(server: &Server) -> SendRequest<Bytes> {
    let io = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    // The settings come before the first answer.
    let (response, _) = sender.send_request(get("/now").body(()).unwrap(), true).unwrap();
    within(response).await.unwrap();
    assert!(sender.is_extended_connect_protocol_enabled());
    sender.ready().await.unwrap()
}

fn get(path: &str) -> http::request::Builder {
    Request::builder().uri(format!("http://a.example{path}"))
}

/// Asks for a tunnel.
async fn open(
    sender: &mut SendRequest<Bytes>,
    path: &str,
    protocol: &'static str,
) -> (http::response::Parts, RecvStream, SendStream<Bytes>) {
    let request = get(path).method(Method::CONNECT).header("sec-websocket-version", "13");
    let request = request.extension(Protocol::from_static(protocol)).body(()).unwrap();
    let (response, sending) = sender.send_request(request, false).unwrap();
    let (head, receiving) = within(response).await.unwrap().into_parts();
    (head, receiving, sending)
}

/// So many octets, or all up to the end.
async fn octets(receiving: &mut RecvStream, at_most: usize) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while all.len() < at_most
        && let Some(data) = within(receiving.data()).await
    {
        let data = data?;
        receiving.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    Ok(all)
}

#[tokio::test]
async fn within_http2_octets_go_both_ways_and_the_halves_end_apart() {
    let server = Server::start().await;
    let mut sender = connect(&server).await;
    let (head, mut receiving, mut sending) = open(&mut sender, "/upgrade", "websocket").await;
    assert_eq!(head.status, StatusCode::OK);
    for field in ["upgrade", "connection", "sec-websocket-accept", "content-length"] {
        assert!(!head.headers.contains_key(field), "{field} belongs to HTTP/1.1");
    }
    assert!(head.headers.contains_key("date"));
    // Before it is asked for more than once, nothing may be held back.
    for message in ["one", "two", "three"] {
        sending.send_data(message.into(), false).unwrap();
        assert_eq!(octets(&mut receiving, message.len()).await.unwrap(), message.as_bytes());
    }
    // More than all windows and buffers between hold: who does not read is not sent more.
    let much = Bytes::from("0123456789abcdef".repeat(64 * 1024));
    sending.send_data(much.clone(), false).unwrap();
    assert_eq!(octets(&mut receiving, much.len()).await.unwrap(), much);
    sending.send_data(Bytes::new(), true).unwrap();
    assert_eq!(octets(&mut receiving, usize::MAX).await.unwrap(), b"bye", "the other half goes on");
    // An origin by TLS, say: what it is not told to send now may stay.
    let (_, mut receiving, mut sending) = open(&mut sender, "/upgrade-held", "websocket").await;
    sending.send_data("held back".into(), false).unwrap();
    assert_eq!(octets(&mut receiving, 9).await.unwrap(), b"held back");
    // The client's half ends first, and what it sent is still taken when the origin's has ended, too.
    let (_, mut receiving, mut sending) = open(&mut sender, "/upgrade-slow-sink", "websocket").await;
    sending.send_data(much.slice(..100_000), true).unwrap();
    assert_eq!(octets(&mut receiving, usize::MAX).await.unwrap(), b"");
    server.seen.goes_on.notify_one();
    server.seen.taken(100_000).await;
    // The origin's half may end first.
    let (_, mut receiving, mut sending) = open(&mut sender, "/upgrade-sink", "websocket").await;
    assert_eq!(octets(&mut receiving, usize::MAX).await.unwrap(), b"");
    assert!(receiving.is_end_stream());
    for _ in 0..4 {
        sending.send_data(much.clone(), false).unwrap();
    }
    sending.send_data(Bytes::new(), true).unwrap();
    server.seen.taken(4 * much.len()).await;
    // Others on the connection are not held up by one, and it can be used again.
    let (_, mut idle, _kept) = open(&mut sender, "/upgrade", "WebSocket").await;
    let (_, mut receiving, mut sending) = open(&mut sender, "/upgrade", "websocket").await;
    sending.send_data("next".into(), true).unwrap();
    assert_eq!(octets(&mut receiving, usize::MAX).await.unwrap(), b"nextbye");
    assert!(idle.is_end_stream() || idle.data().now_or_never().is_none());
}

#[tokio::test]
async fn within_http2_what_opens_no_tunnel_never_looks_as_if_it_did() {
    let server = Server::start().await;
    let mut sender = connect(&server).await;
    let cases = [
        ("/upgrade", "connect-udp", 501),
        // An answer that would be one to a GET.
        ("/now", "websocket", 501),
        ("/204", "websocket", 501),
        ("/304", "websocket", 304),
        ("/fail", "websocket", 530),
        // An origin that did not read what it answers.
        ("/upgrade-unproven", "websocket", 520),
    ];
    for (path, protocol, status) in cases {
        let (head, ..) = open(&mut sender, path, protocol).await;
        assert_eq!(head.status.as_u16(), status, "{protocol} {path}");
    }
    // Without a protocol it is for a proxy.
    let plain = Request::builder().method(Method::CONNECT).uri("a.example:443").body(()).unwrap();
    let (response, _sending) = sender.send_request(plain, false).unwrap();
    assert_eq!(within(response).await.unwrap().status().as_u16(), 405);
    let length = get("/upgrade").method(Method::CONNECT).header("content-length", "5");
    let length = length.extension(Protocol::from_static("websocket")).body(()).unwrap();
    let (response, _sending) = sender.send_request(length, false).unwrap();
    assert_eq!(within(response).await.unwrap().status().as_u16(), 400);
}

#[tokio::test]
async fn within_http2_a_tunnel_that_fails_is_reset_and_one_that_is_left_ends_at_the_origin() {
    let server = Server::start().await;
    let mut sender = connect(&server).await;
    let request = get("/upgrade-failing").method(Method::CONNECT);
    let request = request.extension(Protocol::from_static("websocket")).body(()).unwrap();
    let (response, _sending) = sender.send_request(request, false).unwrap();
    // The reset may overtake what was said before it.
    let failed = match within(response).await {
        Ok(head) => octets(&mut head.into_body(), usize::MAX).await.unwrap_err(),
        Err(failed) => failed,
    };
    assert_eq!(failed.reason(), Some(Reason::CANCEL));

    let (_, receiving, mut sending) = open(&mut sender, "/upgrade-seen", "websocket").await;
    sending.send_reset(Reason::CANCEL);
    server.seen.cancelled(1).await;
    drop(receiving);
    // Its own half has ended, and it goes nevertheless.
    let (_, receiving, mut sending) = open(&mut sender, "/upgrade-seen", "websocket").await;
    sending.send_data(Bytes::new(), true).unwrap();
    drop((receiving, sending));
    server.seen.cancelled(2).await;
}

#[tokio::test(start_paused = true)]
async fn within_http2_a_tunnel_without_movement_is_reset_after_its_own_time() {
    let (ours, ..) = http2_in_memory(16 * 1024);
    let (sender, connection) = h2::client::handshake(ours).await.unwrap();
    tokio::spawn(connection);
    let mut sender: SendRequest<Bytes> = sender.ready().await.unwrap();
    let (_, mut receiving, mut sending) = open(&mut sender, "/upgrade", "websocket").await;
    tokio::time::sleep(Timeouts::DEFAULT.upgrade_idle - Duration::from_secs(1)).await;
    sending.send_data("x".into(), false).unwrap();
    assert_eq!(receiving.data().await.unwrap().unwrap(), "x");
    let begun = Instant::now();
    let failed = receiving.data().await.unwrap().unwrap_err();
    assert_eq!(failed.reason(), Some(Reason::CANCEL));
    assert_eq!(begun.elapsed().as_secs(), Timeouts::DEFAULT.upgrade_idle.as_secs());
}

/// The head that asks for a tunnel.
fn head(path: &str, protocol: &str) -> Vec<u8> {
    raw::request("CONNECT", path, &[(":protocol", protocol), ("sec-websocket-version", "13")])
}

#[tokio::test]
async fn within_http3_octets_go_both_ways_and_the_halves_end_apart() {
    let server = Quic::start().await;
    let connection = server.connect().await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&head("/upgrade", "websocket")).await.unwrap();
    // A client that waits for the answer before it says anything.
    let mut first = [0; 5];
    within(receive.read_exact(&mut first)).await.unwrap();
    let much = b"0123456789abcdef".repeat(64 * 1024);
    let (message, expected) = (raw::frame(0, &much), [&much[..], b"bye"].concat());
    let writing = tokio::spawn(async move {
        send.write_all(&message).await.unwrap();
        send.finish().unwrap();
    });
    let mut rest = Vec::new();
    while let Some(chunk) = within(receive.read_chunk(usize::MAX, true)).await.unwrap() {
        rest.extend_from_slice(&chunk.bytes);
    }
    within(writing).await.unwrap();
    let (statuses, body) = super::http3::answer(&[&first[..], &rest].concat());
    assert_eq!(statuses, [200]);
    assert_eq!(body, expected);
    // The origin's half may end first.
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&head("/upgrade-sink", "websocket")).await.unwrap();
    assert_eq!(fate(&mut receive).await, Fate::Answered(vec![200], Vec::new()));
    within(send.write_all(&raw::frame(0, &much))).await.unwrap();
    send.finish().unwrap();
    server.seen.taken(much.len()).await;
    // All of it at once, end included.
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&[head("/upgrade", "websocket"), raw::frame(0, b"early ")].concat()).await.unwrap();
    send.finish().unwrap();
    assert_eq!(fate(&mut receive).await, Fate::Answered(vec![200], b"early bye".to_vec()));
}

#[tokio::test]
async fn within_http3_what_opens_no_tunnel_never_looks_as_if_it_did() {
    let server = Quic::start().await;
    let connection = server.connect().await;
    let cases = [
        ("/upgrade", "connect-udp", 501),
        ("/now", "websocket", 501),
        ("/304", "websocket", 304),
        ("/upgrade-unproven", "websocket", 520),
    ];
    for (path, protocol, status) in cases {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&head(path, protocol)).await.unwrap();
        let Fate::Answered(statuses, _) = fate(&mut receive).await else { panic!("{protocol} {path}") };
        assert_eq!(statuses, [status], "{protocol} {path}");
    }
    for malformed in [
        raw::request("GET", "/upgrade", &[(":protocol", "websocket")]),
        raw::request("CONNECT", "/upgrade", &[(":protocol", "web socket")]),
        raw::request("CONNECT", "/upgrade", &[(":protocol", "a"), (":protocol", "b")]),
        raw::request("CONNECT", "/upgrade", &[]),
    ] {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&malformed).await.unwrap();
        assert_eq!(fate(&mut receive).await, Fate::Reset(MESSAGE_ERROR), "{malformed:?}");
    }
}

#[tokio::test]
async fn within_http3_a_tunnel_that_fails_is_reset_and_one_that_is_left_ends_at_the_origin() {
    let server = Quic::start().await;
    let connection = server.connect().await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&head("/upgrade-failing", "websocket")).await.unwrap();
    assert_eq!(fate(&mut receive).await, Fate::Reset(REQUEST_CANCELLED));
    let code = quinn::VarInt::from_u32(0x10c);
    for left in 1..=2 {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&head("/upgrade-seen", "websocket")).await.unwrap();
        within(receive.read_exact(&mut [0; 5])).await.unwrap();
        // By either half: with the reset of what it sends, or by wanting no more.
        if left == 1 {
            send.reset(code).unwrap();
        } else {
            send.finish().unwrap();
            receive.stop(code).unwrap();
        }
        server.seen.cancelled(left).await;
    }
    // A head is nothing that a tunnel has.
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let trailers = raw::frame(1, &raw::section(&[("x", "y")]));
    send.write_all(&[head("/upgrade", "websocket"), trailers].concat()).await.unwrap();
    send.finish().unwrap();
    assert_eq!(fate(&mut receive).await, Fate::Closed(FRAME_UNEXPECTED));
}

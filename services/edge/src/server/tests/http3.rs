//! HTTP/3 over real sockets, asked by the `h3` crate and by octets.

#![expect(clippy::cast_possible_truncation, reason = "lengths of what the tests write themselves")]

use bytes::Buf;
use http::Request;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, Endpoint, ReadError, VarInt};
use rustls::pki_types::CertificateDer;

use super::*;
use crate::fields::Section;
use crate::http3::{decode_section, read_varint};
use crate::quic::QuicListener;
use crate::tls::QuicTls;
use crate::tls::tests::World;
use proxima_tls::{QuicKeys, Tickets};

/// A listener of QUIC with the script behind it, and who asks it.
pub(super) struct Quic {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Seen>,
    pub(super) ending: Ending,
    pub(super) context: Arc<ServerContext>,
    pub(super) client: Endpoint,
    accepting: tokio::task::JoinHandle<()>,
    _world: World,
}

impl Quic {
    pub(super) async fn start() -> Self {
        Self::with(Timeouts::DEFAULT, 1_000).await
    }

    pub(super) async fn with(timeouts: Timeouts, connections_max: usize) -> Self {
        let world = World::new().await;
        let certificate = world.certify(1, &["a.example"]).await;
        let tls = Arc::new(QuicTls::new(world.certificates(), Arc::new(Tickets::default())));
        let seen = Arc::new(Seen::default());
        let (context, ending) = (context(&seen, timeouts), Ending::default());
        let listener = listener(tls, connections_max, &context, &ending);
        let address = listener.endpoint.local_addr().unwrap();
        let accepting = tokio::spawn(listener.run());
        let client = client(&certificate);
        Self { address, seen, ending, context, client, accepting, _world: world }
    }

    pub(super) async fn connect(&self) -> quinn::Connection {
        within(self.client.connect(self.address, "a.example").unwrap()).await.unwrap()
    }

    /// Asks over a connection of its own.
    async fn speaker(&self) -> Speaker {
        let connection = self.connect().await;
        let (mut driver, sender) =
            within(h3::client::new(h3_quinn::Connection::new(connection.clone()))).await.unwrap();
        let driven =
            tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });
        Speaker { sender, connection, _driven: driven }
    }

    /// What Prometheus would be told.
    pub(super) fn answered(&self, class: &str) -> bool {
        format!("{:?}", self.context.metrics).contains(class)
    }
}

impl Drop for Quic {
    fn drop(&mut self) {
        self.ending.stop.cancel();
        self.accepting.abort();
    }
}

pub(super) fn listener(
    tls: Arc<QuicTls>,
    connections_max: usize,
    context: &Arc<ServerContext>,
    ending: &Ending,
) -> QuicListener {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (context, ending) = (Arc::clone(context), ending.clone());
    QuicListener::new((socket, 0), tls, &QuicKeys::new(), connections_max, context, ending).unwrap()
}

/// An endpoint that trusts this certificate.
pub(super) fn client(certificate: &CertificateDer<'static>) -> Endpoint {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls.enable_early_data = true;
    let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(
        QuicClientConfig::try_from(tls).unwrap(),
    )));
    endpoint
}

/// The `h3` crate's client.
struct Speaker {
    sender: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    connection: quinn::Connection,
    _driven: tokio::task::JoinHandle<h3::error::ConnectionError>,
}

impl Speaker {
    /// Status, fields and body of the answer.
    async fn ask(
        &mut self,
        request: http::request::Builder,
        body: &[&[u8]],
    ) -> (http::response::Parts, Vec<u8>) {
        within(async {
            let mut stream = self.sender.send_request(request.body(()).unwrap()).await.unwrap();
            for piece in body {
                stream.send_data(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            stream.finish().await.unwrap();
            let (head, ()) = stream.recv_response().await.unwrap().into_parts();
            let mut all = Vec::new();
            while let Some(mut data) = stream.recv_data().await.unwrap() {
                all.extend_from_slice(&data.copy_to_bytes(data.remaining()));
            }
            (head, all)
        })
        .await
    }

    async fn get(&mut self, path: &str) -> (u16, String) {
        let (head, body) = self.ask(get(path), &[]).await;
        (head.status.as_u16(), String::from_utf8(body).unwrap())
    }
}

pub(super) fn get(path: &str) -> http::request::Builder {
    Request::builder().uri(format!("https://a.example{path}"))
}

/// What came of octets that a client sent on a request stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Statuses of the answers, and the body.
    Answered(Vec<u16>, Vec<u8>),
    /// The stream was reset.
    Reset(u64),
    /// The connection was closed.
    Closed(u64),
}

/// How a connection was closed by the server.
pub(super) fn code_of(error: &ConnectionError) -> u64 {
    match error {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

/// Reads an answer to its end.
pub(super) async fn fate(receive: &mut quinn::RecvStream) -> Fate {
    let mut all = Vec::new();
    loop {
        match within(receive.read_chunk(usize::MAX, true)).await {
            Ok(Some(chunk)) => all.extend_from_slice(&chunk.bytes),
            Ok(None) => break,
            Err(ReadError::Reset(code)) => return Fate::Reset(code.into_inner()),
            Err(ReadError::ConnectionLost(error)) => return Fate::Closed(code_of(&error)),
            Err(error) => panic!("{error}"),
        }
    }
    let (statuses, body) = answer(&all);
    Fate::Answered(statuses, body)
}

/// The statuses of the answers, and the body, of what came on a stream.
pub(super) fn answer(all: &[u8]) -> (Vec<u16>, Vec<u8>) {
    let (mut rest, mut statuses, mut body) = (all, Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (kind, taken) = read_varint(rest).unwrap();
        let (length, also) = read_varint(&rest[taken..]).unwrap();
        let (payload, after) = rest[taken + also..].split_at(length as usize);
        rest = after;
        match kind {
            0 => body.extend_from_slice(payload),
            1 => decode_section(payload, Section { bytes_max: 1 << 20, fields_max: 1000 }, |name, value| {
                if name == b":status" {
                    statuses.push(std::str::from_utf8(value).unwrap().parse().unwrap());
                }
                Ok(())
            })
            .unwrap(),
            other => panic!("a frame of type {other}"),
        }
    }
    (statuses, body)
}

#[tokio::test]
async fn requests_are_served_side_by_side() {
    let server = Quic::start().await;
    let mut speaker = server.speaker().await;
    let mut hanging = speaker.sender.send_request(get("/hang").body(()).unwrap()).await.unwrap();
    hanging.finish().await.unwrap();
    for index in 0..200 {
        let (status, text) = speaker.get(&format!("/{index}")).await;
        assert_eq!((status, text), (200, format!("GET /{index}")));
    }
    assert_eq!(speaker.get("/big").await.1.len(), BIG_BYTES);
    assert_eq!(speaker.get("/big-chunked").await.1.len(), BIG_BYTES);
    assert_eq!(speaker.get("/empty-stream").await, (200, String::new()));
    assert_eq!(speaker.get("/fail").await.0, 530);
    hanging.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
    server.seen.cancelled(1).await;
}

#[tokio::test]
async fn bodies_go_both_ways_at_the_pace_of_who_reads() {
    let server = Quic::start().await;
    let mut speaker = server.speaker().await;
    let piece = vec![b'y'; 50_000];
    let pieces = [&piece[..]; 40];
    let post = |path| get(path).method("POST");
    let (_, body) = speaker.ask(post("/count"), &pieces).await;
    assert_eq!(body, b"2000000");
    let announced = post("/count").header("content-length", "2000000");
    assert_eq!(speaker.ask(announced, &pieces).await.1, b"2000000");
    let (_, echoed) = speaker.ask(post("/echo"), &[b"one ", b"two"]).await;
    assert_eq!(echoed, b"one two");
    let (head, body) = speaker.ask(post("/ignore"), &pieces[..1]).await;
    assert_eq!((head.status, body), (StatusCode::OK, b"POST /ignore".to_vec()));
}

#[tokio::test]
async fn an_answers_head_says_what_its_body_is_and_a_cut_body_looks_cut() {
    let server = Quic::start().await;
    let mut speaker = server.speaker().await;
    let (head, body) = speaker.ask(get("/now"), &[]).await;
    assert_eq!((&head.headers["content-length"], body), (&HeaderValue::from(3), b"now".to_vec()));
    assert!(head.headers.contains_key("date"));
    let (head, body) = speaker.ask(get("/declared").method("HEAD"), &[]).await;
    assert_eq!((&head.headers["content-length"], body.len()), (&HeaderValue::from(1234), 0));
    for path in ["/204", "/304"] {
        let (head, body) = speaker.ask(get(path), &[]).await;
        assert_eq!((head.status.as_str(), body.len()), (&path[1..], 0));
        assert!(!head.headers.contains_key("content-length"));
    }
    for path in ["/cut", "/cut-chunked"] {
        let (mut send, mut receive) = speaker.connection.open_bi().await.unwrap();
        send.write_all(&raw::get(path)).await.unwrap();
        send.finish().unwrap();
        assert_eq!(fate(&mut receive).await, Fate::Reset(0x102), "{path}");
    }
    assert_eq!(speaker.get("/now").await.0, 200, "the connection goes on");
}

#[tokio::test]
async fn a_request_is_held_to_the_rules_of_http1_since_it_leaves_as_such() {
    let server = Quic::start().await;
    let mut speaker = server.speaker().await;
    let crumbs = get("/headers").header("cookie", "a=1").header("cookie", "b=2").header("te", "trailers");
    let (_, text) = speaker.ask(crumbs, &[]).await;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("cookie: a=1; b=2\n") && !text.contains("te:"), "{text}");
    assert!(text.starts_with("a.example /headers None\n") && text.contains("host: a.example\n"), "{text}");
    for (name, value) in [("content_length", "5"), ("content-length", "x"), ("content-length", "1, 1")] {
        let (head, _) = speaker.ask(get("/now").header(name, value), &[]).await;
        assert_eq!(head.status, StatusCode::BAD_REQUEST, "{name}: {value}");
    }
    let long = format!("/{}", "x".repeat(2000));
    assert_eq!(speaker.get(&long).await.0, 200, "no more than HTTP/2 does");
}

#[tokio::test]
async fn interim_answers_and_trailers_are_passed_on() {
    let server = Quic::start().await;
    let connection = server.connect().await;
    let ask = async |path: &str| {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&raw::get(path)).await.unwrap();
        send.finish().unwrap();
        fate(&mut receive).await
    };
    assert_eq!(ask("/hints").await, Fate::Answered(vec![102, 103, 200], b"hinted".to_vec()));
    assert_eq!(ask("/trailers").await, Fate::Answered(vec![200], b"data".to_vec()));
    let mut speaker = server.speaker().await;
    let mut stream = speaker.sender.send_request(get("/trailers").body(()).unwrap()).await.unwrap();
    stream.finish().await.unwrap();
    within(stream.recv_response()).await.unwrap();
    while within(stream.recv_data()).await.unwrap().is_some() {}
    assert_eq!(within(stream.recv_trailers()).await.unwrap().unwrap()["digest"], "abc");
}

#[tokio::test]
async fn who_waits_for_an_invitation_gets_it() {
    let server = Quic::start().await;
    let connection = server.connect().await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let head = raw::request("POST", "/count", &[("expect", "100-continue"), ("content-length", "4")]);
    send.write_all(&head).await.unwrap();
    let mut invitation = [0; 2];
    within(receive.read_exact(&mut invitation)).await.unwrap();
    assert_eq!(invitation[0], 1, "a head");
    send.write_all(&raw::frame(0, b"data")).await.unwrap();
    send.finish().unwrap();
    let rest = within(receive.read_to_end(10_000)).await.unwrap();
    assert!(rest.ends_with(b"4"), "{rest:?}");
}

#[tokio::test]
async fn draining_ends_a_connection_when_its_requests_are_answered_and_turns_later_ones_away() {
    let server = Quic::start().await;
    let connection = server.connect().await;
    let (mut slow, _answer) = connection.open_bi().await.unwrap();
    slow.write_all(&raw::request("POST", "/sip", &[])).await.unwrap();
    let ask = async || {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&raw::get("/now")).await.ok();
        send.finish().ok();
        fate(&mut receive).await
    };
    let now = Fate::Answered(vec![200], b"now".to_vec());
    assert_eq!(ask().await, now);
    server.ending.drain.cancel();
    let turned_away = async {
        loop {
            match ask().await {
                answer if answer == now => {}
                other => return other,
            }
        }
    };
    assert_eq!(within(turned_away).await, Fate::Reset(0x10b), "it may be asked again elsewhere");
    let refused = within(server.client.connect(server.address, "a.example").unwrap()).await;
    assert!(matches!(refused, Err(ConnectionError::ConnectionClosed(_))), "{refused:?}");
    // The slow one goes on until it ends.
    slow.write_all(&raw::frame(0, b"data")).await.unwrap();
    slow.reset(VarInt::from_u32(0x10c)).unwrap();
    server.seen.cancelled(1).await;
    assert_eq!(code_of(&within(connection.closed()).await), 0x100);
}

#[tokio::test]
async fn connections_beyond_the_bound_are_refused() {
    let server = Quic::with(Timeouts::DEFAULT, 1).await;
    let first = server.connect().await;
    let refused = within(server.client.connect(server.address, "a.example").unwrap()).await;
    assert!(matches!(refused, Err(ConnectionError::ConnectionClosed(_))), "{refused:?}");
    first.close(VarInt::from_u32(0), b"");
    within(async {
        while server.client.connect(server.address, "a.example").unwrap().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_moves_with_its_client() {
    let server = Quic::start().await;
    let mut speaker = server.speaker().await;
    assert_eq!(speaker.get("/now").await.0, 200);
    let before = server.client.local_addr().unwrap();
    server.client.rebind(std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap();
    assert_ne!(server.client.local_addr().unwrap(), before);
    assert_eq!(speaker.get("/now").await.0, 200);
    assert_eq!(speaker.get("/big").await.1.len(), BIG_BYTES);
}

#[tokio::test]
async fn a_name_without_certificate_gets_no_connection() {
    let server = Quic::start().await;
    let refused = within(server.client.connect(server.address, "unknown.example").unwrap()).await;
    assert!(matches!(refused, Err(ConnectionError::ConnectionClosed(_))), "{refused:?}");
}

/// Requests as octets.
pub(super) mod raw {
    /// A frame.
    pub(in crate::server::tests) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap() | 0x8000_0000;
        [&[kind][..], &length.to_be_bytes(), payload].concat()
    }

    /// A field section of literals.
    pub(in crate::server::tests) fn section(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut section = vec![0, 0];
        let mut string = |text: &str, prefix: u8, pattern: u8| {
            let mask = (1_usize << prefix) - 1;
            if text.len() < mask {
                section.push(pattern | text.len() as u8);
            } else {
                section.push(pattern | mask as u8);
                let mut rest = text.len() - mask;
                while rest >= 128 {
                    section.push((rest % 128) as u8 | 0x80);
                    rest /= 128;
                }
                section.push(rest as u8);
            }
            section.extend_from_slice(text.as_bytes());
        };
        for (name, value) in fields {
            string(name, 3, 0x20);
            string(value, 7, 0);
        }
        section
    }

    /// The head of a request.
    pub(in crate::server::tests) fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let pseudo =
            [(":method", method), (":scheme", "https"), (":authority", "a.example"), (":path", path)];
        frame(1, &section(&[&pseudo[..], more].concat()))
    }

    /// A whole request.
    pub(in crate::server::tests) fn get(path: &str) -> Vec<u8> {
        request("GET", path, &[])
    }
}

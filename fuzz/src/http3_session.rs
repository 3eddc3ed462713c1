//! Whole connections of HTTP/3, over QUIC on the loopback interface: whatever a client says on whichever streams, each of its
//! requests ends, what is answered is HTTP/3, and the connection ends when the client goes.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use proxima_edge::http3::{ControlDecoder, MessageDecoder, Piece};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig, TokioRuntime,
    VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
    rustls,
};
use rustls::{RootCertStore, crypto::aws_lc_rs, version};

const HOST: &str = "a.test";
/// Streams of one session; a client may have as many requests open at once.
const STREAMS_MAX: usize = 16;
/// Octets of one answer, which is a small page or what was sent.
const ANSWER_OCTETS_MAX: usize = 64 * 1024;
/// An answer, or the stream's end, comes within this by simulated time, or never.
const PATIENCE: Duration = Duration::from_secs(200);

static CONFIGS: LazyLock<(ServerConfig, ClientConfig)> = LazyLock::new(|| {
    let own = rcgen::generate_simple_self_signed([HOST.to_owned()]).expect("a certificate is made");
    let key = own.signing_key.serialize_der().try_into().expect("it is a key");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13])
        .expect("it is spoken")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("they belong together");
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).expect("it is a certificate");
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .expect("it is spoken")
        .with_root_certificates(roots)
        .with_no_client_auth();
    server.alpn_protocols = vec![b"h3".to_vec()];
    client.alpn_protocols = vec![b"h3".to_vec()];
    let server = QuicServerConfig::try_from(server).expect("it suits QUIC");
    let client = QuicClientConfig::try_from(client).expect("it suits QUIC");
    (ServerConfig::with_crypto(Arc::new(server)), ClientConfig::new(Arc::new(client)))
});

/// What a client does with one stream: its octets, and how it goes on.
struct Script<'a> {
    is_request: bool,
    octets: &'a [u8],
    end: End,
}

#[derive(Clone, Copy)]
enum End {
    Finish,
    Reset,
    /// It says nothing more, and does not end.
    Leave,
}

/// For each stream an octet that says what it is, one with its length, and its octets.
fn scripts(mut rest: &[u8]) -> Vec<Script<'_>> {
    let next = || {
        let (&[what, length], after) = rest.split_first_chunk::<2>()?;
        let (octets, after) = after.split_at(after.len().min(length.into()));
        rest = after;
        let end = match what >> 1 & 3 {
            0 | 1 => End::Finish,
            2 => End::Reset,
            _ => End::Leave,
        };
        Some(Script { is_request: what & 1 == 0, octets, end })
    };
    std::iter::from_fn(next).take(STREAMS_MAX).collect()
}

/// The target.
pub fn run(octets: &[u8]) {
    let builder = &mut tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().expect("a runtime is built");
    runtime.block_on(session(&scripts(octets)));
}

fn endpoint(server: Option<ServerConfig>) -> Endpoint {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))
        .expect("a socket is used")
}

async fn session(scripts: &[Script<'_>]) {
    let server = endpoint(Some(CONFIGS.0.clone()));
    let address: SocketAddr = server.local_addr().expect("it is bound");
    let serving = tokio::spawn(async move {
        let incoming = server.accept().await.expect("a client comes");
        let connection = incoming.await.expect("it is accepted");
        proxima_edge::exercise_http3(connection).await;
        server.wait_idle().await;
    });
    let client = endpoint(None);
    let connecting = client.connect_with(CONFIGS.1.clone(), address, HOST).expect("it can be asked");
    let connection = connecting.await.expect("a connection is made");
    let controlled = tokio::spawn(control(connection.clone()));
    let mut left = Vec::new();
    let mut answers = Vec::new();
    for script in scripts {
        // The server may have ended the connection by now.
        let opened = if script.is_request {
            tokio::time::timeout(PATIENCE, connection.open_bi())
                .await
                .map(|opened| opened.map(|(send, receive)| (send, Some(receive))))
        } else {
            tokio::time::timeout(PATIENCE, connection.open_uni())
                .await
                .map(|opened| opened.map(|send| (send, None)))
        };
        let Ok(Ok((mut send, receive))) = opened else { break };
        say(&mut send, script).await;
        if let Some(receive) = receive {
            answers.push((tokio::spawn(answered(receive)), script));
        }
        left.push(send);
    }
    for (answer, script) in answers {
        let ended = answer.await.expect("what is answered is HTTP/3");
        // Who has said all of it hears of it: at once, or when it was waited long enough.
        assert!(ended || !matches!(script.end, End::Finish), "a request was not answered");
    }
    connection.close(VarInt::from_u32(0), b"");
    client.wait_idle().await;
    controlled.await.expect("a control stream is HTTP/3");
    serving.await.expect("a connection ends without a panic");
}

async fn say(send: &mut SendStream, script: &Script<'_>) {
    // Fails where the server wants no more of it.
    let middle = script.octets.len() / 2;
    for half in [&script.octets[..middle], &script.octets[middle..]] {
        if tokio::time::timeout(PATIENCE, send.write_all(half)).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
    match script.end {
        End::Finish => drop(send.finish()),
        End::Reset => drop(send.reset(VarInt::from_u32(0x10c))),
        End::Leave => {}
    }
}

/// Reads an answer; whether the stream ended in any way.
async fn answered(mut receive: RecvStream) -> bool {
    match tokio::time::timeout(PATIENCE, receive.read_to_end(ANSWER_OCTETS_MAX)).await {
        Err(_) => return false,
        Ok(Err(quinn::ReadToEndError::TooLong)) => panic!("more is answered than there is"),
        Ok(Err(quinn::ReadToEndError::Read(_))) => {}
        Ok(Ok(answer)) => {
            let mut decoder = MessageDecoder::new(ANSWER_OCTETS_MAX);
            let (mut rest, mut number) = (Bytes::from(answer), 0);
            while let Some(piece) = decoder.decode(&mut rest).expect("it is made of frames") {
                assert!(number > 0 || matches!(piece, Piece::Head(_)), "a head comes first");
                number += 1;
            }
            assert!(number > 0 && decoder.finish().is_ok(), "an answer ends where it may");
        }
    }
    true
}

/// Reads the server's control stream until the connection ends.
async fn control(connection: Connection) {
    let Ok(mut receive) = connection.accept_uni().await else { return };
    let mut decoder = ControlDecoder::default();
    let mut first = true;
    while let Ok(Some(chunk)) = receive.read_chunk(1 << 12, true).await {
        let mut octets = chunk.bytes;
        if std::mem::take(&mut first) {
            assert_eq!(octets.first(), Some(&0), "a control stream (RFC 9114, 6.2.1)");
            octets = octets.slice(1..);
        }
        decoder.decode(octets).expect("it is a control stream");
    }
    assert!(first || decoder.settings().is_some());
}

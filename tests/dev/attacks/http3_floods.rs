//! Floods by HTTP/3: streams of QUIC whose octets are written by hand, beside a bystander as in [`floods`](super::floods).

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig, VarInt,
    crypto::rustls::QuicClientConfig,
};
use rustls::crypto::aws_lc_rs::default_provider;

use super::floods::{FLOOD_KIB_MAX, LARGE_BYTES, beside_a_bystander, counted, flooded, until};
use crate::{
    HOST,
    dev::{DEADLINE, Dev},
    tls,
};

/// RFC 9114, 8.1, and RFC 9204, 6.
const EXCESSIVE_LOAD: u64 = 0x107;
const LOADED: &str = "http3_errors_total{code=\"excessive_load\"}";
const REQUEST_CANCELLED: u32 = 0x10c;
const QPACK_DECOMPRESSION_FAILED: u64 = 0x200;
const QPACK_ENCODER_STREAM_ERROR: u64 = 0x201;

/// What a connection with all its streams stalled may: its windows, and as much of answers as waits to be sent.
const STALLED_KIB_MAX: u64 = 16 * 1024;
/// Streams that one connection may have.
const STREAMS: usize = 128;

/// Runs to its end, in time.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(within(future))
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it comes to its end")
}

/// A connection that takes so many octets of each stream before it reads.
async fn connect(dev: &Dev, window: u32) -> (Endpoint, Connection) {
    let tls = tls::client(dev, &[b"h3"], default_provider());
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(window));
    transport.keep_alive_interval(Some(Duration::from_secs(1)));
    config.transport_config(Arc::new(transport));
    let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    endpoint.set_default_client_config(config);
    let connection = endpoint.connect(dev.https(), HOST).unwrap().await.unwrap();
    (endpoint, connection)
}

/// One that takes what comes.
async fn open(dev: &Dev) -> (Endpoint, Connection) {
    connect(dev, 1 << 20).await
}

/// A frame whose length takes four octets (RFC 9114, 7.1).
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap() | 0x8000_0000;
    [&[kind], &length.to_be_bytes()[..], payload].concat()
}

/// A section of literals with literal names (RFC 9204, 4.5.6).
fn section(path: &str) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path)];
    let mut section = vec![0, 0];
    for (name, value) in fields {
        let (name_length, value_length) =
            (u8::try_from(name.len()).unwrap(), u8::try_from(value.len()).unwrap());
        match name_length {
            0..7 => section.push(0x20 | name_length),
            _ => section.extend([0x27, name_length - 7]),
        }
        section.extend_from_slice(name.as_bytes());
        section.push(value_length);
        section.extend_from_slice(value.as_bytes());
    }
    section
}

fn get(path: &str) -> Vec<u8> {
    frame(1, &section(path))
}

/// With which code of HTTP/3 the server ends a connection.
async fn end(connection: &Connection) -> u64 {
    match connection.closed().await {
        ConnectionError::ApplicationClosed(closed) => closed.error_code.into_inner(),
        other => panic!("not ended by HTTP/3: {other}"),
    }
}

/// A request of these octets, which goes on or not.
async fn ask(connection: &Connection, octets: &[u8], ends: bool) -> (SendStream, RecvStream) {
    let (mut send, receive) = connection.open_bi().await.unwrap();
    // The server may not want all of it.
    send.write_all(octets).await.ok();
    if ends {
        send.finish().ok();
    }
    (send, receive)
}

#[test]
fn who_cancels_all_that_it_asks_by_http3_is_sent_away() {
    let (dev, _origin) = flooded();
    let rounds = beside_a_bystander(&dev, FLOOD_KIB_MAX, || {
        let code = run(async {
            let (_endpoint, connection) = open(&dev).await;
            let cancelled = VarInt::from_u32(REQUEST_CANCELLED);
            while let Ok((mut send, mut receive)) = connection.open_bi().await {
                send.write_all(&get("/hang")).await.ok();
                send.reset(cancelled).ok();
                receive.stop(cancelled).ok();
            }
            end(&connection).await
        });
        assert_eq!(code, EXCESSIVE_LOAD);
    });
    assert_eq!(counted(&dev, LOADED), rounds as f64);
    until(&dev, "requests_in_flight", |requests| requests == 0.0);
}

#[test]
fn sections_that_would_wait_or_grow_by_http3_are_refused() {
    let (dev, _origin) = flooded();
    // There is no dynamic table: nothing may refer to one, wait for one, or fill one.
    let waiting = frame(1, b"\x02\x00\x80");
    let table = b"\x02\x3f\xe1\x1f";
    // Each octet is a field of 41, so 410 KB by 10 KB: without a dynamic table sections grow too little for memory to tell.
    // What counts is that they are refused, again and again. And a head of 2^62 octets.
    let bomb = frame(1, &[&section("/page")[..], &[0xdd; 10_000]].concat());
    let endless = b"\x01\xff\xff\xff\xff\xff\xff\xff\xff";
    let rounds = beside_a_bystander(&dev, FLOOD_KIB_MAX, || {
        run(async {
            let (_endpoint, connection) = open(&dev).await;
            let _streams = ask(&connection, &waiting, true).await;
            assert_eq!(end(&connection).await, QPACK_DECOMPRESSION_FAILED);

            let (_endpoint, connection) = open(&dev).await;
            let mut stream = connection.open_uni().await.unwrap();
            stream.write_all(table).await.unwrap();
            assert_eq!(end(&connection).await, QPACK_ENCODER_STREAM_ERROR);

            let (_endpoint, connection) = open(&dev).await;
            for _ in 0..10 {
                for (octets, ends) in [(&bomb[..], true), (endless, false)] {
                    let (_send, mut receive) = ask(&connection, octets, ends).await;
                    let answer = receive.read_to_end(64 * 1024).await.unwrap();
                    assert!(answer.windows(3).any(|digits| digits == b"431"), "{answer:?}");
                }
            }
            let (_send, mut receive) = ask(&connection, &get("/honest"), true).await;
            let answer = receive.read_to_end(64 * 1024).await.unwrap();
            assert!(answer.ends_with(b"asked: GET /honest with 0 octets"), "{answer:?}");
            connection.close(VarInt::from_u32(0x100), b"");
        });
    });
    let rounds = rounds as f64;
    for (series, expected) in [
        ("http3_errors_total{code=\"qpack_decompression_failed\"}", rounds),
        ("http3_errors_total{code=\"qpack_encoder_stream_error\"}", rounds),
        ("requests_total{protocol=\"http/3\",status=\"4xx\"}", 20.0 * rounds),
    ] {
        assert_eq!(counted(&dev, series), expected, "{series}");
    }
}

#[test]
fn heads_without_end_and_answers_that_nobody_takes_by_http3_hold_no_more_than_their_bounds() {
    const CONNECTIONS: usize = 2;
    let (dev, _origin) = flooded();
    // The first thousand octets of a head that announces 61,440; and answers of which a fraction is let through.
    let head = [&b"\x01\x80\x00\xf0\x00"[..], &section("/page"), &[0xdd; 1_000]].concat();
    let large = get("/large");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stalled = CONNECTIONS as u64 * 2 * STALLED_KIB_MAX;
    let mut held = Vec::new();
    beside_a_bystander(&dev, FLOOD_KIB_MAX + stalled, || {
        if held.len() == 2 * CONNECTIONS {
            return assert_eq!(counted(&dev, LOADED), 0.0, "slow is no crime");
        }
        for (octets, ends) in [(&head, false), (&large, true)] {
            held.push(runtime.block_on(within(async {
                let (endpoint, connection) = connect(&dev, 512).await;
                let mut streams = Vec::new();
                for _ in 0..STREAMS {
                    streams.push(ask(&connection, octets, ends).await);
                }
                (endpoint, connection, streams)
            })));
        }
    });
    until(&dev, "requests_in_flight", |requests| requests >= (CONNECTIONS * STREAMS) as f64);
    runtime.block_on(within(async {
        for (_, connection, _) in &held {
            assert!(connection.close_reason().is_none(), "slow is no crime");
        }
        // One answer, taken after all, is whole.
        let (_, _, streams) = &mut held[1];
        let answer = streams[0].1.read_to_end(2 * LARGE_BYTES).await.unwrap();
        assert!(answer.iter().filter(|octet| **octet == b'x').count() >= LARGE_BYTES);
    }));
    runtime.block_on(async { drop(held) });
    until(&dev, "requests_in_flight", |requests| requests == 0.0);
}

//! What clients of HTTP/3 try: each ends with the code that RFC 9114 has for it, and the server serves on.

use super::http3::{Fate, Quic, code_of, fate, raw};
use super::*;
use crate::http3::Code;

const NO_ERROR: u64 = 0x100;
const STREAM_CREATION_ERROR: u64 = 0x103;
const CLOSED_CRITICAL_STREAM: u64 = 0x104;
const FRAME_UNEXPECTED: u64 = 0x105;
const FRAME_ERROR: u64 = 0x106;
const EXCESSIVE_LOAD: u64 = 0x107;
const SETTINGS_ERROR: u64 = 0x109;
const MISSING_SETTINGS: u64 = 0x10a;
const REQUEST_CANCELLED: u64 = 0x10c;
const REQUEST_INCOMPLETE: u64 = 0x10d;
const MESSAGE_ERROR: u64 = 0x10e;
const QPACK_DECOMPRESSION_FAILED: u64 = 0x200;
const QPACK_ENCODER_STREAM_ERROR: u64 = 0x201;
const QPACK_DECODER_STREAM_ERROR: u64 = 0x202;

fn code(code: u64) -> quinn::VarInt {
    quinn::VarInt::from_u64(code).unwrap()
}

/// What comes of octets on a request stream of a connection of its own, which is then ended or not.
async fn send(server: &Quic, octets: &[u8], ends: bool) -> Fate {
    let connection = server.connect().await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    // The server may not want all of it.
    send.write_all(octets).await.ok();
    if ends {
        send.finish().ok();
    }
    fate(&mut receive).await
}

/// The server still answers.
async fn serves(server: &Quic) {
    let expected = Fate::Answered(vec![200], b"now".to_vec());
    assert_eq!(send(server, &raw::get("/now"), true).await, expected);
}

#[tokio::test]
async fn malformed_requests_end_their_stream_and_no_other() {
    let server = Quic::start().await;
    let connection = server.connect().await;
    let cases: [&[(&str, &str)]; 9] = [
        &[("Upper", "x")],
        &[("connection", "close")],
        &[("transfer-encoding", "chunked")],
        &[("upgrade", "websocket")],
        &[("te", "gzip")],
        &[("x", "a\r\nb: c")],
        &[("x", "1"), (":path", "/late")],
        &[(":method", "POST")],
        &[(":unknown", "x")],
    ];
    for more in cases {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&raw::request("GET", "/now", more)).await.unwrap();
        assert_eq!(fate(&mut receive).await, Fate::Reset(MESSAGE_ERROR), "{more:?}");
    }
    for (octets, code) in [(&b""[..], REQUEST_INCOMPLETE), (&raw::frame(0x21, b"x"), REQUEST_INCOMPLETE)] {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(octets).await.unwrap();
        send.finish().unwrap();
        assert_eq!(fate(&mut receive).await, Fate::Reset(code), "{octets:?}");
    }
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&raw::get("/now")).await.unwrap();
    send.finish().unwrap();
    assert_eq!(fate(&mut receive).await, Fate::Answered(vec![200], b"now".to_vec()));
    assert!(server.answered("message_error"));
}

#[tokio::test]
async fn broken_frames_and_sections_end_the_connection() {
    let server = Quic::start().await;
    let get = raw::get("/now");
    let after = |more: &[u8]| [&raw::request("POST", "/count", &[]), more].concat();
    let cases = [
        (raw::frame(0x00, b"data first"), FRAME_UNEXPECTED),
        (raw::frame(0x04, b""), FRAME_UNEXPECTED),
        (raw::frame(0x06, b""), FRAME_UNEXPECTED),
        (raw::frame(0x07, b"\0"), FRAME_UNEXPECTED),
        (after(&raw::frame(0x05, b"\0")), FRAME_UNEXPECTED),
        (
            after(&[raw::frame(1, &raw::section(&[("x", "y")])), raw::frame(0, b"late")].concat()),
            FRAME_UNEXPECTED,
        ),
        (get[..get.len() - 1].to_vec(), FRAME_ERROR),
        (after(b"\x00\x05cut"), FRAME_ERROR),
        (raw::frame(1, b"\x01\x00\x80"), QPACK_DECOMPRESSION_FAILED),
        (raw::frame(1, b"\x00\x00\xff\xff\xff\xff\xff\xff\xff"), QPACK_DECOMPRESSION_FAILED),
        (raw::frame(1, b"\x00\x00\x51\x84\xff\xff\xff\xff"), QPACK_DECOMPRESSION_FAILED),
    ];
    for (octets, code) in cases {
        assert_eq!(send(&server, &octets, true).await, Fate::Closed(code), "{octets:?}");
    }
    serves(&server).await;
}

#[tokio::test]
async fn a_connection_that_many_streams_break_is_counted_once() {
    let server = Quic::start().await;
    let connection = server.connect().await;
    let mut open = Vec::new();
    for _ in 0..16 {
        // The server may have closed already.
        let Ok((mut send, receive)) = connection.open_bi().await else { break };
        send.write_all(&raw::frame(0x00, b"data first")).await.ok();
        open.push((send, receive));
    }
    if let Ok(mut control) = connection.open_uni().await {
        control.write_all(b"\x00\x07\x01\x00").await.ok();
    }
    let code = code_of(&within(connection.closed()).await);
    assert!([FRAME_UNEXPECTED, MISSING_SETTINGS].contains(&code), "{code:#x}");
    // Until its streams have ended, too.
    server.ending.connections.close();
    within(server.ending.connections.wait()).await;
    let counted = [Code::FRAME_UNEXPECTED, Code::MISSING_SETTINGS]
        .map(|code| server.context.metrics.http3_broken_by(code));
    assert_eq!(counted.iter().sum::<u64>(), 1, "{counted:?}");
}

#[tokio::test]
async fn heads_over_their_bounds_are_answered_with_431() {
    let server = Quic::start().await;
    let too_large = |fate: Fate| matches!(fate, Fate::Answered(statuses, _) if statuses == [431]);
    // By what it decodes to: each octet is a field of 41.
    let bomb = [&raw::section(&[])[..], &[0xdd; 10_000]].concat();
    assert!(too_large(send(&server, &raw::frame(1, &bomb), false).await));
    // By its number of fields.
    let many = vec![("x", ""); 200];
    assert!(too_large(send(&server, &raw::request("GET", "/now", &many), false).await));
    // By its announced length: nothing of it is waited for, or kept.
    assert!(too_large(send(&server, b"\x01\xc0\x00\x00\xff\xff\xff\xff\xff", false).await));
    // Unknown frames are skipped whatever their length, up to the time that a head may take.
    let endless = [&b"\x21\xff\xff\xff\xff\xff\xff\xff\xff"[..], &[0; 500_000]].concat();
    let connection = server.connect().await;
    let (mut send_half, _receive) = connection.open_bi().await.unwrap();
    within(send_half.write_all(&endless)).await.unwrap();
    serves(&server).await;
}

#[tokio::test]
async fn bodies_that_are_not_as_long_as_announced_end_their_stream() {
    let server = Quic::start().await;
    let post = |length: &str| raw::request("POST", "/count", &[("content-length", length)]);
    let data = raw::frame(0, b"12345");
    for (length, ends) in [("4", false), ("4", true), ("6", true)] {
        let fate = send(&server, &[&post(length)[..], &data].concat(), ends).await;
        assert_eq!(fate, Fate::Reset(MESSAGE_ERROR), "{length}");
    }
    assert_eq!(send(&server, &post("4"), true).await, Fate::Reset(MESSAGE_ERROR), "none came at all");
    let exact = send(&server, &[&post("5")[..], &data].concat(), true).await;
    assert_eq!(exact, Fate::Answered(vec![200], b"5".to_vec()));
    let over = send(&server, &post("99999999999"), false).await;
    assert!(matches!(over, Fate::Answered(statuses, _) if statuses == [413]));
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused_and_no_more_of_it_is_taken() {
    let server = Quic::start().await;
    let connection = server.connect().await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&raw::request("POST", "/count", &[])).await.unwrap();
    let piece = raw::frame(0, &[b'x'; 60_000]);
    let stopped = within(async {
        loop {
            if let Err(error) = send.write_all(&piece).await {
                return error;
            }
        }
    })
    .await;
    assert_eq!(stopped, quinn::WriteError::Stopped(code(NO_ERROR)));
    assert!(matches!(fate(&mut receive).await, Fate::Answered(statuses, _) if statuses == [400]));
    assert_eq!(*server.seen.body_failed.lock().unwrap(), Some(BodyError::TooLarge));
}

#[tokio::test]
async fn an_upload_that_nobody_reads_holds_no_more_than_its_window() {
    let server = Quic::start().await;
    let connection = server.connect().await;
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(&raw::request("POST", "/sip", &[])).await.unwrap();
    let piece = raw::frame(0, &[b'x'; 10_000]);
    let mut taken = 0;
    // Nobody reads on: what the windows hold is taken, and then no more.
    while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(500), send.write_all(&piece)).await {
        taken += piece.len();
        assert!(taken < 2 * 1024 * 1024, "it takes what nobody reads");
    }
    send.reset(code(REQUEST_CANCELLED)).unwrap();
    server.seen.cancelled(1).await;
}

/// A connection and what ends it, after these octets on a unidirectional stream.
async fn unidirectional(server: &Quic, streams: &[&[u8]], ends: bool) -> u64 {
    let connection = server.connect().await;
    let mut open = Vec::new();
    for octets in streams {
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(octets).await.ok();
        if ends {
            stream.finish().ok();
        }
        open.push(stream);
    }
    code_of(&within(connection.closed()).await)
}

#[tokio::test]
async fn control_streams_that_break_the_rules_end_the_connection() {
    let server = Quic::start().await;
    let cases: [(&[&[u8]], bool, u64); 12] = [
        (&[b"\x00\x07\x01\x00"], false, MISSING_SETTINGS),
        (&[b"\x00\x04\x00\x04\x00"], false, FRAME_UNEXPECTED),
        (&[b"\x00\x04\x00\x00\x00"], false, FRAME_UNEXPECTED),
        (&[b"\x00\x04\x02\x02\x00"], false, SETTINGS_ERROR),
        (&[b"\x00\x04\x00"], true, CLOSED_CRITICAL_STREAM),
        (&[b"\x00\x04\x00", b"\x00\x04\x00"], false, STREAM_CREATION_ERROR),
        (&[b"\x01\x00"], false, STREAM_CREATION_ERROR),
        (&[b"\x02\x3f\xe1\x1f"], false, QPACK_ENCODER_STREAM_ERROR),
        (&[b"\x02\x20"], true, CLOSED_CRITICAL_STREAM),
        (&[b"\x03\x80"], false, QPACK_DECODER_STREAM_ERROR),
        (&[b"\x03", b"\x03"], false, STREAM_CREATION_ERROR),
        (&[b"\x00\x04\x80\x10\x00\x00"], false, EXCESSIVE_LOAD),
    ];
    for (streams, ends, code) in cases {
        assert_eq!(unidirectional(&server, streams, ends).await, code, "{streams:?}");
    }
    let endless = [&b"\x00\x04\x00\x21\xff\xff\xff\xff\xff\xff\xff\xff"[..], &[0; 100_000]].concat();
    assert_eq!(unidirectional(&server, &[&endless], false).await, EXCESSIVE_LOAD);
    serves(&server).await;
}

#[tokio::test]
async fn unknown_streams_are_stopped_and_their_number_is_bounded() {
    let server = Quic::start().await;
    let connection = server.connect().await;
    let code = within(async {
        loop {
            let Ok(mut stream) = connection.open_uni().await else { break };
            stream.write_all(b"\x21grease").await.ok();
            // Gives its place back.
            stream.stopped().await.ok();
            stream.reset(quinn::VarInt::from_u32(0)).ok();
        }
        code_of(&connection.closed().await)
    })
    .await;
    assert_eq!(code, EXCESSIVE_LOAD);
    serves(&server).await;
}

#[tokio::test]
async fn a_client_that_cancels_all_it_asks_is_sent_away() {
    let server = Quic::start().await;
    let connection = server.connect().await;
    let code = within(async {
        loop {
            let Ok((mut send, mut receive)) = connection.open_bi().await else { break };
            send.write_all(&raw::get("/hang")).await.ok();
            send.reset(code(REQUEST_CANCELLED)).ok();
            receive.stop(code(REQUEST_CANCELLED)).ok();
        }
        code_of(&connection.closed().await)
    })
    .await;
    assert_eq!(code, EXCESSIVE_LOAD);
    serves(&server).await;
}

#[tokio::test]
async fn who_is_too_slow_is_not_waited_for() {
    let brief = Duration::from_millis(200);
    // Each is brief where it is met, and nowhere else: a busy machine is too slow, too.
    let server = Quic::with(Timeouts { head: brief, ..Timeouts::DEFAULT }, 10).await;
    let get = raw::get("/now");
    assert_eq!(send(&server, &get[..10], false).await, Fate::Reset(REQUEST_CANCELLED), "a head");
    // It says nothing at all.
    let silent = server.connect().await;
    assert_eq!(code_of(&within(silent.closed()).await), NO_ERROR);
    let server = Quic::with(Timeouts { body_idle: brief, ..Timeouts::DEFAULT }, 10).await;
    let stalled =
        send(&server, &[&raw::request("POST", "/count", &[])[..], b"\x00\x05x"].concat(), false).await;
    assert!(matches!(stalled, Fate::Answered(statuses, _) if statuses == [400]), "a body");
    assert_eq!(*server.seen.body_failed.lock().unwrap(), Some(BodyError::TimedOut));
    // Its windows are full, and it does not read.
    let server = Quic::with(Timeouts { write_idle: brief, ..Timeouts::DEFAULT }, 10).await;
    let connection = server.connect().await;
    let (mut send_half, receive) = connection.open_bi().await.unwrap();
    send_half.write_all(&raw::get("/endless")).await.unwrap();
    send_half.finish().unwrap();
    server.seen.cancelled(1).await;
    drop(receive);
}

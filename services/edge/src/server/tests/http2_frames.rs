//! HTTP/2 by its octets: what no client library would send, and whose turn it is.

use std::collections::HashMap;

use super::http2_wire::*;
use super::*;
use crate::http2::{Code, Decoder, FRAME_BYTES_MAX, PREFACE, flag, frame_type, write_goaway};

#[tokio::test]
async fn what_breaks_the_connection_ends_it_with_the_code_that_says_so() {
    let (protocol, size, flow) = (Code::PROTOCOL_ERROR, Code::FRAME_SIZE_ERROR, Code::FLOW_CONTROL_ERROR);
    let headers = |stream, flags, octets: &[u8]| frame(frame_type::HEADERS, flags, stream, octets);
    let open = || headers(1, flag::END_HEADERS, &request("/hang", &[]));
    let cases: Vec<(&str, Code, Vec<u8>)> = vec![
        ("a stream of ours", protocol, headers(2, WHOLE, &request("/", &[]))),
        ("a head on the connection", protocol, headers(0, WHOLE, &request("/", &[]))),
        ("a push", protocol, frame(frame_type::PUSH_PROMISE, flag::END_HEADERS, 1, &[0; 8])),
        ("data of no stream", protocol, frame(frame_type::DATA, 0, 1, b"x")),
        ("a reset of no stream", protocol, reset(1)),
        ("a window of no stream", protocol, window_update(1, 1)),
        ("a window that opens by nothing", protocol, window_update(0, 0)),
        ("a window over its limit", flow, window_update(0, i32::MAX as u32)),
        ("a window of three octets", size, frame(frame_type::WINDOW_UPDATE, 0, 0, &[0; 3])),
        ("a frame over its limit", size, frame(frame_type::DATA, 0, 1, &vec![0; FRAME_BYTES_MAX + 1])),
        ("settings of a stream", protocol, frame(frame_type::SETTINGS, 0, 1, &[])),
        ("settings in pieces", size, frame(frame_type::SETTINGS, 0, 0, &[0; 7])),
        ("an answer to settings with some", size, frame(frame_type::SETTINGS, flag::ACK, 0, &[0; 6])),
        ("a push that is neither on nor off", protocol, setting(2, 2)),
        ("an initial window over its limit", flow, setting(4, 1 << 31)),
        ("a short ping", size, frame(frame_type::PING, 0, 0, &[0; 7])),
        ("a ping of a stream", protocol, frame(frame_type::PING, 0, 1, &[0; 8])),
        ("a rest of nothing", protocol, frame(frame_type::CONTINUATION, WHOLE, 1, &[])),
        ("something within a head", protocol, {
            [headers(1, 0, &request("/", &[])), frame(frame_type::PING, 0, 0, &[0; 8])].concat()
        }),
        ("a head within a head", protocol, {
            [headers(1, 0, &request("/", &[])), frame(frame_type::CONTINUATION, WHOLE, 3, &[])].concat()
        }),
        ("more padding than there is", protocol, headers(1, WHOLE | flag::PADDED, &[200, 0x82])),
        ("a section that refers to nothing", Code::COMPRESSION_ERROR, headers(1, WHOLE, &[0xfe])),
        ("trailers that refer to nothing", Code::COMPRESSION_ERROR, {
            [open(), headers(1, WHOLE, &[0xfe])].concat()
        }),
        ("more data than the window holds", flow, {
            // Each stream's window holds what it gets.
            let full = |n: u32| {
                let open = headers(2 * n + 1, flag::END_HEADERS, &request("/hang", &[]));
                [open, frame(frame_type::DATA, 0, 2 * n + 1, &vec![0; FRAME_BYTES_MAX]).repeat(8)].concat()
            };
            (0..9).flat_map(full).collect()
        }),
        ("pieces of a head without end", Code::ENHANCE_YOUR_CALM, {
            let piece = frame(frame_type::CONTINUATION, 0, 1, &[]);
            [headers(1, 0, &request("/", &[])), piece.repeat(70)].concat()
        }),
        ("a head without end", Code::ENHANCE_YOUR_CALM, {
            let piece = frame(frame_type::CONTINUATION, 0, 1, &vec![0x82; FRAME_BYTES_MAX]);
            [headers(1, 0, &request("/", &[])), piece.repeat(20)].concat()
        }),
        ("pings and nothing else", Code::ENHANCE_YOUR_CALM, {
            frame(frame_type::PING, 0, 0, &[0; 8]).repeat(1_100)
        }),
        ("settings and nothing else", Code::ENHANCE_YOUR_CALM, {
            frame(frame_type::SETTINGS, 0, 0, &[]).repeat(1_100)
        }),
        ("windows that are opened for nothing", Code::ENHANCE_YOUR_CALM, window_update(0, 1).repeat(1_100)),
        ("resets of what is over", Code::ENHANCE_YOUR_CALM, {
            [get(1, "/hang"), reset(1).repeat(1_100)].concat()
        }),
        ("data without octets", Code::ENHANCE_YOUR_CALM, {
            [open(), frame(frame_type::DATA, 0, 1, &[]).repeat(1_100)].concat()
        }),
        ("requests that are cancelled at once", Code::ENHANCE_YOUR_CALM, {
            (0..2_000).flat_map(|n| [get(2 * n + 1, "/hang"), reset(2 * n + 1)].concat()).collect()
        }),
        ("faults of one stream after the other", Code::ENHANCE_YOUR_CALM, {
            let faulty = |n: u32| [get(2 * n + 1, "/hang"), window_update(2 * n + 1, 0)].concat();
            (0..200).flat_map(faulty).collect()
        }),
    ];
    for (what, code, octets) in cases {
        println!("{what}");
        let server = Server::start().await;
        let mut wire = Wire::connect(&server).await;
        wire.send(&octets).await;
        assert_eq!(wire.end().await, code, "{what}");
    }
}

#[tokio::test]
async fn a_connection_begins_with_the_preface_and_settings() {
    let server = Server::start().await;
    for first in [get(1, "/now"), frame(frame_type::SETTINGS, flag::ACK, 0, &[])] {
        let io = TcpStream::connect(server.address).await.unwrap();
        let mut wire = Wire { io, buffer: BytesMut::new(), decoder: Decoder::default() };
        wire.send(&[PREFACE, &first].concat()).await;
        assert_eq!(wire.end().await, Code::PROTOCOL_ERROR);
    }
}

#[tokio::test]
async fn what_breaks_a_stream_resets_it_and_no_other() {
    let server = Server::start().await;
    let protocol = Code::PROTOCOL_ERROR;
    let head = |fields: &[(&str, &str)]| frame(frame_type::HEADERS, WHOLE, 1, &section(fields));
    let more = |field: (&str, &str)| frame(frame_type::HEADERS, WHOLE, 1, &request("/", &[field]));
    let (method, scheme, authority) = ((":method", "GET"), (":scheme", "http"), (":authority", "a.example"));
    let path = (":path", "/");
    let open =
        |field: (&str, &str)| frame(frame_type::HEADERS, flag::END_HEADERS, 1, &request("/count", &[field]));
    let data = |flags, octets: &[u8]| frame(frame_type::DATA, flags, 1, octets);
    let none = ("x", "y");
    let cases: Vec<(&str, Code, Vec<u8>)> = vec![
        ("no method", protocol, head(&[scheme, authority, path])),
        ("no path", protocol, head(&[method, scheme, authority])),
        ("an empty path", protocol, head(&[method, scheme, authority, (":path", "")])),
        ("two methods", protocol, head(&[method, method, scheme, authority, path])),
        (
            "a pseudo-header field that nobody knows",
            protocol,
            head(&[method, scheme, authority, path, (":x", "y")]),
        ),
        (
            "a pseudo-header field of answers",
            protocol,
            head(&[(":status", "200"), method, scheme, authority, path]),
        ),
        ("a late pseudo-header field", protocol, head(&[method, scheme, authority, none, path])),
        ("an upper case name", protocol, more(("X-Y", "z"))),
        ("a field of a connection", protocol, more(("connection", "close"))),
        ("a coding of a connection", protocol, more(("transfer-encoding", "chunked"))),
        ("te with more than trailers", protocol, more(("te", "gzip"))),
        ("a line feed in a value", protocol, more(("x", "a\nb"))),
        ("a value that begins with a blank", protocol, more(("x", " a"))),
        ("a length without content", protocol, more(("content-length", "5"))),
        ("less than was announced", protocol, {
            [open(("content-length", "5")), data(flag::END_STREAM, b"abc")].concat()
        }),
        ("more than was announced", protocol, [open(("content-length", "2")), data(0, b"abc")].concat()),
        ("trailers that end nothing", protocol, {
            [open(none), frame(frame_type::HEADERS, flag::END_HEADERS, 1, &section(&[none]))].concat()
        }),
        ("trailers that route", protocol, {
            [open(none), frame(frame_type::HEADERS, WHOLE, 1, &section(&[("host", "b.example")]))].concat()
        }),
        ("data behind the end", Code::STREAM_CLOSED, [get(1, "/hang"), data(0, b"x")].concat()),
        ("a window that opens by nothing", protocol, [get(1, "/hang"), window_update(1, 0)].concat()),
        ("a window over its limit", Code::FLOW_CONTROL_ERROR, {
            [get(1, "/hang"), window_update(1, i32::MAX as u32)].concat()
        }),
        ("more data than the window holds", Code::FLOW_CONTROL_ERROR, {
            let open = frame(frame_type::HEADERS, flag::END_HEADERS, 1, &request("/hang", &[]));
            [open, frame(frame_type::DATA, 0, 1, &vec![0; FRAME_BYTES_MAX]).repeat(9)].concat()
        }),
        ("an old priority of four octets", Code::FRAME_SIZE_ERROR, {
            [get(1, "/hang"), frame(frame_type::PRIORITY, 0, 1, &[0; 4])].concat()
        }),
    ];
    for (what, code, octets) in cases {
        let mut wire = Wire::connect(&server).await;
        wire.send(&[octets, get(3, "/now")].concat()).await;
        let frame = wire.until(frame_type::RST_STREAM).await;
        assert_eq!((frame.head.stream, frame.code()), (1, code), "{what}");
        assert_eq!(wire.status().await, 200, "{what}");
    }
}

#[tokio::test]
async fn a_head_that_grows_when_it_is_decoded_is_answered_and_the_table_stays_right() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    // An entry of nearly 4 KiB, then as many references to it as one frame holds: 60 MiB.
    let mut entry = BytesMut::from(&[0x40][..]);
    crate::fields::write_string(b"x", 7, 0, &mut entry);
    crate::fields::write_string(&[b'y'; 4000], 7, 0, &mut entry);
    let bomb = [request("/", &[]), entry.to_vec(), vec![0xbe; 12_000]].concat();
    wire.send(&frame(frame_type::HEADERS, WHOLE, 1, &bomb)).await;
    assert_eq!(wire.status().await, 431);
    let again = [request("/now", &[]), vec![0xbe]].concat();
    wire.send(&frame(frame_type::HEADERS, WHOLE, 3, &again)).await;
    assert_eq!(wire.status().await, 200);
}

#[tokio::test]
async fn frames_that_mean_nothing_to_us_are_skipped() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    let mut goaway = BytesMut::new();
    write_goaway(0, Code::NO_ERROR, &mut goaway);
    let skipped = [
        frame(0xbe, 0xff, 0, b"unknown"),
        frame(0xbe, 0xff, 7, &[]),
        frame(frame_type::PRIORITY, 0, 9, &[0; 5]),
        frame(frame_type::PRIORITY_UPDATE, 0, 0, b"\0\0\0\x09u=1"),
        goaway.to_vec(),
    ];
    let padded = [&[3][..], &[0; 5], &request("/now", &[]), &[0; 3]].concat();
    let flags = WHOLE | flag::PADDED | flag::PRIORITY;
    wire.send(&[skipped.concat(), frame(frame_type::HEADERS, flags, 1, &padded)].concat()).await;
    assert_eq!(wire.status().await, 200);
    // Late frames of a stream that is over.
    wire.send(&[window_update(1, 5), reset(1), frame(frame_type::PING, 0, 0, b"12345678")].concat()).await;
    assert_eq!(wire.until(frame_type::PING).await.payload, b"12345678");
}

/// Some open their windows as often as they read, and when all of a large answer has long been written.
#[tokio::test]
async fn windows_may_be_opened_by_little_and_late_for_what_was_written_and_no_further() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    let wide = frame(frame_type::SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    wire.send(&[wide, window_update(0, 1 << 30), get(1, "/full")].concat()).await;
    let updates = 2 * FULL_BYTES / 1024;
    while !wire.until(frame_type::DATA).await.head.has(flag::END_STREAM) {}
    for _ in 0..2 {
        wire.send(&window_update(0, 1).repeat(updates)).await;
        wire.send(&frame(frame_type::PING, 0, 0, b"12345678")).await;
        assert_eq!(wire.until(frame_type::PING).await.payload, b"12345678");
    }
    wire.send(&window_update(0, 1).repeat(updates + 512)).await;
    assert_eq!(wire.end().await, Code::ENHANCE_YOUR_CALM);
}

/// Octets of content by stream, of the first `octets`.
async fn shares(wire: &mut Wire, octets: usize) -> (HashMap<u32, usize>, Vec<u32>) {
    let (mut shares, mut order) = (HashMap::new(), Vec::new());
    let mut all = 0;
    while all < octets {
        let frame = wire.until(frame_type::DATA).await;
        all += frame.payload.len();
        *shares.entry(frame.head.stream).or_default() += frame.payload.len();
        order.push(frame.head.stream);
    }
    order.dedup();
    (shares, order)
}

#[tokio::test]
async fn what_is_urgent_goes_first_and_what_is_of_use_in_part_takes_turns() {
    let ask = |stream: u32, priority: &[(&str, &str)]| {
        frame(frame_type::HEADERS, WHOLE, stream, &request("/full", priority))
    };
    let (urgent, late, turns) = (("priority", "u=1"), ("priority", "u=6"), ("priority", "u=1, i"));
    let all = 65_535;
    for (what, first, second, third, expected) in [
        ("the most urgent alone", late, late, urgent, vec![5]),
        ("one after the other", urgent, urgent, late, vec![1]),
        ("of these two by turns", turns, late, turns, vec![1, 5]),
    ] {
        let server = Server::start().await;
        let mut wire = Wire::connect(&server).await;
        // Nothing may be written before all three are there.
        let closed = frame(frame_type::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        wire.send(&[closed, ask(1, &[first]), ask(3, &[second]), ask(5, &[third])].concat()).await;
        for _ in 0..3 {
            assert_eq!(wire.status().await, 200);
        }
        wire.send(&frame(frame_type::SETTINGS, 0, 0, &[0, 4, 0, 0x10, 0, 0])).await;
        let (shares, _) = shares(&mut wire, all).await;
        let mut streams: Vec<u32> = shares.keys().copied().collect();
        streams.sort_unstable();
        assert_eq!(streams, expected, "{what}: {shares:?}");
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_of_urgency_gets_its_answers_by_turns() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    let closed = frame(frame_type::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    wire.send(&[closed, get(1, "/full"), get(3, "/full")].concat()).await;
    for _ in 0..2 {
        assert_eq!(wire.status().await, 200);
    }
    wire.send(&frame(frame_type::SETTINGS, 0, 0, &[0, 4, 0, 0x10, 0, 0])).await;
    let (shares, order) = shares(&mut wire, 65_535).await;
    assert!(shares[&1].abs_diff(shares[&3]) <= FRAME_BYTES_MAX && order.len() >= 4, "{shares:?} {order:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_is_not_waited_for_when_the_server_ends() {
    let (ours, drain, serving) = http2_in_memory(64 * 1024);
    let mut wire = Wire::over(ours).await;
    wire.send(&get(1, "/now")).await;
    assert_eq!(wire.status().await, 200);
    drain.cancel();
    assert_eq!(wire.until(frame_type::GOAWAY).await.payload[..4], [0x7f, 0xff, 0xff, 0xff]);
    // It goes on asking meanwhile, and is answered.
    wire.send(&get(3, "/now")).await;
    assert_eq!(wire.status().await, 200);
    let last = wire.until(frame_type::GOAWAY).await;
    assert_eq!((last.code(), &last.payload[..4]), (Code::NO_ERROR, &[0, 0, 0, 3][..]));
    drop(wire);
    within(serving).await.unwrap();
}

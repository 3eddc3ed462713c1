//! HTTP/2 by its octets: what no client library would send, and whose turn it is.

use std::collections::HashMap;

use bytes::Buf;

use super::*;
use crate::fields::Section;
use crate::http2::{
    Code, Decoder, FRAME_BYTES_MAX, FRAME_HEAD_BYTES, FrameHead, PREFACE, flag, frame_type, write_goaway,
    write_reset, write_window_update,
};

/// A connection whose frames are written by hand.
struct Wire<IO = TcpStream> {
    io: IO,
    buffer: BytesMut,
    decoder: Decoder,
}

/// A frame that came.
#[derive(Debug)]
struct Frame {
    head: FrameHead,
    payload: Vec<u8>,
}

impl Frame {
    fn code(&self) -> Code {
        let octets =
            if self.head.kind == frame_type::GOAWAY { &self.payload[4..8] } else { &self.payload[..] };
        Code(u32::from_be_bytes(octets.try_into().unwrap()))
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A section of literals.
fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for (name, value) in fields {
        out.extend_from_slice(&[0]);
        crate::fields::write_string(name.as_bytes(), 7, 0, &mut out);
        crate::fields::write_string(value.as_bytes(), 7, 0, &mut out);
    }
    out.to_vec()
}

const WHOLE: u8 = flag::END_HEADERS | flag::END_STREAM;

fn request(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", path)];
    section(&[&pseudo[..], more].concat())
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(frame_type::HEADERS, WHOLE, stream, &request(path, &[]))
}

fn reset(stream: u32) -> Vec<u8> {
    let mut out = BytesMut::new();
    write_reset(stream, Code::CANCEL, &mut out);
    out.to_vec()
}

fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    let mut out = BytesMut::new();
    write_window_update(stream, bytes, &mut out);
    out.to_vec()
}

impl Wire {
    async fn connect(server: &Server) -> Self {
        Self::over(TcpStream::connect(server.address).await.unwrap()).await
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    async fn over(io: IO) -> Self {
        let mut wire = Self { io, buffer: BytesMut::new(), decoder: Decoder::default() };
        wire.send(&[PREFACE, &frame(frame_type::SETTINGS, 0, 0, &[])].concat()).await;
        wire
    }

    async fn send(&mut self, octets: &[u8]) {
        // The server may have ended the connection already.
        within(self.io.write_all(octets)).await.ok();
    }

    /// The next frame; `None` at the connection's end.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(head) = FrameHead::read(&self.buffer).unwrap()
                && self.buffer.len() >= FRAME_HEAD_BYTES + head.length
            {
                self.buffer.advance(FRAME_HEAD_BYTES);
                return Some(Frame { head, payload: self.buffer.split_to(head.length).to_vec() });
            }
            if !matches!(within(self.io.read_buf(&mut self.buffer)).await, Ok(1..)) {
                return None;
            }
        }
    }

    /// The next frame of a kind.
    async fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("there is no frame of kind {kind}"));
            if frame.head.kind == kind {
                return frame;
            }
        }
    }

    /// How the connection ends.
    async fn end(&mut self) -> Code {
        let code = self.until(frame_type::GOAWAY).await.code();
        while self.next().await.is_some() {}
        code
    }

    /// The status of the next answer.
    async fn status(&mut self) -> u16 {
        let frame = self.until(frame_type::HEADERS).await;
        let mut status = 0;
        let bounds = Section { bytes_max: 1 << 20, fields_max: 100 };
        let read = self.decoder.decode(&frame.payload, bounds, |name, value| {
            if name == b":status" {
                status = std::str::from_utf8(value).unwrap().parse().unwrap();
            }
            Ok(())
        });
        read.unwrap();
        status
    }
}

#[tokio::test]
async fn what_breaks_the_connection_ends_it_with_the_code_that_says_so() {
    let (protocol, size, flow) = (Code::PROTOCOL_ERROR, Code::FRAME_SIZE_ERROR, Code::FLOW_CONTROL_ERROR);
    let headers = |stream, flags, octets: &[u8]| frame(frame_type::HEADERS, flags, stream, octets);
    let open = || headers(1, flag::END_HEADERS, &request("/hang", &[]));
    let setting = |id: u8, value: u32| {
        frame(frame_type::SETTINGS, 0, 0, &[&[0, id][..], &value.to_be_bytes()].concat())
    };
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

#[tokio::test]
async fn signs_of_life_beside_content_are_no_attack() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    let pings = frame(frame_type::PING, 0, 0, &[0; 8]).repeat(1_000);
    wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, 1, &request("/count", &[]))).await;
    for _ in 0..3 {
        wire.send(&[pings.clone(), frame(frame_type::DATA, 0, 1, b"x")].concat()).await;
    }
    wire.send(&frame(frame_type::DATA, flag::END_STREAM, 1, &[])).await;
    assert_eq!(wire.status().await, 200);
    assert_eq!(wire.until(frame_type::DATA).await.payload, b"3");
}

#[tokio::test]
async fn content_in_single_octets_is_put_together() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, 1, &request("/echo", &[]))).await;
    let text: Vec<u8> = (0..20_000_u32).map(|number| number.to_be_bytes()[3]).collect();
    let octets: Vec<u8> = text.iter().flat_map(|octet| frame(frame_type::DATA, 0, 1, &[*octet])).collect();
    wire.send(&[octets, frame(frame_type::DATA, flag::END_STREAM, 1, &[])].concat()).await;
    assert_eq!(wire.status().await, 200);
    let mut heard = Vec::new();
    while heard.len() < text.len() {
        heard.extend_from_slice(&wire.until(frame_type::DATA).await.payload);
    }
    assert!(heard == text);
}

#[tokio::test]
async fn what_is_on_its_way_to_streams_that_were_answered_early_is_no_fault() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    let streams = (0..128_u32).map(|number| 2 * number + 1);
    for stream in streams.clone() {
        wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, stream, &request("/now", &[]))).await;
    }
    for _ in streams.clone() {
        assert_eq!(wire.until(frame_type::RST_STREAM).await.code(), Code::NO_ERROR);
    }
    let late: Vec<u8> = streams.flat_map(|stream| frame(frame_type::DATA, 0, stream, b"late")).collect();
    wire.send(&[late.repeat(2), get(301, "/now")].concat()).await;
    loop {
        let frame = wire.next().await.expect("the connection lives");
        assert_ne!(frame.head.kind, frame_type::RST_STREAM, "{frame:?}");
        if frame.head.stream == 301 {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_grpc_may_be_silent_for_longer_than_a_body_may() {
    for (kind, lives) in [("application/grpc+proto", true), ("application/octet-stream", false)] {
        let (ours, _drain, _serving) = http2_in_memory(64 * 1024);
        let mut wire = Wire::over(ours).await;
        let asks = request("/echo", &[("content-type", kind)]);
        wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, 1, &asks)).await;
        assert_eq!(wire.status().await, 200);
        for _ in 0..4 {
            tokio::time::sleep(Timeouts::DEFAULT.body_idle / 2).await;
            wire.send(&frame(frame_type::DATA, 0, 1, b"x")).await;
        }
        wire.send(&frame(frame_type::DATA, flag::END_STREAM, 1, &[])).await;
        let mut heard = 0;
        let ended = loop {
            let frame = wire.next().await.expect("the connection lives");
            match frame.head.kind {
                frame_type::DATA => heard += frame.payload.len(),
                frame_type::RST_STREAM => break false,
                _ => continue,
            }
            if frame.head.flags & flag::END_STREAM != 0 {
                break true;
            }
        };
        assert_eq!((ended, heard == 4), (lives, lives), "{kind}: {heard} octets");
    }
}

#[tokio::test]
async fn hints_come_before_the_answer() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    wire.send(&get(1, "/hints")).await;
    for expected in [102, 103, 200] {
        assert_eq!(wire.status().await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_little_that_is_missing_of_an_answered_request_is_read_and_thrown_away() {
    let (ours, _drain, _serving) = http2_in_memory(64 * 1024);
    let mut wire = Wire::over(ours).await;
    let announced = |bytes: &str| request("/now", &[("content-length", bytes)]);
    // It comes: there is nothing to reset.
    wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, 1, &announced("8"))).await;
    assert_eq!(wire.status().await, 200);
    wire.send(&frame(frame_type::DATA, 0, 1, b"late")).await;
    wire.send(&frame(frame_type::DATA, flag::END_STREAM, 1, b"rest")).await;
    // It is not awaited for long, and not at all if it is much, or longer than was said.
    wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, 3, &announced("8"))).await;
    wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, 5, &announced("3"))).await;
    wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, 7, &announced("1000000"))).await;
    for _ in [3, 5, 7] {
        assert_eq!(wire.status().await, 200);
    }
    wire.send(&frame(frame_type::DATA, 0, 5, b"four")).await;
    let mut ended = HashMap::new();
    while ended.len() < 3 {
        let frame = wire.until(frame_type::RST_STREAM).await;
        ended.insert(frame.head.stream, frame.code());
    }
    let expected = [(3, Code::NO_ERROR), (5, Code::PROTOCOL_ERROR), (7, Code::NO_ERROR)];
    assert_eq!(ended, expected.into());
    wire.send(&get(9, "/now")).await;
    assert_eq!(wire.status().await, 200);
}

#[tokio::test]
async fn a_stage_that_panics_ends_its_stream_and_no_other() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    wire.send(&[get(1, "/panic"), get(3, "/now")].concat()).await;
    let frame = wire.until(frame_type::RST_STREAM).await;
    assert_eq!((frame.head.stream, frame.code()), (1, Code::INTERNAL_ERROR));
    assert_eq!(wire.status().await, 200);
}

#[tokio::test]
async fn hundreds_of_cookies_are_one_field() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    let cookies = vec![("cookie", "name=value"); 300];
    wire.send(&frame(frame_type::HEADERS, WHOLE, 1, &request("/now", &cookies))).await;
    assert_eq!(wire.status().await, 200);
    let others = vec![("x", "y"); 300];
    wire.send(&frame(frame_type::HEADERS, WHOLE, 3, &request("/now", &others))).await;
    assert_eq!(wire.status().await, 431);
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

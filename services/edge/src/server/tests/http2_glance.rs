//! Requests by HTTP/2 that are answered as they were decoded: `/ready` and `/ready-big`, as by HTTP/1.1 (`glance.rs`).

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::counted::counted;
use super::http2_wire::*;
use super::*;
use crate::fields::Section;
use crate::http2::{Code, flag, frame_type};

/// What `/ready` says.
const READY: &str = "ready for a.example at None";

/// What has come of an answer: its fields, its content.
#[derive(Debug, Default)]
struct Came {
    fields: BTreeMap<String, String>,
    content: Vec<u8>,
    ended: bool,
}

impl Came {
    /// Whether it was answered at a glance.
    fn is_ready(&self) -> bool {
        self.fields.contains_key("x-ready")
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.content).unwrap()
    }
}

/// Reads until so many streams have ended; the streams in the order in which their heads came, and what came of each.
async fn answers<IO>(wire: &mut Wire<IO>, count: usize) -> (Vec<u32>, BTreeMap<u32, Came>)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (mut order, mut all) = (Vec::new(), BTreeMap::<u32, Came>::new());
    while all.values().filter(|came| came.ended).count() < count {
        let Frame { head, payload } = wire.next().await.expect("the connection goes on");
        let came = all.entry(head.stream).or_default();
        match head.kind {
            frame_type::HEADERS => {
                order.push(head.stream);
                let bounds = Section { bytes_max: 1 << 20, fields_max: 100 };
                let decoded = wire.decoder.decode(&payload, bounds, |name, value| {
                    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
                    came.fields.insert(text(name), text(value));
                    Ok(())
                });
                decoded.unwrap();
            }
            frame_type::DATA => came.content.extend_from_slice(&payload),
            frame_type::RST_STREAM => panic!("stream {} was reset: {payload:?}", head.stream),
            _ => continue,
        }
        came.ended |= head.has(flag::END_STREAM);
    }
    (order, all)
}

fn ask(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    frame(frame_type::HEADERS, WHOLE, stream, &request(path, more))
}

#[tokio::test]
async fn what_is_ready_is_answered_beside_all_else() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    let paths = ["/ready", "/now", "/other", "/ready?query"];
    let path = |stream: u32| paths[stream as usize / 2 % paths.len()];
    let streams = || (1..100).step_by(2);
    wire.send(&streams().flat_map(|stream| ask(stream, path(stream), &[])).collect::<Vec<_>>()).await;
    let (_, answers) = answers(&mut wire, streams().count()).await;
    for stream in streams() {
        let expected = match path(stream) {
            "/now" => "now",
            "/other" => "GET /other",
            _ => READY,
        };
        let came = &answers[&stream];
        assert_eq!((came.text(), came.is_ready()), (expected, path(stream).starts_with("/ready")));
        assert_eq!(came.fields[":status"], "200");
        assert_eq!(came.fields["content-length"], expected.len().to_string());
        assert_eq!(came.fields.get("age").map(String::as_str), came.is_ready().then_some("7"));
    }
}

#[tokio::test]
async fn whoever_asks_for_more_gets_it_by_the_long_way() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    let pseudo = |method, authority, path| {
        [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]
    };
    let long: Vec<Vec<(&str, &str)>> = vec![
        [&pseudo("GET", "a.example", "/ready")[..], &[("heeded", "1")]].concat(),
        [&pseudo("GET", "a.example", "/ready")[..], &[("host", "a.example")]].concat(),
        [&pseudo("GET", "a.example", "/ready")[..], &[("te", "trailers")]].concat(),
        [&pseudo("GET", "a.example", "/ready")[..], &[("content-length", "0")]].concat(),
        [&pseudo("GET", "a.example", "/ready")[..], &[("x_y", "1")]].concat(),
        pseudo("POST", "a.example", "/ready").to_vec(),
        pseudo("GET", "A.example", "/ready").to_vec(),
        pseudo("GET", "a.example:80", "/ready").to_vec(),
    ];
    for (number, fields) in (0..).zip(&long) {
        let stream = 4 * number + 1;
        wire.send(&frame(frame_type::HEADERS, WHOLE, stream, &section(fields))).await;
        let (_, all) = answers(&mut wire, 1).await;
        let came = &all[&stream];
        assert_eq!(
            (came.text(), came.is_ready()),
            (&*format!("{} /ready", fields[0].1), false),
            "{fields:?}"
        );
        wire.send(&ask(stream + 2, "/ready", &[])).await;
        assert!(answers(&mut wire, 1).await.1[&(stream + 2)].is_ready(), "after {fields:?}");
    }
    // One with a body.
    let stream = 1001;
    let head = frame(frame_type::HEADERS, flag::END_HEADERS, stream, &request("/ready", &[]));
    wire.send(&[head, frame(frame_type::DATA, flag::END_STREAM, stream, b"x")].concat()).await;
    assert!(!answers(&mut wire, 1).await.1[&stream].is_ready());
    // Malformed ones are so by either way.
    for (number, field) in
        (0..).zip([("Upper", "1"), ("", "1"), ("x", " padded"), ("x", "\u{1}"), (":late", "1")])
    {
        let stream = 1003 + 2 * number;
        wire.send(&ask(stream, "/ready", &[field])).await;
        let reset = wire.until(frame_type::RST_STREAM).await;
        assert_eq!((reset.head.stream, reset.code()), (stream, Code::PROTOCOL_ERROR), "{field:?}");
    }
}

#[tokio::test]
async fn it_counts_as_it_does_by_the_long_way() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    let fields =
        [("accept", "x"), ("cookie", "a=b"), ("cookie", "c=d"), ("cookie", "e"), ("priority", "u=1")];
    wire.send(&ask(1, "/ready", &fields)).await;
    let all = answers(&mut wire, 1).await.1;
    assert!(all[&1].is_ready());
    let short = counted(&server.context, 1).await;
    assert!(short.response_bytes() > all[&1].content.len() as u64, "heads too: {short:?}");
    // It is taken away before anybody counts.
    wire.send(&ask(3, "/ready", &[&fields[..], &[("te", "trailers")]].concat())).await;
    assert!(!answers(&mut wire, 1).await.1[&3].is_ready());
    let long = counted(&server.context, 2).await.since(&short);
    assert_eq!((short.ends(), short.request_bytes()), (long.ends(), long.request_bytes()));
    assert_eq!((short.caches()[0], long.caches()[0]), (1, 0));
}

#[tokio::test]
async fn windows_hold_for_what_is_ready_too() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    const INITIAL_WINDOW_SIZE: u8 = 4;
    wire.send(&[setting(INITIAL_WINDOW_SIZE, 5), ask(1, "/ready", &[])].concat()).await;
    wire.until(frame_type::HEADERS).await;
    assert_eq!(wire.until(frame_type::DATA).await.payload, b"ready");
    assert_eq!(server.context.metrics.in_flight(), 1);
    wire.send(&window_update(1, 1000)).await;
    let data = wire.until(frame_type::DATA).await;
    assert_eq!((&data.payload[..], data.head.has(flag::END_STREAM)), (&b" for a.example at None"[..], true));
    let whole = counted(&server.context, 1).await;
    // One that is reset meanwhile counts with what it got.
    wire.send(&ask(3, "/ready-big", &[])).await;
    assert_eq!(wire.until(frame_type::DATA).await.payload.len(), 5);
    wire.send(&reset(3)).await;
    let cut = counted(&server.context, 2).await.since(&whole);
    assert!((5..1000).contains(&cut.response_bytes()), "{cut:?}");
    assert_eq!(server.context.metrics.in_flight(), 0);
    // The connection's window counts what was written, at once or not: the next answer is to find ten octets in it.
    wire.send(&[setting(INITIAL_WINDOW_SIZE, 1 << 20), ask(5, "/ready", &[])].concat()).await;
    assert_eq!(answers(&mut wire, 1).await.1[&5].text(), READY);
    let mut left = 65_535 - READY.len() - 5 - READY.len() - 10;
    wire.send(
        &[setting(INITIAL_WINDOW_SIZE, u32::try_from(left).unwrap()), ask(7, "/ready-big", &[])].concat(),
    )
    .await;
    while left > 0 {
        left -= wire.until(frame_type::DATA).await.payload.len();
    }
    wire.send(&[reset(7), setting(INITIAL_WINDOW_SIZE, 1 << 20), ask(9, "/ready", &[])].concat()).await;
    assert_eq!(wire.until(frame_type::DATA).await.payload, &READY.as_bytes()[..10]);
    wire.send(&window_update(0, 1000)).await;
    let data = wire.until(frame_type::DATA).await;
    assert_eq!((&data.payload[..], data.head.has(flag::END_STREAM)), (&READY.as_bytes()[10..], true));
}

#[tokio::test]
async fn what_is_more_urgent_goes_first_though_both_are_ready() {
    let (io, _drain, _serving) = http2_in_memory(1 << 20);
    let mut wire = Wire::over(io).await;
    let late = |stream| ask(stream, "/ready", &[("priority", "u=6")]);
    let urgent = |stream| ask(stream, "/ready", &[("priority", "u=1")]);
    for (asked, expected) in
        [([late(1), urgent(3)], [3, 1]), ([urgent(5), late(7)], [5, 7]), ([late(9), late(11)], [9, 11])]
    {
        wire.send(&asked.concat()).await;
        let (order, answers) = answers(&mut wire, 2).await;
        assert_eq!(order, expected);
        assert!(order.iter().all(|stream| answers[stream].is_ready()));
    }
}

#[tokio::test]
async fn whoever_makes_its_table_smaller_is_told_so_with_the_next_answer() {
    const HEADER_TABLE_SIZE: u8 = 1;
    let (io, _drain, _serving) = http2_in_memory(1 << 20);
    let mut wire = Wire::over(io).await;
    wire.send(&[setting(HEADER_TABLE_SIZE, 0), ask(1, "/ready", &[])].concat()).await;
    let head = wire.until(frame_type::HEADERS).await;
    assert_eq!(head.payload[0], 0x20, "an update of the table's size (RFC 7541, 6.3)");
    wire.until(frame_type::DATA).await;
    wire.send(&ask(3, "/ready", &[])).await;
    let head = wire.until(frame_type::HEADERS).await;
    assert_eq!(head.payload[0], 0x88, "the status");
    // Also with an answer that was there before, and had to wait.
    wire.until(frame_type::DATA).await;
    wire.send(&[ask(5, "/ready-big", &[]), setting(HEADER_TABLE_SIZE, 0)].concat()).await;
    assert_eq!(wire.until(frame_type::HEADERS).await.payload[0], 0x20);
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_which_all_is_answered_at_once_is_not_idle() {
    let (io, _drain, _serving) = http2_in_memory(1 << 20);
    let mut wire = Wire::over(io).await;
    let begun = Instant::now();
    for number in 0..20 {
        let path = ["/ready", "/now"][number % 2];
        let stream = 2 * u32::try_from(number).unwrap() + 1;
        tokio::time::sleep(Timeouts::DEFAULT.head / 2).await;
        wire.send(&ask(stream, path, &[])).await;
        let mut ended = false;
        while !ended {
            let frame = wire.next().await.expect("the connection goes on");
            assert_ne!(frame.head.kind, frame_type::GOAWAY, "after {:?}", begun.elapsed());
            ended = frame.head.stream == stream && frame.head.has(flag::END_STREAM);
        }
    }
    tokio::time::sleep(Timeouts::DEFAULT.idle - Duration::from_secs(1)).await;
    let idle = Instant::now();
    wire.until(frame_type::GOAWAY).await;
    assert_eq!(idle.elapsed().as_secs(), 1);
}

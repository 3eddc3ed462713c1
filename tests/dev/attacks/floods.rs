//! Floods: what costs a client little and a careless server much, by HTTP/2, sent to the real binary.
//!
//! ```text
//!  attacker: connection after connection ──▶ proxima dev ──▶ Recorder
//!  a bystander, on a connection of its own ──▶ ┘
//! ```
//!
//! Invariants. While it is flooded, the server answers others as promptly as ever; its memory stays bounded; each attacking
//! connection ends with the code that says why, or has no more of the server than its bounds allow; and metrics name it.
//! HTTP/3's are in `http3_floods`.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::crypto::aws_lc_rs::default_provider;

use super::{
    before,
    frames::*,
    recorder::{Recorder, ok, told},
};
use crate::{
    HOST,
    dev::{DEADLINE, Dev},
    observed::{metric, until_metric},
    read_until, tls,
};

/// How long a bystander waits for an answer, at most. Some milliseconds are the rule; the rest is for machines whose processors
/// have other things to do.
const PROMPTLY: Duration = Duration::from_secs(3);
/// Answers that a bystander gets while it is flooded.
const ANSWERS: usize = 100;
/// Octets of `/large`; nobody stores it.
pub(super) const LARGE_BYTES: usize = 1024 * 1024;
/// What an answer that nobody takes may hold of memory, its origin's connection included: far less than the answer.
const STALLED_KIB_MAX: u64 = 128;
/// What a flood may add to the memory of the process for good or for a moment. Allocators keep some.
pub(super) const FLOOD_KIB_MAX: u64 = 48 * 1024;
/// What bombs may add, which come one after the other: half of what a single one would grow to.
const BOMBS_KIB_MAX: u64 = 24 * 1024;

/// A server whose origin answers all but `/hang`.
pub(super) fn flooded() -> (Dev, Recorder) {
    let large: Arc<[u8]> = ok("cache-control: no-store\r\n", &"x".repeat(LARGE_BYTES)).into();
    let origin = Recorder::start(move |request| -> Arc<[u8]> {
        match request.target.as_str() {
            "/hang" => Arc::default(),
            "/large" => Arc::clone(&large),
            _ => ok("cache-control: no-store\r\n", &told(request)).into(),
        }
    });
    let dev = before(&origin);
    dev.curl_until(&["-sSi", "--http2", &dev.https_url(HOST, "/ready")], "HTTP/2 200");
    (dev, origin)
}

/// Floods, again and again, while a bystander asks over one connection and is answered promptly; how often. The process may
/// grow by so much at the most.
pub(super) fn beside_a_bystander(dev: &Dev, kib_max: u64, mut flood: impl FnMut()) -> usize {
    dev.forget_resident_kib_max();
    let before = dev.resident_kib();
    let mut floods = 0;
    let slowest = std::thread::scope(|scope| {
        let bystander = scope.spawn(|| bystand(dev));
        while floods == 0 || !bystander.is_finished() {
            flood();
            floods += 1;
        }
        bystander.join().expect("the bystander is answered")
    });
    assert!(slowest <= PROMPTLY, "a bystander waited {slowest:?} while {floods} floods went on");
    let most = dev.resident_kib_max();
    println!("{floods} floods: a bystander waited {slowest:?} at most; {before} KiB became {most}");
    assert!(most <= before + kib_max, "{before} KiB became {most} by {floods} floods");
    floods
}

/// Asks so often; the longest time that an answer took.
fn bystand(dev: &Dev) -> Duration {
    let mut stream = TcpStream::connect(dev.http).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let waited = (0..ANSWERS).map(|number| {
        let begun = Instant::now();
        write!(stream, "GET /bystander-{number} HTTP/1.1\r\nhost: {HOST}\r\n\r\n").unwrap();
        read_until(&mut stream, &format!("asked: GET /bystander-{number} with 0 octets"));
        begun.elapsed()
    });
    waited.max().unwrap()
}

/// A counter; one that was never counted is 0.
pub(super) fn counted(dev: &Dev, series: &str) -> f64 {
    metric(dev, &format!("proxima_edge_{series} ")).unwrap_or_default()
}

/// Waits until a metric is what it should be.
pub(super) fn until(dev: &Dev, series: &str, wanted: impl Fn(f64) -> bool) {
    until_metric(dev, &format!("proxima_edge_{series} "), wanted);
}

/// How HTTP/2 is come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Clear,
    Tls,
}

impl Over {
    /// `GET`, as one frame.
    fn get(self, stream: u32, path: &str) -> Vec<u8> {
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &self.section(path))
    }

    fn section(self, path: &str) -> Vec<u8> {
        let scheme = if self == Self::Tls { "https" } else { "http" };
        section(&fields("GET", path, &[(":scheme", scheme)]))
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A connection by HTTP/2, frame by frame.
struct Wire(Box<dyn Stream>);

/// A frame that came.
struct Heard {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

impl Wire {
    /// Begins with these settings.
    fn connect(dev: &Dev, over: Over, settings: &[u8]) -> Self {
        let stream: Box<dyn Stream> = match over {
            Over::Tls => Box::new(tls::connect(dev, tls::client(dev, &[b"h2"], default_provider()))),
            Over::Clear => {
                let stream = TcpStream::connect(dev.http).unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                Box::new(stream)
            }
        };
        let mut wire = Self(stream);
        wire.send(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat());
        wire
    }

    /// The server may have ended the connection before all of it is sent.
    fn send(&mut self, octets: &[u8]) {
        self.0.write_all(octets).ok();
    }

    /// The next frame; `None` at the end.
    fn next(&mut self) -> Option<Heard> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).ok()?;
        Some(Heard { kind: head[3], flags: head[4], payload })
    }

    /// The next frame of a kind.
    fn until(&mut self, kind: u8) -> Heard {
        loop {
            let heard = self.next().unwrap_or_else(|| panic!("no frame of kind {kind} before the end"));
            if heard.kind == kind {
                return heard;
            }
        }
    }

    /// The code with which the connection ends.
    fn end(&mut self) -> u32 {
        let goaway = self.until(GOAWAY).payload;
        while self.next().is_some() {}
        u32::from_be_bytes(goaway[4..8].try_into().unwrap())
    }

    /// Waits until the server has heeded all that was sent; the octets of content that came before it said so.
    fn settle(&mut self) -> usize {
        self.send(&frame(PING, 0, 0, b"settled?"));
        let mut content = 0;
        loop {
            let heard = self.next().expect("a connection that stays");
            match heard.kind {
                PING => return content,
                DATA => content += heard.payload.len(),
                _ => {}
            }
        }
    }
}

/// RFC 9113, 7.
const ENHANCE_YOUR_CALM: u32 = 0xb;
const BROKEN: &str = "http2_errors_total{code=\"enhance_your_calm\"}";

/// Each with why it is dangerous.
fn floods(over: Over) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let reset = |stream: u32| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    let nothing = |stream: u32| frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes());
    let of_each =
        |count: u32, frames: &dyn Fn(u32) -> Vec<u8>| (0..count).flat_map(|n| frames(2 * n + 1)).collect();
    let begun = frame(HEADERS, END_STREAM, 1, &over.section("/hang"));
    let open = frame(HEADERS, END_HEADERS, 1, &over.section("/hang"));
    let more = |length: usize| frame(CONTINUATION, 0, 1, &vec![0x82; length]);
    vec![
        (
            "rapid reset",
            of_each(2_000, &|stream| [over.get(stream, "/hang"), reset(stream)].concat()),
            "CVE-2023-44487: requests without end, of which none counts as open",
        ),
        (
            "resets that the server is made to send",
            of_each(200, &|stream| [over.get(stream, "/hang"), nothing(stream)].concat()),
            "CVE-2025-8671: the same, by faults",
        ),
        (
            "pieces of a head",
            [&begun[..], &more(0).repeat(70)].concat(),
            "CVE-2024-27316: nothing, again and again",
        ),
        (
            "a head without end",
            [&begun[..], &more(16_384).repeat(20)].concat(),
            "CVE-2024-27316: octets without end",
        ),
        ("settings", frame(SETTINGS, 0, 0, b"").repeat(1_100), "CVE-2019-9515: each is to be acknowledged"),
        ("pings", frame(PING, 0, 0, &[0; 8]).repeat(1_100), "CVE-2019-9512: each is to be answered"),
        ("data of nothing", [&open[..], &frame(DATA, 0, 1, b"").repeat(1_100)].concat(), "CVE-2019-9518"),
        (
            "windows for nothing",
            frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(1_100),
            "each is a turn of the writer's",
        ),
    ]
}

#[test]
fn floods_by_http2_end_their_connection_and_nobody_else_is_made_to_wait() {
    let (dev, _origin) = flooded();
    let mut expected = 0.0;
    for over in [Over::Clear, Over::Tls] {
        let floods = floods(over);
        let rounds = beside_a_bystander(&dev, FLOOD_KIB_MAX, || {
            for (name, octets, why) in &floods {
                let mut wire = Wire::connect(&dev, over, b"");
                wire.send(octets);
                assert_eq!(wire.end(), ENHANCE_YOUR_CALM, "{name} ({why}), {over:?}");
            }
        });
        expected += (rounds * floods.len()) as f64;
        assert_eq!(counted(&dev, BROKEN), expected, "each is counted once");
    }
    until(&dev, "requests_in_flight", |requests| requests == 0.0);
}

#[test]
fn heads_that_grow_when_they_are_decoded_are_refused_before_they_take_memory() {
    const BOMBS: u32 = 20;
    let (dev, _origin) = flooded();
    let refused = "requests_total{protocol=\"http/2\",status=\"4xx\"}";
    // An entry of the table of nearly its 4 KiB, named 12,000 times: 48 MB by a frame of 16 KiB (RFC 7541, 6.2.1, 5.1).
    let entry = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4_000]].concat();
    let rounds = beside_a_bystander(&dev, BOMBS_KIB_MAX, || {
        let mut wire = Wire::connect(&dev, Over::Tls, b"");
        for number in 0..BOMBS {
            let defined = if number == 0 { &entry[..] } else { &[] };
            let bomb = [&Over::Tls.section("/page"), defined, &[0xbe; 12_000]].concat();
            wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &bomb));
            // As it is written: the status' name of the static table, and its digits.
            let head = wire.until(HEADERS).payload;
            assert!(head.windows(3).any(|digits| digits == b"431"), "{head:?}");
        }
        // The table is what both think that it is.
        let honest = [Over::Tls.section("/honest"), vec![0xbe]].concat();
        wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * BOMBS + 1, &honest));
        loop {
            let data = wire.until(DATA);
            if data.payload.ends_with(b"asked: GET /honest with 0 octets") {
                break;
            }
        }
    });
    assert_eq!(counted(&dev, refused), (rounds * BOMBS as usize) as f64);
}

/// `SETTINGS_INITIAL_WINDOW_SIZE` (RFC 9113, 6.5.2).
const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];
/// Streams that one connection may have.
const STREAMS: u32 = 128;

#[test]
fn answers_that_nobody_takes_hold_no_more_than_their_bounds() {
    const CONNECTIONS: usize = 4;
    let (dev, _origin) = flooded();
    let all = CONNECTIONS as u64 * u64::from(STREAMS);
    let mut stalled = Vec::new();
    let open = || {
        let mut wire = Wire::connect(&dev, Over::Tls, &NO_WINDOW);
        let asked: Vec<u8> =
            (0..STREAMS).flat_map(|number| Over::Tls.get(2 * number + 1, "/large")).collect();
        wire.send(&asked);
        (0..STREAMS).for_each(|_| drop(wire.until(HEADERS)));
        assert_eq!(wire.settle(), 0, "there is no window");
        wire
    };
    beside_a_bystander(&dev, FLOOD_KIB_MAX + all * STALLED_KIB_MAX, || match stalled.len() {
        CONNECTIONS => assert_eq!(counted(&dev, BROKEN), 0.0, "slow is no crime"),
        _ => stalled.push(open()),
    });
    while stalled.len() < CONNECTIONS {
        stalled.push(open());
    }
    until(&dev, "requests_in_flight", |requests| requests == all as f64);
    // Windows of one octet each: a frame for each octet, and not one octet more than the windows hold.
    beside_a_bystander(&dev, FLOOD_KIB_MAX, || {
        for wire in &mut stalled {
            let opens = |stream, octets: u32| frame(WINDOW_UPDATE, 0, stream, &octets.to_be_bytes());
            let opened: Vec<u8> = (0..STREAMS).flat_map(|number| opens(2 * number + 1, 1)).collect();
            wire.send(&[opens(0, STREAMS), opened].concat());
            let mut taken = 0;
            while taken < STREAMS as usize {
                let data = wire.until(DATA);
                assert!(data.payload.len() == 1 && data.flags & END_STREAM == 0);
                taken += 1;
            }
        }
    });
    assert!(stalled.iter_mut().all(|wire| wire.settle() == 0), "no window is left");
    assert_eq!(counted(&dev, BROKEN), 0.0, "slow is no crime");
    drop(stalled);
    until(&dev, "requests_in_flight", |requests| requests == 0.0);
}

//! The resolver among name servers that answer whatever the fuzzer says: it ends, it asks no more than a question may cost,
//! its answer is a message within bounds, and where there is an anchor nothing is believed that is not signed.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use proxima_resolver::{
    Metrics, Query, Read, Resolver, Settings, Transport, TrustAnchors, Upstream, ZONE_ASKED_MAX,
    parse_anchors,
};
use proxima_wire::{HEADER_OCTETS, class, flag, name, record, rtype};

/// The key of no zone that anybody can sign.
const ANCHOR: &str = ". IN DS 20326 13 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D";
/// Questions to name servers for one of a client, as the resolver bounds them.
const QUERIES_MAX: usize = 100;
/// Octets of an answer over TCP.
const ANSWER_OCTETS_MAX: usize = 65_535;
const NAMES: [&[u8]; 6] = [
    b"\0",
    b"\x04test\0",
    b"\x01a\x04test\0",
    b"\x02ns\x01a\x04test\0",
    b"\x01*\x01a\x04test\0",
    b"\x01b\x04test\0",
];
const TYPES: [u16; 12] = [
    rtype::A,
    rtype::NS,
    rtype::CNAME,
    rtype::SOA,
    rtype::DNAME,
    rtype::DS,
    rtype::DNSKEY,
    rtype::RRSIG,
    rtype::NSEC,
    rtype::NSEC3,
    rtype::AAAA,
    rtype::TXT,
];

/// What name servers say, in the order in which they are asked.
struct Said {
    octets: Vec<u8>,
    at: usize,
    asked: usize,
}

impl Said {
    /// The next octet; `None` at the end.
    fn next(&mut self) -> Option<u8> {
        let octet = self.octets.get(self.at).copied();
        self.at += 1;
        octet
    }

    fn take(&mut self, octets: u8) -> Vec<u8> {
        (0..octets).map_while(|_| self.next()).collect()
    }

    fn name(&mut self) -> Vec<u8> {
        let choice = self.next().unwrap_or_default();
        match choice >> 5 {
            // The name that was asked for, and those above it.
            0 | 1 => vec![0xc0, 12],
            2 | 3 => vec![0xc0, 12 + (choice & 15)],
            4 => [&[1, choice], &[0xc0, 12][..]].concat(),
            5 => vec![0xc0 | choice & 1, self.next().unwrap_or_default()],
            _ => NAMES[usize::from(choice) % NAMES.len()].to_vec(),
        }
    }

    fn record(&mut self) -> Vec<u8> {
        let owner = self.name();
        let choice = self.next().unwrap_or_default();
        let rtype = TYPES[usize::from(choice) % TYPES.len()];
        let data = match rtype {
            rtype::A => vec![192, 0, 2, choice >> 4],
            rtype::NS | rtype::CNAME | rtype::DNAME => self.name(),
            rtype::SOA => [self.name(), self.name(), vec![0; 16], vec![0, 0, 0, choice]].concat(),
            rtype::NSEC => [NAMES[usize::from(choice >> 4) % NAMES.len()].to_vec(), self.take(8)].concat(),
            _ => self.take(choice >> 2),
        };
        let numbers = [rtype, class::IN, 0, u16::from(choice), data.len().try_into().unwrap_or(u16::MAX)];
        [owner, numbers.map(u16::to_be_bytes).concat(), data].concat()
    }

    fn answer(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        self.asked += 1;
        let how = self.next()?;
        if how == 0xff {
            let octets = self.next()?;
            return Some(self.take(octets));
        }
        // What is asked again may be without an OPT record.
        let (_, name_end) = name::read(query, HEADER_OCTETS).expect("it has a question");
        let mut message = query[..name_end + 4].to_vec();
        let (authoritative, cut) = (u16::from(how & 1) * flag::AA, u16::from(how & 0x42 == 0x42) * flag::TC);
        let flags = flag::QR | authoritative | cut | u16::from(how >> 2 & 3);
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[10..12].copy_from_slice(&[0, 0]);
        let counts = self.next().unwrap_or_default();
        for (section, count) in [counts & 3, counts >> 2 & 3, counts >> 4 & 3].into_iter().enumerate() {
            message[7 + 2 * section] = count;
            (0..count).for_each(|_| message.extend(self.record()));
        }
        Some(message)
    }
}

struct Hostile(Arc<Mutex<Said>>);

#[async_trait]
impl Upstream for Hostile {
    async fn exchange(&self, _: IpAddr, query: &[u8], _: Transport) -> io::Result<Vec<u8>> {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).answer(query);
        answer.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

thread_local! {
    static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime is built"),
    );
}

/// The target: an octet of choices and one that says what is asked, then what name servers say.
pub fn run(octets: &[u8]) {
    let Some(([choice, asked], octets)) = octets.split_first_chunk::<2>() else { return };
    let (has_anchor, unchecked) = (choice & 1 != 0, choice & 2 != 0);
    let said = Arc::new(Mutex::new(Said { octets: octets.to_vec(), at: 0, asked: 0 }));
    let anchors = if has_anchor { parse_anchors(ANCHOR).expect("it is an anchor") } else { Vec::new() };
    let settings = Settings {
        hints: vec![Ipv4Addr::new(192, 0, 2, 1).into()],
        anchors: TrustAnchors::fixed(anchors),
        allow_private_servers: true,
        cache_octets: 1 << 20,
        zone_asked_max: ZONE_ASKED_MAX,
        clock: Arc::new(|| 1_800_000_000_000),
        stale_after: Duration::from_millis(1_800),
        stale_for: Duration::from_secs(86_400),
    };
    let message = question(*asked, unchecked, choice & 4 != 0);
    let Read::Query(query) = Query::read(&message) else { panic!("it is a question") };
    let answer = RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            let resolver = Resolver::new(
                Hostile(Arc::clone(&said)),
                settings,
                Metrics::register(&mut Registry::default()),
            );
            let mut out = Vec::new();
            resolver.answer(&query, ANSWER_OCTETS_MAX, &mut out).await;
            assert!(said.lock().unwrap_or_else(PoisonError::into_inner).asked <= QUERIES_MAX);
            let mut again = Vec::new();
            if resolver.answer_now(&query, query.udp_octets_max(), &mut again).is_some() {
                assert!(again.len() <= query.udp_octets_max() && again[..2] == out[..2]);
            }
            out
        })
    });
    let counts = whole(&answer, &message);
    let flags = u16::from_be_bytes([answer[2], answer[3]]);
    if has_anchor {
        assert_eq!(flags & flag::AD, 0, "nobody has the key");
        assert!(unchecked || counts[1] == 0, "nothing was signed");
    }
}

fn question(asked: u8, unchecked: bool, wants_signatures: bool) -> Vec<u8> {
    let (of, types) = (usize::from(asked) % NAMES.len(), usize::from(asked >> 4) % TYPES.len());
    let flags = flag::RD | flag::AD | if unchecked { flag::CD } else { 0 };
    let mut message = [7, flags, 1, 0, 0, 1].map(u16::to_be_bytes).concat();
    message.extend(NAMES[of]);
    message.extend([TYPES[types], class::IN].map(u16::to_be_bytes).concat());
    message.push(0);
    let signatures = if wants_signatures { 0x8000 } else { 0 };
    message.extend([rtype::OPT, 1_232, 0, signatures, 0].map(u16::to_be_bytes).concat());
    message
}

/// Reads a whole answer; how much is in it.
fn whole(answer: &[u8], message: &[u8]) -> [u16; 4] {
    assert!(answer.len() <= ANSWER_OCTETS_MAX && answer[..2] == message[..2] && answer[2] & 0x80 != 0);
    let counts = record::counts(answer).expect("it has a header");
    assert_eq!(counts[0], 1);
    let (_, question) = name::read(answer, HEADER_OCTETS).expect("it has a question");
    assert_eq!(answer[HEADER_OCTETS..question + 4], message[HEADER_OCTETS..question + 4]);
    let mut at = question + 4;
    for _ in 0..counts[1..].iter().copied().map(u32::from).sum() {
        let record = record::record_at(answer, at).expect("it is whole");
        record.written_out(answer).expect("its data is too");
        at = record.end;
    }
    assert_eq!(at, answer.len());
    counts
}

//! What is counted. Labels have fixed values only: nothing that an asker sends becomes one.

use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};
use proxima_chassis::GaugeGuard;
use proxima_ledger::CompiledZones;

use crate::{
    asker::Transport,
    rate::Limited,
    respond::Answered,
    wire::{Rcode, rtype},
    zone::ZoneTree,
};

/// One in so many queries is timed: a histogram takes a lock.
const TIMED_ONE_IN: u32 = 16;
/// Upper bounds of the histogram's buckets, in seconds: from a hit in the compiled zone to a cold, large one.
const SECONDS: [f64; 9] = [2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1e-3, 1e-2, 1e-1];

const TRANSPORTS: usize = Transport::ALL.len();
/// Types that have a label of their own.
const TYPES: [(u16, &str); 14] = [
    (rtype::A, "A"),
    (rtype::AAAA, "AAAA"),
    (rtype::HTTPS, "HTTPS"),
    (rtype::NS, "NS"),
    (rtype::CNAME, "CNAME"),
    (rtype::SOA, "SOA"),
    (rtype::MX, "MX"),
    (rtype::TXT, "TXT"),
    (rtype::SRV, "SRV"),
    (rtype::CAA, "CAA"),
    (rtype::DS, "DS"),
    (rtype::DNSKEY, "DNSKEY"),
    (rtype::AXFR, "AXFR"),
    (rtype::ANY, "ANY"),
];

type Labels = [(&'static str, &'static str); 2];

/// What who has authority counts.
pub(crate) struct DnsMetrics {
    messages: MessageMetrics,
    signatures: Counter,
    seconds: Histogram,
    timed: AtomicU32,
    /// By rcode.
    transfers: Vec<Counter>,
}

/// What a role counts of messages.
pub(crate) struct MessageMetrics {
    /// By transport, then by type; the last is every other type.
    queries: [Vec<Counter>; TRANSPORTS],
    /// By transport, then by rcode.
    answers: [Vec<Counter>; TRANSPORTS],
    malformed: Counter,
    ignored: Counter,
    truncated: Counter,
    dropped: Counter,
    slipped: Counter,
}

/// What is told of compiled zones: looked up when it is asked for.
struct Zones(CompiledZones<ZoneTree>);

/// What the listeners of a role count.
pub(crate) struct ListenerMetrics {
    /// Answers that the kernel did not take.
    pub(crate) unsent: Counter,
    /// By transport.
    connections: [Gauge; TRANSPORTS],
    connections_refused: [Counter; TRANSPORTS],
    handshakes_failed: [Counter; TRANSPORTS],
}

impl DnsMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let transfers = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let metrics = Self {
            messages: MessageMetrics::register(registry),
            signatures: Counter::default(),
            seconds: Histogram::new(SECONDS),
            timed: AtomicU32::new(0),
            transfers: Rcode::ALL
                .iter()
                .map(|rcode| transfers.get_or_create(&[("rcode", rcode.name())]).clone())
                .collect(),
        };
        let m = &metrics;
        registry.register("signatures", "Signatures that were made, not kept ones", m.signatures.clone());
        registry.register("answer_seconds", "Making an answer; 1 query in 16 is timed", m.seconds.clone());
        registry.register("transfers", "Questions for transfers that were answered, by rcode", transfers);
        metrics
    }

    /// A question for a transfer was answered to its end.
    pub(crate) fn transferred(&self, rcode: Rcode) {
        if let Some(index) = Rcode::ALL.iter().position(|known| *known == rcode) {
            self.transfers[index].inc();
        }
    }

    /// The time at which an answer begins to be made, if this one is to be timed.
    pub(crate) fn begin(&self) -> Option<Instant> {
        self.timed.fetch_add(1, Ordering::Relaxed).is_multiple_of(TIMED_ONE_IN).then(Instant::now)
    }

    /// Counts what was made of a message.
    pub(crate) fn count(&self, transport: Transport, answered: Option<Answered>, took: Option<Duration>) {
        if !self.messages.count(transport, answered) {
            return;
        }
        if let Some(made) = answered.map(|answered| answered.signatures).filter(|made| *made > 0) {
            self.signatures.inc_by(made.into());
        }
        if let Some(took) = took {
            self.seconds.observe(took.as_secs_f64());
        }
    }
}

/// Registers what is told of these zones.
pub(crate) fn register_zones(registry: &mut Registry, zones: CompiledZones<ZoneTree>) {
    registry.register_collector(Box::new(Zones(zones)));
}

impl fmt::Debug for Zones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zones").field("kept", &self.0.len()).finish_non_exhaustive()
    }
}

impl Collector for Zones {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(zones) = self;
        let help =
            "Zones compiled, by why: asked for, asked for and large (by a thread of its own), or changed";
        let mut compiled = encoder.encode_descriptor("zones_compiled", help, None, MetricType::Counter)?;
        for (why, number) in [
            ("asked", zones.compiled_for_requests()),
            ("asked_large", zones.compiled_aside()),
            ("changed", zones.compiled_ahead()),
        ] {
            ConstCounter::new(number).encode(compiled.encode_family(&[("why", why)])?)?;
        }
        let help = "Compiled zones that are kept";
        let kept = encoder.encode_descriptor("zones_kept", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(zones.len()).unwrap_or(i64::MAX)).encode(kept)
    }
}

impl MessageMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let (queries, answers) = (Family::<Labels, Counter>::default(), Family::<Labels, Counter>::default());
        let counter =
            |family: &Family<Labels, Counter>, labels: Labels| family.get_or_create(&labels).clone();
        let limited = Family::<[(&'static str, &'static str); 1], Counter>::default();
        // Within a closure, so that the family is let go of each time.
        let limited_by = |action| limited.get_or_create(&[("action", action)]).clone();
        let types = || TYPES.iter().map(|(_, name)| *name).chain(["other"]);
        let metrics = Self {
            queries: Transport::ALL.map(Transport::name).map(|transport| {
                types().map(|name| counter(&queries, [("transport", transport), ("type", name)])).collect()
            }),
            answers: Transport::ALL.map(Transport::name).map(|transport| {
                let rcodes = Rcode::ALL.iter().map(|rcode| rcode.name());
                rcodes.map(|name| counter(&answers, [("transport", transport), ("rcode", name)])).collect()
            }),
            malformed: Counter::default(),
            ignored: Counter::default(),
            truncated: Counter::default(),
            dropped: limited_by("dropped"),
            slipped: limited_by("slipped"),
        };
        let m = &metrics;
        registry.register("queries", "Queries that were read, by transport and type", queries);
        registry.register("answers", "Answers, by transport and rcode", answers);
        registry.register("malformed", "Queries answered with a bare error", m.malformed.clone());
        registry.register("ignored", "Messages that are not queries", m.ignored.clone());
        registry.register("truncated", "Answers that said TC", m.truncated.clone());
        registry.register("rate_limited", "Answers beyond the rate of like ones, by what was done", limited);
        metrics
    }

    /// Counts what was made of a message; whether there is an answer.
    pub(crate) fn count(&self, transport: Transport, answered: Option<Answered>) -> bool {
        let Some(answered) = answered else {
            self.ignored.inc();
            return false;
        };
        let transport = transport as usize;
        match answered.qtype {
            Some(asked) => {
                let index = TYPES.iter().position(|(known, _)| *known == asked).unwrap_or(TYPES.len());
                self.queries[transport][index].inc();
            }
            None => {
                self.malformed.inc();
            }
        }
        match answered.limited {
            Some(Limited::Dropped) => {
                self.dropped.inc();
                return false;
            }
            Some(Limited::Slipped) => {
                self.slipped.inc();
            }
            None => {}
        }
        if let Some(index) = Rcode::ALL.iter().position(|rcode| *rcode == answered.rcode) {
            self.answers[transport][index].inc();
        }
        if answered.truncated {
            self.truncated.inc();
        }
        true
    }
}

impl ListenerMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let by = |transport: Transport| [("transport", transport.name())];
        let open = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        let refused = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let failed = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let metrics = Self {
            unsent: Counter::default(),
            connections: Transport::ALL.map(|transport| open.get_or_create(&by(transport)).clone()),
            connections_refused: Transport::ALL
                .map(|transport| refused.get_or_create(&by(transport)).clone()),
            handshakes_failed: Transport::ALL.map(|transport| failed.get_or_create(&by(transport)).clone()),
        };
        registry.register("unsent", "Answers over UDP that the kernel did not take", metrics.unsent.clone());
        registry.register("connections", "Open connections, by transport", open);
        registry.register("connections_refused", "Connections closed at once for want of a place", refused);
        registry.register("handshakes_failed", "Handshakes of TLS and QUIC that came to nothing", failed);
        metrics
    }

    /// Counts a connection for as long as what is given back lives.
    pub(crate) fn open(&self, transport: Transport) -> GaugeGuard {
        GaugeGuard::new(&self.connections[transport as usize])
    }

    /// A connection found no place.
    pub(crate) fn connection_refused(&self, transport: Transport) {
        self.connections_refused[transport as usize].inc();
    }

    /// A client and we did not come to terms.
    pub(crate) fn handshake_failed(&self, transport: Transport) {
        self.handshakes_failed[transport as usize].inc();
    }
}

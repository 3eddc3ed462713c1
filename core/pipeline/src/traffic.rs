//! What one zone's visitors asked of this server and got: counted at the end of every exchange, by whoever serves.
//!
//! A [`Site`](crate::Site) holds the numbers of its zone once it has been served, so that counting takes no lock and no
//! look-up: a handful of additions that wait for nobody. They outlive the site, which is compiled anew with each change.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use proxima_model::{ZoneId, ZoneName};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// Kinds of ends: the classes of statuses, and clients that left before there was an answer.
pub const ENDS: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "gone"];
/// What the cache did, as `cf-cache-status` says it in lower case; `none` where it said nothing.
pub const CACHE_STATUSES: [&str; 9] =
    ["hit", "miss", "expired", "stale", "bypass", "revalidated", "updating", "dynamic", "none"];

/// The place of what `cf-cache-status` says in [`CACHE_STATUSES`]; of its last where that is none of ours.
pub fn cache_status(said: Option<&[u8]>) -> usize {
    let none = CACHE_STATUSES.len() - 1;
    let Some(said) = said else { return none };
    CACHE_STATUSES.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(said)).unwrap_or(none)
}

/// What an origin was seen to do for an exchange; the origin stage leaves it in the exchange's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginSeen {
    /// Which address answered, or failed to, where it was but one.
    pub address: Option<IpAddr>,
    /// What it answered; none if it did not.
    pub status: Option<StatusCode>,
    /// From when it was to be asked to the head of its answer, or to its failure: finding its address, waiting for a
    /// connection and making one included.
    pub took: Duration,
}

/// What a Worker was seen to do for an exchange; the stage that asks it leaves it in the exchange's extensions.
#[derive(Clone, Debug)]
pub struct WorkerSeen {
    /// How it ended, as live logs have it: `ok`, `exception`, `exceededCpu`, `exceededMemory`, `unknown`; `canceled` while there is no
    /// answer.
    pub outcome: &'static str,
    /// What it takes.
    pub took: Arc<WorkerTook>,
}

/// What a Worker took, once its answer has ended; nothing before.
#[derive(Debug, Default)]
pub struct WorkerTook {
    cpu_ns: AtomicU64,
    wall_ns: AtomicU64,
}

impl WorkerTook {
    /// It has ended, and has had so much of a processor in so much time; if it was asked twice, both count.
    pub fn add(&self, cpu: Duration, wall: Duration) {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_ns.fetch_add(ns(cpu), Ordering::Relaxed);
        self.wall_ns.fetch_add(ns(wall), Ordering::Relaxed);
    }

    /// What it has had of a processor.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed))
    }

    /// From when it was asked to when its answer had ended.
    pub fn wall(&self) -> Duration {
        Duration::from_nanos(self.wall_ns.load(Ordering::Relaxed))
    }
}

/// An exchange that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What it was answered, if it was, and how long after its head had been read.
    pub answered: Option<(StatusCode, Duration)>,
    /// The place of what the cache did in [`CACHE_STATUSES`].
    pub cache: usize,
    /// Octets of the request.
    pub request_bytes: u64,
    /// Octets of the answer that were sent.
    pub response_bytes: u64,
    /// How long the origin took, if it was asked.
    pub origin: Option<Duration>,
}

/// The numbers of one zone.
#[derive(Debug)]
pub struct ZoneTraffic {
    /// The zone's name.
    pub name: ZoneName,
    counts: Counts<AtomicU64>,
}

/// A site's place for its zone's numbers; empty until it is served.
pub type TrafficSlot = OnceLock<Arc<ZoneTraffic>>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts<N> {
    ends: [N; ENDS.len()],
    caches: [N; CACHE_STATUSES.len()],
    request_bytes: N,
    response_bytes: N,
    first_byte_us: N,
    origin_us: N,
    origin_requests: N,
}

impl<N> Counts<N> {
    /// The same with every number changed.
    fn map<M>(&self, mut change: impl FnMut(&N) -> M) -> Counts<M> {
        Counts {
            ends: std::array::from_fn(|index| change(&self.ends[index])),
            caches: std::array::from_fn(|index| change(&self.caches[index])),
            request_bytes: change(&self.request_bytes),
            response_bytes: change(&self.response_bytes),
            first_byte_us: change(&self.first_byte_us),
            origin_us: change(&self.origin_us),
            origin_requests: change(&self.origin_requests),
        }
    }
}

impl ZoneTraffic {
    /// Of a zone that nobody has asked for yet.
    pub fn new(name: ZoneName) -> Self {
        Self { name, counts: Counts::default() }
    }

    /// Counts an exchange.
    pub fn count(&self, ended: &Ended) {
        let add = |number: &AtomicU64, by: u64| {
            number.fetch_add(by, Ordering::Relaxed);
        };
        let counts = &self.counts;
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let end = match ended.answered {
            Some((status, first_byte)) => {
                add(&counts.first_byte_us, us(first_byte));
                usize::from(status.as_u16() / 100).clamp(1, 5) - 1
            }
            None => ENDS.len() - 1,
        };
        add(&counts.ends[end], 1);
        add(&counts.caches[ended.cache.min(CACHE_STATUSES.len() - 1)], 1);
        add(&counts.request_bytes, ended.request_bytes);
        add(&counts.response_bytes, ended.response_bytes);
        if let Some(took) = ended.origin {
            add(&counts.origin_us, us(took));
            add(&counts.origin_requests, 1);
        }
    }

    /// What has been counted so far. Each number only ever grows; they are not read at the same instant.
    pub fn numbers(&self) -> TrafficNumbers {
        TrafficNumbers(self.counts.map(|number| number.load(Ordering::Relaxed)))
    }
}

/// Numbers at a certain time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficNumbers(Counts<u64>);

impl TrafficNumbers {
    /// Both together.
    pub fn plus(&self, other: &Self) -> Self {
        let mut others = other.0.in_order();
        Self(self.0.map(|number| number.saturating_add(others.next().unwrap_or_default())))
    }

    /// What has come since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let mut befores = before.0.in_order();
        Self(self.0.map(|number| number.saturating_sub(befores.next().unwrap_or_default())))
    }

    /// All requests.
    pub fn requests(&self) -> u64 {
        self.0.ends.iter().sum()
    }

    /// Requests by their end, in the order of [`ENDS`].
    pub const fn ends(&self) -> &[u64; ENDS.len()] {
        &self.0.ends
    }

    /// Requests by what the cache did, in the order of [`CACHE_STATUSES`].
    pub const fn caches(&self) -> &[u64; CACHE_STATUSES.len()] {
        &self.0.caches
    }

    /// Octets of requests.
    pub const fn request_bytes(&self) -> u64 {
        self.0.request_bytes
    }

    /// Octets of answers.
    pub const fn response_bytes(&self) -> u64 {
        self.0.response_bytes
    }

    /// From the heads of requests to the heads of their answers, all together.
    pub const fn first_byte(&self) -> Duration {
        Duration::from_micros(self.0.first_byte_us)
    }

    /// What origins took, all together.
    pub const fn origin(&self) -> Duration {
        Duration::from_micros(self.0.origin_us)
    }

    /// How often an origin was asked.
    pub const fn origin_requests(&self) -> u64 {
        self.0.origin_requests
    }
}

impl Counts<u64> {
    /// In the order in which [`Counts::map`] takes them.
    fn in_order(&self) -> impl Iterator<Item = u64> + use<> {
        let rest = [
            self.request_bytes,
            self.response_bytes,
            self.first_byte_us,
            self.origin_us,
            self.origin_requests,
        ];
        self.ends.into_iter().chain(self.caches).chain(rest)
    }
}

impl Serialize for TrafficNumbers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn named<const N: usize>(
            names: [&'static str; N],
            counts: [u64; N],
        ) -> std::collections::BTreeMap<&'static str, u64> {
            names.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("requests", &self.requests())?;
        map.serialize_entry("request_bytes", &self.0.request_bytes)?;
        map.serialize_entry("response_bytes", &self.0.response_bytes)?;
        map.serialize_entry("status", &named(ENDS, self.0.ends))?;
        map.serialize_entry("cache_status", &named(CACHE_STATUSES, self.0.caches))?;
        map.serialize_entry("first_byte_ms", &(self.0.first_byte_us / 1_000))?;
        map.serialize_entry("origin_requests", &self.0.origin_requests)?;
        map.serialize_entry("origin_ms", &(self.0.origin_us / 1_000))?;
        map.end()
    }
}

/// Tells the API what was counted on this server.
pub trait TrafficReader: Send + Sync + 'static {
    /// A zone's numbers since this server first served it, or since it forgot an idle zone; none if it did not serve it.
    fn of(&self, zone: ZoneId) -> Option<TrafficNumbers>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: u16, cache: usize) -> Ended {
        let status = StatusCode::from_u16(status).expect("a status");
        Ended {
            answered: Some((status, Duration::from_millis(3))),
            cache,
            request_bytes: 10,
            response_bytes: 100,
            origin: None,
        }
    }

    #[test]
    fn every_exchange_is_counted_under_one_end_and_one_cache_status() {
        let traffic = ZoneTraffic::new(ZoneName::parse("example.com").expect("a name"));
        traffic.count(&ended(200, 0));
        traffic.count(&ended(999, 0));
        let before = traffic.numbers();
        traffic.count(&Ended { answered: None, origin: Some(Duration::from_millis(7)), ..ended(200, 99) });
        let numbers = traffic.numbers();
        assert_eq!(numbers.ends(), &[0, 1, 0, 0, 1, 1]);
        assert_eq!(numbers.caches(), &[2, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((numbers.requests(), numbers.request_bytes(), numbers.response_bytes()), (3, 30, 300));
        assert_eq!(numbers.first_byte(), Duration::from_millis(6), "who left saw none");
        assert_eq!((numbers.origin_requests(), numbers.origin()), (1, Duration::from_millis(7)));
        assert_eq!(numbers.since(&before).requests(), 1);
        assert_eq!(numbers.since(&before).plus(&before), numbers);
    }

    #[test]
    fn what_the_cache_said_is_found_in_any_case() {
        assert_eq!(CACHE_STATUSES[cache_status(Some(b"HIT"))], "hit");
        assert_eq!(CACHE_STATUSES[cache_status(Some(b"something else"))], "none");
        assert_eq!(CACHE_STATUSES[cache_status(None)], "none");
    }
}

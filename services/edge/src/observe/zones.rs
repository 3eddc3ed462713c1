//! The numbers of the zones that this server serves, and how they become metrics.
//!
//! A node may serve a million zones; Prometheus must not get as many series. So at most `named_max` zones have series of
//! their own at a time, and all others are summed up in one, `zone="other"`; requests for no zone of ours are in
//! `zone="none"`. (A zone's name has a dot: neither is one.)
//!
//! ```text
//!  first served ─▶ unnamed ──a place is free, or it is busier than a named one by far──▶ named
//!                    ▲ │                                                                   │
//!      counts in     │ └─ idle, and no site holds it ─▶ gone (its sum stays in "other")    │ idle for an hour,
//!      "other"       └───────────────── leaving: its series stand still, then end ◀────────┘ or another is busier
//! ```
//!
//! Invariants:
//! * **Every request counts in exactly one series, once**, and no series ever falls: a zone that is given a place begins
//!   at 0 with what comes from then on, and what it had counted before stays in `other`. So sums over all zones are true.
//! * **A series that ends stands still before**, for longer than a scrape: its last requests are seen.
//! * **Counting takes no lock**: a site holds its zone's numbers. They are forgotten only when no site holds them, under
//!   the lock by which alone a site can get them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use proxima_model::{PopCode, ZoneId, ZoneName};
use proxima_pipeline::{CACHE_STATUSES, ENDS, Ended, Site, TrafficNumbers, TrafficReader, ZoneTraffic};

/// How often places are given and taken.
pub(crate) const SWEPT_EVERY: Duration = Duration::from_secs(60);
/// A named zone that is not asked for during so many sweeps loses its place: an hour.
const IDLE_SWEEPS_MAX: u32 = 60;
/// For how many sweeps a series stands still before it ends: longer than anybody's scrape interval.
const LEAVING_SWEEPS: u32 = 5;
/// How many times as busy as a named zone another must be to take its place: less would be back and forth.
const BUSIER_TIMES: u64 = 2;
/// Zones whose numbers are kept, named or not: twice the sites that a node keeps compiled. Beyond, what is served counts
/// in `other` only.
const ZONES_MAX: usize = 20_000;

/// What [`zone`](ZoneTable) labels say where they name no zone.
const OTHER: &str = "other";
const NONE: &str = "none";

/// The numbers of all zones.
pub(crate) struct ZoneTable {
    pop: PopCode,
    named_max: usize,
    /// Requests for no zone.
    none: ZoneTraffic,
    /// Requests for zones for which there was no room.
    crowd: ZoneTraffic,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    zones: HashMap<ZoneId, Zone>,
    /// Names that have series: of named zones and of leaving ones. A name has one at a time, whatever zones have it one
    /// after the other.
    taken: HashSet<ZoneName>,
    leaving: Vec<Leaving>,
    /// What zones counted while they were unnamed, as far as they are no longer.
    former: TrafficNumbers,
}

struct Zone {
    traffic: Arc<ZoneTraffic>,
    named: bool,
    /// What does not count in its present series: it counted in another.
    before: TrafficNumbers,
    /// Requests up to the last sweep.
    swept: u64,
    /// How busy it is: requests of the last sweep, and half of what it was before.
    busy: u64,
    idle_sweeps: u32,
}

struct Leaving {
    name: ZoneName,
    numbers: TrafficNumbers,
    sweeps_left: u32,
}

impl ZoneTable {
    /// At this PoP, with series for at most so many zones.
    pub(crate) fn new(pop: PopCode, named_max: usize) -> Arc<Self> {
        let nobody = || ZoneTraffic::new(ZoneName::parse("zone.invalid").expect("a constant"));
        Arc::new(Self { pop, named_max, none: nobody(), crowd: nobody(), state: Mutex::default() })
    }

    /// Counts an exchange for the zone of `site`.
    pub(crate) fn count(&self, site: Option<&Site>, ended: &Ended) {
        match site {
            None => self.none.count(ended),
            Some(site) => match site.traffic.get() {
                Some(traffic) => traffic.count(ended),
                None => self.count_first(site, ended),
            },
        }
    }

    /// The same for a site that was not served yet.
    fn count_first(&self, site: &Site, ended: &Ended) {
        match self.lock().of(&site.zone.id, &site.zone.name, self.named_max) {
            // Fails when somebody was faster, with the same.
            Some(traffic) => site.traffic.get_or_init(|| traffic).count(ended),
            None => self.crowd.count(ended),
        }
    }

    /// Gives and takes places; to be called every [`SWEPT_EVERY`].
    pub(crate) fn sweep(&self) {
        let mut state = self.lock();
        state.measure();
        state.let_go();
        state.forget_unused();
        state.give_places(self.named_max);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All series: the zone's name and its numbers.
    pub(crate) fn series(&self) -> Vec<(String, TrafficNumbers)> {
        let state = self.lock();
        let mut other = state.former.plus(&self.crowd.numbers());
        let mut series = Vec::with_capacity(state.taken.len() + 2);
        for zone in state.zones.values() {
            let numbers = zone.traffic.numbers().since(&zone.before);
            match zone.named {
                true => series.push((zone.traffic.name.to_string(), numbers)),
                false => other = other.plus(&numbers),
            }
        }
        series.extend(state.leaving.iter().map(|leaving| (leaving.name.to_string(), leaving.numbers)));
        drop(state);
        series.push((OTHER.to_owned(), other));
        series.push((NONE.to_owned(), self.none.numbers()));
        series
    }
}

impl State {
    /// The numbers of a zone, if there is room for it.
    fn of(&mut self, id: &ZoneId, name: &ZoneName, named_max: usize) -> Option<Arc<ZoneTraffic>> {
        if let Some(zone) = self.zones.get(id) {
            return Some(Arc::clone(&zone.traffic));
        }
        if self.zones.len() >= ZONES_MAX {
            return None;
        }
        let traffic = Arc::new(ZoneTraffic::new(name.clone()));
        let named = self.taken.len() < named_max && self.taken.insert(name.clone());
        let zone = Zone {
            traffic: Arc::clone(&traffic),
            named,
            before: TrafficNumbers::default(),
            swept: 0,
            busy: 0,
            idle_sweeps: 0,
        };
        self.zones.insert(*id, zone);
        Some(traffic)
    }

    /// Notes how busy each zone has been.
    fn measure(&mut self) {
        for zone in self.zones.values_mut() {
            let requests = zone.traffic.numbers().requests();
            let fresh = requests - zone.swept;
            zone.swept = requests;
            zone.busy = zone.busy / 2 + fresh;
            zone.idle_sweeps = if fresh == 0 { zone.idle_sweeps.saturating_add(1) } else { 0 };
        }
    }

    /// Ends series that have stood still for long enough.
    fn let_go(&mut self) {
        let taken = &mut self.taken;
        self.leaving.retain_mut(|leaving| {
            leaving.sweeps_left -= 1;
            if leaving.sweeps_left == 0 {
                taken.remove(&leaving.name);
            }
            leaving.sweeps_left > 0
        });
    }

    /// Forgets unnamed zones that no site holds; what they counted stays.
    fn forget_unused(&mut self) {
        let former = &mut self.former;
        self.zones.retain(|_, zone| {
            let unused = !zone.named && Arc::strong_count(&zone.traffic) == 1;
            if unused {
                *former = former.plus(&zone.traffic.numbers().since(&zone.before));
            }
            !unused
        });
    }

    fn give_places(&mut self, named_max: usize) {
        let idle = |zone: &Zone| zone.named && zone.idle_sweeps >= IDLE_SWEEPS_MAX;
        let idle: Vec<ZoneId> = self.zones.iter().filter(|(_, zone)| idle(zone)).map(|(id, _)| *id).collect();
        idle.iter().for_each(|id| self.take_place(id));

        let mut waiting =
            self.by_busyness(|zone| !zone.named && zone.busy > 0 && !self.taken.contains(&zone.traffic.name));
        waiting.reverse();
        let mut waiting = waiting.into_iter();
        let free = named_max.saturating_sub(self.taken.len());
        for (_, id) in waiting.by_ref().take(free) {
            self.give_place(&id);
        }
        // Places that are about to be free are somebody's already.
        let waiting = waiting.skip(self.leaving.len());
        let quiet = self.by_busyness(|zone| zone.named).into_iter();
        let outdone: Vec<ZoneId> = quiet
            .zip(waiting)
            .take_while(|((quiet, _), (busy, _))| *busy > quiet.saturating_mul(BUSIER_TIMES))
            .map(|((_, id), _)| id)
            .collect();
        outdone.iter().for_each(|id| self.take_place(id));
    }

    /// Those for which `wanted` holds, the least busy first.
    fn by_busyness(&self, wanted: impl Fn(&Zone) -> bool) -> Vec<(u64, ZoneId)> {
        let wanted = self.zones.iter().filter(|(_, zone)| wanted(zone));
        let mut wanted: Vec<(u64, ZoneId)> = wanted.map(|(id, zone)| (zone.busy, *id)).collect();
        wanted.sort_unstable();
        wanted
    }

    fn give_place(&mut self, id: &ZoneId) {
        let Some(zone) = self.zones.get_mut(id) else { return };
        if !self.taken.insert(zone.traffic.name.clone()) {
            return;
        }
        let numbers = zone.traffic.numbers();
        self.former = self.former.plus(&numbers.since(&zone.before));
        (zone.named, zone.before, zone.idle_sweeps) = (true, numbers, 0);
    }

    fn take_place(&mut self, id: &ZoneId) {
        let Some(zone) = self.zones.get_mut(id) else { return };
        let numbers = zone.traffic.numbers();
        self.leaving.push(Leaving {
            name: zone.traffic.name.clone(),
            numbers: numbers.since(&zone.before),
            sweeps_left: LEAVING_SWEEPS,
        });
        (zone.named, zone.before) = (false, numbers);
    }
}

impl TrafficReader for ZoneTable {
    fn of(&self, zone: ZoneId) -> Option<TrafficNumbers> {
        self.lock().zones.get(&zone).map(|zone| zone.traffic.numbers())
    }
}

impl fmt::Debug for ZoneTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZoneTable").field("pop", &self.pop).finish_non_exhaustive()
    }
}

/// Has the table asked whenever metrics are.
pub(crate) fn register(registry: &mut Registry, table: &Arc<ZoneTable>) {
    registry.register_collector(Box::new(Metrics(Arc::clone(table))));
}

#[derive(Debug)]
struct Metrics(Arc<ZoneTable>);

/// One kind of series that zones have.
struct Written<'a> {
    pop: &'a str,
    series: &'a [(String, TrafficNumbers)],
}

impl Written<'_> {
    /// A counter of each zone.
    fn counter<V: EncodeCounterValue + PartialEq + Default>(
        &self,
        mut encoder: MetricEncoder<'_>,
        number: impl Fn(&TrafficNumbers) -> V,
    ) -> fmt::Result {
        for (zone, numbers) in self.series {
            let labels = [("zone", zone.as_str()), ("pop", self.pop)];
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&number(numbers), None)?;
        }
        Ok(())
    }

    /// A counter of each zone for each of `values`, without those that are 0: most zones see few of them.
    fn counters<const N: usize>(
        &self,
        mut encoder: MetricEncoder<'_>,
        (label, values): (&str, [&str; N]),
        numbers: impl Fn(&TrafficNumbers) -> [u64; N],
    ) -> fmt::Result {
        for (zone, all) in self.series {
            for (value, number) in values.into_iter().zip(numbers(all)).filter(|(_, number)| *number > 0) {
                let labels = [("zone", zone.as_str()), ("pop", self.pop), (label, value)];
                encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&number, None)?;
            }
        }
        Ok(())
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        const COUNTER: MetricType = MetricType::Counter;
        let series = self.0.series();
        let written = Written { pop: self.0.pop.as_str(), series: &series };
        let help =
            "Requests that have ended, by zone and class of status; gone: the client left before the answer";
        let metric = encoder.encode_descriptor("zone_requests", help, None, COUNTER)?;
        written.counters(metric, ("status", ENDS), |numbers| *numbers.ends())?;
        let help = "Requests that have ended, by zone and what the cache did (cf-cache-status)";
        let metric = encoder.encode_descriptor("zone_cache", help, None, COUNTER)?;
        written.counters(metric, ("status", CACHE_STATUSES), |numbers| *numbers.caches())?;
        let help = "Octets of answers that were sent, by zone";
        let metric = encoder.encode_descriptor("zone_response", help, Some(&Unit::Bytes), COUNTER)?;
        written.counter(metric, TrafficNumbers::response_bytes)?;
        let help = "Octets of requests that were read, by zone";
        let metric = encoder.encode_descriptor("zone_request", help, Some(&Unit::Bytes), COUNTER)?;
        written.counter(metric, TrafficNumbers::request_bytes)?;
        let help = "From the heads of requests to the heads of their answers, summed up by zone";
        let metric = encoder.encode_descriptor("zone_first_byte", help, Some(&Unit::Seconds), COUNTER)?;
        written.counter(metric, |numbers| numbers.first_byte().as_secs_f64())?;
        let help =
            "From asking origins to the heads of their answers, connecting included, summed up by zone";
        let metric = encoder.encode_descriptor("zone_origin", help, Some(&Unit::Seconds), COUNTER)?;
        written.counter(metric, |numbers| numbers.origin().as_secs_f64())?;
        let help = "Requests for which an origin was asked, by zone";
        let metric = encoder.encode_descriptor("zone_origin_requests", help, None, COUNTER)?;
        written.counter(metric, TrafficNumbers::origin_requests)
    }
}

#[cfg(test)]
#[path = "zones_tests.rs"]
mod tests;

//! Connections that were met, each with a word about it: bounded and forgetful. Pure: time is handed in.
//!
//! Two generations: what is met goes into the younger one; when that is full or has had its time, it becomes the older
//! one, and what was in the older one is forgotten. So nothing is searched, whatever was met last is known for one
//! generation's time at least, and memory has a bound.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::segment::Flow;

/// Flows of one generation. Two generations of them take some 10 MiB.
pub(crate) const FLOWS_MAX: usize = 32_768;
/// How long a generation is the younger one. As long as the edge by default keeps a connection on which nothing moves
/// (`edge.timeouts.upgrade_idle_ms`), so that one of those is not taken for over.
pub(crate) const GENERATION: Duration = Duration::from_secs(300);

/// A table of flows.
#[derive(Debug)]
pub(crate) struct Flows<V> {
    young: HashMap<Flow, V>,
    old: HashMap<Flow, V>,
    turned: Instant,
}

impl<V: Copy> Flows<V> {
    pub(crate) fn new(now: Instant) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), turned: now }
    }

    /// What is known of a flow, which by this counts as met.
    pub(crate) fn get(&mut self, flow: &Flow, now: Instant) -> Option<V> {
        self.turn(now);
        if let Some(known) = self.young.get(flow) {
            return Some(*known);
        }
        let known = self.old.remove(flow)?;
        self.put(*flow, known, now);
        Some(known)
    }

    /// Remembers something of a flow.
    pub(crate) fn put(&mut self, flow: Flow, value: V, now: Instant) {
        self.turn(now);
        if self.young.len() >= FLOWS_MAX && !self.young.contains_key(&flow) {
            self.next_generation(now);
        }
        self.old.remove(&flow);
        self.young.insert(flow, value);
    }

    /// Forgets a flow.
    pub(crate) fn remove(&mut self, flow: &Flow) {
        self.young.remove(flow);
        self.old.remove(flow);
    }

    /// Forgets all flows but those.
    pub(crate) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        self.young.retain(|_, value| keep(value));
        self.old.retain(|_, value| keep(value));
    }

    /// How many such flows were met within the last one to two generations.
    pub(crate) fn count(&mut self, now: Instant, such: impl Fn(&V) -> bool) -> usize {
        self.turn(now);
        self.young.values().chain(self.old.values()).filter(|value| such(value)).count()
    }

    fn turn(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.turned);
        if since >= GENERATION * 2 {
            self.young.clear();
        }
        if since >= GENERATION {
            self.next_generation(now);
        }
    }

    fn next_generation(&mut self, now: Instant) {
        self.old = std::mem::take(&mut self.young);
        self.turned = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flow(number: u32) -> Flow {
        let source = std::net::SocketAddr::from((number.to_be_bytes(), 5_000));
        Flow { source, destination: "198.18.0.1:443".parse().unwrap() }
    }

    #[test]
    fn what_is_met_again_stays_and_what_is_not_is_forgotten() {
        let start = Instant::now();
        let mut flows = Flows::new(start);
        flows.put(flow(1), 'a', start);
        flows.put(flow(2), 'b', start);
        let later = start + GENERATION;
        assert_eq!(flows.get(&flow(1), later), Some('a'));
        let latest = later + GENERATION;
        assert_eq!(flows.get(&flow(1), latest), Some('a'));
        assert_eq!(flows.get(&flow(2), latest), None);
        assert_eq!(flows.count(latest + GENERATION * 2, |_| true), 0);
    }

    #[test]
    fn a_full_table_forgets_the_oldest_and_never_grows_beyond_two_generations() {
        let now = Instant::now();
        let mut flows = Flows::new(now);
        let many = u32::try_from(FLOWS_MAX).unwrap();
        for number in 0..=3 * many {
            flows.put(flow(number), number, now);
            assert!(flows.young.len() + flows.old.len() <= 2 * FLOWS_MAX);
        }
        assert_eq!(flows.get(&flow(0), now), None);
        assert_eq!(flows.get(&flow(3 * many), now), Some(3 * many));
        assert_eq!(flows.get(&flow(2 * many + 1), now), Some(2 * many + 1));
    }

    proptest! {
        #[test]
        fn a_flow_is_in_one_generation_only(steps in proptest::collection::vec((0..20_u32, 0..4_u8, 0..200_u64), 0..200)) {
            let mut now = Instant::now();
            let mut flows = Flows::new(now);
            for (number, act, seconds) in steps {
                now += Duration::from_secs(seconds);
                match act {
                    0 => flows.put(flow(number), number, now),
                    1 => flows.remove(&flow(number)),
                    2 => flows.retain(|value| *value != number),
                    _ => if let Some(known) = flows.get(&flow(number), now) { prop_assert_eq!(known, number) },
                }
                let twice = flows.young.keys().filter(|flow| flows.old.contains_key(flow)).count();
                prop_assert_eq!(twice, 0);
            }
        }
    }
}

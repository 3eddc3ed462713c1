//! Which upstream to follow: a pure core that is told what happened and when.
//!
//! The first in order of preference that works and is fresh is followed. One that failed is left alone for a while that
//! doubles; one that is stale (does not hear from the log) is followed only if no other is fresh. A follower returns to
//! a preferred upstream once that has answered probes for a while, so a flapping one does not pull it to and fro.

use tokio::time::Instant;

use crate::limits::{BACKOFF_MAX, BACKOFF_MIN, PROBE_INTERVAL, RETURN_AFTER};

#[derive(Clone, Copy, Debug, Default)]
struct Upstream {
    /// How often in a row it failed.
    failures: u32,
    /// Not to be tried before.
    retry_at: Option<Instant>,
    /// Not to be expected fresh before.
    stale_until: Option<Instant>,
    /// Since when every probe of it was answered well.
    good_since: Option<Instant>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Follow this one; whether it must be fresh.
    Follow { upstream: usize, must_be_fresh: bool },
    /// None may be tried before.
    Wait(Instant),
}

/// The upstreams, in order of preference, and what is known of each.
#[derive(Debug)]
pub(crate) struct Choice {
    upstreams: Vec<Upstream>,
}

impl Choice {
    /// Of so many upstreams; at least one.
    pub(crate) fn new(upstreams: usize) -> Self {
        Self { upstreams: vec![Upstream::default(); upstreams.max(1)] }
    }

    /// Whom to follow now.
    pub(crate) fn pick(&self, now: Instant) -> Pick {
        let past = |at: Option<Instant>| at.is_none_or(|at| at <= now);
        let usable = || self.upstreams.iter().enumerate().filter(|(_, upstream)| past(upstream.retry_at));
        if let Some((upstream, _)) = usable().find(|(_, upstream)| past(upstream.stale_until)) {
            return Pick::Follow { upstream, must_be_fresh: self.upstreams.len() > 1 };
        }
        if let Some((upstream, _)) = usable().next() {
            return Pick::Follow { upstream, must_be_fresh: false };
        }
        Pick::Wait(self.upstreams.iter().filter_map(|upstream| upstream.retry_at).min().unwrap_or(now))
    }

    /// It could not be followed, or no longer. `jitter` is from 0 to 1.
    pub(crate) fn failed(&mut self, upstream: usize, now: Instant, jitter: f64) {
        let upstream = &mut self.upstreams[upstream];
        let backoff = BACKOFF_MIN.saturating_mul(1 << upstream.failures.min(10)).min(BACKOFF_MAX);
        upstream.failures += 1;
        upstream.good_since = None;
        upstream.retry_at = Some(now + backoff.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0));
    }

    /// It is followed, and gave what it should.
    pub(crate) fn works(&mut self, upstream: usize) {
        let upstream = &mut self.upstreams[upstream];
        upstream.failures = 0;
        upstream.retry_at = None;
    }

    /// It does not hear from the log.
    pub(crate) fn stale(&mut self, upstream: usize, now: Instant) {
        self.upstreams[upstream].stale_until = Some(now + 2 * PROBE_INTERVAL);
    }

    /// Which upstreams to probe while `current` is followed: those preferred to it, or all others if it is stale.
    pub(crate) fn to_probe(&self, current: usize, current_stale: bool) -> Vec<usize> {
        let end = if current_stale { self.upstreams.len() } else { current };
        (0..end).filter(|&upstream| upstream != current).collect()
    }

    /// Takes in a probe of another upstream; whether to follow that one now.
    pub(crate) fn probed(&mut self, upstream: usize, fresh: bool, current_stale: bool, now: Instant) -> bool {
        let upstream = &mut self.upstreams[upstream];
        if !fresh {
            upstream.good_since = None;
            return false;
        }
        let since = *upstream.good_since.get_or_insert(now);
        let steady = now.duration_since(since) >= RETURN_AFTER;
        if steady || current_stale {
            upstream.retry_at = None;
            upstream.stale_until = None;
            upstream.failures = 0;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(upstream: usize, must_be_fresh: bool) -> Pick {
        Pick::Follow { upstream, must_be_fresh }
    }

    #[test]
    fn the_first_that_has_not_failed_is_followed() {
        let now = Instant::now();
        let mut choice = Choice::new(3);
        assert_eq!(choice.pick(now), follow(0, true));
        choice.failed(0, now, 1.0);
        assert_eq!(choice.pick(now), follow(1, true));
        choice.failed(1, now, 1.0);
        assert_eq!(choice.pick(now), follow(2, true));
        assert_eq!(choice.pick(now + BACKOFF_MIN), follow(0, true));
    }

    #[test]
    fn when_all_failed_the_wait_doubles_and_is_bounded() {
        let mut now = Instant::now();
        let mut choice = Choice::new(1);
        let mut waits = Vec::new();
        for _ in 0..8 {
            choice.failed(0, now, 1.0);
            let Pick::Wait(until) = choice.pick(now) else { panic!("nothing to wait for") };
            waits.push(until - now);
            now = until;
            assert!(matches!(choice.pick(now), Pick::Follow { .. }));
        }
        assert_eq!(waits[0], BACKOFF_MIN);
        assert_eq!(waits[1], 2 * BACKOFF_MIN);
        assert_eq!(waits[7], BACKOFF_MAX);
        choice.works(0);
        choice.failed(0, now, 1.0);
        assert_eq!(choice.pick(now), Pick::Wait(now + BACKOFF_MIN));
    }

    #[test]
    fn a_stale_one_is_followed_only_if_no_other_is_fresh() {
        let now = Instant::now();
        let mut choice = Choice::new(2);
        choice.stale(0, now);
        assert_eq!(choice.pick(now), follow(1, true));
        choice.stale(1, now);
        assert_eq!(choice.pick(now), follow(0, false));
    }

    #[test]
    fn a_single_upstream_is_followed_whether_or_not_it_is_fresh() {
        assert_eq!(Choice::new(1).pick(Instant::now()), follow(0, false));
    }

    #[test]
    fn a_preferred_one_is_returned_to_after_it_was_good_for_a_while() {
        let now = Instant::now();
        let mut choice = Choice::new(2);
        assert_eq!(choice.to_probe(1, false), [0]);
        assert!(!choice.probed(0, true, false, now));
        assert!(!choice.probed(0, false, false, now + RETURN_AFTER / 2));
        assert!(!choice.probed(0, true, false, now + RETURN_AFTER));
        assert!(choice.probed(0, true, false, now + 2 * RETURN_AFTER));
    }

    #[test]
    fn a_fresh_one_is_taken_at_once_instead_of_a_stale_one() {
        let now = Instant::now();
        let mut choice = Choice::new(3);
        assert_eq!(choice.to_probe(1, true), [0, 2]);
        assert!(choice.probed(2, true, true, now));
    }
}

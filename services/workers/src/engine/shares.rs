//! How much invocations may ask for of which the dispatcher does not know when they begin: those of versions that run alone, and of
//! Durable Objects. Pure, but for a lock.
//!
//! The node does: it has begun them, and all that they ask for comes to its sockets. The rules are those of `budgets.js`, by which the
//! dispatcher counts for all others: invocations of a version that are under way share what they may ask for, so that one alone has
//! exactly as much as it may have, and of several each has it on average.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Deserialize;

use crate::version::VersionKey;

/// Versions that are remembered: beyond it those are forgotten of which nothing is under way.
const REMEMBERED_MAX: usize = 10_000;

/// Where a version runs of whose invocations the node counts what they ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Apart {
    /// In a process of its own.
    Version,
    /// Its objects do, in the process of their account.
    Objects,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Shares(Mutex<HashMap<(Apart, VersionKey), Arc<Share>>>);

/// What the invocations of a version may ask for together.
#[derive(Debug, Default)]
struct Share(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    under_way: u32,
    /// Of what those that are under way have asked for; parts of it went with those that ended.
    asked: f64,
}

/// An invocation, until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Share>);

impl Shares {
    /// An invocation begins. The first one begins with nothing used.
    pub(crate) fn begin(&self, apart: Apart, key: &VersionKey) -> UnderWay {
        let share = self.of(apart, key);
        let mut used = share.used();
        if used.under_way == 0 {
            used.asked = 0.0;
        }
        used.under_way += 1;
        drop(used);
        UnderWay(share)
    }

    /// One more is asked for, of which each invocation may have so many; whether it may be.
    pub(crate) fn take(&self, apart: Apart, key: &VersionKey, each_max: u32) -> bool {
        let share = self.of(apart, key);
        let mut used = share.used();
        // What goes on after its answer has what was left.
        let may = used.asked + 1.0 <= f64::from(each_max) * f64::from(used.under_way.max(1));
        if may {
            used.asked += 1.0;
        }
        may
    }

    fn of(&self, apart: Apart, key: &VersionKey) -> Arc<Share> {
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (apart, key.clone());
        if let Some(share) = shares.get(&name) {
            return Arc::clone(share);
        }
        if shares.len() >= REMEMBERED_MAX {
            // Whoever is about to begin holds it.
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        Arc::clone(shares.entry(name).or_default())
    }
}

impl Share {
    fn used(&self) -> std::sync::MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    /// It has got a message, and begins anew: so long as a WebSocket is open its object may be asked by it.
    pub(crate) fn begin_anew(&self) {
        let mut used = self.0.used();
        used.asked -= used.asked / f64::from(used.under_way.max(1));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut used = self.0.used();
        // It takes its part of what was used along; the last one leaves all of it to what goes on.
        if used.under_way > 1 {
            used.asked -= used.asked / f64::from(used.under_way);
        }
        used.under_way = used.under_way.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use proxima_model::WorkerName;

    use super::*;
    use crate::version::numbered as key;

    /// How often something may be asked for on behalf of a version, of which each invocation may have seven.
    fn taken(shares: &Shares, apart: Apart, number: u8) -> u32 {
        (0..).find(|_| !shares.take(apart, &key(number), 7)).expect("it ends")
    }

    #[test]
    fn one_alone_has_exactly_its_own_and_the_next_one_has_as_much() {
        let shares = Shares::default();
        for _ in 0..3 {
            let under_way = shares.begin(Apart::Version, &key(1));
            assert_eq!(taken(&shares, Apart::Version, 1), 7);
            drop(under_way);
            assert_eq!(taken(&shares, Apart::Version, 1), 0, "what goes on has what was left");
        }
    }

    #[test]
    fn several_share_what_they_may_have() {
        let shares = Shares::default();
        let first = shares.begin(Apart::Version, &key(1));
        assert_eq!(taken(&shares, Apart::Version, 1), 7);
        let second = shares.begin(Apart::Version, &key(1));
        assert_eq!(taken(&shares, Apart::Version, 1), 7);
        drop(first);
        assert_eq!(taken(&shares, Apart::Version, 1), 0, "it took its part along");
        let third = shares.begin(Apart::Version, &key(1));
        assert_eq!(taken(&shares, Apart::Version, 1), 7);
        drop((second, third));
    }

    #[test]
    fn objects_and_other_versions_have_their_own() {
        let shares = Shares::default();
        let _under_way = [
            shares.begin(Apart::Version, &key(1)),
            shares.begin(Apart::Objects, &key(1)),
            shares.begin(Apart::Version, &key(2)),
        ];
        for (apart, number) in [(Apart::Version, 1), (Apart::Objects, 1), (Apart::Version, 2)] {
            assert_eq!(taken(&shares, apart, number), 7);
        }
    }

    #[test]
    fn a_message_begins_anew() {
        let shares = Shares::default();
        let socket = shares.begin(Apart::Objects, &key(1));
        for _ in 0..3 {
            assert_eq!(taken(&shares, Apart::Objects, 1), 7);
            socket.begin_anew();
        }
    }

    #[test]
    fn what_is_remembered_has_a_bound_and_nobody_who_is_under_way_is_forgotten() {
        let shares = Shares::default();
        let under_way = shares.begin(Apart::Version, &key(1));
        assert_eq!(taken(&shares, Apart::Version, 1), 7);
        for number in 0..=REMEMBERED_MAX {
            let mut other = key(2);
            other.worker = WorkerName::parse(&format!("app{number}")).expect("a name");
            shares.begin(Apart::Version, &other);
        }
        assert!(shares.0.lock().expect("nobody panicked").len() <= REMEMBERED_MAX);
        assert_eq!(taken(&shares, Apart::Version, 1), 0);
        drop(under_way);
    }
}

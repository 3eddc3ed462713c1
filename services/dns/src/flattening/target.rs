//! A name outside, what is known of it, and what of that is told.

use std::sync::{Arc, atomic::AtomicU64};

use arc_swap::ArcSwap;
use proxima_model::AccountId;
use tokio::sync::watch;

/// For how long after its time what was found is served while it cannot be resolved (RFC 8767, 5: one to three days).
pub(crate) const STALE_MS: u64 = 86_400_000;
/// After so long a resolution counts as lost: far longer than it may take, with waiting for a place among all.
pub(super) const RESOLVED_WITHIN_MS: u64 = 60_000;

/// A name on the wire, in lower case, and a type.
pub(super) type Key = Box<[u8]>;

/// What came of a resolution.
#[derive(Debug)]
pub(super) enum Outcome {
    /// These addresses, or that there are none, for so many seconds.
    Found { addresses: Vec<Box<[u8]>>, ttl: u32 },
    /// It cannot be resolved.
    Failed,
}

/// What of that is worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It is as before, or new.
    Unremarkable,
    /// It fails from now on; with what was found before, or with nothing.
    Failing { has_former: bool },
    /// It failed before.
    Recovered,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Sorted; none: there are none of the type.
    pub(crate) addresses: Vec<Box<[u8]>>,
    /// When its time is over, in milliseconds since 1970.
    pub(super) until: u64,
}

/// What a look sees.
#[derive(Debug)]
pub(super) enum Look {
    /// This, for so many seconds.
    Fresh(Arc<Found>, u32),
    /// This was, and it cannot be resolved at present.
    Stale(Arc<Found>),
    /// It is being resolved, after so many resolutions; and what there was before, if that would be good enough.
    Sought { target: Arc<Target>, turn: u64, before: Option<Arc<Found>> },
    /// It cannot be resolved, and nothing was found before.
    Failed,
}

/// A name outside, and a type of addresses.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: Box<[u8]>,
    pub(super) rtype: u16,
    /// For whose zone it was first asked for.
    pub(super) account: AccountId,
    pub(super) asked_at: AtomicU64,
    pub(super) state: ArcSwap<State>,
    /// How many resolutions have ended.
    pub(super) ended: watch::Sender<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) found: Option<Arc<Found>>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// After a failure it is not resolved before.
    pub(super) not_before: u64,
    /// Whether it is being resolved.
    pub(super) under_way: Option<UnderWay>,
    /// How many resolutions have ended.
    pub(super) turn: u64,
    /// When the book has it looked at.
    pub(super) due: u64,
}

#[cfg(test)]
impl Found {
    pub(crate) fn of(addresses: &[[u8; 4]], until: u64) -> Arc<Self> {
        Arc::new(Self { addresses: addresses.iter().map(|address| (*address).into()).collect(), until })
    }
}

/// A resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnderWay {
    /// It waits behind others of its account.
    Queued,
    /// It began then.
    Since(u64),
}

impl State {
    pub(super) fn is_resolving(&self, now: u64) -> bool {
        self.under_way.is_some_and(|how| match how {
            UnderWay::Queued => true,
            UnderWay::Since(since) => now < since.saturating_add(RESOLVED_WITHIN_MS),
        })
    }

    /// What is better than nothing.
    pub(super) fn stale(&self, now: u64) -> Option<Arc<Found>> {
        self.found.clone().filter(|found| now < found.until.saturating_add(STALE_MS))
    }
}

impl Target {
    /// Whether a resolution of it has ended before.
    pub(super) fn was_resolved(&self) -> bool {
        self.state.load().turn > 0
    }

    pub(super) fn key(&self) -> Key {
        [&self.name, &self.rtype.to_be_bytes()[..]].concat().into()
    }
}

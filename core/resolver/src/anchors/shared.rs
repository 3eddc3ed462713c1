//! The anchors, for all resolvers of a server: what they trust, and who asks the root for its keys.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{AnchorChange, Anchors, Followed};
use crate::{keys::Budget, rrset::RrSet};

/// The root's trust anchors.
pub struct TrustAnchors {
    anchors: Mutex<Anchors>,
    is_followed: bool,
    /// Whether there are any: otherwise nothing is validated.
    is_validating: bool,
    /// That of the anchors, for who does not wait for them.
    generation: AtomicU64,
}

/// What came of asking the root for its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What became of keys.
    pub changes: Vec<AnchorChange>,
    /// Whether its set was taken in.
    pub outcome: Result<(), Unobserved>,
}

/// A set was not taken in; an anchor may have been revoked by it nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unobserved {
    /// No anchor has signed it.
    #[error("no anchor has signed the root's keys (extended error {0})")]
    Invalid(u16),
    /// A newer one was seen.
    #[error("the root's keys are signed by an older signature than was seen before")]
    Old,
    /// All anchors are revoked.
    #[error("all trust anchors of the root are revoked: nothing can be validated; configure the new ones")]
    NoAnchor,
    /// There was none.
    #[error("the root's name servers did not say its keys")]
    Unanswered,
}

impl TrustAnchors {
    /// These keys, by their DS data ([`crate::parse_anchors`]), whatever the root says. None: nothing is validated.
    pub fn fixed(ds: Vec<Box<[u8]>>) -> Arc<Self> {
        Arc::new(Self { is_followed: false, ..Self::new(ds, Followed::default()) })
    }

    /// The same to begin with, and those by which the root replaces them (RFC 5011); `followed` is what was kept of that.
    pub fn followed(ds: Vec<Box<[u8]>>, followed: Followed) -> Arc<Self> {
        Arc::new(Self::new(ds, followed))
    }

    fn new(ds: Vec<Box<[u8]>>, followed: Followed) -> Self {
        let is_validating = !ds.is_empty();
        let anchors = Mutex::new(Anchors::new(ds, followed));
        Self { anchors, is_followed: true, is_validating, generation: AtomicU64::new(0) }
    }

    /// What is to be kept.
    pub fn to_keep(&self) -> Followed {
        self.anchors().followed().clone()
    }

    /// DS data of what is trusted, which may be nothing; `None`: nothing is validated.
    pub(crate) fn ds(&self) -> Option<Vec<Box<[u8]>>> {
        self.is_validating.then(|| self.anchors().trusted())
    }

    /// Another number whenever it was changed what is trusted.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether the root is to be asked for its keys, by who asks this: nobody else is told so.
    pub(crate) fn take_probe(&self, now: u64) -> bool {
        self.is_followed && self.is_validating && self.anchors().take_probe(now)
    }

    /// Takes in a DNSKEY set of the root.
    pub(crate) fn observe(&self, set: &RrSet, now: u64, budget: &impl Budget) -> Observation {
        let mut anchors = self.anchors();
        let observation = anchors.observe(set, now, budget);
        // Nobody else is here: the anchors are locked.
        self.generation.store(anchors.generation, Ordering::Release);
        observation
    }

    fn anchors(&self) -> MutexGuard<'_, Anchors> {
        self.anchors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! How often URLs were forgotten, for whoever stores an answer without having had a flight from its beginning.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{key::PrimaryKey, marks::path_hash};

/// Counts that URLs share by chance: so many that two which are in flight at the same time nearly never do, and if they
/// do, an answer is not stored that might have been.
const COUNTS: usize = 8192;

/// Counts of forgotten URLs. A count that has not changed says that none of its URLs was forgotten meanwhile.
pub(crate) struct Forgets {
    counts: Box<[AtomicU64]>,
}

impl Default for Forgets {
    fn default() -> Self {
        Self { counts: std::iter::repeat_with(AtomicU64::default).take(COUNTS).collect() }
    }
}

impl Forgets {
    /// Counts one; before the URL is forgotten, so that whoever sees the former count may still be forgotten.
    pub(crate) fn note(&self, key: &PrimaryKey) {
        self.count(key.hash()).fetch_add(1, Ordering::AcqRel);
    }

    /// The count of this URL, and of others.
    pub(crate) fn of(&self, key: &PrimaryKey) -> u64 {
        self.count(key.hash()).load(Ordering::Acquire)
    }

    /// Counts one of a single variant of a URL.
    pub(crate) fn note_variant(&self, key: &PrimaryKey, variant: u64) {
        self.count(key.hash() ^ variant).fetch_add(1, Ordering::AcqRel);
    }

    /// How often this variant was forgotten, by itself or with its URL.
    pub(crate) fn of_variant(&self, key: &PrimaryKey, variant: u64) -> u64 {
        self.of(key).wrapping_add(self.count(key.hash() ^ variant).load(Ordering::Acquire))
    }

    /// Whether two URLs share a count.
    pub(crate) fn alike(&self, one: &PrimaryKey, other: &PrimaryKey) -> bool {
        slot(one.hash()) == slot(other.hash())
    }

    fn count(&self, hash: u64) -> &AtomicU64 {
        &self.counts[slot(hash)]
    }
}

/// When URLs were forgotten by themselves, in the order of purges: for fetches of requests that entered a while ago. URLs
/// of one path, which a rule may make the same key of, share a moment, and so do some by chance.
pub(crate) struct Forgotten {
    moments: Box<[AtomicU64]>,
}

impl Default for Forgotten {
    fn default() -> Self {
        Self { moments: std::iter::repeat_with(AtomicU64::default).take(COUNTS).collect() }
    }
}

impl Forgotten {
    /// A URL is about to be forgotten, with its slices and whatever a rule made of it.
    pub(crate) fn note(&self, key: &PrimaryKey, moment: u64) {
        self.moments[slot(path_hash(key))].fetch_max(moment, Ordering::AcqRel);
    }

    /// Whether it may have been, since this moment.
    pub(crate) fn after(&self, key: &PrimaryKey, moment: u64) -> bool {
        self.moments[slot(path_hash(key))].load(Ordering::Acquire) >= moment
    }
}

fn slot(hash: u64) -> usize {
    usize::try_from(hash % COUNTS as u64).unwrap_or(0)
}

//! How often URLs were forgotten, for whoever stores an answer without having had a flight from its beginning.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::key::PrimaryKey;

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
        self.counts[self.slot(key)].fetch_add(1, Ordering::AcqRel);
    }

    /// The count of this URL, and of others.
    pub(crate) fn of(&self, key: &PrimaryKey) -> u64 {
        self.counts[self.slot(key)].load(Ordering::Acquire)
    }

    /// Whether two URLs share a count.
    pub(crate) fn alike(&self, one: &PrimaryKey, other: &PrimaryKey) -> bool {
        self.slot(one) == self.slot(other)
    }

    fn slot(&self, key: &PrimaryKey) -> usize {
        usize::try_from(key.hash() % COUNTS as u64).unwrap_or(0)
    }
}

//! How often URLs were forgotten, for whoever stores an answer without having had a flight from its beginning; and where a
//! URL that is forgotten names more than its own key.

use std::{
    collections::HashSet,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use proxima_model::ZoneId;

use crate::key::PrimaryKey;

/// Counts that URLs share by chance: so many that two which are in flight at the same time nearly never do, and if they
/// do, an answer is not stored that might have been.
const COUNTS: usize = 8192;

/// Counts of forgotten URLs. A count that has not changed says that none of its URLs was forgotten meanwhile.
pub(crate) struct Forgets {
    counts: Box<[AtomicU64]>,
    /// Zones of which something was asked for under a key that a rule made, since this process began: the URLs that are
    /// forgotten in them leave marks of their paths. Elsewhere that would only use up marks.
    custom: RwLock<HashSet<ZoneId>>,
}

impl Default for Forgets {
    fn default() -> Self {
        Self {
            counts: std::iter::repeat_with(AtomicU64::default).take(COUNTS).collect(),
            custom: RwLock::default(),
        }
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

    /// Notes that something is asked for under this key; before its fetch begins.
    pub(crate) fn note_asked(&self, key: &PrimaryKey) {
        if key.is_custom() && !self.has_custom(key.zone()) {
            self.custom.write().unwrap_or_else(PoisonError::into_inner).insert(key.zone());
        }
    }

    /// Whether anything of a zone was asked for under a key that a rule made.
    pub(crate) fn has_custom(&self, zone: ZoneId) -> bool {
        self.custom.read().unwrap_or_else(PoisonError::into_inner).contains(&zone)
    }

    /// Whether two URLs share a count.
    pub(crate) fn alike(&self, one: &PrimaryKey, other: &PrimaryKey) -> bool {
        self.slot(one) == self.slot(other)
    }

    fn slot(&self, key: &PrimaryKey) -> usize {
        usize::try_from(key.hash() % COUNTS as u64).unwrap_or(0)
    }
}

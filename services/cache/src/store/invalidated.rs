//! URLs that unsafe requests have just changed: other servers are told, and until they have heard it they are not asked.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Duration, Instant};

use crate::key::PrimaryKey;

/// Slots that URLs share by chance: then one too many goes straight to the origin.
const SLOTS: usize = 1_024;
/// How long others are not asked.
const RECENT: Duration = Duration::from_secs(10);

/// When the URLs of each slot were last changed.
#[derive(Debug)]
pub(super) struct Invalidated {
    began: Instant,
    /// Milliseconds since `began`, plus one; 0 is never.
    slots: Box<[AtomicU64]>,
}

impl Default for Invalidated {
    fn default() -> Self {
        let slots = std::iter::repeat_with(AtomicU64::default).take(SLOTS).collect();
        Self { began: Instant::now(), slots }
    }
}

impl Invalidated {
    pub(super) fn note(&self, key: &PrimaryKey) {
        self.slot(key).store(self.now() + 1, Ordering::Release);
    }

    pub(super) fn is_recent(&self, key: &PrimaryKey) -> bool {
        let noted = self.slot(key).load(Ordering::Acquire);
        let recent = u64::try_from(RECENT.as_millis()).unwrap_or(u64::MAX);
        noted > 0 && self.now().saturating_sub(noted - 1) < recent
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    fn slot(&self, key: &PrimaryKey) -> &AtomicU64 {
        &self.slots[usize::try_from(key.hash() % SLOTS as u64).unwrap_or(0)]
    }
}

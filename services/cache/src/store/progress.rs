//! How far the purges of the log are carried out here: what caches of other servers compare.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// States of the log.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The one whose purges are being carried out.
    begun: AtomicU64,
    /// The one whose purges are.
    ended: watch::Sender<u64>,
}

impl Progress {
    /// The purges of a state are about to be carried out. Said first: a fetch that begins meanwhile names this state to
    /// other servers, whether they will hide its answer or not.
    pub(crate) fn begin(&self, seq: u64) {
        self.begun.fetch_max(seq, Ordering::AcqRel);
    }

    /// They are carried out.
    pub(crate) fn end(&self, seq: u64) {
        self.ended.send_if_modified(|ended| {
            let later = seq > *ended;
            *ended = seq.max(*ended);
            later
        });
    }

    /// The state that a fetch which begins now names to other servers.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// Whether all purges up to a state are carried out.
    pub(crate) fn has_ended(&self, seq: u64) -> bool {
        *self.ended.borrow() >= seq
    }

    /// Waits until they are.
    pub(crate) async fn ended(&self, seq: u64) {
        // It is this store's own sender: it does not go away.
        self.ended.subscribe().wait_for(|ended| *ended >= seq).await.ok();
    }
}

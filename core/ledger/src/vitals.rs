//! What a node knows of the log's life, and tells whoever follows it.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

use crate::{LogId, Replica, Seq, message::Pulse};

/// What was heard of the log, directly or through upstreams.
pub(crate) struct Vitals {
    replica: Replica,
    keeps_log: bool,
    started: Instant,
    heard: Mutex<Heard>,
}

#[derive(Clone, Copy, Default)]
struct Heard {
    last: Seq,
    at: Option<Instant>,
    /// The log's last entry when it was first heard since this node started.
    since_start: Option<Seq>,
}

impl Vitals {
    pub(crate) fn new(replica: Replica, keeps_log: bool) -> Self {
        Self { replica, keeps_log, started: Instant::now(), heard: Mutex::default() }
    }

    pub(crate) const fn keeps_log(&self) -> bool {
        self.keeps_log
    }

    pub(crate) const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The log that this node follows, if it knows.
    pub(crate) fn log_id(&self) -> Option<LogId> {
        self.replica.log_id()
    }

    /// How this node is, as its followers are told.
    pub(crate) fn pulse(&self) -> Pulse {
        let seq = self.replica.seq();
        if self.keeps_log {
            return Pulse { seq, log_last: seq, log_heard: Some(Duration::ZERO) };
        }
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        Pulse { seq, log_last: heard.last.max(seq), log_heard: heard.at.map(|at| at.elapsed()) }
    }

    /// Takes in what an upstream or the log said of itself.
    pub(crate) fn hear(&self, pulse: &Pulse) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.last = heard.last.max(pulse.log_last);
        let at = pulse.log_heard.and_then(|ago| Instant::now().checked_sub(ago));
        heard.at = heard.at.max(at);
        if heard.since_start.is_none() && at.is_some_and(|at| at >= self.started) {
            heard.since_start = Some(pulse.log_last);
        }
    }

    /// The log's last entry at some moment since this node started: whoever has come so far lacks nothing that was
    /// acknowledged before. `None` while the log was not heard since.
    pub(crate) fn log_last_since_start(&self) -> Option<Seq> {
        if self.keeps_log {
            return Some(self.replica.seq());
        }
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).since_start
    }

    /// The log's last entry, as far as is known.
    pub(crate) fn log_last(&self) -> Seq {
        self.pulse().log_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_heard_of_the_log_before_the_start_does_not_tell_where_it_was_then() {
        let folder = tempfile::tempdir().unwrap();
        let replica =
            Replica::open(folder.path(), crate::Sealer::generate().0, crate::ReplicaOptions::default())
                .unwrap();
        let vitals = Vitals::new(replica, false);
        let pulse = |log_last: u64, log_heard| Pulse { seq: Seq(1), log_last: Seq(log_last), log_heard };
        assert_eq!(vitals.log_last_since_start(), None);
        tokio::time::advance(Duration::from_secs(5)).await;
        vitals.hear(&pulse(7, None));
        vitals.hear(&pulse(7, Some(Duration::from_secs(6))));
        assert_eq!(
            vitals.log_last_since_start(),
            None,
            "an upstream that was cut off itself knows nothing new"
        );
        vitals.hear(&pulse(8, Some(Duration::from_secs(4))));
        vitals.hear(&pulse(9, Some(Duration::ZERO)));
        assert_eq!(vitals.log_last_since_start(), Some(Seq(8)), "the first is enough");
    }
}

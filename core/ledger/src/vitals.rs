//! What a node knows of the log's life, and tells whoever follows it.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

use crate::{LogId, Replica, Seq, message::Pulse};

/// What was heard of the log, directly or through upstreams.
pub(crate) struct Vitals {
    replica: Replica,
    keeps_log: bool,
    heard: Mutex<Heard>,
}

#[derive(Clone, Copy, Default)]
struct Heard {
    last: Seq,
    at: Option<Instant>,
}

impl Vitals {
    pub(crate) fn new(replica: Replica, keeps_log: bool) -> Self {
        Self { replica, keeps_log, heard: Mutex::default() }
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
    }

    /// The log's last entry, as far as is known.
    pub(crate) fn log_last(&self) -> Seq {
        self.pulse().log_last
    }
}

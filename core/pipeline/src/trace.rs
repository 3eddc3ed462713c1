//! What the stages decided about one request, and why.

use std::{borrow::Cow, time::Duration};

use serde::Serialize;

/// Entries of one trace; more are counted, not kept.
const ENTRIES_MAX: usize = 64;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TraceEntry {
    /// The stage that decided.
    pub stage: &'static str,
    /// What and why, in words for an operator.
    pub decision: Cow<'static, str>,
    /// Microseconds since the request's head had been read.
    pub at_us: u64,
}

/// The decisions about one request. Empty and free unless somebody asked for it.
#[derive(Debug, Default)]
pub struct Trace {
    entries: Option<Vec<TraceEntry>>,
    started: Option<std::time::Instant>,
}

impl Trace {
    /// A trace that is kept: somebody asked.
    pub fn kept() -> Self {
        Self { entries: Some(Vec::new()), started: Some(std::time::Instant::now()) }
    }

    /// Whether it is kept.
    pub const fn is_kept(&self) -> bool {
        self.entries.is_some()
    }

    /// Notes a decision; `words` is called only if the trace is kept.
    pub fn note<W: Into<Cow<'static, str>>>(&mut self, stage: &'static str, words: impl FnOnce() -> W) {
        if let Some(entries) = &mut self.entries
            && entries.len() < ENTRIES_MAX
        {
            let at = self.started.map_or(Duration::ZERO, |started| started.elapsed());
            let at_us = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
            entries.push(TraceEntry { stage, decision: words().into(), at_us });
        }
    }

    /// What was noted, in order.
    pub fn entries(&self) -> &[TraceEntry] {
        self.entries.as_deref().unwrap_or_default()
    }
}

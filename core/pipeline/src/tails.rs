//! Tails: live logs of Workers, as somebody who looks at one sees them. The port between who runs Workers (`services/workers`) and
//! who shows what they do (`services/control`).
//!
//! ```text
//!   control ── Tails::open(tail) ──▶ workers ── every server of the network ──▶ what the Worker does there, filtered there
//!      ▲                                                                                         │
//!      └──────────────────── TailSeen, one by one, from all of them ◀────────────────────────────┘
//! ```
//!
//! A tail is nowhere in the log of changes: it is as long as somebody looks, and costs a Worker nothing when nobody does. Who reads
//! slowly loses events, is told how many, and slows nobody.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use proxima_model::{AccountId, Timestamp, WorkerName};
use serde::{Deserialize, Serialize};

/// Tails of one Worker at a time; what v4 allows.
pub const TAILS_PER_WORKER_MAX: usize = 10;
/// Octets of a tail's filters, as JSON: they go in a URL, and are asked for every event.
pub const TAIL_FILTERS_OCTETS_MAX: usize = 4 << 10;

/// Somebody's look at one Worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    /// Tells it from others of the Worker.
    pub id: String,
    /// The Worker's account.
    pub account: AccountId,
    /// Its name.
    pub worker: WorkerName,
    /// When it ends at the latest.
    pub expires: Timestamp,
    /// Which events are looked at: those that pass all of them.
    pub filters: Vec<TailFilter>,
}

/// What an event must be like, as v4 writes it: of several values one is enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TailFilter {
    /// This share of all events passes, more than 0 and at most 1.
    SamplingRate(f64),
    /// How the invocation ended: `ok`, `exception`, `canceled`, …
    Outcome(Vec<String>),
    /// The method of its request.
    Method(Vec<String>),
    /// A field of its request, with this somewhere in its value. Of fields that are not shown, only that they are there is known.
    Header {
        /// The field's name.
        key: String,
        /// What is in its value; anything without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        query: Option<String>,
    },
    /// Whom its request comes from, as Workers see it.
    ClientIp(Vec<String>),
    /// What is somewhere in its logs.
    Query(String),
    /// The version that ran.
    #[serde(rename = "scriptVersion")]
    ScriptVersion(String),
}

/// What who looks is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailSeen {
    /// An invocation has ended: a JSON object in UTF-8, as v4 has it.
    Event(Bytes),
    /// So many events were not kept, since those before them were not taken away.
    Dropped(u64),
    /// The tail was ended: nothing follows.
    Ended(TailEnd),
}

/// Why a tail ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailEnd {
    /// Somebody has deleted it, or its time is over.
    Done,
    /// This server ends.
    GoingAway,
}

/// Why there is no tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TailRefused {
    /// The Worker has as many as it may have.
    #[error("this Worker has {TAILS_PER_WORKER_MAX} tails, as many as may be at a time")]
    WorkerFull,
    /// This server has as many as it can hold.
    #[error("this server holds as many tails as it can; ask again in a while")]
    ServerFull,
}

/// What a tail shows, for as long as it is held.
pub type TailStream = BoxStream<'static, TailSeen>;

/// Shows what Workers do.
pub trait Tails: Send + Sync + 'static {
    /// What a Worker does from now on, on every server that is reached, until the stream is dropped or the tail ends. To be called
    /// within the runtime.
    ///
    /// # Errors
    /// As many are open as may be.
    fn open(&self, tail: Tail) -> Result<TailStream, TailRefused>;

    /// The tails of a Worker, wherever they are looked at: as far as this server knows.
    fn list(&self, account: AccountId, worker: &WorkerName) -> Vec<Tail>;

    /// Ends the tail of this id, wherever it is looked at.
    fn end(&self, account: AccountId, worker: &WorkerName, id: &str);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_are_written_as_wrangler_writes_them() {
        let written = json!([
            { "sampling_rate": 0.25 },
            { "outcome": ["exception", "exceededCpu"] },
            { "method": ["GET"] },
            { "header": { "key": "x-a", "query": "b" } },
            { "header": { "key": "x-a" } },
            { "client_ip": ["192.0.2.1"] },
            { "query": "needle" },
            { "scriptVersion": "7f1c" },
        ]);
        let filters: Vec<TailFilter> = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(filters[0], TailFilter::SamplingRate(0.25));
        assert_eq!(filters[4], TailFilter::Header { key: "x-a".to_owned(), query: None });
        assert_eq!(serde_json::to_value(&filters).unwrap(), written);
        assert!(serde_json::from_value::<TailFilter>(json!({ "colour": "red" })).is_err());
    }
}

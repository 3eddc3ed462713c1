//! The log, as whoever writes to it or follows it sees it.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::{Answers, Append, AskError, Entry, Seq, error::AppendError, error::FollowError};

/// What an append became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The entry that holds the changes.
    pub seq: Seq,
    /// Whether it had been appended before under the same idempotency key.
    pub repeated: bool,
}

/// What a follower is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// The next entry; entries come in order and without a gap.
    Entry(Arc<Entry>),
    /// Nothing new: the upstream is alive and its last entry is this one. Comes at least every
    /// [`crate::HEARTBEAT_INTERVAL`].
    Heartbeat(Seq),
}

/// The one ordered log of changes. Implementations: [`crate::EmbeddedLog`] where the log is, [`crate::RemoteLog`]
/// everywhere else; all of them pass the suite in `tests/ledger/log_suite.rs`.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Appends changes that are made together or not at all. When this returns `Ok` they are durable: neither
    /// SIGKILL nor power loss takes them back. Repeating an idempotency key answers as the first time did; with another
    /// fingerprint it is refused.
    async fn append(&self, append: Append) -> Result<Appended, AppendError>;

    /// The entries after `from`, then those to come. [`FollowError::Compacted`] says that the log no longer holds
    /// them: take a snapshot.
    async fn subscribe(
        &self,
        from: Seq,
    ) -> Result<BoxStream<'static, Result<Update, FollowError>>, FollowError>;

    /// The log's last entry, as far as this end knows.
    fn last(&self) -> Seq;

    /// Asks the log's node about something that is no part of the state. A question may reach it twice.
    ///
    /// # Errors
    /// It is away, nobody there answers such questions, or who does says why not.
    async fn ask(&self, topic: &'static str, question: Vec<u8>) -> Result<Vec<u8>, AskError>;

    /// Has this one answer what is asked about a topic, if the log is here; whether it is.
    fn seat(&self, topic: &'static str, answers: Arc<dyn Answers>) -> bool;
}

//! The port by which Workers are run that no request asks for.

use futures_util::future::BoxFuture;
use proxima_model::{AccountId, QueueName, Timestamp, WorkerName};

use crate::{Fault, QueueDelivered, QueueSettling};

/// Runs Workers.
pub trait Invoke: Send + Sync + 'static {
    /// Runs what of a Worker is for cron triggers, on this server; ready when it has ended. What of it failed is told as for a
    /// request; it is not run again.
    fn scheduled<'a>(
        &'a self,
        account: AccountId,
        worker: &'a WorkerName,
        trigger: CronTrigger<'a>,
    ) -> BoxFuture<'a, Result<(), Fault>>;

    /// Runs what of a Worker is for messages of queues, on this server; ready when it has ended.
    fn queue<'a>(
        &'a self,
        account: AccountId,
        worker: &'a WorkerName,
        batch: QueueBatch<'a>,
    ) -> BoxFuture<'a, Result<QueueOutcome, NotConsumed>>;
}

/// Why a Worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CronTrigger<'a> {
    /// The expression, as its owner gave it.
    pub cron: &'a str,
    /// The minute that it says.
    pub at: Timestamp,
}

/// Messages that a Worker is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBatch<'a> {
    /// What the queue that they are of is called.
    pub queue: &'a QueueName,
    /// When they are given.
    pub at: Timestamp,
    /// They.
    pub messages: &'a [QueueDelivered],
}

/// What a Worker says of messages, by their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueOutcome {
    /// Whether its handler ended by throwing.
    pub threw: bool,
    /// Of some.
    pub messages: Vec<(String, QueueSettling)>,
    /// Of all others.
    pub others: QueueSettling,
}

/// Why messages were not consumed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotConsumed {
    /// The Worker began, and failed: all of them count as delivered once more.
    #[error("the Worker failed: {0}")]
    Failed(Fault),
    /// No Worker of this name is deployed.
    #[error("no version of the Worker is deployed")]
    Absent,
    /// No Worker can be run here at the moment.
    #[error("the Worker cannot be run here: {0}")]
    NotNow(Fault),
}

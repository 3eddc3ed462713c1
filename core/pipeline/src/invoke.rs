//! The port by which Workers are run that no request asks for.

use futures_util::future::BoxFuture;
use proxima_model::{AccountId, Timestamp, WorkerName};

use crate::Fault;

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
}

/// Why a Worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CronTrigger<'a> {
    /// The expression, as its owner gave it.
    pub cron: &'a str,
    /// The minute that it says.
    pub at: Timestamp,
}

//! The one shape of a service.

use std::sync::Arc;

use async_trait::async_trait;
use proxima_ledger::{ChangeSet, ReadError, Snapshot, Unserved};

use crate::{Health, NodeContext, Shutdown};

/// What a service compiled and will put in force: a step that cannot fail.
pub struct Prepared(Box<dyn FnOnce() + Send>);

impl Prepared {
    /// A step that puts the new state in force. It must be quick, and must not block.
    pub fn new(commit: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(commit))
    }

    /// Nothing to do for these changes.
    pub fn nothing() -> Self {
        Self::new(|| {})
    }

    /// Puts it in force.
    pub fn commit(self) {
        (self.0)();
    }
}

/// Why a state cannot be put in force. The former one stays.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The replica could not be read.
    #[error("reading the replica: {0}")]
    Read(#[from] ReadError),
    /// What was read does not fit together.
    #[error("compiling {what}: {why}")]
    Compile {
        /// Of what.
        what: String,
        /// Why not.
        why: String,
    },
}

/// Why a service ended that should not have.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ServiceError(Box<dyn std::error::Error + Send + Sync>);

impl ServiceError {
    /// From whatever made it end.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// One of the services that every server runs.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Its name: folder, crate, configuration key, metric prefix and log target.
    fn name(&self) -> &'static str;

    /// Compiles what this service needs from a state of the replica. Pure: nothing changes until the commit. What serves does
    /// not wait for it, but everybody's next change does: what takes long for one zone follows the commit ([`Self::unserved`]).
    ///
    /// # Errors
    /// Keeps the former state in force, for all services.
    fn prepare(&self, snapshot: &Snapshot, changed: &ChangeSet) -> Result<Prepared, PrepareError>;

    /// The first change that this service does not serve yet though it was committed, as long as there is one, of each of its
    /// parts that may be behind. That change does not count as in force before it is served.
    fn unserved(&self) -> Vec<Unserved> {
        Vec::new()
    }

    /// Binds, then serves until `shutdown` says otherwise; drains within its deadline. The first state has been
    /// committed before this is called.
    ///
    /// # Errors
    /// Whatever made it end early; the node then withdraws, drains and exits, for its supervisor to start anew.
    async fn run(self: Arc<Self>, node: NodeContext, shutdown: Shutdown) -> Result<(), ServiceError>;

    /// Does what must be done before a server that was told to end is withdrawn. The node waits for it, though not long.
    /// Not called when the next process has taken over, for then nothing is withdrawn.
    async fn before_withdrawal(&self) {}

    /// Whether this service can serve right now. Asked often: must be cheap.
    fn health(&self) -> Health;
}

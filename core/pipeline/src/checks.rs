//! The port by which a version of a Worker is tried before anything of it is written: who takes uploads (`services/control`) asks who
//! runs Workers (`services/workers`).

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use proxima_model::{BindingName, ContentHash, DurableClass, WorkerVersion};

/// A version that no log has yet, with all that it is started from.
pub struct NewWorkerVersion {
    /// What is said of it.
    pub version: WorkerVersion,
    /// What its secrets are.
    pub secrets: BTreeMap<BindingName, String>,
    /// The octets of its modules.
    pub contents: BTreeMap<ContentHash, Bytes>,
    /// The classes of Durable Objects that it is to export.
    pub classes: Vec<DurableClass>,
}

/// What is found out by starting it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerCheck {
    /// It starts.
    Fine {
        /// What its start takes of a processor.
        took: Duration,
    },
    /// It would answer nobody.
    Unfit(WorkerUnfit),
    /// Nothing: it could not be tried here, for this reason, which is not the version's.
    Unknown(String),
}

/// Why a version is none that could run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerUnfit {
    /// It does not start; in the engine's words, for whoever wrote it.
    Fails(String),
    /// It has nothing that could be asked.
    HandlesNothing,
    /// It does not export this class.
    Lacks(DurableClass),
}

/// Tries versions of Workers.
pub trait CheckWorkers: Send + Sync + 'static {
    /// Starts a version that has code, in a process that nobody else is in and that ends with it. Bounded in time.
    fn check(&self, new: NewWorkerVersion) -> BoxFuture<'_, WorkerCheck>;

    /// The most time of a processor that this server gives any invocation, in milliseconds, whatever its version asks for.
    fn cpu_ms_most(&self) -> u64;
}

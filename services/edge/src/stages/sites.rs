//! The port through which stages find a host's zone.

use std::{sync::Arc, time::Duration};

use proxima_ledger::{CompiledZones, Look, Pending, ReadError, nearest_active};
use proxima_pipeline::{Fault, Site};
use tokio::time::{Instant, timeout_at};

/// How long a request waits for large zones to be compiled, in all.
const WAIT_IN_ALL: Duration = Duration::from_secs(10);

/// Finds the zone, compiled, in which a host lies.
pub trait Sites: Send + Sync + 'static {
    /// The nearest active zone whose name is `host` or encloses it, and where none is active, the nearest of all;
    /// `host` in lower case, without last dot.
    ///
    /// # Errors
    /// The replica cannot be read, or a large zone is being compiled.
    fn find(&self, host: &str) -> Result<Option<Arc<Site>>, Missing>;
}

/// Why a zone cannot be told at once.
pub enum Missing {
    /// The replica cannot be read.
    Unreadable(ReadError),
    /// It is large, and is being compiled by another thread: this one has others to answer.
    Pending(Pending<Site>),
}

impl From<ReadError> for Missing {
    fn from(error: ReadError) -> Self {
        Self::Unreadable(error)
    }
}

impl Sites for CompiledZones<Site> {
    fn find(&self, host: &str) -> Result<Option<Arc<Site>>, Missing> {
        nearest_active(host, |name| match self.look(name)? {
            Look::Found(found) => Ok(found),
            Look::Pending(pending) => Err(Missing::Pending(pending)),
        })
    }
}

/// The time that one request has to wait for zones.
pub(crate) struct Wait(Instant);

impl Wait {
    pub(crate) fn new() -> Self {
        Self(Instant::now() + WAIT_IN_ALL)
    }

    /// Until a zone is compiled, and may be found.
    ///
    /// # Errors
    /// It cannot be, or not in time.
    pub(crate) async fn until_landed(&self, pending: Pending<Site>) -> Result<(), Fault> {
        match timeout_at(self.0, pending.landed()).await {
            Ok(Some(Ok(_)) | None) => Ok(()),
            Ok(Some(Err(error))) => Err(unreadable(&error)),
            Err(_) => Err(Fault::Overloaded),
        }
    }
}

/// What a request whose zone cannot be read ends with.
pub(crate) fn unreadable(error: &ReadError) -> Fault {
    tracing::error!(%error, "the zone of a request cannot be read");
    Fault::Internal("the replica cannot be read")
}

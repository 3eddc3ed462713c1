//! This server's store, for those who may not wait for a disk.

use std::sync::{Arc, Mutex, PoisonError};

use proxima_chassis::Clock;
use proxima_model::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::store::{Done, Job, Store, StoreError};

/// Threads that read at once: as many as keep a disk busy, and fewer than tokio has for all.
const READS_AT_ONCE: usize = 64;
/// Writes that wait for the transaction of others to end: more than come in the time of one.
const WRITES_WAITING_MAX: usize = 1_024;
/// Writes of one transaction. Those that come meanwhile are in the next one.
const WRITES_AT_ONCE: usize = 256;

type Waiting = (Job, oneshot::Sender<Result<Done, StoreError>>);

/// See the module.
pub(crate) struct Own {
    store: Result<Arc<Store>, StoreError>,
    clock: Arc<dyn Clock>,
    reads: Semaphore,
    writes: mpsc::Sender<Waiting>,
    waiting: Mutex<Option<mpsc::Receiver<Waiting>>>,
}

impl Own {
    /// Over a store, or in place of one that could not be opened.
    pub(crate) fn new(store: Result<Store, StoreError>, clock: Arc<dyn Clock>) -> Self {
        let (writes, waiting) = mpsc::channel(WRITES_WAITING_MAX);
        Self {
            store: store.map(Arc::new),
            clock,
            reads: Semaphore::new(READS_AT_ONCE),
            writes,
            waiting: Mutex::new(Some(waiting)),
        }
    }

    /// The store, or why there is none.
    pub(crate) fn store(&self) -> Result<&Arc<Store>, &StoreError> {
        self.store.as_ref()
    }

    /// Writes what comes until `stop`.
    pub(crate) async fn write_until(&self, stop: CancellationToken) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Ok(store), Some(mut waiting)) = (&self.store, waiting) else { return };
        let mut batch = Vec::new();
        loop {
            let count = tokio::select! {
                biased;
                count = waiting.recv_many(&mut batch, WRITES_AT_ONCE) => count,
                () = stop.cancelled() => return,
            };
            if count == 0 {
                return;
            }
            // Who does not wait any more has gone to another server, or tells its client that it is not done.
            batch.retain(|(_, asker)| !asker.is_closed());
            let (jobs, askers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
            let (store, now) = (Arc::clone(store), self.clock.now());
            let done = tokio::task::spawn_blocking(move || store.commit(&jobs, now)).await;
            // A panic there has been told of; who waits hears that nobody writes.
            for (asker, done) in askers.into_iter().zip(done.into_iter().flatten()) {
                asker.send(done).ok();
            }
        }
    }

    /// Writes this; ready when it is on the disk.
    pub(crate) async fn commit(&self, job: Job) -> Result<Done, StoreError> {
        if let Err(error) = &self.store {
            return Err(error.clone());
        }
        let (asker, done) = oneshot::channel();
        self.writes.send((job, asker)).await.map_err(|_| ended())?;
        done.await.map_err(|_| ended())?
    }

    /// Reads, by a thread that may wait.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store, Timestamp) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.store.clone()?;
        let _place = self.reads.acquire().await.map_err(|_| ended())?;
        let now = self.clock.now();
        tokio::task::spawn_blocking(move || read(&store, now)).await.map_err(|_| ended())?
    }
}

fn ended() -> StoreError {
    StoreError::Broken("the store is not served any more".to_owned())
}

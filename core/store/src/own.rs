//! A store for those who may not wait for a disk.

use std::sync::{Arc, Mutex, PoisonError};

use proxima_chassis::Clock;
use proxima_model::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::Fault;

/// Threads that read at once: as many as keep a disk busy, and fewer than tokio has for all.
const READS_AT_ONCE: usize = 64;
/// Writes that wait for the transaction of others to end: more than come in the time of one.
const WRITES_WAITING_MAX: usize = 1_024;
/// Writes of one transaction. Those that come meanwhile are in the next one.
const WRITES_AT_ONCE: usize = 256;

/// A store that is written by jobs.
pub trait Commit: Send + Sync + 'static {
    /// What is to be written.
    type Job: Send + 'static;
    /// What has come of it.
    type Done: Send + 'static;
    /// Why it was not done.
    type Error: Clone + Send + From<Fault> + 'static;

    /// Writes these, in their order, in one transaction, and says what came of each. One that is refused has left nothing behind, and
    /// those beside it are written all the same: they are on the disk when this returns.
    ///
    /// # Errors
    /// Why nothing of them is written.
    fn try_commit(&self, jobs: &[Self::Job], now: Timestamp) -> Result<Vec<Outcome<Self>>, Self::Error>;

    /// Writes these, in one transaction; where that fails, since one of them cannot be written, each by its own.
    fn commit(&self, jobs: &[Self::Job], now: Timestamp) -> Vec<Outcome<Self>> {
        if jobs.len() > 1
            && let Ok(done) = self.try_commit(jobs, now)
        {
            return done;
        }
        let alone =
            |job| self.try_commit(std::slice::from_ref(job), now)?.pop().expect("one job, one outcome");
        jobs.iter().map(alone).collect()
    }
}

/// What came of one job: it is done, or refused.
pub type Outcome<S> = Result<<S as Commit>::Done, <S as Commit>::Error>;

/// The node ends, or whoever writes has.
fn ended<E>(_: E) -> Fault {
    Fault::Broken("the store is not served any more".to_owned())
}

type Waiting<S> = (<S as Commit>::Job, oneshot::Sender<Outcome<S>>);

/// See the module.
pub struct Own<S: Commit> {
    store: Result<Arc<S>, S::Error>,
    clock: Arc<dyn Clock>,
    reads: Semaphore,
    writes: mpsc::Sender<Waiting<S>>,
    waiting: Mutex<Option<mpsc::Receiver<Waiting<S>>>>,
}

impl<S: Commit> Own<S> {
    /// Over a store, or in place of one that could not be opened.
    pub fn new(store: Result<S, S::Error>, clock: Arc<dyn Clock>) -> Self {
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
    ///
    /// # Errors
    /// What failed when it was opened.
    pub fn store(&self) -> Result<&Arc<S>, &S::Error> {
        self.store.as_ref()
    }

    /// Writes what comes until `stop`.
    pub async fn write_until(&self, stop: CancellationToken) {
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
    ///
    /// # Errors
    /// Why it is not.
    pub async fn commit(&self, job: S::Job) -> Outcome<S> {
        if let Err(error) = &self.store {
            return Err(error.clone());
        }
        let (asker, done) = oneshot::channel();
        self.writes.send((job, asker)).await.map_err(ended)?;
        done.await.map_err(ended)?
    }

    /// Reads, by a thread that may wait.
    ///
    /// # Errors
    /// Why nothing is read.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&S, Timestamp) -> Result<T, S::Error> + Send + 'static,
    ) -> Result<T, S::Error> {
        let store = self.store.clone()?;
        let _place = self.reads.acquire().await.map_err(ended)?;
        let now = self.clock.now();
        tokio::task::spawn_blocking(move || read(&store, now)).await.map_err(ended)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store of numbers, of which each transaction takes those below ten, and cannot be made with one above twenty.
    #[derive(Default)]
    struct Numbers(Mutex<Vec<Vec<u8>>>);

    impl Commit for Numbers {
        type Job = u8;
        type Done = u8;
        type Error = Fault;

        fn try_commit(&self, jobs: &[u8], _: Timestamp) -> Result<Vec<Outcome<Self>>, Fault> {
            if jobs.iter().any(|job| *job > 20) {
                return Err(Fault::Busy);
            }
            self.0.lock().unwrap().push(jobs.to_vec());
            let full = || Fault::Full(String::new());
            Ok(jobs.iter().map(|job| if *job < 10 { Ok(*job) } else { Err(full()) }).collect())
        }
    }

    #[test]
    fn what_is_refused_costs_those_beside_it_no_transaction_and_what_breaks_one_is_written_by_its_own() {
        let full = || Err(Fault::Full(String::new()));
        let (numbers, now) = (Numbers::default(), Timestamp::from_millis(0));
        assert_eq!(numbers.commit(&[1, 11, 2], now), [Ok(1), full(), Ok(2)]);
        assert_eq!(*numbers.0.lock().unwrap(), [[1, 11, 2]]);
        assert_eq!(numbers.commit(&[3, 21, 12], now), [Ok(3), Err(Fault::Busy), full()]);
        assert_eq!(numbers.0.lock().unwrap()[1..], [[3], [12]]);
    }
}

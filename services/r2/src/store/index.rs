//! The index: one LMDB environment, one thread that writes.
//!
//! Whoever changes something hands the thread a closure; as many as wait are carried out in one transaction, each in one of its
//! own within it, so that what is refused, or panics, leaves nothing. One `fsync` makes all of them durable, and only then are
//! they answered. A transaction ends before its time is over ([`TRANSACTION_MAX`]); what waits then has the next one. In a
//! graceful restart two processes have it open, which LMDB's locks allow.
//!
//! What keeps it from being written is its [fault](Index::fault): told to everybody who writes, and to whoever asks after health.

use std::{
    any::Any,
    collections::VecDeque,
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use heed::{Env, RoTxn, RwTxn, WithoutTls};
use proxima_pipeline::ObjectError;
use proxima_store::{Db, Durability, Fault as StoreFault, OpenError, Space};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::folders;
use crate::metrics::Metrics;

/// Changes that wait for the thread: some seconds' work of a disk. Who comes then waits before it.
const CHANGES_MAX: usize = 1_024;
/// Changes of one transaction: what they take of memory until it is durable has a bound.
const BATCH_MAX: usize = 128;
/// How long changes are added to a transaction: what waits behind it waits no longer than this, a change and an `fsync`.
const TRANSACTION_MAX: Duration = Duration::from_millis(50);
/// Reads at a time: each may hold a thread that waits for the disk.
const READS_MAX: usize = 64;

/// The databases; see [`super::rows`].
#[derive(Clone, Copy)]
pub(crate) struct Databases {
    pub(crate) objects: Db,
    pub(crate) uploads: Db,
    pub(crate) parts: Db,
    pub(crate) completed: Db,
    pub(crate) blobs: Db,
    pub(crate) garbage: Db,
    pub(crate) contents: Db,
    pub(crate) closed: Db,
    pub(crate) gone: Db,
    pub(crate) outbox: Db,
}

/// Tells who waits for a change, once it is known whether the transaction is durable.
type Answer = Box<dyn FnOnce(Result<(), ObjectError>) + Send>;
/// In what a change is carried out, or why it cannot be.
type Within<'a, 't> = Result<(&'a Databases, &'a mut RwTxn<'t>), ObjectError>;
/// Carries a change out. What it wrote is kept if the first is `true`.
type Order = Box<dyn for<'a, 't> FnOnce(Within<'a, 't>) -> (bool, Answer) + Send>;

/// The index.
#[derive(Clone)]
pub(crate) struct Index {
    env: Env<WithoutTls>,
    databases: Databases,
    orders: mpsc::Sender<Order>,
    reads: Arc<Semaphore>,
    fault: Fault,
}

/// Why nothing can be written, if so.
#[derive(Clone)]
struct Fault {
    why: Arc<Mutex<Option<String>>>,
    space: Space,
    metrics: Metrics,
}

impl Fault {
    fn set(&self, why: Option<String>) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
        self.tell();
    }

    fn tell(&self) {
        let is_unwritable = self.space.is_short() || self.get().is_some();
        self.metrics.unwritable.set(is_unwritable.into());
    }

    fn get(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What LMDB says, as what it means for who asked.
pub(crate) fn failed(error: heed::Error) -> ObjectError {
    meant(error.into())
}

/// What a fault means for who asked.
pub(super) fn meant(fault: StoreFault) -> ObjectError {
    match fault {
        StoreFault::Full(text) => ObjectError::Full(text),
        StoreFault::Busy => ObjectError::Busy,
        StoreFault::Broken(text) => ObjectError::Broken(text),
    }
}

impl Index {
    /// Opens the index in this folder, or makes one, and starts its thread, which ends with the last clone.
    pub(crate) fn open(
        folder: &Path,
        octets_max: usize,
        space: Space,
        metrics: Metrics,
    ) -> Result<Self, heed::Error> {
        folders::make(folder)?;
        let names = [
            "objects",
            "uploads",
            "parts",
            "completed",
            "blobs",
            "garbage",
            "contents",
            "closed",
            "gone",
            "outbox",
        ];
        let opened = proxima_store::open(folder, octets_max, Durability::Kept, names);
        let (env, databases) = opened.map_err(|error| match error {
            OpenError::Short => heed::Error::Io(std::io::Error::other(
                "the index of objects is shorter than its pages: restore it, or remove the folder to begin anew",
            )),
            OpenError::Lmdb(error) => error,
        })?;
        let [objects, uploads, parts, completed, blobs, garbage, contents, closed, gone, outbox] = databases;
        // LMDB syncs its file, and not that the file is there.
        File::open(folder)?.sync_all()?;
        let databases =
            Databases { objects, uploads, parts, completed, blobs, garbage, contents, closed, gone, outbox };
        let (orders, received) = mpsc::channel(CHANGES_MAX);
        let fault = Fault { why: Arc::default(), space, metrics };
        let (of_thread, told) = (env.clone(), fault.clone());
        std::thread::Builder::new().name("r2-index".to_owned()).spawn(move || {
            let written = catch_unwind(AssertUnwindSafe(|| write(&of_thread, &databases, received, &told)));
            if let Err(panic) = written {
                let why =
                    format!("who writes the index has panicked, restart the node: {}", message(&*panic));
                tracing::error!(target: "proxima_r2", "{why}");
                told.set(Some(why));
            }
        })?;
        Ok(Self { env, databases, orders, reads: Arc::new(Semaphore::new(READS_MAX)), fault })
    }

    /// Why nothing can be written, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.get()
    }

    /// Looks how much room there is, and tells it.
    pub(crate) fn look(&self) {
        self.fault.space.look();
        self.fault.tell();
    }

    /// Tells when the last clone is gone, and the thread has ended.
    #[cfg(test)]
    pub(crate) fn closing(&self) -> heed::EnvClosingEvent {
        self.env.clone().prepare_for_closing()
    }

    /// How many transactions were committed.
    #[cfg(test)]
    pub(crate) fn transactions(&self) -> usize {
        self.env.info().last_txn_id
    }

    /// Reads from one state of the index.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Databases, &RoTxn<'_>) -> Result<T, ObjectError> + Send + 'static,
    ) -> Result<T, ObjectError> {
        let place = self.reads.clone().acquire_owned().await.expect("it is never closed");
        let (env, databases) = (self.env.clone(), self.databases);
        let reading = tokio::task::spawn_blocking(move || {
            let _place = place;
            read(&databases, &*env.read_txn().map_err(failed)?)
        });
        reading.await.unwrap_or_else(|panic| Err(ObjectError::Broken(panic.to_string())))
    }

    /// The same on this thread, which may wait for the disk.
    pub(crate) fn read_here<T>(
        &self,
        read: impl FnOnce(&Databases, &RoTxn<'_>) -> Result<T, ObjectError>,
    ) -> Result<T, ObjectError> {
        read(&self.databases, &*self.env.read_txn().map_err(failed)?)
    }

    /// Changes something. When this is ready with `Ok`, the change is durable. A caller who goes away takes nothing back.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Databases, &mut RwTxn<'_>) -> Result<T, ObjectError> + Send + 'static,
    ) -> Result<T, ObjectError> {
        let (told, answer) = oneshot::channel();
        let panics = self.fault.metrics.clone();
        let order: Order = Box::new(move |within: Within<'_, '_>| {
            // What a change that panics has written goes with its own transaction: the others know nothing of it.
            let carried_out = |(databases, txn)| {
                catch_unwind(AssertUnwindSafe(|| change(databases, txn))).map_err(|panic| {
                    panics.panics.inc();
                    let what = format!("a change of the index panicked: {}", message(&*panic));
                    tracing::error!(target: "proxima_r2", "{what}");
                    ObjectError::Broken(what)
                })
            };
            let changed = within.and_then(carried_out).flatten();
            let keep = changed.is_ok();
            let tell = move |committed: Result<(), ObjectError>| {
                told.send(changed.and_then(|changed| committed.map(|()| changed))).ok();
            };
            (keep, Box::new(tell))
        });
        let ended = || {
            let why = self.fault().unwrap_or_else(|| "who writes the index has ended".to_owned());
            ObjectError::Broken(why)
        };
        self.orders.send(order).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something")
}

/// The thread that writes.
fn write(env: &Env<WithoutTls>, databases: &Databases, mut orders: mpsc::Receiver<Order>, fault: &Fault) {
    let (mut waiting, mut received) = (VecDeque::new(), Vec::with_capacity(BATCH_MAX));
    loop {
        if waiting.is_empty() && orders.blocking_recv_many(&mut received, BATCH_MAX) == 0 {
            return;
        }
        waiting.extend(received.drain(..));
        let mut answers = Vec::with_capacity(waiting.len());
        let committed = carry_out(env, databases, &mut waiting, &mut answers).map_err(|error| match error {
            ObjectError::Broken(text) => meant(fault.space.explain(StoreFault::Broken(text))),
            error => error,
        });
        match &committed {
            Ok(false) => {}
            Ok(true) => fault.set(None),
            Err(error) => {
                tracing::error!(target: "proxima_r2", %error, "changes were not written");
                fault.set(Some(error.to_string()));
            }
        }
        let committed = committed.map(drop);
        answers.into_iter().for_each(|answer| answer(committed.clone()));
    }
}

/// Carries out some of what waits, the first at least, and whether anything was written.
fn carry_out(
    env: &Env<WithoutTls>,
    databases: &Databases,
    waiting: &mut VecDeque<Order>,
    answers: &mut Vec<Answer>,
) -> Result<bool, ObjectError> {
    let began = Instant::now();
    let Some(mut next) = waiting.pop_front() else { return Ok(false) };
    let mut txn = match env.write_txn() {
        Ok(txn) => txn,
        Err(error) => return Err(refuse(next, error, answers)),
    };
    let mut kept = false;
    loop {
        let mut own = match env.nested_write_txn(&mut txn) {
            Ok(own) => own,
            Err(error) => return Err(refuse(next, error, answers)),
        };
        let (keep, answer) = next(Ok((databases, &mut own)));
        answers.push(answer);
        if keep {
            own.commit().map_err(failed)?;
            kept = true;
        } else {
            own.abort();
        }
        if began.elapsed() >= TRANSACTION_MAX {
            break;
        }
        match waiting.pop_front() {
            Some(order) => next = order,
            None => break,
        }
    }
    // What only was refused needs no disk.
    if kept {
        txn.commit().map_err(failed)?;
    }
    Ok(kept)
}

/// Answers a change that cannot be carried out.
fn refuse(order: Order, error: heed::Error, answers: &mut Vec<Answer>) -> ObjectError {
    let error = failed(error);
    answers.push(order(Err(error.clone())).1);
    error
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::BoxFuture};
    use prometheus_client::registry::Registry;

    use super::*;

    fn open(folder: &tempfile::TempDir, octets_max: usize) -> Index {
        Index::open(folder.path(), octets_max, Space::endless(), Metrics::register(&mut Registry::default()))
            .unwrap()
    }

    fn put(
        index: &Index,
        key: u32,
        then: impl FnOnce() + Send + 'static,
    ) -> BoxFuture<'static, Result<(), ObjectError>> {
        let index = index.clone();
        let change = move |databases: &Databases, txn: &mut RwTxn<'_>| {
            databases.objects.put(txn, &key.to_be_bytes(), b"x").map_err(failed)?;
            then();
            Ok(())
        };
        async move { index.change(change).await }.boxed()
    }

    async fn count(index: &Index) -> u64 {
        index.read(|databases, txn| databases.objects.len(txn).map_err(failed)).await.unwrap()
    }

    #[tokio::test]
    async fn a_change_that_panics_is_told_so_and_leaves_nothing_and_others_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let index = open(&folder, 16 << 20);
        let (before, panicked, after) = tokio::join!(
            put(&index, 1, || ()),
            put(&index, 2, || panic!("on purpose")),
            put(&index, 3, || ())
        );
        assert_eq!((before, after), (Ok(()), Ok(())));
        let told = panicked.unwrap_err().to_string();
        assert!(told.contains("panicked: on purpose"), "{told}");
        assert_eq!((count(&index).await, index.fault.metrics.panics.get()), (2, 1));
        assert_eq!(index.fault(), None);
    }

    #[tokio::test]
    async fn when_the_thread_has_ended_every_later_change_and_health_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let index = open(&folder, 16 << 20);
        let fatal: Order = Box::new(|_: Within<'_, '_>| (false, Box::new(|_| panic!("on purpose"))));
        index.orders.send(fatal).await.unwrap();
        index.orders.closed().await;
        // The thread says why before it has ended, and after it takes nothing more.
        while index.fault().is_none() {
            tokio::task::yield_now().await;
        }
        for key in 0..2 {
            let told = put(&index, key, || ()).await.unwrap_err().to_string();
            assert!(told.contains("has panicked") && told.contains("on purpose"), "{told}");
        }
        assert_eq!(index.fault.metrics.unwritable.get(), 1);
        assert_eq!(count(&index).await, 0, "reading goes on");
    }

    #[tokio::test]
    async fn a_transaction_ends_when_its_time_is_over_and_what_waits_has_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let index = open(&folder, 16 << 20);
        let before = index.transactions();
        // While the first is carried out, all others come to wait.
        let (go, gone) = std::sync::mpsc::channel();
        let slow = || {
            let began = Instant::now();
            while began.elapsed() < TRANSACTION_MAX {
                std::hint::spin_loop();
            }
        };
        let first = tokio::spawn(put(&index, 0, move || {
            gone.recv().unwrap();
            slow();
        }));
        let others: Vec<_> = (1..=3).map(|key| tokio::spawn(put(&index, key, slow))).collect();
        while index.orders.capacity() > CHANGES_MAX - 3 {
            tokio::task::yield_now().await;
        }
        go.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(()));
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(()));
        }
        assert_eq!((count(&index).await, index.transactions() - before), (4, 4));
    }

    #[tokio::test]
    async fn what_is_refused_leaves_nothing_and_what_is_kept_is_there_when_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let index = open(&folder, 16 << 20);
        let put = |key: &'static [u8], keep: bool| {
            let index = index.clone();
            async move {
                index
                    .change(move |databases, txn| {
                        databases.objects.put(txn, key, b"x").map_err(failed)?;
                        if keep { Ok(()) } else { Err(ObjectError::PreconditionFailed) }
                    })
                    .await
            }
        };
        let (kept, refused, also) = tokio::join!(put(b"a", true), put(b"b", false), put(b"c", true));
        assert_eq!((kept, refused, also), (Ok(()), Err(ObjectError::PreconditionFailed), Ok(())));
        let keys = |index: Index| async move {
            let read = |databases: &Databases, txn: &RoTxn<'_>| {
                let all = databases.objects.iter(txn).map_err(failed)?;
                Ok(all.map(|found| found.unwrap().0.to_vec()).collect::<Vec<_>>())
            };
            index.read(read).await.unwrap()
        };
        assert_eq!(keys(index).await, [b"a", b"c"]);
    }

    #[tokio::test]
    async fn a_full_index_says_so_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let index = open(&folder, 1 << 20);
        let put = |at: u32, octets: usize| {
            index.change(move |databases, txn| {
                let value = vec![7; octets];
                databases.objects.put(txn, &at.to_be_bytes(), &value).map_err(failed)
            })
        };
        assert!(matches!(put(0, 2 << 20).await, Err(ObjectError::Full(_))));
        assert_eq!(put(1, 100).await, Ok(()));
    }
}

//! The index: one LMDB environment, one thread that writes.
//!
//! Whoever changes something hands the thread a closure; as many as wait are carried out in one transaction, each in one of its
//! own within it, so that what is refused leaves nothing. One `fsync` makes all of them durable, and only then are they
//! answered. In a graceful restart two processes have it open, which LMDB's locks allow.

use std::{fs, path::Path, sync::Arc};

use heed::{
    CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls, types::Bytes,
};
use proxima_pipeline::ObjectError;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Changes that wait for the thread: some seconds' work of a disk. Who comes then waits before it.
const CHANGES_MAX: usize = 1_024;
/// Changes of one transaction: what they take of memory until it is durable has a bound.
const BATCH_MAX: usize = 128;
/// Reads at a time: each may hold a thread that waits for the disk.
const READS_MAX: usize = 64;
/// Readers of all processes: reads, the scrubber and the writer of two processes, and some.
const READERS_MAX: u32 = 512;

type Db = Database<'static, Bytes, Bytes>;

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
}

/// How many there are.
const DATABASES: u32 = 8;

/// Tells who waits for a change, once it is known whether the transaction is durable.
type Answer = Box<dyn FnOnce(Result<(), ObjectError>) + Send>;
/// Carries a change out. What it wrote is kept if the first is `true`.
type Order = Box<dyn FnOnce(&Databases, &mut RwTxn<'_>) -> (bool, Answer) + Send>;

/// The index.
#[derive(Clone)]
pub(crate) struct Index {
    env: Env<WithoutTls>,
    databases: Databases,
    orders: mpsc::Sender<Order>,
    reads: Arc<Semaphore>,
}

/// What LMDB says, as what it means for who asked.
pub(crate) fn failed(error: heed::Error) -> ObjectError {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match &error {
        heed::Error::Mdb(MdbError::MapFull | MdbError::TxnFull) => ObjectError::Full(error.to_string()),
        heed::Error::Mdb(MdbError::ReadersFull) => ObjectError::Busy,
        heed::Error::Io(io) if matches!(io.kind(), StorageFull | QuotaExceeded | FileTooLarge) => {
            ObjectError::Full(error.to_string())
        }
        _ => ObjectError::Broken(error.to_string()),
    }
}

impl Index {
    /// Opens the index in this folder, or makes one, and starts its thread, which ends with the last clone.
    pub(crate) fn open(folder: &Path, octets_max: usize) -> Result<Self, heed::Error> {
        fs::create_dir_all(folder)?;
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(octets_max).max_dbs(DATABASES).max_readers(READERS_MAX);
        // SAFETY: NO_READ_AHEAD only advises the kernel; it is not among the flags that give up durability or locks.
        unsafe { options.flags(EnvFlags::NO_READ_AHEAD) };
        // SAFETY: the folder is the node's own and local, and only this module opens it, with LMDB's locks on; nothing else
        // writes the file.
        let env = unsafe { options.open(folder) }?;
        let info = env.info();
        let needed =
            (info.last_page_number as u64 + 1).saturating_mul(env.unnamed_database_stat().page_size.into());
        // Missing pages would kill the process when they are touched. A new file has its first two.
        if info.last_txn_id > 0 && env.real_disk_size()? < needed {
            let what = "the index of objects is shorter than its pages: restore it, or remove the folder to begin anew";
            return Err(heed::Error::Io(std::io::Error::other(what)));
        }
        env.clear_stale_readers()?;
        let txn = env.write_txn()?;
        let opened = env.create_databases_and_commit(txn, |opener, txn| {
            let mut open = |name| opener.create_database::<Bytes, Bytes>(txn, Some(name));
            let databases = [
                open("objects")?,
                open("uploads")?,
                open("parts")?,
                open("completed")?,
                open("blobs")?,
                open("garbage")?,
                open("contents")?,
                open("closed")?,
            ];
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(databases))
        })?;
        let [objects, uploads, parts, completed, blobs, garbage, contents, closed] =
            opened.commit().expect("the closure above only commits");
        let databases = Databases { objects, uploads, parts, completed, blobs, garbage, contents, closed };
        let (orders, received) = mpsc::channel(CHANGES_MAX);
        let of_thread = env.clone();
        std::thread::Builder::new()
            .name("r2-index".to_owned())
            .spawn(move || write(&of_thread, &databases, received))?;
        Ok(Self { env, databases, orders, reads: Arc::new(Semaphore::new(READS_MAX)) })
    }

    /// Tells when the last clone is gone, and the thread has ended.
    #[cfg(test)]
    pub(crate) fn closing(&self) -> heed::EnvClosingEvent {
        self.env.clone().prepare_for_closing()
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
        let order: Order = Box::new(move |databases, txn| {
            let changed = change(databases, txn);
            let keep = changed.is_ok();
            let tell = move |committed: Result<(), ObjectError>| {
                told.send(changed.and_then(|changed| committed.map(|()| changed))).ok();
            };
            (keep, Box::new(tell))
        });
        let ended = || ObjectError::Broken("the index is closed".to_owned());
        self.orders.send(order).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// The thread that writes.
fn write(env: &Env<WithoutTls>, databases: &Databases, mut orders: mpsc::Receiver<Order>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while orders.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        let mut answers = Vec::with_capacity(batch.len());
        let committed = carry_out(env, databases, batch.drain(..), &mut answers);
        if let Err(error) = &committed {
            tracing::error!(target: "proxima_r2", %error, "changes were not written");
        }
        answers.into_iter().for_each(|answer| answer(committed.clone()));
    }
}

fn carry_out(
    env: &Env<WithoutTls>,
    databases: &Databases,
    batch: impl Iterator<Item = Order>,
    answers: &mut Vec<Answer>,
) -> Result<(), ObjectError> {
    let mut txn = env.write_txn().map_err(failed)?;
    let mut kept = false;
    for order in batch {
        let mut own = env.nested_write_txn(&mut txn).map_err(failed)?;
        let (keep, answer) = order(databases, &mut own);
        answers.push(answer);
        if keep {
            own.commit().map_err(failed)?;
            kept = true;
        } else {
            own.abort();
        }
    }
    // What only was refused needs no disk.
    if kept { txn.commit().map_err(failed) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_refused_leaves_nothing_and_what_is_kept_is_there_when_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::open(folder.path(), 16 << 20).unwrap();
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
        let index = Index::open(folder.path(), 1 << 20).unwrap();
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

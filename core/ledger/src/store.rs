//! One LMDB environment: the state, the recent entries, and the idempotency keys, always of one and the same place in
//! the log.
//!
//! | database | key | value |
//! |---|---|---|
//! | `state` | a noun's key | revision, CRC-32 over key, revision and value, value |
//! | `log` | sequence number | CRC-32, digest, entry, what its changes replaced |
//! | `seen` | idempotency key | sequence number, time, fingerprint if there was one |
//! | `seen_order` | sequence number | idempotency key |
//! | `counts` | kind | how many nouns of it there are |
//! | `meta` | `head` | the log's id, the last entry's place, time and digest; what is kept of the log |
//! | | `key_check` | a known text, sealed: whether the key for secrets is the right one |

mod values;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use heed::{
    CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls, types::Bytes,
};
use proxima_model::Timestamp;

pub(crate) use self::values::{Record, Seen, Stored};
use crate::{
    Seq,
    codec::{DecodeError, Digest, Reader, Write as _},
    limits::{READERS_MAX, READS_PER_TRIM},
    resident::Mapping,
    room::is_low,
};

pub(crate) type Db = Database<'static, Bytes, Bytes>;
pub(crate) type Txn = RoTxn<'static, WithoutTls>;

/// What keeps a store within bounds; the parts of [`ReplicaOptions`](crate::ReplicaOptions) that it needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) map_octets: usize,
    pub(crate) log_entries_max: u64,
    pub(crate) log_octets_max: u64,
    pub(crate) idempotency_keys_max: u64,
}

/// Why the store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{0}")]
    Corrupt(String),
    #[error("{0}")]
    Full(String),
    #[error("too many readers")]
    Readers,
    #[error("{0}")]
    Io(String),
}

impl From<heed::Error> for StoreError {
    fn from(error: heed::Error) -> Self {
        match &error {
            heed::Error::Mdb(MdbError::MapFull | MdbError::TxnFull) => Self::Full(error.to_string()),
            heed::Error::Mdb(MdbError::ReadersFull) => Self::Readers,
            heed::Error::Mdb(_) | heed::Error::Decoding(_) => Self::Corrupt(error.to_string()),
            heed::Error::Io(source) => source_error(source),
            heed::Error::Encoding(_) | heed::Error::EnvAlreadyOpened => Self::Io(error.to_string()),
        }
    }
}

fn source_error(source: &io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreError::Full(source.to_string())
        }
        _ => StoreError::Io(source.to_string()),
    }
}

impl From<DecodeError> for StoreError {
    fn from(error: DecodeError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

/// The name of a log, drawn at random when it is made: two networks never take each other's entries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LogId(pub(crate) [u8; 16]);

impl LogId {
    /// A new log's.
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// As [`Self::to_string`] wrote it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 16];
        hex::decode_to_slice(text.trim(), &mut id).ok().map(|()| Self(id))
    }
}

impl std::fmt::Display for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogId({self})")
    }
}

/// Which state a store holds. Without one it was never complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) log: LogId,
    /// The last entry applied.
    pub(crate) seq: Seq,
    /// Its time.
    pub(crate) at: Timestamp,
    /// The digest of everything up to it.
    pub(crate) digest: Digest,
    /// The first entry that is still kept; the one after `seq` if none is.
    pub(crate) first: Seq,
    /// Octets of the records kept.
    pub(crate) log_octets: u64,
}

impl Head {
    /// Of a log in which nothing happened yet.
    pub(crate) fn new(log: LogId) -> Self {
        Self {
            log,
            seq: Seq::ZERO,
            at: Timestamp::from_millis(0),
            digest: Digest::default(),
            first: Seq(1),
            log_octets: 0,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.extend_from_slice(&self.log.0);
        out.put_u64(self.seq.0);
        out.extend_from_slice(&self.at.as_millis().to_be_bytes());
        out.extend_from_slice(&self.digest.0);
        out.put_u64(self.first.0);
        out.put_u64(self.log_octets);
        let crc = crc32fast::hash(&out);
        out.put_u32(crc);
        out
    }

    pub(crate) fn decode(octets: &[u8]) -> Result<Self, StoreError> {
        let (body, crc) = octets.split_last_chunk::<4>().ok_or(DecodeError::Short)?;
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return Err(StoreError::Corrupt("the head's checksum is wrong".to_owned()));
        }
        let mut reader = Reader::new(body);
        let head = Self {
            log: LogId(reader.array()?),
            seq: reader.seq()?,
            at: Timestamp::from_millis(i64::from_be_bytes(reader.array()?)),
            digest: Digest(reader.array()?),
            first: reader.seq()?,
            log_octets: reader.u64()?,
        };
        reader.end()?;
        Ok(head)
    }
}

/// An open environment and its databases.
pub(crate) struct Store {
    pub(crate) env: Env<WithoutTls>,
    pub(crate) state: Db,
    pub(crate) log: Db,
    pub(crate) seen: Db,
    pub(crate) seen_order: Db,
    pub(crate) counts: Db,
    pub(crate) meta: Db,
    pub(crate) bounds: Bounds,
    path: PathBuf,
    /// Where its file is mapped.
    mapping: Option<Mapping>,
    /// Read transactions so far.
    reads: AtomicU32,
    /// Whether the folder goes when the last user does.
    obsolete: AtomicBool,
}

pub(crate) const HEAD: &[u8] = b"head";
pub(crate) const KEY_CHECK: &[u8] = b"key_check";
/// Databases of a store.
const DATABASES: u32 = 6;

/// What LMDB calls the file in a store's folder.
const DATA_FILE: &str = "data.mdb";
/// And the one with its locks.
pub(crate) const LOCK_FILE: &str = "lock.mdb";

/// Opens each database by its name, in the order in which [`Store::of`] takes them.
fn each_database<T>(mut open: impl FnMut(&'static str) -> heed::Result<T>) -> heed::Result<[T; 6]> {
    Ok([open("state")?, open("log")?, open("seen")?, open("seen_order")?, open("counts")?, open("meta")?])
}

impl Store {
    /// Opens the store in this folder, or makes one.
    pub(crate) fn open(path: &Path, bounds: Bounds) -> Result<Self, StoreError> {
        fs::create_dir_all(path).map_err(|source| source_error(&source))?;
        let mut options = options(bounds);
        // SAFETY: NO_READ_AHEAD only advises the kernel; it is not among the flags that give up durability or locks.
        unsafe { options.flags(EnvFlags::NO_READ_AHEAD) };
        // SAFETY: the folder is the node's own and local, and only this module opens it, with LMDB's locks on, or after
        // it was seen that nobody has it open; nothing else writes the file.
        let env = unsafe { options.open(path) }?;
        check_length(&env)?;
        env.clear_stale_readers()?;
        let txn = env.write_txn()?;
        let opened = env.create_databases_and_commit(txn, |opener, txn| {
            let databases = each_database(|name| opener.create_database::<Bytes, Bytes>(txn, Some(name)))?;
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(databases))
        })?;
        let databases = opened.commit().expect("the closure above only commits");
        Ok(Self::of(env, databases, path, bounds))
    }

    /// Opens the store in this folder to read it, and changes nothing there, not even its locks; `None` if it was never
    /// completed. Nobody else may have it open.
    pub(crate) fn look(path: &Path, bounds: Bounds) -> Result<Option<Self>, StoreError> {
        let file = path.join(DATA_FILE);
        match fs::metadata(&file) {
            Ok(file) if file.len() > 0 => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(source_error(&error)),
            // LMDB would begin a new one.
            _ => return Ok(None),
        }
        let mut options = options(bounds);
        // SAFETY: without locks, no one else may have it open, which the caller has seen to; nothing is written.
        unsafe { options.flags(EnvFlags::NO_READ_AHEAD | EnvFlags::READ_ONLY | EnvFlags::NO_LOCK) };
        // SAFETY: as in `open`; that nobody else has it open is the caller's promise.
        let env = unsafe { options.open(path) }?;
        check_length(&env)?;
        let txn = env.read_txn()?;
        let opened = env.open_databases_and_commit(txn, |opener, txn| {
            let found = each_database(|name| opener.open_database::<Bytes, Bytes>(txn, Some(name)))?;
            Ok::<_, heed::Error>(match found {
                [Some(state), Some(log), Some(seen), Some(order), Some(counts), Some(meta)] => {
                    CommitOrAbort::Commit([state, log, seen, order, counts, meta])
                }
                _ => CommitOrAbort::Abort(()),
            })
        })?;
        Ok(match opened {
            CommitOrAbort::Commit(databases) => Some(Self::of(env, databases, path, bounds)),
            CommitOrAbort::Abort(()) => None,
        })
    }

    fn of(env: Env<WithoutTls>, databases: [Db; 6], path: &Path, bounds: Bounds) -> Self {
        let [state, log, seen, seen_order, counts, meta] = databases;
        let obsolete = AtomicBool::new(false);
        let mapping = Mapping::of(&path.join(DATA_FILE));
        let (reads, path) = (AtomicU32::new(0), path.to_owned());
        Self { env, state, log, seen, seen_order, counts, meta, bounds, path, mapping, reads, obsolete }
    }

    /// The folder goes when the last user of this store does.
    pub(crate) fn abandon(&self) {
        self.obsolete.store(true, Ordering::Release);
    }

    /// A read transaction that does not borrow the store.
    pub(crate) fn read(&self) -> Result<Txn, StoreError> {
        if self.reads.fetch_add(1, Ordering::Relaxed).is_multiple_of(READS_PER_TRIM) {
            self.trim();
        }
        Ok(self.env.clone().static_read_txn()?)
    }

    /// Keeps what is mapped of it within bounds. Called by whoever reads much in one transaction.
    pub(crate) fn trim(&self) {
        let Some(mapping) = self.mapping else { return };
        let page = self.env.unnamed_database_stat().page_size;
        let used = (self.env.info().last_page_number + 1).saturating_mul(page as usize);
        // SAFETY: the environment is open for as long as this store is, and is never resized.
        unsafe { mapping.trim(page, used) };
    }

    /// A write transaction; waits for another one to end.
    pub(crate) fn write(&self) -> Result<RwTxn<'_>, StoreError> {
        Ok(self.env.write_txn()?)
    }

    /// Which state this is; `None` if it was never complete.
    pub(crate) fn head(&self, txn: &RoTxn<'_, WithoutTls>) -> Result<Option<Head>, StoreError> {
        self.meta.get(txn, HEAD)?.map(Head::decode).transpose()
    }

    /// Checks what can be checked without reading everything: the head, and that the last entry kept is the one that
    /// it names.
    pub(crate) fn check(&self) -> Result<Option<Head>, StoreError> {
        let txn = self.read()?;
        let Some(head) = self.head(&txn)? else { return Ok(None) };
        if head.first <= head.seq {
            let record = self.record(&txn, head.seq)?;
            if record.is_none_or(|record| record.digest != head.digest) {
                return Err(StoreError::Corrupt(format!(
                    "entry {} is not the one that the head names",
                    head.seq
                )));
            }
        }
        Ok(Some(head))
    }

    /// What a failed write means. LMDB reports a write that was cut short by a full disk as an I/O error; the room
    /// that is left tells it from a broken disk.
    pub(crate) fn write_failed(&self, error: StoreError) -> StoreError {
        match (error, self.disk_free()) {
            (StoreError::Io(_), Some(free)) if is_low(Some(free)) => {
                StoreError::Full(format!("the disk is full: {free} octets are free"))
            }
            (error, _) => error,
        }
    }

    /// Octets of its disk that are free, if that can be told.
    pub(crate) fn disk_free(&self) -> Option<u64> {
        let disk = nix::sys::statvfs::statvfs(&self.path).ok()?;
        Some(disk.blocks_available().saturating_mul(disk.fragment_size()))
    }

    /// Octets of the file.
    pub(crate) fn octets(&self) -> u64 {
        self.env.real_disk_size().unwrap_or_default()
    }

    /// How many nouns of a kind there are.
    pub(crate) fn count(&self, txn: &RoTxn<'_, WithoutTls>, kind: &str) -> Result<u64, StoreError> {
        match self.counts.get(txn, kind.as_bytes())? {
            Some(octets) => Ok(Reader::new(octets).u64()?),
            None => Ok(0),
        }
    }

    /// The value at `key`, checked.
    pub(crate) fn value<'t>(
        &self,
        txn: &'t RoTxn<'_, WithoutTls>,
        key: &str,
    ) -> Result<Option<Stored<'t>>, StoreError> {
        self.state.get(txn, key.as_bytes())?.map(|octets| Stored::decode(key.as_bytes(), octets)).transpose()
    }

    /// The record of an entry, checked; `None` if it is not kept.
    pub(crate) fn record<'t>(
        &self,
        txn: &'t RoTxn<'_, WithoutTls>,
        seq: Seq,
    ) -> Result<Option<Record<'t>>, StoreError> {
        self.log.get(txn, &seq.0.to_be_bytes())?.map(|octets| Record::decode(seq, octets)).transpose()
    }

    /// Where an idempotency key was used.
    pub(crate) fn seen(&self, txn: &RoTxn<'_, WithoutTls>, key: &[u8]) -> Result<Option<Seen>, StoreError> {
        self.seen.get(txn, key)?.map(Seen::decode).transpose()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Acquire)
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the folder of an old replica");
        }
    }
}

fn options(bounds: Bounds) -> EnvOpenOptions<WithoutTls> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(bounds.map_octets).max_dbs(DATABASES).max_readers(READERS_MAX);
    options
}

/// A file that is shorter than its pages would kill the process when the missing ones are touched.
fn check_length(env: &Env<WithoutTls>) -> Result<(), StoreError> {
    let info = env.info();
    let page = u64::from(env.unnamed_database_stat().page_size);
    let needed = (info.last_page_number as u64 + 1) * page;
    let length = env.real_disk_size()?;
    // A new environment has its two first pages written, and nothing behind them.
    if info.last_txn_id > 0 && length < needed {
        return Err(StoreError::Corrupt(format!("the file has {length} octets of {needed}")));
    }
    Ok(())
}

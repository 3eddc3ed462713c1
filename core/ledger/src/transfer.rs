//! A whole state on its way from one node to another.

use std::collections::BTreeMap;

use heed::{PutFlags, RwTxn};
use tokio::sync::mpsc;

use crate::{
    ReadError, Replica, Seq,
    codec::Digest,
    limits::{SNAPSHOT_CHUNK_ITEMS_MAX, SNAPSHOT_CHUNK_OCTETS, SNAPSHOT_COMMIT_OCTETS},
    message::{Message, SnapshotItem},
    store::{Head, Seen, Store, StoreError, Stored},
    writer::put_seen,
};

/// Reads the whole state of a replica as messages, from `SnapshotBegin` to `SnapshotEnd`, in encoded form. Blocks; ends
/// early when nobody receives any more. Every value is checked: damage is found here and not sent on.
pub(crate) fn produce(replica: &Replica, frames: &mpsc::Sender<Vec<u8>>) -> Result<(), ReadError> {
    let store = replica.store()?;
    produce_from(&store, frames).map_err(|error| replica.failed(&store, &error))
}

fn produce_from(store: &Store, frames: &mpsc::Sender<Vec<u8>>) -> Result<(), StoreError> {
    let txn = store.read()?;
    let head = store.head(&txn)?.ok_or_else(|| StoreError::Corrupt("the state has no head".to_owned()))?;
    let begin = Message::SnapshotBegin { log: head.log, seq: head.seq, at: head.at, digest: head.digest };
    let mut out = Producer {
        store,
        frames,
        items: Vec::new(),
        octets: 0,
        count: 0,
        checksum: crc32fast::Hasher::new(),
    };
    if frames.blocking_send(begin.encode()).is_err() {
        return Ok(());
    }
    for found in store.state.iter(&txn)? {
        let (key, octets) = found?;
        let stored = Stored::decode(key, octets)?;
        let key =
            std::str::from_utf8(key).map_err(|_| StoreError::Corrupt("a key is not text".to_owned()))?;
        let key = crate::codec::any_key(key);
        let item = SnapshotItem::Value { key, revision: stored.revision, value: stored.value.to_vec() };
        if !out.push(item, stored.value.len()) {
            return Ok(());
        }
    }
    for found in store.seen_order.iter(&txn)? {
        let (_, key) = found?;
        let Some(Seen { seq, at, fingerprint }) = store.seen(&txn, key)? else { continue };
        let key = String::from_utf8_lossy(key).into_owned();
        if !out.push(SnapshotItem::Seen { key, seq, at, fingerprint }, 0) {
            return Ok(());
        }
    }
    out.finish();
    Ok(())
}

struct Producer<'a> {
    store: &'a Store,
    frames: &'a mpsc::Sender<Vec<u8>>,
    items: Vec<SnapshotItem>,
    octets: usize,
    count: u64,
    checksum: crc32fast::Hasher,
}

impl Producer<'_> {
    /// Whether anybody still receives.
    fn push(&mut self, item: SnapshotItem, octets: usize) -> bool {
        self.items.push(item);
        self.octets += octets + 64;
        if self.octets >= SNAPSHOT_CHUNK_OCTETS || self.items.len() >= SNAPSHOT_CHUNK_ITEMS_MAX {
            return self.flush();
        }
        true
    }

    fn flush(&mut self) -> bool {
        if self.items.is_empty() {
            return true;
        }
        let items = std::mem::take(&mut self.items);
        self.count += items.len() as u64;
        self.octets = 0;
        let frame = Message::SnapshotChunk(items).encode();
        self.checksum.update(&frame);
        self.store.trim();
        self.frames.blocking_send(frame).is_ok()
    }

    fn finish(mut self) {
        if self.flush() {
            let end = Message::SnapshotEnd { items: self.count, checksum: self.checksum.finalize() };
            // Nobody receives any more: then nobody needs to know the end.
            let _ = self.frames.blocking_send(end.encode());
        }
    }
}

/// Why a snapshot was not loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("it is not whole: {0}")]
    Broken(&'static str),
    #[error("it is of entry {theirs}, and this node has been at {ours} already")]
    Older { theirs: Seq, ours: Seq },
    #[error("it cannot be stored: {0}")]
    Store(String),
}

impl From<StoreError> for LoadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<heed::Error> for LoadError {
    fn from(error: heed::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// What a snapshot is of.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) head: Head,
}

impl Origin {
    pub(crate) fn new(log: crate::LogId, seq: Seq, at: proxima_model::Timestamp, digest: Digest) -> Self {
        Self { head: Head { log, seq, at, digest, first: seq.next(), log_octets: 0 } }
    }
}

/// Loads a snapshot from its messages into a new store, and puts that in force. Blocks. Until the last message is
/// there and right, nothing of it is seen, and a store that is left behind half loaded is removed.
pub(crate) fn load(
    replica: &Replica,
    origin: Origin,
    mut messages: mpsc::Receiver<Message>,
) -> Result<Head, LoadError> {
    let (store, folder) = replica.new_store()?;
    let filled = fill(&store, &mut messages).and_then(|()| Ok(replica.complete(&store, &origin.head)?));
    if let Err(error) = filled {
        store.abandon();
        return Err(error);
    }
    replica
        .swap_in(store, &folder, origin.head)
        .map_err(|error| LoadError::Store(format!("the new state is not put in force: {error}")))?;
    Ok(origin.head)
}

fn fill(store: &Store, messages: &mut mpsc::Receiver<Message>) -> Result<(), LoadError> {
    let mut counts = BTreeMap::new();
    let mut checksum = crc32fast::Hasher::new();
    let mut loaded = 0;
    let mut octets = 0;
    let mut txn = store.write()?;
    loop {
        match messages.blocking_recv() {
            None => return Err(LoadError::Broken("the upstream went away")),
            Some(message @ Message::SnapshotChunk(_)) => {
                let frame = message.encode();
                checksum.update(&frame);
                octets += frame.len();
                let Message::SnapshotChunk(items) = message else { unreachable!("matched above") };
                for item in items {
                    loaded += 1;
                    put(store, &mut txn, item, &mut counts)?;
                }
                if octets >= SNAPSHOT_COMMIT_OCTETS {
                    txn.commit()?;
                    txn = store.write()?;
                    octets = 0;
                }
            }
            Some(Message::SnapshotEnd { items, checksum: theirs }) => {
                if items != loaded || checksum.finalize() != theirs {
                    return Err(LoadError::Broken("its count or its checksum is wrong"));
                }
                for (kind, count) in counts {
                    store.counts.put(&mut txn, kind.as_bytes(), &u64::to_be_bytes(count))?;
                }
                txn.commit()?;
                return Ok(());
            }
            Some(_) => return Err(LoadError::Broken("something else came amidst it")),
        }
    }
}

fn put(
    store: &Store,
    txn: &mut RwTxn<'_>,
    item: SnapshotItem,
    counts: &mut BTreeMap<String, u64>,
) -> Result<(), LoadError> {
    match item {
        SnapshotItem::Value { key, revision, value } => {
            let key = key.as_str();
            let stored = Stored::encode(key.as_bytes(), revision, &value);
            // Values come in the order of their keys, so that pages are filled one after the other.
            store.state.put_with_flags(txn, PutFlags::APPEND, key.as_bytes(), &stored).map_err(|error| {
                match error {
                    heed::Error::Mdb(heed::MdbError::KeyExist) => {
                        LoadError::Broken("its keys are out of order")
                    }
                    error => error.into(),
                }
            })?;
            let kind = key.split('/').next().unwrap_or_default();
            match counts.get_mut(kind) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(kind.to_owned(), 1);
                }
            }
        }
        SnapshotItem::Seen { key, .. } if key.is_empty() => {
            return Err(LoadError::Broken("an idempotency key is empty"));
        }
        SnapshotItem::Seen { key, seq, at, fingerprint } => {
            put_seen(store, txn, &key, &Seen { seq, at, fingerprint })?;
        }
    }
    Ok(())
}

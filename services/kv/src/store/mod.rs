//! What this server has of keys and values: one LMDB environment.
//!
//! | database | key | value |
//! |---|---|---|
//! | `rows` | a number, of which each write takes the next | what was written (`row.rs`), with short values |
//! | `pieces` | a row's number, a piece's number | a piece of a longer value |
//! | `keys`, `keys_long` | namespace, key (`index.rs`) | the number of its row, if it has a value |
//! | `gone`, `gone_long` | namespace, key | the number of its row, if it was deleted or has run out |
//! | `due` | a time, a row's number | nothing: what is to be done then is seen from the row |
//! | `cursors` | another server's name, and by which list of servers | what was taken over from it already |
//! | `swept` | a namespace that the log did not name | when it was swept |
//! | `meta` | `next`, `clock`, `id` | the next number, the clock of stamps, the name of this store |
//!
//! A key has one row, under the number that its last write took. So `rows` in its order is what others have to be told: who has
//! taken over everything up to a number goes on behind it, and what was overwritten meanwhile is told once (`feed.rs`).
//!
//! Invariants:
//! * **Whole or not at all:** a value's pieces, its row and its index are written by one transaction, which is on the disk when
//!   it returns. Of several transactions of one moment one is made (`commit.rs`).
//! * **The later stamp stays,** in whatever order, and however often, writes come. Hence a deletion is a row, too, and is kept
//!   for [`DELETIONS_KEPT`](sweep::DELETIONS_KEPT).
//! * **Two processes may have it open:** on a graceful restart the next one begins before the former ends. Nothing of what a
//!   transaction decides by is kept in memory, but since when a namespace is absent: each waits by itself before it sweeps.
//!
//! Limits: octets ([`KvConfig::store_bytes_max`](crate::KvConfig)), of which an eighth is for deletions and what LMDB copies; what is
//! left of the disk ([`Space`]), of which half is for deletions of keys that are not here, and all of it for those of keys that
//! are; rows of one transaction of upkeep; readers.

mod commit;
mod feed;
mod index;
mod list;
mod row;
mod sweep;

use std::{collections::HashMap, fs, path::Path, sync::Mutex};

use bytes::{Bytes as Octets, BytesMut};
use heed::{Env, RoTxn, WithoutTls};
use proxima_model::{KvKey, KvNamespaceId, NodeName, Timestamp};
use proxima_pipeline::{KvError, KvValue};
use proxima_store::{Db, Durability, Fault, Space, StoreId, used};

pub(crate) use self::{
    commit::{Job, Lacked},
    feed::{Change, Cursor, Feed, Number},
    list::{PAGE_KEYS_MAX, Part},
};
use self::{index::Index, row::Row};
use crate::{
    room::Room,
    stamp::{AHEAD_MS_MAX, Ahead, Stamp},
};

/// What may be used of the map by values, in sixteenths.
const SIXTEENTHS_FOR_VALUES: usize = 14;
/// What may be used before it is not noted any more that keys were deleted of which nothing is known here: these give no room, and
/// could come for ever. The rest is for all other deletions, which must be possible where nothing else is, and for what LMDB
/// copies of pages that others still read.
const SIXTEENTHS_FOR_NOTES: usize = 15;
/// Rows that are looked at in one go, for a feed or a listing, whoever's they are and whether or not they are told of.
const LOOKED_AT_MAX: usize = 10_000;

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// Nothing more can be kept.
    #[error("{0}")]
    Full(String),
    /// It cannot be read or written.
    #[error("{0}")]
    Broken(String),
    /// What lies there is not what was written.
    #[error("what lies in the store of keys and values is damaged: {0}")]
    Damaged(&'static str),
    /// A write is too far ahead of the clock, or what was written before is.
    #[error(transparent)]
    Ahead(#[from] Ahead),
    /// Too much is under way.
    #[error("too much is under way")]
    Busy,
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full(text) => Self::Full(text),
            Fault::Busy => Self::Busy,
            Fault::Broken(text) => Self::Broken(text),
        }
    }
}

impl From<heed::Error> for StoreError {
    fn from(error: heed::Error) -> Self {
        Fault::from(error).into()
    }
}

impl From<StoreError> for KvError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(text) => Self::Full(text),
            StoreError::Broken(text) => Self::Broken(text),
            StoreError::Damaged(_) | StoreError::Ahead(_) => Self::Broken(error.to_string()),
            StoreError::Busy => Self::Busy,
        }
    }
}

/// What was written once: what a key has, or that it has nothing, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) namespace: KvNamespaceId,
    pub(crate) key: KvKey,
    pub(crate) stamp: Stamp,
    /// None: deleted.
    pub(crate) value: Option<KvValue>,
}

/// An open store.
pub(crate) struct Store {
    env: Env<WithoutTls>,
    rows: Db,
    pieces: Db,
    keys: Index,
    gone: Index,
    due: Db,
    cursors: Db,
    swept: Db,
    meta: Db,
    octets_max: usize,
    space: Space,
    /// How far the stamps of this store's own writes may be ahead of its clock.
    ahead_ms_max: i64,
    me: NodeName,
    id: StoreId,
    /// Since when this process has seen that the log does not name a namespace of which something lies here.
    absent: Mutex<HashMap<KvNamespaceId, Timestamp>>,
}

impl Store {
    /// Opens the store in this folder, or makes one.
    pub(crate) fn open(
        path: &Path,
        octets_max: u64,
        space: Space,
        me: &NodeName,
    ) -> Result<Self, StoreError> {
        fs::create_dir_all(path).map_err(Fault::from)?;
        let octets_max = usize::try_from(octets_max).unwrap_or(usize::MAX);
        let names =
            ["rows", "pieces", "due", "keys", "keys_long", "gone", "gone_long", "cursors", "swept", "meta"];
        let (env, databases) =
            proxima_store::open(path, octets_max, Durability::Kept, names).map_err(Fault::from)?;
        let [rows, pieces, due, keys, keys_long, gone, gone_long, cursors, swept, meta] = databases;
        let keys = Index { heads: keys, tails: keys_long };
        let gone = Index { heads: gone, tails: gone_long };
        let id = StoreId::settle(&env, meta)?.ok_or_else(|| damaged("its name"))?;
        Ok(Self {
            env,
            rows,
            pieces,
            keys,
            gone,
            due,
            cursors,
            swept,
            meta,
            octets_max,
            space,
            ahead_ms_max: AHEAD_MS_MAX,
            me: me.clone(),
            id,
            absent: Mutex::default(),
        })
    }

    /// A store whose writes nobody else has to take: that of a server that is alone. Its own order is all that matters there, and
    /// it goes on where a clock that was far ahead has been set right.
    pub(crate) fn alone(self) -> Self {
        Self { ahead_ms_max: i64::MAX, ..self }
    }

    /// The name of this store, which it got when it was made.
    pub(crate) const fn id(&self) -> StoreId {
        self.id
    }

    /// Octets that are in use.
    pub(crate) fn octets(&self) -> Result<usize, StoreError> {
        Ok(self.used(&*self.env.read_txn()?)?)
    }

    /// Room on its disk.
    pub(crate) const fn space(&self) -> &Space {
        &self.space
    }

    /// What a transaction means that failed.
    pub(crate) fn explain(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Broken(text) => self.space.explain(Fault::Broken(text)).into(),
            error => error,
        }
    }

    fn used(&self, txn: &RoTxn<'_>) -> heed::Result<usize> {
        let Self { rows, pieces, due, keys, gone, .. } = self;
        let all = [rows, pieces, due, &keys.heads, &keys.tails, &gone.heads, &gone.tails];
        used(txn, all)
    }

    /// What a key has at this time, and the place in memory that it takes.
    pub(crate) fn get(
        &self,
        at: (KvNamespaceId, &KvKey),
        now: Timestamp,
        room: &Room,
    ) -> Result<Option<(KvValue, crate::room::Taken)>, StoreError> {
        let txn = self.env.read_txn()?;
        let Some(number) = self.keys.find(&txn, at)? else { return Ok(None) };
        let octets = self.row_octets(&txn, number)?;
        let row = Row::read(octets)?;
        let Some(about) = row.value.filter(|about| !about.has_run_out(now)) else { return Ok(None) };
        let taken = room.take(about.octets()).ok_or(StoreError::Busy)?;
        let value = KvValue {
            value: self.value_octets(&txn, number, &row)?,
            metadata: about.metadata.map(Into::into),
            expires: about.expires(),
        };
        Ok(Some((value, taken)))
    }

    fn row_octets<'t>(&self, txn: &'t RoTxn<'_>, number: Number) -> Result<&'t [u8], StoreError> {
        self.rows.get(txn, &number.octets())?.ok_or_else(|| damaged("a key without a row"))
    }

    /// The value of a row that has one.
    fn value_octets(&self, txn: &RoTxn<'_>, number: Number, row: &Row<'_>) -> Result<Octets, StoreError> {
        let Some(about) = &row.value else { return Ok(Octets::new()) };
        let length = about.octets();
        if length <= row::SHORT_OCTETS_MAX {
            let whole = row.short.len() == length;
            return if whole {
                Ok(Octets::copy_from_slice(row.short))
            } else {
                Err(damaged("a value's end"))
            };
        }
        let mut value = BytesMut::with_capacity(length);
        for piece in self.pieces.prefix_iter(txn, &number.octets())? {
            value.extend_from_slice(piece?.1);
        }
        if value.len() == length { Ok(value.freeze()) } else { Err(damaged("a value's pieces")) }
    }

    /// A version as it is stored.
    fn version(&self, txn: &RoTxn<'_>, number: Number, row: &Row<'_>) -> Result<Version, StoreError> {
        let value = match &row.value {
            None => None,
            Some(about) => Some(KvValue {
                value: self.value_octets(txn, number, row)?,
                metadata: about.metadata.map(Into::into),
                expires: about.expires(),
            }),
        };
        let key = KvKey::parse(row.key).map_err(|_| damaged("a key"))?;
        Ok(Version { namespace: row.namespace(), key, stamp: row.stamp.clone(), value })
    }
}

/// Reads octets as a row: what fuzz targets call.
pub(crate) fn exercise(octets: &[u8]) {
    row::exercise(octets);
}

const fn damaged(what: &'static str) -> StoreError {
    StoreError::Damaged(what)
}

#[cfg(test)]
mod tests;

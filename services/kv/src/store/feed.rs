//! What this store has taken, in its order: what other servers take over from it.

use heed::RoTxn;
use proxima_model::{KvKey, KvNamespaceId};
use proxima_store::StoreId;
use serde::{Deserialize, Serialize};

use super::{LOOKED_AT_MAX, Store, StoreError, Version, damaged, row::Row};
use crate::{
    room::{Room, Taken},
    stamp::Stamp,
};

/// The place of a row in its store's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Number(pub(crate) u64);

impl Number {
    pub(super) const fn octets(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// What was taken over from another server's store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// Which store.
    pub(crate) store: StoreId,
    /// Up to and with this.
    pub(crate) up_to: Number,
}

impl Cursor {
    pub(super) fn write(&self) -> [u8; 24] {
        let mut octets = [0; 24];
        octets[..16].copy_from_slice(self.store.as_octets());
        octets[16..].copy_from_slice(&self.up_to.octets());
        octets
    }

    fn read(octets: &[u8]) -> Option<Self> {
        let (store, up_to) = octets.split_first_chunk()?;
        Some(Self {
            store: StoreId::from_octets(*store),
            up_to: Number(u64::from_be_bytes(up_to.try_into().ok()?)),
        })
    }
}

/// A row without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) number: Number,
    pub(crate) namespace: [u8; 16],
    pub(crate) key: KvKey,
    pub(crate) stamp: Stamp,
}

/// A part of what was taken since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Feed {
    pub(crate) changes: Vec<Change>,
    /// Up to and with this it is told.
    pub(crate) up_to: Number,
    /// Whether there is more behind it.
    pub(crate) has_more: bool,
}

impl Store {
    /// What was taken since, of the namespaces that are wanted: `max` changes at most.
    pub(crate) fn changes(
        &self,
        since: Number,
        max: usize,
        mut wanted: impl FnMut(KvNamespaceId) -> bool,
    ) -> Result<Feed, StoreError> {
        let txn = self.env.read_txn()?;
        let mut feed = Feed { up_to: since, ..Feed::default() };
        let begin = since.octets();
        let range = (std::ops::Bound::Excluded(&begin[..]), std::ops::Bound::Unbounded);
        for (looked_at, found) in self.rows.range(&txn, &range)?.enumerate() {
            if feed.changes.len() >= max || looked_at >= LOOKED_AT_MAX {
                feed.has_more = true;
                break;
            }
            let (number, row) = found?;
            let number = Number(u64::from_be_bytes(number.try_into().map_err(|_| damaged("a number"))?));
            let row = Row::read(row)?;
            if wanted(row.namespace()) {
                let key = KvKey::parse(row.key).map_err(|_| damaged("a key"))?;
                feed.changes.push(Change { number, namespace: row.namespace, key, stamp: row.stamp });
            }
            feed.up_to = number;
        }
        Ok(feed)
    }

    /// Which of another store's changes are later than what is here.
    pub(crate) fn missing(&self, changes: &[Change]) -> Result<Vec<Number>, StoreError> {
        let txn = self.env.read_txn()?;
        let mut missing = Vec::new();
        for change in changes {
            let namespace = KvNamespaceId::from_bytes(change.namespace);
            if self.stamp(&txn, namespace, &change.key)?.is_none_or(|stamp| stamp < change.stamp) {
                missing.push(change.number);
            }
        }
        Ok(missing)
    }

    fn stamp(
        &self,
        txn: &RoTxn<'_>,
        namespace: KvNamespaceId,
        key: &KvKey,
    ) -> Result<Option<Stamp>, StoreError> {
        for index in [&self.keys, &self.gone] {
            if let Some(number) = index.find(txn, (namespace, key))? {
                return Ok(Some(Row::read(self.row_octets(txn, number)?)?.stamp));
            }
        }
        Ok(None)
    }

    /// The rows of these numbers, how many of the numbers were done, and the room that the values take: as many as have
    /// `octets_max` octets and find room, but one at least. What was overwritten meanwhile is left out: it comes under its new
    /// number. So are those with a value of more octets than `value_octets_max`.
    pub(crate) fn versions(
        &self,
        numbers: &[Number],
        [octets_max, value_octets_max]: [usize; 2],
        room: &Room,
    ) -> Result<(Vec<Version>, usize, Vec<Taken>), StoreError> {
        let txn = self.env.read_txn()?;
        let (mut versions, mut left, mut taken) = (Vec::new(), octets_max, Vec::new());
        for (done, number) in numbers.iter().enumerate() {
            let Some(row) = self.rows.get(&txn, &number.octets())? else { continue };
            let row = Row::read(row)?;
            let octets = row.value.map_or(0, |about| about.octets());
            if octets > value_octets_max {
                continue;
            }
            let within = left.checked_sub(octets);
            match room.take(octets).filter(|_| done == 0 || within.is_some()) {
                Some(part) => taken.push(part),
                None if done == 0 => return Err(StoreError::Busy),
                None => return Ok((versions, done, taken)),
            }
            left = within.unwrap_or(0);
            versions.push(self.version(&txn, *number, &row)?);
        }
        Ok((versions, numbers.len(), taken))
    }

    /// What was taken over from a server.
    pub(crate) fn cursor(&self, server: &str) -> Result<Cursor, StoreError> {
        self.cursor_in(&*self.env.read_txn()?, server)
    }

    pub(super) fn cursor_in(&self, txn: &RoTxn<'_>, server: &str) -> Result<Cursor, StoreError> {
        let found = self.cursors.get(txn, server.as_bytes())?;
        Ok(found.and_then(Cursor::read).unwrap_or_default())
    }
}

//! An immutable view of the state.

use std::{fmt::Display, sync::Arc};

use proxima_model::{Entity, Key, Kind, Zone, ZoneId, ZoneIndex};

use crate::{
    ReadError, Replica, Seq,
    store::{Store, StoreError, Stored, Txn},
};

/// The state at one place in the log, unchanged for as long as this is held. An LMDB read transaction: hold it
/// shortly, for what is changed meanwhile takes new room on the disk. `Send`, not `Sync`.
pub struct Snapshot {
    replica: Replica,
    store: Arc<Store>,
    txn: Txn,
    seq: Seq,
}

impl Snapshot {
    pub(crate) fn new(replica: Replica, store: Arc<Store>) -> Result<Self, ReadError> {
        let read = || -> Result<Option<(Txn, Seq)>, StoreError> {
            let txn = store.read()?;
            let head = store.head(&txn)?;
            Ok(head.map(|head| (txn, head.seq)))
        };
        let (txn, seq) =
            read().map_err(|error| replica.failed(&store, &error))?.ok_or(ReadError::NotReady)?;
        // What another process applied to this store, or is not published yet, is seen but not named: whoever goes on
        // from this place is told of it once this process knows its keys.
        let seq = seq.min(replica.seq());
        Ok(Self { replica, store, txn, seq })
    }

    /// Which state this is, at least: an entry that is about to be published may be in it already.
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// The noun of this id.
    pub fn get<E: Entity>(&self, id: &E::Id) -> Result<Option<E>, ReadError> {
        Ok(self.get_with_revision(id)?.map(|(entity, _)| entity))
    }

    /// The noun of this id, and the entry that last put it.
    pub fn get_with_revision<E: Entity>(&self, id: &E::Id) -> Result<Option<(E, Seq)>, ReadError> {
        let key = E::key_of(id);
        match self.value(key.as_str())? {
            Some(stored) => Ok(Some((self.decode(key.as_str(), stored.value)?, stored.revision))),
            None => Ok(None),
        }
    }

    /// The nouns of a kind whose first id parts are these, in the order of their keys; all of the kind for `&[]`.
    pub fn scan<'s, E: Entity>(
        &'s self,
        prefix_parts: &[&dyn Display],
    ) -> impl Iterator<Item = Result<E, ReadError>> + use<'s, E> {
        let prefix = Key::prefix(E::KIND, prefix_parts);
        let (found, failed) = match self.store.state.prefix_iter(&self.txn, prefix.as_bytes()) {
            Ok(found) => (Some(found), None),
            Err(error) => (None, Some(Err(self.failed(&error.into())))),
        };
        let decoded = found.into_iter().flatten().map(move |found| {
            let (key, octets) = found.map_err(|error| self.failed(&error.into()))?;
            let stored = Stored::decode(key, octets).map_err(|error| self.failed(&error))?;
            self.decode(&String::from_utf8_lossy(key), stored.value)
        });
        failed.into_iter().chain(decoded)
    }

    /// The entry that last put what lies at `key`; `None` if nothing does.
    pub fn revision(&self, key: &Key) -> Result<Option<Seq>, ReadError> {
        Ok(self.value(key.as_str())?.map(|stored| stored.revision))
    }

    /// The zone that has exactly this name (lower case, no last dot).
    pub fn zone_by_name(&self, name: &str) -> Result<Option<Zone>, ReadError> {
        let mut key = zone_name_key(name);
        match self.zone_at(&mut key, 0)? {
            Some(zone) => self.get(&zone),
            None => Ok(None),
        }
    }

    /// The zone in which a name lies: the one with the longest name that is `name` or that `name` ends in at a label's
    /// border. `name` is in lower case, without a last dot.
    pub fn enclosing_zone(&self, name: &str) -> Result<Option<Zone>, ReadError> {
        match self.enclosing_zone_id(name)? {
            Some(zone) => self.get(&zone),
            None => Ok(None),
        }
    }

    /// As [`Self::enclosing_zone`], without reading the zone.
    pub fn enclosing_zone_id(&self, name: &str) -> Result<Option<ZoneId>, ReadError> {
        if name.len() > proxima_model::limits::NAME_OCTETS_MAX {
            return Ok(None);
        }
        let mut key = zone_name_key(name);
        let mut start = 0;
        // A zone's name has two labels at least.
        while let Some(dot) = name[start..].find('.') {
            if let Some(zone) = self.zone_at(&mut key, start)? {
                return Ok(Some(zone));
            }
            start += dot + 1;
        }
        Ok(None)
    }

    /// Tells the names of all zones.
    pub(crate) fn zone_names(&self, mut tell: impl FnMut(&str)) -> Result<(), ReadError> {
        let failed = |error: heed::Error| self.failed(&error.into());
        for found in self.store.state.prefix_iter(&self.txn, ZONE_NAME_PREFIX).map_err(failed)? {
            let (key, _) = found.map_err(failed)?;
            if let Ok(name) = std::str::from_utf8(&key[ZONE_NAME_PREFIX.len()..]) {
                tell(name);
            }
        }
        Ok(())
    }

    /// The zone that has exactly this name, without reading it.
    pub(crate) fn zone_id_by_name(&self, name: &str) -> Result<Option<ZoneId>, ReadError> {
        self.zone_at(&mut zone_name_key(name), 0)
    }

    /// How many nouns of a kind there are, without reading them.
    pub fn count(&self, kind: Kind) -> Result<u64, ReadError> {
        self.store.count(&self.txn, kind.prefix()).map_err(|error| self.failed(&error))
    }

    /// The zone whose name is the text of `key` from `start` on. `key` is made by [`zone_name_key`]; the prefix is
    /// written over what stands before the name, which later calls with a larger `start` do not need.
    fn zone_at(&self, key: &mut [u8], start: usize) -> Result<Option<ZoneId>, ReadError> {
        key[start..start + ZONE_NAME_PREFIX.len()].copy_from_slice(ZONE_NAME_PREFIX);
        let key = &key[start..];
        let found = self.store.state.get(&self.txn, key).map_err(|error| self.failed(&error.into()))?;
        let Some(octets) = found else { return Ok(None) };
        let stored = Stored::decode(key, octets).map_err(|error| self.failed(&error))?;
        let index: ZoneIndex = self.decode(&String::from_utf8_lossy(key), stored.value)?;
        Ok(Some(index.zone))
    }

    fn value(&self, key: &str) -> Result<Option<Stored<'_>>, ReadError> {
        self.store.value(&self.txn, key).map_err(|error| self.failed(&error))
    }

    fn decode<E: Entity>(&self, key: &str, value: &[u8]) -> Result<E, ReadError> {
        let decoded = if E::KIND.secret() {
            let unsealed = self.replica.sealer().open(key, value);
            let unsealed = unsealed.ok_or_else(|| ReadError::Unseal { key: crate::codec::any_key(key) })?;
            serde_json::from_slice(&unsealed)
        } else {
            serde_json::from_slice(value)
        };
        decoded.map_err(|error| ReadError::Decode {
            key: key.to_owned(),
            kind: E::KIND.prefix(),
            reason: error.to_string(),
        })
    }

    fn failed(&self, error: &StoreError) -> ReadError {
        self.replica.failed(&self.store, error)
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("seq", &self.seq).finish_non_exhaustive()
    }
}

const ZONE_NAME_PREFIX: &[u8] = b"zone_name/";

fn zone_name_key(name: &str) -> Vec<u8> {
    [ZONE_NAME_PREFIX, name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_zone_names_is_the_models() {
        assert_eq!(ZONE_NAME_PREFIX, format!("{}/", Kind::ZoneName.prefix()).as_bytes());
    }
}

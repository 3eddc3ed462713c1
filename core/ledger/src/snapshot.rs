//! An immutable view of the state.

use std::{fmt::Display, ops::Bound, sync::Arc};

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
        self.scan_after(prefix_parts, None)
    }

    /// As [`Self::scan`], but those behind the one of this id, if one is given: to go on where an earlier snapshot left off.
    pub fn scan_after<'s, E: Entity>(
        &'s self,
        prefix_parts: &[&dyn Display],
        after: Option<&E::Id>,
    ) -> impl Iterator<Item = Result<E, ReadError>> + use<'s, E> {
        let (prefix, after) = (Key::prefix(E::KIND, prefix_parts), after.map(E::key_of));
        // What comes behind all that begins so has a greater octet in the place of its last one, the separator.
        let mut end = prefix.clone().into_bytes();
        end.last_mut().into_iter().for_each(|separator| *separator += 1);
        let begin = match &after {
            Some(after) => Bound::Excluded(after.as_str().as_bytes()),
            None => Bound::Included(prefix.as_bytes()),
        };
        let found = self.store.state.range(&self.txn, &(begin, Bound::Excluded(&end[..])));
        let (found, failed) = match found {
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

    /// Whether there are more nouns of a kind than so many whose first id parts are these; reads no more of them than that.
    pub fn has_more_than<E: Entity>(
        &self,
        prefix_parts: &[&dyn Display],
        count: usize,
    ) -> Result<bool, ReadError> {
        let prefix = Key::prefix(E::KIND, prefix_parts);
        let found = self.store.state.prefix_iter(&self.txn, prefix.as_bytes());
        let mut found = found.map_err(|error| self.failed(&error.into()))?;
        Ok(found.nth(count).transpose().map_err(|error| self.failed(&error.into()))?.is_some())
    }

    /// The entry that last put what lies at `key`; `None` if nothing does.
    pub fn revision(&self, key: &Key) -> Result<Option<Seq>, ReadError> {
        Ok(self.value(key.as_str())?.map(|stored| stored.revision))
    }

    /// The zone that has exactly this name (lower case, no last dot).
    pub fn zone_by_name(&self, name: &str) -> Result<Option<Zone>, ReadError> {
        match self.zone_id_by_name(name)? {
            Some(zone) => self.get(&zone),
            None => Ok(None),
        }
    }

    /// The zone in which a name lies: the one with the longest name that is `name` or that `name` ends in at a label's
    /// border. `name` is in lower case, without a last dot.
    pub fn enclosing_zone(&self, name: &str) -> Result<Option<Zone>, ReadError> {
        if name.len() > proxima_model::limits::NAME_OCTETS_MAX {
            return Ok(None);
        }
        for name in zone_candidates(name) {
            if let Some(zone) = self.zone_id_by_name(name)? {
                return self.get(&zone);
            }
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
        let key = [ZONE_NAME_PREFIX, name.as_bytes()].concat();
        let found = self.store.state.get(&self.txn, &key).map_err(|error| self.failed(&error.into()))?;
        let Some(octets) = found else { return Ok(None) };
        let stored = Stored::decode(&key, octets).map_err(|error| self.failed(&error))?;
        let index: ZoneIndex = self.decode(&String::from_utf8_lossy(&key), stored.value)?;
        Ok(Some(index.zone))
    }

    /// How many nouns of a kind there are, without reading them.
    pub fn count(&self, kind: Kind) -> Result<u64, ReadError> {
        self.store.count(&self.txn, kind.prefix()).map_err(|error| self.failed(&error))
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

/// The names that a zone in which `name` lies can have, the longest first: a zone's name has two labels at least.
pub(crate) fn zone_candidates(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, parent)| parent))
        .filter(|name| name.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_zone_names_is_the_models() {
        assert_eq!(ZONE_NAME_PREFIX, format!("{}/", Kind::ZoneName.prefix()).as_bytes());
    }
}

//! Purges of the cache.

use serde::{Deserialize, Serialize};

use crate::{Entity, Key, Kind, PurgeId, Timestamp, ZoneId};

/// What a purge removes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurgeWhat {
    /// Everything of the zone.
    Everything,
    /// These URLs, in all their variants.
    Files(Vec<String>),
}

/// One order to forget, as it travels through the log to every server's cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// Its id.
    pub id: PurgeId,
    /// The zone whose cache it is.
    pub zone: ZoneId,
    /// What to forget.
    pub what: PurgeWhat,
    /// When it was ordered. Old ones are removed from the log's state; a cache that missed them is emptied instead.
    pub at: Timestamp,
}

impl Entity for Purge {
    const KIND: Kind = Kind::Purge;
    type Id = (ZoneId, PurgeId);

    fn key(&self) -> Key {
        Self::key_of(&(self.zone, self.id))
    }

    fn key_of((zone, id): &(ZoneId, PurgeId)) -> Key {
        Key::new(Self::KIND, &[zone, id])
    }
}

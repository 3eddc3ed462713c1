//! Zones.

use serde::{Deserialize, Serialize};

use crate::{AccountId, DnsName, Entity, Key, Kind, Timestamp, ZoneId, ZoneName, ZoneSettings};

/// How far a zone has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ZoneStatus {
    /// Made, but its delegation does not name our servers yet. Its DNS is answered; it is not proxied.
    Pending,
    /// Served.
    Active,
}

/// A domain that somebody put onto Proxima.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Its id.
    pub id: ZoneId,
    /// Whose it is.
    pub account: AccountId,
    /// What it is called.
    pub name: ZoneName,
    /// How far it has come.
    pub status: ZoneStatus,
    /// Whether its owner wants DNS only: nothing is proxied while this holds.
    pub paused: bool,
    /// The name servers to which it is to be delegated.
    pub name_servers: Vec<DnsName>,
    /// Its settings.
    #[serde(default)]
    pub settings: ZoneSettings,
    /// The SOA serial (RFC 1035, 3.3.13): raised with every change of a record.
    pub serial: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it or anything in it last changed.
    pub modified_at: Timestamp,
    /// When it became active.
    pub activated_at: Option<Timestamp>,
}

impl Zone {
    /// Whether proxied names of this zone answer the anycast addresses and requests for them are served.
    pub fn is_proxied(&self) -> bool {
        self.status == ZoneStatus::Active && !self.paused
    }
}

impl Entity for Zone {
    const KIND: Kind = Kind::Zone;
    type Id = ZoneId;

    fn key(&self) -> Key {
        Self::key_of(&self.id)
    }

    fn key_of(id: &ZoneId) -> Key {
        Key::new(Self::KIND, &[id])
    }
}

/// Which zone has a name: what makes names unique, and what a host or query name is looked up in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneIndex {
    /// The name.
    pub name: ZoneName,
    /// The zone that has it.
    pub zone: ZoneId,
}

impl Entity for ZoneIndex {
    const KIND: Kind = Kind::ZoneName;
    type Id = ZoneName;

    fn key(&self) -> Key {
        Self::key_of(&self.name)
    }

    fn key_of(name: &ZoneName) -> Key {
        Key::new(Self::KIND, &[name])
    }
}

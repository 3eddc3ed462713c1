//! Secondary zones: their records come from another server by zone transfers, and are nobody's to change here.
//!
//! A transfer that one append of the log holds is applied by it. A larger one is put beside what is served, record by
//! record, under the next [generation](SecondaryZone::generation), and comes in force by the one append that raises the
//! zone's: so that every server serves the former zone or the new one, whole. Two processes may take a zone at a time, while
//! one takes over from the other: who [stages](SecondaryZone::staging) last wins, and who began from another SOA record than
//! the one that is in force changes nothing.

use serde::{Deserialize, Serialize};

use crate::{
    Entity, Key, Kind, Presigned, PresignedProblem, Record, RecordId, Timestamp, TransferPeerId, ZoneId,
    limits::{TRANSFERRED_NAME_OCTETS, TRANSFERRED_RECORD_OCTETS},
};

/// From whom a zone comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncomingTransfers {
    /// The zone.
    pub zone: ZoneId,
    /// Its primaries, in the order in which they are asked.
    pub peers: Vec<TransferPeerId>,
    /// After how many seconds to look for a newer serial, if that is sooner than the zone's SOA record says.
    pub refresh_seconds: u32,
    /// When its owner last asked for a transfer of everything.
    pub forced_at: Option<Timestamp>,
    /// When they were first put.
    pub created_at: Timestamp,
    /// When they were last put.
    pub modified_at: Timestamp,
}

/// A primary's SOA record, as it is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrimarySoa {
    /// How long others may remember it, in seconds.
    pub ttl: u32,
    /// Its data on the wire.
    #[serde(with = "hex::serde")]
    pub data: Vec<u8>,
}

impl PrimarySoa {
    /// One of its five numbers (RFC 1035, 3.3.13): serial, refresh, retry, expire, minimum.
    fn number(&self, index: usize) -> u32 {
        let at = self.data.len().saturating_sub(20) + index * 4;
        let octets = self.data.get(at..at + 4).and_then(|octets| octets.try_into().ok());
        octets.map_or(0, u32::from_be_bytes)
    }

    /// Its serial.
    pub fn serial(&self) -> u32 {
        self.number(0)
    }

    /// After how many seconds to look whether there is a newer one.
    pub fn refresh(&self) -> u32 {
        self.number(1)
    }

    /// After how many seconds to look again when that failed.
    pub fn retry(&self) -> u32 {
        self.number(2)
    }

    /// After how many seconds without an answer the zone is no longer good.
    pub fn expire(&self) -> u32 {
        self.number(3)
    }
}

/// Why a zone did not come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferFailure {
    /// When that was first so.
    pub at: Timestamp,
    /// In words for the zone's owner.
    pub message: String,
}

/// How a secondary zone is. A zone without one is a primary's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondaryZone {
    /// The zone.
    pub zone: ZoneId,
    /// The SOA record of what is served; none before the first transfer.
    pub soa: Option<PrimarySoa>,
    /// Which of its records are in force.
    pub generation: u32,
    /// Records of the last transfer that nobody can have here, and that are left out.
    pub left_out: u32,
    /// When a primary was last heard, as far as that was noted.
    pub checked_at: Option<Timestamp>,
    /// When it last came.
    pub transferred_at: Option<Timestamp>,
    /// Why it last did not.
    pub failure: Option<TransferFailure>,
    /// Whether no primary was heard for too long.
    pub expired: bool,
    /// The wish of its owner for a transfer of everything that was last fulfilled
    /// ([`forced_at`](IncomingTransfers::forced_at)).
    #[serde(default)]
    pub forced_at: Option<Timestamp>,
    /// Which transfer puts records under the next generation, by a number that it drew: one at a time, and until no record is
    /// there that is not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<u64>,
    /// That it is answered as its primary has signed it, if its owner wants that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presigned: Option<Presigned>,
}

impl SecondaryZone {
    /// Of a zone that has not come yet.
    pub const fn new(zone: ZoneId) -> Self {
        Self {
            zone,
            soa: None,
            generation: 0,
            left_out: 0,
            checked_at: None,
            transferred_at: None,
            failure: None,
            expired: false,
            forced_at: None,
            staging: None,
            presigned: None,
        }
    }

    /// What is wrong with the signatures of its primary, if it is answered with those.
    pub fn signing_problem(&self, now: Timestamp) -> Option<PresignedProblem> {
        let presigned = self.presigned.as_ref()?;
        if self.expired {
            return Some(PresignedProblem::Unserved);
        }
        presigned.problem(self.left_out, now)
    }

    /// Whether it can be served.
    pub const fn is_served(&self) -> bool {
        self.soa.is_some() && !self.expired
    }
}

/// A record that came from a primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferredRecord {
    /// The record.
    #[serde(flatten)]
    pub record: Record,
    /// From which generation of the zone on.
    pub from: u32,
    /// Before which it ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u32>,
    /// Its data on the wire, in base 16, where it is not what is made of the record: of a text that came before records kept
    /// their strings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<String>,
}

impl TransferredRecord {
    /// Its data on the wire, where that is not what is made of the record.
    pub fn wire(&self) -> Option<Vec<u8>> {
        hex::decode(self.wire.as_ref()?).ok()
    }

    /// Whether it is served by a zone of this generation.
    pub fn is_in_force(&self, generation: u32) -> bool {
        self.from <= generation && self.until.is_none_or(|until| generation < until)
    }
}

/// What a record of a zone takes of [`TRANSFERRED_OCTETS_PER_ZONE_MAX`](crate::limits::TRANSFERRED_OCTETS_PER_ZONE_MAX): its
/// data, and every name that exists because its owner does, which is more than it takes when it shares them with others. The
/// owner and the zone are names on the wire.
pub fn transferred_octets(owner: &[u8], zone: &[u8], data_octets: usize) -> usize {
    let mut octets = TRANSFERRED_RECORD_OCTETS + data_octets;
    let mut left = owner.strip_suffix(zone).unwrap_or(owner);
    while let Some((&length, rest)) = left.split_first() {
        octets += TRANSFERRED_NAME_OCTETS + left.len();
        left = rest.get(length.into()..).unwrap_or_default();
    }
    octets
}

/// That a primary says that a zone has changed (RFC 1996).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneNotice {
    /// The zone.
    pub zone: ZoneId,
    /// When a server of the network heard it.
    pub at: Timestamp,
}

impl Entity for IncomingTransfers {
    const KIND: Kind = Kind::TransferIn;
    type Id = ZoneId;

    fn key(&self) -> Key {
        Self::key_of(&self.zone)
    }

    fn key_of(zone: &ZoneId) -> Key {
        Key::new(Self::KIND, &[zone])
    }
}

impl Entity for SecondaryZone {
    const KIND: Kind = Kind::Secondary;
    type Id = ZoneId;

    fn key(&self) -> Key {
        Self::key_of(&self.zone)
    }

    fn key_of(zone: &ZoneId) -> Key {
        Key::new(Self::KIND, &[zone])
    }
}

impl Entity for TransferredRecord {
    const KIND: Kind = Kind::Transferred;
    type Id = (ZoneId, RecordId);

    fn key(&self) -> Key {
        Self::key_of(&(self.record.zone, self.record.id))
    }

    fn key_of((zone, id): &(ZoneId, RecordId)) -> Key {
        Key::new(Self::KIND, &[zone, id])
    }
}

impl Entity for ZoneNotice {
    const KIND: Kind = Kind::ZoneNotice;
    type Id = ZoneId;

    fn key(&self) -> Key {
        Self::key_of(&self.zone)
    }

    fn key_of(zone: &ZoneId) -> Key {
        Key::new(Self::KIND, &[zone])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_counted_with_every_name_between_it_and_the_apex() {
        let (record, name) = (TRANSFERRED_RECORD_OCTETS, TRANSFERRED_NAME_OCTETS);
        let zone = b"\x07example\x03com\x00";
        assert_eq!(transferred_octets(zone, zone, 4), record + 4);
        let owner = [b"\x01a\x02bc", &zone[..]].concat();
        assert_eq!(transferred_octets(&owner, zone, 4), record + 4 + (name + 5) + (name + 3));
        // As many as a name can have.
        let longest = b"\x01a".repeat(121);
        let each = (1..=121).map(|labels| name + 2 * labels).sum::<usize>();
        assert_eq!(transferred_octets(&[&longest[..], zone].concat(), zone, 0), record + each);
    }

    #[test]
    fn a_record_is_in_force_from_its_generation_until_another_takes_its_place() {
        let text = r#"{"id":"01010101010101010101010101010101","zone":"02020202020202020202020202020202",
            "name":"a.example","data":{"type":"A","address":"192.0.2.1"},"ttl":7,"proxied":false,"comment":null,
            "created_at":0,"modified_at":0,"from":2,"until":4}"#;
        let record: TransferredRecord = serde_json::from_str(text).unwrap();
        assert_eq!([1, 2, 3, 4].map(|generation| record.is_in_force(generation)), [false, true, true, false]);
        let without_end = TransferredRecord { until: None, ..record };
        assert!(without_end.is_in_force(9) && !without_end.is_in_force(1));
        let again: TransferredRecord =
            serde_json::from_str(&serde_json::to_string(&without_end).unwrap()).unwrap();
        assert_eq!(again, without_end);
    }
}

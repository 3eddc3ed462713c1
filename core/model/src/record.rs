//! DNS records: what they say ([`RecordData`]), whose they are, and what may stand beside what.

mod check;
mod data;
mod loc;
mod rdata;
mod schema;
mod svcb;
mod text;
mod types;

use serde::{Deserialize, Serialize};

use crate::{DnsName, Entity, Invalid, Key, Kind, RecordId, Timestamp, Ttl, ZoneId, ZoneName, limits};

pub use data::RecordData;
pub use loc::{Angle, Location};
pub use rdata::{FieldValue, Rdata, present};
pub use schema::{Field, FieldKind};
pub use text::{CaaTag, TxtData, quote};
pub use types::{OtherType, RecordType, type_code, type_name};

/// A DNS record of a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: RecordId,
    /// The zone whose it is.
    pub zone: ZoneId,
    /// The name that has it.
    pub name: DnsName,
    /// What it says.
    pub data: RecordData,
    /// How long others may remember it.
    pub ttl: Ttl,
    /// Whether the name answers our anycast addresses, and its traffic comes through us.
    pub proxied: bool,
    /// Whether an alias is answered as the addresses that it leads to, wherever it stands and whatever its zone's settings are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flatten: bool,
    /// What its owner says of it.
    pub comment: Option<String>,
    /// Its owner's tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub modified_at: Timestamp,
}

impl Record {
    /// What holds for one record by itself: within its zone, proxied only if it can be, texts within limits.
    pub fn check(&self, zone: &ZoneName) -> Result<(), Invalid> {
        if !self.name.is_within(zone) {
            return Err(Invalid::new(
                "name",
                format!("{} is outside the zone {zone}", self.name),
                "give a name within the zone",
            ));
        }
        if self.proxied && !self.data.record_type().can_be_proxied() {
            return Err(Invalid::new(
                "proxied",
                format!("a {} record cannot be proxied", self.data.record_type()),
                "proxy A, AAAA and CNAME records only",
            ));
        }
        if self.proxied && !self.can_be_proxied() {
            return Err(Invalid::new(
                "proxied",
                format!("{} says a block of addresses and is no host, so nobody can come to it", self.name),
                "proxy names of hosts only, and give \"proxied\": false here",
            ));
        }
        if self.flatten && self.data.record_type() != RecordType::Cname {
            return Err(Invalid::new(
                "settings.flatten_cname",
                format!("a {} record leads to no other name", self.data.record_type()),
                "flatten CNAME records only",
            ));
        }
        if matches!(&self.data, RecordData::Cname { target } if *target == self.name) {
            return Err(Invalid::new("content", "the alias points to itself", "give another name"));
        }
        self.check_place(zone)?;
        let texts = self.comment.iter().chain(&self.tags);
        if self.tags.len() > limits::RECORD_TAGS_MAX
            || texts.into_iter().any(|text| text.chars().count() > limits::TEXT_CHARS_MAX)
        {
            return Err(Invalid::new(
                "comment",
                "the comment or tags are too long",
                "give at most 500 characters and 20 tags",
            ));
        }
        Ok(())
    }

    /// Whether it can be proxied: it says where a host is.
    pub fn can_be_proxied(&self) -> bool {
        self.data.record_type().can_be_proxied() && self.name.is_of_host()
    }

    /// Where in a zone records of its type can stand.
    fn check_place(&self, zone: &ZoneName) -> Result<(), Invalid> {
        let at_apex = self.name.as_str() == zone.as_str();
        match self.data.record_type() {
            RecordType::Other(OtherType::DS) if at_apex || self.name.is_wildcard() => Err(Invalid::new(
                "name",
                "a DS record says how a delegated name is signed, and this one is not delegated from here",
                "give the zone's own DS record to its registrar, and others the name that is delegated",
            )),
            // RFC 4592, 4.2: what it would delegate is undefined.
            RecordType::Ns if self.name.is_wildcard() => Err(Invalid::new(
                "name",
                format!(
                    "an NS record delegates a name, and {} stands for names that are not there",
                    self.name
                ),
                "give the name that is delegated, once for each",
            )),
            RecordType::Other(OtherType::DNSKEY) if !at_apex => Err(Invalid::new(
                "name",
                format!("a DNSKEY record says with what a zone is signed, and {} is not one", self.name),
                "give it the zone's own name",
            )),
            // RFC 7344, 4.1.
            RecordType::Other(OtherType::CDS | OtherType::CDNSKEY) if !at_apex => Err(Invalid::new(
                "name",
                format!("its parent is asked to name a zone's key, and {} is not a zone", self.name),
                "give it the zone's own name",
            )),
            _ => Ok(()),
        }
    }
}

/// Why `candidate` cannot stand beside `other` in `zone`, if it cannot: the same record twice, an alias beside anything
/// (RFC 1034, 3.6.2), or an alias of the names below beside a second one or a delegation (RFC 6672, 2.4). An alias that is
/// flattened, at the apex or because it is proxied, is not an alias on the wire: it clashes only with what also says where the
/// host is.
pub fn conflict(candidate: &Record, other: &Record, zone: &ZoneName) -> Option<Invalid> {
    if candidate.id == other.id || candidate.name != other.name {
        return None;
    }
    let (ours, theirs) = (candidate.data.record_type(), other.data.record_type());
    if candidate.data == other.data {
        return Some(Invalid::new(
            "content",
            "an identical record already exists",
            "change the record that exists",
        ));
    }
    let dname = RecordType::Other(OtherType::DNAME);
    let is_apex = candidate.name.as_str() == zone.as_str();
    let excludes = |one, other| one == dname && (other == dname || other == RecordType::Ns && !is_apex);
    if excludes(ours, theirs) || excludes(theirs, ours) {
        return Some(beside(candidate, other));
    }
    let alias =
        [candidate, other].into_iter().find(|record| record.data.record_type() == RecordType::Cname)?;
    let flattened = alias.proxied || is_apex;
    if flattened && !(ours.can_be_proxied() && theirs.can_be_proxied()) {
        return None;
    }
    Some(beside(candidate, other))
}

fn beside(candidate: &Record, other: &Record) -> Invalid {
    let (ours, theirs) = (candidate.data.record_type(), other.data.record_type());
    Invalid::new(
        "name",
        format!("{} has a {theirs} record, beside which a {ours} record cannot stand", other.name),
        "delete the other record first",
    )
}

impl Entity for Record {
    const KIND: Kind = Kind::Record;
    type Id = (ZoneId, RecordId);

    fn key(&self) -> Key {
        Self::key_of(&(self.zone, self.id))
    }

    fn key_of((zone, id): &(ZoneId, RecordId)) -> Key {
        Key::new(Self::KIND, &[zone, id])
    }
}

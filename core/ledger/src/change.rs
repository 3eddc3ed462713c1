//! Changes, what they ask for, and the log's entries.

use std::{collections::BTreeSet, fmt};

use proxima_model::{Entity, Key, Kind, Timestamp, ZoneId};
use serde::{Deserialize, Serialize};

/// A place in the log: the first entry is 1, 0 is before everything. Also the revision of a value: the entry that
/// last put it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before every entry.
    pub const ZERO: Self = Self(0);

    /// The place after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One change of one value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// `key` has this value from now on.
    Put {
        /// Where.
        key: Key,
        /// The noun as JSON, sealed if its kind is secret.
        value: Vec<u8>,
    },
    /// `key` has no value from now on.
    Delete {
        /// Where.
        key: Key,
    },
}

impl Change {
    /// Where the change is.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// What the change counts toward [`APPEND_OCTETS_MAX`](crate::limits::APPEND_OCTETS_MAX).
    pub fn octets(&self) -> usize {
        match self {
            Self::Put { key, value } => key.as_str().len() + value.len(),
            Self::Delete { key } => key.as_str().len(),
        }
    }

    /// The removal of the noun of this id.
    pub fn delete<E: Entity>(id: &E::Id) -> Self {
        Self::Delete { key: E::key_of(id) }
    }
}

/// Values are never shown: they may be secrets, and are large.
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value } => write!(f, "Put({key}, {} octets)", value.len()),
            Self::Delete { key } => write!(f, "Delete({key})"),
        }
    }
}

/// What must hold at the log for an append to be taken: how a writer says which state it decided upon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precondition {
    /// Nothing lies there (a name that must be unique).
    Absent(Key),
    /// Something lies there (the zone in which a record is made).
    Present(Key),
    /// What lies there was last put by this entry (read, decide, write).
    Revision(Key, Seq),
}

impl Precondition {
    /// Where it looks.
    pub fn key(&self) -> &Key {
        match self {
            Self::Absent(key) | Self::Present(key) | Self::Revision(key, _) => key,
        }
    }
}

/// A writer's name for one append, so that a retry after a lost answer is not a second change. Chosen at random by
/// the writer, or given by the API's client in `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IdempotencyKey(pub String);

/// What a writer was asked for, as SHA-256: tells a repetition of an append from another one under the same key. Not
/// taken over the changes themselves, since deciding anew about the same request may come to others (times, drawn
/// secrets).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..8]))
    }
}

/// Changes that are made together or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// The changes, at most [`crate::CHANGES_PER_APPEND_MAX`].
    pub changes: Vec<Change>,
    /// What must hold for them.
    pub preconditions: Vec<Precondition>,
    /// The writer's name for them.
    pub idempotency_key: IdempotencyKey,
    /// What was asked for under this key; without it, whatever comes under the key is taken for a repetition.
    #[serde(default)]
    pub fingerprint: Option<Fingerprint>,
    /// Who makes them: `token/ID` or `node/NAME`; kept in the log for the audit.
    pub author: String,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place.
    pub seq: Seq,
    /// When the log took it, by the log's clock; never earlier than the entry before.
    pub at: Timestamp,
    /// What was appended.
    pub append: Append,
}

/// What changed between two states of the replica: what a service looks at to know what to compile anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSet {
    /// After this state.
    pub from: Seq,
    /// Up to and with this one.
    pub to: Seq,
    /// The keys that were put or deleted; `None` means that anything may have changed (first start, snapshot).
    pub keys: Option<BTreeSet<Key>>,
}

impl ChangeSet {
    /// Anything may have changed.
    pub const fn everything(to: Seq) -> Self {
        Self { from: Seq::ZERO, to, keys: None }
    }

    /// Whether anything may have changed.
    pub const fn is_everything(&self) -> bool {
        self.keys.is_none()
    }

    /// Whether a noun of this kind may have changed.
    pub fn touches(&self, kind: Kind) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.iter().any(|key| key.kind() == Some(kind)))
    }

    /// The changed keys of this kind; `None` if anything may have changed.
    pub fn of_kind(&self, kind: Kind) -> Option<impl Iterator<Item = &Key>> {
        self.keys.as_ref().map(|keys| keys.iter().filter(move |key| key.kind() == Some(kind)))
    }

    /// The zones of which something changed that is made of them; `None` if anything may have changed. What others say of a
    /// zone ([`Kind::ZoneNotice`], [`Kind::TransferNotices`]) changes nothing of it: anybody who may say it could otherwise
    /// have every server compile the zone anew. Records that come by a transfer ([`Kind::Transferred`]) lie ready, and come into
    /// force, by their numbers, together with the zone's [`Kind::Secondary`].
    pub fn zones(&self) -> Option<BTreeSet<ZoneId>> {
        self.zones_with(&[
            Kind::Zone,
            Kind::Record,
            Kind::Ruleset,
            Kind::Certificate,
            Kind::ClientAuthentication,
            Kind::AcmeOrder,
            Kind::Dnssec,
            Kind::TransferOut,
            Kind::TransferIn,
            Kind::Secondary,
            Kind::Purge,
        ])
    }

    /// The zones of which something of these kinds changed, whose keys begin with the zone; `None` if anything may have changed.
    pub fn zones_with(&self, kinds: &[Kind]) -> Option<BTreeSet<ZoneId>> {
        let is_of_them = |key: &&Key| key.kind().is_some_and(|kind| kinds.contains(&kind));
        self.keys.as_ref().map(|keys| keys.iter().filter(is_of_them).filter_map(Key::first_part).collect())
    }
}

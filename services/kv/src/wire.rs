//! What servers ask each other for, as octets: pure.
//!
//! ```text
//!   path /1       octets of the head (4, big-endian) │ head (postcard) │ the values that it speaks of, one behind the other
//! ```
//!
//! A head is a variant of [`Question`] or [`Answer`]. A later version may append fields to one, which are not read here, and
//! variants, which are refused as not understood: who asks then goes on as if that server were away, or asks as former versions
//! did. While a network is upgraded its servers run two versions: what one of them has said stays understood, under its number
//! and in its order.
//!
//! Limits: octets of a body ([`BODY_OCTETS_MAX`]), items in it ([`ITEMS_MAX`]), servers of a list ([`SERVERS_MAX`]), and those of
//! keys, values and metadata.

use bytes::Bytes;
use proxima_model::{KvKey, KvNamespaceId, NodeName, PopCode, RegionName, Timestamp, limits};
use proxima_pipeline::{KvError, KvListed, KvListing, KvPage, KvValue, ServerAbout};
use proxima_store::StoreId;
use serde::{Deserialize, Serialize};

use crate::{
    stamp::Stamp,
    store::{Change, Feed, Number, StoreError, Version},
};

/// The path of this version.
pub(crate) const PATH: &str = "/1";
/// Writes, changes or keys of one message.
pub(crate) const ITEMS_MAX: usize = 1_000;
/// Servers of one list: as many as `[[tiers.servers]]` takes.
pub(crate) const SERVERS_MAX: usize = 4_096;
/// Octets of all values of one message: what the largest has.
pub(crate) const VALUES_OCTETS_MAX: usize = limits::KV_VALUE_OCTETS_MAX;
/// Octets of what is said of the items: the longest keys and metadata, and some for the rest.
const HEAD_OCTETS_MAX: usize = ITEMS_MAX * (limits::KV_KEY_OCTETS_MAX + limits::KV_METADATA_OCTETS_MAX + 512);
/// Octets of a message.
pub(crate) const BODY_OCTETS_MAX: usize = VALUES_OCTETS_MAX + HEAD_OCTETS_MAX + 4;

/// What is no message of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not understood")]
pub(crate) struct Malformed;

/// What one server asks of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// What a key has: from the store that is asked; or, for who is near, also from its cache, if that is no older than so many
    /// milliseconds.
    Read { namespace: KvNamespaceId, key: KvKey, near_ms: Option<u64> },
    /// Writes of clients, to the home.
    Write { namespace: KvNamespaceId, writes: Vec<(KvKey, Option<KvValue>)> },
    /// Keys.
    List { namespace: KvNamespaceId, asked: KvListing },
    /// What the other replica has written.
    Merge(Vec<Version>),
    /// What was taken since a number of that store, of the namespaces that the asker has as the server that is asked sees it. What
    /// version 1 asked: it is answered, and asked of servers that do not know [`Self::ChangesAmong`].
    Changes { store: StoreId, since: Number },
    /// The rows of these numbers.
    Versions { store: StoreId, numbers: Vec<Number> },
    /// Caches are to forget these keys.
    Forget(Vec<(KvNamespaceId, KvKey)>),
    /// There is something to take over.
    Nudge,
    /// What was taken since a number of that store, of the namespaces that the asker has among these servers.
    ChangesAmong { store: StoreId, since: Number, among: Among },
    /// Those of these rows that have a value of so many octets at the most, or none.
    VersionsUpTo { store: StoreId, numbers: Vec<Number>, value_octets_max: u32 },
}

/// The list of servers by which the asker knows what it has. While a change of the list is rolled out the two differ: what one
/// leaves out by its own list, the other would take for told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Among {
    /// That of this digest, if both have it.
    Digest(u64),
    /// These.
    Servers(Vec<ServerAbout>),
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// What the key has, and for how many milliseconds that has been known.
    Found { value: Option<KvValue>, age_ms: u64 },
    /// It is done.
    Done,
    /// Keys.
    Page(KvPage),
    /// What was taken by this store; from its beginning, if it is another one than was asked for.
    Feed(StoreId, Feed),
    /// Rows, and how many of the numbers were done.
    Versions(Vec<Version>, usize),
    /// It is not done.
    Refused(Refusal),
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    Busy,
    Full(String),
    Broken(String),
    /// The server does not have the namespace, or not what it missed while it was away.
    NotHere,
    /// No namespace of this id is known there.
    Unknown,
    NotUnderstood,
    /// The server has another list of servers than that of the digest.
    OtherServers,
    /// A write is too far ahead of the server's clock: one of both is wrong.
    Ahead(String),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Ahead(ahead) => Self::Ahead(ahead.to_string()),
            error => KvError::from(error).into(),
        }
    }
}

impl From<KvError> for Refusal {
    fn from(error: KvError) -> Self {
        match error {
            KvError::Busy => Self::Busy,
            KvError::Full(text) => Self::Full(text),
            KvError::Broken(text) => Self::Broken(text),
            KvError::Unreachable(_) => Self::NotHere,
        }
    }
}

/// What is said of a value whose octets follow.
#[derive(Serialize, Deserialize)]
struct Said {
    metadata: Option<Box<str>>,
    expires_ms: Option<i64>,
    length: u32,
}

type Id = [u8; 16];

#[derive(Serialize, Deserialize)]
struct SaidVersion {
    namespace: Id,
    key: KvKey,
    stamp: Stamp,
    value: Option<Said>,
}

#[derive(Serialize, Deserialize)]
enum Asked {
    Read { namespace: Id, key: KvKey, near_ms: Option<u64> },
    Write { namespace: Id, writes: Vec<(KvKey, Option<Said>)> },
    List { namespace: Id, prefix: String, after: Option<KvKey>, limit: u32 },
    Merge(Vec<SaidVersion>),
    Changes { store: StoreId, since: Number },
    Versions { store: StoreId, numbers: Vec<Number> },
    Forget(Vec<(Id, KvKey)>),
    Nudge,
    ChangesAmong { store: StoreId, since: Number, among: SaidAmong },
    VersionsUpTo { store: StoreId, numbers: Vec<Number>, value_octets_max: u32 },
}

#[derive(Serialize, Deserialize)]
enum SaidAmong {
    Digest(u64),
    Servers(Vec<(NodeName, PopCode, RegionName)>),
}

impl SaidAmong {
    fn of(among: &Among) -> Self {
        match among {
            Among::Digest(digest) => Self::Digest(*digest),
            Among::Servers(servers) => {
                let said = |it: &ServerAbout| (it.name.clone(), it.pop.clone(), it.region.clone());
                Self::Servers(servers.iter().map(said).collect())
            }
        }
    }

    fn read(self) -> Result<Among, Malformed> {
        Ok(match self {
            Self::Digest(digest) => Among::Digest(digest),
            Self::Servers(said) if said.len() > SERVERS_MAX => return Err(Malformed),
            Self::Servers(said) => {
                let about = |(name, pop, region)| ServerAbout { name, pop, region };
                Among::Servers(said.into_iter().map(about).collect())
            }
        })
    }
}

#[derive(Serialize, Deserialize)]
enum Answered {
    Found { value: Option<Said>, age_ms: u64 },
    Done,
    Page { keys: Vec<(KvKey, Option<Box<str>>, Option<i64>)>, has_more: bool },
    Feed(StoreId, Vec<Change>, Number, bool),
    Versions(Vec<SaidVersion>, u32),
    Refused(Refusal),
}

/// Values that follow a head.
#[derive(Default)]
struct Values(Vec<Bytes>);

impl Values {
    fn say(&mut self, value: &KvValue) -> Said {
        self.0.push(value.value.clone());
        Said {
            metadata: value.metadata.clone(),
            expires_ms: value.expires.map(Timestamp::as_millis),
            length: u32::try_from(value.value.len()).expect("a value has at most 25 MiB"),
        }
    }

    fn say_versions(&mut self, versions: &[Version]) -> Vec<SaidVersion> {
        let say = |version: &Version| SaidVersion {
            namespace: *version.namespace.as_bytes(),
            key: version.key.clone(),
            stamp: version.stamp.clone(),
            value: version.value.as_ref().map(|value| self.say(value)),
        };
        versions.iter().map(say).collect()
    }

    fn write(self, head: &impl Serialize) -> Bytes {
        let head = postcard::to_allocvec(head).expect("plain data is written");
        let length = u32::try_from(head.len()).expect("a head is bounded");
        let octets = self.0.iter().map(Bytes::len).sum::<usize>();
        let mut all = Vec::with_capacity(4 + head.len() + octets);
        all.extend_from_slice(&length.to_be_bytes());
        all.extend_from_slice(&head);
        self.0.iter().for_each(|value| all.extend_from_slice(value));
        all.into()
    }
}

/// The values that follow a head, as they are taken from it.
struct Rest(Bytes);

impl Rest {
    fn read<T: for<'a> Deserialize<'a>>(mut octets: Bytes) -> Result<(T, Self), Malformed> {
        let length = u32::from_be_bytes(*octets.first_chunk().ok_or(Malformed)?) as usize;
        let end = length.checked_add(4).filter(|end| *end <= octets.len()).ok_or(Malformed)?;
        if length > HEAD_OCTETS_MAX {
            return Err(Malformed);
        }
        let values = octets.split_off(end);
        // What a later version appends is left over.
        let (head, _) = postcard::take_from_bytes(&octets[4..]).map_err(|_| Malformed)?;
        Ok((head, Self(values)))
    }

    fn value(&mut self, said: Said) -> Result<KvValue, Malformed> {
        let length = said.length as usize;
        let metadata_octets = said.metadata.as_ref().map_or(0, |metadata| metadata.len());
        if length > self.0.len()
            || length > limits::KV_VALUE_OCTETS_MAX
            || metadata_octets > limits::KV_METADATA_OCTETS_MAX
        {
            return Err(Malformed);
        }
        Ok(KvValue {
            value: self.0.split_to(length),
            metadata: said.metadata,
            expires: said.expires_ms.map(Timestamp::from_millis),
        })
    }

    fn optional(&mut self, said: Option<Said>) -> Result<Option<KvValue>, Malformed> {
        said.map(|said| self.value(said)).transpose()
    }

    fn versions(&mut self, said: Vec<SaidVersion>) -> Result<Vec<Version>, Malformed> {
        check_items(&said)?;
        let version = |SaidVersion { namespace, key, stamp, value }| {
            let value = self.optional(value)?;
            Ok(Version { namespace: KvNamespaceId::from_bytes(namespace), key, stamp, value })
        };
        said.into_iter().map(version).collect()
    }

    fn end<T>(self, read: T) -> Result<T, Malformed> {
        if self.0.is_empty() { Ok(read) } else { Err(Malformed) }
    }
}

fn check_items<T>(items: &[T]) -> Result<(), Malformed> {
    if items.len() > ITEMS_MAX { Err(Malformed) } else { Ok(()) }
}

impl Question {
    pub(crate) fn write(&self) -> Bytes {
        let mut values = Values::default();
        let head = match self {
            Self::Read { namespace, key, near_ms } => {
                Asked::Read { namespace: *namespace.as_bytes(), key: key.clone(), near_ms: *near_ms }
            }
            Self::Write { namespace, writes } => Asked::Write {
                namespace: *namespace.as_bytes(),
                writes: writes
                    .iter()
                    .map(|(key, value)| (key.clone(), value.as_ref().map(|value| values.say(value))))
                    .collect(),
            },
            Self::List { namespace, asked } => Asked::List {
                namespace: *namespace.as_bytes(),
                prefix: asked.prefix.clone(),
                after: asked.after.clone(),
                limit: u32::try_from(asked.limit).unwrap_or(u32::MAX),
            },
            Self::Merge(versions) => Asked::Merge(values.say_versions(versions)),
            Self::Changes { store, since } => Asked::Changes { store: *store, since: *since },
            Self::Versions { store, numbers } => Asked::Versions { store: *store, numbers: numbers.clone() },
            Self::Forget(keys) => {
                Asked::Forget(keys.iter().map(|(id, key)| (*id.as_bytes(), key.clone())).collect())
            }
            Self::Nudge => Asked::Nudge,
            Self::ChangesAmong { store, since, among } => {
                Asked::ChangesAmong { store: *store, since: *since, among: SaidAmong::of(among) }
            }
            Self::VersionsUpTo { store, numbers, value_octets_max } => Asked::VersionsUpTo {
                store: *store,
                numbers: numbers.clone(),
                value_octets_max: *value_octets_max,
            },
        };
        values.write(&head)
    }

    pub(crate) fn read(octets: Bytes) -> Result<Self, Malformed> {
        let id = KvNamespaceId::from_bytes;
        let (head, mut rest) = Rest::read(octets)?;
        let question = match head {
            Asked::Read { namespace, key, near_ms } => Self::Read { namespace: id(namespace), key, near_ms },
            Asked::Write { namespace, writes } => {
                check_items(&writes)?;
                let writes = writes.into_iter().map(|(key, said)| Ok((key, rest.optional(said)?)));
                Self::Write { namespace: id(namespace), writes: writes.collect::<Result<_, _>>()? }
            }
            Asked::List { namespace, prefix, after, limit } => {
                if prefix.len() > limits::KV_KEY_OCTETS_MAX {
                    return Err(Malformed);
                }
                let asked = KvListing { prefix, after, limit: limit as usize };
                Self::List { namespace: id(namespace), asked }
            }
            Asked::Merge(versions) => Self::Merge(rest.versions(versions)?),
            Asked::Changes { store, since } => Self::Changes { store, since },
            Asked::Versions { store, numbers } => {
                check_items(&numbers)?;
                Self::Versions { store, numbers }
            }
            Asked::Forget(keys) => {
                check_items(&keys)?;
                Self::Forget(keys.into_iter().map(|(namespace, key)| (id(namespace), key)).collect())
            }
            Asked::Nudge => Self::Nudge,
            Asked::ChangesAmong { store, since, among } => {
                Self::ChangesAmong { store, since, among: among.read()? }
            }
            Asked::VersionsUpTo { store, numbers, value_octets_max } => {
                check_items(&numbers)?;
                Self::VersionsUpTo { store, numbers, value_octets_max }
            }
        };
        rest.end(question)
    }
}

impl Answer {
    pub(crate) fn write(&self) -> Bytes {
        let mut values = Values::default();
        let head = match self {
            Self::Found { value, age_ms } => {
                Answered::Found { value: value.as_ref().map(|value| values.say(value)), age_ms: *age_ms }
            }
            Self::Done => Answered::Done,
            Self::Page(page) => {
                let listed = |listed: &KvListed| {
                    (listed.key.clone(), listed.metadata.clone(), listed.expires.map(Timestamp::as_millis))
                };
                Answered::Page { keys: page.keys.iter().map(listed).collect(), has_more: page.has_more }
            }
            Self::Feed(store, feed) => {
                Answered::Feed(*store, feed.changes.clone(), feed.up_to, feed.has_more)
            }
            Self::Versions(versions, done) => Answered::Versions(
                values.say_versions(versions),
                u32::try_from(*done).expect("no more than there are items"),
            ),
            Self::Refused(refusal) => Answered::Refused(refusal.clone()),
        };
        values.write(&head)
    }

    pub(crate) fn read(octets: Bytes) -> Result<Self, Malformed> {
        let (head, mut rest) = Rest::read(octets)?;
        let answer =
            match head {
                Answered::Found { value, age_ms } => Self::Found { value: rest.optional(value)?, age_ms },
                Answered::Done => Self::Done,
                Answered::Page { keys, has_more } => {
                    check_items(&keys)?;
                    let listed = |(key, metadata, expires_ms): (KvKey, Option<Box<str>>, Option<i64>)| {
                        KvListed { key, metadata, expires: expires_ms.map(Timestamp::from_millis) }
                    };
                    Self::Page(KvPage { keys: keys.into_iter().map(listed).collect(), has_more })
                }
                Answered::Feed(store, changes, up_to, has_more) => {
                    check_items(&changes)?;
                    Self::Feed(store, Feed { changes, up_to, has_more })
                }
                Answered::Versions(versions, done) => Self::Versions(rest.versions(versions)?, done as usize),
                Answered::Refused(refusal) => Self::Refused(refusal),
            };
        rest.end(answer)
    }
}

/// Reads octets as what another server asks, and answers: what fuzz targets call. What was read is written as the same.
pub(crate) fn exercise(octets: &[u8]) {
    let octets = Bytes::copy_from_slice(octets);
    if let Ok(question) = Question::read(octets.clone()) {
        assert_eq!(Question::read(question.write()).as_ref(), Ok(&question));
    }
    if let Ok(answer) = Answer::read(octets) {
        assert_eq!(Answer::read(answer.write()).as_ref(), Ok(&answer));
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

//! What is asked for, of objects and buckets.

use proxima_model::{AccountId, BucketName, Jurisdiction, LocationHint, StorageClass};
use serde::{Deserialize, Serialize};

use super::{ChecksumAlgorithm, ObjectAbout, ObjectConditions, ObjectFields, ObjectKey};
use crate::Body;

/// Which octets of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectRange {
    /// From here to there, both included; or to the end.
    From(u64, Option<u64>),
    /// So many at the end.
    Last(u64),
    /// This part of those that it was uploaded in.
    Part(u16),
}

/// How an object is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectGet {
    /// If so.
    pub conditions: ObjectConditions,
    /// How much of it; nothing: all.
    pub range: Option<ObjectRange>,
}

/// Some octets of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Where they begin.
    pub start: u64,
    /// How many they are.
    pub octets: u64,
}

/// An object that is read.
#[derive(Debug)]
pub struct ObjectRead {
    /// What it is.
    pub about: ObjectAbout,
    /// Which octets come, if they were asked for so.
    pub span: Option<Span>,
    /// They.
    pub body: Body,
}

/// What the sender of octets says that they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// How many.
    pub octets: Option<u64>,
    /// Their MD5.
    pub md5: Option<[u8; 16]>,
    /// By which algorithm their checksum is kept; its value, unless that comes behind them, in
    /// [its field](ChecksumAlgorithm::field), in Base64.
    pub checksum: Option<(ChecksumAlgorithm, Option<Vec<u8>>)>,
}

/// An object that is put.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPut {
    /// What else is said of it.
    pub fields: ObjectFields,
    /// If so.
    pub conditions: ObjectConditions,
    /// What its octets must be.
    pub expected: Expected,
    /// What it is a copy of, if who copies reads the one here and puts the other there. What servers ask each other says it apart.
    #[serde(skip)]
    pub copied_from: Option<(BucketName, ObjectKey)>,
}

/// How an object is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectCopy {
    /// If it is so.
    pub source: ObjectConditions,
    /// If what it replaces is so.
    pub conditions: ObjectConditions,
    /// What is said of the copy; nothing: what is said of the original.
    pub fields: Option<ObjectFields>,
    /// By which algorithm its checksum is to be kept, if by another than the original's.
    pub checksum: Option<ChecksumAlgorithm>,
    /// How it is kept, where what is said of it is what is said of the original; nothing: as its bucket says. What servers ask
    /// each other says it apart.
    #[serde(skip)]
    pub storage_class: Option<StorageClass>,
}

impl ObjectCopy {
    /// What is said of the copy of an object of which this is said. How it is kept is none of that: it is not taken over.
    pub fn fields_of(&self, original: ObjectFields) -> ObjectFields {
        let unsaid = || ObjectFields { storage_class: self.storage_class, ..original };
        self.fields.clone().unwrap_or_else(unsaid)
    }
}

/// A key that is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDelete {
    /// The key.
    pub key: ObjectKey,
    /// If so.
    pub conditions: ObjectConditions,
}

/// Which keys are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectListing {
    /// How they begin.
    pub prefix: String,
    /// Keys that have this behind the prefix are listed as one: as what they have up to and with it.
    pub delimiter: Option<String>,
    /// Only what comes after this, keys and what stands for several.
    pub after: Option<String>,
    /// How many; at most [`OBJECTS_LISTED_MAX`].
    pub limit: usize,
}

/// Some keys, in the order of their octets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPage {
    /// Those of objects.
    pub objects: Vec<(ObjectKey, ObjectAbout)>,
    /// What stands for several.
    pub prefixes: Vec<String>,
    /// The last of both, if there are more.
    pub next: Option<String>,
}

/// What is in a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketContent {
    /// Objects.
    pub objects: u64,
    /// Octets of them.
    pub octets: u64,
}

/// A bucket to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBucket {
    /// Whose.
    pub account: AccountId,
    /// What it is called.
    pub name: BucketName,
    /// Where its owner would like it to be.
    pub location: Option<LocationHint>,
    /// Where its objects must stay.
    pub jurisdiction: Option<Jurisdiction>,
    /// How objects are kept of which nothing else is said.
    pub storage_class: StorageClass,
}

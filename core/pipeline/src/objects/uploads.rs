//! Uploads in parts.

use proxima_model::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ChecksumAlgorithm, ChecksumKind, ObjectAbout, ObjectChecksum, ObjectConditions, ObjectFields, ObjectKey,
    UploadId,
};

/// How an upload begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadBegin {
    /// What is said of the object.
    pub fields: ObjectFields,
    /// Which checksum it is to have.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// A part of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartAbout {
    /// Its number, from 1.
    pub number: u16,
    /// How long it is.
    pub octets: u64,
    /// Its MD5.
    pub md5: [u8; 16],
    /// When it was put.
    pub modified: Timestamp,
    /// Its checksum.
    pub checksum: Option<ObjectChecksum>,
}

impl PartAbout {
    /// Its entity tag, without quotes.
    pub fn etag(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.md5))
    }
}

/// A part of an object that was uploaded in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartKept {
    /// Its number.
    pub number: u16,
    /// How long it is.
    pub octets: u64,
    /// Its checksum.
    pub checksum: Option<ObjectChecksum>,
}

/// Some parts of an object, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPartPage {
    /// The object.
    pub about: ObjectAbout,
    /// Its parts; none, if it was put as a whole.
    pub parts: Vec<PartKept>,
    /// Whether there are more.
    pub has_more: bool,
}

/// An upload, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadAbout {
    /// What the object will be called.
    pub key: ObjectKey,
    /// The upload.
    pub id: UploadId,
    /// When it began.
    pub begun: Timestamp,
    /// How.
    pub begin: UploadBegin,
}

/// Which uploads are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadListing {
    /// How their keys begin.
    pub prefix: String,
    /// As in [`ObjectListing::delimiter`].
    pub delimiter: Option<String>,
    /// Only what comes after this key, or after this upload of it.
    pub after: Option<(String, Option<UploadId>)>,
    /// How many; at most [`OBJECTS_LISTED_MAX`].
    pub limit: usize,
}

/// Some uploads, in the order of their keys' octets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadPage {
    /// They.
    pub uploads: Vec<UploadAbout>,
    /// What stands for several.
    pub prefixes: Vec<String>,
    /// The last of both, if there are more.
    pub next: Option<(String, Option<UploadId>)>,
}

/// Some parts of an upload, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartPage {
    /// The upload.
    pub upload: UploadAbout,
    /// They.
    pub parts: Vec<PartAbout>,
    /// Whether there are more.
    pub has_more: bool,
}

/// How an upload is completed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadComplete {
    /// Of which parts, in the order of their numbers, with their entity tags and checksums.
    pub parts: Vec<PartChosen>,
    /// If what it replaces is so.
    pub conditions: ObjectConditions,
    /// What the whole must be.
    pub octets: Option<u64>,
    /// What its checksum must be.
    pub checksum: Option<(ChecksumAlgorithm, Vec<u8>)>,
}

/// A part of which an object is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartChosen {
    /// Its number.
    pub number: u16,
    /// Its entity tag, without quotes.
    pub etag: String,
    /// Its checksum.
    pub checksum: Option<(ChecksumAlgorithm, Vec<u8>)>,
}

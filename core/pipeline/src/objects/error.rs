//! Why objects cannot be read or written.

use serde::{Deserialize, Serialize};

use super::{
    OBJECT_KEY_OCTETS_MAX, OBJECT_METADATA_OCTETS_MAX, OBJECT_PART_OCTETS_MIN, OBJECT_PUT_OCTETS_MAX,
    ObjectAbout,
};
use crate::BodyError;

/// Why objects cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ObjectError {
    /// The bucket is not there, or is being deleted.
    #[error("this bucket does not exist")]
    NoSuchBucket,
    /// The account has such a bucket.
    #[error("a bucket of this name exists")]
    BucketExists,
    /// The account has as many buckets as it may have.
    #[error("the account has as many buckets as it may have")]
    TooManyBuckets,
    /// A bucket that is to be deleted has objects.
    #[error("this bucket is not empty")]
    BucketNotEmpty,
    /// The key has nothing.
    #[error("this key does not exist")]
    NoSuchKey,
    /// The upload is not there: completed, aborted, or never begun.
    #[error("this upload does not exist")]
    NoSuchUpload,
    /// What was demanded of what is there does not hold.
    #[error("a condition of the request does not hold")]
    PreconditionFailed,
    /// Who asks has it.
    #[error("it has not changed")]
    NotModified(Box<ObjectAbout>),
    /// There are no such octets; so many there are.
    #[error("there are no such octets")]
    InvalidRange(u64),
    /// There is no such part.
    #[error("there is no such part")]
    InvalidPart,
    /// Parts are not in the order of their numbers.
    #[error("parts must be in the order of their numbers")]
    InvalidPartOrder,
    /// A part that is not the last is too short.
    #[error("every part but the last has at least {OBJECT_PART_OCTETS_MIN} octets")]
    PartTooSmall,
    /// More than may come in one request.
    #[error("more than {OBJECT_PUT_OCTETS_MAX} octets in one request; upload it in parts")]
    TooLarge,
    /// A key beyond its bound.
    #[error("a key has at most {OBJECT_KEY_OCTETS_MAX} octets")]
    KeyTooLong,
    /// More is said of an object than may be.
    #[error("metadata has at most {OBJECT_METADATA_OCTETS_MAX} octets")]
    MetadataTooLarge,
    /// The octets that came are not those that were announced.
    #[error("what came is not what its {0} says")]
    BadDigest(String),
    /// What is asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The body ended early.
    #[error("{0}")]
    Body(String),
    /// The bucket's home cannot be reached. A write may have been done, or not.
    #[error("the server that has this bucket cannot be reached: {0}")]
    Unreachable(String),
    /// Too much is under way.
    #[error("too much is under way; try again in a moment")]
    Busy,
    /// Nothing more can be kept.
    #[error("nothing more can be kept here: {0}")]
    Full(String),
    /// What lies on the disk cannot be read or written.
    #[error("objects cannot be read or written: {0}")]
    Broken(String),
    /// A bucket that is to be deleted is read at custom domains.
    #[error("this bucket has custom domains: remove them first")]
    BucketHasDomains,
}

impl From<BodyError> for ObjectError {
    fn from(error: BodyError) -> Self {
        Self::Body(error.to_string())
    }
}

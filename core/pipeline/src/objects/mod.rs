//! The port by which S3, the API and Workers reach objects: who has them knows nothing of protocols, nor of who may.
//!
//! Whose a bucket is, and whether it is there, is for who asks to look up in the replica, and a [`Bucket`] comes with each
//! question. What is decided, is decided by one server, the bucket's home: all of it in the order in which it was taken, and
//! durable when its answer is here.

mod about;
mod conditions;
mod cors;
mod error;
mod key;
mod lifecycle;
mod notifications;
mod requests;
mod uploads;

use futures_util::future::BoxFuture;
use proxima_model::Bucket;

pub use self::{
    about::{ChecksumAlgorithm, ChecksumKind, ObjectAbout, ObjectChecksum, ObjectFields},
    conditions::{ObjectConditions, Tags},
    cors::{CorsAllowed, CorsPolicy, CorsRule},
    error::ObjectError,
    key::{ObjectKey, UploadId, is_of_xml},
    lifecycle::{
        Lifecycle, LifecycleCondition, LifecycleConditions, LifecycleRule, LifecycleTransition,
        StorageClassTransition,
    },
    notifications::{
        NOTIFICATION_RULES_MAX, NewNotificationRule, NotificationError, NotificationRule, Notifications,
        ObjectAction, QueueNotified,
    },
    requests::{
        BucketContent, Expected, NewBucket, ObjectCopy, ObjectDelete, ObjectGet, ObjectListing, ObjectPage,
        ObjectPut, ObjectRange, ObjectRead, Span,
    },
    uploads::{
        ObjectPartPage, PartAbout, PartChosen, PartKept, PartPage, UploadAbout, UploadBegin, UploadComplete,
        UploadListing, UploadPage,
    },
};
use crate::Body;

/// Octets of an object's key; what S3 takes.
pub const OBJECT_KEY_OCTETS_MAX: usize = 1_024;
/// Octets of what comes in one request; what S3 takes. An object of several parts may be as large as all of them.
pub const OBJECT_PUT_OCTETS_MAX: u64 = 5 << 30;
/// Parts of an upload; what S3 takes.
pub const OBJECT_PARTS_MAX: u16 = 10_000;
/// Octets of every part of an upload but the last; what S3 takes.
pub const OBJECT_PART_OCTETS_MIN: u64 = 5 << 20;
/// Octets of what is said of an object by its owner, names and values; what R2 takes.
pub const OBJECT_METADATA_OCTETS_MAX: usize = 8_192;
/// Keys, uploads or parts on one page, and keys that are deleted at once; what S3 takes.
pub const OBJECTS_LISTED_MAX: usize = 1_000;

/// What an operation on objects comes to.
pub type ObjectFuture<'a, T> = BoxFuture<'a, Result<T, ObjectError>>;

/// Objects of all buckets.
pub trait Objects: Send + Sync + 'static {
    /// Makes a bucket. This server becomes its home, or one where its owner would like it to be.
    fn create_bucket(&self, new: NewBucket, author: String) -> ObjectFuture<'_, Bucket>;

    /// Deletes a bucket if it is empty. From the moment that this is found, nothing is written to it; uploads that were begun
    /// are aborted.
    fn delete_bucket<'a>(&'a self, bucket: &'a Bucket, author: String) -> ObjectFuture<'a, ()>;

    /// How much is in a bucket.
    fn content<'a>(&'a self, bucket: &'a Bucket) -> ObjectFuture<'a, BucketContent>;

    /// What is known of an object.
    fn head<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        get: ObjectGet,
    ) -> ObjectFuture<'a, (ObjectAbout, Option<Span>)>;

    /// The parts that an object was uploaded in: those after a number, so many.
    fn parts_of<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        which: (u16, usize),
    ) -> ObjectFuture<'a, ObjectPartPage>;

    /// An object, as it was when it was asked for: whoever replaces it while it is read takes nothing away.
    fn get<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        get: ObjectGet,
    ) -> ObjectFuture<'a, ObjectRead>;

    /// Puts an object. It is seen when all of it has come and lies on the disk, and not before.
    fn put<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        put: ObjectPut,
        body: Body,
    ) -> ObjectFuture<'a, ObjectAbout>;

    /// Copies an object.
    fn copy<'a>(
        &'a self,
        from: (&'a Bucket, &'a ObjectKey),
        to: (&'a Bucket, &'a ObjectKey),
        copy: ObjectCopy,
    ) -> ObjectFuture<'a, ObjectAbout>;

    /// Deletes what these keys have; keys that have nothing are no fault.
    fn delete<'a>(
        &'a self,
        bucket: &'a Bucket,
        keys: Vec<ObjectDelete>,
    ) -> ObjectFuture<'a, Vec<Result<(), ObjectError>>>;

    /// Keys, in the order of their octets.
    fn list<'a>(&'a self, bucket: &'a Bucket, asked: ObjectListing) -> ObjectFuture<'a, ObjectPage>;

    /// Begins an upload in parts.
    fn begin_upload<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        begin: UploadBegin,
    ) -> ObjectFuture<'a, UploadId>;

    /// Puts a part; one of the same number is replaced.
    fn put_part<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        part: (UploadId, u16),
        expected: Expected,
        body: Body,
    ) -> ObjectFuture<'a, PartAbout>;

    /// Puts a part that is some octets of an object, or all.
    fn copy_part<'a>(
        &'a self,
        from: (&'a Bucket, &'a ObjectKey),
        what: (Option<ObjectRange>, ObjectConditions),
        to: (&'a Bucket, &'a ObjectKey),
        part: (UploadId, u16),
    ) -> ObjectFuture<'a, PartAbout>;

    /// Parts that were put: those after a number, so many.
    fn parts<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        upload: UploadId,
        which: (u16, usize),
    ) -> ObjectFuture<'a, PartPage>;

    /// Uploads that were begun.
    fn uploads<'a>(&'a self, bucket: &'a Bucket, asked: UploadListing) -> ObjectFuture<'a, UploadPage>;

    /// Makes an object of an upload. Asked again after it was done, it answers the same, as long as the object is there.
    fn complete_upload<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        upload: UploadId,
        complete: UploadComplete,
    ) -> ObjectFuture<'a, ObjectAbout>;

    /// Throws an upload away.
    fn abort_upload<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        upload: UploadId,
    ) -> ObjectFuture<'a, ()>;
}

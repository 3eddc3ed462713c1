//! What servers ask each other for, as octets: pure.
//!
//! ```text
//!   question  length of the head (4, big-endian) │ head (postcard) │ the octets that are put
//!   answer    waits (a length of nothing each)   │ length │ head  │ the octets that are read
//!   behind each: a trailer that says that this was all
//! ```
//!
//! A wait says that the home is still at it. A later version may append fields to a head, which are not read here, and variants,
//! which are refused as not understood.
//!
//! Limits: octets of heads ([`QUESTION_OCTETS_MAX`], [`ANSWER_OCTETS_MAX`]); octets that follow are bounded as those of clients.

use bytes::{Buf as _, Bytes, BytesMut};
use proxima_ledger::Seq;
use proxima_model::{AccountId, Bucket, BucketName, BucketTag, StorageClass};
use proxima_pipeline::{
    BucketContent, Expected, ObjectAbout, ObjectConditions, ObjectCopy, ObjectDelete, ObjectError, ObjectGet,
    ObjectKey, ObjectListing, ObjectPage, ObjectPartPage, ObjectPut, ObjectRange, PartAbout, PartPage, Span,
    UploadBegin, UploadComplete, UploadId, UploadListing, UploadPage,
};
use serde::{Deserialize, Serialize};

/// The path of this version.
pub(crate) const PATH: &str = "/1";
/// Octets of a question's head: a thousand of the longest keys with conditions, or the parts of the largest upload.
pub(crate) const QUESTION_OCTETS_MAX: usize = 4 << 20;
/// Octets of an answer's head: a page of a thousand keys with all that may be said of each.
pub(crate) const ANSWER_OCTETS_MAX: usize = 16 << 20;
/// Octets of a length.
const LENGTH_OCTETS: usize = 4;

/// What is no message of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not understood")]
pub(crate) struct Malformed;

/// Which bucket is meant. What else there is of it, the home's replica of the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Which {
    account: [u8; 16],
    name: BucketName,
    tag: [u8; 16],
}

impl Which {
    pub(crate) fn of(bucket: &Bucket) -> Self {
        let (account, tag) = (*bucket.account.as_bytes(), *bucket.tag.as_bytes());
        Self { account, name: bucket.name.clone(), tag }
    }

    /// Under what the replica has it.
    pub(crate) fn id(&self) -> (AccountId, BucketName) {
        (AccountId::from_bytes(self.account), self.name.clone())
    }

    /// Whether this is it, and no later one of its name.
    pub(crate) fn is(&self, bucket: &Bucket) -> bool {
        bucket.tag == BucketTag::from_bytes(self.tag)
    }
}

/// What one server asks of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Asked {
    /// Whether it is there.
    Hello,
    /// Something of a bucket whose home it is. So far was the replica of who asks: the home looks at no older state.
    Of { bucket: Which, known: Seq, what: Box<What> },
}

/// See [`Asked`]. What is put follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    DeleteBucket {
        author: String,
    },
    Content,
    Head {
        key: ObjectKey,
        get: ObjectGet,
    },
    Get {
        key: ObjectKey,
        get: ObjectGet,
    },
    Put {
        key: ObjectKey,
        put: ObjectPut,
    },
    Copy {
        from: (Which, ObjectKey),
        key: ObjectKey,
        copy: ObjectCopy,
    },
    Delete(Vec<ObjectDelete>),
    List(ObjectListing),
    BeginUpload {
        key: ObjectKey,
        begin: UploadBegin,
    },
    PutPart {
        key: ObjectKey,
        part: (UploadId, u16),
        expected: Expected,
    },
    CopyPart {
        from: (Which, ObjectKey),
        what: (Option<ObjectRange>, ObjectConditions),
        key: ObjectKey,
        part: (UploadId, u16),
    },
    /// Those after a number, so many.
    Parts {
        key: ObjectKey,
        upload: UploadId,
        which: (u16, u32),
    },
    Uploads(UploadListing),
    CompleteUpload {
        key: ObjectKey,
        upload: UploadId,
        complete: UploadComplete,
    },
    AbortUpload {
        key: ObjectKey,
        upload: UploadId,
    },
    /// Those after a number, so many.
    PartsOf {
        key: ObjectKey,
        which: (u16, u32),
    },
    /// As [`What::Put`], of what was read elsewhere as this object of this bucket.
    PutCopy {
        key: ObjectKey,
        put: ObjectPut,
        from: (BucketName, ObjectKey),
    },
    /// As [`What::Copy`], kept so.
    CopyAs {
        from: (Which, ObjectKey),
        key: ObjectKey,
        copy: ObjectCopy,
        storage_class: StorageClass,
    },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    /// The bucket is gone in this state of the log, and later ones.
    BucketDeleted(Seq),
    Content(BucketContent),
    Head(ObjectAbout, Option<Span>),
    /// The octets follow.
    Read(ObjectAbout, Option<Span>),
    Put(ObjectAbout),
    Deleted(Vec<Result<(), ObjectError>>),
    Page(ObjectPage),
    Begun(UploadId),
    Part(PartAbout),
    Parts(PartPage),
    Uploads(UploadPage),
    Refused(Refusal),
    PartsOf(ObjectPartPage),
}

/// Why it is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// As a client would be told.
    Error(ObjectError),
    /// The bucket is not known there yet.
    Unknown,
    /// That server is not the bucket's home.
    NotHome,
    NotUnderstood,
}

impl From<Refusal> for ObjectError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Error(error) => error,
            Refusal::Unknown => Self::Unreachable("it has not heard of the bucket yet".to_owned()),
            Refusal::NotHome => Self::Unreachable("it is not the bucket's home".to_owned()),
            Refusal::NotUnderstood => Self::Unreachable("it runs another version".to_owned()),
        }
    }
}

/// A wait, as octets.
pub(crate) const fn wait() -> Bytes {
    Bytes::from_static(&[0; LENGTH_OCTETS])
}

/// A head, as octets.
///
/// # Errors
/// It is longer than its kind may be.
pub(crate) fn write(head: &impl Serialize, octets_max: usize) -> Result<Bytes, Malformed> {
    let mut octets = postcard::to_extend(head, vec![0; LENGTH_OCTETS]).map_err(|_| Malformed)?;
    let length = octets.len() - LENGTH_OCTETS;
    if length > octets_max {
        return Err(Malformed);
    }
    let length = u32::try_from(length).map_err(|_| Malformed)?;
    octets[..LENGTH_OCTETS].copy_from_slice(&length.to_be_bytes());
    Ok(octets.into())
}

/// Takes a head, and the waits before it, from what has come; nothing, if there is more to come.
pub(crate) fn read<T: for<'a> Deserialize<'a>>(
    came: &mut BytesMut,
    octets_max: usize,
) -> Result<Option<T>, Malformed> {
    while let Some(length) = came.first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        if length > octets_max {
            return Err(Malformed);
        }
        if came.len() < LENGTH_OCTETS + length {
            return Ok(None);
        }
        came.advance(LENGTH_OCTETS);
        if length > 0 {
            let head = came.split_to(length);
            // What a later version appends is left over.
            return postcard::take_from_bytes(&head).map(|(head, _)| Some(head)).map_err(|_| Malformed);
        }
    }
    Ok(None)
}

/// Reads octets as what another server says: what fuzz targets call. What was read is written as the same.
pub(crate) fn exercise(octets: &[u8]) {
    fn both<T>(octets: &[u8], octets_max: usize)
    where
        T: for<'a> Deserialize<'a> + Serialize + PartialEq + std::fmt::Debug,
    {
        if let Ok(Some(head)) = read::<T>(&mut BytesMut::from(octets), octets_max) {
            let written = write(&head, usize::MAX).expect("plain data is written");
            assert_eq!(read::<T>(&mut BytesMut::from(&written[..]), usize::MAX), Ok(Some(head)));
        }
    }
    both::<Asked>(octets, QUESTION_OCTETS_MAX);
    both::<Answer>(octets, ANSWER_OCTETS_MAX);
}

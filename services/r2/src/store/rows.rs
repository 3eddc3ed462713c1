//! What lies in the index, and under which keys.
//!
//! | database | key | value |
//! |---|---|---|
//! | `objects` | bucket's tag, object's key | what is known of it, and its octets or where they lie |
//! | `uploads` | bucket's tag, object's key, 0, upload's id | how it began |
//! | `parts` | upload's id, part's number | what is known of it, and where its octets lie |
//! | `completed` | upload's id | what it became, for a while, so that who asks again is answered |
//! | `blobs` | blob's id, and an octet more if it lies in the engine | how long it is, its checksum; whose it is |
//! | `garbage` | when it may go, and the same | nothing |
//! | `contents` | bucket's tag | how many objects it has, and octets of them |
//! | `closed` | bucket's tag | the mark of the attempt to delete it by which it is closed |
//! | `gone` | bucket's tag | since when the log is known not to name it |
//! | `outbox` | queue's id, a number of those of the queue | what the queue is to be told, of which bucket |
//!
//! Values carry the version of their form and a CRC-32 over key and value: what was not put is not read. An object's is in two
//! halves with one each: who lists reads what is known of it, and not its octets nor ten thousand parts.

use proxima_model::{AccountId, BucketName, BucketTag, Timestamp};
use proxima_pipeline::{
    BucketContent, ObjectAbout, ObjectChecksum, ObjectError, ObjectKey, PartAbout, UploadBegin, UploadId,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The form of values: another one is not read.
const FORM: u8 = 1;
/// Octets of a bucket's tag, of an upload's id, of a blob's.
pub(crate) const ID_OCTETS: usize = 16;

/// Octets under a name that is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct BlobId(pub(crate) [u8; ID_OCTETS]);

impl std::fmt::Display for BlobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What is behind the id of a blob that lies in the engine, where it is a key: one in a file has nothing there.
const IN_ENGINE: u8 = 1;

/// A blob, and in which of the two places it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blob {
    File(BlobId),
    Engine(BlobId),
}

impl Blob {
    pub(crate) const fn id(self) -> BlobId {
        match self {
            Self::File(id) | Self::Engine(id) => id,
        }
    }

    /// Its key among blobs.
    pub(crate) fn key(self) -> Vec<u8> {
        let mut key = self.id().0.to_vec();
        key.extend(matches!(self, Self::Engine(_)).then_some(IN_ENGINE));
        key
    }

    /// The blob in [`key`](Self::key).
    pub(crate) fn of_key(key: &[u8]) -> Option<Self> {
        let (id, rest) = key.split_first_chunk()?;
        match rest {
            [] => Some(Self::File(BlobId(*id))),
            [IN_ENGINE] => Some(Self::Engine(BlobId(*id))),
            _ => None,
        }
    }
}

/// A run of an object's octets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) at: Place,
    pub(crate) octets: u64,
    /// CRC-64/NVME of it.
    pub(crate) crc: u64,
}

/// Where octets lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// Here, in the row: they are few.
    Row(Vec<u8>),
    /// In a file.
    Blob(BlobId),
    /// In the engine.
    Engine(BlobId),
}

impl Place {
    /// The blob, if they are not in the row.
    pub(crate) const fn blob(&self) -> Option<Blob> {
        match self {
            Self::Row(_) => None,
            Self::Blob(id) => Some(Blob::File(*id)),
            Self::Engine(id) => Some(Blob::Engine(*id)),
        }
    }
}

impl From<Blob> for Place {
    fn from(blob: Blob) -> Self {
        match blob {
            Blob::File(id) => Self::Blob(id),
            Blob::Engine(id) => Self::Engine(id),
        }
    }
}

/// A part of an object that was uploaded in parts, as the object remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartKept {
    pub(crate) number: u16,
    pub(crate) checksum: Option<ObjectChecksum>,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectRow {
    pub(crate) about: ObjectAbout,
    /// By the order of its octets; as many as `parts` if there are any.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) parts: Vec<PartKept>,
}

/// An upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UploadRow {
    pub(crate) begun: Timestamp,
    pub(crate) begin: UploadBegin,
}

/// What an upload became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CompletedRow {
    pub(crate) bucket: [u8; ID_OCTETS],
    pub(crate) key: ObjectKey,
    /// The object's version.
    pub(crate) version: [u8; 16],
    pub(crate) at: Timestamp,
}

/// A part of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartRow {
    pub(crate) about: PartAbout,
    pub(crate) piece: Piece,
}

/// Whose a blob is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlobRow {
    pub(crate) octets: u64,
    pub(crate) crc: u64,
    pub(crate) bucket: [u8; ID_OCTETS],
    pub(crate) key: String,
}

/// By which attempt to delete it a bucket is closed: each has a token of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) token: [u8; ID_OCTETS],
    pub(crate) account: AccountId,
    pub(crate) name: BucketName,
    pub(crate) at: Timestamp,
}

/// What a queue is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotificationRow {
    /// Whose queue and bucket are.
    pub(crate) account: [u8; ID_OCTETS],
    pub(crate) bucket: [u8; ID_OCTETS],
    /// JSON.
    pub(crate) message: String,
}

/// How much a bucket has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContentRow {
    pub(crate) objects: u64,
    pub(crate) octets: u64,
}

impl From<ContentRow> for BucketContent {
    fn from(row: ContentRow) -> Self {
        Self { objects: row.objects, octets: row.octets }
    }
}

/// A value as it lies under its key.
pub(crate) fn encode<T: Serialize>(key: &[u8], value: &T) -> Result<Vec<u8>, ObjectError> {
    let row = postcard::to_extend(value, vec![0, 0, 0, 0, FORM]);
    let mut row = row.map_err(|error| ObjectError::Broken(format!("writing a row: {error}")))?;
    let crc = checksum(key, &row[4..]);
    row[..4].copy_from_slice(&crc.to_be_bytes());
    Ok(row)
}

/// What lies under this key.
pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], row: &[u8]) -> Result<T, ObjectError> {
    let damaged = || ObjectError::Broken("a row is damaged".to_owned());
    let (crc, rest) = row.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (form, value) = rest.split_first().ok_or_else(damaged)?;
    if checksum(key, rest) != u32::from_be_bytes(*crc) || *form != FORM {
        return Err(damaged());
    }
    postcard::from_bytes(value).map_err(|_| damaged())
}

/// Octets before an object: how long its first half is.
const HALF_OCTETS: usize = 4;

/// An object as it lies under its key.
pub(crate) fn encode_object(key: &[u8], row: &ObjectRow) -> Result<Vec<u8>, ObjectError> {
    let about = encode(key, &row.about)?;
    let rest = encode(key, &(&row.pieces, &row.parts))?;
    let half = u32::try_from(about.len()).map_err(|_| ObjectError::MetadataTooLarge)?;
    Ok([&half.to_be_bytes(), &about[..], &rest].concat())
}

fn halves(row: &[u8]) -> Result<(&[u8], &[u8]), ObjectError> {
    let half = row.split_first_chunk::<HALF_OCTETS>().and_then(|(half, halves)| {
        let half = usize::try_from(u32::from_be_bytes(*half)).ok()?;
        halves.split_at_checked(half)
    });
    half.ok_or_else(|| ObjectError::Broken("a row is damaged".to_owned()))
}

/// What is known of the object that lies under this key.
pub(crate) fn decode_about(key: &[u8], row: &[u8]) -> Result<ObjectAbout, ObjectError> {
    decode(key, halves(row)?.0)
}

/// The object that lies under this key.
pub(crate) fn decode_object(key: &[u8], row: &[u8]) -> Result<ObjectRow, ObjectError> {
    let (about, rest) = halves(row)?;
    let about = decode(key, about)?;
    let (pieces, parts) = decode(key, rest)?;
    Ok(ObjectRow { about, pieces, parts })
}

fn checksum(key: &[u8], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(rest);
    hasher.finalize()
}

/// Where an object lies.
pub(crate) fn object_key(bucket: BucketTag, key: &ObjectKey) -> Vec<u8> {
    [bucket.as_bytes(), key.as_str().as_bytes()].concat()
}

/// Where an upload lies. The octet in between has the keys in their order.
pub(crate) fn upload_key(bucket: BucketTag, key: &str, upload: UploadId) -> Vec<u8> {
    [bucket.as_bytes(), key.as_bytes(), &[0], &upload.0].concat()
}

/// The key and the upload in [`upload_key`].
pub(crate) fn of_upload_key(lies: &[u8]) -> Result<(ObjectKey, UploadId), ObjectError> {
    let damaged = || ObjectError::Broken("an upload's key is damaged".to_owned());
    let rest = lies.get(ID_OCTETS..).ok_or_else(damaged)?;
    let (key, id) = rest.split_last_chunk::<ID_OCTETS>().ok_or_else(damaged)?;
    let (_, key) = key.split_last().ok_or_else(damaged)?;
    Ok((text_key(key)?, UploadId(*id)))
}

/// The key in [`object_key`].
pub(crate) fn of_object_key(lies: &[u8]) -> Result<ObjectKey, ObjectError> {
    text_key(lies.get(ID_OCTETS..).unwrap_or_default())
}

fn text_key(octets: &[u8]) -> Result<ObjectKey, ObjectError> {
    let text = std::str::from_utf8(octets).map_err(|_| ObjectError::Broken("a key is damaged".to_owned()))?;
    ObjectKey::new(text)
}

/// Where a part lies.
pub(crate) fn part_key(upload: UploadId, number: u16) -> Vec<u8> {
    [&upload.0[..], &number.to_be_bytes()].concat()
}

/// Octets of a moment in [`garbage_key`].
const MOMENT_OCTETS: usize = 8;

/// Where a blob that is to go lies.
pub(crate) fn garbage_key(at: Timestamp, blob: Blob) -> Vec<u8> {
    let at = u64::try_from(at.as_millis()).unwrap_or_default();
    [&at.to_be_bytes()[..], &blob.key()].concat()
}

/// The blob in [`garbage_key`].
pub(crate) fn of_garbage_key(lies: &[u8]) -> Option<Blob> {
    Blob::of_key(lies.get(MOMENT_OCTETS..)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written_and_not_under_another_key_nor_changed() {
        let row = ContentRow { objects: 3, octets: 1 << 40 };
        let octets = encode(b"a", &row).unwrap();
        assert_eq!(decode::<ContentRow>(b"a", &octets), Ok(row));
        assert!(decode::<ContentRow>(b"b", &octets).is_err());
        for at in 0..octets.len() {
            let mut changed = octets.clone();
            changed[at] ^= 1;
            assert!(decode::<ContentRow>(b"a", &changed).is_err(), "octet {at}");
            assert!(decode::<ContentRow>(b"a", &octets[..at]).is_err(), "{at} octets");
        }
    }

    #[test]
    fn a_blobs_key_says_where_it_lies() {
        let id = BlobId([7; ID_OCTETS]);
        for blob in [Blob::File(id), Blob::Engine(id)] {
            assert_eq!(Blob::of_key(&blob.key()), Some(blob));
            assert_eq!(of_garbage_key(&garbage_key(Timestamp::from_millis(9), blob)), Some(blob));
            assert_eq!(Place::from(blob).blob(), Some(blob));
        }
        // As it lay before there were engines.
        assert_eq!(Blob::File(id).key(), id.0);
        for key in [&id.0[1..], &[&id.0[..], &[2]].concat(), &[&id.0[..], &[IN_ENGINE, 0]].concat()] {
            assert_eq!(Blob::of_key(key), None, "{key:?}");
        }
    }

    #[test]
    fn uploads_lie_in_the_order_of_their_keys() {
        let bucket = BucketTag::from_bytes([7; 16]);
        let ids = [UploadId([0; 16]), UploadId([0xff; 16])];
        let keys = ["a", "a\u{1}", "a/b", "ab", "b"];
        let lie: Vec<_> = keys.iter().flat_map(|key| ids.map(|id| upload_key(bucket, key, id))).collect();
        assert!(lie.is_sorted());
        for (at, lies) in lie.iter().enumerate() {
            let (key, id) = of_upload_key(lies).unwrap();
            assert_eq!((key.as_str(), id), (keys[at / 2], ids[at % 2]));
        }
    }
}

//! What a change of the index is made of, within its transaction.

use heed::{RoTxn, RwTxn};
use proxima_model::{BucketTag, Timestamp};
use proxima_pipeline::{ObjectAbout, ObjectError, ObjectKey, UploadId};
use proxima_store::Db;
use serde::de::DeserializeOwned;

use super::{
    GARBAGE_KEPT_SECONDS,
    index::{Databases, failed},
    rows::{
        self, Blob, BlobRow, ContentRow, ObjectRow, Piece, UploadRow, decode, encode, object_key, upload_key,
    },
};

pub(super) fn get<T: DeserializeOwned>(
    db: &Db,
    txn: &RoTxn<'_>,
    key: &[u8],
) -> Result<Option<T>, ObjectError> {
    db.get(txn, key).map_err(failed)?.map(|row| decode(key, row)).transpose()
}

pub(super) fn put<T: serde::Serialize>(
    db: &Db,
    txn: &mut RwTxn<'_>,
    key: &[u8],
    value: &T,
) -> Result<(), ObjectError> {
    db.put(txn, key, &encode(key, value)?).map_err(failed)
}

/// Nothing may be written to a bucket that is closed.
pub(super) fn check_open(db: &Databases, txn: &RoTxn<'_>, bucket: BucketTag) -> Result<(), ObjectError> {
    match db.closed.get(txn, bucket.as_bytes()).map_err(failed)? {
        Some(_) => Err(ObjectError::NoSuchBucket),
        None => Ok(()),
    }
}

pub(super) fn content(db: &Databases, txn: &RoTxn<'_>, bucket: BucketTag) -> Result<ContentRow, ObjectError> {
    Ok(get(&db.contents, txn, bucket.as_bytes())?.unwrap_or_default())
}

/// How much all buckets have.
pub(super) fn all_content(db: &Databases, txn: &RoTxn<'_>) -> Result<ContentRow, ObjectError> {
    db.contents.iter(txn).map_err(failed)?.try_fold(ContentRow::default(), |sum, entry| {
        let (key, row) = entry.map_err(failed)?;
        let ContentRow { objects, octets } = rows::decode(key, row)?;
        Ok(ContentRow { objects: sum.objects + objects, octets: sum.octets + octets })
    })
}

pub(super) fn object(
    db: &Databases,
    txn: &RoTxn<'_>,
    bucket: BucketTag,
    key: &ObjectKey,
) -> Result<Option<ObjectRow>, ObjectError> {
    let lies = object_key(bucket, key);
    db.objects.get(txn, &lies).map_err(failed)?.map(|row| rows::decode_object(&lies, row)).transpose()
}

/// What is known of an object: the half of its row that is short.
pub(super) fn about(
    db: &Databases,
    txn: &RoTxn<'_>,
    bucket: BucketTag,
    key: &ObjectKey,
) -> Result<Option<ObjectAbout>, ObjectError> {
    let lies = object_key(bucket, key);
    db.objects.get(txn, &lies).map_err(failed)?.map(|row| rows::decode_about(&lies, row)).transpose()
}

pub(super) fn upload(
    db: &Databases,
    txn: &RoTxn<'_>,
    (bucket, key, upload): (BucketTag, &ObjectKey, UploadId),
) -> Result<UploadRow, ObjectError> {
    get(&db.uploads, txn, &upload_key(bucket, key.as_str(), upload))?.ok_or(ObjectError::NoSuchUpload)
}

/// Puts an object in the place of `former`, whose octets are thrown away. The files of its own are somebody's by now.
pub(super) fn put_object(
    db: &Databases,
    txn: &mut RwTxn<'_>,
    (bucket, key): (BucketTag, &ObjectKey),
    (row, former): (&ObjectRow, Option<&ObjectRow>),
) -> Result<(), ObjectError> {
    replace(db, txn, bucket, (Some(row), former), row.about.modified)?;
    let lies = object_key(bucket, key);
    db.objects.put(txn, &lies, &rows::encode_object(&lies, row)?).map_err(failed)
}

/// Deletes an object.
pub(super) fn delete_object(
    db: &Databases,
    txn: &mut RwTxn<'_>,
    (bucket, key): (BucketTag, &ObjectKey),
    former: &ObjectRow,
    now: Timestamp,
) -> Result<(), ObjectError> {
    replace(db, txn, bucket, (None, Some(former)), now)?;
    db.objects.delete(txn, &object_key(bucket, key)).map(drop).map_err(failed)
}

/// Counts what comes and goes, and throws away what goes.
fn replace(
    db: &Databases,
    txn: &mut RwTxn<'_>,
    bucket: BucketTag,
    (row, former): (Option<&ObjectRow>, Option<&ObjectRow>),
    now: Timestamp,
) -> Result<(), ObjectError> {
    let mut content = content(db, txn, bucket)?;
    if let Some(former) = former {
        content.objects = content.objects.saturating_sub(1);
        content.octets = content.octets.saturating_sub(former.about.octets);
        for piece in &former.pieces {
            throw_away(db, txn, piece, now)?;
        }
    }
    if let Some(row) = row {
        content.objects += 1;
        content.octets += row.about.octets;
    }
    if content == ContentRow::default() {
        return db.contents.delete(txn, bucket.as_bytes()).map(drop).map_err(failed);
    }
    put(&db.contents, txn, bucket.as_bytes(), &content)
}

/// A blob is somebody's.
pub(super) fn put_blob(
    db: &Databases,
    txn: &mut RwTxn<'_>,
    (bucket, key): (BucketTag, &ObjectKey),
    piece: &Piece,
) -> Result<(), ObjectError> {
    let Some(blob) = piece.at.blob() else { return Ok(()) };
    let key = key.as_str().to_owned();
    let row = BlobRow { octets: piece.octets, crc: piece.crc, bucket: *bucket.as_bytes(), key };
    put(&db.blobs, txn, &blob.key(), &row)
}

/// A blob is nobody's any more, and goes when nobody can be reading it. Until then its row says that it is there.
pub(super) fn throw_away(
    db: &Databases,
    txn: &mut RwTxn<'_>,
    piece: &Piece,
    now: Timestamp,
) -> Result<(), ObjectError> {
    let Some(blob) = piece.at.blob() else { return Ok(()) };
    let at = now.plus_seconds(GARBAGE_KEPT_SECONDS);
    db.garbage.put(txn, &rows::garbage_key(at, blob), &[]).map_err(failed)
}

/// Throws away the parts of an upload, but for those of these numbers, in their order, which an object has by now.
pub(super) fn delete_parts(
    db: &Databases,
    txn: &mut RwTxn<'_>,
    upload: UploadId,
    kept: &[u16],
    now: Timestamp,
) -> Result<(), ObjectError> {
    let mut parts = Vec::new();
    for found in db.parts.prefix_iter(txn, &upload.0).map_err(failed)? {
        let (lies, row) = found.map_err(failed)?;
        parts.push((lies.to_vec(), decode::<rows::PartRow>(lies, row)?));
    }
    for (lies, part) in parts {
        if kept.binary_search(&part.about.number).is_err() {
            throw_away(db, txn, &part.piece, now)?;
        }
        db.parts.delete(txn, &lies).map_err(failed)?;
    }
    Ok(())
}

/// Whether a blob is somebody's, or was and goes by itself.
pub(super) fn is_named(db: &Databases, txn: &RoTxn<'_>, blob: Blob) -> Result<bool, ObjectError> {
    Ok(db.blobs.get(txn, &blob.key()).map_err(failed)?.is_some())
}

//! Uploads in parts: begun, completed, thrown away.

use heed::RwTxn;
use md5::{Digest as _, Md5};
use proxima_model::{Bucket, Timestamp};
use proxima_pipeline::{
    ChecksumAlgorithm, ChecksumKind, OBJECT_PART_OCTETS_MIN, ObjectAbout, ObjectAction, ObjectChecksum,
    ObjectError, ObjectKey, PartChosen, UploadBegin, UploadComplete, UploadId,
};

use super::{
    Store, change, hashing,
    index::{Databases, failed},
    objects::come_into,
    outbox::Event,
    rows::{self, CompletedRow, ObjectRow, PartKept, PartRow, UploadRow, part_key, upload_key},
};

impl Store {
    /// Begins an upload.
    pub(crate) async fn begin_upload(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        mut begin: UploadBegin,
    ) -> Result<UploadId, ObjectError> {
        key.check_new()?;
        begin.fields.check()?;
        begin.fields = come_into(bucket, begin.fields);
        self.check_room().await?;
        let (store, bucket, key, begun) = (self.clone(), bucket.clone(), key.clone(), self.now());
        self.index
            .change(move |db, txn| {
                store.check_bucket(db, txn, &bucket)?;
                // Those of one key lie in the order in which they were begun, and behind those of keys that go on where this one ends:
                // no text has the first octet.
                let mut id: [u8; 16] = rand::random();
                let millis = u64::try_from(begun.as_millis()).unwrap_or_default();
                id[0] = u8::MAX;
                id[1..7].copy_from_slice(&millis.to_be_bytes()[2..]);
                let id = UploadId(id);
                let row = UploadRow { begun, begin };
                change::put(&db.uploads, txn, &upload_key(bucket.tag, key.as_str(), id), &row)?;
                Ok(id)
            })
            .await
    }

    /// Throws an upload away.
    pub(crate) async fn abort_upload(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<(), ObjectError> {
        let (tag, key, now) = (bucket.tag, key.clone(), self.now());
        self.index
            .change(move |db, txn| {
                change::upload(db, txn, (tag, &key, upload))?;
                change::delete_parts(db, txn, upload, &[], now)?;
                db.uploads.delete(txn, &upload_key(tag, key.as_str(), upload)).map(drop).map_err(failed)
            })
            .await
    }

    /// Makes an object of an upload.
    pub(crate) async fn complete_upload(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        upload: UploadId,
        complete: UploadComplete,
    ) -> Result<ObjectAbout, ObjectError> {
        let (store, bucket, key, now) = (self.clone(), bucket.clone(), key.clone(), self.now());
        let completed = self
            .index
            .change(move |db, txn| {
                let tag = bucket.tag;
                if let Some(about) = repeated(db, txn, (&bucket, &key), upload)? {
                    return Ok((about, None));
                }
                let mut recorder = store.recorder_of(store.check_bucket(db, txn, &bucket)?);
                let begun = change::upload(db, txn, (tag, &key, upload))?;
                let row = assemble(db, txn, upload, (begun.begin, &complete), now)?;
                let former = change::object(db, txn, tag, &key)?;
                complete.conditions.check_write(former.as_ref().map(|row| &row.about))?;
                // A part that was chosen is the one that lies under its number, and in the order of numbers.
                let chosen: Vec<u16> = complete.parts.iter().map(|part| part.number).collect();
                change::delete_parts(db, txn, upload, &chosen, now)?;
                db.uploads.delete(txn, &upload_key(tag, key.as_str(), upload)).map_err(failed)?;
                let completed = CompletedRow {
                    bucket: *tag.as_bytes(),
                    key: key.clone(),
                    version: row.about.version,
                    at: now,
                };
                change::put(&db.completed, txn, &upload.0, &completed)?;
                change::put_object(db, txn, (tag, &key), (&row, former.as_ref()))?;
                let (action, about) = (ObjectAction::CompleteMultipartUpload, Some(&row.about));
                recorder.record(db, txn, &Event { key: &key, action, about, source: None, at: now })?;
                Ok((row.about, Some(recorder)))
            })
            .await;
        completed.map(|(about, _)| about)
    }
}

/// What an upload became that was completed before, if that is still there.
fn repeated(
    db: &Databases,
    txn: &RwTxn<'_>,
    (bucket, key): (&Bucket, &ObjectKey),
    upload: UploadId,
) -> Result<Option<ObjectAbout>, ObjectError> {
    let Some(completed) = change::get::<CompletedRow>(&db.completed, txn, &upload.0)? else {
        return Ok(None);
    };
    if completed.bucket != *bucket.tag.as_bytes() || completed.key != *key {
        return Err(ObjectError::NoSuchUpload);
    }
    let there = change::object(db, txn, bucket.tag, key)?.map(|row| row.about);
    there.filter(|about| about.version == completed.version).map(Some).ok_or(ObjectError::NoSuchUpload)
}

/// The object that the chosen parts are.
fn assemble(
    db: &Databases,
    txn: &RwTxn<'_>,
    upload: UploadId,
    (begin, complete): (UploadBegin, &UploadComplete),
    now: Timestamp,
) -> Result<ObjectRow, ObjectError> {
    let chosen = &complete.parts;
    if chosen.is_empty() {
        return Err(ObjectError::Invalid("an object has at least one part".to_owned()));
    }
    if chosen.windows(2).any(|pair| pair[0].number >= pair[1].number) {
        return Err(ObjectError::InvalidPartOrder);
    }
    let mut found = Vec::with_capacity(chosen.len());
    for (at, choice) in chosen.iter().enumerate() {
        let part = change::get::<PartRow>(&db.parts, txn, &part_key(upload, choice.number))?;
        let part = part.filter(|part| is_chosen(part, choice)).ok_or(ObjectError::InvalidPart)?;
        if part.about.octets < OBJECT_PART_OCTETS_MIN && at + 1 < chosen.len() {
            return Err(ObjectError::PartTooSmall);
        }
        found.push(part);
    }
    let octets = found.iter().map(|part| part.about.octets).sum();
    if complete.octets.is_some_and(|expected| expected != octets) {
        return Err(ObjectError::Invalid("the parts are not as long as the object is said to be".to_owned()));
    }
    let (algorithm, kind) = begin.checksum.unwrap_or((ChecksumAlgorithm::Crc64Nvme, ChecksumKind::Full));
    let checksum = whole_checksum(&found, algorithm, kind);
    if let Some((given, value)) = &complete.checksum
        && checksum.as_ref().is_none_or(|checksum| checksum.algorithm != *given || checksum.value != *value)
    {
        return Err(ObjectError::BadDigest(given.field().to_owned()));
    }
    let mut md5 = Md5::new();
    found.iter().for_each(|part| md5.update(part.about.md5));
    let about = ObjectAbout {
        octets,
        etag: format!("{}-{}", hex::encode(md5.finalize()), found.len()),
        version: rand::random(),
        modified: now,
        fields: begin.fields,
        checksum,
        parts: u16::try_from(found.len()).ok(),
    };
    let parts = found.iter();
    let parts =
        parts.map(|part| PartKept { number: part.about.number, checksum: part.about.checksum.clone() });
    Ok(ObjectRow {
        about,
        parts: parts.collect(),
        pieces: found.into_iter().map(|part| part.piece).collect::<Vec<rows::Piece>>(),
    })
}

fn is_chosen(part: &PartRow, choice: &PartChosen) -> bool {
    let has = |algorithm: &ChecksumAlgorithm, value: &Vec<u8>| {
        part.about
            .checksum
            .as_ref()
            .is_some_and(|checksum| checksum.algorithm == *algorithm && checksum.value == *value)
    };
    part.about.etag() == choice.etag
        && choice.checksum.as_ref().is_none_or(|(algorithm, value)| has(algorithm, value))
}

/// The checksum of an object of these parts; nothing if they were not put with such ones.
fn whole_checksum(
    parts: &[PartRow],
    algorithm: ChecksumAlgorithm,
    kind: ChecksumKind,
) -> Option<ObjectChecksum> {
    let of = |part: &PartRow| match &part.about.checksum {
        Some(checksum) if checksum.algorithm == algorithm => Some(checksum.value.clone()),
        _ if algorithm == ChecksumAlgorithm::Crc64Nvme => Some(part.piece.crc.to_be_bytes().to_vec()),
        _ => None,
    };
    let mut values = parts.iter().map(|part| of(part).map(|value| (value, part.about.octets)));
    let value = match kind {
        ChecksumKind::Composite => {
            let values = values.map(|found| found.map(|(value, _)| value)).collect::<Option<Vec<_>>>()?;
            hashing::checksum(algorithm, &values.concat())
        }
        ChecksumKind::Full => {
            let (mut whole, _) = values.next()??;
            for found in values {
                let (value, octets) = found?;
                whole = hashing::combined(algorithm, &whole, &value, octets)?;
            }
            whole
        }
    };
    Some(ObjectChecksum { algorithm, kind, value })
}

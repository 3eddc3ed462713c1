//! Objects: read, put, copied, deleted.

use std::{collections::VecDeque, sync::Arc};

use heed::{RoTxn, RwTxn};
use proxima_model::{Bucket, BucketName, BucketTag, Timestamp};
use proxima_pipeline::{
    Body, ChecksumKind, ObjectAbout, ObjectAction, ObjectChecksum, ObjectConditions, ObjectCopy,
    ObjectDelete, ObjectError, ObjectFields, ObjectGet, ObjectKey, ObjectPut, ObjectRead, Span,
};

use super::{
    Known, Presence, ROWS_OF_CHANGE_MAX, Store,
    blobs::Pending,
    blocking, change,
    index::{Databases, meant},
    outbox::{Event, Recorder},
    reading,
    rows::{ObjectRow, Piece, Place},
};

/// How an object came to be.
struct Made {
    action: ObjectAction,
    /// What it is a copy of.
    source: Option<(BucketName, ObjectKey)>,
}

/// What is said of an object that comes into a bucket now: how that says from then on that objects are kept is not about it.
pub(super) fn come_into(bucket: &Bucket, mut fields: ObjectFields) -> ObjectFields {
    fields.storage_class = Some(fields.class_in(bucket));
    fields
}

impl Store {
    /// An object as it is now.
    pub(super) async fn find(&self, bucket: &Bucket, key: &ObjectKey) -> Result<ObjectRow, ObjectError> {
        let (tag, key) = (bucket.tag, key.clone());
        let found = self.index.read(move |db, txn| change::object(db, txn, tag, &key)).await?;
        found.ok_or(ObjectError::NoSuchKey)
    }

    /// What is known of an object.
    pub(crate) async fn head(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        get: ObjectGet,
    ) -> Result<(ObjectAbout, Option<Span>), ObjectError> {
        let (tag, key) = (bucket.tag, key.clone());
        self.index
            .read(move |db, txn| {
                let about = change::about(db, txn, tag, &key)?.ok_or(ObjectError::NoSuchKey)?;
                get.conditions.check_read(&about)?;
                // Where its parts lie, the other half of its row says, which is long.
                let part = |number| {
                    let row = change::object(db, txn, tag, &key)?.ok_or(ObjectError::NoSuchKey)?;
                    reading::part(&row, number)
                };
                let span = reading::span(about.octets, get.range, part)?;
                Ok((about, span))
            })
            .await
    }

    /// An object.
    pub(crate) async fn get(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        get: ObjectGet,
    ) -> Result<ObjectRead, ObjectError> {
        let row = self.find(bucket, key).await?;
        get.conditions.check_read(&row.about)?;
        let span = reading::span(row.about.octets, get.range, |number| reading::part(&row, number))?;
        let all = Span { start: 0, octets: row.about.octets };
        let body = self.body(row.pieces, span.unwrap_or(all)).await?;
        Ok(ObjectRead { about: row.about, span, body })
    }

    /// Puts an object.
    pub(crate) async fn put(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        put: ObjectPut,
        body: Body,
    ) -> Result<ObjectAbout, ObjectError> {
        key.check_new()?;
        put.fields.check()?;
        self.check_before(bucket, key, &put.conditions).await?;
        let received = self.receive(bucket.account, body, put.expected).await?;
        let about = ObjectAbout {
            octets: received.hashed.octets,
            etag: hex::encode(received.hashed.md5),
            version: rand::random(),
            modified: self.now(),
            fields: come_into(bucket, put.fields),
            checksum: Some(received.hashed.checksum.clone()),
            parts: None,
        };
        let (piece, pending) = received.into_piece();
        let row = ObjectRow { about, pieces: vec![piece], parts: Vec::new() };
        let made = match put.copied_from {
            None => Made { action: ObjectAction::PutObject, source: None },
            source => Made { action: ObjectAction::CopyObject, source },
        };
        self.commit((bucket, key), put.conditions, made, row, pending.into_iter().collect()).await
    }

    /// What would be refused in the end need not be sent first.
    async fn check_before(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        conditions: &ObjectConditions,
    ) -> Result<(), ObjectError> {
        let (store, bucket, key, conditions) =
            (self.clone(), bucket.clone(), key.clone(), conditions.clone());
        self.index
            .read(move |db, txn| {
                store.check_bucket(db, txn, &bucket)?;
                let current = change::about(db, txn, bucket.tag, &key)?;
                conditions.check_write(current.as_ref())
            })
            .await
    }

    /// Makes an object seen, if it may be.
    async fn commit(
        &self,
        (bucket, key): (&Bucket, &ObjectKey),
        conditions: ObjectConditions,
        made: Made,
        row: ObjectRow,
        pending: Vec<Pending>,
    ) -> Result<ObjectAbout, ObjectError> {
        self.check_room().await?;
        let (store, bucket, key) = (self.clone(), bucket.clone(), key.clone());
        let mut pending = pending;
        let put = self.index.change(move |db, txn| {
            let mut recorder = store.recorder_of(store.check_bucket(db, txn, &bucket)?);
            let former = change::object(db, txn, bucket.tag, &key)?;
            conditions.check_write(former.as_ref().map(|row| &row.about))?;
            for piece in &row.pieces {
                change::put_blob(db, txn, (bucket.tag, &key), piece)?;
            }
            change::put_object(db, txn, (bucket.tag, &key), (&row, former.as_ref()))?;
            let (about, source) = (Some(&row.about), made.source.as_ref());
            let event = Event { key: &key, action: made.action, about, source, at: row.about.modified };
            recorder.record(db, txn, &event)?;
            pending.iter_mut().for_each(Pending::named);
            // They are held until it is durable, and let go of then.
            Ok((row.about, (pending, recorder)))
        });
        put.await.map(|(about, _)| about)
    }

    /// Whether the index may grow.
    pub(super) async fn check_room(&self) -> Result<(), ObjectError> {
        let blobs = self.blobs.clone();
        blocking(move || blobs.space().check_rows().map_err(meant)).await
    }

    /// What is known of a bucket now, if it may be written to, as of this transaction.
    pub(super) fn check_bucket(
        &self,
        db: &Databases,
        txn: &RoTxn<'_>,
        bucket: &Bucket,
    ) -> Result<Arc<Known>, ObjectError> {
        change::check_open(db, txn, bucket.tag)?;
        match (self.presence)(bucket) {
            Presence::There(known) => Ok(known),
            Presence::Gone => Err(ObjectError::NoSuchBucket),
            Presence::Unknown => Err(ObjectError::Busy),
        }
    }

    /// Copies an object: its files get further names, and what lies in the engine is copied there.
    pub(crate) async fn copy(
        &self,
        (from_bucket, from_key): (&Bucket, &ObjectKey),
        (bucket, key): (&Bucket, &ObjectKey),
        copy: ObjectCopy,
    ) -> Result<ObjectAbout, ObjectError> {
        key.check_new()?;
        let row = self.find(from_bucket, from_key).await?;
        copy.source.check_source(&row.about)?;
        let mut about = row.about.clone();
        let fields = copy.fields_of(about.fields);
        fields.check()?;
        about.fields = come_into(bucket, fields);
        about.version = rand::random();
        about.modified = self.now();
        // First, since the original's files may go while they are read, however long that takes.
        let (pieces, pending) = self.copy_pieces(row.pieces).await?;
        if let Some(algorithm) = copy.checksum
            && about.checksum.as_ref().is_none_or(|checksum| checksum.algorithm != algorithm)
        {
            let value = self.checksum_of(&pieces, algorithm).await?;
            about.checksum = Some(ObjectChecksum { algorithm, kind: ChecksumKind::Full, value });
        }
        let row = ObjectRow { about, pieces, parts: row.parts };
        let source = Some((from_bucket.name.clone(), from_key.clone()));
        let made = Made { action: ObjectAction::CopyObject, source };
        self.commit((bucket, key), copy.conditions, made, row, pending).await
    }

    /// The same octets for another row.
    pub(super) async fn copy_pieces(
        &self,
        pieces: Vec<Piece>,
    ) -> Result<(Vec<Piece>, Vec<Pending>), ObjectError> {
        let blobs = self.blobs.clone();
        let (mut pieces, mut pending) = blocking(move || {
            let files = pieces.iter().filter_map(|piece| match piece.at {
                Place::Blob(id) => Some((id, piece.octets)),
                Place::Row(_) | Place::Engine(_) => None,
            });
            let pending = blobs.copy(files)?;
            let mut copies = pending.iter().map(Pending::blob);
            let copied = |piece: Piece| match piece.at {
                Place::Row(_) | Place::Engine(_) => piece,
                Place::Blob(_) => Piece { at: copies.next().expect("each has a copy").into(), ..piece },
            };
            let copies = pieces.into_iter().map(copied).collect::<Vec<_>>();
            Ok((copies, pending))
        })
        .await?;
        // What is copied stays, however long that takes.
        let held: Vec<_> = pieces.iter().filter_map(|piece| piece.at.blob()).collect();
        let _held: Vec<_> = held.into_iter().map(|blob| self.blobs.reading(blob)).collect();
        for piece in &mut pieces {
            let Place::Engine(id) = piece.at else { continue };
            let copy = self.blobs.engine_of(id)?.copy(&self.blobs, id, piece.octets).await?;
            piece.at = copy.blob().into();
            pending.push(copy);
        }
        Ok((pieces, pending))
    }

    /// Deletes what these keys have.
    pub(crate) async fn delete(
        &self,
        bucket: &Bucket,
        keys: Vec<ObjectDelete>,
    ) -> Result<Vec<Result<(), ObjectError>>, ObjectError> {
        let (now, asked) = (self.now(), keys.len());
        let (mut left, mut outcomes) = (VecDeque::from(keys), Vec::with_capacity(asked));
        while !left.is_empty() {
            let (store, bucket) = (self.clone(), bucket.clone());
            let some = self.index.change(move |db, txn| {
                change::check_open(db, txn, bucket.tag)?;
                let mut recorder = store.recorder(&bucket);
                let outcomes = delete_some(db, txn, (bucket.tag, &mut recorder), &mut left, now)?;
                Ok((outcomes, left, recorder))
            });
            match some.await {
                Ok((some, rest, _)) => {
                    outcomes.extend(some);
                    left = rest;
                }
                Err(error) if outcomes.is_empty() => return Err(error),
                // What was deleted is so.
                Err(error) => {
                    outcomes.resize(asked, Err(error));
                    return Ok(outcomes);
                }
            }
        }
        Ok(outcomes)
    }
}

/// Deletes the first of these keys, as many as one change may.
fn delete_some(
    db: &Databases,
    txn: &mut RwTxn<'_>,
    (bucket, recorder): (BucketTag, &mut Recorder),
    keys: &mut VecDeque<ObjectDelete>,
    now: Timestamp,
) -> Result<Vec<Result<(), ObjectError>>, ObjectError> {
    let (mut outcomes, mut rows) = (Vec::new(), 0);
    while rows < ROWS_OF_CHANGE_MAX
        && let Some(ObjectDelete { key, conditions }) = keys.pop_front()
    {
        rows += 1;
        let Some(row) = change::object(db, txn, bucket, &key)? else {
            outcomes.push(Ok(()));
            continue;
        };
        let checked = conditions.check_write(Some(&row.about));
        if checked.is_ok() {
            rows += row.pieces.len();
            change::delete_object(db, txn, (bucket, &key), &row, now)?;
            let action = ObjectAction::DeleteObject;
            recorder.record(db, txn, &Event { key: &key, action, about: None, source: None, at: now })?;
        }
        outcomes.push(checked);
    }
    Ok(outcomes)
}

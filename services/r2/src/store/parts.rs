//! Parts of uploads.

use std::ops::Bound;

use proxima_model::Bucket;
use proxima_pipeline::{
    Body, Expected, OBJECT_PARTS_MAX, OBJECTS_LISTED_MAX, ObjectConditions, ObjectError, ObjectKey,
    ObjectPartPage, ObjectRange, PartAbout, PartKept, PartPage, Span, UploadAbout, UploadId,
};

use super::{
    Store,
    blobs::Pending,
    change,
    index::failed,
    reading,
    rows::{self, PartRow, decode, part_key},
};

/// Which part of which upload.
pub(crate) type WhichPart<'a> = (&'a Bucket, &'a ObjectKey, UploadId, u16);

impl Store {
    /// Puts a part.
    pub(crate) async fn put_part(
        &self,
        (bucket, key, upload, number): WhichPart<'_>,
        mut expected: Expected,
        body: Body,
    ) -> Result<PartAbout, ObjectError> {
        if !(1..=OBJECT_PARTS_MAX).contains(&number) {
            let what = format!("a part's number is from 1 to {OBJECT_PARTS_MAX}");
            return Err(ObjectError::Invalid(what));
        }
        let (store, of_read, of) = (self.clone(), bucket.clone(), key.clone());
        let begun = self.index.read(move |db, txn| {
            store.check_bucket(db, txn, &of_read)?;
            change::upload(db, txn, (of_read.tag, &of, upload))
        });
        let begun = begun.await?;
        // What was announced for the whole is made of what its parts have.
        if expected.checksum.is_none()
            && let Some((algorithm, _)) = begun.begin.checksum
        {
            expected.checksum = Some((algorithm, None));
        }
        let received = self.receive(bucket.account, body, expected).await?;
        let about = PartAbout {
            number,
            octets: received.hashed.octets,
            md5: received.hashed.md5,
            modified: self.now(),
            checksum: Some(received.hashed.checksum.clone()),
        };
        let (piece, pending) = received.into_piece();
        self.check_room().await?;
        let (store, bucket, key) = (self.clone(), bucket.clone(), key.clone());
        let put = self.index.change(move |db, txn| {
            let mut pending = pending;
            store.check_bucket(db, txn, &bucket)?;
            // It may have been completed or thrown away meanwhile.
            change::upload(db, txn, (bucket.tag, &key, upload))?;
            let lies = part_key(upload, number);
            if let Some(former) = change::get::<PartRow>(&db.parts, txn, &lies)? {
                change::throw_away(db, txn, &former.piece, about.modified)?;
            }
            change::put_blob(db, txn, (bucket.tag, &key), &piece)?;
            let row = PartRow { about, piece };
            change::put(&db.parts, txn, &lies, &row)?;
            pending.iter_mut().for_each(Pending::named);
            Ok((row.about, pending))
        });
        put.await.map(|(about, _)| about)
    }

    /// Puts a part that is some octets of an object.
    pub(crate) async fn copy_part(
        &self,
        (from_bucket, from_key): (&Bucket, &ObjectKey),
        (range, conditions): (Option<ObjectRange>, &ObjectConditions),
        part: WhichPart<'_>,
    ) -> Result<PartAbout, ObjectError> {
        let row = self.find(from_bucket, from_key).await?;
        conditions.check_source(&row.about)?;
        let all = Span { start: 0, octets: row.about.octets };
        let span = reading::span(row.about.octets, range, |number| reading::part(&row, number))?;
        let span = span.unwrap_or(all);
        let expected = Expected { octets: Some(span.octets), ..Expected::default() };
        self.put_part(part, expected, self.body(row.pieces, span).await?).await
    }

    /// The parts that an object was uploaded in.
    pub(crate) async fn parts_of(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        (after, limit): (u16, usize),
    ) -> Result<ObjectPartPage, ObjectError> {
        let row = self.find(bucket, key).await?;
        let octets = row.pieces.iter().map(|piece| piece.octets);
        let mut parts = row.parts.into_iter().zip(octets).filter(|(part, _)| part.number > after);
        let some = parts.by_ref().take(limit.min(OBJECTS_LISTED_MAX));
        let some =
            some.map(|(rows::PartKept { number, checksum }, octets)| PartKept { number, octets, checksum });
        let some = some.collect();
        Ok(ObjectPartPage { about: row.about, parts: some, has_more: parts.next().is_some() })
    }

    /// Parts that were put.
    pub(crate) async fn parts(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        upload: UploadId,
        (after, limit): (u16, usize),
    ) -> Result<PartPage, ObjectError> {
        let (tag, key) = (bucket.tag, key.clone());
        self.index
            .read(move |db, txn| {
                let begun = change::upload(db, txn, (tag, &key, upload))?;
                let about = UploadAbout { key, id: upload, begun: begun.begun, begin: begun.begin };
                let (from, to) = (part_key(upload, after), part_key(upload, u16::MAX));
                let range = (Bound::Excluded(&from[..]), Bound::Included(&to[..]));
                let mut page = PartPage { upload: about, parts: Vec::new(), has_more: false };
                for found in db.parts.range(txn, &range).map_err(failed)? {
                    let (lies, row) = found.map_err(failed)?;
                    if page.parts.len() == limit.min(OBJECTS_LISTED_MAX) {
                        page.has_more = true;
                        break;
                    }
                    page.parts.push(decode::<PartRow>(lies, row)?.about);
                }
                Ok(page)
            })
            .await
    }
}

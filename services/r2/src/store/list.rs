//! Listings: pages of keys, several of which a delimiter makes one.
//!
//! What a page costs is bounded by its limit and not by what is in the bucket: each row that is looked at is shown, or the walk goes
//! on behind all that it stands for, and of a row that is shown the half that is short is read.

use std::ops::Bound;

use heed::RoTxn;
use proxima_model::{Bucket, BucketTag};
use proxima_pipeline::{
    OBJECT_KEY_OCTETS_MAX, OBJECTS_LISTED_MAX, ObjectError, ObjectKey, ObjectListing, ObjectPage,
    UploadAbout, UploadId, UploadListing, UploadPage,
};

use super::{
    Store,
    index::{Databases, failed},
    rows::{self, ID_OCTETS, UploadRow, decode},
};

/// How keys are walked.
struct Walk<'a> {
    bucket: BucketTag,
    prefix: &'a str,
    delimiter: Option<&'a str>,
    /// What was shown last: what stands for several keys, and is not beyond it, was shown before.
    after: Option<&'a str>,
}

/// What a walk has come to.
enum Step {
    /// What stands for several keys; the walk goes on behind them.
    Several(String),
    /// A key by itself.
    One,
    /// What was shown before; the walk goes on behind it.
    Shown(String),
}

impl Walk<'_> {
    /// Where it begins.
    fn begin(&self) -> Bound<Vec<u8>> {
        match self.after {
            // Keys beyond the first octets of a marker that no key can have are beyond the marker.
            Some(after) if after > self.prefix => {
                let octets = &after.as_bytes()[..after.len().min(OBJECT_KEY_OCTETS_MAX)];
                Bound::Excluded([self.bucket.as_bytes(), octets].concat())
            }
            _ => Bound::Included([self.bucket.as_bytes(), self.prefix.as_bytes()].concat()),
        }
    }

    /// What keys must begin with.
    fn all(&self) -> Vec<u8> {
        [self.bucket.as_bytes(), self.prefix.as_bytes()].concat()
    }

    fn step(&self, key: &str) -> Step {
        let Some(delimiter) = self.delimiter.filter(|delimiter| !delimiter.is_empty()) else {
            return Step::One;
        };
        match key[self.prefix.len()..].find(delimiter) {
            None => Step::One,
            Some(at) => {
                let several = key[..self.prefix.len() + at + delimiter.len()].to_owned();
                match self.after {
                    Some(after) if several.as_str() <= after => Step::Shown(several),
                    _ => Step::Several(several),
                }
            }
        }
    }

    /// Where it goes on behind all that begins so. Keys are UTF-8, in which no octet is the highest.
    fn behind(&self, several: &str) -> Bound<Vec<u8>> {
        let mut lies = [self.bucket.as_bytes(), several.as_bytes()].concat();
        *lies.last_mut().expect("a tag has octets") += 1;
        Bound::Included(lies)
    }
}

impl Store {
    /// Keys of objects.
    pub(crate) async fn list(
        &self,
        bucket: &Bucket,
        asked: ObjectListing,
    ) -> Result<ObjectPage, ObjectError> {
        let tag = bucket.tag;
        self.index.read(move |db, txn| objects(db, txn, tag, &asked)).await
    }

    /// Uploads.
    pub(crate) async fn uploads(
        &self,
        bucket: &Bucket,
        asked: UploadListing,
    ) -> Result<UploadPage, ObjectError> {
        let tag = bucket.tag;
        self.index.read(move |db, txn| uploads(db, txn, tag, &asked)).await
    }
}

fn objects(
    db: &Databases,
    txn: &RoTxn<'_>,
    bucket: BucketTag,
    asked: &ObjectListing,
) -> Result<ObjectPage, ObjectError> {
    let (prefix, delimiter) = (asked.prefix.as_str(), asked.delimiter.as_deref());
    let walk = Walk { bucket, prefix, delimiter, after: asked.after.as_deref() };
    let (mut page, mut last) = (ObjectPage::default(), None);
    if prefix.len() > OBJECT_KEY_OCTETS_MAX || asked.limit == 0 {
        return Ok(page);
    }
    let (mut from, all) = (walk.begin(), walk.all());
    'walk: loop {
        let range = (from.as_ref().map(Vec::as_slice), Bound::Unbounded);
        for found in db.objects.range(txn, &range).map_err(failed)? {
            let (lies, row) = found.map_err(failed)?;
            if !lies.starts_with(&all) {
                return Ok(page);
            }
            let key = rows::of_object_key(lies)?;
            let step = walk.step(key.as_str());
            if let Step::Shown(several) = step {
                from = walk.behind(&several);
                continue 'walk;
            }
            if page.objects.len() + page.prefixes.len() == asked.limit.min(OBJECTS_LISTED_MAX) {
                page.next = last;
                return Ok(page);
            }
            if let Step::Several(several) = step {
                from = walk.behind(&several);
                last = Some(several.clone());
                page.prefixes.push(several);
                continue 'walk;
            }
            last = Some(key.as_str().to_owned());
            page.objects.push((key, rows::decode_about(lies, row)?));
        }
        return Ok(page);
    }
}

fn uploads(
    db: &Databases,
    txn: &RoTxn<'_>,
    bucket: BucketTag,
    asked: &UploadListing,
) -> Result<UploadPage, ObjectError> {
    let (prefix, delimiter) = (asked.prefix.as_str(), asked.delimiter.as_deref());
    let after = asked.after.as_ref().map(|(key, _)| key.as_str());
    let walk = Walk { bucket, prefix, delimiter, after };
    let (mut page, mut last) = (UploadPage::default(), None);
    let is_too_long = |text: &str| text.len() > OBJECT_KEY_OCTETS_MAX;
    if is_too_long(prefix) || after.is_some_and(is_too_long) || asked.limit == 0 {
        return Ok(page);
    }
    let mut from = match &asked.after {
        Some((key, upload)) if key.as_str() >= prefix => {
            // Without an upload: behind all of this key.
            let upload = upload.unwrap_or(UploadId([0xff; ID_OCTETS]));
            Bound::Excluded(rows::upload_key(bucket, key, upload))
        }
        _ => walk.begin(),
    };
    let all = walk.all();
    'walk: loop {
        let range = (from.as_ref().map(Vec::as_slice), Bound::Unbounded);
        for found in db.uploads.range(txn, &range).map_err(failed)? {
            let (lies, row) = found.map_err(failed)?;
            if !lies.starts_with(&all) {
                return Ok(page);
            }
            let (key, id): (ObjectKey, _) = rows::of_upload_key(lies)?;
            // What lies behind the key may be what ends a prefix, or a marker, that has the octet in between: the walk goes on
            // behind all uploads of that key.
            if !key.as_str().starts_with(prefix) || after.is_some_and(|after| key.as_str() < after) {
                from = Bound::Excluded(rows::upload_key(bucket, key.as_str(), UploadId([0xff; ID_OCTETS])));
                continue 'walk;
            }
            let step = walk.step(key.as_str());
            if let Step::Shown(several) = step {
                from = walk.behind(&several);
                continue 'walk;
            }
            if page.uploads.len() + page.prefixes.len() == asked.limit.min(OBJECTS_LISTED_MAX) {
                page.next = last;
                return Ok(page);
            }
            if let Step::Several(several) = step {
                from = walk.behind(&several);
                last = Some((several.clone(), None));
                page.prefixes.push(several);
                continue 'walk;
            }
            last = Some((key.as_str().to_owned(), Some(id)));
            let UploadRow { begun, begin } = decode(lies, row)?;
            page.uploads.push(UploadAbout { key, id, begun, begin });
        }
        return Ok(page);
    }
}

//! Buckets that are closed, to be deleted; see [`crate::buckets`] for a bucket's life.

use proxima_model::{Bucket, BucketTag};
use proxima_pipeline::ObjectError;

use super::{
    Store, change,
    index::failed,
    rows::{ContentRow, ID_OCTETS, Mark, decode},
    sweep::{Obstacles, Rows, some},
};

/// How old the mark of an attempt is before another one looks after it: an attempt that is under way sees to its own.
const ABANDONED_SECONDS: i64 = 60;

impl Store {
    /// Closes a bucket if it is empty: nothing is written to it from here on. The mark is a new one, also where there is another.
    pub(crate) async fn close(&self, bucket: &Bucket) -> Result<Mark, ObjectError> {
        let (tag, at) = (bucket.tag, self.now());
        let mark = Mark { token: rand::random(), account: bucket.account, name: bucket.name.clone(), at };
        self.index
            .change(move |db, txn| {
                if change::content(db, txn, tag)? != ContentRow::default() {
                    return Err(ObjectError::BucketNotEmpty);
                }
                change::put(&db.closed, txn, tag.as_bytes(), &mark)?;
                Ok(mark)
            })
            .await
    }

    /// Lifts this very mark; whether it was there.
    pub(crate) async fn lift(&self, tag: BucketTag, mark: &Mark) -> Result<bool, ObjectError> {
        let token = mark.token;
        self.index
            .change(move |db, txn| {
                let there = change::get::<Mark>(&db.closed, txn, tag.as_bytes())?;
                if there.is_none_or(|there| there.token != token) {
                    return Ok(false);
                }
                db.closed.delete(txn, tag.as_bytes()).map_err(failed)
            })
            .await
    }

    /// Some buckets after one that have been closed for longer than an attempt to delete one lasts, and the last that was looked at.
    pub(crate) async fn abandoned(
        &self,
        after: Option<BucketTag>,
        obstacles: &mut Obstacles,
    ) -> Result<(Vec<(BucketTag, Mark)>, Option<BucketTag>), ObjectError> {
        let from = after.map_or_else(Vec::new, |tag| tag.as_bytes().to_vec());
        let found: Rows = self.index.read(move |db, txn| some(&db.closed, txn, &from)).await?;
        let before = self.now().plus_seconds(-ABANDONED_SECONDS);
        let (mut abandoned, mut last) = (Vec::new(), None);
        for (key, row) in found {
            let Some(tag) = key.first_chunk::<ID_OCTETS>().map(|tag| BucketTag::from_bytes(*tag)) else {
                continue;
            };
            last = Some(tag);
            match decode::<Mark>(&key, &row) {
                Ok(mark) if mark.at <= before => abandoned.push((tag, mark)),
                Ok(_) => {}
                // Nobody writes to it, which is safe.
                Err(_) => obstacles.met(|| format!("the mark of the closed bucket {tag} is damaged")),
            }
        }
        Ok((abandoned, last))
    }
}

//! Remains of buckets that the log does not name any more: swept, but not before it is sure that they are nobody's.
//!
//! A bucket is found to be gone only by a replica that lacks nothing of the log ([`Living`]); since when is kept in the index, and
//! forgotten when the log names it again. What it had stays for [`KEPT_SECONDS`], in which a revert of the log brings it back.
//! One that comes back later than that may be written to at once, so each change looks anew whether the bucket is still gone.

use std::{collections::BTreeSet, sync::Arc};

use heed::RoTxn;
use proxima_model::{BucketTag, Timestamp};
use proxima_pipeline::ObjectError;
use proxima_store::Db;

use super::{
    Store, change,
    index::{Databases, failed},
    lifecycle::Living,
    rows::{self, ContentRow, ID_OCTETS},
    sweep::Obstacles,
};

/// How long remains of a bucket are kept: a week, for who reverts the log after a weekend.
const KEPT_SECONDS: i64 = 7 * 86_400;

/// Says of a bucket whether it is gone at this moment.
pub(crate) type IsGone = Arc<dyn Fn(BucketTag) -> bool + Send + Sync>;

impl Store {
    /// Takes note of buckets that are gone, and sweeps what is left of those that have been for long and are by now.
    pub(crate) async fn sweep_gone(&self, living: &Living, is_gone: IsGone) -> Result<(), ObjectError> {
        if !living.lacks_nothing() {
            return Ok(());
        }
        let now = self.now();
        let (here, noted) = self.index.read(|db, txn| Ok((tags(db, txn)?, noted(db, txn)?))).await?;
        let again: Vec<_> = noted.iter().copied().filter(|tag| living.names(*tag)).collect();
        let gone: Vec<_> = here.into_iter().filter(|tag| !living.names(*tag)).collect();
        let news: Vec<_> = gone.iter().copied().filter(|tag| !noted.contains(tag)).collect();
        if !again.is_empty() || !news.is_empty() {
            let note = self.index.change(move |db, txn| {
                for tag in again {
                    db.gone.delete(txn, tag.as_bytes()).map_err(failed)?;
                }
                news.iter().try_for_each(|tag| change::put(&db.gone, txn, tag.as_bytes(), &now))
            });
            note.await?;
        }
        let mut obstacles = Obstacles::default();
        for tag in gone {
            if self.is_over(tag, now, &mut obstacles).await? {
                let swept = self.sweep_bucket(tag, now, &is_gone, &mut obstacles).await;
                obstacles.pass_over(swept)?;
            }
        }
        self.tell("sweeping what deleted buckets had", obstacles);
        Ok(())
    }

    async fn is_over(
        &self,
        tag: BucketTag,
        now: Timestamp,
        obstacles: &mut Obstacles,
    ) -> Result<bool, ObjectError> {
        let since = self.index.read(move |db, txn| {
            let row = db.gone.get(txn, tag.as_bytes()).map_err(failed)?;
            Ok(row.map(|row| rows::decode::<Timestamp>(tag.as_bytes(), row)))
        });
        match since.await? {
            Some(Ok(since)) => Ok(since.plus_seconds(KEPT_SECONDS) <= now),
            None => Ok(false),
            Some(Err(_)) => {
                obstacles.met(|| format!("since when the bucket {tag} is gone is damaged, and begins anew"));
                self.index.change(move |db, txn| change::put(&db.gone, txn, tag.as_bytes(), &now)).await?;
                Ok(false)
            }
        }
    }

    /// Ends all that a bucket had, and forgets it when nothing is left.
    async fn sweep_bucket(
        &self,
        tag: BucketTag,
        now: Timestamp,
        is_gone: &IsGone,
        obstacles: &mut Obstacles,
    ) -> Result<(), ObjectError> {
        let may = {
            let is_gone = is_gone.clone();
            move || is_gone(tag)
        };
        self.end_objects((tag, "", None), |_, _| true, may.clone(), obstacles).await?;
        self.end_uploads_of(tag, now, may.clone(), obstacles).await?;
        self.remove_notifications_of(tag, may.clone(), obstacles).await?;
        let forget = self.index.change(move |db, txn| {
            let is_empty = may()
                && change::content(db, txn, tag)? == ContentRow::default()
                && first(&db.objects, txn, tag.as_bytes())?
                    .is_none_or(|lies| !lies.starts_with(tag.as_bytes()));
            if is_empty {
                db.closed.delete(txn, tag.as_bytes()).map_err(failed)?;
                db.gone.delete(txn, tag.as_bytes()).map_err(failed)?;
            }
            Ok(())
        });
        forget.await
    }

    async fn end_uploads_of(
        &self,
        tag: BucketTag,
        now: Timestamp,
        may: impl Fn() -> bool + Clone + Send + 'static,
        obstacles: &mut Obstacles,
    ) -> Result<(), ObjectError> {
        let mut after = tag.as_bytes().to_vec();
        loop {
            let found = self.rows(after, |db| db.uploads).await?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            after = last.clone();
            for (lies, _) in found {
                if !lies.starts_with(tag.as_bytes()) {
                    return Ok(());
                }
                let ended = match rows::of_upload_key(&lies) {
                    Ok((key, upload)) => self.end_upload((tag, key, upload), now, may.clone()).await,
                    Err(error) => Err(error),
                };
                obstacles.pass_over(ended)?;
            }
        }
    }
}

/// The first key from one on.
fn first(db: &Db, txn: &RoTxn<'_>, from: &[u8]) -> Result<Option<Vec<u8>>, ObjectError> {
    let found = db.get_greater_than_or_equal_to(txn, from).map_err(failed)?;
    Ok(found.map(|(key, _)| key.to_vec()))
}

/// Buckets of which anything is here: objects, uploads, or a mark. Each costs some look-ups, however much it has.
fn tags(db: &Databases, txn: &RoTxn<'_>) -> Result<BTreeSet<BucketTag>, ObjectError> {
    let mut tags = BTreeSet::new();
    for of in [&db.objects, &db.uploads, &db.contents, &db.closed] {
        let mut from = Some([0; ID_OCTETS]);
        while let Some(at) = from {
            let found = first(of, txn, &at)?;
            let Some(tag) = found.as_ref().and_then(|lies| lies.first_chunk::<ID_OCTETS>()) else { break };
            tags.insert(BucketTag::from_bytes(*tag));
            from = u128::from_be_bytes(*tag).checked_add(1).map(u128::to_be_bytes);
        }
    }
    Ok(tags)
}

/// Buckets that were found to be gone.
fn noted(db: &Databases, txn: &RoTxn<'_>) -> Result<BTreeSet<BucketTag>, ObjectError> {
    let mut noted = BTreeSet::new();
    for found in db.gone.iter(txn).map_err(failed)? {
        let (key, _) = found.map_err(failed)?;
        noted.extend(key.first_chunk::<ID_OCTETS>().map(|tag| BucketTag::from_bytes(*tag)));
    }
    Ok(noted)
}

//! What is done behind everybody's back: files of what was replaced go, what a crash left goes, uploads that nobody ends are
//! ended, and everything is read now and then to find what has rotted.

use std::{ops::Bound, time::Duration};

use heed::RoTxn;
use proxima_model::{BucketTag, Timestamp};
use proxima_pipeline::{ObjectError, ObjectKey, UploadId};

use super::{
    Store, blobs, blocking, change,
    index::{Databases, failed},
    rows::{self, BlobId, BlobRow, CompletedRow, ID_OCTETS, ObjectRow, UploadRow, decode},
};

/// Rows that are looked at in one transaction: as long as one is open, LMDB reuses no page.
const BATCH: usize = 500;
/// How long an upload may last of which nothing else is said; as long as in R2.
const UPLOAD_DAYS_MAX: i64 = 7;
/// How long is remembered what an upload became: longer than any client asks again.
const COMPLETED_KEPT_SECONDS: i64 = 86_400;
/// Octets that the scrubber reads at once.
const SCRUB_CHUNK_OCTETS: u64 = 1 << 20;
/// Its rest after each of them: at most 10 MiB a second, of what a slow disk gives in a tenth of its time.
const SCRUB_REST: Duration = Duration::from_millis(100);

type Db = heed::Database<'static, heed::types::Bytes, heed::types::Bytes>;
type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Some rows after a key.
fn some(db: &Db, txn: &RoTxn<'_>, after: &[u8]) -> Result<Rows, ObjectError> {
    // LMDB has no empty keys.
    let from = if after.is_empty() { Bound::Unbounded } else { Bound::Excluded(after) };
    let range = (from, Bound::Unbounded);
    let rows = db.range(txn, &range).map_err(failed)?.take(BATCH);
    rows.map(|found| found.map(|(key, row)| (key.to_vec(), row.to_vec())).map_err(failed)).collect()
}

impl Store {
    /// Some rows after a key of the database that `which` chooses.
    async fn rows(
        &self,
        after: Vec<u8>,
        which: impl Fn(&Databases) -> Db + Send + 'static,
    ) -> Result<Rows, ObjectError> {
        self.index.read(move |db, txn| some(&which(db), txn, &after)).await
    }

    /// Removes files whose time has come.
    pub(crate) async fn collect(&self) -> Result<(), ObjectError> {
        let now = self.now();
        let mut after = Vec::new();
        loop {
            let found = self.rows(after, |db| db.garbage).await?;
            let last = found.last().map(|(key, _)| key.clone());
            let due = rows::garbage_key(now, BlobId([0xff; ID_OCTETS]));
            let due: Vec<_> = found.into_iter().map(|(key, _)| key).filter(|key| *key <= due).collect();
            let Some(last) = last.filter(|_| !due.is_empty()) else { return Ok(()) };
            let blobs = self.blobs.clone();
            let removed = blocking(move || {
                let mut removed = Vec::with_capacity(due.len());
                for key in due {
                    let id = key.last_chunk::<ID_OCTETS>();
                    let id = id.ok_or_else(|| ObjectError::Broken("garbage's key is damaged".to_owned()))?;
                    if blobs.remove(BlobId(*id)).map_err(|error| blobs::failed(&error))? {
                        removed.push((key.clone(), *id));
                    }
                }
                Ok(removed)
            });
            let removed = removed.await?;
            self.metrics.collected.inc_by(removed.len() as u64);
            let forget = self.index.change(move |db, txn| {
                for (key, id) in removed {
                    db.garbage.delete(txn, &key).map_err(failed)?;
                    db.blobs.delete(txn, &id).map_err(failed)?;
                }
                Ok(())
            });
            forget.await?;
            after = last;
        }
    }

    /// Removes files that no row names and nobody is about to name.
    pub(crate) async fn remove_strays(&self) -> Result<usize, ObjectError> {
        let (blobs, index) = (self.blobs.clone(), self.index.clone());
        // Each look is at the state of its moment.
        let removed = blocking(move || {
            blobs.remove_strays(|id| index.read_here(|db, txn| change::is_named(db, txn, id)))
        });
        let removed = removed.await?;
        self.metrics.strays.inc_by(removed as u64);
        Ok(removed)
    }

    /// Ends uploads that are too old, and forgets what others became.
    pub(crate) async fn end_uploads(&self) -> Result<(), ObjectError> {
        let now = self.now();
        let oldest = now.plus_seconds(-UPLOAD_DAYS_MAX * 86_400);
        let mut after = Vec::new();
        loop {
            let found = self.rows(after, |db| db.uploads).await?;
            let Some((last, _)) = found.last() else { break };
            after = last.clone();
            for (lies, row) in found {
                if decode::<UploadRow>(&lies, &row)?.begun > oldest {
                    continue;
                }
                let tag = lies.first_chunk::<ID_OCTETS>().expect("an upload's key was read");
                let (key, upload) = rows::of_upload_key(&lies)?;
                self.end_upload(BucketTag::from_bytes(*tag), key, upload, now).await?;
            }
        }
        self.forget_completed(now.plus_seconds(-COMPLETED_KEPT_SECONDS)).await
    }

    async fn end_upload(
        &self,
        tag: BucketTag,
        key: ObjectKey,
        upload: UploadId,
        now: Timestamp,
    ) -> Result<(), ObjectError> {
        self.index
            .change(move |db, txn| {
                change::delete_parts(db, txn, upload, |_| false, now)?;
                let lies = rows::upload_key(tag, key.as_str(), upload);
                db.uploads.delete(txn, &lies).map(drop).map_err(failed)
            })
            .await
    }

    async fn forget_completed(&self, oldest: Timestamp) -> Result<(), ObjectError> {
        let mut after = Vec::new();
        loop {
            let found = self.rows(after, |db| db.completed).await?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            after = last.clone();
            let mut old = Vec::new();
            for (key, row) in found {
                if decode::<CompletedRow>(&key, &row)?.at < oldest {
                    old.push(key);
                }
            }
            let forget = self.index.change(move |db, txn| {
                old.iter().try_for_each(|key| db.completed.delete(txn, key).map(drop).map_err(failed))
            });
            forget.await?;
        }
    }

    /// Reads everything, slowly, and tells what is not as it was put.
    pub(crate) async fn scrub(&self) -> Result<(), ObjectError> {
        let mut after = Vec::new();
        loop {
            let found = self.rows(after, |db| db.objects).await?;
            let Some((last, _)) = found.last() else { break };
            after = last.clone();
            for (key, row) in found {
                if decode::<ObjectRow>(&key, &row).is_err() {
                    let key = String::from_utf8_lossy(key.get(ID_OCTETS..).unwrap_or_default()).into_owned();
                    tracing::error!(target: "proxima_r2", key, "an object's row is damaged");
                    self.metrics.rotten.inc();
                }
            }
            tokio::time::sleep(SCRUB_REST).await;
        }
        let mut after = Vec::new();
        loop {
            let found = self.rows(after, |db| db.blobs).await?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            after = last.clone();
            for (key, row) in found {
                let id = key.first_chunk::<ID_OCTETS>().copied().map(BlobId);
                if let (Some(id), Ok(row)) = (id, decode::<BlobRow>(&key, &row)) {
                    self.scrub_file(id, &row).await?;
                }
            }
        }
    }

    async fn scrub_file(&self, id: BlobId, row: &BlobRow) -> Result<(), ObjectError> {
        let outcome = self.verify(id, row).await;
        self.metrics.scrubbed.inc();
        let Err(error) = outcome else { return Ok(()) };
        // It may have been thrown away meanwhile.
        if self.index.read(move |db, txn| change::is_named(db, txn, id)).await? {
            let (bucket, key) = (hex::encode(row.bucket), &row.key);
            tracing::error!(target: "proxima_r2", blob = %id, bucket, key, %error, "octets of an object have rotted");
            self.metrics.rotten.inc();
        }
        Ok(())
    }

    async fn verify(&self, id: BlobId, row: &BlobRow) -> Result<(), ObjectError> {
        let reading = self.blobs.reading(id);
        let file = blocking(move || reading.open()).await?;
        let file = std::sync::Arc::new(file);
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        let mut at = 0;
        while at < row.octets {
            let octets = SCRUB_CHUNK_OCTETS.min(row.octets - at);
            let (open, start) = (file.clone(), at);
            let length = usize::try_from(octets).expect("a chunk fits into memory");
            digest = blocking(move || {
                digest.update(&blobs::read_at(&open, start, length)?);
                Ok(digest)
            })
            .await?;
            at += octets;
            tokio::time::sleep(SCRUB_REST).await;
        }
        let length = blocking(move || file.metadata().map_err(|error| blobs::failed(&error))).await?.len();
        if digest.finalize() != row.crc || length != row.octets {
            return Err(ObjectError::Broken("its checksum is wrong".to_owned()));
        }
        Ok(())
    }
}

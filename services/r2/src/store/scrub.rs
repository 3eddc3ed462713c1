//! Everything is read now and then, slowly, to find what has rotted: rows of objects, and blobs.
//!
//! A round begins at a blob that is drawn: a server that is often started anew gets everywhere, too. What is found is told by log,
//! with the tag of the bucket and the key, and counted. Nothing is mended: there is no second copy.

use std::{ops::Bound, time::Duration};

use bytes::Bytes;
use proxima_pipeline::ObjectError;

use super::{
    Store, blocking, change,
    index::failed,
    rows::{self, Blob, BlobRow, ID_OCTETS, decode},
    sums,
    sweep::{BATCH, Obstacles},
};

/// Octets that are read at once.
const CHUNK_OCTETS: u64 = 16 * sums::BLOCK_OCTETS;
/// The rest after so many: at most 10 MiB a second, of what a slow disk gives in a tenth of its time.
const REST: Duration = Duration::from_millis(100);
/// The least rest, after a small file: a look-up and a seek.
const REST_MIN: Duration = Duration::from_millis(5);

impl Store {
    /// Reads everything, and tells what is not as it was put.
    pub(crate) async fn scrub(&self) -> Result<(), ObjectError> {
        self.scrub_rows().await?;
        let start: [u8; ID_OCTETS] = rand::random();
        let mut obstacles = Obstacles::default();
        self.scrub_blobs(start.to_vec(), None, &mut obstacles).await?;
        self.scrub_blobs(Vec::new(), Some(start), &mut obstacles).await?;
        self.tell("looking for rot", obstacles);
        Ok(())
    }

    async fn scrub_rows(&self) -> Result<(), ObjectError> {
        let mut after = Vec::new();
        loop {
            let from = after;
            let found = self.index.read(move |db, txn| {
                let from = if from.is_empty() { Bound::Unbounded } else { Bound::Excluded(&from[..]) };
                let range = (from, Bound::Unbounded);
                let (mut damaged, mut last) = (Vec::new(), None);
                for found in db.objects.range(txn, &range).map_err(failed)?.take(BATCH) {
                    let (lies, row) = found.map_err(failed)?;
                    if rows::decode_object(lies, row).is_err() {
                        damaged.push(lies.to_vec());
                    }
                    last = Some(lies.to_vec());
                }
                Ok((damaged, last))
            });
            let (damaged, last) = found.await?;
            for lies in damaged {
                let (bucket, key) = lies.split_at_checked(ID_OCTETS).unwrap_or_default();
                let (bucket, key) = (hex::encode(bucket), String::from_utf8_lossy(key));
                tracing::error!(target: "proxima_r2", bucket, %key, "an object's row is damaged");
                self.metrics.rotten.inc();
            }
            let Some(last) = last else { return Ok(()) };
            after = last;
            tokio::time::sleep(REST).await;
        }
    }

    /// Those after one, up to another.
    async fn scrub_blobs(
        &self,
        mut after: Vec<u8>,
        until: Option<[u8; ID_OCTETS]>,
        obstacles: &mut Obstacles,
    ) -> Result<(), ObjectError> {
        loop {
            let found = self.rows(after, |db| db.blobs).await?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            after = last.clone();
            for (key, row) in found {
                if until.is_some_and(|until| key[..] > until[..]) {
                    return Ok(());
                }
                match (Blob::of_key(&key), decode::<BlobRow>(&key, &row)) {
                    (Some(blob), Ok(row)) => self.scrub_blob(blob, &row, obstacles).await?,
                    _ => obstacles.met(|| format!("the row of the blob {} is damaged", hex::encode(&key))),
                }
            }
        }
    }

    async fn scrub_blob(
        &self,
        blob: Blob,
        row: &BlobRow,
        obstacles: &mut Obstacles,
    ) -> Result<(), ObjectError> {
        let outcome = self.verify(blob, row).await;
        let error = match outcome {
            // The engine is away, which is no rot.
            Err(error @ ObjectError::Unreachable(_)) => {
                obstacles.met(|| format!("{}: {error}", blob.id()));
                tokio::time::sleep(REST).await;
                return Ok(());
            }
            outcome => {
                self.metrics.scrubbed.inc();
                let Err(error) = outcome else { return Ok(()) };
                error
            }
        };
        // It may have been thrown away meanwhile.
        if self.index.read(move |db, txn| change::is_named(db, txn, blob)).await? {
            let (bucket, key) = (hex::encode(row.bucket), &row.key);
            tracing::error!(target: "proxima_r2", blob = %blob.id(), bucket, key, %error, "octets of an object have rotted");
            self.metrics.rotten.inc();
        }
        Ok(())
    }

    async fn verify(&self, blob: Blob, row: &BlobRow) -> Result<(), ObjectError> {
        let (reading, all) = (self.blobs.reading(blob), row.octets);
        let (opened, _reading) = blocking(move || Ok((reading.open(all, 0..all)?, reading))).await?;
        let digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        let add = |digest: &mut crc_fast::Digest, octets: &Bytes| digest.update(octets);
        let rest = |octets| REST.mul_f64(octets as f64 / CHUNK_OCTETS as f64).max(REST_MIN);
        let (opened, digest) = opened.walk(all, CHUNK_OCTETS, digest, add, rest).await?;
        opened.forget();
        if digest.finalize() != row.crc {
            return Err(ObjectError::Broken("its checksum is wrong".to_owned()));
        }
        Ok(())
    }
}

//! What this server has: metadata in the [index], octets in rows or [files](blobs).
//!
//! ```text
//! body ─▶ receive: hashed as it comes ─┬─ few octets ─────────────────────────┐
//!                                      └─ file, synced, renamed, folder synced ┴▶ index: conditions, row, what it replaces
//!                                                                                 │  one transaction, synced
//! body ◀─ reading: compared with its checksum ◀── row: where its octets lie ◀─────┘
//!
//! sweep: what was replaced goes later, what a crash left goes, what rots is told
//! ```
//!
//! An object is its row: it is seen when the row is, whole, and gone when the row is. A file that no row names is nobody's.
//! What was replaced stays for [`GARBAGE_KEPT_SECONDS`], and longer while it is read here, so that whoever reads it ends.

pub(crate) mod blobs;
mod change;
mod hashing;
pub(crate) mod index;
mod list;
mod objects;
mod parts;
mod reading;
mod receive;
pub(crate) mod rows;
mod sweep;
#[cfg(test)]
mod tests;
mod uploads;

use std::{path::Path, sync::Arc};

use proxima_chassis::Clock;
use proxima_model::{Bucket, Timestamp};
use proxima_pipeline::{BucketContent, ObjectError};

use self::{blobs::Blobs, index::Index, rows::ContentRow};
use crate::metrics::Metrics;

/// Octets that lie in the row instead of a file: an `fsync` and a file less, for what fits into some pages of the index.
pub(crate) const IN_ROW_OCTETS_MAX: usize = 16 << 10;
/// How long octets that no row names any more are kept: longer than the next process of a graceful restart waits for this
/// one, whose readers it does not know.
pub(crate) const GARBAGE_KEPT_SECONDS: i64 = 300;
/// For how long nothing is written to a bucket that was found empty, to be deleted: far longer than the log takes to say that
/// it is gone, and than a request to delete may last.
pub(crate) const CLOSED_SECONDS: i64 = 600;

/// Whether a bucket is there as far as this server's replica knows.
pub(crate) type IsThere = dyn Fn(&Bucket) -> bool + Send + Sync;

/// The store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    index: Index,
    blobs: Blobs,
    clock: Arc<dyn Clock>,
    is_there: Arc<IsThere>,
    metrics: Metrics,
}

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Octets of the index.
    pub(crate) index_octets_max: usize,
    /// Octets of the disk that are left free.
    pub(crate) free_octets_min: u64,
}

impl Store {
    /// Opens what lies in a folder, or makes it.
    pub(crate) fn open(
        folder: &Path,
        bounds: Bounds,
        clock: Arc<dyn Clock>,
        is_there: Arc<IsThere>,
        metrics: Metrics,
    ) -> Result<Self, ObjectError> {
        let blobs = Blobs::open(&folder.join("blobs"), bounds.free_octets_min);
        let blobs = blobs.map_err(|error| blobs::failed(&error))?;
        let index = Index::open(&folder.join("index"), bounds.index_octets_max).map_err(index::failed)?;
        Ok(Self { index, blobs, clock, is_there, metrics })
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How much is in a bucket.
    pub(crate) async fn content(&self, bucket: &Bucket) -> Result<BucketContent, ObjectError> {
        let tag = bucket.tag;
        self.index.read(move |db, txn| Ok(change::content(db, txn, tag)?.into())).await
    }

    /// Closes a bucket if it is empty: nothing is written to it for [`CLOSED_SECONDS`], unless it is opened again.
    pub(crate) async fn close(&self, bucket: &Bucket) -> Result<(), ObjectError> {
        let (tag, until) = (bucket.tag, self.now().plus_seconds(CLOSED_SECONDS));
        self.index
            .change(move |db, txn| {
                if change::content(db, txn, tag)? != ContentRow::default() {
                    return Err(ObjectError::BucketNotEmpty);
                }
                change::close(db, txn, tag, Some(until))
            })
            .await
    }

    /// Opens a bucket again that was not deleted after all.
    pub(crate) async fn reopen(&self, bucket: &Bucket) -> Result<(), ObjectError> {
        let tag = bucket.tag;
        self.index.change(move |db, txn| change::close(db, txn, tag, None)).await
    }
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ObjectError> + Send + 'static,
) -> Result<T, ObjectError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(ObjectError::Broken(panic.to_string())))
}

//! What this server has: metadata in the [index], octets in rows, [files](blobs) or an S3 [engine].
//!
//! ```text
//! body ─▶ receive: hashed as it comes ─┬─ few octets ─────────────────────────┐
//!                                      ├─ file, synced, renamed, folder synced ┼▶ index: conditions, row, what it replaces
//!                                      └─ engine, pieces acknowledged ─────────┘
//!                                                                                 │  one transaction, synced
//! body ◀─ reading: compared with its checksum ◀── row: where its octets lie ◀─────┘
//!
//! sweep: what was replaced goes later, what a crash left goes, what rots is told
//! ```
//!
//! What queues are told of objects is in the same transaction, and waits in the [outbox].
//!
//! An object is its row: it is seen when the row is, whole, and gone when the row is. A file that no row names is nobody's.
//! What was replaced stays for [`GARBAGE_KEPT_SECONDS`], and longer while it is read here, so that whoever reads it ends.

pub(crate) mod blobs;
mod change;
mod closing;
mod engine;
mod folders;
mod gone;
pub(crate) mod hashing;
pub(crate) mod index;
mod known;
mod lifecycle;
mod list;
mod objects;
mod opened;
pub(crate) mod outbox;
mod parts;
mod processes;
mod reading;
mod receive;
pub(crate) mod rows;
mod scrub;
mod sums;
mod sweep;
#[cfg(test)]
mod tests;
mod uploads;

use std::{path::Path, sync::Arc};

use proxima_chassis::Clock;
use proxima_model::{Bucket, Timestamp};
use proxima_pipeline::{BucketContent, ObjectError};
use proxima_store::Space;

use self::{blobs::Blobs, engine::Engine, index::Index, outbox::Outbox, sweep::Told};
pub(crate) use self::{
    engine::EngineSettings,
    gone::IsGone,
    known::{Known, Remembered},
    lifecycle::{HasRules, Living, Ruled},
    rows::Mark,
    sweep::Obstacles,
};
use crate::metrics::Metrics;

/// Octets that lie in the row instead of a file: an `fsync` and a file less, for what fits into some pages of the index.
pub(crate) const IN_ROW_OCTETS_MAX: usize = 16 << 10;
/// How long octets that no row names any more are kept: longer than the next process of a graceful restart waits for this
/// one, whose readers it does not know.
pub(crate) const GARBAGE_KEPT_SECONDS: i64 = 300;
/// Rows that one change deletes, about: what waits behind it waits for some milliseconds. An object of most parts has more.
const ROWS_OF_CHANGE_MAX: usize = 2_000;

/// Whether a bucket is there, as far as this server's replica of the log knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The log names this very bucket, as it is now.
    There(Arc<Known>),
    /// It does not, and the replica lacks nothing.
    Gone,
    /// The replica does not name it, and lacks entries that may: nothing can be said.
    Unknown,
}

/// Says it of a bucket.
pub(crate) type PresenceOf = dyn Fn(&Bucket) -> Presence + Send + Sync;

/// The store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    index: Index,
    blobs: Blobs,
    clock: Arc<dyn Clock>,
    presence: Arc<PresenceOf>,
    metrics: Metrics,
    outbox: Outbox,
    /// What upkeep last passed over.
    told: Told,
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
    /// Opens what lies in a folder, or makes it. With an engine, octets of new objects of more than a row takes lie there.
    pub(crate) fn open(
        folder: &Path,
        bounds: Bounds,
        clock: Arc<dyn Clock>,
        presence: Arc<PresenceOf>,
        metrics: Metrics,
        engine: Option<&EngineSettings>,
    ) -> Result<Self, ObjectError> {
        let failed = |error| blobs::failed(&error);
        folders::make(folder).map_err(failed)?;
        let engine = engine.map(|settings| Engine::open(folder, settings, metrics.clone())).transpose()?;
        if engine.is_none() && engine::was_used(folder) {
            return Err(ObjectError::Broken(engine::MISSING.to_owned()));
        }
        let space = Space::of(folder, bounds.free_octets_min, metrics.space.clone());
        let blobs = Blobs::open(&folder.join("blobs"), space.clone(), engine).map_err(failed)?;
        let index = Index::open(&folder.join("index"), bounds.index_octets_max, space, metrics.clone());
        Ok(Self {
            index: index.map_err(index::failed)?,
            blobs,
            clock,
            presence,
            outbox: Outbox::new(bounds.index_octets_max, metrics.clone()),
            metrics,
            told: Told::default(),
        })
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How much is in a bucket.
    pub(crate) async fn content(&self, bucket: &Bucket) -> Result<BucketContent, ObjectError> {
        let tag = bucket.tag;
        self.index.read(move |db, txn| Ok(change::content(db, txn, tag)?.into())).await
    }

    /// Waits until it is closed, as the last one that has it.
    #[cfg(test)]
    pub(crate) fn close_wholly(self) {
        let closing = self.index.closing();
        drop(self);
        closing.wait();
    }

    /// Why nothing can be written, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        self.index.fault()
    }

    /// Why objects are refused for want of room, if so.
    pub(crate) fn shortage(&self) -> Option<String> {
        self.blobs.space().shortage()
    }

    /// Looks how much room there is, and how much is kept.
    pub(crate) async fn measure(&self) -> Result<(), ObjectError> {
        let index = self.index.clone();
        blocking(move || {
            index.look();
            Ok(())
        })
        .await?;
        let kept = self.index.read(change::all_content).await?;
        let as_number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.objects.set(as_number(kept.objects));
        self.metrics.object_octets.set(as_number(kept.octets));
        Ok(())
    }

    /// Why octets in the engine cannot be reached, if so.
    pub(crate) fn engine_fault(&self) -> Option<String> {
        self.blobs.engine().and_then(Engine::fault)
    }

    /// Asks the engine whether it answers, if there is one.
    pub(crate) async fn probe_engine(&self) {
        if let Some(engine) = self.blobs.engine() {
            engine.probe().await;
        }
    }
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ObjectError> + Send + 'static,
) -> Result<T, ObjectError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(ObjectError::Broken(panic.to_string())))
}

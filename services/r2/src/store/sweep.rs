//! What is done behind everybody's back: files of what was replaced go, what a crash left goes, uploads that nobody ends are
//! ended, what an upload became is forgotten. See also [`super::scrub`], [`super::lifecycle`] and [`super::gone`].
//!
//! None of it ends at what it cannot see to: that is an [obstacle](Obstacles), counted, told once, and tried again the next time.

use std::{
    collections::HashMap,
    ops::Bound,
    sync::{Arc, Mutex, PoisonError},
};

use heed::RoTxn;
use proxima_model::{BucketTag, Timestamp};
use proxima_pipeline::{ObjectError, ObjectKey, UploadId};
use proxima_store::Db;

use super::{
    Store, blocking, change,
    engine::{self, Engine},
    index::{Databases, failed},
    lifecycle::{HasRules, Living},
    rows::{self, Blob, BlobId, BlobRow, CompletedRow, ID_OCTETS, UploadRow, decode},
};

/// Rows that are looked at in one transaction: as long as one is open, LMDB reuses no page.
pub(super) const BATCH: usize = 500;
/// How long is remembered what an upload became: longer than any client asks again.
const COMPLETED_KEPT_SECONDS: i64 = 86_400;

pub(super) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Some rows after a key.
pub(super) fn some(db: &Db, txn: &RoTxn<'_>, after: &[u8]) -> Result<Rows, ObjectError> {
    // LMDB has no empty keys.
    let from = if after.is_empty() { Bound::Unbounded } else { Bound::Excluded(after) };
    let range = (from, Bound::Unbounded);
    let rows = db.range(txn, &range).map_err(failed)?.take(BATCH);
    rows.map(|found| found.map(|(key, row)| (key.to_vec(), row.to_vec())).map_err(failed)).collect()
}

/// What one round of upkeep could not see to.
#[derive(Default)]
pub(crate) struct Obstacles {
    count: u64,
    first: Option<String>,
}

impl Obstacles {
    /// Passes over something.
    pub(crate) fn met(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(what);
    }

    /// Passes over what is damaged. What ails the store as a whole is told again for each item, and ends nothing either, but for
    /// a disk that is full.
    pub(super) fn pass_over(&mut self, done: Result<(), ObjectError>) -> Result<(), ObjectError> {
        match done {
            Err(ObjectError::Broken(what)) => {
                self.met(|| what);
                Ok(())
            }
            done => done,
        }
    }

    /// Passes over so many of them.
    fn met_many(&mut self, count: u64, what: &str) {
        if count > 0 {
            self.met(|| what.to_owned());
            self.count += count - 1;
        }
    }
}

/// How many obstacles each kind of upkeep had the last time.
pub(super) type Told = Arc<Mutex<HashMap<&'static str, u64>>>;

impl Store {
    /// Counts what was passed over, and tells it if it is not as many as the last time.
    pub(crate) fn tell(&self, upkeep: &'static str, obstacles: Obstacles) {
        let Obstacles { count, first } = obstacles;
        self.metrics.obstacles.inc_by(count);
        let former = self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(upkeep, count);
        if let Some(first) = first
            && former != Some(count)
        {
            tracing::warn!(target: "proxima_r2", count, first, "{upkeep}: passed over what could not be seen to");
        }
    }

    /// Some rows after a key of the database that `which` chooses.
    pub(super) async fn rows(
        &self,
        after: Vec<u8>,
        which: impl Fn(&Databases) -> Db + Send + 'static,
    ) -> Result<Rows, ObjectError> {
        self.index.read(move |db, txn| some(&which(db), txn, &after)).await
    }

    /// Removes files whose time has come.
    pub(crate) async fn collect(&self) -> Result<(), ObjectError> {
        let now = self.now();
        let (mut after, mut obstacles) = (Vec::new(), Obstacles::default());
        loop {
            let found = self.rows(after, |db| db.garbage).await?;
            let last = found.last().map(|(key, _)| key.clone());
            let due = rows::garbage_key(now, Blob::Engine(BlobId([0xff; ID_OCTETS])));
            let due: Vec<_> = found.into_iter().map(|(key, _)| key).filter(|key| *key <= due).collect();
            let Some(last) = last.filter(|_| !due.is_empty()) else { break };
            let blobs = self.blobs.clone();
            let (mut removed, in_engine, met) = blocking(move || {
                let (mut removed, mut obstacles) = (Vec::with_capacity(due.len()), obstacles);
                let mut in_engine = Vec::new();
                for key in due {
                    let id = match rows::of_garbage_key(&key) {
                        Some(Blob::File(id)) => id,
                        Some(Blob::Engine(id)) => {
                            in_engine.push((key, id));
                            continue;
                        }
                        // It names nothing; the blob, if there is one, goes as a stray.
                        None => {
                            obstacles.met(|| "the key of garbage is damaged".to_owned());
                            removed.push((key, None));
                            continue;
                        }
                    };
                    match blobs.remove(id) {
                        Ok(true) => removed.push((key, Some(Blob::File(id)))),
                        Ok(false) => {}
                        Err(error) => obstacles.met(|| format!("{id}: {error}")),
                    }
                }
                Ok((removed, in_engine, obstacles))
            })
            .await?;
            obstacles = met;
            removed.extend(self.remove_from_engine(in_engine, &mut obstacles).await?);
            self.metrics.collected.inc_by(removed.len() as u64);
            let forget = self.index.change(move |db, txn| {
                for (key, blob) in removed {
                    db.garbage.delete(txn, &key).map_err(failed)?;
                    if let Some(blob) = blob {
                        db.blobs.delete(txn, &blob.key()).map_err(failed)?;
                    }
                }
                Ok(())
            });
            forget.await?;
            after = last;
        }
        self.tell("removing files of what was replaced", obstacles);
        Ok(())
    }

    /// Removes garbage from the engine, all at once: what was removed, which is nothing if the engine is away.
    async fn remove_from_engine(
        &self,
        due: Vec<(Vec<u8>, BlobId)>,
        obstacles: &mut Obstacles,
    ) -> Result<Vec<(Vec<u8>, Option<Blob>)>, ObjectError> {
        let due: Vec<_> = due.into_iter().filter(|(_, id)| !self.blobs.is_read(*id)).collect();
        if due.is_empty() {
            return Ok(Vec::new());
        }
        // Taken away, and what lay there with it: nothing is left to be removed.
        let Some(engine) = self.blobs.engine() else {
            return Ok(due.into_iter().map(|(key, id)| (key, Some(Blob::Engine(id)))).collect());
        };
        let named = self.index.read(move |db, txn| {
            let mut names = Vec::new();
            for (_, id) in &due {
                // Without its row nobody knows how long it is: it goes as a stray.
                let row = change::get::<BlobRow>(&db.blobs, txn, &Blob::Engine(*id).key());
                let octets = row.ok().flatten().map_or(0, |row| row.octets);
                names.extend(Engine::names_of(*id, octets));
            }
            Ok((due, names))
        });
        let (due, names) = named.await?;
        if let Err(error) = engine.remove(&names).await {
            obstacles.met_many(due.len() as u64, &error.to_string());
            return Ok(Vec::new());
        }
        Ok(due.into_iter().map(|(key, id)| (key, Some(Blob::Engine(id)))).collect())
    }

    /// Removes files that no row names and nobody is about to name.
    pub(crate) async fn remove_strays(&self) -> Result<u64, ObjectError> {
        let (blobs, index) = (self.blobs.clone(), self.index.clone());
        // Each look is at the state of its moment.
        let strays = blocking(move || {
            let is_named = |id| index.read_here(|db, txn| change::is_named(db, txn, Blob::File(id)));
            Ok(blobs.remove_strays(is_named))
        });
        let mut strays = strays.await?;
        if let Some(engine) = self.blobs.engine() {
            strays.obstacles += u64::from(self.remove_strays_of(engine, &mut strays.removed).await.is_err());
        }
        self.metrics.strays.inc_by(strays.removed);
        let mut obstacles = Obstacles::default();
        obstacles.met_many(strays.obstacles, "a file could not be looked at or removed");
        self.tell("removing files that a crash left", obstacles);
        Ok(strays.removed)
    }

    /// The same in the engine, where only names are looked at that begin as this server's do.
    async fn remove_strays_of(&self, engine: &Engine, removed: &mut u64) -> Result<(), ObjectError> {
        let mut after = None;
        loop {
            let (names, last) = engine.some(after).await?;
            let (blobs, index) = (self.blobs.clone(), self.index.clone());
            // In one look after they were listed: what is not pending any more has its row by then.
            let (strays, count) = blocking(move || {
                let (mut living, mut strays, mut known) = (blobs.living(), Vec::new(), HashMap::new());
                for name in names {
                    let Some(id) = engine::of_name(&name) else { continue };
                    let is_stray = match known.get(&id) {
                        Some(is_stray) => *is_stray,
                        None => {
                            let named =
                                || index.read_here(|db, txn| change::is_named(db, txn, Blob::Engine(id)));
                            let is_stray = !blobs.is_at_work(id, &mut living)? && !named()?;
                            known.insert(id, is_stray);
                            is_stray
                        }
                    };
                    strays.extend(is_stray.then_some(name));
                }
                Ok((strays, known.into_values().filter(|is_stray| *is_stray).count() as u64))
            })
            .await?;
            engine.remove(&strays).await?;
            *removed += count;
            let Some(last) = last else { return Ok(()) };
            after = Some(last);
        }
    }

    /// Ends uploads that their buckets' rules say to end, and forgets what others became.
    pub(crate) async fn end_uploads(&self, living: &Living, has_rules: &HasRules) -> Result<(), ObjectError> {
        let now = self.now();
        let (mut after, mut obstacles) = (Vec::new(), Obstacles::default());
        loop {
            let found = self.rows(after, |db| db.uploads).await?;
            let Some((last, _)) = found.last() else { break };
            after = last.clone();
            for (lies, row) in found {
                let read =
                    rows::of_upload_key(&lies).and_then(|of| Ok((of, decode::<UploadRow>(&lies, &row)?)));
                let (tag, Ok(((key, upload), row))) = (lies.first_chunk::<ID_OCTETS>(), read) else {
                    obstacles.met(|| "the row of an upload is damaged".to_owned());
                    continue;
                };
                let tag = BucketTag::from_bytes(*tag.expect("an upload's key was read"));
                if living.ends_upload(tag, key.as_str(), row.begun, now) {
                    let ended = self.end_upload((tag, key, upload), now, living.still(tag, has_rules)).await;
                    obstacles.pass_over(ended)?;
                }
            }
        }
        self.forget_completed(now.plus_seconds(-COMPLETED_KEPT_SECONDS), &mut obstacles).await?;
        self.tell("ending uploads", obstacles);
        Ok(())
    }

    /// Ends an upload, if it is there and still may be ended when that is carried out.
    pub(super) async fn end_upload(
        &self,
        (tag, key, upload): (BucketTag, ObjectKey, UploadId),
        now: Timestamp,
        may: impl Fn() -> bool + Send + 'static,
    ) -> Result<(), ObjectError> {
        let ended = self.index.change(move |db, txn| {
            if !may() {
                return Ok(false);
            }
            change::delete_parts(db, txn, upload, &[], now)?;
            let lies = rows::upload_key(tag, key.as_str(), upload);
            db.uploads.delete(txn, &lies).map_err(failed)
        });
        self.metrics.expired.inc_by(u64::from(ended.await?));
        Ok(())
    }

    async fn forget_completed(
        &self,
        oldest: Timestamp,
        obstacles: &mut Obstacles,
    ) -> Result<(), ObjectError> {
        let mut after = Vec::new();
        loop {
            let found = self.rows(after, |db| db.completed).await?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            after = last.clone();
            let mut old = Vec::new();
            for (key, row) in found {
                match decode::<CompletedRow>(&key, &row) {
                    Ok(row) if row.at >= oldest => {}
                    Ok(_) => old.push(key),
                    // It answers nobody.
                    Err(_) => {
                        obstacles.met(|| "what an upload became is damaged, and forgotten".to_owned());
                        old.push(key);
                    }
                }
            }
            if old.is_empty() {
                continue;
            }
            let forget = self.index.change(move |db, txn| {
                old.iter().try_for_each(|key| db.completed.delete(txn, key).map(drop).map_err(failed))
            });
            forget.await?;
        }
    }
}

//! Room on the disk, looked at before what grows is written: what is under way counts as written.
//!
//! So much is left free (`free_bytes_min` of a service's configuration): what is large stops at all of it, what is small and
//! gives room later at half, so that the other half is for deletions, which need room, too, and for the log, which may lie on
//! the same disk. What has room within its file needs none of the disk ([`Space::check_growth`]).
//!
//! A disk with less is an episode: told once when it begins and once when it is over, in the log, by gauges ([`SpaceMetrics`])
//! and to whoever asks after health ([`Space::shortage`]).

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use rustix::fs::statvfs;

use crate::Fault;

/// Octets of the disk that are left free where nothing else is configured.
pub const FREE_OCTETS_MIN: u64 = 256 << 20;
/// Octets of a file that are not in use by rows and yet not to be had: its first pages, its list of free ones, and what a
/// transaction copies of others.
const SPARE_OCTETS_MIN: u64 = 1 << 20;
/// What the list of free pages takes of them, at the most: a word each.
const SPARE_PART_OF_LIST: u64 = 256;
/// With less of the disk free than this, a transaction that could not be written had no room: as much as one writes at once.
const SHORT_OCTETS: u64 = 1 << 20;

/// Tells how much of the disk is free.
pub type Free = dyn Fn() -> io::Result<u64> + Send + Sync;

/// What is counted of a disk.
#[derive(Clone, Debug, Default)]
pub struct SpaceMetrics {
    free: Gauge,
    short: Gauge,
    refused: Counter,
}

impl SpaceMetrics {
    /// Registers them among those of a service.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let free = "Octets of the disk that are free, of the file system of this store";
        registry.register("disk_free_octets", free, metrics.free.clone());
        let short = "1 while less of the disk is free than free_bytes_min, and what needs more is refused";
        registry.register("disk_short", short, metrics.short.clone());
        let refused = "Writes that were refused for want of room on the disk";
        registry.register("disk_refused", refused, metrics.refused.clone());
        metrics
    }
}

/// Room on the disk. Cheap to clone.
#[derive(Clone)]
pub struct Space(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    free: Arc<Free>,
    free_octets_min: u64,
    /// Octets that are being written now.
    taken: Mutex<u64>,
    /// Whether it has been told that there is too little.
    is_short: AtomicBool,
    metrics: SpaceMetrics,
}

impl Space {
    /// Room on the disk where this folder lies.
    pub fn of(folder: &Path, free_octets_min: u64, metrics: SpaceMetrics) -> Self {
        let of_disk = folder.to_owned();
        let free = move || {
            let disk = statvfs(&of_disk)?;
            Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
        };
        Self::new(folder, Arc::new(free), free_octets_min, metrics)
    }

    /// As much as `free` says.
    pub fn with(free: Arc<Free>, free_octets_min: u64) -> Self {
        Self::new(Path::new(""), free, free_octets_min, SpaceMetrics::default())
    }

    /// A disk that takes everything: where another one is no matter.
    pub fn endless() -> Self {
        Self::with(Arc::new(|| Ok(u64::MAX)), 0)
    }

    fn new(folder: &Path, free: Arc<Free>, free_octets_min: u64, metrics: SpaceMetrics) -> Self {
        let (folder, taken, is_short) = (folder.to_owned(), Mutex::default(), AtomicBool::default());
        Self(Arc::new(Inner { folder, free, free_octets_min, taken, is_short, metrics }))
    }

    /// Room for octets that are written while this is held.
    ///
    /// # Errors
    /// There is too little, or nobody knows.
    pub fn take(&self, octets: u64) -> Result<Taken, Fault> {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(octets.saturating_add(*taken), self.0.free_octets_min)?;
        *taken += octets;
        Ok(Taken { space: self.clone(), octets })
    }

    /// Whether there is room now for so many octets that are announced. Nothing is kept for them: who announces and does not send
    /// would keep others out.
    ///
    /// # Errors
    /// There is not, or nobody knows.
    pub fn check_announced(&self, octets: u64) -> Result<(), Fault> {
        self.check(octets, self.0.free_octets_min)
    }

    /// Whether what is small may be written: it may until half of what is left free is gone.
    ///
    /// # Errors
    /// It may not, or nobody knows.
    pub fn check_rows(&self) -> Result<(), Fault> {
        self.check(0, self.0.free_octets_min / 2)
    }

    /// Whether so many octets may be written to a file of LMDB of so many octets, of which so many are in use: if it has no room for
    /// them, the disk has to have it.
    ///
    /// # Errors
    /// They may not, or nobody knows.
    pub fn check_growth(&self, octets: u64, of: FileUse) -> Result<(), Fault> {
        match of.growth(octets) {
            0 => Ok(()),
            growth => self.check(growth, self.0.free_octets_min),
        }
    }

    /// The same of what is small and gives room later, or is as little as a row: half of what is left free is for that. By what the
    /// transaction under way has written so far the file has grown then.
    ///
    /// # Errors
    /// As [`Self::check_growth`].
    pub fn check_small_growth(&self, of: FileUse) -> Result<(), Fault> {
        if of.growth(1) == 0 { Ok(()) } else { self.check(of.grown(), self.0.free_octets_min / 2) }
    }

    /// Whether so many octets can be written and so many are left.
    fn check(&self, octets: u64, left: u64) -> Result<(), Fault> {
        let free = (self.0.free)()?;
        if free >= octets.saturating_add(left) {
            return Ok(());
        }
        Err(self.refuse(free))
    }

    fn refuse(&self, free: u64) -> Fault {
        self.0.metrics.refused.inc();
        self.note(free, true);
        Fault::Full(self.full(free))
    }

    fn full(&self, free: u64) -> String {
        let min = self.0.free_octets_min;
        format!("the disk of this server has no room: {free} octets are free, and free_bytes_min keeps {min}")
    }

    /// Looks how much is free, and tells it: to be called every some seconds.
    pub fn look(&self) {
        match (self.0.free)() {
            Ok(free) => self.note(free, false),
            Err(error) => {
                tracing::warn!(folder = %self.0.folder.display(), %error, "how much of the disk is free is not known")
            }
        }
    }

    /// An episode begins with less than is left free, or where somebody is refused with little more than that, whose writes stop
    /// there; it is over with a quarter more, and not by each octet.
    fn note(&self, free: u64, is_refused: bool) {
        let Inner { folder, free_octets_min: min, is_short, metrics, .. } = &*self.0;
        let bound = match (self.is_short(), is_refused) {
            (true, _) => min.saturating_add(min / 4),
            (false, true) => min.saturating_add(min / 8),
            (false, false) => *min,
        };
        let now = free < bound.max(SHORT_OCTETS);
        metrics.free.set(i64::try_from(free).unwrap_or(i64::MAX));
        metrics.short.set(now.into());
        if is_short.swap(now, Ordering::Relaxed) == now {
            return;
        }
        let (folder, free_bytes_min) = (folder.display(), min);
        if now {
            tracing::warn!(%folder, free, free_bytes_min, "the disk is full: writes that need more of it are refused until there is room");
        } else {
            tracing::info!(%folder, free, free_bytes_min, "the disk has room again");
        }
    }

    /// Whether less is free than is to be left, as far as was looked.
    pub fn is_short(&self) -> bool {
        self.0.is_short.load(Ordering::Relaxed)
    }

    /// What is wrong, if less is free than is to be left, as far as was looked.
    pub fn shortage(&self) -> Option<String> {
        self.is_short().then(|| match (self.0.free)() {
            Ok(free) => self.full(free),
            Err(error) => format!("how much of the disk is free is not known: {error}"),
        })
    }

    /// What a transaction means that failed: LMDB takes one that was written in part for a fault of the disk.
    pub fn explain(&self, fault: Fault) -> Fault {
        let free = (self.0.free)().unwrap_or(u64::MAX);
        if matches!(fault, Fault::Broken(_)) && free < SHORT_OCTETS { self.refuse(free) } else { fault }
    }
}

/// How much a file of LMDB has, and how much of that is in use.
#[derive(Clone, Copy, Debug)]
pub struct FileUse {
    /// Octets of the file.
    pub file: u64,
    /// Octets in use, and those that are freed by the transaction under way: they are not to be had before the next one.
    pub used: u64,
}

impl FileUse {
    /// By how much the file grows when so many octets more are written, about; at least one is.
    fn growth(self, octets: u64) -> u64 {
        let spare = self.file.saturating_sub(self.used);
        let usable = spare.saturating_sub(spare / SPARE_PART_OF_LIST + SPARE_OCTETS_MIN);
        octets.max(1).saturating_add(self.grown()).saturating_sub(usable)
    }

    /// By how much it grows by what the transaction under way has written so far.
    fn grown(self) -> u64 {
        self.used.saturating_sub(self.file)
    }
}

/// Octets that are being written.
pub struct Taken {
    space: Space,
    octets: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        *self.space.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.octets;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn what_is_being_written_by_others_counts_and_so_does_what_is_left_free() {
        let space = Space::with(Arc::new(|| Ok(1_000)), 400);
        let first = space.take(500).unwrap();
        assert!(space.take(101).is_err(), "one octet too many");
        let second = space.take(100).unwrap();
        assert!(space.take(1).is_err());
        drop(first);
        let third = space.take(500).unwrap();
        drop((second, third));
        assert!(space.take(601).is_err());
        assert!(space.take(600).is_ok());
        assert!(space.check_announced(600).is_ok() && space.check_announced(601).is_err());
    }

    #[test]
    fn rows_are_taken_when_files_are_not_any_more_and_then_they_are_not_either() {
        for (free, files, rows) in
            [(400, true, true), (399, false, true), (200, false, true), (199, false, false)]
        {
            let space = Space::with(Arc::new(move || Ok(free)), 400);
            assert_eq!((space.take(0).is_ok(), space.check_rows().is_ok()), (files, rows), "{free}");
        }
    }

    #[test]
    fn what_has_room_within_its_file_needs_none_of_the_disk() {
        let full = Space::with(Arc::new(|| Ok(0)), 400);
        let of = FileUse { file: 100 << 20, used: 80 << 20 };
        assert!(full.check_growth(18 << 20, of).is_ok() && full.check_small_growth(of).is_ok());
        assert!(full.check_growth(20 << 20, of).is_err(), "what LMDB needs for itself is not to be had");
        let of = FileUse { used: of.file - SPARE_OCTETS_MIN, ..of };
        assert!(full.check_growth(0, of).is_err() && full.check_small_growth(of).is_err());
        let half = Space::with(Arc::new(|| Ok(200)), 400);
        assert!(half.check_growth(1, of).is_err() && half.check_small_growth(of).is_ok());
        let free = Space::with(Arc::new(|| Ok(1_400)), 400);
        assert!(free.check_growth(1_000, of).is_ok() && free.check_growth(1_001, of).is_err());
        let of = FileUse { used: of.file + 300, ..of };
        assert!(free.check_growth(700, of).is_ok() && free.check_growth(701, of).is_err());
        let [enough, less] = [500, 499].map(|free| Space::with(Arc::new(move || Ok(free)), 400));
        assert!(enough.check_small_growth(of).is_ok() && less.check_small_growth(of).is_err());
    }

    #[test]
    fn a_full_disk_is_an_episode_and_over_with_more_than_was_missing() {
        const MIN: u64 = 800 << 20;
        let free = Arc::new(AtomicU64::new(MIN));
        let of_disk = Arc::clone(&free);
        let space = Space::with(Arc::new(move || Ok(of_disk.load(Ordering::Relaxed))), MIN);
        let looked = |octets| {
            free.store(octets, Ordering::Relaxed);
            space.look();
            let SpaceMetrics { free, short, .. } = &space.0.metrics;
            assert_eq!(free.get(), i64::try_from(octets).unwrap());
            assert_eq!(short.get() == 1, space.shortage().is_some());
            space.shortage()
        };
        assert_eq!(looked(MIN), None);
        assert!(looked(MIN - 1).is_some_and(|why| why.contains(&format!("{} octets are free", MIN - 1))));
        assert!(looked(MIN / 4 * 5 - 1).is_some());
        assert_eq!(looked(MIN / 4 * 5), None);
        assert!(space.take(MIN).is_err(), "what is too large for what there is");
        assert_eq!(space.shortage(), None, "is no episode");
        assert_eq!(looked(MIN / 8 * 9 - 1), None);
        assert!(space.take(MIN).is_err() && space.shortage().is_some(), "who stops there begins it, too");
        assert_eq!(space.0.metrics.refused.get(), 2);
    }

    #[test]
    fn a_transaction_that_failed_on_a_full_disk_had_no_room() {
        let broken = || Fault::Broken("Input/output error (os error 5)".to_owned());
        let full = Space::with(Arc::new(|| Ok(4_096)), 0);
        assert!(matches!(full.explain(broken()), Fault::Full(why) if why.contains("has no room")));
        let free = Space::with(Arc::new(|| Ok(SHORT_OCTETS)), 0);
        assert_eq!(free.explain(broken()), broken());
        assert_eq!(full.explain(Fault::Busy), Fault::Busy);
    }
}

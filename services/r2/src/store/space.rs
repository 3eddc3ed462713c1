//! Room on the disk, looked at before everything that is written: what is under way counts as written.
//!
//! So much is left free ([`Bounds::free_octets_min`](super::Bounds)): files stop at all of it, rows of the index at half, so that
//! the other half is for deletions, which need room in the index, too, and for the log, which may lie on the same disk.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use proxima_pipeline::ObjectError;
use rustix::fs::statvfs;

use super::blobs::failed;

/// Tells how much of the disk is free.
type Free = dyn Fn() -> io::Result<u64> + Send + Sync;

/// Room on the disk. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Space {
    free: Arc<Free>,
    free_octets_min: u64,
    /// Octets that are being written now.
    taken: Arc<Mutex<u64>>,
}

impl Space {
    /// Room on the disk where this folder lies.
    pub(crate) fn of(folder: &Path, free_octets_min: u64) -> Self {
        let folder = folder.to_owned();
        let free = move || {
            let disk = statvfs(&folder)?;
            Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
        };
        Self::with(Arc::new(free), free_octets_min)
    }

    /// As much as `free` says.
    pub(crate) fn with(free: Arc<Free>, free_octets_min: u64) -> Self {
        Self { free, free_octets_min, taken: Arc::default() }
    }

    /// Room for octets that are written while this is held.
    pub(crate) fn take(&self, octets: u64) -> Result<Taken, ObjectError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_free(octets.saturating_add(*taken).saturating_add(self.free_octets_min))?;
        *taken += octets;
        Ok(Taken { space: self.clone(), octets })
    }

    /// Whether there is room now for so many octets that are announced. Nothing is kept for them: who announces and does not send
    /// would keep others out.
    pub(crate) fn check_announced(&self, octets: u64) -> Result<(), ObjectError> {
        self.check_free(octets.saturating_add(self.free_octets_min))
    }

    /// Whether the index may grow by rows of objects.
    pub(crate) fn check_rows(&self) -> Result<(), ObjectError> {
        self.check_free(self.free_octets_min / 2)
    }

    /// Whether so much of the disk is free.
    pub(crate) fn check_free(&self, needed: u64) -> Result<(), ObjectError> {
        let free = (self.free)().map_err(|error| failed(&error))?;
        if free < needed { Err(ObjectError::Full("the disk is full".to_owned())) } else { Ok(()) }
    }
}

/// Octets that are being written.
pub(crate) struct Taken {
    space: Space,
    octets: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        *self.space.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.octets;
    }
}

#[cfg(test)]
mod tests {
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
}

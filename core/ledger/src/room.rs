//! Whether there is room for what a replica keeps, and whether the log refuses changes for want of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Room of the disk below which a write that failed is taken to have failed for want of it, and below which an operator is told:
/// the largest append, and what LMDB copies for it.
pub(crate) const DISK_OCTETS_MIN: u64 = 64 << 20;

/// How the last write of the log ended that had no room.
#[derive(Default)]
pub(crate) struct Room(Mutex<Option<Refused>>);

struct Refused {
    why: String,
    /// Whether it was the disk that had none, and not the map.
    by_disk: bool,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Option<Refused>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log refused a change. The log file says it once, until there is room again.
    pub(crate) fn refused(&self, why: &str, disk_free: Option<u64>) {
        let refused = Refused { why: why.to_owned(), by_disk: is_low(disk_free) };
        if self.lock().replace(refused).is_none() {
            tracing::error!(reason = why, "no room for the log; changes are refused until there is");
        }
    }

    /// The log took a change.
    pub(crate) fn written(&self) {
        if self.lock().take().is_some() {
            tracing::info!("there is room for the log again");
        }
    }

    /// What is wrong, with so much of the disk free.
    pub(crate) fn problem(&self, disk_free: Option<u64>) -> Option<String> {
        if let Some(free) = disk_free.filter(|_| is_low(disk_free)) {
            return Some(format!("its disk is full: {free} octets are free"));
        }
        let mut refused = self.lock();
        if refused.as_ref().is_some_and(|refused| refused.by_disk && disk_free.is_some()) {
            *refused = None;
            tracing::info!("the disk of the log has room again");
        }
        refused.as_ref().map(|refused| refused.why.clone())
    }
}

/// Whether so little of a disk is free.
pub(crate) fn is_low(disk_free: Option<u64>) -> bool {
    disk_free.is_some_and(|free| free < DISK_OCTETS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: Option<u64> = Some(DISK_OCTETS_MIN - 1);
    const ENOUGH: Option<u64> = Some(DISK_OCTETS_MIN);

    #[test]
    fn a_full_map_is_a_problem_until_something_is_written_and_a_full_disk_while_it_is() {
        let room = Room::default();
        assert_eq!(room.problem(ENOUGH), None);
        assert!(room.problem(LOW).is_some_and(|why| why.contains("disk is full")));
        assert_eq!(room.problem(ENOUGH), None);
        room.refused("the map is full", ENOUGH);
        assert_eq!(room.problem(ENOUGH).as_deref(), Some("the map is full"));
        assert_eq!(room.problem(None).as_deref(), Some("the map is full"));
        room.written();
        assert_eq!(room.problem(ENOUGH), None);
        room.refused("the disk is full", LOW);
        assert!(room.problem(LOW).is_some());
        assert_eq!(room.problem(None).as_deref(), Some("the disk is full"), "nobody knows");
        assert_eq!(room.problem(ENOUGH), None);
        assert_eq!(room.problem(None), None);
    }
}

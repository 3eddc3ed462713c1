//! Which zone is looked at when. Pure.

use std::collections::{BTreeSet, HashMap};

use proxima_model::{Timestamp, ZoneId};

/// Zones and when they are looked at next, each once.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    by_time: BTreeSet<(Timestamp, ZoneId)>,
    by_zone: HashMap<ZoneId, Timestamp>,
}

impl Schedule {
    /// Looks at a zone then, instead of when it was to be looked at; never, if not by a change.
    pub(super) fn set(&mut self, zone: ZoneId, at: Option<Timestamp>) {
        if let Some(former) = self.by_zone.remove(&zone) {
            self.by_time.remove(&(former, zone));
        }
        if let Some(at) = at {
            self.by_zone.insert(zone, at);
            self.by_time.insert((at, zone));
        }
    }

    /// Takes the zones that are due, those first that have waited longest, at most this many.
    pub(super) fn take_due(&mut self, now: Timestamp, max: usize) -> Vec<ZoneId> {
        let due = self.by_time.iter().take_while(|(at, _)| *at <= now).take(max);
        let due: Vec<ZoneId> = due.map(|(_, zone)| *zone).collect();
        due.iter().for_each(|zone| self.set(*zone, None));
        due
    }

    /// When the next zone is due.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_zone_is_due_once_and_at_the_time_that_was_set_last() {
        let zone = |octet: u8| ZoneId::from_bytes([octet; 16]);
        let at = Timestamp::from_millis;
        let mut schedule = Schedule::default();
        schedule.set(zone(1), Some(at(10)));
        schedule.set(zone(2), Some(at(5)));
        schedule.set(zone(1), Some(at(20)));
        schedule.set(zone(3), Some(at(7)));
        schedule.set(zone(3), None);
        assert_eq!(schedule.next_at(), Some(at(5)));
        assert_eq!(schedule.take_due(at(15), 8), [zone(2)]);
        assert_eq!(schedule.take_due(at(15), 8), []);
        assert_eq!((schedule.take_due(at(20), 0), schedule.take_due(at(20), 1)), (vec![], vec![zone(1)]));
        assert_eq!(schedule.next_at(), None);
    }
}

//! When something was written: a hybrid logical clock, by which of two writes of one key the same one is the later one
//! everywhere. Pure.
//!
//! A stamp is the writer's wall clock; where that does not come after what the writer has seen already, a count makes the
//! difference; where two writers agree in both, their names do. So stamps are unique, follow what their writer has seen, and are
//! never far from the time of day, which is what people expect of "the last one wins".

use proxima_model::{NodeName, Timestamp};
use serde::{Deserialize, Serialize};

/// How far in the future another server's stamp may be. Clocks of servers that keep time differ by milliseconds; a clock that
/// is wrong by more must not make its writes win for as long as it is ahead.
pub(crate) const AHEAD_MS_MAX: i64 = 60_000;

/// When, and by whom. The order of the fields is the order of writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Milliseconds since the epoch.
    pub(crate) at_ms: i64,
    /// Tells writes of one millisecond apart.
    pub(crate) count: u32,
    /// The server that took the write.
    pub(crate) by: NodeName,
}

/// A stamp that is too far ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a write is {ahead_ms} ms ahead of the clock here: a server's clock is wrong")]
pub(crate) struct Ahead {
    ahead_ms: i64,
}

/// The clock of one store: what was last given or seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct StampClock {
    at_ms: i64,
    count: u32,
}

impl StampClock {
    /// The next stamp of this server, unless it would be further ahead than this: what was given last is kept, so that a clock
    /// that was wrong and has been set right shows by it, and others would refuse what is stamped behind that.
    pub(crate) fn next(&mut self, now: Timestamp, by: &NodeName, ahead_ms_max: i64) -> Result<Stamp, Ahead> {
        let now_ms = now.as_millis();
        let ahead_ms = self.at_ms.saturating_sub(now_ms);
        if ahead_ms > ahead_ms_max {
            return Err(Ahead { ahead_ms });
        }
        *self = if now_ms > self.at_ms {
            Self { at_ms: now_ms, count: 0 }
        } else {
            match self.count.checked_add(1) {
                Some(count) => Self { count, ..*self },
                None => Self { at_ms: self.at_ms.saturating_add(1), count: 0 },
            }
        };
        Ok(Stamp { at_ms: self.at_ms, count: self.count, by: by.clone() })
    }

    /// Takes note of another server's stamp: what is given from now on comes after it.
    pub(crate) fn see(&mut self, stamp: &Stamp, now: Timestamp) -> Result<(), Ahead> {
        check(stamp, now)?;
        *self = (*self).max(Self { at_ms: stamp.at_ms, count: stamp.count });
        Ok(())
    }
}

/// Whether a stamp may be taken.
pub(crate) fn check(stamp: &Stamp, now: Timestamp) -> Result<(), Ahead> {
    let ahead_ms = stamp.at_ms.saturating_sub(now.as_millis());
    if ahead_ms > AHEAD_MS_MAX { Err(Ahead { ahead_ms }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(name: &str) -> NodeName {
        NodeName::parse(name).expect("a name")
    }

    #[test]
    fn a_stamp_from_beyond_the_bound_is_refused_and_changes_nothing() {
        let now = Timestamp::from_millis(1_000);
        let at = |at_ms| Stamp { at_ms, count: 0, by: name("b") };
        let mut clock = StampClock::default();
        assert_eq!(clock.see(&at(1_001 + AHEAD_MS_MAX), now), Err(Ahead { ahead_ms: AHEAD_MS_MAX + 1 }));
        assert_eq!(clock, StampClock::default());
        assert_eq!(clock.see(&at(1_000 + AHEAD_MS_MAX), now), Ok(()));
        let next = clock.next(now, &name("a"), AHEAD_MS_MAX).expect("at the bound");
        assert!(next > at(1_000 + AHEAD_MS_MAX));
    }

    #[test]
    fn a_clock_that_was_ahead_by_more_than_the_bound_gives_no_stamp_until_its_time_has_come() {
        let mut clock = StampClock { at_ms: 1_001 + AHEAD_MS_MAX, count: 0 };
        let before = clock;
        let mut next = |now_ms, bound| clock.next(Timestamp::from_millis(now_ms), &name("a"), bound);
        assert_eq!(next(1_000, AHEAD_MS_MAX), Err(Ahead { ahead_ms: AHEAD_MS_MAX + 1 }));
        assert!(next(1_001, AHEAD_MS_MAX).is_ok());
        assert!(next(0, i64::MAX).is_ok(), "where nobody else has to take it");
        assert!(clock > before);
    }

    #[test]
    fn a_count_that_is_used_up_goes_on_in_the_next_millisecond() {
        let mut clock = StampClock { at_ms: 5, count: u32::MAX };
        let stamp =
            clock.next(Timestamp::from_millis(5), &name("a"), AHEAD_MS_MAX).expect("within the bound");
        assert_eq!((stamp.at_ms, stamp.count), (6, 0));
    }

    proptest! {
        #[test]
        fn whatever_the_wall_clocks_do_what_has_seen_a_write_comes_after_it(
            steps in proptest::collection::vec((0_usize..3, 0_i64..40, proptest::option::of(0_usize..3)), 1..60),
        ) {
            let names = ["a", "b", "c"].map(name);
            let mut clocks = [StampClock::default(); 3];
            let mut last: [Option<Stamp>; 3] = [None, None, None];
            let mut all = std::collections::BTreeSet::new();
            for (me, now, from) in steps {
                let now = Timestamp::from_millis(now);
                let seen = from.and_then(|from| last[from].clone());
                if let Some(seen) = &seen {
                    clocks[me].see(seen, now).expect("within the bound");
                }
                let given = clocks[me].next(now, &names[me], AHEAD_MS_MAX).expect("within the bound");
                prop_assert!(seen.is_none_or(|seen| given > seen));
                prop_assert!(last[me].as_ref().is_none_or(|before| given > *before));
                prop_assert!(all.insert(given.clone()), "no two are the same");
                last[me] = Some(given);
            }
        }
    }
}

//! Whose fault it was that a process had to be ended: pure.
//!
//! The engine runs many Workers on one thread, and does not tell which of them spins or fills the memory. Where one alone was
//! at work it is convicted. Else all that were are suspects: they run in other processes for a while, as far apart as there
//! are places, so that whoever does it again does it alone.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    time::{Duration, Instant},
};

use proxima_pipeline::Exceeded;

use crate::version::VersionKey;

/// Processes for suspects.
pub(crate) const PLACES: usize = 8;
/// For how long a suspect that does nothing wrong stays one.
const SUSPECT_FOR: Duration = Duration::from_secs(300);
/// Versions that are remembered of either kind: more did wrong at once than a server has processes for.
const KNOWN_MAX: usize = 4_096;
/// The first conviction costs nothing but the answer, for anybody can be unlucky once; each further one locks the version out
/// for twice as long.
const LOCKED_OUT_FIRST: Duration = Duration::from_secs(1);
/// The longest that a version is locked out at a time.
const LOCKED_OUT_MAX: Duration = Duration::from_secs(60);
/// After so long without a conviction all is forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// What is held against versions.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    suspects: HashMap<VersionKey, Suspicion>,
    offenders: HashMap<VersionKey, Offence>,
}

#[derive(Debug)]
struct Suspicion {
    place: usize,
    until: Instant,
}

#[derive(Debug)]
struct Offence {
    convictions: u32,
    last: Instant,
    /// What it did then.
    exceeded: Exceeded,
}

/// What is held against a version that was convicted, and not forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// How often it was convicted.
    pub(crate) convictions: u32,
    /// What for, the last time.
    pub(crate) last: Exceeded,
    /// For how long it is not run from now on, if it is not.
    pub(crate) locked_out: Option<Duration>,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { convictions, last, locked_out } = self;
        write!(f, "it was convicted lately ({convictions}), the last time since {last}")?;
        match locked_out {
            Some(left) => write!(f, ", and is not run for another {} s", left.as_secs() + 1),
            None => Ok(()),
        }
    }
}

impl Verdicts {
    /// A process had to be ended for this while these were at work in it. Whether one of them is convicted.
    pub(crate) fn judge(&mut self, at_work: &BTreeSet<VersionKey>, exceeded: Exceeded, now: Instant) -> bool {
        self.forget(now);
        if let [only] = &at_work.iter().collect::<Vec<_>>()[..] {
            self.convict(only, exceeded, now);
            return true;
        }
        self.suspect(at_work, now);
        false
    }

    /// One of these keeps a process from everything else: they run apart from each other from now on.
    pub(crate) fn suspect(&mut self, at_work: &BTreeSet<VersionKey>, now: Instant) {
        for key in at_work {
            if self.suspects.len() < KNOWN_MAX || self.suspects.contains_key(key) {
                self.suspects.remove(key);
                let place = self.emptiest();
                self.suspects.insert(key.clone(), Suspicion { place, until: now + SUSPECT_FOR });
            }
        }
    }

    /// Where a suspect runs; `None` for anybody else.
    pub(crate) fn place(&self, key: &VersionKey, now: Instant) -> Option<usize> {
        self.suspects.get(key).filter(|suspicion| now < suspicion.until).map(|suspicion| suspicion.place)
    }

    /// What is held against a version, if it was convicted.
    pub(crate) fn record(&self, key: &VersionKey, now: Instant) -> Option<Record> {
        let offence = self.offenders.get(key).filter(|offence| now < offence.last + FORGIVEN_AFTER)?;
        let until = offence.last + offence.locked_out_for();
        Some(Record {
            convictions: offence.convictions,
            last: offence.exceeded,
            locked_out: (now < until).then(|| until.duration_since(now)),
        })
    }

    fn convict(&mut self, key: &VersionKey, exceeded: Exceeded, now: Instant) {
        // It stays apart from others: it may do it again.
        if self.suspects.len() < KNOWN_MAX || self.suspects.contains_key(key) {
            let place = self.suspects.get(key).map_or_else(|| self.emptiest(), |suspicion| suspicion.place);
            self.suspects.insert(key.clone(), Suspicion { place, until: now + SUSPECT_FOR });
        }
        if self.offenders.len() < KNOWN_MAX || self.offenders.contains_key(key) {
            let convictions = self.offenders.get(key).map_or(1, |offence| offence.convictions + 1);
            self.offenders.insert(key.clone(), Offence { convictions, last: now, exceeded });
        }
    }

    fn emptiest(&self) -> usize {
        let taken = |place| self.suspects.values().filter(|suspicion| suspicion.place == place).count();
        (0..PLACES).min_by_key(|place| taken(*place)).unwrap_or_default()
    }

    fn forget(&mut self, now: Instant) {
        self.suspects.retain(|_, suspicion| now < suspicion.until);
        self.offenders.retain(|_, offence| now < offence.last + FORGIVEN_AFTER);
    }
}

impl Offence {
    fn locked_out_for(&self) -> Duration {
        match self.convictions {
            0 | 1 => Duration::ZERO,
            more => LOCKED_OUT_FIRST
                .saturating_mul(1_u32.checked_shl(more - 2).unwrap_or(u32::MAX))
                .min(LOCKED_OUT_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::numbered as key;

    #[test]
    fn one_alone_is_convicted_and_locked_out_for_longer_each_time() {
        let (mut verdicts, start) = (Verdicts::default(), Instant::now());
        let alone = BTreeSet::from([key(1)]);
        let locked_out = |verdicts: &Verdicts, now| verdicts.record(&key(1), now)?.locked_out;
        assert_eq!(verdicts.record(&key(1), start), None);
        assert!(verdicts.judge(&alone, Exceeded::Memory, start));
        let first = Record { convictions: 1, last: Exceeded::Memory, locked_out: None };
        assert_eq!(verdicts.record(&key(1), start), Some(first), "the first time costs the answer only");
        for (seconds, expected) in [(10, 1), (20, 2), (30, 4), (40, 8), (60, 16), (100, 32), (200, 60)] {
            let now = start + Duration::from_secs(seconds);
            assert!(verdicts.judge(&alone, Exceeded::Cpu, now));
            assert_eq!(locked_out(&verdicts, now), Some(Duration::from_secs(expected)));
            assert_eq!(locked_out(&verdicts, now + Duration::from_secs(expected)), None);
        }
        let often = verdicts.record(&key(1), start + Duration::from_secs(200));
        assert!(often.is_some_and(|record| record.convictions == 8 && record.last == Exceeded::Cpu));
        let later = start + Duration::from_secs(200) + FORGIVEN_AFTER;
        assert!(verdicts.judge(&alone, Exceeded::Cpu, later));
        assert_eq!(locked_out(&verdicts, later), None);
    }

    #[test]
    fn several_are_suspects_and_are_set_apart_until_one_does_it_again() {
        let (mut verdicts, now) = (Verdicts::default(), Instant::now());
        let several: BTreeSet<_> = (0..8).map(key).collect();
        assert!(!verdicts.judge(&several, Exceeded::Cpu, now));
        let places: BTreeSet<_> = several.iter().filter_map(|key| verdicts.place(key, now)).collect();
        assert_eq!(places.len(), PLACES, "each has a place of its own");
        assert_eq!(verdicts.place(&key(9), now), None);
        assert!(several.iter().all(|key| verdicts.record(key, now).is_none()));
        assert!(several.iter().all(|key| verdicts.place(key, now + SUSPECT_FOR).is_none()));
    }
}

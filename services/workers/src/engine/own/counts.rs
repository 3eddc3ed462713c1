//! Which versions are asked so often that processes of their own pay: pure.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::version::VersionKey;

/// One request of so many is counted: counting costs a lock.
pub(crate) const COUNTED_OF: u32 = 16;
/// For so long is counted.
const WINDOW: Duration = Duration::from_secs(1);
/// Requests a second from which a version is asked often: the dispatcher takes 2 % of a processor for them.
const OFTEN: u32 = 256;
/// And below which it is not any more.
const RARELY: u32 = 64;
/// After so many windows in a row in which a version was asked rarely, it gives its process back: a start costs as much as some
/// hundred requests.
const RARE_WINDOWS_MAX: u32 = 30;
/// Versions that are counted in one window: of more, none is asked often by itself.
const COUNTED_MAX: usize = 4_096;

/// What was counted.
#[derive(Debug)]
pub(crate) struct Counts {
    began: Instant,
    /// Counted requests of a window.
    of: HashMap<VersionKey, u32>,
    /// Of versions that have a process of their own: in how many windows they were asked rarely.
    rare: HashMap<VersionKey, u32>,
}

/// What follows from a window.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// These are asked often and have none, the most asked first.
    pub(crate) often: Vec<VersionKey>,
    /// These have a process of their own, and are not asked often any more.
    pub(crate) rarely: Vec<VersionKey>,
}

impl Counts {
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, of: HashMap::new(), rare: HashMap::new() }
    }

    /// Counts a request. When a window has gone by, says what follows from it; `has_own` says who has a process of its own.
    pub(crate) fn count<'k>(
        &mut self,
        key: &VersionKey,
        now: Instant,
        has_own: impl Fn() -> Vec<&'k VersionKey>,
    ) -> Option<Found> {
        if let Some(count) = self.of.get_mut(key) {
            *count += 1;
        } else if self.of.len() < COUNTED_MAX {
            self.of.insert(key.clone(), 1);
        }
        let took = now.saturating_duration_since(self.began);
        if took < WINDOW {
            return None;
        }
        self.began = now;
        let of = std::mem::take(&mut self.of);
        let per_second = |count: u32| f64::from(count * COUNTED_OF) / took.as_secs_f64();
        let own = has_own();
        let mut rare = HashMap::new();
        let mut found = Found::default();
        for key in &own {
            if per_second(of.get(key).copied().unwrap_or_default()) >= f64::from(RARELY) {
                continue;
            }
            let windows = self.rare.get(key).map_or(1, |windows| windows + 1);
            if windows >= RARE_WINDOWS_MAX {
                found.rarely.push((*key).clone());
            }
            rare.insert((*key).clone(), windows);
        }
        self.rare = rare;
        let mut often: Vec<_> = of
            .into_iter()
            .filter(|(key, count)| per_second(*count) >= f64::from(OFTEN) && !own.contains(&key))
            .collect();
        often.sort_by(|(_, one), (_, other)| other.cmp(one));
        found.often = often.into_iter().map(|(key, _)| key).collect();
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::numbered as key;

    /// Counts each version so often, and ends the window.
    fn window(counts: &mut Counts, now: &mut Instant, asked: &[(u8, u32)], own: &[VersionKey]) -> Found {
        let has_own = || own.iter().collect();
        for (number, times) in asked {
            for _ in 0..*times {
                assert_eq!(counts.count(&key(*number), *now, has_own), None);
            }
        }
        *now += WINDOW;
        counts.count(&key(99), *now, has_own).expect("a window has gone by")
    }

    #[test]
    fn who_is_asked_often_is_found_the_most_asked_first() {
        let mut now = Instant::now();
        let mut counts = Counts::new(now);
        let often = OFTEN / COUNTED_OF;
        let asked = [(1, often), (2, often - 1), (3, often + 5), (4, often)];
        let found = window(&mut counts, &mut now, &asked, &[key(4)]);
        assert_eq!(found, Found { often: vec![key(3), key(1)], rarely: Vec::new() });
        let found = window(&mut counts, &mut now, &[(2, 1)], &[]);
        assert_eq!(found, Found::default(), "each window counts by itself");
    }

    #[test]
    fn who_is_asked_rarely_for_long_is_found_and_one_busy_window_forgives() {
        let mut now = Instant::now();
        let (mut counts, own) = (Counts::new(now), [key(1), key(2)]);
        for round in 1..=RARE_WINDOWS_MAX {
            let busy = if round == 3 { RARELY / COUNTED_OF } else { 0 };
            let found = window(&mut counts, &mut now, &[(2, busy)], &own);
            let expected = if round == RARE_WINDOWS_MAX { vec![key(1)] } else { Vec::new() };
            assert_eq!(found.rarely, expected, "window {round}");
        }
    }
}

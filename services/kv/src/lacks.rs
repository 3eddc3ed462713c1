//! What others have and this server has no room for.
//!
//! It is asked for again, as long as it is not noted that it was taken over: all behind what was noted, once a minute or, where that
//! takes long, for a tenth of the time, and what is new as often as ever. So what needs no room comes in time, and what has none
//! is neither fetched nor looked at all the time.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::store::{Cursor, Lacked, StoreError};

/// How long after a pass over all that was not noted the next one begins, if something had no room; and how many times as long as
/// that pass took, at the least.
const ANEW_AFTER: Duration = Duration::from_secs(60);
const ANEW_TIMES: u32 = 10;
/// Values without room in one pass after which only those are asked for that have half as many octets: a larger one may have room
/// by what it takes the place of, and none is to be fetched in vain for long.
const EXACT_MAX: usize = 4;

/// By what is noted what was taken over: the last pass that found no room for all.
#[derive(Default)]
pub(crate) struct Lacks(Mutex<HashMap<String, Lack>>);

struct Lack {
    why: StoreError,
    of_values: bool,
    up_to: Cursor,
    /// When the next pass over all begins.
    anew_at: Instant,
}

/// A pass over what a server has.
pub(crate) struct Pass {
    /// It begins behind this.
    pub(crate) from: Cursor,
    /// Values of more octets are not asked for any more: those had no room.
    pub(crate) value_octets_max: Option<u32>,
    /// Why not all has been taken over, in this pass or before it.
    pub(crate) why: Option<StoreError>,
    /// Whether a value is lacking, not only that keys are known to have been deleted of which there is nothing here.
    pub(crate) of_values: bool,
    lacked: usize,
    begun: Instant,
    /// Of a pass over what has come since: when the next one over all begins.
    anew_at: Option<Instant>,
}

impl Pass {
    /// Something had no room.
    pub(crate) fn lacked(&mut self, lacked: Lacked) {
        self.lacked += 1;
        self.of_values |= lacked.of_values;
        let max = if self.lacked > EXACT_MAX { lacked.octets / 2 } else { lacked.octets.saturating_sub(1) };
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        self.value_octets_max = Some(self.value_octets_max.map_or(max, |former| former.min(max)));
        self.why.get_or_insert(lacked.why);
    }
}

impl Lacks {
    /// A pass over what is behind what is noted; if that was looked at a moment ago, over what has come since.
    pub(crate) fn begin(&self, name: &str, noted: Cursor) -> Pass {
        let begun = Instant::now();
        let all = Pass {
            from: noted,
            value_octets_max: None,
            why: None,
            of_values: false,
            lacked: 0,
            begun,
            anew_at: None,
        };
        match self.all().get(name) {
            Some(Lack { why, of_values, up_to, anew_at }) if begun < *anew_at => Pass {
                from: *up_to,
                why: Some(why.clone()),
                of_values: *of_values,
                anew_at: Some(*anew_at),
                ..all
            },
            _ => all,
        }
    }

    /// A pass has come to its end here.
    ///
    /// # Errors
    /// Why not all was taken over, and whether values are lacking.
    pub(crate) fn end(&self, name: String, up_to: Cursor, pass: Pass) -> Result<(), (StoreError, bool)> {
        let Pass { why, of_values, begun, anew_at, .. } = pass;
        let Some(why) = why else {
            self.all().remove(&name);
            return Ok(());
        };
        let rest = || Instant::now() + ANEW_AFTER.max(begun.elapsed() * ANEW_TIMES);
        let anew_at = anew_at.unwrap_or_else(rest);
        self.all().insert(name, Lack { why: why.clone(), of_values, up_to, anew_at });
        Err((why, of_values))
    }

    /// From how many servers not all has room.
    pub(crate) fn count(&self) -> usize {
        self.all().len()
    }

    /// All passes begin anew.
    pub(crate) fn clear(&self) {
        self.all().clear();
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Lack>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proxima_store::StoreId;
    use tokio::time::advance;

    use super::*;
    use crate::store::Number;

    fn cursor(number: u64) -> Cursor {
        Cursor { store: StoreId::default(), up_to: Number(number) }
    }

    fn lacked(octets: usize, of_values: bool) -> Lacked {
        Lacked { why: StoreError::Busy, octets, of_values }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_over_all_begins_anew_after_a_minute_or_ten_times_as_long_as_it_took() {
        for (took, rest) in [(1, 60), (90, 900)] {
            let lacks = Lacks::default();
            let mut pass = lacks.begin("a", cursor(1));
            pass.lacked(lacked(9, true));
            advance(Duration::from_secs(took)).await;
            assert_eq!(lacks.end("a".to_owned(), cursor(7), pass), Err((StoreError::Busy, true)));
            for seconds in [rest - 1, 1] {
                let pass = lacks.begin("a", cursor(1));
                assert_eq!((pass.from, pass.of_values), (cursor(7), true));
                assert!(lacks.end("a".to_owned(), cursor(7), pass).is_err());
                advance(Duration::from_secs(seconds)).await;
            }
            let pass = lacks.begin("a", cursor(1));
            assert_eq!((pass.from, lacks.count()), (cursor(1), 1));
            assert_eq!(lacks.end("a".to_owned(), cursor(8), pass), Ok(()));
            assert_eq!(lacks.count(), 0);
        }
    }

    #[test]
    fn smaller_values_are_asked_for_until_several_had_no_room() {
        let mut pass = Lacks::default().begin("a", cursor(1));
        for octets in [100, 80, 90, 60] {
            pass.lacked(lacked(octets, true));
        }
        assert_eq!(pass.value_octets_max, Some(59));
        pass.lacked(lacked(50, true));
        assert_eq!(pass.value_octets_max, Some(25));
        let mut pass = Lacks::default().begin("a", cursor(1));
        pass.lacked(lacked(0, false));
        assert!(!pass.of_values && pass.value_octets_max == Some(0));
    }
}

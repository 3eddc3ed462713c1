//! What to do for a secondary zone, and when: pure.

use proxima_ledger::Seq;
use proxima_model::{IncomingTransfers, SecondaryZone, Timestamp};

use crate::limits;

/// What this process knows of a zone beside what is in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// When a primary was last heard.
    pub(super) heard_at: Option<Timestamp>,
    /// When it was last tried.
    pub(super) tried_at: Option<Timestamp>,
    /// How often in a row that failed.
    pub(super) failures: u32,
    /// What its owner had asked for by then: others' clocks are not compared with ours.
    pub(super) forced_at: Option<Timestamp>,
    /// Where in the log the last notice of a primary was by then.
    pub(super) noticed: Option<Seq>,
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing until then, if not by a change.
    Rest(Option<Timestamp>),
    /// The primaries are asked; for everything, whether there is something newer or not.
    Check {
        /// Everything.
        whole: bool,
    },
    /// It is not served any more.
    Expire,
}

/// What to do for a zone; `noticed` is where in the log a primary last said that it has changed.
pub(super) fn next(
    incoming: Option<&IncomingTransfers>,
    secondary: &SecondaryZone,
    noticed: Option<Seq>,
    memory: Memory,
    now: Timestamp,
) -> Next {
    let heard_at = memory.heard_at.max(secondary.checked_at).max(secondary.transferred_at);
    let timers = secondary.soa.as_ref().map(|soa| {
        let refresh =
            soa.refresh().clamp(limits::TRANSFER_REFRESH_SECONDS_LEAST, limits::TRANSFER_TIMER_SECONDS_MOST);
        let refresh = incoming.map_or(refresh, |incoming| refresh.min(incoming.refresh_seconds));
        let retry = soa
            .retry()
            .clamp(limits::TRANSFER_RETRY_SECONDS_LEAST, refresh.max(limits::TRANSFER_RETRY_SECONDS_LEAST));
        // Longer than one look that fails: else a zone would expire between two.
        let expire = soa.expire().max(refresh + retry);
        (i64::from(refresh), i64::from(retry), i64::from(expire))
    });
    let expires_at = match (timers, heard_at) {
        (Some((_, _, expire)), Some(heard)) if !secondary.expired => Some(heard.plus_seconds(expire)),
        _ => None,
    };
    if expires_at.is_some_and(|at| at <= now) {
        return Next::Expire;
    }
    let Some(incoming) = incoming.filter(|incoming| !incoming.peers.is_empty()) else {
        return Next::Rest(expires_at);
    };
    let failed_at = secondary.failure.as_ref().map(|failure| failure.at);
    let tried_at = memory.tried_at.max(heard_at).max(failed_at);
    let forced =
        incoming.forced_at.filter(|forced| memory.forced_at.or(tried_at).is_none_or(|done| *forced > done));
    if forced.is_some() {
        return Next::Check { whole: true };
    }
    // What this process has not seen to may have been seen to by another one; a look costs little.
    if noticed > memory.noticed {
        return Next::Check { whole: false };
    }
    let due_at = match (timers, tried_at) {
        (_, None) => now,
        (Some((refresh, ..)), Some(tried)) if memory.failures == 0 && failed_at.is_none() => {
            tried.plus_seconds(refresh)
        }
        (Some((_, retry, _)), Some(tried)) => tried.plus_seconds(retry),
        (None, Some(tried)) => tried.plus_seconds(first_wait(memory.failures)),
    };
    if due_at <= now {
        return Next::Check { whole: false };
    }
    Next::Rest(Some(expires_at.map_or(due_at, |at| at.min(due_at))))
}

/// How long a zone that never came waits, in seconds.
fn first_wait(failures: u32) -> i64 {
    let doubled = limits::TRANSFER_FIRST_WAIT_SECONDS << failures.min(16);
    doubled.min(limits::TRANSFER_FIRST_WAIT_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use proxima_model::{PrimarySoa, TransferFailure, TransferPeerId, ZoneId};

    use super::*;

    const ZONE: ZoneId = ZoneId::from_bytes([1; 16]);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_764_000_000_000).plus_seconds(seconds)
    }

    fn incoming(forced_at: Option<i64>) -> IncomingTransfers {
        IncomingTransfers {
            zone: ZONE,
            peers: vec![TransferPeerId::from_bytes([2; 16])],
            refresh_seconds: 10_000,
            forced_at: forced_at.map(at),
            created_at: at(0),
            modified_at: at(0),
        }
    }

    /// Heard at 0; refresh 3600, retry 600, expire 7200.
    fn came() -> SecondaryZone {
        let numbers = [7_u32, 3_600, 600, 7_200, 300].map(u32::to_be_bytes).concat();
        let soa = PrimarySoa { ttl: 60, data: [&[0, 0][..], &numbers].concat() };
        SecondaryZone {
            soa: Some(soa),
            checked_at: Some(at(0)),
            transferred_at: Some(at(0)),
            ..SecondaryZone::new(ZONE)
        }
    }

    fn failed(seconds: i64) -> SecondaryZone {
        let failure = TransferFailure { at: at(seconds), message: String::new() };
        SecondaryZone { failure: Some(failure), ..came() }
    }

    #[test]
    fn a_zone_is_looked_at_when_its_soa_record_says_and_expires_when_nobody_answers() {
        let tried =
            |seconds: i64, failures| Memory { tried_at: Some(at(seconds)), failures, ..Memory::default() };
        let (check, whole) = (Next::Check { whole: false }, Next::Check { whole: true });
        let rest = |seconds| Next::Rest(Some(at(seconds)));
        let expired = SecondaryZone { expired: true, ..failed(7_200) };
        let heard = Memory { heard_at: Some(at(5_000)), tried_at: Some(at(5_000)), ..Memory::default() };
        for (secondary, memory, now, expected) in [
            (came(), Memory::default(), 10, rest(3_600)),
            (came(), Memory::default(), 3_600, check),
            (failed(3_600), tried(3_600, 1), 3_700, rest(4_200)),
            (failed(3_600), tried(3_600, 1), 4_200, check),
            // Another process tried before this one began.
            (failed(3_600), Memory::default(), 3_700, rest(4_200)),
            (failed(3_600), tried(6_900, 6), 7_000, rest(7_200)),
            (failed(3_600), tried(6_900, 6), 7_200, Next::Expire),
            (came(), heard, 7_200, rest(8_600)),
            (expired.clone(), tried(7_300, 7), 7_400, rest(7_900)),
            (expired, tried(7_300, 7), 7_900, check),
            (SecondaryZone::new(ZONE), Memory::default(), 0, check),
            (SecondaryZone::new(ZONE), tried(0, 1), 10, rest(20)),
            (SecondaryZone::new(ZONE), tried(0, 1), 20, check),
            (SecondaryZone::new(ZONE), tried(0, 60), 20, rest(3_600)),
        ] {
            let found = next(Some(&incoming(None)), &secondary, None, memory, at(now));
            assert_eq!(found, expected, "{now} {memory:?} {secondary:?}");
        }
        let ask = |forced, noticed: Option<u64>, memory| {
            next(Some(&incoming(forced)), &came(), noticed.map(Seq), memory, at(7))
        };
        let fresh = Memory::default();
        assert_eq!((ask(Some(5), None, fresh), ask(Some(0), None, fresh)), (whole, rest(3_600)));
        assert_eq!((ask(None, Some(5), fresh), ask(None, None, fresh)), (check, rest(3_600)));
        // Asked for by a clock that is ahead of ours: once.
        let done = Memory { forced_at: Some(at(900)), noticed: Some(Seq(8)), ..tried(6, 0) };
        let again = |forced, noticed| ask(Some(forced), Some(noticed), done);
        assert_eq!((again(900, 8), again(901, 8), again(900, 9)), (rest(3_606), whole, check));
    }

    #[test]
    fn without_primaries_a_zone_is_served_until_it_expires() {
        let alone = |now| next(None, &came(), None, Memory::default(), at(now));
        assert_eq!((alone(10), alone(7_200)), (Next::Rest(Some(at(7_200))), Next::Expire));
        assert_eq!(next(None, &SecondaryZone::new(ZONE), None, Memory::default(), at(0)), Next::Rest(None));
    }

    #[test]
    fn timers_of_a_primary_that_means_no_good_are_bounded() {
        let numbers = [7_u32, 0, 0, 0, 0].map(u32::to_be_bytes).concat();
        let soa = PrimarySoa { ttl: 0, data: [&[0, 0][..], &numbers].concat() };
        let zone = SecondaryZone { soa: Some(soa), ..came() };
        assert_eq!(
            next(Some(&incoming(None)), &zone, None, Memory::default(), at(1)),
            Next::Rest(Some(at(10)))
        );
        let numbers = [7, u32::MAX, u32::MAX, u32::MAX, 0].map(u32::to_be_bytes).concat();
        let soa = PrimarySoa { ttl: 0, data: [&[0, 0][..], &numbers].concat() };
        let zone = SecondaryZone { soa: Some(soa), ..came() };
        assert_eq!(
            next(Some(&incoming(None)), &zone, None, Memory::default(), at(1)),
            Next::Rest(Some(at(10_000)))
        );
    }
}

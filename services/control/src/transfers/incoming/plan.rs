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
    /// What its owner had asked for by then: others' clocks are not compared with ours, nor with one another.
    pub(super) forced_at: Option<Timestamp>,
    /// Where in the log the last notice of a primary was by then.
    pub(super) noticed: Option<Seq>,
    /// Whether how a primary is reached was put anew since.
    pub(super) is_corrected: bool,
    /// The number of a transfer that stages and that this process is not at, and when that was first seen.
    pub(super) left: Option<(u64, Timestamp)>,
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

/// What a zone goes by, in seconds.
struct Timers {
    refresh: u32,
    retry: u32,
    expire: u32,
}

/// Those of a zone that has come, within bounds.
fn timers(incoming: Option<&IncomingTransfers>, secondary: &SecondaryZone) -> Option<Timers> {
    let soa = secondary.soa.as_ref()?;
    let refresh =
        soa.refresh().clamp(limits::TRANSFER_REFRESH_SECONDS_LEAST, limits::TRANSFER_TIMER_SECONDS_MOST);
    let refresh = incoming.map_or(refresh, |incoming| refresh.min(incoming.refresh_seconds));
    let retry = soa
        .retry()
        .clamp(limits::TRANSFER_RETRY_SECONDS_LEAST, refresh.max(limits::TRANSFER_RETRY_SECONDS_LEAST));
    // Longer than one look that fails: else a zone would expire between two.
    let expire = soa.expire().max(refresh + retry);
    Some(Timers { refresh, retry, expire })
}

/// When a zone that is served stops being good, if nobody is heard until then.
pub(super) fn expires_at(
    incoming: Option<&IncomingTransfers>,
    secondary: &SecondaryZone,
    memory: Memory,
) -> Option<Timestamp> {
    let heard_at = heard_at(secondary, memory).filter(|_| !secondary.expired)?;
    Some(heard_at.plus_seconds(timers(incoming, secondary)?.expire.into()))
}

/// For how many seconds it need not be noted again that a primary was heard.
pub(super) fn noted_seconds(secondary: &SecondaryZone) -> i64 {
    let expire = timers(None, secondary).map_or(u32::MAX, |timers| timers.expire);
    limits::TRANSFER_NOTED_SECONDS.min(i64::from(expire / 4))
}

/// What is known from now on of a transfer that stages and that this process is not at, and when what it left is taken away:
/// it was broken off, unless a process that ends is still at it.
pub(super) fn left(
    staging: Option<u64>,
    memory: Memory,
    now: Timestamp,
) -> Option<((u64, Timestamp), Timestamp)> {
    let number = staging?;
    let known = memory.left.filter(|(known, _)| *known == number);
    let since = known.map_or(now, |(_, since)| since);
    Some(((number, since), since.plus_seconds(limits::TRANSFER_LEFT_SECONDS)))
}

fn heard_at(secondary: &SecondaryZone, memory: Memory) -> Option<Timestamp> {
    memory.heard_at.max(secondary.checked_at).max(secondary.transferred_at)
}

/// What to do for a zone; `noticed` is where in the log a primary last said that it has changed.
pub(super) fn next(
    incoming: Option<&IncomingTransfers>,
    secondary: &SecondaryZone,
    noticed: Option<Seq>,
    memory: Memory,
    now: Timestamp,
) -> Next {
    let expires_at = expires_at(incoming, secondary, memory);
    let is_over = expires_at.is_some_and(|at| at <= now);
    let Some(incoming) = incoming.filter(|incoming| !incoming.peers.is_empty()) else {
        return if is_over { Next::Expire } else { Next::Rest(expires_at) };
    };
    // A process that has just begun does not know when a primary was last heard, but for what was noted.
    if is_over && memory.tried_at.is_some() {
        return Next::Expire;
    }
    let failed_at = secondary.failure.as_ref().map(|failure| failure.at);
    let heard_at = heard_at(secondary, memory);
    let tried_at = memory.tried_at.max(heard_at).max(failed_at);
    // Until it has come whole; when that fails, as soon as any other look that does.
    let whole = incoming.forced_at.is_some() && incoming.forced_at != secondary.forced_at;
    let is_forced = whole && incoming.forced_at != memory.forced_at;
    // What this process has not seen to may have been seen to by another one; a look costs little.
    if is_over || is_forced || memory.is_corrected || noticed > memory.noticed {
        return Next::Check { whole };
    }
    let due_at = match (timers(Some(incoming), secondary), tried_at) {
        (_, None) => now,
        (Some(timers), Some(tried)) if memory.failures == 0 && failed_at.is_none() => {
            tried.plus_seconds(timers.refresh.into())
        }
        (Some(timers), Some(tried)) => tried.plus_seconds(timers.retry.into()),
        (None, Some(tried)) => tried.plus_seconds(first_wait(memory.failures)),
    };
    if due_at <= now {
        return Next::Check { whole };
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
        let check = Next::Check { whole: false };
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
            // A process that has just begun hears the primaries first.
            (came(), Memory::default(), 7_200, check),
            (failed(7_100), Memory::default(), 7_200, check),
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
        let ask = |noticed: Option<u64>, memory| {
            next(Some(&incoming(None)), &came(), noticed.map(Seq), memory, at(7))
        };
        let fresh = Memory::default();
        assert_eq!((ask(Some(5), fresh), ask(None, fresh)), (check, rest(3_600)));
        let done = Memory { noticed: Some(Seq(8)), ..tried(6, 0) };
        assert_eq!((ask(Some(8), done), ask(Some(9), done)), (rest(3_606), check));
        assert_eq!(ask(Some(8), Memory { is_corrected: true, ..done }), check);
    }

    #[test]
    fn what_its_owner_asks_for_is_done_at_once_and_again_until_it_has_come_by_whatever_clock() {
        let (whole, rest) = (Next::Check { whole: true }, |seconds| Next::Rest(Some(at(seconds))));
        for asked in [-900, 0, 900] {
            let ask = |secondary: &SecondaryZone, memory, now| {
                next(Some(&incoming(Some(asked))), secondary, None, memory, at(now))
            };
            assert_eq!(ask(&came(), Memory::default(), 7), whole, "{asked}");
            // It failed: it is tried again after the zone's retry, for everything still.
            let failed = SecondaryZone { failure: failed(7).failure, ..came() };
            let tried = Memory {
                forced_at: Some(at(asked)),
                tried_at: Some(at(7)),
                failures: 1,
                ..Memory::default()
            };
            assert_eq!((ask(&failed, tried, 8), ask(&failed, tried, 607)), (rest(607), whole), "{asked}");
            let done = SecondaryZone { forced_at: Some(at(asked)), ..came() };
            assert_eq!(ask(&done, Memory::default(), 7), rest(3_600), "{asked}");
            let other = SecondaryZone { forced_at: Some(at(asked + 1)), ..came() };
            assert_eq!(ask(&other, Memory { forced_at: Some(at(asked + 1)), ..tried }, 7), whole, "{asked}");
        }
    }

    #[test]
    fn that_a_primary_was_heard_is_noted_before_the_zone_could_expire_for_want_of_it() {
        assert_eq!(noted_seconds(&came()), 1_800);
        assert_eq!(noted_seconds(&SecondaryZone::new(ZONE)), 3_600);
    }

    #[test]
    fn what_a_transfer_left_is_taken_away_when_it_has_not_gone_on_for_a_while() {
        let seen = |number, seconds| Memory { left: Some((number, at(seconds))), ..Memory::default() };
        for (staging, memory, now, expected) in [
            (None, seen(7, 0), 9, None),
            (Some(7), Memory::default(), 9, Some(((7, at(9)), at(14)))),
            (Some(7), seen(7, 9), 14, Some(((7, at(9)), at(14)))),
            // Another one has begun meanwhile.
            (Some(8), seen(7, 9), 14, Some(((8, at(14)), at(19)))),
        ] {
            assert_eq!(left(staging, memory, at(now)), expected, "{staging:?} {memory:?}");
        }
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

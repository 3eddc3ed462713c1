//! Some zones at a time, going round; and what one zone's trouble means for the others.

use std::collections::BTreeSet;

use proxima_ledger::ReadError;
use proxima_model::ZoneId;

use crate::error::{ApiError, Code};

/// What was done for one zone; nothing if it failed: that is said, and the round goes on with the next zone. But if the log
/// cannot be written, no zone fares better, and the round ends.
pub(super) fn or_pass_over<T>(
    what: &'static str,
    zone: ZoneId,
    done: Result<T, ApiError>,
) -> Result<Option<T>, ApiError> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.code() == Code::LogUnreachable => Err(error),
        Err(error) => {
            tracing::warn!(%zone, %error, what, "upkeep of a zone failed; the others' goes on");
            Ok(None)
        }
    }
}

/// What of a scan can be read. A value that this version cannot read is one zone's trouble, which is said; a replica that
/// cannot be read is everybody's.
pub(super) fn readable<E>(
    scan: impl Iterator<Item = Result<E, ReadError>>,
) -> impl Iterator<Item = Result<E, ReadError>> {
    scan.filter(|found| match found {
        Err(error @ (ReadError::Decode { .. } | ReadError::Unseal { .. })) => {
            tracing::warn!(%error, "upkeep passes over what cannot be read");
            false
        }
        _ => true,
    })
}

/// The first zones in order behind one, of those that are offered. Ids are random, so none is preferred.
pub(super) struct Round {
    after: Option<ZoneId>,
    most: usize,
    ids: BTreeSet<ZoneId>,
}

impl Round {
    /// At most so many, behind the last one of the former round.
    pub(super) const fn new(after: Option<ZoneId>, most: usize) -> Self {
        Self { after, most, ids: BTreeSet::new() }
    }

    pub(super) fn offer(&mut self, id: ZoneId) {
        if self.after.is_none_or(|after| id > after) {
            self.ids.insert(id);
            if self.ids.len() > self.most {
                self.ids.pop_last();
            }
        }
    }

    /// Those of this round. None: the next one begins anew.
    pub(super) fn ids(self) -> BTreeSet<ZoneId> {
        self.ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_zones_trouble_ends_no_round_and_that_of_the_log_does() {
        let pass = |code| or_pass_over("a test", ZoneId::from_bytes([1; 16]), failed(code)).map_err(|_| ());
        let others = Code::ALL.iter().copied().filter(|code| *code != Code::LogUnreachable);
        assert!(others.into_iter().all(|code| pass(code) == Ok(None)));
        assert_eq!(pass(Code::LogUnreachable), Err(()));
        assert_eq!(or_pass_over("a test", ZoneId::from_bytes([1; 16]), Ok(7)).unwrap(), Some(7));
    }

    fn failed(code: Code) -> Result<u8, ApiError> {
        Err(ApiError::new(code, "it failed"))
    }

    #[test]
    fn what_cannot_be_read_is_passed_over_and_a_replica_that_cannot_is_not() {
        let decode =
            ReadError::Decode { key: "zone/1".to_owned(), kind: "zone", reason: "it is new".to_owned() };
        let found: Vec<_> =
            readable([Ok(1), Err(decode), Ok(2), Err(ReadError::NotReady)].into_iter()).collect();
        assert!(matches!(found[..], [Ok(1), Ok(2), Err(ReadError::NotReady)]), "{found:?}");
    }

    #[test]
    fn rounds_go_through_all_and_begin_anew() {
        let zone = |number| ZoneId::from_bytes([number; 16]);
        let mut after = None;
        let mut rounds = Vec::new();
        for _ in 0..4 {
            let mut round = Round::new(after, 2);
            [4, 1, 3, 5, 2].into_iter().for_each(|number| round.offer(zone(number)));
            let ids = round.ids();
            after = ids.last().copied();
            rounds.push(ids.into_iter().collect::<Vec<_>>());
        }
        let expected: [&[u8]; 4] = [&[1, 2], &[3, 4], &[5], &[]];
        assert_eq!(
            rounds,
            expected.map(|round| round.iter().map(|number| zone(*number)).collect::<Vec<_>>())
        );
        assert_eq!(after, None);
    }
}

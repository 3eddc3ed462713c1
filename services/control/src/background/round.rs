//! Some zones at a time, going round.

use std::collections::BTreeSet;

use proxima_model::ZoneId;

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

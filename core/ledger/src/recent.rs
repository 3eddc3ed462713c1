//! The keys that changed lately: what a service asks for when it compiles anew only what must be.

use std::collections::{BTreeSet, VecDeque};

use proxima_model::Key;

use crate::{ChangeSet, Seq, limits::RECENT_KEYS_MAX};

/// A bounded memory of changed keys, oldest first.
pub(crate) struct Recent {
    entries: VecDeque<(Seq, Vec<Key>)>,
    keys: usize,
    /// After this state everything is remembered.
    floor: Seq,
    /// The last entry that was told.
    last: Seq,
}

impl Recent {
    /// Knows nothing of what led to `floor`.
    pub(crate) const fn new(floor: Seq) -> Self {
        Self { entries: VecDeque::new(), keys: 0, floor, last: floor }
    }

    /// Remembers what an entry changes, and forgets the oldest beyond the bound. Entries may be told again; what comes
    /// before an entry that was not told is forgotten.
    pub(crate) fn push(&mut self, seq: Seq, keys: Vec<Key>) {
        if seq > self.last.next() {
            *self = Self::new(Seq(seq.0 - 1));
        }
        self.last = self.last.max(seq);
        self.keys += keys.len();
        self.entries.push_back((seq, keys));
        while self.keys > RECENT_KEYS_MAX {
            let Some((seq, keys)) = self.entries.pop_front() else { break };
            self.keys -= keys.len();
            self.floor = self.floor.max(seq);
        }
    }

    /// What changed after `from`, when the state is at `to`.
    pub(crate) fn since(&self, from: Seq, to: Seq) -> ChangeSet {
        if from < self.floor {
            return ChangeSet::everything(to);
        }
        let start = self.entries.partition_point(|(seq, _)| *seq <= from);
        let later = self.entries.range(start..).filter(|(seq, _)| *seq > from);
        let keys: BTreeSet<Key> = later.flat_map(|(_, keys)| keys.iter().cloned()).collect();
        ChangeSet { from, to: to.max(from), keys: Some(keys) }
    }
}

#[cfg(test)]
mod tests {
    use proxima_model::Kind;

    use super::*;

    fn key(number: u64) -> Key {
        Key::new(Kind::Node, &[&number])
    }

    #[test]
    fn only_what_changed_after_the_cursor_is_told() {
        let mut recent = Recent::new(Seq(5));
        recent.push(Seq(6), vec![key(6)]);
        recent.push(Seq(7), vec![key(7), key(6)]);
        assert_eq!(recent.since(Seq(6), Seq(7)).keys, Some(BTreeSet::from([key(7), key(6)])));
        assert_eq!(recent.since(Seq(7), Seq(7)).keys, Some(BTreeSet::new()));
        assert!(recent.since(Seq(4), Seq(7)).is_everything());
        assert!(!recent.since(Seq(5), Seq(7)).is_everything());
    }

    #[test]
    fn what_led_over_a_gap_is_everything() {
        let mut recent = Recent::new(Seq(5));
        recent.push(Seq(6), vec![key(6)]);
        recent.push(Seq(9), vec![key(9)]);
        assert!(recent.since(Seq(6), Seq(9)).is_everything());
        assert_eq!(recent.since(Seq(8), Seq(9)).keys, Some(BTreeSet::from([key(9)])));
    }

    #[test]
    fn an_entry_that_is_told_twice_is_told_once() {
        let mut recent = Recent::new(Seq::ZERO);
        recent.push(Seq(1), vec![key(1)]);
        recent.push(Seq(1), vec![key(1)]);
        recent.push(Seq(2), vec![key(2)]);
        assert_eq!(recent.since(Seq::ZERO, Seq(2)).keys, Some(BTreeSet::from([key(1), key(2)])));
        assert_eq!(recent.since(Seq(1), Seq(2)).keys, Some(BTreeSet::from([key(2)])));
    }

    #[test]
    fn memory_is_bounded_and_who_asks_beyond_it_is_told_everything() {
        let mut recent = Recent::new(Seq::ZERO);
        for seq in 1..=200_000 {
            recent.push(Seq(seq), vec![key(seq)]);
        }
        assert!(recent.keys <= RECENT_KEYS_MAX);
        assert!(recent.since(Seq(1), Seq(200_000)).is_everything());
        assert_eq!(recent.since(Seq(199_998), Seq(200_000)).keys.map(|keys| keys.len()), Some(2));
    }
}

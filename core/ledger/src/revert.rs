//! The way back: from what the entries after a place in the log replaced to the append that puts it back.

use std::collections::BTreeMap;

use proxima_model::Key;

use crate::{
    Append, Change, Entry, IdempotencyKey, Precondition, Replica, RevertError, Seq,
    limits::CHANGES_PER_APPEND_MAX,
};

/// An entry, and what each of its changes replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The entry.
    pub entry: Entry,
    /// For each change, in order: the value that lay there before, if any.
    pub former: Vec<Option<Vec<u8>>>,
}

/// The way back, gathered from all entries after the state that is to come back, oldest first.
#[derive(Clone, Debug, Default)]
pub struct WayBack {
    keys: BTreeMap<Key, Touched>,
    since: Option<Seq>,
}

/// A key that was changed.
#[derive(Clone, Debug)]
struct Touched {
    /// What lay there at first.
    former: Option<Vec<u8>>,
    /// The entry that put what lies there now, if anything does.
    latest: Option<Seq>,
    /// Whether what lies there now is what lay there at first.
    same: bool,
}

impl WayBack {
    /// Adds the next entry; keys that are not `wanted` stay as they are.
    pub fn add(&mut self, replaced: Replaced, wanted: impl Fn(&Key) -> bool) {
        let seq = replaced.entry.seq;
        self.since.get_or_insert(Seq(seq.0.saturating_sub(1)));
        for (change, former) in replaced.entry.append.changes.into_iter().zip(replaced.former) {
            if !wanted(change.key()) {
                continue;
            }
            // More keys than this are refused at the end: they are only counted.
            let former = former.filter(|_| self.keys.len() <= CHANGES_PER_APPEND_MAX);
            let (key, value) = match change {
                Change::Put { key, value } => (key, Some(value)),
                Change::Delete { key } => (key, None),
            };
            // Only the first replacement of a key replaced what is to come back.
            let touched = self.keys.entry(key).or_insert(Touched { former, latest: None, same: false });
            touched.latest = value.is_some().then_some(seq);
            touched.same = value == touched.former;
        }
    }

    /// The changes that bring the former state back, and what must hold for them: that nothing it touches was changed
    /// since the last entry.
    pub fn finish(self) -> Result<(Vec<Change>, Vec<Precondition>), RevertError> {
        if self.keys.len() > CHANGES_PER_APPEND_MAX {
            let since = self.since.unwrap_or_default();
            return Err(RevertError::TooFar { since, keys: self.keys.len() });
        }
        let (mut changes, mut preconditions) = (Vec::new(), Vec::new());
        for (key, Touched { former, latest, same }) in self.keys {
            preconditions.push(match latest {
                Some(revision) => Precondition::Revision(key.clone(), revision),
                None => Precondition::Absent(key.clone()),
            });
            match former {
                _ if same => {}
                Some(value) => changes.push(Change::Put { key, value }),
                None => changes.push(Change::Delete { key }),
            }
        }
        Ok((changes, preconditions))
    }
}

impl Replica {
    /// The append that brings back the state as it was at `seq`; possible for as long as all entries since are kept.
    /// Values come back as they were, SOA serials too: whoever serves zones gathers the [`WayBack`] itself and raises
    /// the serials of the zones that it touches, so that secondaries notice.
    pub fn revert_to(
        &self,
        seq: Seq,
        idempotency_key: IdempotencyKey,
        author: String,
    ) -> Result<Append, RevertError> {
        let mut way = WayBack::default();
        self.each_replaced(seq, |replaced| way.add(replaced, |_| true))?;
        let (changes, preconditions) = way.finish()?;
        Ok(Append { preconditions, changes, idempotency_key, fingerprint: None, author })
    }
}

#[cfg(test)]
mod tests {
    use proxima_model::{Kind, Timestamp};

    use super::*;

    fn key(name: &str) -> Key {
        Key::new(Kind::Node, &[&name])
    }

    fn put(name: &str, value: &str) -> Change {
        Change::Put { key: key(name), value: value.into() }
    }

    fn entry(seq: u64, changes: Vec<(Change, Option<&str>)>) -> Replaced {
        let former = changes.iter().map(|(_, former)| former.map(Into::into)).collect();
        let changes = changes.into_iter().map(|(change, _)| change).collect();
        let idempotency_key = IdempotencyKey(seq.to_string());
        let (preconditions, author) = (Vec::new(), String::new());
        let append = Append { changes, preconditions, idempotency_key, fingerprint: None, author };
        Replaced { entry: Entry { seq: Seq(seq), at: Timestamp::from_millis(0), append }, former }
    }

    fn way_back<const N: usize>(
        entries: [Replaced; N],
    ) -> Result<(Vec<Change>, Vec<Precondition>), RevertError> {
        let mut way = WayBack::default();
        entries.into_iter().for_each(|entry| way.add(entry, |_| true));
        way.finish()
    }

    #[test]
    fn what_was_put_back_already_is_left_alone_and_still_must_not_change() {
        let entries =
            [entry(5, vec![(put("a", "2"), Some("1"))]), entry(6, vec![(put("a", "1"), Some("2"))])];
        assert_eq!(way_back(entries), Ok((vec![], vec![Precondition::Revision(key("a"), Seq(6))])));
    }

    #[test]
    fn what_lay_there_before_the_first_change_comes_back() {
        let entries = [
            entry(5, vec![(put("a", "2"), Some("1")), (put("b", "1"), None)]),
            entry(6, vec![(put("a", "3"), Some("2")), (Change::Delete { key: key("c") }, Some("9"))]),
        ];
        let (changes, preconditions) = way_back(entries).unwrap();
        assert_eq!(changes, [put("a", "1"), Change::Delete { key: key("b") }, put("c", "9")]);
        assert_eq!(
            preconditions,
            [
                Precondition::Revision(key("a"), Seq(6)),
                Precondition::Revision(key("b"), Seq(5)),
                Precondition::Absent(key("c"))
            ]
        );
    }

    #[test]
    fn more_than_an_append_holds_is_refused() {
        let changes = (0..=CHANGES_PER_APPEND_MAX).map(|n| (put(&n.to_string(), "1"), None)).collect();
        let refused = way_back([entry(1, changes)]);
        assert!(
            matches!(refused, Err(RevertError::TooFar { keys, .. }) if keys == CHANGES_PER_APPEND_MAX + 1)
        );
    }
}

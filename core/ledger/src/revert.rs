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

/// The append that brings back the state before `entries`, which are all entries after it, oldest first. It holds only
/// if nothing it touches was changed since the last of them.
pub fn revert(
    entries: &[Replaced],
    idempotency_key: IdempotencyKey,
    author: String,
) -> Result<Append, RevertError> {
    let mut former: BTreeMap<&Key, Option<&Vec<u8>>> = BTreeMap::new();
    let mut latest: BTreeMap<&Key, Option<Seq>> = BTreeMap::new();
    for replaced in entries {
        for (change, value) in replaced.entry.append.changes.iter().zip(&replaced.former) {
            // Only the first replacement of a key replaced what is to come back.
            former.entry(change.key()).or_insert(value.as_ref());
            let revision = matches!(change, Change::Put { .. }).then_some(replaced.entry.seq);
            latest.insert(change.key(), revision);
        }
    }
    if former.len() > CHANGES_PER_APPEND_MAX {
        let since = entries.first().map_or(Seq::ZERO, |replaced| Seq(replaced.entry.seq.0 - 1));
        return Err(RevertError::TooFar { since, keys: former.len() });
    }
    let preconditions = latest.into_iter().map(|(key, revision)| match revision {
        Some(revision) => Precondition::Revision(key.clone(), revision),
        None => Precondition::Absent(key.clone()),
    });
    let changes = former.into_iter().map(|(key, value)| match value {
        Some(value) => Change::Put { key: key.clone(), value: value.clone() },
        None => Change::Delete { key: key.clone() },
    });
    Ok(Append { preconditions: preconditions.collect(), changes: changes.collect(), idempotency_key, author })
}

impl Replica {
    /// The append that brings back the state as it was at `seq`; possible for as long as all entries since are kept.
    /// Values come back as they were, SOA serials too: whoever appends it raises the serials of the zones that it
    /// touches, so that secondaries notice.
    pub fn revert_to(
        &self,
        seq: Seq,
        idempotency_key: IdempotencyKey,
        author: String,
    ) -> Result<Append, RevertError> {
        revert(&self.replaced_since(seq)?, idempotency_key, author)
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
        let append = Append { changes, preconditions: Vec::new(), idempotency_key, author: String::new() };
        Replaced { entry: Entry { seq: Seq(seq), at: Timestamp::from_millis(0), append }, former }
    }

    #[test]
    fn what_lay_there_before_the_first_change_comes_back() {
        let entries = [
            entry(5, vec![(put("a", "2"), Some("1")), (put("b", "1"), None)]),
            entry(6, vec![(put("a", "3"), Some("2")), (Change::Delete { key: key("c") }, Some("9"))]),
        ];
        let append = revert(&entries, IdempotencyKey("back".into()), "token/1".into()).unwrap();
        assert_eq!(append.changes, [put("a", "1"), Change::Delete { key: key("b") }, put("c", "9")]);
        assert_eq!(
            append.preconditions,
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
        let refused = revert(&[entry(1, changes)], IdempotencyKey("back".into()), String::new());
        assert!(
            matches!(refused, Err(RevertError::TooFar { keys, .. }) if keys == CHANGES_PER_APPEND_MAX + 1)
        );
    }
}

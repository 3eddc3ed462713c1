//! Which row a key has, in the order of the keys' octets.
//!
//! ```text
//!   heads   namespace, a key of up to 494 octets       ─▶ its row
//!           namespace, 494 octets, 0xFF                ─▶ a group: the longer keys that begin so
//!   tails   the group, what follows of a key           ─▶ its row
//! ```
//!
//! LMDB takes keys of 511 octets; a namespace and our longest key have 528. No UTF-8 has 0xFF, so that a group comes right
//! behind the key that is its beginning and nothing else.

use std::ops::Bound;

use heed::{RoTxn, RwTxn};
use proxima_model::{KvKey, KvNamespaceId};

use super::{Db, StoreError, damaged, feed::Number};

/// LMDB's own limit.
const LMDB_KEY_OCTETS_MAX: usize = 511;
/// A namespace's.
pub(super) const NAMESPACE_OCTETS: usize = 16;
/// What of a key stands in LMDB's, so that there is place for the mark of a group.
const HEAD_OCTETS: usize = LMDB_KEY_OCTETS_MAX - NAMESPACE_OCTETS - 1;
/// The mark of a group.
const GROUP: u8 = 0xFF;

/// The index of the keys that have a value, or of those that have none any more.
#[derive(Clone, Copy)]
pub(super) struct Index {
    pub(super) heads: Db,
    pub(super) tails: Db,
}

/// A key of a namespace.
pub(super) type At<'a> = (KvNamespaceId, &'a KvKey);

/// Where the entry of a key lies.
enum Place<'a> {
    Short(Vec<u8>),
    /// The group's entry, and what of the key follows.
    Long(Vec<u8>, &'a [u8]),
}

fn place(namespace: KvNamespaceId, key: &[u8]) -> Place<'_> {
    let namespace = &namespace.as_bytes()[..];
    match key.split_at_checked(HEAD_OCTETS) {
        Some((head, tail)) if !tail.is_empty() => Place::Long([namespace, head, &[GROUP]].concat(), tail),
        _ => Place::Short([namespace, key].concat()),
    }
}

fn tail_key(group: Number, tail: &[u8]) -> Vec<u8> {
    [&group.octets()[..], tail].concat()
}

fn number(octets: &[u8]) -> Result<Number, StoreError> {
    octets.try_into().map(|octets| Number(u64::from_be_bytes(octets))).map_err(|_| damaged("the index"))
}

impl Index {
    /// The row of a key.
    pub(super) fn find(
        &self,
        txn: &RoTxn<'_>,
        (namespace, key): At<'_>,
    ) -> Result<Option<Number>, StoreError> {
        match place(namespace, key.as_str().as_bytes()) {
            Place::Short(head) => self.heads.get(txn, &head)?.map(number).transpose(),
            Place::Long(head, tail) => {
                let Some(group) = self.heads.get(txn, &head)?.map(number).transpose()? else {
                    return Ok(None);
                };
                self.tails.get(txn, &tail_key(group, tail))?.map(number).transpose()
            }
        }
    }

    /// Says which row a key has; a new group takes the next number.
    pub(super) fn put(
        &self,
        txn: &mut RwTxn<'_>,
        (namespace, key): At<'_>,
        row: Number,
        next: &mut u64,
    ) -> Result<(), StoreError> {
        let (head, tail) = match place(namespace, key.as_str().as_bytes()) {
            Place::Short(head) => return Ok(self.heads.put(txn, &head, &row.octets())?),
            Place::Long(head, tail) => (head, tail),
        };
        let group = match self.heads.get(txn, &head)?.map(number).transpose()? {
            Some(group) => group,
            None => {
                let group = Number(*next);
                *next += 1;
                self.heads.put(txn, &head, &group.octets())?;
                group
            }
        };
        Ok(self.tails.put(txn, &tail_key(group, tail), &row.octets())?)
    }

    /// Forgets a key.
    pub(super) fn delete(&self, txn: &mut RwTxn<'_>, (namespace, key): At<'_>) -> Result<(), StoreError> {
        let (head, tail) = match place(namespace, key.as_str().as_bytes()) {
            Place::Short(head) => return Ok(self.heads.delete(txn, &head).map(drop)?),
            Place::Long(head, tail) => (head, tail),
        };
        let Some(group) = self.heads.get(txn, &head)?.map(number).transpose()? else { return Ok(()) };
        self.tails.delete(txn, &tail_key(group, tail))?;
        if self.tails.prefix_iter(txn, &group.octets())?.next().is_none() {
            self.heads.delete(txn, &head)?;
        }
        Ok(())
    }

    /// The rows of a namespace's keys that begin so, behind `after`, in their order.
    pub(super) fn scan<'t>(
        &self,
        txn: &'t RoTxn<'_>,
        namespace: KvNamespaceId,
        prefix: &'t [u8],
        after: Option<&'t [u8]>,
    ) -> Result<impl Iterator<Item = Result<Number, StoreError>> + use<'t>, StoreError> {
        let bound = |key: &'t [u8]| &key[..key.len().min(HEAD_OCTETS)];
        let in_namespace = |key: &[u8]| [&namespace.as_bytes()[..], key].concat();
        // From the entry of `after` itself on, which is passed over, or has others in its group.
        let after = after.unwrap_or_default();
        let begin = in_namespace(bound(after.max(prefix)));
        let within = in_namespace(bound(prefix));
        let range = (Bound::Included(&begin[..]), Bound::Unbounded);
        let heads = self.heads.range(txn, &range)?;
        let tails = self.tails;
        let wanted = move |key: &[u8]| key.starts_with(prefix) && key > after;
        Ok(heads
            .map(|found| found.map_err(StoreError::from))
            .take_while(move |found| found.as_ref().map_or(true, |(head, _)| head.starts_with(&within)))
            .flat_map(move |found| -> Box<dyn Iterator<Item = Result<Number, StoreError>> + 't> {
                let entry = found.and_then(|(head, entry)| Ok((&head[NAMESPACE_OCTETS..], number(entry)?)));
                match entry {
                    Err(error) => Box::new(std::iter::once(Err(error))),
                    Ok((key, row)) if key.len() <= HEAD_OCTETS => {
                        Box::new(wanted(key).then_some(Ok(row)).into_iter())
                    }
                    Ok((head, group)) => {
                        match group_scan(&tails, txn, (&head[..HEAD_OCTETS], group), [prefix, after]) {
                            Err(error) => Box::new(std::iter::once(Err(error))),
                            Ok(found) => Box::new(found.filter_map(move |found| match found {
                                Ok((tail, row)) => {
                                    wanted(&[&head[..HEAD_OCTETS], tail].concat()).then_some(Ok(row))
                                }
                                Err(error) => Some(Err(error)),
                            })),
                        }
                    }
                }
            }))
    }

    /// The first namespace with an entry, from this one on.
    pub(super) fn namespace_from(
        &self,
        txn: &RoTxn<'_>,
        from: [u8; NAMESPACE_OCTETS],
    ) -> Result<Option<KvNamespaceId>, StoreError> {
        let Some((key, _)) = self.heads.get_greater_than_or_equal_to(txn, &from)? else { return Ok(None) };
        let id = key.first_chunk().ok_or_else(|| damaged("the index"))?;
        Ok(Some(KvNamespaceId::from_bytes(*id)))
    }
}

type Tails<'t> = Box<dyn Iterator<Item = Result<(&'t [u8], Number), StoreError>> + 't>;

/// The ends of those of a group's keys that begin so, from that of `after` on, if that is one of them.
fn group_scan<'t>(
    tails: &Db,
    txn: &'t RoTxn<'_>,
    (head, group): (&[u8], Number),
    [prefix, after]: [&'t [u8]; 2],
) -> Result<Tails<'t>, StoreError> {
    let [prefix, after] = [prefix, after].map(|key| key.strip_prefix(head).unwrap_or_default());
    let (begin, end) = (tail_key(group, after.max(prefix)), Number(group.0 + 1).octets());
    let found = tails.range(txn, &(Bound::Included(&begin[..]), Bound::Excluded(&end[..])))?;
    let ends = found.map(|found| {
        let (key, row) = found?;
        Ok((key.get(size_of::<u64>()..).ok_or_else(|| damaged("the index"))?, number(row)?))
    });
    // Who asks counts what it gets: all others of a large group would be looked at uncounted.
    Ok(Box::new(
        ends.take_while(move |end| {
            end.as_ref().map_or(true, |(tail, _): &(&[u8], _)| tail.starts_with(prefix))
        }),
    ))
}

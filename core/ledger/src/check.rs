//! A check of everything that is kept, in steps: checksums of all values, then checksums and the chain of digests of all
//! entries.
//!
//! Each step is a read transaction of its own, since one that lasts keeps LMDB from using room again. What changes
//! between two steps was written whole and checked by its writer's transaction; what does not is met by one of them.

use std::{
    ops::Bound,
    sync::{Arc, Weak},
};

use crate::{
    ReadError, Replica, Seq,
    codec::{Digest, Reader},
    store::{Record, Store, StoreError, Stored, Txn},
};

/// How far a check has come.
#[derive(Default)]
pub(crate) struct Check {
    /// The store that is checked; another one is checked from its beginning.
    store: Weak<Store>,
    place: Place,
    /// Values and entries that were checked.
    pub(crate) checked: u64,
}

#[derive(Default)]
enum Place {
    #[default]
    Begin,
    /// After the value of this key.
    State(Vec<u8>),
    /// After this entry, whose digest is this; before the first one if there is none.
    Log(Option<(Seq, Digest)>),
    End,
}

impl Check {
    /// Checks at most `count` more values and entries of what is in force; whether that was all. Blocks.
    ///
    /// # Errors
    /// What is damaged. It counts as if a reader had met it.
    pub(crate) fn step(&mut self, replica: &Replica, count: usize) -> Result<bool, ReadError> {
        let store = replica.store()?;
        if !std::ptr::eq(self.store.as_ptr(), Arc::as_ptr(&store)) {
            *self = Self { store: Arc::downgrade(&store), ..Self::default() };
        }
        let outcome = self.advance(&store, count);
        store.trim();
        outcome.map_err(|error| replica.failed(&store, &error))?;
        Ok(matches!(self.place, Place::End))
    }

    fn advance(&mut self, store: &Store, mut count: usize) -> Result<(), StoreError> {
        let txn = store.read()?;
        while count > 0 {
            let before = self.checked;
            self.place = match std::mem::take(&mut self.place) {
                Place::Begin => self.values(store, &txn, Vec::new(), count)?,
                Place::State(after) => self.values(store, &txn, after, count)?,
                Place::Log(after) => self.entries(store, &txn, after, count)?,
                Place::End => Place::End,
            };
            count = count.saturating_sub(usize::try_from(self.checked - before).unwrap_or(usize::MAX));
            if matches!(self.place, Place::End) {
                break;
            }
        }
        Ok(())
    }

    fn values(
        &mut self,
        store: &Store,
        txn: &Txn,
        after: Vec<u8>,
        count: usize,
    ) -> Result<Place, StoreError> {
        let mut last = None;
        let range = (Bound::Excluded(after.as_slice()), Bound::Unbounded);
        let range = if after.is_empty() { (Bound::Unbounded, Bound::Unbounded) } else { range };
        for found in store.state.range(txn, &range)?.take(count) {
            let (key, octets) = found?;
            Stored::decode(key, octets)?;
            self.checked += 1;
            last = Some(key);
        }
        Ok(last.map_or(Place::Log(None), |key| Place::State(key.to_vec())))
    }

    fn entries(
        &mut self,
        store: &Store,
        txn: &Txn,
        after: Option<(Seq, Digest)>,
        count: usize,
    ) -> Result<Place, StoreError> {
        let corrupt = |what: String| Err(StoreError::Corrupt(what));
        let Some(head) = store.head(txn)? else { return corrupt("the head is missing".to_owned()) };
        let from = after.map_or(head.first, |(seq, _)| seq.next().max(head.first));
        let mut former = after.filter(|(seq, _)| seq.next() == from);
        let (mut expected, mut met) = (from, 0);
        let first = from.0.to_be_bytes();
        let range = (Bound::Included(first.as_slice()), Bound::Unbounded);
        for found in store.log.range(txn, &range)?.take(count) {
            let (seq, octets) = found?;
            let seq = Reader::new(seq).seq()?;
            if seq != expected {
                return corrupt(format!("entry {expected} is missing"));
            }
            let record = Record::decode(seq, octets)?;
            if former.is_some_and(|(_, digest)| digest.chain(record.entry) != record.digest) {
                return corrupt(format!("entry {seq} does not follow from the one before it"));
            }
            former = Some((seq, record.digest));
            expected = seq.next();
            met += 1;
        }
        self.checked += met;
        if expected <= head.seq && met > 0 {
            return Ok(Place::Log(former));
        }
        if expected != head.seq.next() || former.is_some_and(|(_, digest)| digest != head.digest) {
            return corrupt(format!("the entries end at {expected}, and not as the head says"));
        }
        Ok(Place::End)
    }
}

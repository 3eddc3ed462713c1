//! Reading the entries that a replica keeps: for followers, the audit, and going back.

use std::ops::ControlFlow;

use crate::{
    Entry, FollowError, ReadError, Replaced, Replica, Seq, codec,
    store::{Head, Record, StoreError},
    writer::decode_replaced,
};

impl Replica {
    /// The first and the last entry that are kept here; the first is behind the last if none is.
    pub fn kept(&self) -> Result<(Seq, Seq), ReadError> {
        let head = self.head()?;
        Ok((head.first, head.seq))
    }

    /// The entries after `from`, oldest first, at most `limit`: what the audit reads.
    pub fn entries(&self, from: Seq, limit: usize) -> Result<Vec<Entry>, FollowError> {
        let mut entries = Vec::new();
        self.each_entry(from, limit, |entry| entries.push(entry))?;
        Ok(entries)
    }

    /// As [`Self::entries`], one at a time: an entry may have megabytes.
    pub fn each_entry(
        &self,
        from: Seq,
        limit: usize,
        mut visit: impl FnMut(Entry),
    ) -> Result<(), FollowError> {
        let mut left = limit;
        self.records(from, |record| {
            if left == 0 {
                return Ok(ControlFlow::Break(()));
            }
            left -= 1;
            visit(codec::decode_entry(record.entry)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }

    /// The entries after `from`, oldest first, each with what its changes replaced; returns the last one there is.
    pub fn each_replaced(&self, from: Seq, mut visit: impl FnMut(Replaced)) -> Result<Seq, FollowError> {
        let head = self.records(from, |record| {
            let entry = codec::decode_entry(record.entry)?;
            let former = decode_replaced(record.replaced, entry.append.changes.len())?;
            visit(Replaced { entry, former });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(head.seq)
    }

    /// The encodings of the entries after `from`: at most `count_max`, and no further one once `octets_max` is passed.
    pub(crate) fn tail(
        &self,
        from: Seq,
        count_max: usize,
        octets_max: usize,
    ) -> Result<Vec<Vec<u8>>, FollowError> {
        let mut tail = Vec::new();
        let mut octets = 0;
        self.records(from, |record| {
            if tail.len() >= count_max || octets >= octets_max {
                return Ok(ControlFlow::Break(()));
            }
            octets += record.entry.len();
            tail.push(record.entry.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(tail)
    }

    /// Visits the records after `from` in one state, and returns which state that is.
    fn records(
        &self,
        from: Seq,
        mut visit: impl FnMut(Record<'_>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<Head, FollowError> {
        let store = self.store()?;
        let mut read = || -> Result<Result<Head, FollowError>, StoreError> {
            let txn = store.read()?;
            let Some(head) = store.head(&txn)? else { return Ok(Err(ReadError::NotReady.into())) };
            if let Err(refusal) = within(&head, from) {
                return Ok(Err(refusal));
            }
            let mut seq = from.next();
            while seq <= head.seq {
                let record = store.record(&txn, seq)?;
                let record = record.ok_or_else(|| StoreError::Corrupt(format!("entry {seq} is missing")))?;
                if visit(record)?.is_break() {
                    break;
                }
                seq = seq.next();
            }
            Ok(Ok(head))
        };
        read().map_err(|error| FollowError::Read(self.failed(&store, &error)))?
    }
}

/// Whether the entries after `from` are kept.
pub(crate) fn within(head: &Head, from: Seq) -> Result<(), FollowError> {
    if from > head.seq {
        return Err(FollowError::Ahead { from, last: head.seq });
    }
    if from.next() < head.first {
        return Err(FollowError::Compacted { from, first: head.first });
    }
    Ok(())
}

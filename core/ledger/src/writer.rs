//! One write transaction on a store: preconditions are checked and entries are applied in order, and all of it is
//! durable together or not at all.

use std::collections::BTreeMap;

use heed::RwTxn;
use proxima_model::Timestamp;

use crate::{
    Append, Change, Entry, Precondition, Seq,
    codec::{self, Digest, Write as _},
    limits::{
        COMPACTED_PER_ENTRY_MAX, FORGOTTEN_PER_ENTRY_MAX, IDEMPOTENCY_AGE_SECONDS, IDEMPOTENCY_KEYS_MIN,
    },
    store::{HEAD, Head, Record, Seen, Store, StoreError, Stored},
};

pub(crate) struct Writer<'s> {
    store: &'s Store,
    txn: RwTxn<'s>,
    head: Head,
    /// How many nouns of each kind there will be, for kinds that changed.
    counts: BTreeMap<String, u64>,
}

impl<'s> Writer<'s> {
    /// Begins; waits for another transaction to end. `None` if the store has no state.
    pub(crate) fn begin(store: &'s Store) -> Result<Option<Self>, StoreError> {
        let txn = store.write()?;
        let head = store.head(&txn)?;
        Ok(head.map(|head| Self { store, txn, head, counts: BTreeMap::new() }))
    }

    /// The state with everything applied so far.
    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    /// Where this idempotency key was used before.
    pub(crate) fn seen(&self, append: &Append) -> Result<Option<Seen>, StoreError> {
        self.store.seen(&self.txn, append.idempotency_key.0.as_bytes())
    }

    /// The first precondition that does not hold, and the revision of what lies there.
    pub(crate) fn failed(
        &self,
        preconditions: &[Precondition],
    ) -> Result<Option<(Precondition, Option<Seq>)>, StoreError> {
        for precondition in preconditions {
            let found =
                self.store.value(&self.txn, precondition.key().as_str())?.map(|stored| stored.revision);
            let holds = match precondition {
                Precondition::Absent(_) => found.is_none(),
                Precondition::Present(_) => found.is_some(),
                Precondition::Revision(_, revision) => found == Some(*revision),
            };
            if !holds {
                return Ok(Some((precondition.clone(), found)));
            }
        }
        Ok(None)
    }

    /// Applies the next entry; `encoded` is its encoding.
    pub(crate) fn apply(&mut self, entry: &Entry, encoded: &[u8]) -> Result<(), StoreError> {
        debug_assert_eq!(entry.seq, self.head.seq.next(), "entries are applied in order");
        let mut replaced = Vec::new();
        for change in &entry.append.changes {
            self.change(entry.seq, change, &mut replaced)?;
        }
        self.head.seq = entry.seq;
        self.head.at = entry.at;
        self.head.digest = self.head.digest.chain(encoded);
        self.keep(self.head.digest, entry.seq, encoded, &replaced)?;
        self.remember(entry)
    }

    fn change(&mut self, seq: Seq, change: &Change, replaced: &mut Vec<u8>) -> Result<(), StoreError> {
        let key = change.key().as_str();
        let former = self.store.value(&self.txn, key)?;
        encode_replaced(former, replaced);
        let existed = former.is_some();
        let exists = match change {
            Change::Put { value, .. } => {
                let stored = Stored::encode(key.as_bytes(), seq, value);
                self.store.state.put(&mut self.txn, key.as_bytes(), &stored)?;
                true
            }
            Change::Delete { .. } => {
                self.store.state.delete(&mut self.txn, key.as_bytes())?;
                false
            }
        };
        if existed != exists {
            let kind = key.split('/').next().unwrap_or_default();
            if !self.counts.contains_key(kind) {
                self.counts.insert(kind.to_owned(), self.store.count(&self.txn, kind)?);
            }
            let count = self.counts.get_mut(kind).expect("inserted above");
            *count = if exists { *count + 1 } else { count.saturating_sub(1) };
        }
        Ok(())
    }

    /// Keeps the entry, and drops the oldest ones beyond the bounds.
    fn keep(&mut self, digest: Digest, seq: Seq, encoded: &[u8], replaced: &[u8]) -> Result<(), StoreError> {
        let record = Record::encode(seq, digest, encoded, replaced);
        self.store.log.put(&mut self.txn, &seq.0.to_be_bytes(), &record)?;
        self.head.log_octets += record.len() as u64;
        for _ in 0..COMPACTED_PER_ENTRY_MAX {
            let entries = seq.0 + 1 - self.head.first.0;
            let bounds = &self.store.bounds;
            let beyond = entries > bounds.log_entries_max || self.head.log_octets > bounds.log_octets_max;
            if !beyond || entries <= 1 {
                break;
            }
            let oldest = self.head.first.0.to_be_bytes();
            let octets = self.store.log.get(&self.txn, &oldest)?.map_or(0, |record| record.len() as u64);
            self.store.log.delete(&mut self.txn, &oldest)?;
            self.head.log_octets = self.head.log_octets.saturating_sub(octets);
            self.head.first = self.head.first.next();
        }
        Ok(())
    }

    /// Remembers the idempotency key, and forgets the oldest ones beyond the bounds.
    fn remember(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let Append { idempotency_key, fingerprint, .. } = &entry.append;
        let seen = Seen { seq: entry.seq, at: entry.at, fingerprint: *fingerprint };
        put_seen(self.store, &mut self.txn, &idempotency_key.0, &seen)?;
        let mut remembered = self.store.seen_order.len(&self.txn)?;
        for _ in 0..FORGOTTEN_PER_ENTRY_MAX {
            if remembered <= IDEMPOTENCY_KEYS_MIN.min(self.store.bounds.idempotency_keys_max) {
                break;
            }
            let Some((seq, key)) = self.store.seen_order.first(&self.txn)? else { break };
            let (seq, key) = (seq.to_vec(), key.to_vec());
            let seen = self.store.seen(&self.txn, &key)?;
            let at = seen.map_or(Timestamp::from_millis(0), |seen| seen.at);
            let old = at.plus_seconds(IDEMPOTENCY_AGE_SECONDS) < entry.at;
            if !old && remembered <= self.store.bounds.idempotency_keys_max {
                break;
            }
            self.store.seen_order.delete(&mut self.txn, &seq)?;
            self.store.seen.delete(&mut self.txn, &key)?;
            remembered -= 1;
        }
        Ok(())
    }

    /// Makes everything durable; then this is the state.
    pub(crate) fn commit(mut self) -> Result<Head, StoreError> {
        for (kind, count) in &self.counts {
            self.store.counts.put(&mut self.txn, kind.as_bytes(), &count.to_be_bytes())?;
        }
        self.store.meta.put(&mut self.txn, HEAD, &self.head.encode())?;
        self.txn.commit()?;
        Ok(self.head)
    }
}

/// Remembers where an idempotency key was used.
pub(crate) fn put_seen(store: &Store, txn: &mut RwTxn<'_>, key: &str, seen: &Seen) -> Result<(), StoreError> {
    store.seen.put(txn, key.as_bytes(), &seen.encode())?;
    store.seen_order.put(txn, &seen.seq.0.to_be_bytes(), key.as_bytes())?;
    Ok(())
}

/// What a change replaced: nothing, or a value with its revision.
fn encode_replaced(former: Option<Stored<'_>>, out: &mut Vec<u8>) {
    match former {
        None => out.put_u8(0),
        Some(stored) => {
            out.put_u8(1);
            out.put_u64(stored.revision.0);
            out.put_octets(stored.value);
        }
    }
}

/// What the changes of an entry replaced, in their order.
pub(crate) fn decode_replaced(octets: &[u8], changes: usize) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
    let mut reader = codec::Reader::new(octets);
    let mut replaced = Vec::with_capacity(changes);
    for _ in 0..changes {
        replaced.push(match reader.u8()? {
            0 => None,
            _ => {
                reader.seq()?;
                Some(reader.octets("a value", crate::limits::VALUE_OCTETS_MAX)?.to_vec())
            }
        });
    }
    reader.end()?;
    Ok(replaced)
}

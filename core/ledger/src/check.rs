//! A check of everything that is kept, in steps: checksums of all values, then checksums and the chain of digests of all
//! entries.
//!
//! Each step is a read transaction of its own, since one that lasts keeps LMDB from using room again. What changes
//! between two steps was written whole and checked by its writer's transaction; what does not is met by one of them.
//!
//! A step ends by what it has read in number, in octets and in time, whichever comes first: large values and a slow
//! disk must not make it last. It always comes one value or entry further.

use std::{
    ops::Bound,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use crate::{
    ReadError, Replica, Seq,
    codec::{Digest, Reader},
    limits,
    store::{Record, Store, StoreError, Stored, Txn},
};

/// How much is checked in one step, each before the value or entry that passes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepBounds {
    /// Values and entries.
    pub count: usize,
    /// Octets of them.
    pub octets: usize,
    /// Time.
    pub time: Duration,
}

impl Default for StepBounds {
    fn default() -> Self {
        Self {
            count: limits::VERIFY_STEP,
            octets: limits::VERIFY_STEP_OCTETS,
            time: limits::VERIFY_STEP_TIME,
        }
    }
}

/// What is left of a step.
struct Budget {
    bounds: StepBounds,
    began: Instant,
}

impl Budget {
    /// Counts one value or entry; whether another one may be checked.
    fn spend(&mut self, octets: usize) -> bool {
        self.bounds.count = self.bounds.count.saturating_sub(1);
        self.bounds.octets = self.bounds.octets.saturating_sub(octets);
        !self.is_spent()
    }

    fn is_spent(&self) -> bool {
        self.bounds.count == 0 || self.bounds.octets == 0 || self.began.elapsed() >= self.bounds.time
    }
}

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
    /// Checks some more of what is in force; whether that was all. Blocks.
    ///
    /// # Errors
    /// What is damaged. It counts as if a reader had met it.
    pub(crate) fn step(&mut self, replica: &Replica, bounds: StepBounds) -> Result<bool, ReadError> {
        let store = replica.store()?;
        if !std::ptr::eq(self.store.as_ptr(), Arc::as_ptr(&store)) {
            *self = Self { store: Arc::downgrade(&store), ..Self::default() };
        }
        let outcome = self.advance(&store, Budget { bounds, began: Instant::now() });
        store.trim();
        outcome.map_err(|error| replica.failed(&store, &error))?;
        Ok(matches!(self.place, Place::End))
    }

    fn advance(&mut self, store: &Store, mut budget: Budget) -> Result<(), StoreError> {
        let txn = store.read()?;
        loop {
            self.place = match std::mem::take(&mut self.place) {
                Place::Begin => self.values(store, &txn, Vec::new(), &mut budget)?,
                Place::State(after) => self.values(store, &txn, after, &mut budget)?,
                Place::Log(after) => self.entries(store, &txn, after, &mut budget)?,
                Place::End => Place::End,
            };
            if matches!(self.place, Place::End) || budget.is_spent() {
                return Ok(());
            }
        }
    }

    fn values(
        &mut self,
        store: &Store,
        txn: &Txn,
        after: Vec<u8>,
        budget: &mut Budget,
    ) -> Result<Place, StoreError> {
        let mut last = None;
        let range = (Bound::Excluded(after.as_slice()), Bound::Unbounded);
        let range = if after.is_empty() { (Bound::Unbounded, Bound::Unbounded) } else { range };
        for found in store.state.range(txn, &range)? {
            let (key, octets) = found?;
            Stored::decode(key, octets)?;
            self.checked += 1;
            last = Some(key);
            if !budget.spend(key.len() + octets.len()) {
                break;
            }
        }
        Ok(last.map_or(Place::Log(None), |key| Place::State(key.to_vec())))
    }

    fn entries(
        &mut self,
        store: &Store,
        txn: &Txn,
        after: Option<(Seq, Digest)>,
        budget: &mut Budget,
    ) -> Result<Place, StoreError> {
        let corrupt = |what: String| Err(StoreError::Corrupt(what));
        let Some(head) = store.head(txn)? else { return corrupt("the head is missing".to_owned()) };
        let from = after.map_or(head.first, |(seq, _)| seq.next().max(head.first));
        let mut former = after.filter(|(seq, _)| seq.next() == from);
        let (mut expected, mut met) = (from, 0);
        let first = from.0.to_be_bytes();
        let range = (Bound::Included(first.as_slice()), Bound::Unbounded);
        for found in store.log.range(txn, &range)? {
            let (place, octets) = found?;
            let seq = Reader::new(place).seq()?;
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
            if !budget.spend(place.len() + octets.len()) {
                break;
            }
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

#[cfg(test)]
mod tests {
    use proxima_model::{Key, Kind};

    use super::*;
    use crate::{Append, Change, EmbeddedLog, IdempotencyKey, Log as _, ReplicaOptions, Sealer};

    const VALUE_OCTETS: usize = 10_000;
    const VALUES: u64 = 10;

    /// A log of ten entries with one value each.
    async fn log(folder: &std::path::Path) -> EmbeddedLog {
        let (sealer, _) = Sealer::generate();
        let log = EmbeddedLog::open(folder, sealer, ReplicaOptions::default()).unwrap();
        for number in 0..VALUES {
            let key = Key::new(Kind::Node, &[&number.to_string()]);
            let append = Append {
                changes: vec![Change::Put { key, value: vec![b'x'; VALUE_OCTETS] }],
                preconditions: Vec::new(),
                idempotency_key: IdempotencyKey(number.to_string()),
                fingerprint: None,
                author: "node/test".to_owned(),
            };
            log.append(append).await.unwrap();
        }
        log
    }

    /// How many values and entries each step checks.
    fn steps(log: &EmbeddedLog, bounds: StepBounds) -> Vec<u64> {
        let (mut check, mut steps) = (Check::default(), Vec::new());
        loop {
            let before = check.checked;
            let ended = check.step(log.replica(), bounds).unwrap();
            steps.push(check.checked - before);
            if ended {
                return steps;
            }
        }
    }

    #[tokio::test]
    async fn a_step_ends_by_number_by_octets_and_by_time_and_always_comes_further() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path()).await;
        let all = StepBounds { count: 1_000, octets: usize::MAX, time: Duration::from_secs(3_600) };
        assert_eq!(steps(&log, all), [2 * VALUES]);
        assert_eq!(steps(&log, StepBounds { count: 8, ..all }), [8, 8, 4]);
        // Each step ends with the value or entry that passes the bound.
        let octets = steps(&log, StepBounds { octets: 2 * VALUE_OCTETS + VALUE_OCTETS / 2, ..all });
        assert!(octets.len() >= 6 && octets.iter().all(|step| *step <= 3), "{octets:?}");
        assert_eq!(octets.iter().sum::<u64>(), 2 * VALUES);
        let late = steps(&log, StepBounds { time: Duration::ZERO, ..all });
        assert!(late.iter().all(|step| *step <= 1), "{late:?}");
        assert_eq!(late.iter().sum::<u64>(), 2 * VALUES);
        log.close().await;
    }
}

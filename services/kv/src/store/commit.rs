//! Writing: what has come in one moment is written by one transaction, and is on the disk when it returns.

use std::ops::Bound;

use heed::RwTxn;
use proxima_model::{KvKey, KvNamespaceId, Timestamp};
use proxima_pipeline::KvValue;
use proxima_store::{Commit, FileUse, Outcome};

use super::{
    SIXTEENTHS_FOR_NOTES, SIXTEENTHS_FOR_VALUES, Store, StoreError, Version, damaged,
    feed::{Cursor, Number},
    row::{About, PIECE_OCTETS, Row, SHORT_OCTETS_MAX},
    sweep,
};
use crate::stamp::{Stamp, StampClock};

pub(super) const NEXT: &[u8] = b"next";
const CLOCK: &[u8] = b"clock";

/// What is to be written.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// Of clients: values, or deletions. Stamped here. All of them, or none.
    Write(KvNamespaceId, Vec<(KvKey, Option<KvValue>)>),
    /// What another server has written: what has room ([`Done::lacked`]). A value that has none holds up no deletion that gives some.
    ///
    /// So it is for what is pushed, too: who pushes is told that not all is kept, counts all of it as missed, and has it taken over
    /// later, which a repetition does not harm. That what was written together is seen together is promised of no replica:
    /// what is taken over comes in the order of the other store, message by message.
    Merge(Vec<Version>),
    /// What was taken over from another server, under a name of that: before, and now. Not, if something else is noted meanwhile:
    /// that nothing was ([`Store::revive`]).
    Cursor(String, [Cursor; 2]),
}

/// What takes room.
#[derive(Clone, Copy)]
enum Taking {
    /// A value of so many octets, which takes the place of one of so many.
    Value(usize, usize),
    /// A deletion of what is not there. One of what is there takes its place, and there are no more of these than rows.
    Note,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Of [`Job::Write`]: the stamps, in the order of what was written.
    pub(crate) stamps: Vec<Stamp>,
    /// How many rows, or cursors, were written: those that were not older than what was there.
    pub(crate) taken: usize,
    /// Of [`Job::Merge`]: what had no room.
    pub(crate) lacked: Option<Lacked>,
}

/// That not all was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lacked {
    /// Why the first of them was not.
    pub(crate) why: StoreError,
    /// Octets of the smallest value that was not.
    pub(crate) octets: usize,
    /// Whether there was a value among them, not only deletions of what is not there.
    pub(crate) of_values: bool,
}

/// What a transaction goes by: the last of it is in the store, not in memory, since another process may have it open.
#[derive(Clone, Copy)]
pub(super) struct Ledger {
    pub(super) next: u64,
    clock: StampClock,
    /// How the file is used: as this transaction found it, and what it has written.
    of_file: FileUse,
}

impl Commit for Store {
    type Job = Job;
    type Done = Done;
    type Error = StoreError;

    fn try_commit(&self, jobs: &[Job], now: Timestamp) -> Result<Vec<Outcome<Self>>, StoreError> {
        self.write_all(jobs, now).map_err(|error| self.explain(error))
    }
}

impl Store {
    fn write_all(&self, jobs: &[Job], now: Timestamp) -> Result<Vec<Outcome<Self>>, StoreError> {
        let mut txn = self.env.write_txn()?;
        let mut ledger = self.ledger(&txn)?;
        let mut all = Vec::with_capacity(jobs.len());
        for job in jobs {
            all.push(match job {
                Job::Write(namespace, writes) => {
                    self.write_whole(&mut txn, &mut ledger, (*namespace, writes), now)?
                }
                Job::Merge(versions) => self.merge(&mut txn, &mut ledger, versions, now)?,
                Job::Cursor(server, [before, cursor]) => {
                    let is_so = self.cursor_in(&txn, server)? == *before;
                    if is_so {
                        self.cursors.put(&mut txn, server.as_bytes(), &cursor.write())?;
                    }
                    Ok(Done { taken: is_so.into(), ..Done::default() })
                }
            });
        }
        // What is refused takes nothing, and waits for no disk. What another server has written moves the clock at least.
        if all.iter().any(Result::is_ok) {
            self.keep(&mut txn, &ledger)?;
            txn.commit()?;
        }
        Ok(all)
    }

    /// Writes of clients. Several are a transaction within the one of all: where one of them is refused, it is thrown away with what
    /// was written before that one.
    fn write_whole(
        &self,
        txn: &mut RwTxn<'_>,
        ledger: &mut Ledger,
        writes: (KvNamespaceId, &[(KvKey, Option<KvValue>)]),
        now: Timestamp,
    ) -> Result<Outcome<Self>, StoreError> {
        if writes.1.len() < 2 {
            return self.write_each(txn, ledger, writes, now);
        }
        let before = *ledger;
        let mut within = self.env.nested_write_txn(txn)?;
        let outcome = self.write_each(&mut within, ledger, writes, now)?;
        match outcome {
            Ok(_) => within.commit()?,
            Err(_) => {
                within.abort();
                *ledger = before;
            }
        }
        Ok(outcome)
    }

    fn write_each(
        &self,
        txn: &mut RwTxn<'_>,
        ledger: &mut Ledger,
        (namespace, writes): (KvNamespaceId, &[(KvKey, Option<KvValue>)]),
        now: Timestamp,
    ) -> Result<Outcome<Self>, StoreError> {
        let mut done = Done::default();
        for (key, value) in writes {
            let stamp = match ledger.clock.next(now, &self.me, self.ahead_ms_max) {
                Ok(stamp) => stamp,
                Err(ahead) => return Ok(Err(ahead.into())),
            };
            match self.write(txn, ledger, (namespace, key, &stamp, value.as_ref()), now)? {
                Ok(is_written) => done.taken += usize::from(is_written),
                Err(refusal) => return Ok(Err(refusal)),
            }
            done.stamps.push(stamp);
        }
        Ok(Ok(done))
    }

    fn merge(
        &self,
        txn: &mut RwTxn<'_>,
        ledger: &mut Ledger,
        versions: &[Version],
        now: Timestamp,
    ) -> Result<Outcome<Self>, StoreError> {
        let mut clock = ledger.clock;
        if let Err(ahead) = versions.iter().try_for_each(|version| clock.see(&version.stamp, now)) {
            return Ok(Err(ahead.into()));
        }
        ledger.clock = clock;
        let mut done = Done::default();
        for Version { namespace, key, stamp, value } in versions {
            match self.write(txn, ledger, (*namespace, key, stamp, value.as_ref()), now)? {
                Ok(is_written) => done.taken += usize::from(is_written),
                Err(why) => {
                    let octets = value.as_ref().map_or(0, |value| value.value.len());
                    let lacked = done.lacked.get_or_insert(Lacked { why, octets, of_values: false });
                    lacked.octets = lacked.octets.min(octets);
                    lacked.of_values |= value.is_some();
                }
            }
        }
        Ok(Ok(done))
    }

    /// Writes down what the next transaction goes by.
    pub(super) fn keep(&self, txn: &mut RwTxn<'_>, ledger: &Ledger) -> Result<(), StoreError> {
        self.meta.put(txn, NEXT, &ledger.next.to_be_bytes())?;
        let clock =
            postcard::to_allocvec(&ledger.clock).map_err(|error| StoreError::Broken(error.to_string()))?;
        Ok(self.meta.put(txn, CLOCK, &clock)?)
    }

    pub(super) fn ledger(&self, txn: &RwTxn<'_>) -> Result<Ledger, StoreError> {
        let next = match self.meta.get(txn, NEXT)? {
            Some(next) => u64::from_be_bytes(*next.first_chunk().ok_or_else(|| damaged("its next number"))?),
            None => 1,
        };
        let clock = match self.meta.get(txn, CLOCK)? {
            Some(clock) => postcard::from_bytes(clock).map_err(|_| damaged("its clock"))?,
            None => StampClock::default(),
        };
        let of_file = FileUse { file: self.env.real_disk_size()?, used: self.used(txn)? as u64 };
        Ok(Ledger { next, clock, of_file })
    }

    /// Writes one version, unless what is there is as late; whether it was written. What is refused has changed nothing.
    fn write(
        &self,
        txn: &mut RwTxn<'_>,
        ledger: &mut Ledger,
        (namespace, key, stamp, value): (KvNamespaceId, &KvKey, &Stamp, Option<&KvValue>),
        now: Timestamp,
    ) -> Result<Result<bool, StoreError>, StoreError> {
        let at = (namespace, key);
        let (mut former, mut freed) = (Vec::new(), 0);
        for index in [&self.keys, &self.gone] {
            let Some(number) = index.find(txn, at)? else { continue };
            let row = Row::read(self.row_octets(txn, number)?)?;
            if row.stamp >= *stamp {
                return Ok(Ok(false));
            }
            freed += row.value.filter(|_| row.has_pieces()).map_or(0, |about| about.octets());
            former.push(number);
        }
        // What has run out while it was under way has been gone since then.
        let run_out = value.and_then(|value| value.expires).filter(|at| *at <= now);
        let value = value.filter(|_| run_out.is_none());
        let gone_ms = run_out.map_or(stamp.at_ms, Timestamp::as_millis);
        let octets = value.map_or(&[][..], |value| &value.value);
        // Nobody has to be told any more; to write it anew would have servers tell each other for ever.
        let is_forgotten = value.is_none() && sweep::is_forgotten(gone_ms, now);
        let taking = match value {
            Some(_) => Some(Taking::Value(octets.len(), freed)),
            None => (former.is_empty() && !is_forgotten).then_some(Taking::Note),
        };
        let lack = taking.map_or(Ok(None), |taking| self.lack_of_room(txn, ledger, taking))?;
        if let Some(lack) = lack {
            return Ok(Err(lack));
        }
        for number in former {
            self.remove(txn, number)?;
        }
        if is_forgotten {
            return Ok(Ok(false));
        }
        let number = Number(ledger.next);
        ledger.next += 1;
        let about = value.map(|it| About::new(it.metadata.as_deref(), it.expires, it.value.len()));
        let is_short = octets.len() <= SHORT_OCTETS_MAX;
        let (short, long) = octets.split_at(if is_short { octets.len() } else { 0 });
        for (piece, octets) in (0_u32..).zip(long.chunks(PIECE_OCTETS)) {
            let key = [&number.octets()[..], &piece.to_be_bytes()].concat();
            self.pieces.put(txn, &key, octets)?;
        }
        let row = Row {
            namespace: *namespace.as_bytes(),
            key: key.as_str(),
            stamp: stamp.clone(),
            value: about,
            gone_ms,
            short,
        };
        let row_octets = row.write()?;
        self.rows.put(txn, &number.octets(), &row_octets)?;
        if let Some(due) = sweep::due(&row, number) {
            self.due.put(txn, &due, &[])?;
        }
        let index = if about.is_some() { self.keys } else { self.gone };
        index.put(txn, at, number, &mut ledger.next)?;
        ledger.of_file.used += (row_octets.len() + key.as_str().len() + long.len()) as u64;
        Ok(Ok(true))
    }

    /// What is said where this has no room beside what there is, in the map or on the disk; nothing where it has.
    fn lack_of_room(
        &self,
        txn: &RwTxn<'_>,
        ledger: &Ledger,
        taking: Taking,
    ) -> Result<Option<StoreError>, StoreError> {
        let (octets, freed, sixteenths) = match taking {
            Taking::Value(octets, freed) => (octets, freed, SIXTEENTHS_FOR_VALUES),
            Taking::Note => (0, 0, SIXTEENTHS_FOR_NOTES),
        };
        let (used, max) = (self.used(txn)?.saturating_sub(freed), self.octets_max / 16 * sixteenths);
        if used.saturating_add(octets) > max {
            return Ok(Some(StoreError::Full(format!(
                "{used} of {max} octets are used; [kv] store_bytes_max says how many may be"
            ))));
        }
        let on_disk = match taking {
            Taking::Value(octets, _) => self.space.check_growth(octets as u64, ledger.of_file),
            Taking::Note => self.space.check_small_growth(ledger.of_file),
        };
        Ok(on_disk.err().map(StoreError::from))
    }

    /// Takes a row away, with all that belongs to it.
    pub(super) fn remove(&self, txn: &mut RwTxn<'_>, number: Number) -> Result<(), StoreError> {
        let octets = self.row_octets(txn, number)?.to_vec();
        let row = Row::read(&octets)?;
        self.remove_pieces(txn, number, &row)?;
        if let Some(due) = sweep::due(&row, number) {
            self.due.delete(txn, &due)?;
        }
        let key = KvKey::parse(row.key).map_err(|_| damaged("a key"))?;
        let index = if row.value.is_some() { &self.keys } else { &self.gone };
        index.delete(txn, (row.namespace(), &key))?;
        self.rows.delete(txn, &number.octets())?;
        Ok(())
    }

    /// Takes away the pieces of a row's value.
    pub(super) fn remove_pieces(
        &self,
        txn: &mut RwTxn<'_>,
        number: Number,
        row: &Row<'_>,
    ) -> Result<(), StoreError> {
        if row.has_pieces() {
            let (begin, end) = (number.octets(), Number(number.0 + 1).octets());
            self.pieces.delete_range(txn, &(Bound::Included(&begin[..]), Bound::Excluded(&end[..])))?;
        }
        Ok(())
    }
}

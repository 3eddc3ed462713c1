//! What the network was asked, kept at the log's node: one LMDB environment.
//!
//! | database | key | value |
//! |---|---|---|
//! | `counts` | a row in a slot (`key.rs`) | its queries |
//! | | a zone in a slot | its rows in it |
//! | `reporters` | a server's name and process | the last report that was kept, and in which minute |
//!
//! Invariants:
//! * **A report counts once:** what it adds and its number are written together.
//! * **It has bounds:** rows of a zone in a slot ([`ROWS_OF_MINUTE_MAX`], [`ROWS_OF_HOUR_MAX`], beyond which queries are told
//!   apart by less), how long slots are kept, and the file: where it is full to three quarters, the oldest go
//!   earlier: what is left is for what one transaction copies.
//! * **Nothing else needs it.** What is damaged when it is opened is begun anew. A crash of the system may take the last reports.

use std::{fs, ops::Bound, path::Path};

use heed::{Env, MdbError, RoTxn, RwTxn, WithoutTls};
use proxima_model::{Timestamp, ZoneId};
use proxima_pipeline::{NoQueryReport, QUERY_HOURS_KEPT, QUERY_MINUTES_KEPT, QueryReport, QueryReportAsked};
use proxima_store::{Db, Durability, OpenError, used};
use tokio::time::Instant;
use tracing::warn;

use super::{
    key::{self, RowKey, Span, ZONE_OCTETS},
    report::{Report, ReportId},
    row::Row,
    select::Selection,
};

/// Rows of one zone with a name in one minute, from all PoPs.
const ROWS_OF_MINUTE_MAX: usize = 500;
/// The same for an hour.
const ROWS_OF_HOUR_MAX: usize = 2_000;
/// A process that has not reported for so many minutes is forgotten: it repeats nothing any more.
const REPORTER_KEPT: u32 = 60;
/// What is read without a look at the clock.
const ROWS_PER_LOOK: usize = 10_000;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// What is there is not what was written.
    #[error("the store of DNS queries is damaged: {0}")]
    Damaged(String),
    /// Something else.
    #[error("the store of DNS queries: {0}")]
    Failed(String),
}

impl From<heed::Error> for StoreError {
    fn from(error: heed::Error) -> Self {
        use MdbError::{Corrupted, Incompatible, Invalid, PageNotFound, VersionMismatch};
        let text = error.to_string();
        match error {
            heed::Error::Mdb(Corrupted | Incompatible | Invalid | PageNotFound | VersionMismatch) => {
                Self::Damaged(text)
            }
            _ => Self::Failed(text),
        }
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// An open store.
pub(super) struct Store {
    env: Env<WithoutTls>,
    counts: Db,
    reporters: Db,
    octets_max: usize,
}

impl Store {
    /// Opens the store in this folder, or makes one; if what is there is damaged, another one in its place.
    pub(super) fn open(path: &Path, octets_max: usize) -> Result<Self, StoreError> {
        match Self::open_what_is_there(path, octets_max) {
            Err(error @ StoreError::Damaged(_)) => {
                warn!(path = %path.display(), %error, "beginning anew");
                fs::remove_dir_all(path)?;
                Self::open_what_is_there(path, octets_max)
            }
            opened => opened,
        }
    }

    fn open_what_is_there(path: &Path, octets_max: usize) -> Result<Self, StoreError> {
        fs::create_dir_all(path)?;
        let opened = proxima_store::open(path, octets_max, Durability::Lost, ["counts", "reporters"]);
        let (env, [counts, reporters]) = opened.map_err(|error| match error {
            OpenError::Short => StoreError::Damaged(error.to_string()),
            OpenError::Lmdb(error) => error.into(),
        })?;
        Ok(Self { env, counts, reporters, octets_max })
    }

    /// Octets that are in use.
    pub(super) fn octets(&self) -> Result<usize, StoreError> {
        Ok(self.used(&*self.env.read_txn()?)?)
    }

    fn used(&self, txn: &RoTxn<'_>) -> heed::Result<usize> {
        used(txn, [&self.counts, &self.reporters])
    }

    /// Keeps a report, at `now`; `false` if it was kept before.
    pub(super) fn keep(&self, report: &Report, now: Timestamp) -> Result<bool, StoreError> {
        match self.try_keep(report, now) {
            Err(heed::Error::Mdb(MdbError::MapFull)) => {
                let mut txn = self.env.write_txn()?;
                self.shrink(&mut txn, now)?;
                txn.commit()?;
                Ok(self.try_keep(report, now)?)
            }
            kept => Ok(kept?),
        }
    }

    fn try_keep(&self, report: &Report, now: Timestamp) -> heed::Result<bool> {
        let mut txn = self.env.write_txn()?;
        let key = reporter(&report.id);
        let last = self.reporters.get(&txn, &key)?.and_then(|value| value.first_chunk().copied());
        if last.is_some_and(|last| report.id.number <= u64::from_be_bytes(last)) {
            return Ok(false);
        }
        let this = Span::Minute.slot(now);
        if last.is_none() {
            self.forget_reporters(&mut txn, this)?;
        }
        let value = [&report.id.number.to_be_bytes()[..], &this.to_be_bytes()].concat();
        self.reporters.put(&mut txn, &key, &value)?;
        self.prune(&mut txn, now)?;
        if self.used(&txn)? > self.octets_max / 4 * 3 {
            self.shrink(&mut txn, now)?;
        }
        for span in Span::ALL {
            // No clock is so far ahead that its minute would outlive others.
            let slot = span.slot(report.at.min(now));
            for (zone, row, count) in &report.rows {
                self.add(&mut txn, (span, slot, *zone), report.pop.as_str(), row, *count)?;
            }
        }
        txn.commit()?;
        Ok(true)
    }

    /// Adds to a row, or to what it counts as where it has no place.
    fn add(
        &self,
        txn: &mut RwTxn<'_>,
        (span, slot, zone): (Span, u32, ZoneId),
        pop: &str,
        row: &Row,
        count: u64,
    ) -> heed::Result<()> {
        let named_max = match span {
            Span::Minute => ROWS_OF_MINUTE_MAX,
            Span::Hour => ROWS_OF_HOUR_MAX,
        };
        let of_zone = key::of_zone(span, slot, zone);
        let mut coarse;
        let mut row = row;
        loop {
            let key = key::of_row(&of_zone, pop, row);
            if let Some(known) = self.counts.get(txn, &key)?.map(number) {
                return self.counts.put(txn, &key, &known.saturating_add(count).to_be_bytes());
            }
            let rows = self.counts.get(txn, &of_zone)?.map_or(0, number);
            if usize::try_from(rows).is_ok_and(|rows| rows < row.places(named_max)) {
                self.counts.put(txn, &of_zone, &(rows + 1).to_be_bytes())?;
                return self.counts.put(txn, &key, &count.to_be_bytes());
            }
            match row.coarser() {
                Some(coarser) => coarse = coarser,
                None => return Ok(()),
            }
            row = &coarse;
        }
    }

    /// Lets go of slots whose time is over.
    fn prune(&self, txn: &mut RwTxn<'_>, now: Timestamp) -> heed::Result<()> {
        for (span, kept) in [(Span::Minute, QUERY_MINUTES_KEPT), (Span::Hour, QUERY_HOURS_KEPT)] {
            // The slot that is still filled is one more.
            let first = span.slot(now).saturating_sub(span.slots(kept));
            self.forget(txn, span, first)?;
        }
        Ok(())
    }

    /// Lets go of what is oldest until three eighths are free: of minutes first, which are in the hours, too.
    fn shrink(&self, txn: &mut RwTxn<'_>, now: Timestamp) -> heed::Result<()> {
        for span in Span::ALL {
            let last = span.slot(now);
            while self.used(txn)? > self.octets_max / 8 * 5
                && let Some(oldest) = self.oldest(txn, span)?
            {
                // All of it at last.
                let step = last.saturating_sub(oldest) / 8 + 1;
                self.forget(txn, span, oldest.saturating_add(step))?;
            }
        }
        warn!(
            octets_max = self.octets_max,
            "counts of DNS queries have filled their store: the oldest are gone"
        );
        Ok(())
    }

    fn oldest(&self, txn: &RoTxn<'_>, span: Span) -> heed::Result<Option<u32>> {
        let first = self.counts.get_greater_than_or_equal_to(txn, &span.begin(0))?;
        Ok(first.and_then(|(key, _)| span.slot_of(key)))
    }

    /// Lets go of all slots before this one.
    fn forget(&self, txn: &mut RwTxn<'_>, span: Span, before: u32) -> heed::Result<()> {
        let (begin, end) = (span.begin(0), span.begin(before));
        let range = (Bound::Included(&begin[..]), Bound::Excluded(&end[..]));
        self.counts.delete_range(txn, &range).map(drop)
    }

    /// Lets go of processes that have not reported for long.
    fn forget_reporters(&self, txn: &mut RwTxn<'_>, this: u32) -> heed::Result<()> {
        let mut gone = Vec::new();
        for found in self.reporters.iter(txn)? {
            let (key, value) = found?;
            let minute = value.last_chunk().map_or(0, |minute| u32::from_be_bytes(*minute));
            if minute.saturating_add(REPORTER_KEPT) < this {
                gone.push(key.to_vec());
            }
        }
        gone.iter().try_for_each(|key| self.reporters.delete(txn, key).map(drop))
    }

    /// The report that is asked for, if it can be made by then.
    pub(super) fn tell(
        &self,
        asked: &QueryReportAsked,
        deadline: Instant,
    ) -> Result<Result<QueryReport, NoQueryReport>, StoreError> {
        let mut selection = match Selection::new(asked) {
            Ok(selection) => selection,
            Err(refused) => return Ok(Err(refused)),
        };
        let txn = self.env.read_txn()?;
        let mut rows = 0_usize;
        for slot in selection.slots() {
            let of_zone = key::of_zone(selection.span, slot, asked.zone);
            for found in self.counts.prefix_iter(&txn, &of_zone)? {
                let (key, value) = found?;
                if key.len() == ZONE_OCTETS {
                    continue;
                }
                let row = RowKey::read(key).ok_or_else(|| StoreError::Damaged("a key".to_owned()))?;
                if let Err(refused) = selection.add(slot, &row, number(value)) {
                    return Ok(Err(refused));
                }
                rows += 1;
                if rows.is_multiple_of(ROWS_PER_LOOK) && Instant::now() > deadline {
                    let why = "the report takes too long; ask for less time".to_owned();
                    return Ok(Err(NoQueryReport::TooMuch(why)));
                }
            }
        }
        Ok(Ok(selection.finish()))
    }
}

/// The key of a server's process.
fn reporter(id: &ReportId) -> Vec<u8> {
    [id.node.as_str().as_bytes(), &[0], &id.process.to_be_bytes()].concat()
}

fn number(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |number| u64::from_be_bytes(*number))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

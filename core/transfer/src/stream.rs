//! What comes in by a transfer: message by message, until it is whole.
//!
//! ```text
//!  AXFR:  SOA, records …, SOA                                          (RFC 5936, 2.2)
//!  IXFR:  SOA                                                          nothing new (RFC 1995, 2)
//!         SOA, records …, SOA                                          everything
//!         SOA, (SOA of before, what goes, SOA of after, what comes) …, SOA      (RFC 1995, 4)
//! ```
//!
//! Nothing is given out before the last record has come: a stream that breaks off has said nothing. What is out of the
//! zone or of another class, goes on after its end, or is more than may be, is no transfer of this zone.

use proxima_model::{PrimarySoa, transferred_octets};
use proxima_wire::{Malformed, class, flag, name, rtype};

use crate::message::{self, Read};

/// How much one transfer may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Records, the SOA records among them.
    pub records: usize,
    /// Octets of them, as [`transferred_octets`] counts: messages abbreviate names, and what is kept does not.
    pub octets: usize,
}

/// Why a stream is no transfer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A message cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A message is not an answer to what was asked.
    #[error("a message is not an answer to the question")]
    Foreign,
    /// The other side refuses.
    #[error("the primary answers {}", message::rcode_name(*.0))]
    Refused(u8),
    /// It does not begin with the zone's SOA record, or one is not where it must be.
    #[error("the SOA records are not those of a transfer")]
    Soa,
    /// The serials do not follow each other.
    #[error("the serial {found} is not the one that must come, {expected}")]
    Serial {
        /// What came.
        found: u32,
        /// What had to.
        expected: u32,
    },
    /// A record belongs to another zone or class.
    #[error("a record is not of this zone")]
    Outside,
    /// Something comes after the end.
    #[error("records come after the end")]
    Trailing,
    /// It is more than may be.
    #[error("the zone is too large: more than {records} records or {octets} octets")]
    TooLarge {
        /// Records that may come.
        records: usize,
        /// Octets that may come.
        octets: usize,
    },
}

/// What a SOA record says (RFC 1035, 3.3.13).
///
/// # Errors
/// It is none, or its data is not.
pub fn soa_of(record: &Read) -> Result<PrimarySoa, Malformed> {
    let first = name::read(&record.data, 0)?.1;
    let numbers = name::read(&record.data, first)?.1;
    if record.rtype != rtype::SOA || record.data.len() != numbers + 20 {
        return Err(Malformed);
    }
    Ok(PrimarySoa { ttl: record.ttl, data: record.data.clone() })
}

/// Whether a serial comes after another one (RFC 1982, 3.2).
pub const fn is_newer(serial: u32, than: u32) -> bool {
    serial.wrapping_sub(than).cast_signed() > 0
}

/// A transfer that came whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// There is nothing newer.
    Nothing,
    /// Everything, without its SOA records.
    Whole(PrimarySoa, Vec<Read>),
    /// What went and what came, one after the other.
    Differences(PrimarySoa, Vec<Difference>),
}

/// One step from a serial to a later one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Records that went.
    pub gone: Vec<Read>,
    /// Records that came.
    pub come: Vec<Read>,
}

/// A transfer that comes in.
#[derive(Debug)]
pub struct Incoming {
    zone: Vec<u8>,
    id: u16,
    /// From which serial differences were asked for.
    since: Option<u32>,
    bounds: Bounds,
    records: usize,
    octets: usize,
    soa: Option<PrimarySoa>,
    place: Place,
    whole: Vec<Read>,
    steps: Vec<Difference>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first record.
    Begin,
    /// After the first SOA record.
    First,
    /// Among the records of everything.
    Whole,
    /// Among those that went.
    Gone,
    /// Among those that came, up to this serial.
    Come(u32),
    End,
}

impl Incoming {
    /// Of a zone by its name on the wire, asked for by this id; from this serial, if differences were asked for.
    pub const fn new(zone: Vec<u8>, id: u16, since: Option<u32>, bounds: Bounds) -> Self {
        Self {
            zone,
            id,
            since,
            bounds,
            records: 0,
            octets: 0,
            soa: None,
            place: Place::Begin,
            whole: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Takes the next message; whether it was the last.
    ///
    /// # Errors
    /// This is no transfer of the zone.
    pub fn take(&mut self, message: &[u8]) -> Result<bool, StreamError> {
        let head = message::head(message)?;
        if head.id != self.id || !head.is_answer(0) || head.flags & flag::TC != 0 {
            return Err(StreamError::Foreign);
        }
        if head.rcode != 0 {
            return Err(StreamError::Refused(head.rcode));
        }
        let records = message::answers(message)?;
        self.records += records.len();
        self.octets += records.iter().map(|record| self.octets_of(record)).sum::<usize>();
        if self.octets > self.bounds.octets || self.records > self.bounds.records {
            let Bounds { records, octets } = self.bounds;
            return Err(StreamError::TooLarge { records, octets });
        }
        if records.is_empty() {
            // A stream of nothing would have no end.
            return Err(StreamError::Foreign);
        }
        let count = records.len();
        for (number, record) in records.into_iter().enumerate() {
            self.record(record)?;
            if self.place == Place::First && number + 1 == count && self.is_up_to_date() {
                self.place = Place::End;
            }
        }
        Ok(self.place == Place::End)
    }

    /// How many records have come so far.
    pub const fn records(&self) -> usize {
        self.records
    }

    /// How many octets they are, as the bounds count.
    pub const fn octets(&self) -> usize {
        self.octets
    }

    fn octets_of(&self, record: &Read) -> usize {
        transferred_octets(&record.owner, &self.zone, record.data.len())
    }

    /// Whether the SOA record alone says that there is nothing newer.
    fn is_up_to_date(&self) -> bool {
        let serial = self.soa.as_ref().map(PrimarySoa::serial);
        self.since.zip(serial).is_some_and(|(since, serial)| !is_newer(serial, since))
    }

    fn record(&mut self, record: Read) -> Result<(), StreamError> {
        if record.class != class::IN || !name::is_within(&record.owner, &self.zone) {
            return Err(StreamError::Outside);
        }
        if record.rtype == rtype::SOA {
            if record.owner != self.zone {
                return Err(StreamError::Outside);
            }
            return self.soa(&soa_of(&record)?);
        }
        match self.place {
            Place::Begin => return Err(StreamError::Soa),
            Place::End => return Err(StreamError::Trailing),
            Place::First | Place::Whole => {
                self.place = Place::Whole;
                self.whole.push(record);
            }
            Place::Gone => self.steps.last_mut().ok_or(StreamError::Soa)?.gone.push(record),
            Place::Come(_) => self.steps.last_mut().ok_or(StreamError::Soa)?.come.push(record),
        }
        Ok(())
    }

    fn soa(&mut self, soa: &PrimarySoa) -> Result<(), StreamError> {
        let must_be = |expected: u32| {
            let found = soa.serial();
            if found == expected { Ok(()) } else { Err(StreamError::Serial { found, expected }) }
        };
        let last = self.soa.as_ref().map(PrimarySoa::serial);
        match (self.place, last) {
            (Place::Begin, _) => {
                self.soa = Some(soa.clone());
                self.place = Place::First;
            }
            (Place::End, _) => return Err(StreamError::Trailing),
            // A zone of nothing but its SOA record.
            (Place::First, Some(last)) if self.since.is_none() || soa.serial() == last => {
                must_be(last)?;
                self.place = Place::End;
            }
            (Place::First, _) => {
                must_be(self.since.unwrap_or_default())?;
                self.steps.push(Difference::default());
                self.place = Place::Gone;
            }
            (Place::Whole, last) => {
                must_be(last.ok_or(StreamError::Soa)?)?;
                self.place = Place::End;
            }
            (Place::Gone, _) => self.place = Place::Come(soa.serial()),
            (Place::Come(reached), last) if Some(reached) == last => {
                must_be(reached)?;
                self.place = Place::End;
            }
            (Place::Come(reached), _) => {
                must_be(reached)?;
                self.steps.push(Difference::default());
                self.place = Place::Gone;
            }
        }
        Ok(())
    }

    /// What came.
    ///
    /// # Errors
    /// It is not whole.
    pub fn finish(self) -> Result<Transfer, StreamError> {
        let soa = self.soa.filter(|_| self.place == Place::End).ok_or(StreamError::Soa)?;
        if self.since.is_some_and(|since| !is_newer(soa.serial(), since)) {
            return Ok(Transfer::Nothing);
        }
        Ok(match self.steps.is_empty() {
            true => Transfer::Whole(soa, self.whole),
            false => Transfer::Differences(soa, self.steps),
        })
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;

//! Reading a query: strictly, so that what is answered is exactly what was asked.

use crate::{
    edns::Edns,
    name::{self, Name},
    wire::{HEADER_OCTETS, Rcode, class, flag, rtype},
};

/// Octets of one query: a question, an OPT record and a signature stay far below. What is longer is not read.
pub(crate) const QUERY_OCTETS_MAX: usize = 4_096;

/// What a well-formed query says.
pub(crate) struct Query {
    /// Whether there is a question: without one, a cookie is asked for (RFC 7873, 5.4).
    pub(crate) asks: bool,
    /// What is asked for, in lower case.
    pub(crate) name: Name,
    /// The type asked for.
    pub(crate) qtype: u16,
    /// The class asked for.
    pub(crate) qclass: u16,
    /// Where the question ends: everything from the header to here is copied into the answer, in the asker's case.
    pub(crate) question_end: usize,
    /// The OPT record, if the asker speaks EDNS.
    pub(crate) edns: Option<Edns>,
    /// Whether the query is signed (RFC 8945, RFC 2931).
    pub(crate) signed: bool,
    /// The serial from which differences are asked for (RFC 1995, 3).
    pub(crate) serial: Option<u32>,
}

/// Why a message is not a query that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// It is not answered at all: too short to have an id, or itself an answer (two servers would answer each other
    /// without end).
    Ignore,
    /// It is answered with a header and nothing else.
    Answer {
        /// The message's id.
        id: u16,
        /// The message's flags.
        flags: u16,
        /// What is said of it.
        rcode: Rcode,
    },
}

impl Query {
    /// Reads a message.
    pub(crate) fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let Some((header, _)) = message.split_first_chunk::<HEADER_OCTETS>() else {
            return Err(Malformed::Ignore);
        };
        let word = |index: usize| u16::from_be_bytes([header[index * 2], header[index * 2 + 1]]);
        let (id, flags) = (word(0), word(1));
        if flags & flag::QR != 0 {
            return Err(Malformed::Ignore);
        }
        if flags & flag::OPCODE != 0 {
            return Err(Malformed::Answer { id, flags, rcode: Rcode::NotImp });
        }
        let malformed = Malformed::Answer { id, flags, rcode: Rcode::FormErr };
        // At most one question (RFC 9619), and not already cut off.
        if word(2) > 1 || flags & flag::TC != 0 {
            return Err(malformed);
        }
        if word(2) == 0 {
            return Self::without_question(&message[HEADER_OCTETS..], [word(3), word(4), word(5)])
                .ok_or(malformed);
        }
        let name = Name::read(&message[HEADER_OCTETS..]).ok_or(malformed)?;
        let name_end = HEADER_OCTETS + name.wire().len();
        let (question, rest) = message[name_end..].split_first_chunk::<4>().ok_or(malformed)?;
        let qtype = u16::from_be_bytes([question[0], question[1]]);
        let qclass = u16::from_be_bytes([question[2], question[3]]);
        let question_end = name_end + 4;
        let mut query =
            Self { asks: true, name, qtype, qclass, question_end, edns: None, signed: false, serial: None };
        if qtype == rtype::OPT {
            return Err(malformed);
        }
        let rest = match (qtype, word(4)) {
            (rtype::IXFR, 1) => query.read_serial(rest).ok_or(malformed)?,
            (_, 0) => rest,
            _ => return Err(malformed),
        };
        if word(3) != 0 {
            return Err(malformed);
        }
        query.read_additional(rest, word(5)).ok_or(malformed)?;
        Ok(query)
    }

    /// A query that asks for a cookie and nothing else.
    fn without_question(rest: &[u8], counts: [u16; 3]) -> Option<Self> {
        let (qtype, qclass, question_end) = (0, class::IN, HEADER_OCTETS);
        let name = Name::read(&[0])?;
        let mut query =
            Self { asks: false, name, qtype, qclass, question_end, edns: None, signed: false, serial: None };
        let [0, 0, additional] = counts else { return None };
        query.read_additional(rest, additional)?;
        query.edns.is_some_and(|edns| edns.cookie.is_some()).then_some(query)
    }

    /// Reads the SOA record that an asker for differences has; what follows it.
    fn read_serial<'m>(&mut self, rest: &'m [u8]) -> Option<&'m [u8]> {
        let (fixed, after) = rest[name::skip(rest)?..].split_first_chunk::<10>()?;
        let word = |index: usize| u16::from_be_bytes([fixed[index], fixed[index + 1]]);
        let (data, after) = after.split_at_checked(usize::from(word(8)))?;
        if word(0) != rtype::SOA {
            return None;
        }
        let names = name::skip(data)?;
        let names = names + name::skip(&data[names..])?;
        // Serial, refresh, retry, expire, minimum (RFC 1035, 3.3.13).
        let numbers: &[u8; 20] = data[names..].try_into().ok()?;
        self.serial = numbers.first_chunk().map(|serial| u32::from_be_bytes(*serial));
        Some(after)
    }

    /// Reads the additional records, of which OPT counts; nothing may follow them.
    fn read_additional(&mut self, mut rest: &[u8], count: u16) -> Option<()> {
        for _ in 0..count {
            let owner = name::skip(rest)?;
            let at_root = rest[0] == 0;
            let (fixed, after) = rest[owner..].split_first_chunk::<10>()?;
            let word = |index: usize| u16::from_be_bytes([fixed[index], fixed[index + 1]]);
            let (data, after) = after.split_at_checked(usize::from(word(8)))?;
            match word(0) {
                // At most one, and it belongs to the root (RFC 6891, 6.1.1 and 6.1.2).
                rtype::OPT if self.edns.is_some() || !at_root => return None,
                rtype::OPT => {
                    self.edns = Some(Edns::read(word(2), fixed[5], word(6), data)?);
                }
                rtype::TSIG => self.signed = true,
                _ => {}
            }
            rest = after;
        }
        rest.is_empty().then_some(())
    }
}

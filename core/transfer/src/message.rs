//! Messages between a zone's servers: what is asked, and records as they are read.

use crate::name::{self, Malformed};

/// Octets of a message's header (RFC 1035, 4.1.1).
pub(crate) const HEADER_OCTETS: usize = 12;

/// Types of records that transfers depend on.
pub mod rtype {
    /// The start of a zone's authority.
    pub const SOA: u16 = 6;
    /// A signature of a transaction.
    pub const TSIG: u16 = 250;
    /// Differences.
    pub const IXFR: u16 = 251;
    /// A whole zone.
    pub const AXFR: u16 = 252;
}

/// Classes.
pub mod class {
    /// The internet's.
    pub const IN: u16 = 1;
    /// Any: of a TSIG record.
    pub const ANY: u16 = 255;
}

/// Bits of the second 16 bits of the header.
pub mod flag {
    /// An answer.
    pub const QR: u16 = 1 << 15;
    /// What is asked for.
    pub const OPCODE: u16 = 0b1111 << 11;
    /// "The zone has changed" (RFC 1996).
    pub const NOTIFY: u16 = 4 << 11;
    /// Cut off.
    pub const TC: u16 = 1 << 9;
    /// By who has authority.
    pub const AA: u16 = 1 << 10;
}

/// Where a record is in a message.
pub(crate) struct RecordAt {
    pub(crate) rtype: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    /// Where its data begins.
    pub(crate) data: usize,
    /// Where it ends.
    pub(crate) end: usize,
}

/// How many questions, answers, and records of authority and beside them a message has.
pub(crate) fn counts(message: &[u8]) -> Result<[u16; 4], Malformed> {
    let header = message.first_chunk::<HEADER_OCTETS>().ok_or(Malformed)?;
    Ok([2, 3, 4, 5].map(|word| u16::from_be_bytes([header[word * 2], header[word * 2 + 1]])))
}

pub(crate) fn record_at(message: &[u8], at: usize) -> Result<RecordAt, Malformed> {
    let (_, fixed) = name::read(message, at)?;
    let rest = message.get(fixed..).and_then(|rest| rest.first_chunk::<10>()).ok_or(Malformed)?;
    let word = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let data = fixed + 10;
    let end = data + usize::from(word(8));
    if end > message.len() {
        return Err(Malformed);
    }
    let ttl = u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]);
    Ok(RecordAt { rtype: word(0), class: word(2), ttl, data, end })
}

/// A question about a zone, by its name on the wire.
pub fn question(id: u16, flags: u16, zone: &[u8], rtype: u16) -> Vec<u8> {
    let mut message: Vec<u8> = [id, flags, 1, 0, 0, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    message.extend_from_slice(zone);
    message.extend([rtype, class::IN].into_iter().flat_map(u16::to_be_bytes));
    message
}

/// Asks for what changed since the SOA record of this data (RFC 1995, 3).
pub fn differences(id: u16, zone: &[u8], soa: &[u8]) -> Vec<u8> {
    let mut message = question(id, 0, zone, rtype::IXFR);
    message[8..10].copy_from_slice(&1_u16.to_be_bytes());
    push_soa(&mut message, soa);
    message
}

/// Says that a zone has changed, with this SOA data (RFC 1996, 3.7).
pub fn notify(id: u16, zone: &[u8], soa: &[u8]) -> Vec<u8> {
    let mut message = question(id, flag::NOTIFY | flag::AA, zone, rtype::SOA);
    message[6..8].copy_from_slice(&1_u16.to_be_bytes());
    push_soa(&mut message, soa);
    message
}

/// Puts the SOA record of the zone that the question names.
fn push_soa(message: &mut Vec<u8>, data: &[u8]) {
    // A pointer to the question's name.
    message.extend_from_slice(&[0xc0, 12]);
    message.extend([rtype::SOA, class::IN, 0, 0].into_iter().flat_map(u16::to_be_bytes));
    let length = u16::try_from(data.len()).expect("two names and five numbers");
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(data);
}

/// A record as it is read: names in lower case and without pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Whose it is.
    pub owner: Vec<u8>,
    /// Its type.
    pub rtype: u16,
    /// Its class.
    pub class: u16,
    /// How long others may remember it, in seconds.
    pub ttl: u32,
    /// Its data.
    pub data: Vec<u8>,
}

/// The records of a message's answer section.
///
/// # Errors
/// The message cannot be read.
pub fn answers(message: &[u8]) -> Result<Vec<Read>, Malformed> {
    let counts = counts(message)?;
    let mut at = HEADER_OCTETS;
    for _ in 0..counts[0] {
        at = name::read(message, at)?.1 + 4;
    }
    let mut records = Vec::new();
    for _ in 0..counts[1] {
        let found = record_at(message, at)?;
        let (owner, _) = name::read(message, at)?;
        let data = data_of(message, &found)?;
        // A time with the highest bit is none (RFC 2181, 8).
        let ttl = if found.ttl > i32::MAX.unsigned_abs() { 0 } else { found.ttl };
        records.push(Read { owner, rtype: found.rtype, class: found.class, ttl, data });
        at = found.end;
    }
    Ok(records)
}

/// Types whose data has names that may have pointers (RFC 1035; RFC 3597, 4, has those that receivers must know): octets
/// before the names, and how many there are.
const WITH_NAMES: [(u16, usize, usize); 16] = [
    (2, 0, 1),
    (3, 0, 1),
    (4, 0, 1),
    (5, 0, 1),
    (6, 0, 2),
    (7, 0, 1),
    (8, 0, 1),
    (9, 0, 1),
    (12, 0, 1),
    (14, 0, 2),
    (15, 2, 1),
    (17, 0, 2),
    (18, 2, 1),
    (21, 2, 1),
    (33, 6, 1),
    (39, 0, 1),
];

/// A record's data, with names in it written out.
fn data_of(message: &[u8], record: &RecordAt) -> Result<Vec<u8>, Malformed> {
    let Some((_, prefix, names)) = WITH_NAMES.iter().find(|(rtype, ..)| *rtype == record.rtype) else {
        return Ok(message[record.data..record.end].to_vec());
    };
    let mut at = record.data + prefix;
    let mut data = message.get(record.data..at).filter(|_| at <= record.end).ok_or(Malformed)?.to_vec();
    for _ in 0..*names {
        let (name, after) = name::read(message, at)?;
        data.extend_from_slice(&name);
        at = after;
    }
    data.extend_from_slice(message.get(at..record.end).ok_or(Malformed)?);
    Ok(data)
}

/// What a message's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// By what it is told from others.
    pub id: u16,
    /// Its flags.
    pub flags: u16,
    /// How it ended, without the upper bits that EDNS has.
    pub rcode: u8,
}

impl Head {
    /// Whether it answers what was asked by these flags.
    pub const fn is_answer(&self, asked: u16) -> bool {
        self.flags & (flag::QR | flag::OPCODE) == flag::QR | asked & flag::OPCODE
    }
}

/// Reads a message's header.
///
/// # Errors
/// It has none.
pub fn head(message: &[u8]) -> Result<Head, Malformed> {
    let header = message.first_chunk::<HEADER_OCTETS>().ok_or(Malformed)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    Ok(Head { id: word(0), flags: word(2), rcode: header[3] & 0b1111 })
}

/// What an rcode is called.
pub fn rcode_name(rcode: u8) -> String {
    let named = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
        "NOTAUTH",
    ];
    named.get(usize::from(rcode)).map_or_else(|| format!("RCODE{rcode}"), |name| (*name).to_owned())
}

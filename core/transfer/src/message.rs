//! Messages between a zone's servers: what is asked, and records as they are read.

use proxima_wire::{
    HEADER_OCTETS, Malformed, class, flag, name,
    record::{counts, record_at},
    rtype,
};

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
        let (data, ttl) = (found.written_out(message)?, found.seconds());
        at = found.end;
        records.push(Read { owner: found.owner, rtype: found.rtype, class: found.class, ttl, data });
    }
    Ok(records)
}

/// Whether a message repeats the one question about this zone, of this type.
pub fn is_about(message: &[u8], zone: &[u8], rtype: u16) -> bool {
    let is_one = counts(message).is_ok_and(|counts| counts[0] == 1);
    let Ok((name, end)) = name::read(message, HEADER_OCTETS) else { return false };
    let rest = [rtype, class::IN].map(u16::to_be_bytes).concat();
    is_one && name == zone && message.get(end..end + 4) == Some(&rest[..])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_about_the_question_that_it_repeats() {
        let zone = b"\x07example\x03com\x00";
        let asked = question(1, 0, b"\x07EXAMPLE\x03com\x00", rtype::SOA);
        assert!(is_about(&asked, zone, rtype::SOA));
        assert!(!is_about(&asked, zone, rtype::AXFR) && !is_about(&asked, &zone[8..], rtype::SOA));
        assert!(!is_about(&asked[..asked.len() - 1], zone, rtype::SOA) && !is_about(&[], zone, rtype::SOA));
        let mut without = asked.clone();
        without[5] = 0;
        let mut of_chaos = asked;
        *of_chaos.last_mut().unwrap() = 3;
        assert!(!is_about(&without, zone, rtype::SOA) && !is_about(&of_chaos, zone, rtype::SOA));
    }
}

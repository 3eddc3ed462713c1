//! Records: where they are in a message, and what is in them.

use crate::{HEADER_OCTETS, MESSAGE_OCTETS_MAX, Malformed, name, rtype};

/// A record in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordAt {
    /// Whose it is: in lower case, without pointers.
    pub owner: Vec<u8>,
    /// Its type.
    pub rtype: u16,
    /// Its class; of some types something else.
    pub class: u16,
    /// Its TTL as it stands there; of some types something else.
    pub ttl: u32,
    /// Where its data begins.
    pub data: usize,
    /// Where it ends.
    pub end: usize,
}

/// How many questions, answers, and records of authority and beside them a message has.
///
/// # Errors
/// It has no header.
pub fn counts(message: &[u8]) -> Result<[u16; 4], Malformed> {
    let header = message.first_chunk::<HEADER_OCTETS>().ok_or(Malformed)?;
    Ok([2, 3, 4, 5].map(|word| u16::from_be_bytes([header[word * 2], header[word * 2 + 1]])))
}

/// The record that begins at `at`.
///
/// # Errors
/// There is none, or it is cut off.
pub fn record_at(message: &[u8], at: usize) -> Result<RecordAt, Malformed> {
    let (owner, fixed) = name::read(message, at)?;
    let rest = message.get(fixed..).and_then(|rest| rest.first_chunk::<10>()).ok_or(Malformed)?;
    let word = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let data = fixed + 10;
    let end = data + usize::from(word(8));
    if end > message.len() {
        return Err(Malformed);
    }
    let ttl = u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]);
    Ok(RecordAt { owner, rtype: word(0), class: word(2), ttl, data, end })
}

impl RecordAt {
    /// For how many seconds others may remember it: a time with the highest bit is none (RFC 2181, 8).
    pub fn seconds(&self) -> u32 {
        if self.ttl > i32::MAX.unsigned_abs() { 0 } else { self.ttl }
    }

    /// Its data, with the names in it written out and in lower case, of types of which others may have compressed them
    /// (RFC 1035; RFC 3597, 4) or whose canonical form has them so (RFC 4034, 6.2; RFC 6840, 5.1).
    ///
    /// # Errors
    /// It is not what its type has, or longer than data can be.
    pub fn written_out(&self, message: &[u8]) -> Result<Vec<u8>, Malformed> {
        let before = match self.rtype {
            rtype::NAPTR => {
                let data = message.get(self.data..self.end).ok_or(Malformed)?;
                Some((before_replacement(data).ok_or(Malformed)?, 1))
            }
            other => names_in(other),
        };
        let Some((before, names)) = before else {
            return message.get(self.data..self.end).map(<[u8]>::to_vec).ok_or(Malformed);
        };
        let mut at = self.data + before;
        let mut data = message.get(self.data..at).filter(|_| at <= self.end).ok_or(Malformed)?.to_vec();
        for _ in 0..names {
            let (name, after) = name::read(message, at)?;
            data.extend_from_slice(&name);
            at = after;
        }
        data.extend_from_slice(message.get(at..self.end).ok_or(Malformed)?);
        if data.len() > MESSAGE_OCTETS_MAX { Err(Malformed) } else { Ok(data) }
    }
}

/// Octets that stand before the name in NAPTR's data: two numbers and three character strings (RFC 3403, 4.1). `None` if
/// they are not whole.
fn before_replacement(data: &[u8]) -> Option<usize> {
    (0..3).try_fold(4, |at, _| data.get(at).map(|length| at + 1 + usize::from(*length)))
}

/// Octets that stand before the names in a type's data, and how many names there are.
const fn names_in(rtype: u16) -> Option<(usize, usize)> {
    Some(match rtype {
        2..=5 | 7..=9 | 12 | 39 => (0, 1),
        6 | 14 | 17 => (0, 2),
        15 | 18 | 21 | 36 => (2, 1),
        26 => (2, 2),
        33 => (6, 1),
        46 => (18, 1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message of one record: owner `a.`, then these octets.
    fn one(rtype: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
        let mut message = vec![0; HEADER_OCTETS];
        message.extend_from_slice(b"\x01A\x00");
        message.extend([rtype, 1].into_iter().flat_map(u16::to_be_bytes));
        message.extend_from_slice(&ttl.to_be_bytes());
        message.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        message.extend_from_slice(data);
        message
    }

    #[test]
    fn names_in_data_are_written_out_in_lower_case_and_nothing_else_is() {
        for (rtype, data, expected) in [
            (rtype::MX, &b"\x00\x0a\x04MAIL\xc0\x0c"[..], &b"\x00\x0a\x04mail\x01a\x00"[..]),
            (rtype::SOA, b"\xc0\x0c\x01B\xc0\x0c1234", b"\x01a\x00\x01b\x01a\x001234"),
            (rtype::TXT, b"\x02A\xc0", b"\x02A\xc0"),
            (
                rtype::NAPTR,
                b"\x00\x01\x00\x02\x01S\x03SIP\x00\x01B\xc0\x0c",
                b"\x00\x01\x00\x02\x01S\x03SIP\x00\x01b\x01a\x00",
            ),
            (65_280, b"\xc0\x0c", b"\xc0\x0c"),
        ] {
            let message = one(rtype, 5, data);
            let record = record_at(&message, HEADER_OCTETS).unwrap();
            assert_eq!((record.owner.as_slice(), record.end), (&b"\x01a\x00"[..], message.len()));
            assert_eq!(record.written_out(&message).as_deref(), Ok(expected), "{rtype}");
        }
        for (rtype, data) in [
            (rtype::MX, &b"\x00"[..]),
            (rtype::NS, b"\x03ab"),
            (rtype::NS, b"\xff\xff"),
            (rtype::NAPTR, b"\x00\x01\x00\x02\x01S\x09SIP"),
        ] {
            let message = one(rtype, 5, data);
            let read = record_at(&message, HEADER_OCTETS).and_then(|record| record.written_out(&message));
            assert_eq!(read, Err(Malformed), "{data:?}");
        }
    }

    #[test]
    fn a_time_with_the_highest_bit_is_none() {
        let seconds = |ttl| record_at(&one(1, ttl, b"1234"), HEADER_OCTETS).unwrap().seconds();
        assert_eq!([5, i32::MAX.unsigned_abs(), 1 << 31].map(seconds), [5, i32::MAX.unsigned_abs(), 0]);
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..200) {
            if let Ok(record) = record_at(&octets, at) {
                record.written_out(&octets).ok();
            }
            counts(&octets).ok();
        }
    }
}

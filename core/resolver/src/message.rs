//! Messages: read with bounds, and questions to name servers written.

pub(crate) use proxima_wire::{HEADER_OCTETS, class, flag, rtype};
use proxima_wire::{edns::DO, record};

use crate::name::Name;

/// Response codes that decide something here.
pub(crate) mod rcode {
    pub(crate) const NOERROR: u8 = 0;
    pub(crate) const FORMERR: u8 = 1;
    pub(crate) const SERVFAIL: u8 = 2;
    pub(crate) const NXDOMAIN: u8 = 3;
    pub(crate) const NOTIMP: u8 = 4;
    pub(crate) const REFUSED: u8 = 5;
    /// What a DNAME would make of the name is too long (RFC 6672, 2.2).
    pub(crate) const YXDOMAIN: u8 = 6;
    /// Its upper bit stands in the OPT record.
    pub(crate) const BADCOOKIE: u8 = 23;
}

/// What we take in a datagram: no common path fragments it (RFC 9715).
pub(crate) const UDP_OCTETS: u16 = 1_232;
/// Records of one message: the largest sets that zones have are far smaller, and each costs memory.
const RECORDS_MAX: usize = 1_000;

/// One record; its data has no compression left, and names in it of the types of RFC 4034, 6.2, are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) owner: Name,
    pub(crate) rtype: u16,
    pub(crate) ttl: u32,
    pub(crate) data: Box<[u8]>,
}

/// A message that was read.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) flags: u16,
    pub(crate) answer: Vec<Record>,
    pub(crate) authority: Vec<Record>,
    pub(crate) additional: Vec<Record>,
}

impl Message {
    /// Reads it; `None` if it is no message with one question. Records of other classes than IN are left out.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let mut at = 2;
        let [flags, questions, answers, authorities, additionals] =
            std::array::from_fn(|_| read_u16(message, &mut at));
        if questions? != 1 {
            return None;
        }
        Name::parse(message, &mut at)?;
        at += 4;
        let counts = [answers?, authorities?, additionals?].map(usize::from);
        if counts.iter().sum::<usize>() > RECORDS_MAX {
            return None;
        }
        let mut section = |count: usize| -> Option<Vec<Record>> {
            let mut records = Vec::with_capacity(count.min(32));
            for _ in 0..count {
                records.extend(record(message, &mut at)?);
            }
            Some(records)
        };
        let [answer, authority, additional] = counts.map(&mut section);
        Some(Self { flags: flags?, answer: answer?, authority: authority?, additional: additional? })
    }

    pub(crate) fn rcode(&self) -> u8 {
        (self.flags & 0xF) as u8
    }

    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

pub(crate) fn read_u16(message: &[u8], at: &mut usize) -> Option<u16> {
    let octets = message.get(*at..*at + 2)?;
    *at += 2;
    Some(u16::from_be_bytes([octets[0], octets[1]]))
}

/// The record at `at`; `Some(None)` if it is of another class.
fn record(message: &[u8], at: &mut usize) -> Option<Option<Record>> {
    let found = record::record_at(message, *at).ok()?;
    *at = found.end;
    if found.class != class::IN || found.rtype == rtype::OPT {
        return Some(None);
    }
    let (data, ttl) = (found.written_out(message).ok()?.into(), found.seconds());
    Some(Some(Record { owner: Name::of_read(found.owner), rtype: found.rtype, ttl, data }))
}

/// A question to a name server: without recursion, with DO and CD, its name in random case (draft "0x20").
pub(crate) fn question(name: &Name, rtype: u16, id: u16, mut chance: impl FnMut() -> bool) -> Vec<u8> {
    let mut query = Vec::with_capacity(HEADER_OCTETS + name.wire().len() + 15);
    query.extend_from_slice(&id.to_be_bytes());
    query.extend_from_slice(&flag::CD.to_be_bytes());
    query.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 1]);
    // Lengths of labels are below any letter.
    query.extend(name.wire().iter().map(|octet| if chance() { octet.to_ascii_uppercase() } else { *octet }));
    query.extend_from_slice(&rtype.to_be_bytes());
    query.extend_from_slice(&class::IN.to_be_bytes());
    query.push(0);
    for field in [rtype::OPT, UDP_OCTETS, 0, DO, 0] {
        query.extend_from_slice(&field.to_be_bytes());
    }
    query
}

/// Whether a message may be the answer to a question that was sent: its id, its kind, and its question to the letter.
///
/// A server that changes the case of letters is one that was not asked: it is asked by TCP, where nobody can guess.
pub(crate) fn answers(query: &[u8], response: &[u8]) -> bool {
    // A question without compression ends where its OPT begins.
    let end = query.len().saturating_sub(11);
    let flags = response.get(2..4).map_or(0, |flags| u16::from_be_bytes([flags[0], flags[1]]));
    response.len() >= end
        && end > HEADER_OCTETS
        && flags & flag::QR != 0
        && flags & flag::OPCODE == 0
        && response[..2] == query[..2]
        && response[4..6] == query[4..6]
        && response[HEADER_OCTETS..end] == query[HEADER_OCTETS..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_has_the_id_and_the_question_to_the_letter() {
        let query = question(&"example.org".parse().unwrap(), 1, 7, || true);
        let mut response = query.clone();
        response[2] |= 0x80;
        assert!(answers(&query, &response));
        assert!(!answers(&query, &query), "a query");
        let changed = |at: usize| {
            let mut response = response.clone();
            response[at] ^= 0x20;
            response
        };
        for at in [0, 1, 5, HEADER_OCTETS + 1, HEADER_OCTETS + 14] {
            assert!(!answers(&query, &changed(at)), "{at}");
        }
        assert!(!answers(&query, &response[..12]));
    }

    #[test]
    fn data_is_uncompressed_and_in_lower_case() {
        let mut message = question(&"example.org".parse().unwrap(), 15, 7, || false);
        message.truncate(message.len() - 11);
        message[7] = 1;
        message[11] = 0;
        message.extend_from_slice(b"\xC0\x0C\0\x0F\0\x01\0\0\0\x05\0\x09\0\x0A\x04MAIL\xC0\x0C");
        let read = Message::parse(&message).unwrap();
        assert_eq!(&*read.answer[0].data, b"\0\x0A\x04mail\x07example\x03org\0");
        assert_eq!(read.answer[0].ttl, 5);
        *message.last_mut().unwrap() = 0xFF;
        assert!(Message::parse(&message).is_none());
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(mut octets in prop::collection::vec(any::<u8>(), 0..300)) {
            Message::parse(&octets);
            if octets.len() > 12 {
                octets[4..12].copy_from_slice(&[0, 1, 0, 1, 0, 1, 0, 1]);
                Message::parse(&octets);
            }
        }
    }
}

//! Messages: read with bounds, and questions to name servers written.

use crate::name::Name;

/// Types that decide something here.
pub(crate) mod rtype {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const CNAME: u16 = 5;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const DNAME: u16 = 39;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const DS: u16 = 43;
    pub(crate) const RRSIG: u16 = 46;
    pub(crate) const NSEC: u16 = 47;
    pub(crate) const DNSKEY: u16 = 48;
    pub(crate) const NSEC3: u16 = 50;
    /// From here on types are questions only (RFC 6895, 3.1): transfers, everything.
    pub(crate) const QUESTIONS: std::ops::RangeInclusive<u16> = 128..=255;
}

/// Response codes that decide something here.
pub(crate) mod rcode {
    pub(crate) const NOERROR: u8 = 0;
    pub(crate) const FORMERR: u8 = 1;
    pub(crate) const SERVFAIL: u8 = 2;
    pub(crate) const NXDOMAIN: u8 = 3;
    pub(crate) const NOTIMP: u8 = 4;
    pub(crate) const REFUSED: u8 = 5;
}

pub(crate) const CLASS_IN: u16 = 1;
pub(crate) const HEADER_OCTETS: usize = 12;
/// Flags of the header's second and third pair of octets.
pub(crate) const QR: u16 = 0x8000;
pub(crate) const AA: u16 = 0x0400;
pub(crate) const TC: u16 = 0x0200;
pub(crate) const RD: u16 = 0x0100;
pub(crate) const RA: u16 = 0x0080;
pub(crate) const AD: u16 = 0x0020;
pub(crate) const CD: u16 = 0x0010;
const OPCODE: u16 = 0x7800;
/// The flag of EDNS that asks for signatures.
pub(crate) const DO: u16 = 0x8000;
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
    let owner = Name::parse(message, at)?;
    let (rtype, class) = (read_u16(message, at)?, read_u16(message, at)?);
    let ttl = u32::from(read_u16(message, at)?) << 16 | u32::from(read_u16(message, at)?);
    // The highest bit makes it zero (RFC 2181, 8).
    let ttl = if ttl >> 31 == 1 { 0 } else { ttl };
    let length = usize::from(read_u16(message, at)?);
    let end = *at + length;
    message.get(*at..end)?;
    if class != CLASS_IN || rtype == rtype::OPT {
        *at = end;
        return Some(None);
    }
    let data = data(message, rtype, *at, end)?;
    *at = end;
    Some(Some(Record { owner, rtype, ttl, data }))
}

/// What stands before the names in a type's data, how many names there are, and whether more follows; only types whose
/// names may be compressed or are lower case in the canonical form (RFC 4034, 6.2; RFC 6840, 5.1).
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

fn data(message: &[u8], rtype: u16, begin: usize, end: usize) -> Option<Box<[u8]>> {
    let Some((before, names)) = names_in(rtype) else { return Some(message[begin..end].into()) };
    let mut at = begin + before;
    let mut data = message.get(begin..at).filter(|_| at <= end)?.to_vec();
    for _ in 0..names {
        data.extend_from_slice(Name::parse(message, &mut at)?.wire());
        if at > end {
            return None;
        }
    }
    data.extend_from_slice(&message[at..end]);
    (data.len() <= usize::from(u16::MAX)).then(|| data.into())
}

/// A question to a name server: without recursion, with DO and CD, its name in random case (draft "0x20").
pub(crate) fn question(name: &Name, rtype: u16, id: u16, mut chance: impl FnMut() -> bool) -> Vec<u8> {
    let mut query = Vec::with_capacity(HEADER_OCTETS + name.wire().len() + 15);
    query.extend_from_slice(&id.to_be_bytes());
    query.extend_from_slice(&CD.to_be_bytes());
    query.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 1]);
    // Lengths of labels are below any letter.
    query.extend(name.wire().iter().map(|octet| if chance() { octet.to_ascii_uppercase() } else { *octet }));
    query.extend_from_slice(&rtype.to_be_bytes());
    query.extend_from_slice(&CLASS_IN.to_be_bytes());
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
        && flags & QR != 0
        && flags & OPCODE == 0
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

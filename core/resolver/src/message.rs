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

/// What a name server is asked: without recursion, its name in random case (draft "0x20").
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) name: &'a Name,
    pub(crate) rtype: u16,
    /// Whether it has an OPT record, with DO, and CD. Without, it is as RFC 1035 has it: all its other bits are zero.
    has_edns: bool,
}

impl<'a> Question<'a> {
    pub(crate) fn new(name: &'a Name, rtype: u16) -> Self {
        Self { name, rtype, has_edns: true }
    }

    /// The same, for who does not know EDNS.
    pub(crate) fn plain(self) -> Self {
        Self { has_edns: false, ..self }
    }

    pub(crate) fn write(&self, id: u16, mut chance: impl FnMut() -> bool) -> Vec<u8> {
        let Self { name, rtype, has_edns } = *self;
        let mut query = Vec::with_capacity(HEADER_OCTETS + name.wire().len() + 15);
        let flags = if has_edns { flag::CD } else { 0 };
        for field in [id, flags, 1, 0, 0, u16::from(has_edns)] {
            query.extend_from_slice(&field.to_be_bytes());
        }
        // Lengths of labels are below any letter.
        query.extend(
            name.wire().iter().map(|octet| if chance() { octet.to_ascii_uppercase() } else { *octet }),
        );
        query.extend_from_slice(&rtype.to_be_bytes());
        query.extend_from_slice(&class::IN.to_be_bytes());
        if has_edns {
            query.push(0);
            for field in [rtype::OPT, UDP_OCTETS, 0, DO, 0] {
                query.extend_from_slice(&field.to_be_bytes());
            }
        }
        query
    }
}

/// Whether a message may be the answer to a question that was sent: its id, its kind, and its question to the letter.
///
/// A server that changes the case of letters is one that was not asked: it is asked by TCP, where nobody can guess.
pub(crate) fn answers(query: &[u8], response: &[u8]) -> bool {
    let mut end = HEADER_OCTETS;
    if Name::parse(query, &mut end).is_none() {
        return false;
    }
    end += 4;
    response.len() >= end
        && is_to(query, response)
        && response[4..6] == query[4..6]
        && response[HEADER_OCTETS..end] == query[HEADER_OCTETS..end]
}

/// Whether a message says of a question that was sent that it cannot be read, or is of a kind that is not known: what a server
/// says that does not know EDNS (RFC 6891, 7). Some say so by a header alone, which only its id ties to the question.
pub(crate) fn is_unread(query: &[u8], response: &[u8]) -> bool {
    let code = response.get(3).map(|flags| flags & 0xF);
    matches!(code, Some(rcode::FORMERR | rcode::NOTIMP))
        && response.len() >= HEADER_OCTETS
        && is_to(query, response)
        && (response[4..6] == [0, 0] || answers(query, response))
}

/// Whether a message is an answer, and has the id of a question that was sent.
fn is_to(query: &[u8], response: &[u8]) -> bool {
    let flags = response.get(2..4).map_or(0, |flags| u16::from_be_bytes([flags[0], flags[1]]));
    flags & flag::QR != 0 && flags & flag::OPCODE == 0 && response[..2] == query[..2]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_has_the_id_and_the_question_to_the_letter() {
        let name = "example.org".parse().unwrap();
        let query = Question::new(&name, 1).write(7, || true);
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
        let plain = Question::new(&name, 1).plain().write(7, || true);
        assert_eq!((plain.len() + 11, &plain[2..12]), (query.len(), &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..]));
        assert!(answers(&plain, &response) && !answers(&plain, &changed(HEADER_OCTETS + 1)));
    }

    #[test]
    fn that_a_question_cannot_be_read_is_said_with_it_or_by_a_header_alone() {
        let query = Question::new(&"example.org".parse().unwrap(), 1).write(7, || false);
        for (code, is_unread) in
            [(0, false), (rcode::FORMERR, true), (rcode::SERVFAIL, false), (rcode::NOTIMP, true)]
        {
            let mut whole = query.clone();
            (whole[2], whole[3]) = (0x80, code);
            let mut alone = whole[..HEADER_OCTETS].to_vec();
            alone[4..].fill(0);
            for response in [&whole, &alone] {
                assert_eq!(super::is_unread(&query, response), is_unread, "{response:?}");
                for (at, bits) in [(0, 1), (1, 1), (2, 0x80), (2, 0x08)] {
                    let mut other = response.clone();
                    other[at] ^= bits;
                    assert!(!super::is_unread(&query, &other), "{other:?}");
                }
            }
            whole[HEADER_OCTETS + 1] ^= 0x20;
            assert!(!super::is_unread(&query, &whole), "another question");
            assert!(!super::is_unread(&query, &alone[..HEADER_OCTETS - 1]), "no header");
        }
    }

    #[test]
    fn data_is_uncompressed_and_in_lower_case() {
        let mut message = Question::new(&"example.org".parse().unwrap(), 15).write(7, || false);
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

//! Reading a query: strictly, so that what is answered is exactly what was asked.

use crate::{
    name::{self, Name},
    wire::{HEADER_OCTETS, Rcode, edns_flag, flag, rtype},
};

/// The EDNS option that asks for the server's identity (RFC 5001).
pub(crate) const OPTION_NSID: u16 = 3;

/// What a well-formed query says.
pub(crate) struct Query {
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
}

/// What an OPT record says (RFC 6891, 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    /// Octets of the largest UDP message that the asker takes.
    pub(crate) payload: u16,
    /// The version.
    pub(crate) version: u8,
    /// Whether DNSSEC records are welcome (RFC 3225).
    pub(crate) dnssec_ok: bool,
    /// Whether a name that does not exist may be told by the rcode although its denial says otherwise (RFC 9824, 5.1).
    pub(crate) compact_ok: bool,
    /// Whether the server's identity is asked for.
    pub(crate) nsid: bool,
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
        // Exactly one question (RFC 9619), and not already cut off.
        if word(2) != 1 || flags & flag::TC != 0 {
            return Err(malformed);
        }
        let name = Name::read(&message[HEADER_OCTETS..]).ok_or(malformed)?;
        let name_end = HEADER_OCTETS + name.wire().len();
        let (question, rest) = message[name_end..].split_first_chunk::<4>().ok_or(malformed)?;
        let qtype = u16::from_be_bytes([question[0], question[1]]);
        let qclass = u16::from_be_bytes([question[2], question[3]]);
        let mut query = Self { name, qtype, qclass, question_end: name_end + 4, edns: None, signed: false };
        if qtype == rtype::OPT {
            return Err(malformed);
        }
        // Zone transfers carry records of their own (RFC 1995, 3) and are refused whatever those are.
        if qtype == rtype::IXFR {
            return Ok(query);
        }
        if word(3) != 0 || word(4) != 0 {
            return Err(malformed);
        }
        query.read_additional(rest, word(5)).ok_or(malformed)?;
        Ok(query)
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
                    self.edns = Some(Edns {
                        payload: word(2),
                        version: fixed[5],
                        dnssec_ok: fixed[6] & edns_flag::DO != 0,
                        compact_ok: fixed[6] & edns_flag::CO != 0,
                        nsid: has_option(data, OPTION_NSID)?,
                    });
                }
                rtype::TSIG => self.signed = true,
                _ => {}
            }
            rest = after;
        }
        rest.is_empty().then_some(())
    }
}

/// Whether an OPT record's data has this option; `None` if the data is not a list of options.
fn has_option(mut data: &[u8], wanted: u16) -> Option<bool> {
    let mut found = false;
    while !data.is_empty() {
        let (head, rest) = data.split_first_chunk::<4>()?;
        found |= u16::from_be_bytes([head[0], head[1]]) == wanted;
        (_, data) = rest.split_at_checked(usize::from(u16::from_be_bytes([head[2], head[3]])))?;
    }
    Some(found)
}

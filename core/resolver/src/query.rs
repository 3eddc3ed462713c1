//! Questions of clients, read; answers to them, written.

use crate::{
    iterate::Security,
    keys::{self, ede},
    message::{DO, HEADER_OCTETS, Record, UDP_OCTETS, class, flag, rcode, read_u16, rtype},
    name::Name,
    rrset::RrSet,
};

/// Octets of the smallest largest answer over UDP.
const UDP_OCTETS_MIN: u16 = 512;
/// Octets of the OPT record with one extended error.
const OPT_OCTETS: usize = 11;
const EDE_OCTETS: u16 = 6;
const EDE_OPTION: u16 = 15;
/// Where the name that is asked for stands in every answer.
const QUESTION_AT: u16 = 12;
/// Types that are questions only (RFC 6895, 3.1): transfers, everything.
const QUESTION_TYPES: std::ops::RangeInclusive<u16> = 128..=255;
/// Octets of a name, a type, and what the client wants.
const KEY_MAX: usize = 258;

/// What a client asks.
#[derive(Clone, Debug)]
pub struct Query {
    id: u16,
    flags: u16,
    /// The question's octets, as they came.
    question: Vec<u8>,
    key: Key,
    /// Octets that the client takes in a datagram, if it speaks EDNS.
    payload: Option<u16>,
    has_do: bool,
}

/// By what an answer is kept: the name in lower case, the type, and whether signatures (1) and unchecked data (2) are
/// wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    octets: [u8; KEY_MAX],
    length: usize,
}

/// How a message is treated.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum Read {
    /// A question that can be resolved.
    Query(Query),
    /// It is answered with this code; the octets are the whole answer.
    Refused(Vec<u8>),
    /// It is not answered: no header, or itself an answer.
    Ignored,
}

impl Query {
    /// Reads a client's message.
    pub fn read(message: &[u8]) -> Read {
        let mut at = 0;
        let header: [Option<u16>; 6] = std::array::from_fn(|_| read_u16(message, &mut at));
        let [Some(id), Some(flags), Some(questions), Some(answers), Some(authorities), Some(additionals)] =
            header
        else {
            return Read::Ignored;
        };
        if flags & flag::QR != 0 {
            return Read::Ignored;
        }
        let refuse = |code: u8| {
            let flags = flag::QR | flag::RA | flags & (flag::OPCODE | flag::RD | flag::CD) | u16::from(code);
            let mut octets = [id.to_be_bytes(), flags.to_be_bytes()].concat();
            octets.resize(HEADER_OCTETS, 0);
            Read::Refused(octets)
        };
        if flags & flag::OPCODE != 0 {
            return refuse(rcode::NOTIMP);
        }
        let Some(name) =
            Name::parse(message, &mut at).filter(|_| questions == 1 && answers == 0 && authorities == 0)
        else {
            return refuse(rcode::FORMERR);
        };
        let (Some(kind), Some(class)) = (read_u16(message, &mut at), read_u16(message, &mut at)) else {
            return refuse(rcode::FORMERR);
        };
        let question = message[HEADER_OCTETS..at].to_vec();
        if question.len() != name.wire().len() + 4 {
            return refuse(rcode::FORMERR);
        }
        let Some((payload, has_do)) = edns(message, at, additionals) else { return refuse(rcode::FORMERR) };
        // Everything, transfers and other classes: nobody asks a resolver for them in earnest (RFC 8482).
        if class != class::IN || QUESTION_TYPES.contains(&kind) || kind == rtype::OPT || kind == 0 {
            return refuse(rcode::NOTIMP);
        }
        let key = Key::new(&name, kind, has_do, flags & flag::CD != 0);
        Read::Query(Self { id, flags, question, key, payload, has_do })
    }

    /// The name that is asked for.
    pub fn name(&self) -> Name {
        self.key.name()
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Octets that an answer may have over UDP.
    pub fn udp_octets_max(&self) -> usize {
        usize::from(self.payload.unwrap_or(UDP_OCTETS_MIN).clamp(UDP_OCTETS_MIN, UDP_OCTETS))
    }

    /// Appends a whole answer; if it has more than `octets_max`, one without records that says so.
    pub(crate) fn write(&self, stored: &Stored, age: u32, stale: bool, octets_max: usize, out: &mut Vec<u8>) {
        let begin = out.len();
        let ede = if stale { Some(ede::STALE) } else { stored.ede };
        let opt = match (self.payload, ede) {
            (None, _) => 0,
            (Some(_), None) => OPT_OCTETS,
            (Some(_), Some(_)) => OPT_OCTETS + usize::from(EDE_OCTETS),
        };
        let fits = HEADER_OCTETS + self.question.len() + stored.body.len() + opt <= octets_max;
        let mut flags = flag::QR | flag::RA | self.flags & (flag::RD | flag::CD) | u16::from(stored.rcode);
        // AD is for who asked for it (RFC 6840, 5.8).
        let wants_ad = self.has_do || self.flags & flag::AD != 0;
        flags |= if stored.is_secure && wants_ad && !stale { flag::AD } else { 0 };
        flags |= if fits { 0 } else { flag::TC };
        let (answers, authorities) = if fits { stored.counts } else { (0, 0) };
        for field in [self.id, flags, 1, answers, authorities, u16::from(opt > 0)] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        out.extend_from_slice(&self.question);
        if fits {
            let body = out.len();
            out.extend_from_slice(&stored.body);
            for (offset, ttl) in &stored.ttls {
                let at = body + usize::from(*offset);
                let left = if stale { STALE_TTL } else { ttl.saturating_sub(age) };
                out[at..at + 4].copy_from_slice(&left.to_be_bytes());
            }
        }
        if opt > 0 {
            out.push(0);
            let length = if ede.is_some() { EDE_OCTETS } else { 0 };
            for field in [rtype::OPT, UDP_OCTETS, 0, if self.has_do { DO } else { 0 }, length] {
                out.extend_from_slice(&field.to_be_bytes());
            }
            for field in ede.iter().flat_map(|code| [EDE_OPTION, 2, *code]) {
                out.extend_from_slice(&field.to_be_bytes());
            }
        }
        debug_assert!(out.len() - begin <= octets_max || !fits);
    }
}

/// TTL of what is served although it has expired (RFC 8767, 4).
pub(crate) const STALE_TTL: u32 = 30;

/// The payload that a client takes, and whether it wants signatures; `None` if what stands there is broken.
fn edns(message: &[u8], mut at: usize, count: u16) -> Option<(Option<u16>, bool)> {
    let mut edns = (None, false);
    for _ in 0..count {
        let owner = Name::parse(message, &mut at)?;
        let [kind, payload, _, flags, length] = std::array::from_fn(|_| read_u16(message, &mut at));
        let end = at + usize::from(length?);
        message.get(at..end)?;
        at = end;
        if kind? == rtype::OPT {
            if edns.0.is_some() || !owner.is_root() {
                return None;
            }
            edns = (Some(payload?), flags? & DO != 0);
        }
    }
    Some(edns)
}

impl Key {
    pub(crate) fn new(name: &Name, rtype: u16, wants_signatures: bool, unchecked: bool) -> Self {
        let mut octets = [0; KEY_MAX];
        let length = name.wire().len();
        octets[..length].copy_from_slice(name.wire());
        octets[length..length + 2].copy_from_slice(&rtype.to_be_bytes());
        octets[length + 2] = u8::from(wants_signatures) | u8::from(unchecked) << 1;
        Self { octets, length: length + 3 }
    }

    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }

    pub(crate) fn name(&self) -> Name {
        let octets = self.octets();
        Name::from_wire(&octets[..octets.len() - 3]).expect("it was made of a name")
    }

    pub(crate) fn rtype(&self) -> u16 {
        let octets = self.octets();
        u16::from_be_bytes([octets[octets.len() - 3], octets[octets.len() - 2]])
    }

    pub(crate) fn wants_signatures(&self) -> bool {
        self.octets()[self.octets().len() - 1] & 1 != 0
    }

    pub(crate) fn is_unchecked(&self) -> bool {
        self.octets()[self.octets().len() - 1] & 2 != 0
    }
}

/// An answer as it is kept: what follows the question, with where its TTLs are.
#[derive(Debug)]
pub(crate) struct Stored {
    body: Vec<u8>,
    counts: (u16, u16),
    ttls: Vec<(u16, u32)>,
    pub(crate) rcode: u8,
    pub(crate) is_secure: bool,
    pub(crate) ede: Option<u16>,
    /// Since when, in seconds.
    pub(crate) since: u64,
    pub(crate) ttl: u32,
}

/// What an answer is made of.
pub(crate) struct Parts {
    pub(crate) rcode: u8,
    pub(crate) answer: Vec<RrSet>,
    pub(crate) authority: Vec<RrSet>,
    pub(crate) security: Security,
    pub(crate) ede: Option<u16>,
    pub(crate) ttl: u32,
}

impl Stored {
    pub(crate) fn octets(&self) -> usize {
        self.body.len() + self.ttls.len() * 8 + 128
    }

    /// A failure, kept for a while so that it is not tried again at once (RFC 9520).
    pub(crate) fn failure(code: u8, ede: u16, since: u64, ttl: u32) -> Self {
        let (body, ttls) = (Vec::new(), Vec::new());
        Self { body, counts: (0, 0), ttls, rcode: code, is_secure: false, ede: Some(ede), since, ttl }
    }

    pub(crate) fn new(key: &Key, parts: &Parts, since: u64) -> Self {
        let name = key.name();
        let mut writer = Writer {
            body: Vec::new(),
            base: HEADER_OCTETS + name.wire().len() + 4,
            owners: vec![(name, QUESTION_AT)],
            ttls: Vec::new(),
        };
        let signed = key.wants_signatures();
        let answers = writer.section(&parts.answer, signed, |_| true);
        let asked = key.rtype();
        // Denials are for who wants signatures, or asked for them.
        let authorities = writer
            .section(&parts.authority, signed, |set| signed || set.rtype == rtype::SOA || set.rtype == asked);
        let Writer { body, ttls, base, .. } = writer;
        if base + body.len() + OPT_OCTETS + usize::from(EDE_OCTETS) > usize::from(u16::MAX) {
            return Self::failure(rcode::SERVFAIL, ede::NO_AUTHORITY, since, parts.ttl);
        }
        Self {
            body,
            counts: (answers, authorities),
            ttls,
            rcode: parts.rcode,
            is_secure: parts.security == Security::Secure,
            ede: parts.ede,
            since,
            ttl: parts.ttl,
        }
    }
}

struct Writer {
    body: Vec<u8>,
    /// Where the body begins in the message.
    base: usize,
    /// Where names were written that may come again.
    owners: Vec<(Name, u16)>,
    ttls: Vec<(u16, u32)>,
}

impl Writer {
    fn section(&mut self, sets: &[RrSet], signed: bool, wanted: impl Fn(&RrSet) -> bool) -> u16 {
        let mut count = 0;
        for record in sets.iter().filter(|set| wanted(set)).flat_map(|set| keys::records(set, signed)) {
            if self.body.len() > usize::from(u16::MAX) {
                break;
            }
            self.record(&record);
            count += 1;
        }
        count
    }

    fn record(&mut self, record: &Record) {
        let here = self.base + self.body.len();
        match self.owners.iter().find(|(owner, _)| *owner == record.owner) {
            Some((_, at)) => self.body.extend_from_slice(&(0xC000 | at).to_be_bytes()),
            None => {
                self.body.extend_from_slice(record.owner.wire());
                if let Some(at) = u16::try_from(here).ok().filter(|at| *at < 0x4000) {
                    self.owners.push((record.owner.clone(), at));
                }
            }
        }
        self.body.extend_from_slice(&record.rtype.to_be_bytes());
        self.body.extend_from_slice(&class::IN.to_be_bytes());
        if let Ok(at) = u16::try_from(self.body.len()) {
            self.ttls.push((at, record.ttl));
        }
        self.body.extend_from_slice(&record.ttl.to_be_bytes());
        self.body.extend_from_slice(&u16::try_from(record.data.len()).unwrap_or(0).to_be_bytes());
        self.body.extend_from_slice(&record.data);
    }
}

//! Questions of clients, read; answers to them, written.

mod bare;

use std::sync::Arc;

use proxima_wire::edns::padding;

use crate::{
    decided::AliasGuard,
    edns::{BAD_VERSION, Cookie, CookieAnswer, Edns, Opt, edns, refused},
    keys::ede,
    message::{HEADER_OCTETS, UDP_OCTETS, class, flag, rcode, read_u16, rtype},
    name::Name,
    stored::Stored,
};

/// Octets of the smallest largest answer over UDP.
const UDP_OCTETS_MIN: u16 = 512;
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
    edns: Option<Edns>,
    /// Whether the answer goes encrypted, and so may be padded.
    is_encrypted: bool,
    /// What the client's cookie is answered with.
    cookie: Option<CookieAnswer>,
    /// How long the connection may be silent, in tenths of a second.
    keepalive: Option<u16>,
    /// Who looks at where aliases lead before the client is told.
    guard: Option<Arc<dyn AliasGuard>>,
}

/// What an answer says, for who counts it and who keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its response code.
    pub rcode: u8,
    /// Whether it did not fit, so that the client comes again over TCP.
    pub is_truncated: bool,
    /// For how long, in seconds, all of it may be remembered; `None` if there are no records in it.
    pub ttl: Option<u32>,
    /// The extended error (RFC 8914), which only who speaks EDNS is told.
    pub ede: Option<u16>,
    /// Whether it is another answer than what was found, because that led through a name to which the client is not led.
    pub is_blocked: bool,
}

/// Why a question is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client is none of those who may ask (RFC 8914, 4.19).
    NotAllowed,
    /// It does not ask for recursion, and there is nothing else here (RFC 8914, 4.21). What others have asked for is no answer
    /// to that: it would tell about them.
    NoRecursion,
    /// The client asks more than it may (RFC 8914, 4.1: any other error).
    TooMany,
}

/// By what an answer is kept: the name in lower case, the type, and whether signatures (1) and unchecked data (2) are
/// wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    octets: [u8; KEY_MAX],
    length: usize,
}

/// Whether names are resolved for this type, which is no question only.
pub(crate) fn is_resolved(rtype: u16) -> bool {
    !QUESTION_TYPES.contains(&rtype) && rtype != rtype::OPT && rtype != 0
}

/// How a message is treated.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum Read {
    /// A question that can be resolved.
    Query(Query),
    /// No question: a cookie is asked for, and nothing else (RFC 7873, 5.4). It is to be [greeted](Query::greet).
    Bare(Query),
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
        if (questions, answers, authorities) == (0, 0, 0) {
            return Self::bare(message, (id, flags), additionals).unwrap_or_else(|| refuse(rcode::FORMERR));
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
        let Some(edns) = edns(message, at, additionals) else { return refuse(rcode::FORMERR) };
        if edns.is_some_and(|edns| edns.version > 0) {
            return Read::Refused(refused(id, flags, BAD_VERSION, &question));
        }
        if edns.is_some_and(|edns| edns.is_malformed) {
            return Read::Refused(refused(id, flags, rcode::FORMERR, &question));
        }
        // Everything, transfers and other classes: nobody asks a resolver for them in earnest (RFC 8482). What stands only in
        // denials is no question at all (RFC 9824, 3.5).
        if class != class::IN || !is_resolved(kind) {
            let code = if kind == rtype::NXNAME { rcode::FORMERR } else { rcode::NOTIMP };
            // Who speaks EDNS is answered in it (RFC 6891, 7).
            let without = || refuse(code);
            return edns.map_or_else(without, |_| Read::Refused(refused(id, flags, code, &question)));
        }
        let has_do = edns.is_some_and(|edns| edns.has_do);
        let key = Key::new(&name, kind, has_do, flags & flag::CD != 0);
        Read::Query(Self {
            id,
            flags,
            question,
            key,
            edns,
            is_encrypted: false,
            cookie: None,
            keepalive: None,
            guard: None,
        })
    }

    /// It came encrypted: if the client padded it, answers are padded, too (RFC 7830, RFC 8467).
    #[must_use]
    pub fn encrypted(mut self) -> Self {
        self.is_encrypted = true;
        self
    }

    /// The client's cookies (RFC 7873).
    pub fn cookie(&self) -> Option<Cookie> {
        self.edns.and_then(|edns| edns.cookie)
    }

    /// Whatever the answer is, it says this to who sent a cookie.
    #[must_use]
    pub fn with_cookie(mut self, answer: CookieAnswer) -> Self {
        self.cookie = self.cookie().map(|_| answer);
        self
    }

    /// It came over a connection that may be silent for so many tenths of a second, which is told to who asks (RFC 7828).
    #[must_use]
    pub fn with_keepalive(mut self, tenths: u16) -> Self {
        self.keepalive = Some(tenths).filter(|_| self.has_keepalive());
        self
    }

    /// Where aliases lead is looked at before the client is told.
    #[must_use]
    pub fn guarded(mut self, guard: Arc<dyn AliasGuard>) -> Self {
        self.guard = Some(guard);
        self
    }

    pub(crate) fn guard(&self) -> Option<&dyn AliasGuard> {
        self.guard.as_deref()
    }

    /// The same question for another name.
    pub(crate) fn for_name(&self, name: &Name) -> Self {
        let key = Key::new(name, self.rtype(), self.key.wants_signatures(), self.key.is_unchecked());
        let class_and_type = &self.question[self.question.len() - 4..];
        Self { key, question: [name.wire(), class_and_type].concat(), ..self.clone() }
    }

    /// The name that is asked for.
    pub fn name(&self) -> Name {
        self.key.name()
    }

    /// The type that is asked for.
    pub fn rtype(&self) -> u16 {
        self.key.rtype()
    }

    /// Whether the client wants recursion.
    pub const fn wants_recursion(&self) -> bool {
        self.flags & flag::RD != 0
    }

    /// Whether the client asks how long a connection of TCP may be silent (RFC 7828), which it must not where connections have
    /// a time of their own (RFC 9250, 5.5.2).
    pub fn has_keepalive(&self) -> bool {
        self.edns.is_some_and(|edns| edns.has_keepalive)
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Octets that an answer may have over UDP.
    pub fn udp_octets_max(&self) -> usize {
        let payload = self.edns.map_or(UDP_OCTETS_MIN, |edns| edns.payload);
        usize::from(payload.clamp(UDP_OCTETS_MIN, UDP_OCTETS))
    }

    /// Appends a refusal.
    pub fn refuse(&self, why: Refusal, octets_max: usize, out: &mut Vec<u8>) -> Written {
        let code = match why {
            Refusal::NotAllowed => ede::PROHIBITED,
            Refusal::NoRecursion => ede::NOT_AUTHORITATIVE,
            Refusal::TooMany => ede::OTHER,
        };
        self.write(&Stored::failure(rcode::REFUSED, code, 0, 0), 0, false, octets_max, out)
    }

    /// Appends that there is no answer now, for a reason that is ours.
    pub fn fail(&self, octets_max: usize, out: &mut Vec<u8>) -> Written {
        let failure = Stored::failure(rcode::SERVFAIL, ede::OTHER, 0, 0);
        self.write(&failure, 0, false, octets_max, out)
    }

    /// Appends an answer without records that asks to come again in a way that shows the client's address: with the cookie
    /// that it gets, if it knows cookies (RFC 7873, 5.2.3), otherwise over TCP.
    pub fn ask_again(&self, out: &mut Vec<u8>) -> Written {
        let (code, octets_max) =
            if self.cookie.is_some() { (rcode::BADCOOKIE, usize::MAX) } else { (rcode::NOERROR, 0) };
        self.write(&Stored { ede: None, ..Stored::failure(code, 0, 0, 0) }, 0, false, octets_max, out)
    }

    /// Appends what was found, unless it leads through a name to which the client is not led.
    pub(crate) fn tell(
        &self,
        stored: &Stored,
        age: u32,
        stale: bool,
        octets_max: usize,
        out: &mut Vec<u8>,
    ) -> Written {
        match &self.guard {
            Some(guard) if stored.aliases.iter().any(|target| guard.blocks(target)) => {
                self.answer_blocked(&**guard, octets_max, out)
            }
            _ => self.write(stored, age, stale, octets_max, out),
        }
    }

    /// Appends a whole answer; if it has more than `octets_max`, one without records that says so.
    pub(crate) fn write(
        &self,
        stored: &Stored,
        age: u32,
        stale: bool,
        octets_max: usize,
        out: &mut Vec<u8>,
    ) -> Written {
        let begin = out.len();
        let stale = stale || stored.is_stale;
        let ede = match (stale, stored.rcode) {
            (true, rcode::NXDOMAIN) => Some(ede::STALE_NXDOMAIN),
            (true, _) => Some(ede::STALE),
            (false, _) => stored.ede,
        };
        let opt = self.edns.map(|edns| Opt {
            has_do: edns.has_do,
            rcode: stored.rcode,
            ede,
            cookie: self.cookie,
            keepalive: self.keepalive,
        });
        let opt_octets = opt.as_ref().map_or(0, Opt::octets);
        let fits = HEADER_OCTETS + self.question.len() + stored.body.len() + opt_octets <= octets_max;
        let code = u16::from(stored.rcode & 0xF);
        let mut flags = flag::QR | flag::RA | self.flags & (flag::RD | flag::CD) | code;
        // AD is for who asked for it (RFC 6840, 5.8).
        let wants_ad = self.key.wants_signatures() || self.flags & flag::AD != 0;
        flags |= if stored.is_secure && wants_ad && !stale { flag::AD } else { 0 };
        flags |= if fits { 0 } else { flag::TC };
        let (answers, authorities) = if fits { stored.counts } else { (0, 0) };
        let questions = u16::from(!self.question.is_empty());
        for field in [self.id, flags, questions, answers, authorities, u16::from(opt.is_some())] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        out.extend_from_slice(&self.question);
        let mut shortest = None;
        if fits {
            let body = out.len();
            out.extend_from_slice(&stored.body);
            for (offset, ttl) in &stored.ttls {
                let at = body + usize::from(*offset);
                let left = if stale { STALE_TTL } else { ttl.saturating_sub(age) };
                shortest = Some(shortest.map_or(left, |shortest: u32| shortest.min(left)));
                out[at..at + 4].copy_from_slice(&left.to_be_bytes());
            }
        }
        if let Some(opt) = opt {
            let is_padded = self.edns.is_some_and(|edns| edns.is_padded) && self.is_encrypted;
            let padding = if is_padded { padding(out.len() - begin + opt_octets) } else { None };
            opt.write(padding, out);
        }
        debug_assert!(out.len() - begin <= octets_max || !fits);
        Written { rcode: stored.rcode, is_truncated: !fits, ttl: shortest, ede, is_blocked: false }
    }
}

/// TTL of what is served although it has expired (RFC 8767, 4).
pub(crate) const STALE_TTL: u32 = 30;

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

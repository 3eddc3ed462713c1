//! Answers as they are kept: written once, told many times, and carried from one server of a PoP to another.

use crate::{
    edns::Opt,
    iterate::Security,
    keys::{self, ede},
    message::{HEADER_OCTETS, Message, Record, class, flag, rcode, read_u16, rtype},
    name::Name,
    query::Key,
    rrset::{RrSet, sets, targets},
};

/// Where the name that is asked for stands in every answer.
const QUESTION_AT: u16 = 12;

/// An answer as it is kept: what follows the question, with where its TTLs are.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) body: Vec<u8>,
    pub(crate) counts: (u16, u16),
    pub(crate) ttls: Vec<(u16, u32)>,
    pub(crate) rcode: u8,
    /// The names that its aliases and its SVCB and HTTPS records lead to.
    pub(crate) aliases: Box<[Name]>,
    pub(crate) is_secure: bool,
    pub(crate) ede: Option<u16>,
    /// Whether nothing was found out.
    pub(crate) is_failure: bool,
    pub(crate) is_synthesized: bool,
    /// Whether it had expired already at the server that it came from: it is told as such.
    pub(crate) is_stale: bool,
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
    /// Whether some of it follows from what was known of other names.
    pub(crate) is_synthesized: bool,
}

impl Stored {
    pub(crate) fn octets(&self) -> usize {
        let aliases = self.aliases.iter().map(|target| target.wire().len() + size_of::<Name>());
        self.body.len() + self.ttls.len() * 8 + aliases.sum::<usize>() + 144
    }

    /// A failure, kept for a while so that it is not tried again at once (RFC 9520).
    pub(crate) fn failure(code: u8, ede: u16, since: u64, ttl: u32) -> Self {
        let (body, ttls) = (Vec::new(), Vec::new());
        Self {
            body,
            counts: (0, 0),
            ttls,
            rcode: code,
            aliases: Box::default(),
            is_secure: false,
            ede: Some(ede),
            is_failure: true,
            is_synthesized: false,
            is_stale: false,
            since,
            ttl,
        }
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
        if base + body.len() + Opt::OCTETS_MAX > usize::from(u16::MAX) {
            return Self::failure(rcode::SERVFAIL, ede::OTHER, since, parts.ttl);
        }
        Self {
            body,
            counts: (answers, authorities),
            ttls,
            rcode: parts.rcode,
            aliases: targets(&parts.answer),
            is_secure: parts.security == Security::Secure,
            ede: parts.ede.or(parts.is_synthesized.then_some(ede::SYNTHESIZED)),
            is_failure: false,
            is_synthesized: parts.is_synthesized,
            is_stale: false,
            since,
            ttl: parts.ttl,
        }
    }
}

impl Stored {
    /// Appends the answer as a message without an OPT record: a header with its code, the question, and the records, their
    /// TTLs aged by so many seconds.
    pub(crate) fn put_message(&self, key: &Key, age: u32, out: &mut Vec<u8>) {
        let (answers, authorities) = self.counts;
        for field in [0, flag::QR | u16::from(self.rcode & 0xF), 1, answers, authorities, 0] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        out.extend_from_slice(key.name().wire());
        out.extend_from_slice(&key.rtype().to_be_bytes());
        out.extend_from_slice(&class::IN.to_be_bytes());
        let body = out.len();
        out.extend_from_slice(&self.body);
        for (offset, ttl) in &self.ttls {
            let at = body + usize::from(*offset);
            out[at..at + 4].copy_from_slice(&ttl.saturating_sub(age).to_be_bytes());
        }
    }

    /// The answer of a message that [`Self::put_message`] wrote for this question, made anew of its records. What the message
    /// does not say stands in `said`: its own code, records and time to live are those of the message, and of both the
    /// shorter time counts.
    pub(crate) fn of_message(key: &Key, message: &[u8], said: Parts, since: u64) -> Option<Self> {
        let mut at = HEADER_OCTETS;
        let name = Name::parse(message, &mut at).filter(|name| *name == key.name())?;
        let (rtype, class) = (read_u16(message, &mut at)?, read_u16(message, &mut at)?);
        if at != HEADER_OCTETS + name.wire().len() + 4 || (rtype, class) != (key.rtype(), class::IN) {
            return None;
        }
        let message = Message::parse(message).filter(|message| message.has(flag::QR))?;
        let (rcode, answer, authority) = (message.rcode(), sets(message.answer), sets(message.authority));
        let shortest = answer.iter().chain(&authority).map(|set| set.ttl).min().unwrap_or(said.ttl);
        let parts = Parts { rcode, answer, authority, ttl: said.ttl.min(shortest), ..said };
        message.additional.is_empty().then(|| Self::new(key, &parts, since))
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

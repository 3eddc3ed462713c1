//! Answers that are decided and not found: by a policy, of whoever serves the resolver.
//!
//! ```text
//!  decided before anything is asked ─▶ Query::answer_with: aliases of the policy's own, its records, or a code
//!  aliases of the policy's own that lead outside ─▶ Resolver::answer_through: what is found behind them
//!  found, and an alias on the way leads where the client is not led (AliasGuard) ─▶ what is decided instead
//! ```
//!
//! What was found is kept once for all clients; who looks at it does so each time that it is told, since policies differ and
//! change. It costs an answer without aliases nothing.

use std::fmt;

use crate::{
    iterate::Security,
    keys::ede,
    message::{Message, Record, rcode, rtype},
    name::Name,
    query::{Query, Written},
    rrset::RrSet,
    stored::{Parts, Stored},
};

/// For how long clients may remember that there is nothing, in seconds: policies change.
const NEGATIVE_TTL: u32 = 60;

/// A record of a policy's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRecord {
    /// Its type.
    pub rtype: u16,
    /// For how long it may be remembered, in seconds.
    pub ttl: u32,
    /// Its data on the wire, names in it written out.
    pub data: Box<[u8]>,
}

/// Aliases of a policy's own, from the name that is asked for on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases {
    /// The names that they lead to, one after the other.
    pub targets: Vec<Name>,
    /// For how long each may be remembered, in seconds.
    pub ttl: u32,
}

/// Why a name is blocked (RFC 8914, 4.16 to 4.18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlockReason {
    /// Whoever operates the resolver wants it so.
    #[default]
    Blocked,
    /// Somebody else makes them.
    Censored,
    /// The client's own side asked for it.
    Filtered,
}

impl BlockReason {
    const fn code(self) -> u16 {
        match self {
            Self::Blocked => ede::BLOCKED,
            Self::Censored => 16,
            Self::Filtered => 17,
        }
    }
}

/// Who may not want clients to be led somewhere by an alias.
pub trait AliasGuard: fmt::Debug + Send + Sync {
    /// Whether clients are not led to this name.
    fn blocks(&self, target: &Name) -> bool;

    /// What is answered to a question for this type instead.
    fn blocked(&self, rtype: u16) -> Decided;
}

/// An answer that is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    aliases: Aliases,
    /// The records of the name that is asked for, or that its aliases lead to; none: it has none of the type.
    pub records: Vec<LocalRecord>,
    rcode: u8,
    ede: Option<u16>,
}

impl Decided {
    /// The name has these records, and no others.
    pub fn with(records: Vec<LocalRecord>) -> Self {
        Self { records, ..Self::default() }
    }

    /// The name does not exist.
    pub fn nothing() -> Self {
        Self { rcode: rcode::NXDOMAIN, ..Self::default() }
    }

    /// It is refused to answer for the name.
    pub fn refused() -> Self {
        Self { rcode: rcode::REFUSED, ..Self::default() }
    }

    /// It is so because the name is blocked.
    #[must_use]
    pub fn because(self, why: BlockReason) -> Self {
        Self { ede: Some(why.code()), ..self }
    }

    /// It is so of the name that these lead to.
    #[must_use]
    pub fn behind(self, aliases: Aliases) -> Self {
        Self { aliases, ..self }
    }
}

impl Query {
    /// Appends an answer that is decided. It is never said to be validated.
    pub fn answer_with(&self, decided: &Decided, octets_max: usize, out: &mut Vec<u8>) -> Written {
        let Decided { aliases, records, rcode, ede } = decided;
        let (mut answer, owner) = aliases.sets(self.name());
        answer.extend(records.iter().map(|record| set(&owner, record)));
        let is_negative = records.is_empty() && *rcode != rcode::REFUSED;
        let authority: Vec<RrSet> = is_negative.then(|| negative(&owner)).into_iter().collect();
        let ttl = answer.iter().chain(&authority).map(|set| set.ttl).min().unwrap_or(0);
        let parts = Parts {
            rcode: *rcode,
            answer,
            authority,
            security: Security::Insecure,
            ede: *ede,
            ttl,
            is_synthesized: false,
        };
        self.write(&Stored::new(self.key(), &parts, 0), 0, false, octets_max, out)
    }

    /// Appends what is said in the place of what leads where the client is not led.
    pub(crate) fn answer_blocked(
        &self,
        guard: &dyn AliasGuard,
        octets_max: usize,
        out: &mut Vec<u8>,
    ) -> Written {
        let written = self.answer_with(&guard.blocked(self.rtype()), octets_max, out);
        Written { is_blocked: true, ..written }
    }

    /// Appends the answer to the question for another name, `found` for [`Self::for_name`] with an extended error, behind
    /// aliases to it.
    pub(crate) fn answer_behind(
        &self,
        aliases: &Aliases,
        (found, ede): (&[u8], Option<u16>),
        octets_max: usize,
        out: &mut Vec<u8>,
    ) -> Option<Written> {
        let message = Message::parse(found)?;
        let (mut answer, _) = aliases.sets(self.name());
        // Signatures would not hold for the aliases, so that they are of no use.
        let unsigned = |records: Vec<Record>| {
            records
                .into_iter()
                .filter(|record| !matches!(record.rtype, rtype::RRSIG | rtype::NSEC | rtype::NSEC3))
        };
        let whole = |record: Record| RrSet {
            owner: record.owner,
            rtype: record.rtype,
            ttl: record.ttl,
            data: vec![record.data],
            signatures: Vec::new(),
        };
        let code = message.rcode();
        answer.extend(unsigned(message.answer).map(whole));
        let authority = unsigned(message.authority).map(whole).collect();
        let parts = Parts {
            rcode: code,
            answer,
            authority,
            security: Security::Insecure,
            ede: ede.filter(|_| code == rcode::SERVFAIL).or(Some(ede::FORGED)),
            ttl: aliases.ttl,
            is_synthesized: false,
        };
        Some(self.write(&Stored::new(self.key(), &parts, 0), 0, false, octets_max, out))
    }
}

impl Aliases {
    /// Their records, and the name that the last of them leads to.
    fn sets(&self, first: Name) -> (Vec<RrSet>, Name) {
        let mut owner = first;
        let mut sets = Vec::with_capacity(self.targets.len() + 1);
        for target in &self.targets {
            let alias = LocalRecord { rtype: rtype::CNAME, ttl: self.ttl, data: target.wire().into() };
            sets.push(set(&owner, &alias));
            owner = target.clone();
        }
        (sets, owner)
    }
}

/// What says for how long it may be remembered that there is nothing (RFC 2308, 3): without it, clients that keep answers ask
/// each time. As if the name above had a zone, since the name itself must not seem to exist.
fn negative(name: &Name) -> RrSet {
    let zone = name.parent().unwrap_or_else(Name::root);
    let numbers = [1, 3_600, 600, 86_400, NEGATIVE_TTL].map(u32::to_be_bytes).concat();
    let data = [Name::root().wire(), Name::root().wire(), &numbers].concat();
    set(&zone, &LocalRecord { rtype: rtype::SOA, ttl: NEGATIVE_TTL, data: data.into() })
}

fn set(owner: &Name, record: &LocalRecord) -> RrSet {
    let LocalRecord { rtype, ttl, data } = record;
    let (owner, rtype, ttl) = (owner.clone(), *rtype, *ttl);
    RrSet { owner, rtype, ttl, data: vec![data.clone()], signatures: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Read;

    /// What is said of `www.a.example`, MX, over UDP: the answer, read again.
    fn said(decided: &Decided) -> (Written, Message) {
        let mut question = [7_u16, 0x0100, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
        question.extend_from_slice(b"\x03www\x01a\x07example\0\0\x0f\0\x01");
        let Read::Query(query) = Query::read(&question) else { panic!("it is a question") };
        let mut out = Vec::new();
        let written = query.answer_with(decided, 512, &mut out);
        (written, Message::parse(&out).expect("an answer"))
    }

    #[test]
    fn that_there_is_nothing_may_be_remembered_for_a_minute_and_a_refusal_may_not() {
        let alias = Aliases { targets: vec!["b.example".parse().unwrap()], ttl: 30 };
        for (decided, zone, ttl) in [
            (Decided::nothing(), Some("a.example."), Some(60)),
            (Decided::with(Vec::new()).because(BlockReason::Filtered), Some("a.example."), Some(60)),
            (Decided::nothing().behind(alias), Some("example."), Some(30)),
            (Decided::refused(), None, None),
        ] {
            let (written, message) = said(&decided);
            let authority = message.authority.first().map(|record| record.owner.to_string());
            assert_eq!((authority.as_deref(), written.ttl), (zone, ttl), "{decided:?}");
            assert!(message.authority.iter().all(|record| record.rtype == rtype::SOA && record.ttl == 60));
        }
        let record = LocalRecord { rtype: 15, ttl: 60, data: b"\0\x01\0".as_slice().into() };
        assert!(said(&Decided::with(vec![record])).1.authority.is_empty());
    }
}

//! Answers that are decided and not found: by a policy, of whoever serves the resolver.

use crate::{
    iterate::Security,
    keys::ede,
    message::{Message, Record, rcode, rtype},
    name::Name,
    query::{Parts, Query, Stored, Written},
    rrset::RrSet,
};

/// A record of the name that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRecord {
    /// Its type.
    pub rtype: u16,
    /// For how long it may be remembered, in seconds.
    pub ttl: u32,
    /// Its data on the wire, names in it written out.
    pub data: Box<[u8]>,
}

/// An answer that is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// The records of the name that is asked for; none: it has none of the type.
    pub records: Vec<LocalRecord>,
    rcode: u8,
    ede: Option<u16>,
}

impl Decided {
    /// The name has these records, and no others.
    pub fn with(records: Vec<LocalRecord>) -> Self {
        Self { records, ..Self::default() }
    }

    /// The name does not exist, because it is blocked (RFC 8914, 4.16).
    pub fn blocked_as_nothing() -> Self {
        Self { rcode: rcode::NXDOMAIN, ede: Some(ede::BLOCKED), records: Vec::new() }
    }

    /// The name is blocked, and not answered for.
    pub fn blocked_as_refused() -> Self {
        Self { rcode: rcode::REFUSED, ede: Some(ede::BLOCKED), records: Vec::new() }
    }

    /// The name is blocked, and has these records instead.
    pub fn blocked_with(records: Vec<LocalRecord>) -> Self {
        Self { rcode: rcode::NOERROR, ede: Some(ede::BLOCKED), records }
    }
}

impl Query {
    /// Appends an answer that is decided. It is never said to be validated.
    pub fn answer_with(&self, decided: &Decided, octets_max: usize, out: &mut Vec<u8>) -> Written {
        let owner = self.name();
        let answer: Vec<RrSet> = decided.records.iter().map(|record| set(&owner, record)).collect();
        let ttl = decided.records.iter().map(|record| record.ttl).min().unwrap_or(0);
        let parts = Parts {
            rcode: decided.rcode,
            answer,
            authority: Vec::new(),
            security: Security::Insecure,
            ede: decided.ede,
            ttl,
            is_synthesized: false,
        };
        self.write(&Stored::new(self.key(), &parts, 0), 0, false, octets_max, out)
    }

    /// Appends the answer to the question for another name, `found` for [`Self::for_name`] with an extended error, behind an alias
    /// to it.
    pub(crate) fn answer_behind(
        &self,
        (target, ttl): (&Name, u32),
        (found, ede): (&[u8], Option<u16>),
        octets_max: usize,
        out: &mut Vec<u8>,
    ) -> Option<Written> {
        let message = Message::parse(found)?;
        let alias = LocalRecord { rtype: rtype::CNAME, ttl, data: target.wire().into() };
        let mut answer = vec![set(&self.name(), &alias)];
        // Signatures would not hold for the alias, so that they are of no use.
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
            ttl,
            is_synthesized: false,
        };
        Some(self.write(&Stored::new(self.key(), &parts, 0), 0, false, octets_max, out))
    }
}

fn set(owner: &Name, record: &LocalRecord) -> RrSet {
    let LocalRecord { rtype, ttl, data } = record;
    let (owner, rtype, ttl) = (owner.clone(), *rtype, *ttl);
    RrSet { owner, rtype, ttl, data: vec![data.clone()], signatures: Vec::new() }
}

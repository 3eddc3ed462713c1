//! Record sets with their signatures.

use std::collections::HashMap;

use crate::{
    message::{Record, rtype},
    name::Name,
};

/// The longest that anything is kept, in seconds: a day.
pub(crate) const TTL_MAX: u32 = 86_400;

/// All records of one name and type, and what signs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RrSet {
    pub(crate) owner: Name,
    pub(crate) rtype: u16,
    pub(crate) ttl: u32,
    pub(crate) data: Vec<Box<[u8]>>,
    pub(crate) signatures: Vec<Signature>,
}

/// What an RRSIG record says (RFC 4034, 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) covered: u16,
    pub(crate) algorithm: u8,
    pub(crate) labels: u8,
    pub(crate) original_ttl: u32,
    pub(crate) expiration: u32,
    pub(crate) inception: u32,
    pub(crate) key_tag: u16,
    pub(crate) signer: Name,
    /// The whole data of the record; the signature begins at `begin`.
    pub(crate) data: Box<[u8]>,
    begin: usize,
}

impl Signature {
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        let mut begin = 18;
        let signer = Name::parse(data, &mut begin)?;
        let u16_at = |at: usize| u16::from_be_bytes([data[at], data[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) << 16 | u32::from(u16_at(at + 2));
        Some(Self {
            covered: u16_at(0),
            algorithm: data[2],
            labels: data[3],
            original_ttl: u32_at(4),
            expiration: u32_at(8),
            inception: u32_at(12),
            key_tag: u16_at(16),
            signer,
            begin,
            data: data.into(),
        })
    }

    /// What is signed of the record itself.
    pub(crate) fn head(&self) -> &[u8] {
        &self.data[..self.begin]
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.data[self.begin..]
    }
}

impl RrSet {
    /// Octets that it takes in memory, about.
    pub(crate) fn octets(&self) -> usize {
        let data: usize = self.data.iter().map(|data| data.len() + 16).sum();
        let signatures: usize = self.signatures.iter().map(|signature| signature.data.len() + 80).sum();
        self.owner.wire().len() + data + signatures + 96
    }
}

/// Puts records together. Those of RRSIG come to what they cover, and are dropped if that is not there.
pub(crate) fn sets(records: Vec<Record>) -> Vec<RrSet> {
    let mut sets: Vec<RrSet> = Vec::new();
    let mut places: HashMap<(Name, u16), usize, foldhash::fast::RandomState> = HashMap::default();
    let mut signatures = Vec::new();
    for Record { owner, rtype, ttl, data } in records {
        if rtype == rtype::RRSIG {
            signatures.extend(Signature::parse(&data).map(|signature| (owner, signature)));
            continue;
        }
        let place = *places.entry((owner.clone(), rtype)).or_insert(sets.len());
        if place == sets.len() {
            sets.push(RrSet { owner, rtype, ttl: TTL_MAX, data: Vec::new(), signatures: Vec::new() });
        }
        let set = &mut sets[place];
        set.ttl = set.ttl.min(ttl);
        set.data.push(data);
    }
    for (owner, signature) in signatures {
        if let Some(place) = places.get(&(owner, signature.covered)) {
            sets[*place].signatures.push(signature);
        }
    }
    for set in &mut sets {
        // The canonical order, in which they are signed; one that comes twice counts once.
        set.data.sort_unstable();
        set.data.dedup();
    }
    sets
}

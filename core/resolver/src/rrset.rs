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

/// Where records lead a client: the targets of aliases, and of SVCB and HTTPS records (RFC 9460, 2.2) but for `.`, which is
/// the owner, or nothing. Data that is none of these leads nowhere.
pub(crate) fn targets(answer: &[RrSet]) -> Box<[Name]> {
    let target = |rtype: u16, data: &[u8]| match rtype {
        rtype::CNAME => Name::from_wire(data),
        rtype::SVCB | rtype::HTTPS => service_target(data),
        _ => None,
    };
    answer.iter().flat_map(|set| set.data.iter().filter_map(move |data| target(set.rtype, data))).collect()
}

/// A priority, a name without compression, and parameters.
fn service_target(data: &[u8]) -> Option<Name> {
    let behind_priority = data.get(2..)?;
    let mut at = 0;
    let name = Name::parse(behind_priority, &mut at)?;
    (name.wire().len() == at && !name.is_root()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rtype: u16, data: &[&[u8]]) -> RrSet {
        let data = data.iter().map(|data| Box::<[u8]>::from(*data)).collect();
        RrSet { owner: Name::root(), rtype, ttl: 60, data, signatures: Vec::new() }
    }

    #[test]
    fn aliases_and_services_lead_to_their_targets_and_malformed_ones_nowhere() {
        let answer = [
            set(rtype::CNAME, &[b"\x01a\x04test\x00"]),
            set(
                rtype::HTTPS,
                &[
                    // An alias; a service with a parameter; one at its owner.
                    b"\x00\x00\x01B\x04test\x00",
                    b"\x00\x01\x01c\x04test\x00\x00\x03\x00\x02\x01\xbb",
                    b"\x00\x01\x00",
                    // Cut short, too long a label, and a name that points back, at itself and outside.
                    b"",
                    b"\x00",
                    b"\x00\x01",
                    b"\x00\x01\x01d\x04te",
                    b"\x00\x01\x7fx",
                    b"\x00\x01\x01e\xc0\x00",
                    b"\x00\x01\xc0\x00",
                    b"\x00\x01\xc0\xff",
                ],
            ),
            set(rtype::SVCB, &[b"\x00\x01\x01f\x04test\x00"]),
            set(rtype::TXT, &[b"\x00\x01\x01g\x04test\x00"]),
        ];
        let expected = ["a.test", "b.test", "c.test", "f.test"].map(|name| name.parse::<Name>().unwrap());
        assert_eq!(*targets(&answer), expected);
    }
}

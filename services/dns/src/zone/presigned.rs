//! What a zone has because its primary signed it, compiled: signatures by what they sign, aside from the names, and the records that
//! deny in the order in which they are searched.
//!
//! ```text
//!  records of a transfer ─▶ Gathered ─┬─ RRSIG ─▶ by its name and type (a table)
//!                                     ├─ NSEC  ─▶ in the order of names  (RFC 4034, 6.1) ─┐ Presigned: a binary search, and
//!                                     └─ NSEC3 ─▶ in the order of hashes (RFC 5155, 7.1) ─┘ for hashes SHA-1 of the name
//! ```
//!
//! Invariants:
//! * **Nothing is made here:** each record of a denial is one that came. Where the primary's chain has a gap, a proof has it too.
//! * **An NSEC3 record's name is no name of the zone** (RFC 5155, 7.2.8): these records are kept apart from its names.
//! * **One chain of hashes is used,** one that NSEC3PARAM names and that has the apex; all others are only transferred on.
//!
//! Limit: names are hashed [`NSEC3_ITERATIONS_MAX`](proxima_model::limits::NSEC3_ITERATIONS_MAX) times more at the most; a zone
//! that asks for more has no proofs by hashes. What is used here is what the API judges by (`core/transfer/src/presigned.rs`).

use proxima_model::{Record, RecordData};
use proxima_transfer::presigned::Signature;

use super::{
    ASTERISK,
    draft::{Draft, NodeDraft},
    packed::Packed,
};
use crate::{
    dnssec::nsec3::{self, HASH_OCTETS, Hashing},
    name::{self, NAME_OCTETS_MAX, ORDER_OCTETS_MAX, order},
    rrset::{RrSet, Set},
    wire::rtype,
};

/// What a zone has because its primary signed it.
#[derive(Debug)]
pub(crate) struct Presigned {
    /// The signatures of all sets, by name; each with the type that it covers in the place of its own.
    signatures: Packed,
    /// The records that names are denied by, in their order.
    chain: Vec<Link>,
    /// By what names are hashed, if the chain is one of hashes.
    hashing: Option<Hashing>,
    /// NSEC records, if they are not the chain; and NSEC3 records of no chain or of another one: of a chain that comes or
    /// goes. Only transferred on. In the order of their names' octets.
    others: Vec<Link>,
}

/// A record set that denies what lies between its name and the next one's.
#[derive(Debug)]
pub(crate) struct Link {
    /// What it is ordered by.
    order: Box<[u8]>,
    /// Its name, relative to the apex.
    pub(crate) owner: Box<[u8]>,
    /// It.
    pub(crate) set: RrSet,
}

/// What is to be proven of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// That it is there, and has nothing of a type.
    Type,
    /// That it is not there, and neither are so many labels of it.
    Name(usize),
    /// That so many labels of it are not there, so that a wildcard stands for it.
    Expanded(usize),
    /// The same, and that the wildcard has nothing of a type.
    ExpandedType(usize),
}

/// Records that are not answered as a name's own.
#[derive(Default)]
pub(super) struct Gathered {
    /// With the type that each covers in the place of its own.
    rrsigs: Draft,
    nsec: Draft,
    nsec3: Draft,
}

impl Gathered {
    /// Takes a record of a transfer, as [`Self::take`] does.
    pub(super) fn take_record(&mut self, owner: &[u8], record: &Record) -> bool {
        let RecordData::Other(data) = &record.data else { return false };
        self.take(owner, (data.record_type().code(), record.ttl.wire_seconds()), data.octets())
    }

    /// Takes a record of such a type; whether it is one. Data that is too short for its type is of no use to anybody.
    fn take(&mut self, owner: &[u8], (rtype, ttl): (u16, u32), data: &[u8]) -> bool {
        let (into, rtype) = match rtype {
            rtype::NSEC => (&mut self.nsec, rtype),
            rtype::NSEC3 => (&mut self.nsec3, rtype),
            rtype::RRSIG => match Signature::of(data) {
                Some(signature) => (&mut self.rrsigs, signature.covered),
                None => return true,
            },
            _ => return false,
        };
        into.node(owner).push(rtype, ttl, data);
        true
    }

    /// Orders what signs and what denies. A name that has nothing but an NSEC record exists: it has what could not be taken.
    pub(super) fn compile(mut self, apex: &[u8], zone: &mut Draft) -> Presigned {
        for owner in self.nsec.names() {
            zone.node(owner);
        }
        // A table has an apex.
        self.rrsigs.node(&[]);
        self.rrsigs.gather();
        let mut nsec = links(self.nsec, |owner| order(owner, &mut [0; ORDER_OCTETS_MAX]).into());
        // A name that is no hash has none.
        let of_hashes =
            links(self.nsec3, |owner| nsec3::hash_of(owner).map_or_else(Box::default, |hash| hash.into()));
        let parameters = zone.node(&[]).set(rtype::NSEC3PARAM);
        let parameters = parameters.into_iter().flat_map(RrSet::records);
        // As the API judges of it, which has the records before they are compiled.
        let hashing = Hashing::of_zone(apex, parameters, |hashing, hash| {
            let of_apex = of_hashes.binary_search_by(|link| (*link.order).cmp(&hash[..]));
            of_apex.is_ok_and(|at| of_hashes[at].is_of(hashing))
        });
        let is_used = |link: &Link| {
            let hashing = hashing.as_ref();
            link.order.len() == HASH_OCTETS && hashing.is_some_and(|hashing| link.is_of(hashing))
        };
        let (mut chain, mut others): (Vec<_>, Vec<_>) = of_hashes.into_iter().partition(is_used);
        // Without a chain of hashes that can be used, names deny.
        if hashing.is_some() {
            others.append(&mut nsec)
        } else {
            chain = nsec
        }
        others.sort_unstable_by(|one, other| one.owner.cmp(&other.owner));
        Presigned { signatures: Packed::of(self.rrsigs), chain, hashing, others }
    }
}

/// The sets of one type of all names, in an order.
fn links(mut sets: Draft, order: impl Fn(&[u8]) -> Box<[u8]>) -> Vec<Link> {
    sets.gather();
    let of_name =
        |(owner, node): (Box<[u8]>, NodeDraft)| node.sets.into_iter().map(move |set| (owner.clone(), set));
    let links =
        sets.in_order().flat_map(of_name).map(|(owner, set)| Link { order: order(&owner), owner, set });
    let mut links: Vec<Link> = links.collect();
    links.sort_unstable_by(|one, other| one.order.cmp(&other.order));
    links
}

impl Link {
    fn is_of(&self, hashing: &Hashing) -> bool {
        self.set.records().any(|data| Hashing::of(data).is_some_and(|(known, _)| known == *hashing))
    }
}

impl Presigned {
    /// Octets that it takes, about.
    pub(super) fn octets(&self) -> usize {
        let of_link =
            |link: &Link| size_of::<Link>() + link.order.len() + link.owner.len() + link.set.packed().len();
        size_of::<Self>() + self.signatures.octets() + self.links().map(of_link).sum::<usize>()
    }

    /// The signatures of a name's set of a type. The name is relative to the apex.
    pub(crate) fn signatures(&self, relative: &[u8], covered: u16) -> Option<Set<'_>> {
        let set = self.signatures.get(relative)?.set(covered)?;
        Some(Set { rtype: rtype::RRSIG, ..set })
    }

    /// A record of the chain.
    pub(crate) fn link(&self, at: usize) -> &Link {
        &self.chain[at]
    }

    /// The NSEC records of a name, relative to the apex, where there are such.
    pub(crate) fn nsec(&self, relative: &[u8]) -> Option<Set<'_>> {
        if self.hashing.is_some() {
            // Such records beside a chain of hashes are of a chain that comes or goes.
            return None;
        }
        let at = self.matching(order(relative, &mut [0; ORDER_OCTETS_MAX]))?;
        Some(self.chain[at].set.view())
    }

    /// The records of a name, relative to the apex, that deny, of whichever chain.
    pub(crate) fn at(&self, relative: &[u8]) -> impl Iterator<Item = &Link> {
        let of_chain = match &self.hashing {
            Some(_) => nsec3::hash_of(relative).and_then(|hash| self.matching(&hash)),
            None => self.matching(order(relative, &mut [0; ORDER_OCTETS_MAX])),
        };
        let begin = self.others.partition_point(|link| *link.owner < *relative);
        let of_others = self.others[begin..].iter().take_while(|link| *link.owner == *relative);
        let of_others: Vec<&Link> = of_others.collect();
        of_chain.map(|at| &self.chain[at]).into_iter().chain(of_others)
    }

    /// All records that deny, of whichever chain.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        self.chain.iter().chain(&self.others)
    }

    /// Which records of the chain prove something of a name, whole and in lower case; each may be told more than once.
    pub(crate) fn prove(&self, apex: &[u8], name: &[u8], denied: Denied, mut tell: impl FnMut(usize)) {
        match &self.hashing {
            Some(hashing) => self.prove_hashed(hashing, apex, name, denied, &mut |at: Option<usize>| {
                at.into_iter().for_each(&mut tell);
            }),
            None => self.prove_named(apex, name, denied, &mut |at: Option<usize>| {
                at.into_iter().for_each(&mut tell);
            }),
        }
    }

    /// RFC 4035, 3.1.3: a name that is not there, and one that is only between others, lie behind the name before them.
    fn prove_named(&self, apex: &[u8], name: &[u8], denied: Denied, tell: &mut impl FnMut(Option<usize>)) {
        let at_or_before = |name: &[u8]| {
            let mut buffer = [0; ORDER_OCTETS_MAX];
            let relative = &name[..name.len() - apex.len()];
            self.at_or_before(order(relative, &mut buffer))
        };
        tell(at_or_before(name));
        if let Denied::Name(labels) | Denied::ExpandedType(labels) = denied {
            tell(with_wildcard(name, labels, at_or_before));
        }
    }

    /// RFC 5155, 7.2: the closest encloser that can be proven, the name below it, the wildcard there.
    fn prove_hashed(
        &self,
        hashing: &Hashing,
        apex: &[u8],
        name: &[u8],
        denied: Denied,
        tell: &mut impl FnMut(Option<usize>),
    ) {
        let matching = |name: &[u8]| self.matching(&hashing.hash(name));
        let covering = |name: &[u8]| self.around(&hashing.hash(name));
        let missing = match denied {
            Denied::Type => match matching(name) {
                Some(at) => return tell(Some(at)),
                // A delegation that is not signed, or a name above only such, in a span of those (RFC 5155, 7.2.4).
                None => 1,
            },
            Denied::Expanded(labels) => return tell(covering(name::without(name, labels - 1))),
            Denied::Name(labels) | Denied::ExpandedType(labels) => labels,
        };
        let Some((labels, encloser)) = nsec3::closest(apex, name, missing, matching) else { return };
        tell(Some(encloser));
        tell(covering(name::without(name, labels - 1)));
        match denied {
            Denied::Name(_) => tell(with_wildcard(name, labels, covering)),
            Denied::ExpandedType(_) => tell(with_wildcard(name, missing, matching)),
            Denied::Type | Denied::Expanded(_) => {}
        }
    }

    fn matching(&self, order: &[u8]) -> Option<usize> {
        self.chain.binary_search_by(|link| (*link.order).cmp(order)).ok()
    }

    fn at_or_before(&self, order: &[u8]) -> Option<usize> {
        match self.chain.binary_search_by(|link| (*link.order).cmp(order)) {
            Ok(at) => Some(at),
            Err(behind) => behind.checked_sub(1),
        }
    }

    /// The record around a hash: hashes go around.
    fn around(&self, hash: &[u8]) -> Option<usize> {
        self.at_or_before(hash).or_else(|| self.chain.len().checked_sub(1))
    }
}

/// What is said of the wildcard at a name without its first labels.
fn with_wildcard<T>(name: &[u8], labels: usize, say: impl Fn(&[u8]) -> T) -> T {
    let above = name::without(name, labels);
    // A label was there that was longer, or as long: it fits.
    let mut wildcard = [0; NAME_OCTETS_MAX + ASTERISK.len()];
    let length = ASTERISK.len() + above.len();
    wildcard[..ASTERISK.len()].copy_from_slice(ASTERISK);
    wildcard[ASTERISK.len()..length].copy_from_slice(above);
    say(&wildcard[..length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{encode, encode_relative};

    /// Chains of these names below `example`, whose records are told by their number; hashed if they are.
    fn chain(names: &[&str], is_hashed: bool) -> Presigned {
        let apex = encode("example");
        let hashing = Hashing { iterations: 3, salt: [0xab].into() };
        let mut gathered = Gathered::default();
        let mut draft = Draft::default();
        for (number, name) in names.iter().enumerate() {
            let (name, number) = (encode_relative(name), u8::try_from(number).expect("few"));
            if is_hashed {
                let hash = hashing.hash(&[&name[..], &apex].concat());
                let owner = nsec3::owner(hash, &[]);
                let data = [1, 1, 0, 3, 1, 0xab, 20, number];
                assert!(gathered.take(&owner, (rtype::NSEC3, 60), &data));
            } else {
                assert!(gathered.take(&name, (rtype::NSEC, 60), &[number]));
            }
        }
        if is_hashed {
            draft.node(&[]).push(rtype::NSEC3PARAM, 0, [1, 0, 0, 3, 1, 0xab]);
        }
        gathered.compile(&apex, &mut draft)
    }

    /// The names whose records prove it.
    fn proof(names: &[&str], is_hashed: bool, name: &str, denied: Denied) -> Vec<String> {
        let presigned = chain(names, is_hashed);
        let mut told = Vec::new();
        presigned.prove(&encode("example"), &encode(name), denied, |at| {
            let number = *presigned.link(at).set.view().first().last().expect("data");
            told.push(names[usize::from(number)].to_owned());
        });
        told
    }

    #[test]
    fn names_in_their_order_deny_what_lies_behind_them() {
        let names = ["", "b", "x.y.d", "*.w", "z"];
        for (name, denied, expected) in [
            ("b.example", Denied::Type, &["b"][..]),
            // Only between others.
            ("y.d.example", Denied::Type, &["b"]),
            ("c.example", Denied::Name(1), &["b", ""]),
            ("a.b.example", Denied::Name(1), &["b", "b"]),
            ("q.w.example", Denied::Expanded(1), &["*.w"]),
            ("a.w.example", Denied::ExpandedType(1), &["*.w", "*.w"]),
            ("zz.example", Denied::Name(1), &["z", ""]),
            ("example", Denied::Type, &[""]),
        ] {
            assert_eq!(proof(&names, false, name, denied), expected, "{name}");
        }
        assert_eq!(
            proof(&[], false, "a.example", Denied::Name(1)),
            [""; 0],
            "there is nothing to prove it by"
        );
    }

    #[test]
    fn hashes_deny_by_the_closest_encloser_that_has_one() {
        let names = ["", "b", "d", "w", "*.w"];
        let check = |name: &str, denied, exact: &[&str], around: usize| {
            let told = proof(&names, true, name, denied);
            assert_eq!(told.len(), exact.len() + around, "{name}: {told:?}");
            for name in exact {
                assert!(told.iter().any(|told| told == name), "{name}: {told:?}");
            }
        };
        check("b.example", Denied::Type, &["b"], 0);
        check("c.example", Denied::Name(1), &[""], 2);
        check("a.b.c.d.example", Denied::Name(3), &["d"], 2);
        // Above a delegation that is not signed: no record of its own.
        check("sub.d.example", Denied::Type, &["d"], 1);
        check("a.ent.d.example", Denied::Name(1), &["d"], 2);
        check("q.w.example", Denied::Expanded(1), &[], 1);
        check("q.w.example", Denied::ExpandedType(1), &["w", "*.w"], 1);
    }

    #[test]
    fn of_hashes_without_parameters_or_with_too_many_iterations_nothing_is_made() {
        let mut gathered = Gathered::default();
        let owner = nsec3::owner([7; HASH_OCTETS], &[]);
        assert!(gathered.take(&owner, (rtype::NSEC3, 60), &[1, 0, 0, 0, 0, 0]));
        assert!(gathered.take(b"\x01x", (rtype::NSEC3, 60), &[1, 0, 0, 0, 0, 0]));
        let mut draft = Draft::default();
        let presigned = gathered.compile(&encode("example"), &mut draft);
        assert!(
            presigned.chain.iter().all(|link| link.set.rtype != rtype::NSEC3) && presigned.hashing.is_none()
        );
        assert_eq!(presigned.links().count(), 2, "they are transferred on");
        assert_eq!((presigned.at(&owner).count(), presigned.at(b"\x01x").count()), (1, 1));
        assert_eq!(presigned.at(b"\x01y").count(), 0);
        assert!(Hashing::of(&[2, 0, 0, 0, 0]).is_none() && Hashing::of(&[1, 0, 0, 0, 1]).is_none());
    }

    #[test]
    fn signatures_are_found_by_the_name_and_the_type_that_they_cover() {
        let mut gathered = Gathered::default();
        let rrsig = |covered: u8| [&[0, covered][..], &[0; 17]].concat();
        for (owner, covered) in [(&b""[..], 6), (b"\x01a", 1), (b"\x01a", 16), (b"\x01a", 47)] {
            assert!(gathered.take(owner, (rtype::RRSIG, 60), &rrsig(covered)));
        }
        assert!(gathered.take(b"\x01a", (rtype::RRSIG, 60), &[0, 1]), "it is of no use");
        assert!(gathered.take(b"\x01a", (rtype::NSEC, 60), b"\x00\x00\x01\x40"));
        assert!(!gathered.take(b"\x01a", (rtype::A, 60), &[1, 2, 3, 4]));
        let mut draft = Draft::default();
        let presigned = gathered.compile(&encode("example"), &mut draft);
        assert!(draft.names().any(|name| name == b"\x01a"), "what has an NSEC record exists");
        let signatures = |owner: &[u8], covered| {
            let set = presigned.signatures(owner, covered)?;
            Some((set.rtype, set.records.map(|data| data[1]).collect::<Vec<_>>()))
        };
        assert_eq!(signatures(b"", 6), Some((rtype::RRSIG, vec![6])));
        for covered in [1_u8, 16, 47] {
            assert_eq!(signatures(b"\x01a", covered.into()), Some((rtype::RRSIG, vec![covered])));
        }
        assert_eq!((signatures(b"\x01a", 6), signatures(b"\x01b", 1)), (None, None));
        assert!(presigned.nsec(b"\x01a").is_some());
        assert!(presigned.nsec(b"\x01b").is_none());
    }
}

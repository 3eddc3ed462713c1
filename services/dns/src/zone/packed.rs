//! All names of a zone and what they have, in one piece of memory.
//!
//! ```text
//!  slots: a hash table             nodes, the apex first
//! ┌────┬────┬─────┬────┐ ┌────────┬───────┬───────┬────────┬───────┬──────┬─────┬────────┬────┄
//! │  0 │ at │  …  │ at │ │ length │ name  │ flags │ octets │ rtype │ ttl  │ len │ records│ rtype …
//! └────┴────┴─────┴────┘ └────────┴───────┴───────┴────────┴───────┴──────┴─────┴────────┴────┄
//!   u32 each, 2^n of them    u8             u8       u32     └ u16     u32    u32 ┘
//!                                                            a set; next the next one of the node
//! ```
//!
//! A node begins at an offset into the whole; a slot of 0 is free, for slots lie there. Of `2^n` slots half are used at the
//! most, and a name is in the first one from where its hash points to that was free. A look-up hashes the name once and
//! mostly reads one slot and one node, whose sets lie right behind it.
//!
//! A zone of ten records takes some 600 octets so. As maps of names to vectors of records it takes four times as much, in
//! forty pieces, which is what decides how many zones a server keeps compiled.
//!
//! Numbers are in this machine's order of octets: nothing of it leaves the process.
//!
//! Limits: offsets are of 32 bits, which the largest zone that the model allows does not reach, whether its records are few and
//! as large as can be or many and counted by their octets.

use std::{
    hash::{BuildHasher, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use foldhash::fast::RandomState;
use proxima_model::limits::{
    NAME_OCTETS_MAX, RDATA_OCTETS_MAX, RECORDS_PER_ZONE_MAX, TRANSFERRED_NAME_OCTETS,
    TRANSFERRED_OCTETS_PER_ZONE_MAX, TRANSFERRED_RECORD_OCTETS,
};

use super::draft::Draft;
use crate::rrset::{Records, RrSet, Set};

/// Octets of a slot.
const SLOT: usize = size_of::<u32>();
/// Octets of a node besides its name and its sets: the name's length, flags, the sets' length.
const NODE: usize = 1 + 1 + 4;
/// Octets of a set besides its records: type, TTL, the records' length.
const SET: usize = 2 + 4 + 4;
/// Octets at the most for one record of the longest name, all names between that and the apex with it: as many as have labels
/// of one octet, half of the longest long on average.
const RECORD_MAX: usize =
    SET + 2 + RDATA_OCTETS_MAX + NAME_OCTETS_MAX / 2 * (4 * SLOT + NODE + NAME_OCTETS_MAX / 2 + 1);
const _: () = assert!(RECORDS_PER_ZONE_MAX * RECORD_MAX < u32::MAX as usize, "offsets are of 32 bits");

// What comes from a primary is counted by what it takes here, or more: of slots there are four for each name at the most.
const _: () = assert!(
    SET + 2 <= TRANSFERRED_RECORD_OCTETS
        && 4 * SLOT + NODE <= TRANSFERRED_NAME_OCTETS
        && 2 * TRANSFERRED_OCTETS_PER_ZONE_MAX < u32::MAX as usize,
    "offsets are of 32 bits"
);

/// How many were packed.
static PACKED: AtomicU64 = AtomicU64::new(0);

/// The names of a zone, relative to the apex and in lower case.
#[derive(Debug)]
pub(super) struct Packed {
    octets: Box<[u8]>,
    /// Which one it is of all that this process has packed.
    number: u64,
    /// How many slots there are, less one.
    mask: u32,
    names: u32,
    hasher: RandomState,
}

/// Where a set lies, of all sets that are packed or ever were: whatever else is found there is the same set of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    packed: u64,
    at: u32,
}

/// What a name has, where it lies. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'z> {
    flags: u8,
    /// The alias, if it has one, and then the other sets.
    sets: &'z [u8],
}

/// What is known of a name beside its sets.
pub(super) mod flag {
    /// It has a CNAME record: its first set.
    pub(crate) const ALIAS: u8 = 1;
    /// The alias is answered as the addresses that it leads to.
    pub(crate) const FLATTENED: u8 = 1 << 1;
    /// Its owner wants that.
    pub(crate) const WANTS_FLATTENING: u8 = 1 << 2;
    /// A record here is proxied.
    pub(crate) const PROXIED: u8 = 1 << 3;
    /// The zone ends here and another begins (RFC 1034, 4.2.1).
    pub(crate) const CUT: u8 = 1 << 4;
    /// The name `*` exists directly below.
    pub(crate) const WILDCARD_BELOW: u8 = 1 << 5;
    /// All names below are found elsewhere (RFC 6672).
    pub(crate) const REDIRECTS: u8 = 1 << 6;
}

impl Packed {
    /// Packs names, of which the apex, the empty name, is one.
    pub(super) fn of(drafts: Draft) -> Self {
        let names = drafts.len();
        let slots = (names * 2).next_power_of_two();
        let mask = offset(slots - 1);
        let (of_sets, of_names) = drafts.octets();
        let mut octets = Vec::with_capacity(slots * SLOT + names * NODE + of_names + of_sets);
        octets.resize(slots * SLOT, 0);
        let mut packed = Self {
            octets: Box::default(),
            number: PACKED.fetch_add(1, Ordering::Relaxed),
            mask,
            names: offset(names),
            hasher: RandomState::default(),
        };
        for (name, node) in drafts.in_order() {
            let at = offset(octets.len());
            let mut slot = packed.slot(&name);
            while read(&octets, slot) != 0 {
                slot = packed.next(slot);
            }
            octets[slot..slot + SLOT].copy_from_slice(&at.to_ne_bytes());
            octets.push(u8::try_from(name.len()).expect("a name has 255 octets at most"));
            octets.extend_from_slice(&name);
            octets.push(node.flags());
            let length_at = octets.len();
            octets.extend_from_slice(&[0; 4]);
            node.sets().for_each(|set| put(set, &mut octets));
            let length = offset(octets.len() - length_at - 4);
            octets[length_at..length_at + 4].copy_from_slice(&length.to_ne_bytes());
        }
        packed.octets = octets.into_boxed_slice();
        packed
    }

    /// Octets that it takes besides itself.
    pub(super) fn octets(&self) -> usize {
        self.octets.len()
    }

    /// How many names there are.
    pub(super) const fn len(&self) -> usize {
        self.names as usize
    }

    /// What the apex has.
    pub(super) fn apex(&self) -> Node<'_> {
        self.at(self.first()).1
    }

    /// What a name has, if it exists.
    pub(super) fn get(&self, name: &[u8]) -> Option<Node<'_>> {
        let mut slot = self.slot(name);
        loop {
            match read(&self.octets, slot) {
                0 => return None,
                at => {
                    let (known, node, _) = self.at(at as usize);
                    if known == name {
                        return Some(node);
                    }
                }
            }
            slot = self.next(slot);
        }
    }

    /// Where this set of a name lies, if it is a view of one of its sets here, and no other set with the same records.
    pub(super) fn place(&self, name: &[u8], set: Set<'_>) -> Option<Place> {
        let (sets, records) = (self.get(name)?.sets.as_ptr_range(), set.records.as_ptr());
        let at = || offset(records as usize - self.octets.as_ptr() as usize);
        sets.contains(&records).then(|| Place { packed: self.number, at: at() })
    }

    /// Every name, the apex first.
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = self.first();
        std::iter::from_fn(move || {
            (at < self.octets.len()).then(|| {
                let (name, _, end) = self.at(at);
                at = end;
                name
            })
        })
    }

    /// Where the first node begins: behind the slots.
    const fn first(&self) -> usize {
        (self.mask as usize + 1) * SLOT
    }

    /// The node that begins there: its name, what it has, and where it ends.
    fn at(&self, at: usize) -> (&[u8], Node<'_>, usize) {
        let name_end = at + 1 + usize::from(self.octets[at]);
        let begin = name_end + NODE - 1;
        let end = begin + read(&self.octets, name_end + 1) as usize;
        let node = Node { flags: self.octets[name_end], sets: &self.octets[begin..end] };
        (&self.octets[at + 1..name_end], node, end)
    }

    /// Where the slot is to which a name's hash points.
    fn slot(&self, name: &[u8]) -> usize {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name);
        #[expect(clippy::cast_possible_truncation, reason = "some of its bits are wanted")]
        let hash = hasher.finish() as u32;
        (hash & self.mask) as usize * SLOT
    }

    /// The one behind it; behind the last is the first.
    const fn next(&self, slot: usize) -> usize {
        (slot + SLOT) & (self.mask as usize * SLOT)
    }
}

impl<'z> Node<'z> {
    /// What a name has that only lies between two zones here.
    pub(crate) const BETWEEN: Node<'static> = Node { flags: 0, sets: &[] };

    /// Its CNAME record.
    pub(super) fn alias(self) -> Option<Set<'z>> {
        if self.is(flag::ALIAS) { Sets(self.sets).next() } else { None }
    }

    /// Its sets, but for its alias.
    pub(crate) fn sets(self) -> Sets<'z> {
        let mut sets = Sets(self.sets);
        if self.is(flag::ALIAS) {
            sets.next();
        }
        sets
    }

    /// The records of a type.
    pub(crate) fn set(self, rtype: u16) -> Option<Set<'z>> {
        self.sets().find(|set| set.rtype == rtype)
    }

    /// Whether the name has records at all, or is only between others and the apex.
    pub(crate) const fn has_data(self) -> bool {
        !self.sets.is_empty()
    }

    /// Whether this is known of it.
    pub(super) const fn is(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Sets that lie one behind the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sets<'z>(&'z [u8]);

impl<'z> Iterator for Sets<'z> {
    type Item = Set<'z>;

    fn next(&mut self) -> Option<Set<'z>> {
        let (head, rest) = self.0.split_first_chunk::<SET>()?;
        let &[r0, r1, t0, t1, t2, t3, l0, l1, l2, l3] = head;
        let (records, rest) = rest.split_at(u32::from_ne_bytes([l0, l1, l2, l3]) as usize);
        self.0 = rest;
        let (rtype, ttl) = (u16::from_ne_bytes([r0, r1]), u32::from_ne_bytes([t0, t1, t2, t3]));
        Some(Set { rtype, ttl, records: Records::packed(records) })
    }
}

/// Octets of a set when it is packed.
pub(super) fn octets_of(set: &RrSet) -> usize {
    SET + set.packed().len()
}

fn put(set: &RrSet, octets: &mut Vec<u8>) {
    octets.extend_from_slice(&set.rtype.to_ne_bytes());
    octets.extend_from_slice(&set.ttl.to_ne_bytes());
    octets.extend_from_slice(&offset(set.packed().len()).to_ne_bytes());
    octets.extend_from_slice(set.packed());
}

fn offset(octets: usize) -> u32 {
    u32::try_from(octets).expect("the largest zone ends before that")
}

fn read(octets: &[u8], at: usize) -> u32 {
    let number = octets[at..].first_chunk().expect("four octets were written there");
    u32::from_ne_bytes(*number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        name::{encode, encode_relative},
        wire::rtype,
    };

    fn of(names: &BTreeMap<Vec<u8>, Vec<(u16, Vec<u8>)>>) -> Packed {
        let mut draft = Draft::default();
        draft.node(&[]);
        for (name, records) in names {
            let node = draft.node(name);
            records.iter().for_each(|(rtype, data)| node.add_data(*rtype, 300, data));
        }
        Packed::of(draft)
    }

    proptest! {
        /// Whatever the names are: each is found with what it has, and no other.
        #[test]
        fn names_are_found_with_what_they_have_and_others_are_not(
            names in prop::collection::btree_map(
                prop::collection::vec(any::<u8>(), 1..60),
                prop::collection::vec((1_u16..6, prop::collection::vec(any::<u8>(), 0..40)), 0..6),
                0..80,
            ),
            others in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..20),
        ) {
            let packed = of(&names);
            prop_assert_eq!(packed.len(), names.len() + 1);
            for (name, records) in &names {
                let node = packed.get(name).expect("it is there");
                prop_assert_eq!(node.has_data(), !records.is_empty());
                for rtype in 1..6 {
                    let mut expected: Vec<&[u8]> = Vec::new();
                    for (_, data) in records.iter().filter(|(known, _)| *known == rtype) {
                        if !expected.contains(&&data[..]) {
                            expected.push(data);
                        }
                    }
                    let found = node.set(rtype).map(|set| set.records.collect::<Vec<_>>());
                    prop_assert_eq!(found, (!expected.is_empty()).then_some(expected));
                }
            }
            for other in others.iter().filter(|other| !names.contains_key(*other)) {
                prop_assert!(packed.get(other).is_none());
            }
            let mut all: Vec<&[u8]> = packed.names().collect();
            prop_assert!(all[0].is_empty(), "the apex is the first");
            all.sort_unstable();
            prop_assert!(all[1..].iter().copied().eq(names.keys().map(|name| &name[..])));
        }
    }

    #[test]
    fn an_alias_is_apart_from_the_sets_beside_it() {
        let target = encode("target.example");
        let mut draft = Draft::default();
        draft.node(&[]);
        let node = draft.node(&encode_relative("www"));
        node.set_alias(RrSet::of_one(rtype::CNAME, 60, &target));
        node.add_data(rtype::TXT, 60, b"\x01x");
        let packed = Packed::of(draft);
        let node = packed.get(&encode_relative("www")).expect("it is there");
        assert_eq!(node.alias().map(Set::target), Some(&target[..]));
        assert!(node.set(rtype::CNAME).is_none() && node.set(rtype::TXT).is_some());
        assert_eq!((node.sets().count(), packed.apex().alias()), (1, None));
    }

    #[test]
    fn a_place_is_one_set_of_one_name_of_one_zone() {
        let drafted = || {
            let mut draft = Draft::default();
            for name in ["", "a", "*"] {
                let node = draft.node(&encode_relative(name));
                node.add_data(rtype::TXT, 60, b"\x01x");
                node.add_data(rtype::A, 60, &[192, 0, 2, 1]);
            }
            Packed::of(draft)
        };
        let (one, other) = (drafted(), drafted());
        let (a, wildcard) = (encode_relative("a"), encode_relative("*"));
        let mut places = Vec::new();
        for packed in [&one, &other] {
            for name in [&[][..], &a, &wildcard] {
                for rtype in [rtype::TXT, rtype::A] {
                    let set = packed.get(name).and_then(|node| node.set(rtype)).expect("it is there");
                    let place = packed.place(name, set).expect("it lies there");
                    assert_eq!(packed.place(name, set), Some(place));
                    assert!(!places.contains(&place));
                    places.push(place);
                }
            }
        }
        let of_wildcard = one.get(&wildcard).and_then(|node| node.set(rtype::TXT)).expect("it is there");
        for (packed, name) in [(&one, &a), (&one, &encode_relative("b")), (&other, &wildcard)] {
            assert_eq!(packed.place(name, of_wildcard), None, "it is not this name's");
        }
        assert_eq!(one.place(&wildcard, of_wildcard.detached().view()), None, "it is a copy");
    }

    #[test]
    fn slots_are_half_full_at_the_most_and_the_last_one_is_followed_by_the_first() {
        for names in [0, 1, 2, 3, 7, 8, 63, 64, 500] {
            let names =
                (0..names).map(|number| (encode_relative(&format!("n{number}")), Vec::new())).collect();
            let packed = of(&names);
            let slots = packed.mask as usize + 1;
            assert!(
                slots >= 2 * packed.len() && slots < 4 * packed.len().max(2),
                "{slots} for {}",
                packed.len()
            );
            assert_eq!(packed.next((slots - 1) * SLOT), 0);
            assert!(names.keys().all(|name| packed.get(name).is_some()));
        }
    }
}

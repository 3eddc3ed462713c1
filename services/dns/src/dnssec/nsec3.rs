//! Denial of existence by hashed names (RFC 5155), each record made for the one hash that it is about, so that no other
//! name's hash is ever told ("white lies", RFC 7129, appendix B).
//!
//! | what is denied | records |
//! |---|---|
//! | a type of a name | one that is the name's own, with its types |
//! | a name | one that is its closest encloser's own; one around the name below that, towards the one asked for; one around the wildcard there (RFC 5155, 7.2.2) |
//!
//! No salt, no further iterations (RFC 9276, 3.1), no opt-out. A name that a wildcard stands for is denied types as if it
//! were there itself, as its answers are signed.

use proxima_model::limits;
use proxima_transfer::nsec3::{DIGITS, LABEL_OCTETS};
pub(crate) use proxima_transfer::nsec3::{HASH_ALGORITHM, HASH_OCTETS, Hashing, hash, hash_of};

use super::denial::write_types;
use crate::{
    name::{self, NAME_OCTETS_MAX},
    rrset::RrSet,
    wire::rtype,
};

/// Hash, no flags, no further iterations, no salt (RFC 5155, 4.2; RFC 9276, 3.1).
const PARAMETERS: [u8; 5] = [HASH_ALGORITHM, 0, 0, 0, 0];

/// Whether a zone of this name leaves room for hashes below it.
pub(crate) const fn fits(apex: &[u8]) -> bool {
    apex.len() <= limits::NSEC3_ZONE_OCTETS_MAX
}

const _: () = assert!(limits::NSEC3_ZONE_OCTETS_MAX + LABEL_OCTETS == NAME_OCTETS_MAX);

/// A record, and the name at which it stands.
pub(crate) type Owned = (Vec<u8>, RrSet);

/// The record of a name that exists and has these types.
pub(crate) fn of(name: &[u8], apex: &[u8], mut types: Vec<u16>, ttl: u32) -> Owned {
    types.sort_unstable();
    types.dedup();
    let hash = hash(name, &[], 0);
    record(apex, hash, next(hash), &types, ttl)
}

/// The record around a name that does not exist.
pub(crate) fn around(name: &[u8], apex: &[u8], ttl: u32) -> Owned {
    let hash = hash(name, &[], 0);
    record(apex, former(hash), next(hash), &[], ttl)
}

/// What the apex says of how names are hashed (RFC 5155, 4).
pub(crate) fn parameters(ttl: u32) -> RrSet {
    RrSet::of_one(rtype::NSEC3PARAM, ttl, PARAMETERS)
}

fn record(apex: &[u8], from: [u8; HASH_OCTETS], to: [u8; HASH_OCTETS], types: &[u16], ttl: u32) -> Owned {
    let mut data = PARAMETERS.to_vec();
    data.push(u8::try_from(HASH_OCTETS).expect("20"));
    data.extend_from_slice(&to);
    write_types(types, &mut data);
    (owner(from, apex), RrSet::of_one(rtype::NSEC3, ttl, data))
}

/// The name that a hash has in the zone (RFC 5155, 3).
pub(crate) fn owner(hash: [u8; HASH_OCTETS], apex: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(LABEL_OCTETS + apex.len());
    name.push(u8::try_from(LABEL_OCTETS - 1).expect("32"));
    // Five octets are eight digits.
    for group in hash.chunks_exact(5) {
        let number = group.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
        name.extend((0..8).rev().map(|digit| {
            let value = usize::try_from(number >> (5 * digit) & 0b1_1111).expect("five bits");
            DIGITS[value]
        }));
    }
    name.extend_from_slice(apex);
    name
}

/// The closest encloser that has a record, of a name without so many labels or more: without how many, and its record. The
/// name with one label more has none, so that something covers it.
///
/// A name costs up to 151 rounds of SHA-1, and a question may have 120 labels below the apex: the first name is mostly the
/// one, and else halving finds it by nine hashes at the most, as above a name that has a record all have one (RFC 5155, 7.1).
/// A walk that gives up instead would fail deep names that are above only delegations without a record. Only a zone whose
/// chain has gaps may be told an encloser that is not the closest.
pub(crate) fn closest(
    apex: &[u8],
    name: &[u8],
    missing: usize,
    matching: impl Fn(&[u8]) -> Option<usize>,
) -> Option<(usize, usize)> {
    let depth = std::iter::successors(Some(name), |&rest| Some(name::without(rest, 1)))
        .take_while(|rest| rest.len() > apex.len())
        .count();
    if missing > depth {
        return None;
    }
    if let Some(at) = matching(name::without(name, missing)) {
        return Some((missing, at));
    }
    // The apex has a record: there is no chain without.
    let (mut without, mut found) = (missing, (depth, matching(apex)?));
    while without + 1 < found.0 {
        let middle = without.midpoint(found.0);
        match matching(name::without(name, middle)) {
            Some(at) => found = (middle, at),
            None => without = middle,
        }
    }
    Some(found)
}

/// The hash behind one; the first one is behind the last one.
fn next(mut hash: [u8; HASH_OCTETS]) -> [u8; HASH_OCTETS] {
    for octet in hash.iter_mut().rev() {
        *octet = octet.wrapping_add(1);
        if *octet != 0 {
            break;
        }
    }
    hash
}

/// The hash before one.
fn former(mut hash: [u8; HASH_OCTETS]) -> [u8; HASH_OCTETS] {
    for octet in hash.iter_mut().rev() {
        *octet = octet.wrapping_sub(1);
        if *octet != u8::MAX {
            break;
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::encode;

    #[test]
    fn names_are_hashed_as_others_do() {
        // `nsec3hash - 1 0 NAME` of BIND.
        for (name, expected) in [
            ("example.", "3MSEV9USMD4BR9S97V51R2TDVMR9IQO1"),
            ("a.example.", "6CD522290VMA0NR8LQU1IVTCOFJ94RGA"),
        ] {
            let label = owner(hash(&encode(name), &[], 0), b"\x00");
            assert_eq!(label[1..33].to_ascii_uppercase(), expected.as_bytes(), "{name}");
        }
    }

    #[test]
    fn names_are_hashed_again_with_salt_and_a_label_is_read_as_its_hash() {
        // RFC 5155, appendix A: salt aabbccdd, 12 iterations.
        for (name, expected) in [
            ("example.", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("x.y.w.example.", "2vptu5timamqttgl4luu9kg21e0aor3s"),
        ] {
            let hash = hash(&encode(name), &[0xaa, 0xbb, 0xcc, 0xdd], 12);
            let label = owner(hash, &[]);
            assert_eq!(&label[1..], expected.as_bytes(), "{name}");
            assert_eq!(hash_of(&label), Some(hash));
            assert_eq!(hash_of(&label[..32]), None);
            assert_eq!(hash_of(&[&label[..], b"\x01a"].concat()), None);
        }
        assert_eq!(hash_of(&[&[32][..], &[b'w'; 32]].concat()), None, "no digit");
    }

    #[test]
    fn hashes_go_around() {
        let mut hash = [0; HASH_OCTETS];
        assert_eq!(former(hash), [u8::MAX; HASH_OCTETS]);
        assert_eq!(next(former(hash)), hash);
        hash[19] = u8::MAX;
        assert_eq!((next(hash)[18..].to_vec(), former(next(hash))), (vec![1, 0], hash));
    }

    #[test]
    fn a_record_ends_right_behind_its_name_and_one_around_a_name_begins_right_before_it() {
        let (name, apex) = (encode("www.example"), encode("example"));
        let (at, set) = of(&name, &apex, vec![rtype::RRSIG, rtype::A], 300);
        let hashed = hash(&name, &[], 0);
        assert_eq!(at, owner(hashed, &apex));
        let expected = [&[1, 0, 0, 0, 0, 20][..], &next(hashed), &[0, 6, 0x40, 0, 0, 0, 0, 2]].concat();
        assert_eq!((set.rtype, set.view().first()), (rtype::NSEC3, &expected[..]));
        let (before, set) = around(&name, &apex, 300);
        assert_eq!(before, owner(former(hashed), &apex));
        assert_eq!(*set.view().first(), expected[..26]);
    }

    #[test]
    fn a_zone_whose_name_is_too_long_has_no_room_for_hashes() {
        assert!(fits(&[0; 222]) && !fits(&[0; 223]));
    }

    #[test]
    fn the_closest_encloser_of_the_deepest_names_is_found_by_few_hashes() {
        let (apex, name) = (encode("example"), encode(&format!("{}example", "a.".repeat(120))));
        for known in 1..=120 {
            let hashes = std::cell::Cell::new(0);
            let is_above = |above: &[u8]| {
                hashes.set(hashes.get() + 1);
                (above.len() <= name::without(&name, known).len()).then_some(above.len())
            };
            let expected = (known, name::without(&name, known).len());
            assert_eq!(closest(&apex, &name, 1, is_above), Some(expected));
            assert!(hashes.get() <= 9, "{} hashes", hashes.get());
        }
        assert_eq!(closest(&apex, &name, 1, |_| None), None);
        assert_eq!(closest(&apex, &apex, 1, |_| Some(0)), None, "nothing is above the apex");
    }
}

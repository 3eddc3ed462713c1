//! Records are laid before it, and what follows is looked at.

use super::*;
use crate::rrset::Signature;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn types(all: &[u16]) -> Vec<u8> {
    let mut bits = vec![0; 32];
    for rtype in all {
        bits[usize::from(rtype / 8)] |= 0x80 >> (rtype % 8);
    }
    [vec![0, 32], bits].concat()
}

fn set(owner: &str, rtype: u16, ttl: u32, data: Vec<u8>) -> RrSet {
    let signatures: Vec<Signature> = Vec::new();
    RrSet { owner: name(owner), rtype, ttl, data: vec![data.into()], signatures }
}

fn soa(zone: &str, ttl: u32, minimum: u32) -> RrSet {
    set(zone, rtype::SOA, ttl, [&[0; 18][..], &minimum.to_be_bytes()].concat())
}

fn nsec(owner: &str, next: &str, has: &[u16]) -> RrSet {
    set(owner, rtype::NSEC, 300, [name(next).wire(), &types(has)].concat())
}

/// An NSEC3 record of `org` from just before or at one name's hash to just behind or at another's.
fn nsec3(from: [u8; HASH_OCTETS], to: [u8; HASH_OCTETS], flags: u8, iterations: u16, has: &[u16]) -> RrSet {
    let [high, low] = iterations.to_be_bytes();
    let data = [&[1, flags, high, low, 0, 20][..], &to, &types(has)].concat();
    let letters = b"0123456789abcdefghijklmnopqrstuv";
    let bits: Vec<bool> =
        from.iter().flat_map(|octet| (0..8).map(move |bit| octet & 0x80 >> bit != 0)).collect();
    let five = |bits: &[bool]| bits.iter().fold(0, |value, bit| value << 1 | usize::from(*bit));
    let label: String = bits.chunks(5).map(|bits| char::from(letters[five(bits)])).collect();
    set(&format!("{label}.org"), rtype::NSEC3, 300, data)
}

fn hash(text: &str) -> [u8; HASH_OCTETS] {
    nsec3::hash(name(text).wire(), b"", 0)
}

fn moved(mut hash: [u8; HASH_OCTETS], by: i8) -> [u8; HASH_OCTETS] {
    hash[HASH_OCTETS - 1] = hash[HASH_OCTETS - 1].wrapping_add_signed(by);
    hash
}

fn denials(sets: &[RrSet]) -> Denials {
    let denials = Denials::new(1 << 20);
    denials.learn(&name("org"), sets, None, 1_000);
    denials
}

fn concluded(denials: &Denials, text: &str, rtype: u16, now: u64) -> Option<Synthesis> {
    denials.conclude(&name("org"), &name(text), rtype, now).map(|(what, _)| what)
}

#[test]
fn gaps_tell_what_is_not_there_and_the_rest_is_asked_for() {
    let denials = denials(&[
        soa("org", 900, 900),
        nsec("org", "b.org", &[2, 6]),
        nsec("b.org", "x.d.org", &[1]),
        nsec("x.d.org", "m.org", &[2]),
    ]);
    for (text, rtype, expected) in [
        ("c.org", 1, Some(Synthesis::NoName)),
        ("y.c.org", 1, Some(Synthesis::NoName)),
        ("b.org", 28, Some(Synthesis::NoData)),
        ("d.org", 1, Some(Synthesis::NoData)),
        ("x.d.org", rtype::DS, Some(Synthesis::NoData)),
        ("b.org", 1, None),
        ("b.org", rtype::NSEC, None),
        ("x.d.org", 1, None),
        ("www.x.d.org", 1, None),
        ("n.org", 1, None),
    ] {
        assert_eq!(concluded(&denials, text, rtype, 1_000), expected, "{text} {rtype}");
    }
    assert_eq!(concluded(&denials, "c.org", 1, 1_299), Some(Synthesis::NoName));
    assert_eq!(concluded(&denials, "c.org", 1, 1_300), None, "expired");
}

#[test]
fn the_minimum_of_soa_bounds_a_denial_and_without_soa_there_is_none() {
    let sets = [soa("org", 900, 20), nsec("org", "org", &[2, 6])];
    let denials = self::denials(&sets);
    assert_eq!(concluded(&denials, "a.org", 1, 1_019), Some(Synthesis::NoName));
    assert_eq!(concluded(&denials, "a.org", 1, 1_020), None);
    assert_eq!(concluded(&self::denials(&sets[1..]), "a.org", 1, 1_000), None);
}

/// RFC 9824: what says that its own name does not exist is not the beginning of a gap.
#[test]
fn nxname_speaks_for_its_own_name_only() {
    let denials = denials(&[
        soa("org", 300, 300),
        nsec("org", "a.org", &[2, 6]),
        nsec("a.org", "z.org", &[rtype::NXNAME, rtype::RRSIG, rtype::NSEC]),
    ]);
    assert_eq!(concluded(&denials, "a.org", 1, 1_000), Some(Synthesis::NoData), "as its server says it");
    assert_eq!(concluded(&denials, "b.org", 1, 1_000), None);
    assert_eq!(concluded(&denials, "x.a.org", 1, 1_000), None);
    // Nor is a wildcard that does not exist one that has nothing of the type.
    let denials = self::denials(&[
        soa("org", 300, 300),
        nsec("*.org", "\x01.*.org", &[rtype::NXNAME, rtype::RRSIG, rtype::NSEC]),
        nsec("b.org", "d.org", &[1]),
    ]);
    assert_eq!(concluded(&denials, "c.org", 1, 1_000), None);
}

#[test]
fn hashed_gaps_tell_the_same_but_those_of_opt_out() {
    let zone = |flags| {
        let around = |text| nsec3(moved(hash(text), -1), moved(hash(text), 1), flags, 0, &[1]);
        let apex = nsec3(hash("org"), moved(hash("org"), 1), flags, 0, &[2, 6]);
        denials(&[soa("org", 300, 300), apex, around("c.org"), around("*.org")])
    };
    let denials = zone(0);
    for (text, rtype, expected) in [
        ("c.org", 1, Some(Synthesis::NoName)),
        ("x.y.c.org", 1, Some(Synthesis::NoName)),
        ("org", 28, Some(Synthesis::NoData)),
        ("org", 6, None),
        ("d.org", 1, None),
        ("1.2.3.4.5.6.7.8.9.c.org", 1, None),
    ] {
        assert_eq!(concluded(&denials, text, rtype, 1_000), expected, "{text} {rtype}");
    }
    let denials = zone(1);
    assert_eq!(concluded(&denials, "c.org", 1, 1_000), None, "an unsigned delegation may be there");
    assert_eq!(concluded(&denials, "org", 28, 1_000), Some(Synthesis::NoData), "the name itself is said");
}

#[test]
fn many_iterations_are_not_kept_and_another_salt_begins_anew() {
    let apex =
        |iterations| nsec3(nsec3::hash(name("org").wire(), b"", iterations), [0; 20], 0, iterations, &[2, 6]);
    let denials = denials(&[soa("org", 300, 300), apex(ITERATIONS_MAX + 1)]);
    assert_eq!(concluded(&denials, "org", 1, 1_000), None);
    for iterations in [0, ITERATIONS_MAX] {
        denials.learn(&name("org"), &[soa("org", 300, 300), apex(iterations)], None, 1_000);
        assert_eq!(concluded(&denials, "org", 1, 1_000), Some(Synthesis::NoData));
    }
    let kept = denials.zones.get(&name("org")).unwrap();
    assert_eq!(kept.records.lock().unwrap().len(), 1);
}

#[test]
fn a_zone_has_its_share_of_what_is_kept_and_the_count_is_true() {
    let denials = Denials::new(1 << 20);
    for number in 0..5_000_u32 {
        let owner = format!("n{:08x}.org", number.wrapping_mul(0x9E37_79B9));
        let gap = [soa("org", 300, 300), nsec(&owner, &format!("z.{owner}"), &[1])];
        let wild = set(&format!("*.{owner}"), 1, 300, vec![0; 4]);
        denials.learn(&name("org"), &gap, (number % 7 == 0).then_some(wild), 1_000);
    }
    let kept = denials.zones.get(&name("org")).expect("it was not too heavy to be kept");
    let records = kept.records.lock().unwrap();
    assert!(records.len() <= RECORDS_MAX && records.octets <= denials.zone_octets_max && records.len() > 500);
    let all = records.nsec.values().chain(records.nsec3.values());
    let all = all.chain(records.wild.values()).chain(&records.soa);
    assert_eq!(all.map(Record::octets).sum::<usize>(), records.octets);
    assert_eq!(kept.octets, records.octets);
    drop(records);
    for number in 0..100 {
        denials.learn(&name(&format!("z{number}")), &[nsec("z", "z", &[1])], None, 1_000);
    }
    assert!(denials.zones.weight() <= 1 << 20);
}

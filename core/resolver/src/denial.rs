//! Denial of existence: what NSEC (RFC 4034, 4) and NSEC3 (RFC 5155) records that were verified prove.

use std::cmp::Ordering;

use proxima_transfer::nsec3::{self, HASH_ALGORITHM, HASH_OCTETS};

use crate::{keys::ede, message::rtype, name::Name, rrset::RrSet};

/// Iterations of NSEC3's hash beyond which a denial proves nothing and its zone counts as insecure (RFC 9276, 3.2).
const ITERATIONS_MAX: u16 = 50;
/// Hashes that one denial may cost: a name has few labels below its zone, and more is an attack (CVE-2023-50868).
const HASHES_MAX: usize = 32;
const OPT_OUT: u8 = 1;

/// What was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It is so.
    Proven,
    /// It may be so: the zone leaves unsigned delegations out, or counts its hashes too often.
    Insecure,
}

/// The NSEC or NSEC3 records of a response, verified, of one zone.
pub(crate) struct Denial<'a> {
    zone: &'a Name,
    nsec: Vec<Nsec<'a>>,
    nsec3: Vec<Nsec3<'a>>,
    too_many_iterations: bool,
}

/// An NSEC record (RFC 4034, 4).
pub(crate) struct Nsec<'a> {
    owner: &'a Name,
    pub(crate) next: Name,
    pub(crate) types: &'a [u8],
}

/// An NSEC3 record (RFC 5155, 3).
pub(crate) struct Nsec3<'a> {
    pub(crate) hash: [u8; HASH_OCTETS],
    next: [u8; HASH_OCTETS],
    flags: u8,
    pub(crate) iterations: u16,
    pub(crate) salt: &'a [u8],
    types: &'a [u8],
}

impl<'a> Denial<'a> {
    pub(crate) fn of(zone: &'a Name, sets: impl Iterator<Item = &'a RrSet>) -> Self {
        let mut denial = Self { zone, nsec: Vec::new(), nsec3: Vec::new(), too_many_iterations: false };
        for set in sets {
            let Some(data) = set.data.first() else { continue };
            match set.rtype {
                rtype::NSEC => denial.nsec.extend(Nsec::parse(&set.owner, data)),
                rtype::NSEC3 => {
                    let parsed = Nsec3::parse(&set.owner, zone, data);
                    denial.too_many_iterations |=
                        parsed.as_ref().is_some_and(|it| it.iterations > ITERATIONS_MAX);
                    // All of a response have the same salt (RFC 5155, 8.2).
                    denial.nsec3.extend(parsed.filter(|it| {
                        denial.nsec3.first().is_none_or(|first: &Nsec3<'_>| {
                            first.salt == it.salt && first.iterations == it.iterations
                        })
                    }));
                }
                _ => {}
            }
        }
        denial
    }

    /// That a name has no records of a type, be it by itself or by a wildcard.
    pub(crate) fn no_data(&self, name: &Name, rtype: u16) -> Result<Proof, u16> {
        if let Some(nsec) = self.nsec.iter().find(|nsec| nsec.owner == name) {
            return denies(nsec.types, rtype).then_some(Proof::Proven).ok_or(ede::NSEC_MISSING);
        }
        if let Some(nsec) = self.nsec.iter().find(|nsec| nsec.covers(name, self.zone)) {
            // A name that is only above others.
            if nsec.next.is_below(name) {
                return Ok(Proof::Proven);
            }
            let wildcard = nsec.encloser(name).wildcard();
            let wild = self.nsec.iter().find(|nsec| wildcard.as_ref() == Some(nsec.owner));
            return match wild {
                Some(wild) if denies(wild.types, rtype) => Ok(Proof::Proven),
                _ => Err(ede::NSEC_MISSING),
            };
        }
        if self.too_many_iterations {
            return Ok(Proof::Insecure);
        }
        let mut hashes = HASHES_MAX;
        if let Some(same) = self.matching(name, &mut hashes) {
            return denies(same.types, rtype).then_some(Proof::Proven).ok_or(ede::NSEC_MISSING);
        }
        let (encloser, next_closer) = self.closest(name, &mut hashes)?;
        if rtype == rtype::DS && next_closer.is_opt_out() {
            return Ok(Proof::Insecure);
        }
        let wild = encloser.wildcard().and_then(|wildcard| self.matching(&wildcard, &mut hashes));
        match wild {
            Some(wild) if denies(wild.types, rtype) => Ok(Proof::of(next_closer)),
            _ => Err(ede::NSEC_MISSING),
        }
    }

    /// That a zone below has no keys: its name is that of a delegation without DS, or may be one that is left out. A name
    /// that is merely without DS does not prove it (RFC 6840, 4.4): whoever forges a referral would make it insecure.
    pub(crate) fn is_unsigned(&self, child: &Name) -> bool {
        let is_unsigned = |types| is_delegation(types) && !has(types, rtype::DS);
        if let Some(nsec) = self.nsec.iter().find(|nsec| nsec.owner == child) {
            return is_unsigned(nsec.types);
        }
        if self.too_many_iterations {
            return true;
        }
        let mut hashes = HASHES_MAX;
        if let Some(same) = self.matching(child, &mut hashes) {
            return is_unsigned(same.types);
        }
        self.closest(child, &mut hashes).is_ok_and(|(_, covering)| covering.is_opt_out())
    }

    /// That there is no such name, nor a wildcard for it.
    pub(crate) fn no_name(&self, name: &Name) -> Result<Proof, u16> {
        if let Some(nsec) = self.nsec.iter().find(|nsec| nsec.covers(name, self.zone)) {
            let wildcard = nsec.encloser(name).wildcard();
            let is_denied = wildcard
                .is_none_or(|wildcard| self.nsec.iter().any(|nsec| nsec.covers(&wildcard, self.zone)));
            return (is_denied && !nsec.next.is_below(name))
                .then_some(Proof::Proven)
                .ok_or(ede::NSEC_MISSING);
        }
        if self.too_many_iterations {
            return Ok(Proof::Insecure);
        }
        let mut hashes = HASHES_MAX;
        let (encloser, next_closer) = self.closest(name, &mut hashes)?;
        let Some(wildcard) = encloser.wildcard() else { return Ok(Proof::of(next_closer)) };
        self.covering(&wildcard, &mut hashes).map(|_| Proof::of(next_closer)).ok_or(ede::NSEC_MISSING)
    }

    /// That a name does not exist itself, so that a wildcard with `labels` labels stands for it.
    pub(crate) fn is_expanded(&self, name: &Name, labels: usize) -> Result<Proof, u16> {
        // A closer name would stand between, even one that is only above others: what it is not, the wildcard is not for.
        let proves = |nsec: &Nsec<'_>| nsec.covers(name, self.zone) && nsec.encloser(name).depth() == labels;
        if self.nsec.iter().any(proves) {
            return Ok(Proof::Proven);
        }
        if self.too_many_iterations {
            return Ok(Proof::Insecure);
        }
        let next_closer = name.suffix(labels + 1);
        self.covering(&next_closer, &mut 1).map(Proof::of).ok_or(ede::NSEC_MISSING)
    }

    fn matching(&self, name: &Name, hashes: &mut usize) -> Option<&Nsec3<'a>> {
        let hash = self.hash(name, hashes)?;
        self.nsec3.iter().find(|nsec3| nsec3.hash == hash)
    }

    fn covering(&self, name: &Name, hashes: &mut usize) -> Option<&Nsec3<'a>> {
        let hash = self.hash(name, hashes)?;
        self.nsec3.iter().find(|nsec3| nsec3.covers(&hash))
    }

    /// The closest name above that exists, and what covers the one below it (RFC 5155, 8.3).
    fn closest(&self, name: &Name, hashes: &mut usize) -> Result<(Name, &Nsec3<'a>), u16> {
        let depth = name.depth();
        for above in (self.zone.depth()..depth).rev() {
            let encloser = name.suffix(above);
            if let Some(matching) = self.matching(&encloser, hashes) {
                // One of a delegation or of a DNAME speaks for nothing below it.
                if is_delegation(matching.types) || has(matching.types, rtype::DNAME) {
                    return Err(ede::NSEC_MISSING);
                }
                let covering = self.covering(&name.suffix(above + 1), hashes).ok_or(ede::NSEC_MISSING)?;
                return Ok((encloser, covering));
            }
        }
        Err(if self.too_many_iterations { ede::ITERATIONS } else { ede::NSEC_MISSING })
    }

    fn hash(&self, name: &Name, left: &mut usize) -> Option<[u8; HASH_OCTETS]> {
        let first = self.nsec3.first()?;
        *left = left.checked_sub(1)?;
        Some(nsec3::hash(name.wire(), first.salt, first.iterations))
    }
}

impl Proof {
    fn of(covering: &Nsec3<'_>) -> Self {
        if covering.is_opt_out() { Self::Insecure } else { Self::Proven }
    }
}

impl<'a> Nsec<'a> {
    pub(crate) fn parse(owner: &'a Name, data: &'a [u8]) -> Option<Self> {
        let mut at = 0;
        let next = Name::parse(data, &mut at)?;
        Some(Self { owner, next, types: &data[at..] })
    }

    /// Whether it says that there is no such name, and may: what a delegation or a DNAME has above it, it does not.
    fn covers(&self, name: &Name, zone: &Name) -> bool {
        if name.is_below(self.owner) && (is_delegation(self.types) || has(self.types, rtype::DNAME)) {
            return false;
        }
        let after = self.owner.canonical_cmp(name) == Ordering::Less;
        let is_last = self.next == *zone;
        name.is_within(zone) && after && (is_last || name.canonical_cmp(&self.next) == Ordering::Less)
    }

    /// The closest name above `name` that exists, if this covers it.
    pub(crate) fn encloser(&self, name: &Name) -> Name {
        let (before, after) = (name.common(self.owner), name.common(&self.next));
        if before.depth() > after.depth() { before } else { after }
    }
}

impl<'a> Nsec3<'a> {
    pub(crate) fn parse(owner: &Name, zone: &Name, data: &'a [u8]) -> Option<Self> {
        let hash = nsec3::hash_of_digits(owner.labels().next()?)?;
        if owner.parent().as_ref() != Some(zone) {
            return None;
        }
        let [HASH_ALGORITHM, flags, high, low, salt, rest @ ..] = data else { return None };
        let (salt, rest) = rest.split_at_checked(usize::from(*salt))?;
        let (length, rest) = rest.split_first()?;
        let (next, types) = rest.split_at_checked(usize::from(*length))?;
        let iterations = u16::from_be_bytes([*high, *low]);
        // Flags that are not known make it one to be ignored (RFC 5155, 8.2).
        (*flags <= OPT_OUT).then_some(Self {
            hash,
            next: next.try_into().ok()?,
            flags: *flags,
            iterations,
            salt,
            types,
        })
    }

    /// Whether it leaves unsigned delegations out of what it covers (RFC 5155, 6).
    pub(crate) fn is_opt_out(&self) -> bool {
        self.flags & OPT_OUT != 0
    }

    fn covers(&self, hash: &[u8; HASH_OCTETS]) -> bool {
        if self.hash < self.next {
            self.hash < *hash && *hash < self.next
        } else {
            *hash > self.hash || *hash < self.next
        }
    }
}

/// Whether the types at a name say that there are no records of this one, and who says so may.
fn denies(types: &[u8], rtype: u16) -> bool {
    let (ns, soa) = (has(types, rtype::NS), has(types, rtype::SOA));
    let may = if rtype == rtype::DS { !soa } else { !ns || soa };
    may && !has(types, rtype) && !has(types, rtype::CNAME)
}

/// Whether they are a delegation's.
pub(crate) fn is_delegation(types: &[u8]) -> bool {
    has(types, rtype::NS) && !has(types, rtype::SOA)
}

/// Whether a bit map of types has one (RFC 4034, 4.1.2).
pub(crate) fn has(mut types: &[u8], rtype: u16) -> bool {
    let [window, low] = rtype.to_be_bytes();
    while let [number, length, rest @ ..] = types {
        let Some((bits, rest)) = rest.split_at_checked(usize::from(*length)) else { return false };
        if *number == window {
            return bits.get(usize::from(low / 8)).is_some_and(|bits| bits & (0x80 >> (low % 8)) != 0);
        }
        types = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bit map of types below 256.
    fn types(all: &[u16]) -> Vec<u8> {
        let mut bits = vec![0; 32];
        for rtype in all {
            bits[usize::from(rtype / 8)] |= 0x80 >> (rtype % 8);
        }
        [vec![0, 32], bits].concat()
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn nsec(owner: &str, next: &str, has: &[u16]) -> RrSet {
        let data = [name(next).wire(), &types(has)].concat().into();
        RrSet { owner: name(owner), rtype: rtype::NSEC, ttl: 1, data: vec![data], signatures: Vec::new() }
    }

    #[test]
    fn nsec_denies_what_lies_between_and_no_more() {
        let zone = name("org");
        let sets =
            [nsec("org", "b.org", &[2, 6]), nsec("b.org", "x.d.org", &[1]), nsec("x.d.org", "org", &[2])];
        let denial = Denial::of(&zone, sets.iter());
        assert_eq!(denial.no_name(&name("c.org")), Ok(Proof::Proven));
        assert_eq!(denial.no_name(&name("z.org")), Ok(Proof::Proven));
        assert_eq!(denial.no_data(&name("d.org"), 1), Ok(Proof::Proven), "only above others");
        assert_eq!(denial.no_data(&name("b.org"), 28), Ok(Proof::Proven));
        assert_eq!(denial.no_data(&name("x.d.org"), rtype::DS), Ok(Proof::Proven), "an unsigned delegation");
        for (what, denied) in [
            ("it has that", denial.no_data(&name("b.org"), 1)),
            ("the delegation speaks for no other type", denial.no_data(&name("x.d.org"), 1)),
            ("it is there", denial.no_name(&name("b.org"))),
            ("others are below it", denial.no_name(&name("d.org"))),
            ("it is below a delegation", denial.no_name(&name("y.x.d.org"))),
            ("of another zone", denial.no_name(&name("c.net"))),
        ] {
            assert!(denied.is_err(), "{what}");
        }
        assert!(denial.is_unsigned(&name("x.d.org")));
        assert!(!denial.is_unsigned(&name("b.org")), "no delegation");
        assert!(!denial.is_unsigned(&name("d.org")) && !denial.is_unsigned(&name("c.org")), "nothing there");
        let without_wildcard = Denial::of(&zone, sets[1..].iter());
        assert!(without_wildcard.no_name(&name("c.org")).is_err(), "nothing denies the wildcard");
    }

    /// RFC 4035, 5.3.4: what a wildcard stands for has no closer name above it.
    #[test]
    fn a_wildcard_stands_for_nothing_below_a_name_that_exists() {
        let zone = name("org");
        let sets =
            [nsec("b.org", "c.org", &[1]), nsec("c.org", "x.y.d.org", &[1]), nsec("x.y.d.org", "org", &[1])];
        let denial = Denial::of(&zone, sets.iter());
        assert_eq!(denial.is_expanded(&name("bb.org"), 1), Ok(Proof::Proven));
        assert_eq!(denial.is_expanded(&name("u.bb.org"), 1), Ok(Proof::Proven));
        for (below, what) in
            [("a.b.org", "a name"), ("a.d.org", "what is only above others"), ("a.y.d.org", "and deeper")]
        {
            assert!(denial.is_expanded(&name(below), 1).is_err(), "{what}");
        }
        assert_eq!(denial.is_expanded(&name("a.d.org"), 2), Ok(Proof::Proven), "the wildcard is below it");
    }

    /// The zone of RFC 5155, appendix A: salt aabbccdd, 12 iterations, opt-out.
    fn nsec3(owner: &str, next: &str, flags: u8, iterations: u16, has: &[u16]) -> RrSet {
        let [high, low] = iterations.to_be_bytes();
        let head = [1, flags, high, low, 4, 0xAA, 0xBB, 0xCC, 0xDD, 20];
        let data = [&head[..], &nsec3::hash_of_digits(next.as_bytes()).unwrap(), &types(has)].concat().into();
        let owner = name(&format!("{owner}.example"));
        RrSet { owner, rtype: rtype::NSEC3, ttl: 1, data: vec![data], signatures: Vec::new() }
    }

    #[test]
    fn nsec3_denies_as_in_the_examples_of_rfc_5155() {
        let zone = name("example");
        let example = |flags, iterations| {
            [
                nsec3(
                    "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom",
                    "2t7b4g4vsa5smi47k61mv5bv1a22bojr",
                    flags,
                    iterations,
                    &[2, 6],
                ),
                nsec3(
                    "b4um86eghhds6nea196smvmlo4ors995",
                    "gjeqe526plbf1g8mklp59enfd789njgi",
                    flags,
                    iterations,
                    &[15],
                ),
                nsec3(
                    "35mthgpgcu1qg68fab165klnsnk3dpvl",
                    "b4um86eghhds6nea196smvmlo4ors995",
                    flags,
                    iterations,
                    &[2, 43],
                ),
            ]
        };
        let sets = example(0, 12);
        let denial = Denial::of(&zone, sets.iter());
        assert_eq!(denial.no_name(&name("a.c.x.w.example")), Ok(Proof::Proven));
        assert_eq!(denial.no_data(&name("example"), 1), Ok(Proof::Proven));
        assert!(denial.no_data(&name("example"), 6).is_err());
        let sets = example(1, 12);
        assert_eq!(Denial::of(&zone, sets.iter()).no_name(&name("a.c.x.w.example")), Ok(Proof::Insecure));
        let sets = example(0, ITERATIONS_MAX + 1);
        assert_eq!(Denial::of(&zone, sets.iter()).no_name(&name("a.c.x.w.example")), Ok(Proof::Insecure));
    }
}

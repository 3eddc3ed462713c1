//! What a zone that came signed is worth, as it is answered: which of its sets are signed until when, and by what is denied.
//! Pure. `services/dns` answers by [`Signature`] and [`Hashing`], `services/control` tells the zone's owner by [`judge`].
//!
//! Judged is what an answer has: a signature of a set that is not there, or that a delegation or a DNAME record hides, is
//! answered to nobody. That signatures are right is not computed: validators do that.

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet, hash_map::RandomState},
    hash::BuildHasher,
};

use proxima_model::{
    Denial, DnsName, PresignedContent, Record, RecordData, Timestamp, ZoneName, key_tag,
    limits::PRESIGNED_KEYS_SHOWN_MAX,
};
use proxima_wire::rtype;

use crate::nsec3::{self, HASH_OCTETS, Hashing};

/// Octets of RRSIG's data before its signer's name (RFC 4034, 3.1).
const RRSIG_OCTETS_MIN: usize = 18;
/// That a DNSKEY record has a zone's key (RFC 4034, 2.1.1).
const ZONE_KEY: u16 = 0x0100;
/// That the key is not to be believed any more (RFC 5011, 2.1).
const REVOKED: u16 = 0x0080;
/// The only protocol of keys (RFC 4034, 2.1.2).
const PROTOCOL: u8 = 3;

/// An RRSIG record's data, as far as it says what it is of.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'d> {
    /// The type of the set that it signs.
    pub covered: u16,
    /// By which key.
    by: SignedBy,
    /// When it ends, in seconds since 1970 modulo 2^32.
    expires: u32,
    /// The name of the zone that has the key, and the signature.
    rest: &'d [u8],
}

/// A key as signatures name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SignedBy {
    tag: u16,
    algorithm: u8,
}

impl<'d> Signature<'d> {
    /// Reads it; `None` if it is too short to be of use to anybody.
    pub fn of(data: &'d [u8]) -> Option<Self> {
        let (head, rest) =
            data.split_first_chunk::<RRSIG_OCTETS_MIN>().filter(|(_, rest)| !rest.is_empty())?;
        // Type covered, algorithm, labels, TTL, end, begin, key tag.
        let [c0, c1, algorithm, _, _, _, _, _, e0, e1, e2, e3, _, _, _, _, t0, t1] = *head;
        let by = SignedBy { tag: u16::from_be_bytes([t0, t1]), algorithm };
        let expires = u32::from_be_bytes([e0, e1, e2, e3]);
        Some(Self { covered: u16::from_be_bytes([c0, c1]), by, expires, rest })
    }

    /// Whether a key of this zone made it, whose name is in lower case.
    fn is_of(&self, apex: &[u8]) -> bool {
        // Labels are compared with their lengths, which are below all letters.
        self.rest.get(..apex.len()).is_some_and(|signer| signer.eq_ignore_ascii_case(apex))
    }

    /// When it ends, in seconds since 1970: its 32 bits go around the clock (RFC 4034, 3.1.5).
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "modulo 2^32"
    )]
    fn ends(&self, now: Timestamp) -> i64 {
        let now = now.as_seconds();
        let ahead = self.expires.wrapping_sub(now as u32) as i32;
        now + i64::from(ahead)
    }
}

/// A record set: its name, as it is hashed with a key that nobody else has (of a million names, none is kept), and its type.
type Set = (u64, u16);

/// What is gathered of a zone's records.
struct Gathered<'a> {
    apex: &'a str,
    wire: Vec<u8>,
    now: Timestamp,
    hasher: RandomState,
    keys: HashSet<SignedBy>,
    /// The sets that are to be signed, as far as is not hidden.
    sets: HashSet<Set>,
    /// When the longest signature of a set by a key ends.
    signatures: HashMap<(Set, SignedBy), i64>,
    /// The name above each name below the apex.
    above: HashMap<u64, u64>,
    /// Names that are delegated, and such as move all names below them.
    cuts: HashSet<u64>,
    moved: HashSet<u64>,
    /// The apex's NSEC3PARAM records, and where there are NSEC3 records of which chain.
    parameters: Vec<Vec<u8>>,
    links: HashSet<u64>,
    content: PresignedContent,
}

/// What a zone's records, without its SOA record, say of how it is signed. Of a set that is signed more than once, the signature
/// counts that lasts longest.
pub fn judge(
    apex: &ZoneName,
    records: impl Iterator<Item = impl Borrow<Record>>,
    now: Timestamp,
) -> PresignedContent {
    let mut gathered = Gathered {
        apex: apex.as_str(),
        wire: apex.wire(),
        now,
        hasher: RandomState::new(),
        keys: HashSet::new(),
        sets: HashSet::new(),
        signatures: HashMap::new(),
        above: HashMap::new(),
        cuts: HashSet::new(),
        moved: HashSet::new(),
        parameters: Vec::new(),
        links: HashSet::new(),
        content: PresignedContent::default(),
    };
    gathered.sets.insert((gathered.hasher.hash_one(apex.as_str()), rtype::SOA));
    for record in records {
        gathered.take(record.borrow());
    }
    gathered.judge()
}

impl Gathered<'_> {
    fn take(&mut self, record: &Record) {
        let (rtype, name) = (record.data.record_type().code(), self.hasher.hash_one(record.name.as_str()));
        let is_apex = record.name.as_str() == self.apex;
        if let RecordData::Other(data) = &record.data {
            let data = data.octets();
            match rtype {
                // It signs, and is not signed.
                rtype::RRSIG => return self.take_signature(name, data),
                rtype::NSEC3 => self.take_link(&record.name, data),
                rtype::NSEC3PARAM if is_apex => self.parameters.push(data.to_vec()),
                rtype::DNSKEY if is_apex => self.take_key(data),
                _ => {}
            }
        }
        self.sets.insert((name, rtype));
        self.take_name(&record.name);
        // Of a wildcard neither has a meaning (RFC 4592, 4.2; RFC 6672, 3.3).
        if !record.name.is_wildcard() {
            match rtype {
                rtype::NS if !is_apex => drop(self.cuts.insert(name)),
                rtype::DNAME => drop(self.moved.insert(name)),
                _ => {}
            }
        }
    }

    fn take_signature(&mut self, name: u64, data: &[u8]) {
        let Some(signature) = Signature::of(data).filter(|signature| signature.is_of(&self.wire)) else {
            return;
        };
        let end = signature.ends(self.now);
        let known = self.signatures.entry(((name, signature.covered), signature.by)).or_insert(end);
        *known = end.max(*known);
    }

    fn take_link(&mut self, name: &DnsName, data: &[u8]) {
        let owner = name.wire();
        let hash = owner.strip_suffix(&self.wire[..]).and_then(nsec3::hash_of);
        let link = hash.zip(Hashing::of(data).map(|(hashing, _)| hashing));
        self.links.extend(link.map(|link| self.hasher.hash_one(link)));
    }

    fn take_key(&mut self, data: &[u8]) {
        let Some(&[high, low, protocol, algorithm]) = data.first_chunk() else { return };
        let flags = u16::from_be_bytes([high, low]);
        if flags & ZONE_KEY == 0 || flags & REVOKED != 0 || protocol != PROTOCOL {
            return;
        }
        let tag = key_tag(data);
        if self.keys.insert(SignedBy { tag, algorithm }) && self.content.keys.len() < PRESIGNED_KEYS_SHOWN_MAX
        {
            self.content.keys.push(tag);
        }
    }

    /// Notes the names above one, as far as they are not known.
    fn take_name(&mut self, name: &DnsName) {
        let mut rest = name.as_str();
        while rest.len() > self.apex.len()
            && let Some((_, above)) = rest.split_once('.')
            && self.above.insert(self.hasher.hash_one(rest), self.hasher.hash_one(above)).is_none()
        {
            rest = above;
        }
    }

    fn judge(mut self) -> PresignedContent {
        self.deny();
        let mut ends = HashMap::<Set, i64>::new();
        for ((set, by), end) in &self.signatures {
            if self.keys.contains(by) {
                let known = ends.entry(*set).or_insert(*end);
                *known = (*end).max(*known);
            }
        }
        let (mut first, mut unsigned): (Option<i64>, u32) = (None, 0);
        for set in self.sets.iter().filter(|set| self.is_answered(**set)) {
            match ends.get(set) {
                Some(end) => first = Some(first.map_or(*end, |first| first.min(*end))),
                None => unsigned += 1,
            }
        }
        self.content.unsigned = unsigned;
        self.content.signs_soa = ends.contains_key(&(self.hasher.hash_one(self.apex), rtype::SOA));
        self.content.keys.sort_unstable();
        self.content.expires_at = first.map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1_000)));
        self.content
    }

    /// Says by what names are denied.
    fn deny(&mut self) {
        // As record sets have them.
        self.parameters.sort_unstable();
        let parameters = || self.parameters.iter().map(Vec::as_slice);
        let has = |hashing: &Hashing, hash: &[u8; HASH_OCTETS]| {
            self.links.contains(&self.hasher.hash_one((*hash, hashing.clone())))
        };
        let of_names = (self.hasher.hash_one(self.apex), rtype::NSEC);
        self.content.denial = match Hashing::of_zone(&self.wire, parameters(), has) {
            Some(_) => Some(Denial::Nsec3),
            None if self.sets.contains(&of_names) => Some(Denial::Nsec),
            None => {
                // Why there is no chain that can be used, if that is why.
                let hashings = parameters().filter_map(Hashing::of).map(|(hashing, _)| hashing);
                let refused = hashings.filter(|hashing| !hashing.is_bounded());
                self.content.iterations = refused.map(|hashing| hashing.iterations).max().unwrap_or_default();
                None
            }
        };
    }

    /// Whether a set is answered as the zone's own: not beneath a delegation or a DNAME record, and of what a delegation has,
    /// what is said of it above (RFC 4035, 2.2).
    fn is_answered(&self, (name, rtype): Set) -> bool {
        if self.cuts.contains(&name) && !matches!(rtype, rtype::DS | rtype::NSEC) {
            return false;
        }
        // A chain's records lie beneath the apex, and deny all the same where that moves its names.
        if rtype == rtype::NSEC3 {
            return true;
        }
        let mut above = self.above.get(&name);
        while let Some(name) = above {
            if self.cuts.contains(name) || self.moved.contains(name) {
                return false;
            }
            above = self.above.get(name);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proxima_model::{
        Presigned, PresignedProblem, PrimarySoa, RecordId, SecondaryZone, Ttl, ZoneId,
        limits::SIGNATURES_END_SOON_SECONDS,
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
    const APEX: &str = "example.com";
    const KEY: [u8; 5] = [1, 1, 3, 13, 9];
    const DAY: i64 = SIGNATURES_END_SOON_SECONDS;

    fn record(name: &str, code: u16, octets: &[u8]) -> Record {
        let data = RecordData::of_primary(code, octets).or_else(|| RecordData::of_wire(code, octets));
        Record {
            id: RecordId::from_bytes([1; 16]),
            zone: ZoneId::from_bytes([2; 16]),
            name: DnsName::parse(name).unwrap(),
            data: data.unwrap(),
            ttl: Ttl::transferred(60),
            proxied: false,
            flatten: false,
            comment: None,
            tags: Vec::new(),
            created_at: NOW,
            modified_at: NOW,
        }
    }

    /// A signature of this type by a key of this zone that ends so many seconds from now.
    fn rrsig_by(signer: &str, key: &[u8], (name, covered, seconds): (&str, u16, i64)) -> Record {
        let end = u32::try_from(NOW.as_seconds() + seconds).unwrap();
        let head = [&covered.to_be_bytes()[..], &[13, 2, 0, 0, 0, 60], &end.to_be_bytes(), &[0; 4]].concat();
        let signer = DnsName::parse(signer).unwrap().wire();
        record(name, rtype::RRSIG, &[&head[..], &key_tag(key).to_be_bytes(), &signer, &[7; 64]].concat())
    }

    fn rrsig(name: &str, covered: u16, seconds: i64) -> Record {
        rrsig_by(APEX, &KEY, (name, covered, seconds))
    }

    /// A record, and its signature for two days.
    fn signed(name: &str, code: u16, octets: &[u8]) -> Vec<Record> {
        vec![record(name, code, octets), rrsig(name, code, 2 * DAY)]
    }

    fn key() -> Vec<Record> {
        signed(APEX, rtype::DNSKEY, &KEY)
    }

    fn soa(seconds: i64) -> Vec<Record> {
        vec![rrsig(APEX, rtype::SOA, seconds)]
    }

    fn nsec() -> Vec<Record> {
        signed(APEX, rtype::NSEC, b"\x00\x00\x01\x40")
    }

    /// What says that names are hashed so often more, by flags, and the record of the apex.
    fn hashed(iterations: u8, flags: u8, of: &str) -> Vec<Record> {
        let hash = nsec3::hash(&DnsName::parse(of).unwrap().wire(), &[], iterations.into());
        let label: String = hash
            .chunks(5)
            .flat_map(|group| {
                let number = group.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
                let digit = move |at: u32| usize::try_from(number >> (5 * at) & 31).unwrap();
                (0..8).rev().map(move |at| char::from(nsec3::DIGITS[digit(at)]))
            })
            .collect();
        let parameters = [1, flags, 0, iterations, 0];
        let link = [&[1, 0, 0, iterations, 0, 20][..], &hash, b"\x00\x01\x40"].concat();
        let owner = format!("{label}.{APEX}");
        [signed(APEX, rtype::NSEC3PARAM, &parameters), signed(&owner, rtype::NSEC3, &link)].concat()
    }

    fn problem(records: &[Vec<Record>], left_out: u32) -> Option<PresignedProblem> {
        let apex = ZoneName::parse(APEX).unwrap();
        let came = Some(judge(&apex, records.concat().iter(), NOW));
        Presigned { since: NOW, came }.problem(left_out, NOW)
    }

    #[test]
    fn what_is_wrong_with_a_zone_that_came_is_told_the_worst_first() {
        let ends = |seconds| NOW.plus_seconds(seconds);
        for (records, left_out, expected) in [
            (vec![], 0, Some(PresignedProblem::Unsigned)),
            (vec![key(), nsec()], 0, Some(PresignedProblem::Unsigned)),
            (vec![soa(2 * DAY), nsec()], 0, Some(PresignedProblem::Unsigned)),
            (vec![key(), vec![rrsig(APEX, rtype::NS, 2 * DAY)]], 0, Some(PresignedProblem::Unsigned)),
            (vec![key(), soa(2 * DAY)], 0, Some(PresignedProblem::Undenied)),
            (vec![key(), soa(2 * DAY), nsec()], 0, None),
            (vec![key(), soa(2 * DAY), hashed(150, 0, APEX)], 0, None),
            (vec![key(), soa(2 * DAY), hashed(151, 0, APEX)], 0, Some(PresignedProblem::Iterations(151))),
            (vec![key(), soa(0), nsec()], 0, Some(PresignedProblem::Expired(ends(0)))),
            (vec![key(), soa(DAY), nsec()], 1, Some(PresignedProblem::EndsSoon(ends(DAY)))),
            (vec![key(), soa(2 * DAY), nsec()], 3, Some(PresignedProblem::LeftOut(3))),
            // One that has ended beside one that has not, of the same set and of another.
            (vec![key(), soa(-9), soa(2 * DAY), nsec()], 0, None),
            (
                vec![
                    key(),
                    soa(2 * DAY),
                    nsec(),
                    vec![record("a.example.com", 1, &[192, 0, 2, 1])],
                    vec![rrsig("a.example.com", 1, -9)],
                ],
                0,
                Some(PresignedProblem::Expired(ends(-9))),
            ),
        ] {
            assert_eq!(problem(&records, left_out), expected, "{records:?}");
            if let Some(problem) = expected {
                assert!(PresignedProblem::NAMES.contains(&problem.name()) && !problem.to_string().is_empty());
            }
        }
    }

    #[test]
    fn names_are_denied_by_what_they_are_answered_with() {
        let denial = |records: Vec<Vec<Record>>| {
            let records = [records, vec![key(), soa(2 * DAY)]].concat().concat();
            let content = judge(&ZoneName::parse(APEX).unwrap(), records.iter(), NOW);
            (content.denial, content.iterations)
        };
        assert_eq!(denial(vec![hashed(9, 0, APEX), nsec()]), (Some(Denial::Nsec3), 0));
        // A chain that is not whole yet, that has not the apex, or that is hashed too often is not used.
        assert_eq!(denial(vec![hashed(9, 1, APEX), nsec()]), (Some(Denial::Nsec), 0));
        assert_eq!(denial(vec![hashed(9, 0, "a.example.com"), nsec()]), (Some(Denial::Nsec), 0));
        assert_eq!(denial(vec![hashed(151, 0, APEX), nsec()]), (Some(Denial::Nsec), 0));
        assert_eq!(denial(vec![hashed(9, 1, APEX)]), (None, 0));
        assert_eq!(denial(vec![signed(APEX, rtype::NSEC3PARAM, &[1, 0, 0, 9, 0])]), (None, 0), "no records");
        assert_eq!(denial(vec![signed("a.example.com", rtype::NSEC, b"\x00\x00\x01\x40")]), (None, 0));
    }

    #[test]
    fn what_is_answered_unsigned_is_counted_and_what_is_hidden_is_not() {
        const ADDRESS: [u8; 4] = [192, 0, 2, 1];
        let sound = || vec![key(), soa(2 * DAY), nsec()];
        let with = |records: Vec<Record>| problem(&[sound(), vec![records]].concat(), 0);
        let plain = |name: &str, code, octets: &[u8]| vec![record(name, code, octets)];
        let unsigned = |count| Some(PresignedProblem::UnsignedSets(count));
        assert_eq!(with(plain("a.example.com", 1, &ADDRESS)), unsigned(1));
        assert_eq!(with(signed("a.example.com", 1, &ADDRESS)), None);
        assert_eq!(with(plain("*.example.com", rtype::NS, b"\x02ns\x00")), unsigned(1));
        let two = [&ADDRESS, &[192, 0, 2, 2]].map(|octets| record("a.example.com", 1, octets)).to_vec();
        assert_eq!(with(two), unsigned(1));
        // The keys of the zone themselves.
        let keys = plain(APEX, rtype::DNSKEY, &KEY);
        assert_eq!(problem(&[keys, soa(2 * DAY), nsec()], 0), unsigned(1));
        // By a key that the zone has not, or of another zone; by none.
        for by in [(APEX, [1, 1, 3, 13, 10]), ("example.org", KEY)] {
            let signature = rrsig_by(by.0, &by.1, ("a.example.com", 1, 2 * DAY));
            assert_eq!(with([plain("a.example.com", 1, &ADDRESS), vec![signature]].concat()), unsigned(1));
        }
        let no_zone_key = signed(APEX, rtype::DNSKEY, &[0, 1, 3, 13, 9]);
        assert_eq!(problem(&[no_zone_key, soa(2 * DAY), nsec()], 0), Some(PresignedProblem::Unsigned));
        // A delegation has its DS set and its denial signed, and nothing else is the zone's own.
        let cut = || {
            let servers = plain("sub.example.com", rtype::NS, b"\x02ns\x03sub\x07example\x03com\x00");
            let glue = plain("ns.sub.example.com", 1, &ADDRESS);
            [servers, glue, plain("sub.example.com", 1, &ADDRESS)].concat()
        };
        assert_eq!(with(cut()), None);
        let ds = plain("sub.example.com", rtype::DS, &[&[9, 67, 13, 2][..], &[7; 32]].concat());
        assert_eq!(with([cut(), ds].concat()), unsigned(1));
        // Names below a DNAME record are found elsewhere.
        let moved = signed("old.example.com", rtype::DNAME, b"\x03new\x00");
        assert_eq!(with([moved, plain("a.b.old.example.com", 1, &ADDRESS)].concat()), None);
        // A signature that nothing is there for is answered to nobody.
        assert_eq!(with(vec![rrsig("gone.example.com", 1, -9)]), None);
    }

    #[test]
    fn a_zone_that_is_not_served_is_not_in_order_however_it_is_signed() {
        let records = [key(), soa(2 * DAY), nsec()].concat();
        let came = Some(judge(&ZoneName::parse(APEX).unwrap(), records.iter(), NOW));
        let soa = PrimarySoa { ttl: 60, data: vec![0; 22] };
        let mut secondary = SecondaryZone {
            soa: Some(soa),
            presigned: Some(Presigned { since: NOW, came }),
            ..SecondaryZone::new(ZoneId::from_bytes([2; 16]))
        };
        assert_eq!(secondary.signing_problem(NOW), None);
        secondary.expired = true;
        assert_eq!(secondary.signing_problem(NOW), Some(PresignedProblem::Unserved));
        secondary.presigned = None;
        assert_eq!(secondary.signing_problem(NOW), None, "it is none of these");
    }

    #[test]
    fn signatures_that_are_cut_off_are_of_no_use() {
        assert!(Signature::of(&[0; 18]).is_none());
        assert_eq!(
            Signature::of(&[&[0, 1][..], &[0; 17]].concat()).map(|signature| signature.covered),
            Some(1)
        );
    }
}

//! Keys, their digests, and whether a signature is theirs. What is costly here is counted by who calls.

use aws_lc_rs::{digest, signature};

use crate::{
    message::{Record, rtype},
    name::Name,
    rrset::{RrSet, Signature},
};

/// The flag of a key that signs a zone.
const ZONE_KEY: u16 = 0x0100;
/// That of one that was revoked (RFC 5011).
const REVOKED: u16 = 0x0080;
/// That of one that signs keys (RFC 4034, 2.1.1).
const ENTRY_POINT: u16 = 0x0001;
/// Keys with one tag and algorithm that are tried: tags collide by chance, but not so often (CVE-2023-50387, KeyTrap).
const SAME_TAG_MAX: usize = 2;
/// Signatures of one set that are tried: a zone with two algorithms in a roll-over has four.
const SIGNATURES_MAX: usize = 4;
/// DS records of a zone that count: each is compared with keys by a hash, and a zone in a roll-over has four.
const DS_MAX: usize = 8;
/// Clocks differ by this many seconds at most.
const SKEW_SECONDS: u32 = 60;

/// A key of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) tag: u16,
    pub(crate) algorithm: u8,
    data: Box<[u8]>,
}

/// Extended errors (RFC 8914, and the registry) that are said here. Filtered (17) is not: what a policy blocks is blocked by who
/// runs the resolver (15), never because the client asked for that.
pub(crate) mod ede {
    pub(crate) const OTHER: u16 = 0;
    pub(crate) const UNSUPPORTED_KEY: u16 = 1;
    pub(crate) const UNSUPPORTED_DIGEST: u16 = 2;
    pub(crate) const STALE: u16 = 3;
    pub(crate) const FORGED: u16 = 4;
    pub(crate) const BOGUS: u16 = 6;
    pub(crate) const EXPIRED: u16 = 7;
    pub(crate) const NOT_YET_VALID: u16 = 8;
    pub(crate) const DNSKEY_MISSING: u16 = 9;
    pub(crate) const RRSIGS_MISSING: u16 = 10;
    pub(crate) const NSEC_MISSING: u16 = 12;
    pub(crate) const BLOCKED: u16 = 15;
    pub(crate) const PROHIBITED: u16 = 18;
    pub(crate) const STALE_NXDOMAIN: u16 = 19;
    pub(crate) const NOT_AUTHORITATIVE: u16 = 20;
    pub(crate) const NO_AUTHORITY: u16 = 22;
    pub(crate) const NETWORK: u16 = 23;
    pub(crate) const ITERATIONS: u16 = 27;
    pub(crate) const SYNTHESIZED: u16 = 29;
}

impl Key {
    /// The key of a DNSKEY record's data, if it may sign a zone.
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        Self::with(data, false)
    }

    /// The key of a DNSKEY record's data, if it may sign a zone and is revoked or not.
    fn with(data: &[u8], is_revoked: bool) -> Option<Self> {
        let [high, low, 3, algorithm, _, ..] = *data else { return None };
        let flags = u16::from_be_bytes([high, low]);
        (flags & ZONE_KEY != 0 && (flags & REVOKED != 0) == is_revoked).then(|| Self {
            tag: tag(data),
            algorithm,
            data: data.into(),
        })
    }

    /// Whether a DS record's data may be this key's digest: it has its tag and algorithm.
    fn may_be_of(&self, ds: &[u8]) -> bool {
        matches!(ds, [high, low, algorithm, ..]
            if u16::from_be_bytes([*high, *low]) == self.tag && *algorithm == self.algorithm)
    }

    /// Whether a DS record's data is this key's digest.
    fn is_of(&self, owner: &Name, ds: &[u8]) -> bool {
        let [_, _, _, kind, digest @ ..] = ds else { return false };
        let Some(hash) = hash(*kind) else { return false };
        let mut context = digest::Context::new(hash);
        context.update(owner.wire());
        context.update(&self.data);
        context.finish().as_ref() == digest
    }

    /// Whether a signature may be this key's: it has its tag and algorithm.
    fn fits(&self, signature: &Signature) -> bool {
        self.tag == signature.key_tag && self.algorithm == signature.algorithm
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = &self.data[4..];
        let curve = |algorithm: &'static dyn signature::VerificationAlgorithm, prefix: &[u8]| {
            let key = [prefix, key].concat();
            signature::UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        let rsa = |parameters: &'static signature::RsaParameters| {
            let (length, rest) = match key {
                [0, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
                [length, rest @ ..] => (usize::from(*length), rest),
                [] => return false,
            };
            let Some((e, n)) = rest.split_at_checked(length) else { return false };
            signature::RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
        };
        match self.algorithm {
            8 => rsa(&signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY),
            10 => rsa(&signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY),
            13 => curve(&signature::ECDSA_P256_SHA256_FIXED, &[4]),
            14 => curve(&signature::ECDSA_P384_SHA384_FIXED, &[4]),
            15 => curve(&signature::ED25519, &[]),
            _ => false,
        }
    }
}

/// Algorithms that are checked. Those with SHA-1 are not: what only they sign is insecure (RFC 9905).
const fn is_supported(algorithm: u8) -> bool {
    matches!(algorithm, 8 | 10 | 13 | 14 | 15)
}

fn hash(kind: u8) -> Option<&'static digest::Algorithm> {
    match kind {
        2 => Some(&digest::SHA256),
        4 => Some(&digest::SHA384),
        _ => None,
    }
}

/// RFC 4034, appendix B.
pub(crate) fn tag(data: &[u8]) -> u16 {
    let sum: u32 =
        data.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    ((sum + (sum >> 16)) & 0xFFFF) as u16
}

/// The DS data among these that can be used; an extended error if there is none, for which the zone is insecure.
pub(crate) fn usable(ds: &[Box<[u8]>]) -> Result<Vec<Box<[u8]>>, u16> {
    let supported: Vec<_> = ds.iter().filter(|ds| ds.len() > 4 && is_supported(ds[2])).collect();
    if supported.is_empty() {
        return Err(ede::UNSUPPORTED_KEY);
    }
    let usable = supported.into_iter().filter(|ds| hash(ds[3]).is_some());
    let usable: Vec<_> = usable.take(DS_MAX).cloned().collect();
    if usable.is_empty() { Err(ede::UNSUPPORTED_DIGEST) } else { Ok(usable) }
}

/// How many checks of signatures and digests are left.
///
/// Who runs out of them has found out nothing: what is said here then is for nobody to remember, and who calls has to ask
/// the budget.
pub(crate) trait Budget {
    /// Takes one; `false` if there is none.
    fn take_check(&self) -> bool;
}

/// The keys of a zone's DNSKEY set, if one that its DS records know signs it.
pub(crate) fn trusted(
    set: &mut RrSet,
    ds: &[Box<[u8]>],
    now: u32,
    budget: &impl Budget,
) -> Result<Vec<Key>, u16> {
    let keys = keys_of(set);
    let anchored = anchored(set, &keys, ds, budget)?;
    let zone = set.owner.clone();
    verify(set, &zone, &anchored, now, budget)?;
    Ok(keys)
}

/// The newest of the signatures of a DNSKEY set that are good, and by keys that these DS data know.
pub(crate) fn newest<'a>(
    set: &'a RrSet,
    ds: &[Box<[u8]>],
    now: u32,
    budget: &impl Budget,
) -> Result<&'a Signature, u16> {
    let anchored = anchored(set, &keys_of(set), ds, budget)?;
    let mut newest: Result<&Signature, u16> = Err(ede::RRSIGS_MISSING);
    let theirs =
        signatures(set, &set.owner).filter(|signature| anchored.iter().any(|key| key.fits(signature)));
    for signature in theirs.take(SIGNATURES_MAX) {
        let is_newer = |than: &Signature| signature.inception.wrapping_sub(than.inception).cast_signed() > 0;
        match (check(set, signature, &anchored, now, budget), newest) {
            (Ok(()), Ok(known)) if !is_newer(known) => {}
            (Ok(()), _) => newest = Ok(signature),
            (Err(why), Err(_)) => newest = Err(why),
            (Err(_), Ok(_)) => {}
        }
    }
    newest
}

/// Whether a key of a DNSKEY set with the flag of a revoked one has signed that set (RFC 5011, 2.1).
pub(crate) fn is_revoked(set: &RrSet, revoked: &[u8], now: u32, budget: &impl Budget) -> bool {
    let Some(key) = Key::with(revoked, true) else { return false };
    let theirs = signatures(set, &set.owner).filter(|signature| key.fits(signature)).take(SIGNATURES_MAX);
    let key = std::slice::from_ref(&key);
    theirs.into_iter().any(|signature| check(set, signature, key, now, budget).is_ok())
}

/// The keys of a DNSKEY set that may sign its zone.
fn keys_of(set: &RrSet) -> Vec<Key> {
    set.data.iter().filter_map(|data| Key::parse(data)).collect()
}

/// Those of them that DS data know: at least one.
fn anchored(set: &RrSet, keys: &[Key], ds: &[Box<[u8]>], budget: &impl Budget) -> Result<Vec<Key>, u16> {
    let mut anchored: Vec<Key> = Vec::new();
    for ds in ds {
        let alike = keys.iter().filter(|key| key.may_be_of(ds)).take(SAME_TAG_MAX);
        for key in alike.filter(|key| !anchored.contains(key)).collect::<Vec<_>>() {
            if !budget.take_check() {
                return Err(ede::BOGUS);
            }
            if key.is_of(&set.owner, ds) {
                anchored.push(key.clone());
            }
        }
    }
    if anchored.is_empty() { Err(ede::DNSKEY_MISSING) } else { Ok(anchored) }
}

/// The signatures of a set that its zone has made, by algorithms that are checked.
fn signatures<'a>(set: &'a RrSet, zone: &'a Name) -> impl Iterator<Item = &'a Signature> {
    let depth = set.owner.depth();
    set.signatures.iter().filter(move |signature| {
        signature.signer == *zone
            && usize::from(signature.labels) <= depth
            && is_supported(signature.algorithm)
    })
}

/// Checks a set by the keys of the zone that it is in; how many labels its name has without what a wildcard stood for.
/// Its TTL becomes what the signature allows.
pub(crate) fn verify(
    set: &mut RrSet,
    zone: &Name,
    keys: &[Key],
    now: u32,
    budget: &impl Budget,
) -> Result<usize, u16> {
    // Signatures of other algorithms are none, but say so.
    let has_others = set.signatures.iter().any(|it| it.signer == *zone && !is_supported(it.algorithm));
    let mut why = if has_others { ede::UNSUPPORTED_KEY } else { ede::RRSIGS_MISSING };
    let mut good = None;
    for signature in signatures(set, zone).take(SIGNATURES_MAX) {
        match check(set, signature, keys, now, budget) {
            Ok(()) => {
                let left = signature.expiration.wrapping_sub(now).cast_signed().max(0).cast_unsigned();
                good = Some((usize::from(signature.labels), signature.original_ttl.min(left)));
                break;
            }
            Err(it) => why = it,
        }
    }
    let (labels, ttl) = good.ok_or(why)?;
    set.ttl = set.ttl.min(ttl);
    Ok(labels)
}

/// Whether one of these keys has made a signature of a set, and it is good now.
fn check(
    set: &RrSet,
    signature: &Signature,
    keys: &[Key],
    now: u32,
    budget: &impl Budget,
) -> Result<(), u16> {
    // RFC 1982's arithmetic: a difference of less than half of all numbers.
    if signature.expiration.wrapping_sub(now.wrapping_sub(SKEW_SECONDS)).cast_signed() < 0 {
        return Err(ede::EXPIRED);
    }
    if now.wrapping_add(SKEW_SECONDS).wrapping_sub(signature.inception).cast_signed() < 0 {
        return Err(ede::NOT_YET_VALID);
    }
    let mut tried = keys.iter().filter(|key| key.fits(signature)).take(SAME_TAG_MAX).peekable();
    if tried.peek().is_none() {
        return Err(ede::DNSKEY_MISSING);
    }
    let message = signed(set, signature);
    if tried.any(|key| budget.take_check() && key.verifies(&message, signature.signature())) {
        Ok(())
    } else {
        Err(ede::BOGUS)
    }
}

/// What a signature signs (RFC 4034, 3.1.8.1).
fn signed(set: &RrSet, signature: &Signature) -> Vec<u8> {
    let mut message = signature.head().to_vec();
    let labels = usize::from(signature.labels);
    let stars: &[u8] = if labels < set.owner.depth() { b"\x01*" } else { b"" };
    let owner = [stars, set.owner.suffix(labels).wire()].concat();
    for data in &set.data {
        message.extend_from_slice(&owner);
        message.extend_from_slice(&set.rtype.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        message.extend_from_slice(&signature.original_ttl.to_be_bytes());
        message.extend_from_slice(&u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
        message.extend_from_slice(data);
    }
    message
}

/// The DS data by which a key that the operator trusts is known.
pub(crate) fn digest_of(owner: &Name, data: &[u8]) -> Option<Box<[u8]>> {
    let key = Key::parse(data)?;
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(owner.wire());
    context.update(data);
    Some([&key.tag.to_be_bytes()[..], &[key.algorithm, 2], context.finish().as_ref()].concat().into())
}

/// The DS data by which a key of the root is known.
pub(crate) fn digest_of_root(data: &[u8]) -> Option<Box<[u8]>> {
    digest_of(&Name::root(), data)
}

/// Whether DS data of the root are the digest of this key.
pub(crate) fn is_digest(ds: &[u8], data: &[u8]) -> bool {
    Key::parse(data).is_some_and(|key| key.may_be_of(ds) && key.is_of(&Name::root(), ds))
}

/// Whether a key may become a trust anchor: it signs keys, is not revoked, and can be checked (RFC 5011, 2 and 6).
pub(crate) fn may_anchor(data: &[u8]) -> bool {
    let is_entry_point = data.get(1).is_some_and(|low| u16::from(*low) & ENTRY_POINT != 0);
    is_entry_point && Key::parse(data).is_some_and(|key| is_supported(key.algorithm))
}

/// The same key, revoked.
pub(crate) fn with_revocation(data: &[u8]) -> Box<[u8]> {
    let mut data: Box<[u8]> = data.into();
    if let Some(low) = data.get_mut(1) {
        *low |= REVOKED.to_be_bytes()[1];
    }
    data
}

/// What a key was that is revoked; `None` if it is none, or not revoked.
pub(crate) fn without_revocation(data: &[u8]) -> Option<Box<[u8]>> {
    let mut data = Key::with(data, true)?.data;
    data[1] &= !REVOKED.to_be_bytes()[1];
    may_anchor(&data).then_some(data)
}

/// A set as records, its signatures behind it if they are wanted.
pub(crate) fn records(set: &RrSet, with_signatures: bool) -> impl Iterator<Item = Record> + '_ {
    let record =
        |rtype, data: &[u8]| Record { owner: set.owner.clone(), rtype, ttl: set.ttl, data: data.into() };
    let signatures = set.signatures.iter().filter(move |_| with_signatures);
    set.data
        .iter()
        .map(move |data| record(set.rtype, data))
        .chain(signatures.map(move |signature| record(rtype::RRSIG, &signature.data)))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Counted(Cell<usize>);

    impl Budget for Counted {
        fn take_check(&self) -> bool {
            self.0.set(self.0.get() + 1);
            true
        }
    }

    #[test]
    fn a_set_that_only_algorithms_sign_that_are_not_checked_says_so() {
        let signed = |algorithm: u8| {
            let mut rrsig = vec![0, 1, algorithm, 0];
            rrsig.extend([300_u32, 200, 100].map(u32::to_be_bytes).concat());
            rrsig.extend([0, 7, 0, 1, 2, 3]);
            let signatures = vec![Signature::parse(&rrsig).unwrap()];
            RrSet { owner: Name::root(), rtype: 1, ttl: 1, data: vec![[1; 4].into()], signatures }
        };
        for (algorithm, why) in
            [(5, ede::UNSUPPORTED_KEY), (16, ede::UNSUPPORTED_KEY), (13, ede::DNSKEY_MISSING)]
        {
            let counted = Counted(Cell::new(0));
            assert_eq!(verify(&mut signed(algorithm), &Name::root(), &[], 150, &counted), Err(why));
        }
    }

    #[test]
    fn digests_of_many_alike_keys_cost_a_bounded_amount() {
        // Words change places, and the sum stays.
        let key = |at: usize| {
            let mut data = vec![0; 4 + 400];
            data[..4].copy_from_slice(&[1, 1, 3, 13]);
            data[4 + 2 * at] = 1;
            data.into_boxed_slice()
        };
        let data: Vec<Box<[u8]>> = (0..200).map(key).collect();
        let tag = tag(&data[0]).to_be_bytes();
        let ds = |number: u8| [&tag[..], &[13, 2], &[number; 32]].concat().into_boxed_slice();
        let ds = usable(&(0..200).map(ds).collect::<Vec<_>>()).unwrap();
        let owner = Name::root();
        let mut set = RrSet { owner, rtype: 48, ttl: 1, data, signatures: Vec::new() };
        let counted = Counted(Cell::new(0));
        assert_eq!(trusted(&mut set, &ds, 0, &counted), Err(ede::DNSKEY_MISSING));
        assert_eq!(counted.0.get(), DS_MAX * SAME_TAG_MAX);
    }
}

//! Signatures, made when they are asked for and kept while they are fresh.
//!
//! They are kept by the digest of what they sign, so that a set that is as it was is not signed again when its zone changes; and
//! those of sets that lie in a compiled zone by their place, too, where they are found without a look at what they sign.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::{
    digest::{Context, SHA256},
    rand::SystemRandom,
};
use proxima_chassis::Clock;
use quick_cache::sync::Cache;
use smallvec::SmallVec;

use super::signer::{Begin, SIGNATURE_OCTETS, Signer, SigningPair, Validity, put_validity};
use crate::{
    rrset::{AsSet, Records, Set},
    wire::rtype,
    zone::Place,
};

/// Octets of the RRSIG record of one key, of a zone whose name has 42 octets; others take a piece of the heap.
const RRSIG_OCTETS: usize = 2 + size_of::<Begin>() + 42 + SIGNATURE_OCTETS;
/// Signatures that are kept in either way: some 12 MiB and some 9. What is asked for once, as the denials of made-up names
/// are, passes through without pushing out what is in use.
const SIGNATURES_MAX: usize = 65_536;
/// How long before it is made a signature begins to be good, in seconds: for validators whose clocks are behind.
const BACKDATED_SECONDS: i64 = 3_600;
/// How long after it is made a signature is good, in seconds: a server that is cut off from the log goes on signing, so
/// this bounds only for how long a copied answer can be replayed.
const VALID_SECONDS: i64 = 7 * 86_400;
/// How long a signature is handed out, in seconds. After that as many days are left as any validator needs.
const FRESH_SECONDS: i64 = 86_400;
const _: () = assert!(
    VALID_SECONDS - FRESH_SECONDS >= 2 * proxima_model::limits::TTL_SECONDS_MAX as i64,
    "a signature outlives whatever it was handed out with"
);

/// The signatures that one server made.
pub(crate) struct Signatures {
    /// Made with the first one: a server without signed zones has none.
    kept: OnceLock<Caches>,
    clock: Arc<dyn Clock>,
    random: SystemRandom,
}

struct Caches {
    /// By the digest of what is signed, but for the validity, and of the key.
    signed: Cache<[u8; 32], Kept>,
    /// By where what is signed lies, and which of its zone's keys signs it: a zone that gets other keys is compiled anew.
    placed: Cache<(Place, u16), Kept>,
}

/// The RRSIG records of a set, one for each key that signs.
pub(crate) struct Rrsigs {
    /// In seconds: the set's.
    pub(crate) ttl: u32,
    /// As those of an [`RrSet`](crate::rrset::RrSet).
    octets: SmallVec<[u8; RRSIG_OCTETS]>,
}

#[derive(Clone, Copy)]
struct Kept {
    /// In seconds since 1970.
    made_at: i64,
    signature: [u8; SIGNATURE_OCTETS],
}

impl Kept {
    const fn validity(made_at: i64) -> Validity {
        Validity {
            inception: wrapped(made_at - BACKDATED_SECONDS),
            expiration: wrapped(made_at + VALID_SECONDS),
        }
    }

    /// Whether it may be handed out: not if the clock was ahead when it was made.
    const fn is_fresh(self, now: i64) -> bool {
        self.made_at - BACKDATED_SECONDS <= now && now < self.made_at + FRESH_SECONDS
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "modulo 2^32 is what RFC 4034 asks for"
)]
const fn wrapped(seconds: i64) -> u32 {
    seconds as u32
}

impl Signatures {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { kept: OnceLock::new(), clock, random: SystemRandom::new() }
    }

    /// The RRSIG records of a set, and how many of them were made for it. `None` if the cryptographic library fails.
    ///
    /// `place` is where the set lies, if it is `owner`'s in a compiled zone.
    pub(crate) fn of(
        &self,
        signer: &Signer,
        apex: &[u8],
        (owner, set, place): (&[u8], Set<'_>, Option<Place>),
    ) -> Option<(Rrsigs, u16)> {
        let now = self.clock.now().as_seconds();
        let mut made = 0;
        let mut rrsigs = Rrsigs { ttl: set.ttl, octets: SmallVec::new() };
        for (key, number) in signer.keys.iter().zip(0..) {
            let caches = self.kept.get_or_init(Caches::default);
            let place = place.map(|place| (place, number));
            let known = place.and_then(|place| caches.placed.get(&place)).filter(|kept| kept.is_fresh(now));
            let kept = match known {
                Some(kept) => kept,
                None => {
                    let (kept, is_new) = self.by(caches, key, apex, (owner, set), now)?;
                    made += u16::from(is_new);
                    place.into_iter().for_each(|place| caches.placed.insert(place, kept));
                    kept
                }
            };
            rrsigs.push(&key.begin(owner, set, Kept::validity(kept.made_at)), apex, &kept.signature);
        }
        Some((rrsigs, made))
    }

    /// The signature of one key, found by what it signs or made anew, and whether it was.
    fn by(
        &self,
        caches: &Caches,
        key: &SigningPair,
        apex: &[u8],
        (owner, set): (&[u8], Set<'_>),
        now: i64,
    ) -> Option<(Kept, bool)> {
        let nothing = Validity { inception: 0, expiration: 0 };
        let mut octets = key.signed_octets(apex, owner, set, nothing);
        let mut context = Context::new(&SHA256);
        context.update(&octets);
        context.update(&key.public);
        let name: [u8; 32] = context.finish().as_ref().try_into().ok()?;
        if let Some(kept) = caches.signed.get(&name).filter(|kept| kept.is_fresh(now)) {
            return Some((kept, false));
        }
        put_validity(&mut octets, Kept::validity(now));
        let kept = Kept { made_at: now, signature: key.sign(&self.random, &octets)? };
        caches.signed.insert(name, kept);
        Some((kept, true))
    }
}

impl Default for Caches {
    fn default() -> Self {
        Self { signed: Cache::new(SIGNATURES_MAX), placed: Cache::new(SIGNATURES_MAX) }
    }
}

impl Rrsigs {
    fn push(&mut self, begin: &Begin, apex: &[u8], signature: &[u8; SIGNATURE_OCTETS]) {
        let length = begin.len() + apex.len() + signature.len();
        let length = u16::try_from(length).expect("a name has 255 octets at the most");
        for part in [&length.to_ne_bytes()[..], begin, apex, signature] {
            self.octets.extend_from_slice(part);
        }
    }
}

impl AsSet for Rrsigs {
    fn as_set(&self) -> Set<'_> {
        Set { rtype: rtype::RRSIG, ttl: self.ttl, records: Records::packed(&self.octets) }
    }
}

impl fmt::Debug for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.kept.get().map_or(0, |caches| caches.signed.len());
        f.debug_struct("Signatures").field("kept", &kept).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_handed_out_for_a_day_and_not_before_it_is_good() {
        let kept = Kept { made_at: 1_000_000, signature: [0; 64] };
        for (now, expected) in
            [(1_000_000, true), (996_400, true), (996_399, false), (1_086_399, true), (1_086_400, false)]
        {
            assert_eq!(kept.is_fresh(now), expected, "{now}");
        }
    }

    #[test]
    fn validity_goes_on_around_the_clock_of_32_bits() {
        let validity = Kept::validity(1 << 32);
        assert_eq!((validity.inception, validity.expiration), (u32::MAX - 3_599, 604_800));
    }
}

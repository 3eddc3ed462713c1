//! Signatures, made when they are asked for and kept while they are fresh.

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

use super::signer::{SIGNATURE_OCTETS, Signer, SigningPair, Validity, put_validity};
use crate::{
    rrset::{RrSet, Set},
    wire::rtype,
};

/// Signatures that are kept: some 12 MiB. What is asked for once, as the denials of made-up names are, passes through
/// without pushing out what is in use.
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
    /// By the digest of what is signed, but for the validity, and of the key. Made with the first one: a server without
    /// signed zones has none.
    kept: OnceLock<Cache<[u8; 32], Kept>>,
    clock: Arc<dyn Clock>,
    random: SystemRandom,
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

    /// The RRSIG records of a set, one for each key that signs, and how many were made for it. `None` if the
    /// cryptographic library fails.
    pub(crate) fn of(
        &self,
        signer: &Signer,
        apex: &[u8],
        owner: &[u8],
        set: Set<'_>,
    ) -> Option<(RrSet, u16)> {
        let now = self.clock.now().as_seconds();
        let mut made = 0;
        let data = signer.keys.iter().map(|key| {
            let (data, is_new) = self.by(key, apex, owner, set, now)?;
            made += u16::from(is_new);
            Some(data)
        });
        let data = data.collect::<Option<Vec<_>>>()?;
        Some((RrSet::of(rtype::RRSIG, set.ttl, data)?, made))
    }

    /// The data of the RRSIG record of one key, and whether it was made anew.
    fn by(
        &self,
        key: &SigningPair,
        apex: &[u8],
        owner: &[u8],
        set: Set<'_>,
        now: i64,
    ) -> Option<(Vec<u8>, bool)> {
        let nothing = Validity { inception: 0, expiration: 0 };
        let (mut octets, prefix) = key.signed_octets(apex, owner, set, nothing);
        let mut context = Context::new(&SHA256);
        context.update(&octets);
        context.update(&key.public);
        let name: [u8; 32] = context.finish().as_ref().try_into().ok()?;
        let cache = self.kept.get_or_init(|| Cache::new(SIGNATURES_MAX));
        let known = cache.get(&name).filter(|kept| kept.is_fresh(now));
        let kept = match known {
            Some(kept) => kept,
            None => {
                put_validity(&mut octets, Kept::validity(now));
                let kept = Kept { made_at: now, signature: key.sign(&self.random, &octets)? };
                cache.insert(name, kept);
                kept
            }
        };
        octets.truncate(prefix);
        put_validity(&mut octets, Kept::validity(kept.made_at));
        octets.extend_from_slice(&kept.signature);
        Some((octets, known.is_none()))
    }
}

impl fmt::Debug for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.kept.get().map_or(0, Cache::len);
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

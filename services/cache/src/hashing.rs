//! Hashes of names that are kept: URLs, tags, hosts, prefixes.
//!
//! They are keyed, so that nobody can choose names that collide. Without a disk the key is new in every process; what
//! lies on a disk is found again by the key that lies beside it ([`settle`]). One process has one key.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::OnceLock,
};

use siphasher::sip::SipHasher13;

/// The key of the hashes.
pub(crate) type Seed = [u64; 2];

static SEED: OnceLock<Seed> = OnceLock::new();

/// A seed that nobody can guess.
fn random() -> Seed {
    // Keyed by the system's random numbers, each for itself.
    [RandomState::new().hash_one(0_u8), RandomState::new().hash_one(1_u8)]
}

/// Takes this seed for the process, unless it has one already; which one it has.
pub(crate) fn settle(wanted: Option<Seed>) -> Seed {
    *SEED.get_or_init(|| wanted.unwrap_or_else(random))
}

/// A hasher with the process's key.
pub(crate) fn hasher() -> SipHasher13 {
    let [first, second] = settle(None);
    SipHasher13::new_with_keys(first, second)
}

/// The hash of one value.
pub(crate) fn of(value: impl Hash) -> u64 {
    use std::hash::Hasher as _;

    let mut hasher = hasher();
    value.hash(&mut hasher);
    hasher.finish()
}

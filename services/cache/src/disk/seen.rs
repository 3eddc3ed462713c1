//! Which URLs were asked for lately: what is asked for once only is not worth a write.
//!
//! Two generations of bits. A URL that is in neither is seen for the first time; when so many were seen that chance
//! begins to say yes too often, the older generation is emptied and becomes the younger.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Bits of a generation: 32 KiB.
const BITS: usize = 1 << 18;
/// URLs of a generation. An eighth of the bits: of URLs that are new, about a quarter of those pass by chance.
const URLS: usize = BITS / 8;

/// The filter.
pub(super) struct Seen {
    generations: [Box<[AtomicU64]>; 2],
    /// URLs that the present generation has, counted on: how often it was full tells which it is.
    urls: AtomicUsize,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl Default for Seen {
    fn default() -> Self {
        let bits = || std::iter::repeat_with(AtomicU64::default).take(BITS / 64).collect();
        Self { generations: [bits(), bits()], urls: AtomicUsize::new(0) }
    }
}

impl Seen {
    /// Notes a URL; whether it was there already.
    #[expect(clippy::cast_possible_truncation, reason = "only some bits of the hash are wanted")]
    pub(super) fn again(&self, hash: u64) -> bool {
        let urls = self.urls.load(Ordering::Relaxed);
        let present = urls / URLS % 2;
        let (bit, mask) = (hash as usize % BITS, 1 << (hash % 64));
        let former = self.generations[1 - present][bit / 64].load(Ordering::Relaxed) & mask != 0;
        let known = self.generations[present][bit / 64].fetch_or(mask, Ordering::Relaxed) & mask != 0;
        if !known && (self.urls.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(URLS) {
            self.generations[1 - present].iter().for_each(|word| word.store(0, Ordering::Relaxed));
        }
        known || former
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hashing;

    #[test]
    fn a_url_is_known_from_the_second_time_on_until_many_others_came() {
        let seen = Seen::default();
        assert!(!seen.again(hashing::of("first")));
        assert!(seen.again(hashing::of("first")));
        let known = (0..URLS).filter(|n| seen.again(hashing::of(n))).count();
        assert!(known < URLS / 4, "{known} of {URLS} by chance");
        assert!(seen.again(hashing::of("first")), "one generation later it is still known");
        (0..3 * URLS).for_each(|n| {
            seen.again(hashing::of(("other", n)));
        });
        let forgotten = (0..1_000).filter(|n| !seen.again(hashing::of(("third", n)))).count();
        assert!(forgotten > 700, "{forgotten}: old generations are emptied");
    }
}

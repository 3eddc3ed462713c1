//! What kind of answers a folder of a site has been giving.
//!
//! Programs answer under URLs that nobody asks for twice: of such a URL nothing is known, but of its folder something
//! is. Where the last answers were not to be stored, the next one is not expected to be. An expectation decides only
//! how a fetch is run ([`stage::led`](crate::stage)), never whether its answer is stored: a wrong one costs little.
//! Folders share slots by their hashes, so that memory has a bound and nothing is ever cleaned up.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicU8, Ordering},
};

use crate::key::PrimaryKey;

/// Slots of the table: far more than folders that are busy at one time on one server.
const SLOTS: usize = 4_096;
/// After so many refused answers in a row, the next one is expected to be refused.
const IN_A_ROW: u8 = 2;

/// How many answers in a row were refused, of each folder.
#[derive(Debug)]
pub(crate) struct Expectations {
    slots: Box<[AtomicU8]>,
    hasher: RandomState,
}

impl Default for Expectations {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| AtomicU8::new(0)).collect(), hasher: RandomState::new() }
    }
}

impl Expectations {
    /// Whether the next answer is expected not to be stored.
    pub(crate) fn refusal(&self, key: &PrimaryKey) -> bool {
        self.slot(key).load(Ordering::Relaxed) >= IN_A_ROW
    }

    /// Notes that an answer was not to be stored, for a reason that is likely to last.
    pub(crate) fn note_refused(&self, key: &PrimaryKey) {
        let slot = self.slot(key);
        let row = slot.load(Ordering::Relaxed);
        // Two at once may count as one.
        if row < IN_A_ROW {
            slot.store(row + 1, Ordering::Relaxed);
        }
    }

    /// Notes that an answer was to be stored.
    pub(crate) fn note_storable(&self, key: &PrimaryKey) {
        let slot = self.slot(key);
        if slot.load(Ordering::Relaxed) > 0 {
            slot.store(0, Ordering::Relaxed);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the low bits of the hash are wanted")]
    fn slot(&self, key: &PrimaryKey) -> &AtomicU8 {
        let hash = self.hasher.hash_one((key.zone(), folder(key.url())));
        &self.slots[hash as usize % self.slots.len()]
    }
}

/// A URL up to the last slash of its path.
fn folder(url: &str) -> &str {
    let path = url.split_once('?').map_or(url, |(path, _)| path);
    path.rfind('/').map_or(path, |slash| &path[..slash])
}

#[cfg(test)]
mod tests {
    use proxima_model::ZoneId;

    use super::*;

    fn key(url: &str) -> PrimaryKey {
        PrimaryKey::of_url(ZoneId::from_bytes([1; 16]), url).expect("absolute")
    }

    #[test]
    fn a_folder_is_expected_to_go_on_as_it_did() {
        let expectations = Expectations::default();
        let known = key("https://a.example/api/items?after=/7/8");
        let next = key("https://a.example/api/other?x");
        assert!(!expectations.refusal(&next), "nothing is known yet");
        expectations.note_refused(&known);
        assert!(!expectations.refusal(&next), "once is not enough");
        expectations.note_refused(&known);
        assert!(expectations.refusal(&next));
        assert!(!expectations.refusal(&key("https://a.example/api/deeper/other")));
        expectations.note_storable(&next);
        assert!(!expectations.refusal(&known));
    }

    #[test]
    fn folders_end_at_the_last_slash_of_the_path() {
        for (url, expected) in [
            ("http://a.example/", "http://a.example"),
            ("http://a.example/x?y=/z", "http://a.example"),
            ("http://a.example/x/y", "http://a.example/x"),
        ] {
            assert_eq!(folder(url), expected, "{url}");
        }
    }
}

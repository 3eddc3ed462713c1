//! Which names may be zones': what keeps questions about names that nobody has from the store.
//!
//! ```text
//!  entry ──▶ announce ──▶ add ─┐
//!  a state comes into force ─▶ forget; learn ─▶ scan ─┴─▶ Filter ◀── may_be ── CompiledZones::find
//! ```
//!
//! A Bloom filter whose bits for a name lie in one word (Putze, Sanders, Singler: "Cache-, hash- and space-efficient Bloom
//! filters", 2007). Readers take no lock.
//!
//! Invariants:
//! * **It never says no of a zone's name**: a name is added before the entry that brings it is committed, and while the
//!   names of a state are not all known, every name may be one. A filter is filled from what is committed once nobody writes
//!   who can have added to the one before; and anew when entries were applied of which nobody here was told, as by another
//!   process that hands over.
//! * It may say yes of others: of two in a hundred, and of zones that were deleted since it was made. Then the store is asked.
//!
//! Beside it, in order, are the names that leave another name free between two zones: those of four labels and more. By
//! them it is known which zones lie beneath a name that no record has.
//!
//! Limits: 16 bits for each of twice the names that there were when it was made; two MiB more for each half a million.
//! [`DEEP_NAMES_MAX`] names of four labels and more, some 100 MiB.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    ops::Bound,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use proxima_model::Kind;

use crate::{ReadError, Replica, Seq};

/// Names for which there is room at least.
const ROOM_MIN: usize = 16 << 10;
/// Bits for each name; with [`BITS_SET`] that makes two false answers in a hundred.
const BITS_PER_NAME: usize = 16;
/// Bits of a word that a name sets.
const BITS_SET: u32 = 4;

/// Dots in the name of a zone that lies two labels or more beneath one that is the shortest possible: `a.b.example.com`.
const DEEP_DOTS_MIN: usize = 3;
/// Names of that kind that are remembered. Beneath those beyond, names are denied as if no zone lay there.
const DEEP_NAMES_MAX: usize = 1 << 20;
/// Names beneath one from which on they are not told: some of them may be zones' no more, and all would have to be looked at.
const BENEATH_MAX: usize = 64;

/// The filter of a replica, if it is made.
#[derive(Default)]
pub(crate) struct ZoneNames {
    filter: ArcSwapOption<Filter>,
    making: Mutex<()>,
}

impl ZoneNames {
    /// Whether a zone may have this name (lower case, no last dot).
    pub(crate) fn may_be(&self, name: &str) -> bool {
        self.filter.load().as_ref().is_none_or(|filter| filter.may_be(name))
    }

    /// Names strictly beneath this one (lower case, no last dot) that zones may have: 64 of them at most. `None` while not
    /// all names are known.
    pub(crate) fn beneath(&self, name: &str) -> Option<Vec<String>> {
        self.filter.load().as_ref().and_then(|filter| filter.beneath(name))
    }

    /// A zone of this name is about to be.
    pub(crate) fn add(&self, name: &str) {
        if let Some(filter) = &*self.filter.load() {
            filter.add(name);
        }
    }

    /// Nothing is known of the names of the state that `change` puts in force.
    pub(crate) fn forget<T>(&self, change: impl FnOnce() -> T) -> T {
        let _nobody_learns = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter.store(None);
        change()
    }

    /// Learns the names of all zones, unless they are known; of a state in which anything may have changed `up_to`, that is
    /// if they were learnt after it.
    ///
    /// # Errors
    /// The replica cannot be read; then every name may be one, until this is tried again.
    pub(crate) fn learn(&self, replica: &Replica, up_to: Option<Seq>) -> Result<(), ReadError> {
        let _one_at_a_time = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |filter: &Arc<Filter>| {
            filter.complete.load(Ordering::Acquire)
                && filter.has_room()
                && up_to.is_none_or(|up_to| filter.learnt_at >= up_to)
        };
        if self.filter.load().as_ref().is_some_and(is_known) {
            return Ok(());
        }
        self.filter.store(None);
        let snapshot = replica.snapshot()?;
        let (count, seq) = (snapshot.count(Kind::ZoneName)?, snapshot.seq());
        drop(snapshot);
        let room = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(2);
        let filter = Arc::new(Filter::with_room(room, seq));
        self.filter.store(Some(Arc::clone(&filter)));
        let learnt = replica.wait_for_writers().and_then(|()| replica.snapshot());
        let learnt = learnt.and_then(|snapshot| snapshot.zone_names(|name| filter.add(name)));
        match learnt {
            Ok(()) => filter.complete.store(true, Ordering::Release),
            Err(_) => self.filter.store(None),
        }
        learnt
    }
}

struct Filter {
    words: Box<[AtomicU64]>,
    hasher: RandomState,
    room: usize,
    /// The state of which it was filled, or a later one.
    learnt_at: Seq,
    added: AtomicUsize,
    /// Whether all names are in it.
    complete: AtomicBool,
    /// Which numbers of labels they have: the bit of each number; the last is every larger one.
    labels: AtomicU64,
    /// The octets of names of four labels and more, the last one first, so that those beneath one follow each other.
    deep: RwLock<BTreeSet<Box<[u8]>>>,
}

impl Filter {
    fn with_room(names: usize, learnt_at: Seq) -> Self {
        let room = names.max(ROOM_MIN);
        let words = (room.saturating_mul(BITS_PER_NAME) / 64).next_power_of_two();
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            room,
            learnt_at,
            added: AtomicUsize::new(0),
            complete: AtomicBool::new(false),
            labels: AtomicU64::new(0),
            deep: RwLock::default(),
        }
    }

    fn has_room(&self) -> bool {
        self.added.load(Ordering::Relaxed) <= self.room
    }

    /// The word in which a name's bits are, and those bits.
    fn place(&self, name: &str) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one(name);
        let bits = (0..BITS_SET).fold(0, |bits, number| bits | 1 << (hash >> (6 * number) & 63));
        let word = usize::try_from(hash >> 24).unwrap_or_default() & (self.words.len() - 1);
        (&self.words[word], bits)
    }

    fn add(&self, name: &str) {
        self.added.fetch_add(1, Ordering::Relaxed);
        self.labels.fetch_or(label_bit(name), Ordering::Relaxed);
        let (word, bits) = self.place(name);
        word.fetch_or(bits, Ordering::Release);
        if dots(name) >= DEEP_DOTS_MIN {
            let mut deep = self.deep.write().unwrap_or_else(PoisonError::into_inner);
            if deep.len() < DEEP_NAMES_MAX {
                deep.insert(name.bytes().rev().collect());
            }
        }
    }

    fn beneath(&self, name: &str) -> Option<Vec<String>> {
        if !self.complete.load(Ordering::Acquire) {
            return None;
        }
        // Every name of more labels, as bits: mostly there are none, and nothing is locked.
        let longer = u64::MAX.checked_shl(u32::try_from(dots(name) + 1).unwrap_or(u32::MAX)).unwrap_or(0);
        if self.labels.load(Ordering::Relaxed) & (longer | 1 << LABEL_BITS_LAST) == 0 {
            return Some(Vec::new());
        }
        let beneath: Vec<u8> = name.bytes().rev().chain([b'.']).collect();
        let deep = self.deep.read().unwrap_or_else(PoisonError::into_inner);
        let found = deep.range::<[u8], _>((Bound::Included(&*beneath), Bound::Unbounded));
        let found = found.take_while(|name| name.starts_with(&beneath)).take(BENEATH_MAX);
        let found: Vec<String> =
            found.map(|name| name.iter().rev().map(|octet| char::from(*octet)).collect()).collect();
        // Of so many, others may be left: whether one of them counts is not known.
        (found.len() < BENEATH_MAX).then_some(found)
    }

    fn may_be(&self, name: &str) -> bool {
        if !self.complete.load(Ordering::Acquire) {
            return true;
        }
        if self.labels.load(Ordering::Relaxed) & label_bit(name) == 0 {
            return false;
        }
        let (word, bits) = self.place(name);
        word.load(Ordering::Acquire) & bits == bits
    }
}

/// The bit of the largest numbers of labels.
const LABEL_BITS_LAST: usize = 63;

fn dots(name: &str) -> usize {
    name.bytes().filter(|octet| *octet == b'.').count()
}

/// The bit of a name's number of labels.
fn label_bit(name: &str) -> u64 {
    1 << dots(name).min(LABEL_BITS_LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_knows_all_that_was_added_and_takes_few_others_for_known() {
        let filter = Filter::with_room(0, Seq::ZERO);
        assert!(filter.may_be("nothing.example"), "not all are known yet");
        for number in 0..ROOM_MIN {
            filter.add(&format!("site-{number}.example"));
        }
        filter.complete.store(true, Ordering::Release);
        assert!(filter.has_room());
        assert!((0..ROOM_MIN).all(|number| filter.may_be(&format!("site-{number}.example"))));
        let taken = (0..10_000).filter(|number| filter.may_be(&format!("other-{number}.example"))).count();
        assert!(taken < 400, "{taken} of 10,000 others are taken for known");
        assert!(!filter.may_be("www.site-1.example"), "no zone has three labels");
        filter.add("one.more");
        assert!(!filter.has_room());
    }

    #[test]
    fn what_lies_beneath_a_name_is_told_once_all_names_are_known() {
        let filter = Filter::with_room(0, Seq::ZERO);
        for name in
            ["example.com", "sub.example.com", "a.b.example.com", "c.b.example.com", "a.xb.example.com"]
        {
            filter.add(name);
        }
        assert_eq!(filter.beneath("b.example.com"), None);
        filter.complete.store(true, Ordering::Release);
        for (name, expected) in [
            ("b.example.com", &["a.b.example.com", "c.b.example.com"][..]),
            ("a.b.example.com", &[]),
            ("x.a.b.example.com", &[]),
            ("nothing.example.com", &[]),
            ("ample.com", &[]),
        ] {
            assert_eq!(filter.beneath(name).unwrap(), expected, "{name}");
        }
        (0..BENEATH_MAX + 9).for_each(|number| filter.add(&format!("n{number}.many.example.com")));
        assert_eq!(filter.beneath("many.example.com"), None, "not all of them are looked at");
    }
}

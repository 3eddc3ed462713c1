//! What lies on the disk, as it is known in memory: URL and variant by their hashes, and where.
//!
//! An entry takes some 60 octets, and the table's room beside, so that a disk of a million objects costs some 90 MiB. Hashes
//! can collide: whoever reads an object compares its URL and its variant with what was asked for.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::HeaderMap;
use smallvec::SmallVec;

use super::record::Place;
use crate::policy::vary::Vary;

/// Locks among which URLs are spread.
const SHARDS: usize = 16;
/// Variants of one URL that lie on the disk; the oldest are forgotten.
const VARIANTS_MAX: usize = 64;
/// Different sets of names by which answers vary. Origins have a handful; answers with other sets stay in memory.
pub(super) const VARIES_MAX: usize = 4_096;

/// Where an object lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) before: u32,
    pub(super) octets: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    variant: u64,
    location: Location,
    vary: u16,
    /// Whether it was read since it was written.
    used: bool,
}

/// The keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = self.0.rotate_left(8) ^ u64::from(*octet);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type Shard = HashMap<u64, SmallVec<[Entry; 1]>, BuildHasherDefault<AsIs>>;

/// The index.
#[derive(Debug, Default)]
pub(crate) struct Index {
    shards: [Mutex<Shard>; SHARDS],
    varies: RwLock<Varies>,
    entries: AtomicUsize,
}

#[derive(Debug, Default)]
struct Varies {
    all: Vec<Vary>,
    numbers: HashMap<Vary, u16>,
}

impl Index {
    fn shard(&self, primary: u64) -> MutexGuard<'_, Shard> {
        // Not the lowest bits: the table within takes these.
        self.shards[(primary >> 32) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a set of names; `None` if there are too many.
    pub(super) fn number(&self, vary: &Vary) -> Option<u16> {
        let find = |varies: &Varies| varies.numbers.get(vary).copied();
        if let Some(number) = find(&self.varies.read().unwrap_or_else(PoisonError::into_inner)) {
            return Some(number);
        }
        let mut varies = self.varies.write().unwrap_or_else(PoisonError::into_inner);
        let known = find(&varies);
        known.or_else(|| {
            let number =
                u16::try_from(varies.all.len()).ok().filter(|number| usize::from(*number) < VARIES_MAX)?;
            varies.all.push(vary.clone());
            varies.numbers.insert(vary.clone(), number);
            Some(number)
        })
    }

    /// The set of names of a number.
    pub(super) fn vary(&self, number: u16) -> Vary {
        let varies = self.varies.read().unwrap_or_else(PoisonError::into_inner);
        varies.all.get(usize::from(number)).cloned().unwrap_or_default()
    }

    /// Where the object lies that would answer this request; the latest, if there are several. Notes that it is wanted.
    pub(super) fn find(&self, primary: u64, request: &HeaderMap) -> Option<Location> {
        let mut shard = self.shard(primary);
        let entries = shard.get_mut(&primary)?;
        let varies = self.varies.read().unwrap_or_else(PoisonError::into_inner);
        let answers = |entry: &&mut Entry| {
            let vary = varies.all.get(usize::from(entry.vary));
            vary.is_some_and(|vary| vary.variant(request).hash() == entry.variant)
        };
        let entry = entries.iter_mut().rev().find(answers)?;
        entry.used = true;
        Some(entry.location)
    }

    /// Whether an object still lies there.
    pub(super) fn holds(&self, primary: u64, location: Location) -> bool {
        let shard = self.shard(primary);
        shard.get(&primary).is_some_and(|entries| entries.iter().any(|entry| entry.location == location))
    }

    /// Puts an object where `place` says, if `wanted` under the lock; whether it was.
    pub(super) fn put(&self, segment: u32, place: &Place, wanted: impl FnOnce() -> bool) -> bool {
        let location = location(segment, place);
        let entry = Entry { variant: place.variant, location, vary: place.vary, used: false };
        let mut shard = self.shard(place.primary);
        if !wanted() {
            return false;
        }
        let entries = shard.entry(place.primary).or_default();
        self.keep_only(entries, |entry| entry.variant != place.variant);
        if entries.len() == VARIANTS_MAX {
            entries.remove(0);
            self.entries.fetch_sub(1, Ordering::Relaxed);
        }
        entries.push(entry);
        self.entries.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn keep_only(&self, entries: &mut SmallVec<[Entry; 1]>, keep: impl Fn(&Entry) -> bool) -> bool {
        let before = entries.len();
        entries.retain(|entry| keep(entry));
        self.entries.fetch_sub(before - entries.len(), Ordering::Relaxed);
        entries.len() < before
    }

    fn remove(&self, primary: u64, keep: impl Fn(&Entry) -> bool) -> bool {
        let mut shard = self.shard(primary);
        let Some(entries) = shard.get_mut(&primary) else { return false };
        let removed = self.keep_only(entries, keep);
        if entries.is_empty() {
            shard.remove(&primary);
        }
        removed
    }

    /// Forgets a URL, or one variant of it; whether there was something to forget.
    pub(super) fn forget(&self, primary: u64, variant: Option<u64>) -> bool {
        self.remove(primary, |entry| variant.is_some_and(|variant| variant != entry.variant))
    }

    /// Forgets what lies there, if it still does.
    pub(super) fn forget_at(&self, primary: u64, location: Location) -> bool {
        self.remove(primary, |entry| entry.location != location)
    }

    /// Whether what lies there was read since it was written; `None` if it is not known any more.
    pub(super) fn was_used(&self, primary: u64, location: Location) -> Option<bool> {
        let shard = self.shard(primary);
        shard.get(&primary)?.iter().find(|entry| entry.location == location).map(|entry| entry.used)
    }

    /// Says that what lay at `from` lies where `place` says now, if it is still known.
    pub(super) fn moved(&self, primary: u64, from: Location, segment: u32, place: &Place) {
        let mut shard = self.shard(primary);
        let entries = shard.get_mut(&primary).map(SmallVec::as_mut_slice).unwrap_or_default();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.location == from) {
            (entry.location, entry.used) = (location(segment, place), false);
        }
    }

    /// Forgets what lies in a segment, by looking at everything.
    pub(super) fn forget_segment(&self, segment: u32) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, entries| {
                self.keep_only(entries, |entry| entry.location.segment != segment);
                !entries.is_empty()
            });
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let entries = std::mem::take(&mut *shard);
            self.entries.fetch_sub(entries.values().map(SmallVec::len).sum(), Ordering::Relaxed);
        }
    }

    /// Objects.
    pub(super) fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }
}

pub(super) fn location(segment: u32, place: &Place) -> Location {
    Location { segment, offset: place.offset, before: place.before, octets: place.octets }
}

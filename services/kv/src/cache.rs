//! What this server remembers of values that others have: also that a key has nothing.
//!
//! An entry says when it was right; how old it may be is up to who reads. It goes when its home says that the key was written,
//! when there is no room, or when nobody could want it any more. What was asked for before a key was forgotten is not kept
//! after: it may be what was there before. Nor is what another cache says that has not been told yet: caches are told at the same
//! time, and hear it one after another. So it is remembered when a key was forgotten, and what was right before then is no answer.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use proxima_model::{KvKey, KvNamespaceId};
use proxima_pipeline::KvValue;
use quick_cache::{OptionsBuilder, Weighter, sync};
use tokio::time::Instant;

/// How old a value may be that is given because no replica can be reached: an hour. An old value is of more use than an error to
/// who has agreed to old ones; one that nobody could have meant any more is not.
pub(crate) const STALE_MAX: Duration = Duration::from_secs(3_600);
/// What an entry takes beside its octets.
const ENTRY_OCTETS: usize = 160;
/// No entry has more than this part of the cache: one value must not take the place of all others.
const ENTRY_PARTS: usize = 8;
/// Parts of the cache with a lock each.
const SHARDS: usize = 4;
/// Octets of an entry, for what the cache reserves at its beginning.
const TYPICAL_OCTETS: usize = 4_096;
/// Keys are told apart by so many counts of what was forgotten: two of one count cost each other an entry now and then.
const COUNTS: usize = 1_024;
/// Moments at which keys were forgotten, by the hash of a key: two that share one cost each other a question now and then. A MiB: many
/// more than keys are written in the network between two pulls.
const MOMENTS: usize = 131_072;

/// A key of a namespace.
pub(crate) type Name = (KvNamespaceId, KvKey);

/// What is known of a key.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Option<KvValue>,
    /// When it was so.
    pub(crate) at: Instant,
}

/// What was forgotten before a key was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before(u64);

#[derive(Clone)]
struct Octets;

impl Weighter<Name, Entry> for Octets {
    fn weight(&self, name: &Name, entry: &Entry) -> u64 {
        octets(name, entry) as u64
    }
}

fn octets((_, key): &Name, entry: &Entry) -> usize {
    let of_value = |value: &KvValue| value.value.len() + value.metadata.as_ref().map_or(0, |text| text.len());
    ENTRY_OCTETS + key.as_str().len() + entry.value.as_ref().map_or(0, of_value)
}

/// See the module.
pub(crate) struct Cache {
    entries: sync::Cache<Name, Entry, Octets>,
    entry_octets_max: usize,
    forgotten: Vec<AtomicU64>,
    /// In nanoseconds since `begun`, by the hash of a key; 0: never.
    moments: Vec<AtomicU64>,
    begun: Instant,
    hasher: RandomState,
}

impl Cache {
    pub(crate) fn new(octets: usize) -> Self {
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(octets / TYPICAL_OCTETS)
            .weight_capacity(octets as u64)
            .build()
            .expect("both sizes are given");
        let entries = sync::Cache::with_options(options, Octets, Default::default(), Default::default());
        Self {
            entries,
            entry_octets_max: octets / ENTRY_PARTS,
            forgotten: (0..COUNTS).map(|_| AtomicU64::new(0)).collect(),
            moments: (0..MOMENTS).map(|_| AtomicU64::new(0)).collect(),
            begun: Instant::now(),
            hasher: RandomState::new(),
        }
    }

    /// What is known of a key, for who reads what is no older than this.
    pub(crate) fn get(&self, name: &Name, age_max: Duration) -> Option<Entry> {
        self.entries.get(name).filter(|entry| entry.at.elapsed() < age_max)
    }

    /// To be called before a key is asked for.
    pub(crate) fn before(&self, name: &Name) -> Before {
        Before(self.count(name).load(Ordering::Acquire))
    }

    /// When a key was forgotten, or one that shares its moment: what was right earlier may be what was there before.
    pub(crate) fn forgotten_at(&self, name: &Name) -> Option<Instant> {
        let nanos = self.moment(name).load(Ordering::Acquire);
        (nanos > 0).then(|| self.begun + Duration::from_nanos(nanos))
    }

    /// Remembers what a key has, unless it was forgotten since, or since that was right.
    pub(crate) fn put(&self, name: Name, entry: Entry, before: Before) {
        if octets(&name, &entry) > self.entry_octets_max {
            self.entries.remove(&name);
            return;
        }
        let count = self.count(&name);
        if count.load(Ordering::Acquire) != before.0
            || self.forgotten_at(&name).is_some_and(|forgotten| forgotten > entry.at)
        {
            return;
        }
        // Of two that were asked for at the same time the one that was right later stays.
        if self.entries.peek(&name).is_some_and(|known| known.at > entry.at) {
            return;
        }
        self.entries.insert(name.clone(), entry);
        // Forgotten in between: who forgets counts first, and removes then.
        if count.load(Ordering::Acquire) != before.0 {
            self.entries.remove(&name);
        }
    }

    /// Forgets a key.
    pub(crate) fn forget(&self, name: &Name) {
        let nanos = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.moment(name).fetch_max(nanos.max(1), Ordering::AcqRel);
        self.count(name).fetch_add(1, Ordering::AcqRel);
        self.entries.remove(name);
    }

    /// Has no room for a key any more, as it happens.
    #[cfg(test)]
    pub(crate) fn evict(&self, name: &Name) {
        self.entries.remove(name);
    }

    /// Octets that are in use.
    pub(crate) fn octets(&self) -> u64 {
        self.entries.weight()
    }

    fn count(&self, name: &Name) -> &AtomicU64 {
        self.one_of(&self.forgotten, name)
    }

    fn moment(&self, name: &Name) -> &AtomicU64 {
        self.one_of(&self.moments, name)
    }

    fn one_of<'a>(&self, numbers: &'a [AtomicU64], name: &Name) -> &'a AtomicU64 {
        let hash = self.hasher.hash_one(name) % numbers.len() as u64;
        &numbers[usize::try_from(hash).expect("it is below a usize")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: &str) -> Name {
        (KvNamespaceId::from_bytes([1; 16]), KvKey::parse(key).expect("a key"))
    }

    fn entry(octets: usize) -> Entry {
        let value = KvValue { value: vec![b'x'; octets].into(), metadata: None, expires: None };
        Entry { value: Some(value), at: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_is_as_old_as_its_reader_says_it_may_be() {
        let cache = Cache::new(1 << 20);
        cache.put(name("a"), entry(1), cache.before(&name("a")));
        cache.put(name("none"), Entry { value: None, at: Instant::now() }, cache.before(&name("none")));
        tokio::time::advance(Duration::from_secs(60)).await;
        for key in ["a", "none"] {
            assert!(cache.get(&name(key), Duration::from_secs(60)).is_none());
            assert!(cache.get(&name(key), Duration::from_secs(61)).is_some());
        }
    }

    #[tokio::test]
    async fn what_was_asked_for_before_its_key_was_forgotten_is_not_kept() {
        let cache = Cache::new(1 << 20);
        let before = cache.before(&name("a"));
        cache.forget(&name("a"));
        cache.put(name("a"), entry(1), before);
        assert!(cache.get(&name("a"), STALE_MAX).is_none());
        cache.put(name("a"), entry(1), cache.before(&name("a")));
        assert!(cache.get(&name("a"), STALE_MAX).is_some());
        cache.forget(&name("a"));
        assert!(cache.get(&name("a"), STALE_MAX).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_right_earlier_does_not_take_the_place_of_what_was_right_later() {
        let (cache, before) = (Cache::new(1 << 20), Instant::now());
        tokio::time::advance(Duration::from_secs(1)).await;
        cache.put(name("a"), entry(2), cache.before(&name("a")));
        cache.put(name("a"), Entry { at: before, ..entry(1) }, cache.before(&name("a")));
        let kept = cache.get(&name("a"), STALE_MAX).and_then(|entry| entry.value).expect("a value");
        assert_eq!(kept.value.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_right_before_its_key_was_forgotten_is_not_kept_whenever_it_is_asked_for() {
        let cache = Cache::new(1 << 20);
        assert_eq!(cache.forgotten_at(&name("a")), None);
        let at = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        cache.forget(&name("a"));
        for number in 0..40_000 {
            cache.forget(&name(&format!("{number}")));
        }
        assert_eq!(cache.forgotten_at(&name("a")), Some(Instant::now()), "however many follow");
        for (at, is_kept) in [(at, false), (Instant::now(), true)] {
            cache.put(name("a"), Entry { at, ..entry(1) }, cache.before(&name("a")));
            assert_eq!(cache.get(&name("a"), STALE_MAX).is_some(), is_kept);
        }
    }

    #[tokio::test]
    async fn memory_is_bounded_and_one_value_has_a_part_of_it_at_most() {
        let cache = Cache::new(1 << 20);
        for number in 0..1_000 {
            let name = name(&format!("key {number}"));
            cache.put(name.clone(), entry(10_000), cache.before(&name));
            assert!(cache.octets() <= 1 << 20);
        }
        assert!(cache.octets() > 1 << 19, "{}", cache.octets());
        cache.put(name("large"), entry((1 << 17) + 1), cache.before(&name("large")));
        assert!(cache.get(&name("large"), STALE_MAX).is_none());
    }
}

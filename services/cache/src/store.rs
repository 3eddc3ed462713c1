//! The store: in memory, bounded in octets, sharded, with purge marks instead of sweeps; and behind it, if there is one,
//! the disk.
//!
//! ```text
//!   zone + URL ──▶ object                      (no Vary)
//!              └─▶ variants { id, names } ──▶ id + secondary key ──▶ object
//!                                        └──▶ id + its language  ──▶ the same object
//! ```
//!
//! An answer in one language that varies by `Accept-Language` is found by that language too, by everybody who prefers
//! that language to all others (RFC 9111, 4.1, lets a cache rank preferences). Only if the request that brought it
//! preferred none to it either: then both got their first choice, and what else they would have taken decided nothing.
//!
//! Forgetting never walks the store. A purge of a zone, a host, a prefix or a tag leaves a mark ([`Marks`]), and every
//! object carries the moment at which its *fetch began*: what began before a mark that names it is not served, also if
//! it is stored only afterwards. A purge of a URL removes the entry under the primary key; the objects of its variants
//! are then out of reach, because the next index has another id, and go as they get cold.

mod invalidated;
mod object;
mod progress;
mod purging;
mod seen;

use std::{
    hash::RandomState,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::HeaderMap;
use proxima_chassis::Clock;
use proxima_model::ZoneId;
use quick_cache::{
    Lifecycle, OptionsBuilder, Weighter,
    sync::{Cache, EntryAction},
};
use tokio::time::Instant;

pub use self::object::{Heads, NOT_FOR_DISK, NOT_OFFERED, Object, ReadyHead};
use self::{invalidated::Invalidated, object::OBJECT_OVERHEAD_OCTETS, progress::Progress};
use crate::{
    config::CacheConfig,
    content::{Budget, Content},
    disk::{Disk, DiskParts, Location, LogSeen},
    expect::Expectations,
    key::PrimaryKey,
    marks::{Birth, Marks, Tags},
    metrics::Metrics,
    policy::{
        storing::Refusal,
        vary::{self, Variant, Vary},
    },
};

/// Expected mean size of an object, from which the store guesses how many keys to keep track of.
const OBJECT_OCTETS_MEAN: u64 = 32 * 1_024;
/// An object may take at most this fraction of a shard: one large object must not empty it.
const OBJECTS_PER_SHARD_MIN: u64 = 4;
/// Shards beyond this number bring nothing on the machines we know.
const SHARDS_MAX: u64 = 64;
/// Sets of names by which answers of one URL vary. Origins have one, or two while they change; the oldest goes.
const VARIES_MAX: usize = 4;
/// URLs remembered as not storable.
const PASSES_MAX: usize = 32_768;
/// How long a URL is remembered as not storable: its requests do not wait for each other meanwhile.
const PASS_FOR: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    primary: PrimaryKey,
    /// The id of the index through which it is reached, and the secondary key.
    variant: Option<(u64, Variant)>,
}

#[derive(Clone, Debug)]
enum Entry {
    Object(Arc<Object>, u64),
    Variants(Arc<Variants>),
    /// What lies under this secondary key answers here too.
    SameAs(Variant),
}

#[derive(Debug)]
struct Variants {
    id: u64,
    /// The sets of names, the latest first.
    varies: Vec<Vary>,
}

#[derive(Clone)]
struct Octets;

impl Weighter<Key, Entry> for Octets {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        let value = match entry {
            Entry::Object(_, octets) => *octets,
            Entry::Variants(_) | Entry::SameAs(_) => OBJECT_OVERHEAD_OCTETS,
        };
        value + key.primary.octets() as u64
    }
}

#[derive(Clone)]
struct CountEvictions(Metrics);

impl Lifecycle<Key, Entry> for CountEvictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _key: Key, _entry: Entry) {
        self.0.evictions.inc();
    }
}

#[derive(Clone, Copy, Debug)]
struct Pass {
    until: Instant,
    refusal: Refusal,
}

/// What the store has for a request.
#[derive(Debug, Default)]
pub struct Found {
    /// The object that answers it, fresh or stale.
    pub object: Option<Arc<Object>>,
    /// The names by which the latest answer for the URL varied.
    pub vary: Vary,
}

/// The store.
pub struct Store {
    entries: Cache<Key, Entry, Octets, RandomState, CountEvictions>,
    passes: Cache<PrimaryKey, Pass>,
    /// URLs that unsafe requests have changed.
    invalidated: Invalidated,
    expectations: Expectations,
    marks: Arc<Marks>,
    budget: Arc<Budget>,
    object_octets_max: u64,
    disk: Option<Disk>,
    progress: Progress,
}

impl Store {
    /// An empty store in memory within the configured bounds.
    pub fn new(config: &CacheConfig, metrics: &Metrics) -> Self {
        Self::over(config, metrics, Marks::default())
    }

    /// A store that has a tier on disk in this folder. What lies there is used once this server is where the log was at some
    /// moment since its start, which `log_seen` tells.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn with_disk(
        config: &CacheConfig,
        folder: PathBuf,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
        log_seen: LogSeen,
    ) -> std::io::Result<Self> {
        let mut store = Self::over(config, metrics, Marks::default().lasting(clock.now()));
        store.disk = Some(Disk::start(DiskParts {
            folder,
            octets_max: config.disk_bytes_max,
            marks: store.marks.clone(),
            budget: store.budget.clone(),
            clock,
            metrics: metrics.disk.clone(),
            log_seen,
        })?);
        Ok(store)
    }

    fn over(config: &CacheConfig, metrics: &Metrics, marks: Marks) -> Self {
        let octets_max = config.memory_bytes_max;
        let object_octets_max = config.object_bytes_limit();
        let per_object = object_octets_max.max(1) * OBJECTS_PER_SHARD_MIN;
        let shards = (octets_max / per_object).clamp(1, SHARDS_MAX);
        // The power of two below: rounding up would make shards too small for the largest object.
        let shards = 1_u64 << shards.ilog2();
        let options = OptionsBuilder::new()
            .shards(usize::try_from(shards).unwrap_or(1))
            .weight_capacity(octets_max)
            .estimated_items_capacity(usize::try_from(octets_max / OBJECT_OCTETS_MEAN).unwrap_or(usize::MAX))
            .build()
            .expect("both capacities are set");
        let evictions = CountEvictions(metrics.clone());
        Self {
            entries: Cache::with_options(options, Octets, RandomState::new(), evictions),
            passes: Cache::new(PASSES_MAX),
            invalidated: Invalidated::default(),
            expectations: Expectations::default(),
            marks: Arc::new(marks),
            budget: Arc::new(Budget::new(config.fill_bytes_max())),
            object_octets_max,
            disk: None,
            progress: Progress::default(),
        }
    }

    /// Octets that one object's content may have.
    pub const fn object_octets_max(&self) -> u64 {
        self.object_octets_max
    }

    /// Objects and indexes of variants that are held.
    pub fn objects(&self) -> usize {
        self.entries.len()
    }

    /// Octets that they take.
    pub fn octets(&self) -> u64 {
        self.entries.weight()
    }

    /// Octets of what is being fetched.
    pub fn octets_growing(&self) -> u64 {
        self.budget.taken()
    }

    /// Content of so many octets that lies in slices.
    pub(crate) fn sliced_content(&self, length: u64) -> Arc<Content> {
        Content::sliced(length, self.budget.clone())
    }

    /// Content to be filled, within the bounds of this store.
    pub fn new_content(&self, announced: Option<u64>) -> Arc<Content> {
        Content::new(announced, self.object_octets_max, self.budget.clone())
    }

    /// Marks the beginning of a fetch; call it before anything is sent to the origin.
    pub fn begin(&self, zone: ZoneId) -> Birth {
        self.marks.begin(zone)
    }

    /// Where the order of purges stands: what is begun at this moment is hidden by every purge from now on.
    pub(crate) fn moment(&self) -> u64 {
        self.marks.moment()
    }

    /// A moment of its own, later than all before.
    pub(crate) fn next_moment(&self) -> u64 {
        self.marks.next_moment()
    }

    /// The beginning of a fetch for a request that entered at this moment.
    pub(crate) fn begin_at(&self, zone: ZoneId, moment: u64) -> Birth {
        self.marks.begin_at(zone, moment)
    }

    /// Whether nothing has been purged since that would hide what was begun then, has this key and these tags.
    pub fn is_current(&self, primary: &PrimaryKey, birth: &Birth, tags: &Tags) -> bool {
        self.marks.is_current(primary, birth, tags)
    }

    fn may_serve(&self, primary: &PrimaryKey, object: &Object) -> bool {
        self.is_current(primary, &object.birth, &object.tags) && !object.content.is_spoiled()
    }

    /// Lets memory go, as if it had been needed for others.
    #[cfg(test)]
    pub(crate) fn evict_all(&self) {
        self.entries.clear();
    }

    /// The tier on disk.
    pub(crate) const fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// An object was used from memory: what is used again is worth a place on the disk.
    #[inline]
    pub(crate) fn used(&self, primary: &PrimaryKey, object: &Arc<Object>) {
        if let Some(disk) = &self.disk
            && disk.is_wanted(object)
        {
            disk.used(primary, object);
        }
    }

    /// Takes an object that lay on the disk into memory, and returns what a request is to be answered with: that, or
    /// something newer that has come meanwhile. `None`: what was read does not count any more. The caller holds the
    /// lock of the key's flights.
    pub(crate) fn take_in(
        &self,
        primary: &PrimaryKey,
        request: &HeaderMap,
        location: Location,
        object: Arc<Object>,
    ) -> Option<Arc<Object>> {
        if let Some(newer) = self.find(primary, request).object {
            return Some(newer);
        }
        let disk = self.disk.as_ref().filter(|disk| disk.holds(primary, location))?;
        if !self.may_serve(primary, &object) {
            disk.forget_object(primary, &object);
            return None;
        }
        object.answers(request).then(|| {
            self.put(primary, request, object.clone());
            object
        })
    }

    /// What there is for a request.
    pub fn find(&self, primary: &PrimaryKey, request: &HeaderMap) -> Found {
        let base = Key { primary: primary.clone(), variant: None };
        match self.entries.get(&base) {
            None => Found::default(),
            Some(Entry::Object(object, _)) if self.may_serve(primary, &object) => {
                Found { vary: object.vary.clone(), object: Some(object) }
            }
            Some(Entry::Object(..) | Entry::SameAs(_)) => {
                self.entries.remove(&base);
                Found::default()
            }
            Some(Entry::Variants(index)) => self.find_variant(primary, &index, request),
        }
    }

    fn find_variant(&self, primary: &PrimaryKey, index: &Variants, request: &HeaderMap) -> Found {
        let entry =
            |variant| self.entries.get(&Key { primary: primary.clone(), variant: Some((index.id, variant)) });
        let object = |variant| match entry(variant)? {
            Entry::Object(object, _) if self.may_serve(primary, &object) => Some(object),
            _ => None,
        };
        let in_language = |variant| match entry(variant)? {
            Entry::SameAs(variant) => object(variant),
            _ => None,
        };
        let exact = || index.varies.iter().find_map(|vary| object(vary.variant(request)));
        let preferred = || {
            let language = vary::preferred_language(request)?;
            index.varies.iter().filter_map(|vary| vary.variant_in(request, &language)).find_map(in_language)
        };
        let vary = index.varies.iter().find(|vary| !vary.is_of_a_part()).cloned().unwrap_or_default();
        Found { object: exact().or_else(preferred), vary }
    }

    /// Stores an object that the request with these fields brought, in place of what answered the same requests
    /// before. The caller holds the lock of the key's flights, so that no two insertions for one URL run at once.
    pub fn insert(&self, primary: &PrimaryKey, request: &HeaderMap, object: Arc<Object>) {
        if !self.may_serve(primary, &object) {
            return;
        }
        self.expectations.note_storable(primary);
        self.passes.remove(primary);
        if let Some(disk) = &self.disk {
            disk.stored(primary, &object);
        }
        self.put(primary, request, object);
    }

    /// Stores an object that its origin has confirmed. What lies on the disk stays as it is, if it is found and purged by
    /// the `same_names`: its own fields still say the truth, or have it confirmed again.
    pub fn confirm(&self, primary: &PrimaryKey, request: &HeaderMap, object: Arc<Object>, same_names: bool) {
        if !same_names {
            object.on_disk.store(NOT_OFFERED, Ordering::Relaxed);
            return self.insert(primary, request, object);
        }
        if self.may_serve(primary, &object) {
            self.expectations.note_storable(primary);
            self.passes.remove(primary);
            self.put(primary, request, object);
        }
    }

    /// Puts an object into memory.
    fn put(&self, primary: &PrimaryKey, request: &HeaderMap, object: Arc<Object>) {
        let base = Key { primary: primary.clone(), variant: None };
        let octets = object.octets();
        let index = match self.entries.get(&base) {
            Some(Entry::Variants(index)) => Some(index),
            // A whole that came meanwhile has the part in it.
            Some(Entry::Object(whole, _)) if object.is_part() && self.may_serve(primary, &whole) => return,
            _ if object.vary.is_empty() => None,
            _ => Some(Arc::new(Variants { id: self.marks.next_moment(), varies: Vec::new() })),
        };
        let Some(index) = index else {
            self.entries.insert(base, Entry::Object(object, octets));
            return;
        };
        let part_is_known = object.is_part() && index.varies.contains(&object.vary);
        if index.varies.first() != Some(&object.vary) && !part_is_known {
            let mut varies = vec![object.vary.clone()];
            varies.extend(
                index.varies.iter().filter(|vary| **vary != object.vary).take(VARIES_MAX - 1).cloned(),
            );
            // An answer that varies by nothing matches every request: it comes last, or it would hide the others, but
            // before parts, which a whole has in it.
            varies.sort_by_key(|vary| (vary.is_of_a_part(), vary.is_empty()));
            self.entries.insert(base, Entry::Variants(Arc::new(Variants { id: index.id, varies })));
        }
        let language =
            vary::language_of(&object.headers).filter(|language| vary::prefers_none_to(request, language));
        if let Some(variant) = language.and_then(|language| object.vary.variant_in(request, language)) {
            let key = Key { primary: primary.clone(), variant: Some((index.id, variant)) };
            self.entries.insert(key, Entry::SameAs(object.variant.clone()));
        }
        let key = Key { primary: primary.clone(), variant: Some((index.id, object.variant.clone())) };
        self.entries.insert(key, Entry::Object(object, octets));
    }

    /// Forgets everything under a URL, in all variants.
    pub fn forget(&self, primary: &PrimaryKey) {
        self.entries.remove(&Key { primary: primary.clone(), variant: None });
        self.passes.remove(primary);
        if let Some(disk) = &self.disk {
            disk.forget(primary);
        }
    }

    /// Counts the forms and the heads of an object anew, if it is still stored, or confirmed meanwhile and stored again with
    /// them. What does not fit beside them any more goes.
    pub fn recount(&self, primary: &PrimaryKey, object: &Object) {
        let key = self.place_of(primary, object);
        // Without waiting: nobody fills an entry of this store through a guard. One that is empty is left empty.
        let _counted = self.entries.entry(&key, Some(Duration::ZERO), |_, entry| {
            if let Entry::Object(stored, octets) = entry
                && (std::ptr::eq(&**stored, object) || have_same_forms(stored, object))
            {
                *octets = stored.octets();
            }
            EntryAction::Retain(())
        });
        // Only what is inserted makes others go by itself, and being told how much there may be.
        let most = self.entries.capacity();
        if self.entries.weight() > most {
            self.entries.set_capacity(most);
        }
    }

    /// The key under which an object lies, if it is stored.
    fn place_of(&self, primary: &PrimaryKey, object: &Object) -> Key {
        let base = Key { primary: primary.clone(), variant: None };
        match self.entries.peek(&base) {
            Some(Entry::Variants(index)) => Key { variant: Some((index.id, object.variant.clone())), ..base },
            _ => base,
        }
    }

    /// Forgets one object under a URL, if it is still what is stored there; its other variants and parts stay. The caller
    /// holds the lock of the key's flights.
    pub fn forget_object(&self, primary: &PrimaryKey, object: &Arc<Object>) {
        let key = self.place_of(primary, object);
        if let Some(Entry::Object(stored, _)) = self.entries.get(&key)
            && Arc::ptr_eq(&stored, object)
        {
            self.entries.remove(&key);
        }
        if let Some(disk) = &self.disk {
            disk.forget_object(primary, object);
        }
    }

    /// Why the answers for a URL are not stored, if that has been seen lately.
    pub fn pass(&self, primary: &PrimaryKey) -> Option<Refusal> {
        let pass = self.passes.get(primary)?;
        (Instant::now() < pass.until).then_some(pass.refusal)
    }

    /// Remembers that the answers for a URL are not stored.
    pub fn remember_pass(&self, primary: &PrimaryKey, refusal: Refusal) {
        self.expectations.note_refused(primary);
        self.passes.insert(primary.clone(), Pass { until: Instant::now() + PASS_FOR, refusal });
    }

    /// Forgets that.
    pub fn forget_pass(&self, primary: &PrimaryKey) {
        self.expectations.note_storable(primary);
        self.passes.remove(primary);
    }

    /// Whether the next answer from a URL's folder is expected not to be stored.
    pub(crate) fn expects_refusal(&self, primary: &PrimaryKey) -> bool {
        self.expectations.refusal(primary)
    }

    /// Notes that an answer was not to be stored, for the folder's sake alone.
    pub(crate) fn note_refused(&self, primary: &PrimaryKey) {
        self.expectations.note_refused(primary);
    }
}

fn have_same_forms(one: &Object, other: &Object) -> bool {
    let forms = one.forms.as_ref().zip(other.forms.as_ref());
    forms.is_some_and(|(one, other)| Arc::ptr_eq(one, other))
}

#[cfg(test)]
#[path = "store_tests.rs"]
pub(crate) mod tests;

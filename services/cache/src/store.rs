//! The memory store: bounded in octets, sharded, with purge marks instead of sweeps.
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

use std::{
    hash::RandomState,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use proxima_compression::Forms;
use proxima_model::{Timestamp, ZoneId};
use quick_cache::{
    Lifecycle, OptionsBuilder, Weighter,
    sync::{Cache, EntryAction},
};
use tokio::time::Instant;

use crate::{
    config::CacheConfig,
    content::{Budget, Content},
    expect::Expectations,
    key::PrimaryKey,
    marks::{Birth, Mark, Marks, Tags},
    metrics::Metrics,
    policy::{
        conditions,
        freshness::Freshness,
        storing::Refusal,
        vary::{self, Variant, Vary},
    },
};

/// What an object takes beside its content, its fields and its key: the structures around them.
const OBJECT_OVERHEAD_OCTETS: u64 = 1_024;
/// Expected mean size of an object, from which the store guesses how many keys to keep track of.
const OBJECT_OCTETS_MEAN: u64 = 32 * 1_024;
/// An object may take at most this fraction of a shard: one large object must not empty it.
const OBJECTS_PER_SHARD_MIN: u64 = 4;
/// Shards beyond this number bring nothing on the machines we know.
const SHARDS_MAX: u64 = 64;
/// Sets of names by which answers of one URL vary. Origins have one, or two while they change; the oldest goes.
const VARIES_MAX: usize = 4;
/// URLs remembered as not storable.
const PASSES_MAX: usize = 65_536;
/// How long a URL is remembered as not storable: its requests do not wait for each other meanwhile.
const PASS_FOR: Duration = Duration::from_secs(60);

/// A stored response, or one that is being fetched to be stored.
#[derive(Debug)]
pub struct Object {
    /// The status.
    pub status: StatusCode,
    /// The fields, without those of a connection.
    pub headers: HeaderMap,
    /// For how long it may be used.
    pub freshness: Freshness,
    /// Which requests it answers: these names …
    pub vary: Vary,
    /// … with this secondary key.
    pub variant: Variant,
    /// When it came, by the monotonic clock.
    pub received: Instant,
    /// When it came, by the wall clock.
    pub received_at: Timestamp,
    /// When its fetch began.
    pub birth: Birth,
    /// The tags that the origin gave it.
    pub tags: Tags,
    /// The content.
    pub content: Arc<Content>,
    /// Whether its fields speak to this network's caches alone: those are not for clients.
    pub speaks_to_us: bool,
    /// Its encoded forms, as they are made; `None` if it is not to be encoded.
    pub forms: Option<Arc<Forms>>,
    /// When the origin last failed to confirm it: milliseconds since `received`, plus one; 0 is never.
    pub failed: AtomicU64,
}

impl Object {
    /// How long it has lain here.
    pub fn resident(&self) -> Duration {
        self.received.elapsed()
    }

    /// Whether it answers a request with these fields.
    pub fn answers(&self, request: &HeaderMap) -> bool {
        self.vary.variant(request) == self.variant
    }

    /// Whether it answers requests of one part only.
    pub fn is_part(&self) -> bool {
        self.vary.is_of_a_part()
    }

    /// As conditions and ranges see it.
    pub fn as_stored(&self) -> conditions::Stored<'_> {
        conditions::Stored {
            status: self.status,
            headers: &self.headers,
            received_at: self.received_at,
            length: self.content.length(),
        }
    }

    /// Remembers that the origin has just failed to confirm it.
    pub fn note_failure(&self) {
        let millis = u64::try_from(self.resident().as_millis()).unwrap_or(u64::MAX - 1);
        self.failed.store(millis + 1, Ordering::Relaxed);
    }

    /// Whether the origin failed to confirm it within the last `within`.
    pub fn failed_within(&self, within: Duration) -> bool {
        let noted = self.failed.load(Ordering::Relaxed);
        noted > 0 && self.resident().saturating_sub(Duration::from_millis(noted - 1)) < within
    }

    fn octets(&self) -> u64 {
        let fields: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        let content = self.content.length().unwrap_or(0);
        let forms = self.forms.as_ref().map_or(0, |forms| forms.octets());
        let described = fields + self.variant.octets() + self.tags.octets();
        content + forms + described as u64 + OBJECT_OVERHEAD_OCTETS
    }
}

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
    expectations: Expectations,
    marks: Marks,
    budget: Arc<Budget>,
    object_octets_max: u64,
}

impl Store {
    /// An empty store within the configured bounds.
    pub fn new(config: &CacheConfig, metrics: &Metrics) -> Self {
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
            expectations: Expectations::default(),
            marks: Marks::default(),
            budget: Arc::new(Budget::new(config.fill_bytes_max())),
            object_octets_max,
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

    /// Content to be filled, within the bounds of this store.
    pub fn new_content(&self, announced: Option<u64>) -> Arc<Content> {
        Content::new(announced, self.object_octets_max, self.budget.clone())
    }

    /// Marks the beginning of a fetch; call it before anything is sent to the origin.
    pub fn begin(&self, zone: ZoneId) -> Birth {
        self.marks.begin(zone)
    }

    /// Whether nothing has been purged since that would hide what was begun then, has this key and these tags.
    pub fn is_current(&self, primary: &PrimaryKey, birth: &Birth, tags: &Tags) -> bool {
        self.marks.is_current(primary, birth, tags)
    }

    fn may_serve(&self, primary: &PrimaryKey, object: &Object) -> bool {
        self.is_current(primary, &object.birth, &object.tags)
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
    }

    /// Counts the forms of an object anew, if it is still stored, or confirmed meanwhile and stored again with them.
    pub fn recount(&self, primary: &PrimaryKey, object: &Object) {
        let key = self.place_of(primary, object);
        // Without waiting: nobody fills an entry of this store through a guard. One that is empty is left empty.
        let _counted = self.entries.entry(&key, Some(Duration::ZERO), |_, entry| {
            if let Entry::Object(stored, octets) = entry
                && let (Some(theirs), Some(forms)) = (&stored.forms, &object.forms)
                && Arc::ptr_eq(theirs, forms)
            {
                *octets = stored.octets();
            }
            EntryAction::Retain(())
        });
    }

    /// The key under which an object lies, if it is stored.
    fn place_of(&self, primary: &PrimaryKey, object: &Object) -> Key {
        let base = Key { primary: primary.clone(), variant: None };
        match self.entries.get(&base) {
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
    }

    /// Forgets everything of a zone, and whatever of it is on its way.
    pub fn purge_zone(&self, zone: ZoneId) {
        self.marks.purge_zone(zone);
    }

    /// Forgets what these names say of a zone, and whatever of it is on its way.
    pub fn purge_names(&self, zone: ZoneId, names: &[Mark]) {
        self.marks.purge_names(zone, names);
    }

    /// Forgets what lies under keys that rules made of URLs of this one's path.
    pub fn purge_path(&self, key: &PrimaryKey) {
        self.marks.purge_names(key.zone(), &[Mark::path(key)]);
    }

    /// Forgets everything, and whatever is on its way.
    pub fn purge_everything(&self) {
        self.marks.purge_everything();
        self.entries.clear();
        self.passes.clear();
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

#[cfg(test)]
#[path = "store_tests.rs"]
pub(crate) mod tests;

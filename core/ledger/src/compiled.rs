//! What the request path needs of a zone, compiled on first use and kept until the zone changes.
//!
//! ```text
//!  host ─▶ its ends, longest first: may a zone be called so? ─▶ cache: name → Arc<T> ─▶ the request
//!             (zone_names.rs)                                     │ not there
//!                                                                 └─▶ snapshot: name → zone ─▶ T::compile
//! ```
//!
//! The cache is bounded by what its zones weigh: by their number, or by the octets that they take. What it holds are names
//! of zones, and not all names that are asked for: a flood of made-up names in a zone, or in none, pushes nothing out, and
//! finds what it needs in memory but for two in a hundred.
//!
//! **Nothing stale is kept.** What is cached carries the numbers of invalidations that its zone's and its name's stripe had
//! seen before the snapshots were taken of which it was made; it is valid while those numbers are still the same. A
//! compilation that began before an invalidation therefore stores something that is already invalid, however long it takes.
//!
//! **A change costs what changed.** It makes invalid what shares a stripe with it: of the others one in four thousand.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use proxima_model::{Key, Kind, Zone, limits::NAME_OCTETS_MAX};
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::{ChangeSet, ReadError, Replica, Snapshot, snapshot::zone_candidates};

/// What is made of a zone for the request path.
pub trait CompileZone: Sized + Send + Sync + 'static {
    /// What a zone weighs of common size, in the unit of [`Self::weight`].
    const WEIGHT_COMMON: u64 = 1;

    /// Compiles the zone as it is in the snapshot.
    fn compile(snapshot: &Snapshot, zone: Zone) -> Result<Self, ReadError>;

    /// How much of its cache's room it takes: 1, where the zones are counted; or the octets of memory that it takes with all
    /// that it holds, and [`ENTRY_OCTETS`] for its place in the cache.
    fn weight(&self) -> u64 {
        1
    }
}

/// Octets that a cache keeps beside each zone: its name, and places in its tables.
pub const ENTRY_OCTETS: u64 = 128;
/// Counters of invalidations; zones share one by the hash of their id or name. A change of one zone compiles again, besides
/// it, one in as many others that are cached.
const STRIPES: usize = 4_096;
/// Parts of the cache, each with its lock and its share of the room.
const SHARDS: usize = 64;

/// Compiled zones, by the names in them. Cheap to clone; all clones share the caches.
pub struct CompiledZones<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for CompiledZones<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<T> {
    replica: Replica,
    zones: Cache<Box<str>, Kept<T>, Weights>,
    stripes: Box<[Stripe]>,
    hasher: RandomState,
}

/// How many invalidations there were.
#[derive(Default)]
struct Stripe {
    /// Of zones whose ids have this hash.
    zones: AtomicU64,
    /// Of zones whose names have this hash: they were made, or deleted.
    names: AtomicU64,
}

/// A compiled zone, and how many invalidations there had been before what it was made of was read.
struct Kept<T> {
    compiled: Arc<T>,
    zone_epoch: u64,
    name_epoch: u64,
    zone_stripe: u16,
    name_stripe: u16,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { compiled: Arc::clone(&self.compiled), ..*self }
    }
}

/// What cached zones weigh.
#[derive(Clone)]
struct Weights {
    /// What one weighs at the most: who weighs more than there is room for would never be kept, and compiled for each request.
    max: u64,
}

impl<T: CompileZone> Weighter<Box<str>, Kept<T>> for Weights {
    fn weight(&self, _: &Box<str>, kept: &Kept<T>) -> u64 {
        kept.compiled.weight().clamp(1, self.max)
    }
}

impl<T: CompileZone> CompiledZones<T> {
    /// Keeps compiled zones of so much weight together at most; the largest of them take no more than a 64th of it by this
    /// count, whatever they weigh, so that each can be kept.
    pub fn new(replica: Replica, room: u64) -> Self {
        let items = usize::try_from((room / T::WEIGHT_COMMON).max(1)).unwrap_or(usize::MAX);
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(items)
            .weight_capacity(room)
            .build()
            .expect("capacities are given");
        // A shard admits what fits into nine tenths of it and more.
        let weights = Weights { max: (room / SHARDS as u64 * 9 / 10).max(1) };
        let shared = Shared {
            replica,
            zones: Cache::with_options(
                options,
                weights,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
            hasher: RandomState::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The compiled zone in which a name lies: the one with the longest name. Any case, with or without the last dot.
    /// Warm, this reads one cache and allocates nothing.
    pub fn find(&self, name: &str) -> Result<Option<Arc<T>>, ReadError> {
        let mut buffer = [0; NAME_OCTETS_MAX];
        let Some(name) = normalise(name, &mut buffer) else { return Ok(None) };
        for name in zone_candidates(name) {
            if !self.shared.replica.zone_names().may_be(name) {
                continue;
            }
            let found = match self.cached(name) {
                Some(compiled) => Some(compiled),
                None => self.compile(name)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Names strictly beneath this one (lower case, no last dot) that zones have, or had; only such as have four labels
    /// and more, since no other zone leaves a name free between itself and another one. `None` while it is not known, which is
    /// so for a moment after a start, and where there are 64 and more.
    pub fn beneath(&self, name: &str) -> Option<Vec<String>> {
        self.shared.replica.zone_names().beneath(name)
    }

    /// Forgets what was made of the zones that changed. Called with every change set, after it was applied.
    pub fn invalidate(&self, changed: &ChangeSet) {
        let replica = &self.shared.replica;
        // Until that succeeds, everything is found nevertheless, and more slowly.
        replica.zone_names().learn(replica, changed.is_everything().then_some(changed.to)).ok();
        let (Some(zones), Some(names)) = (changed.zones(), changed.of_kind(Kind::ZoneName)) else {
            for stripe in &self.shared.stripes {
                stripe.zones.fetch_add(1, Ordering::AcqRel);
            }
            self.shared.zones.clear();
            return;
        };
        for zone in zones {
            self.stripe(self.stripe_of(zone)).zones.fetch_add(1, Ordering::AcqRel);
        }
        for name in names.filter_map(Key::first_part::<String>) {
            self.stripe(self.stripe_of(&*name)).names.fetch_add(1, Ordering::AcqRel);
            self.shared.zones.remove(&*name);
        }
    }

    /// How many compiled zones are cached.
    pub fn len(&self) -> usize {
        self.shared.zones.len()
    }

    /// Whether no compiled zone is cached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is kept of the zone of exactly this name, if nothing of it changed.
    fn cached(&self, name: &str) -> Option<Arc<T>> {
        let kept = self.shared.zones.get(name)?;
        let is_valid = self.stripe(kept.zone_stripe).zones.load(Ordering::Acquire) == kept.zone_epoch
            && self.stripe(kept.name_stripe).names.load(Ordering::Acquire) == kept.name_epoch;
        is_valid.then_some(kept.compiled)
    }

    /// Compiles the zone of exactly this name, if there is one.
    #[cold]
    fn compile(&self, name: &str) -> Result<Option<Arc<T>>, ReadError> {
        let replica = &self.shared.replica;
        let name_stripe = self.stripe_of(name);
        // Each before the snapshot from which it is read: see the head of this file.
        let name_epoch = self.stripe(name_stripe).names.load(Ordering::Acquire);
        let Some(id) = replica.snapshot()?.zone_id_by_name(name)? else { return Ok(None) };
        let zone_stripe = self.stripe_of(id);
        let zone_epoch = self.stripe(zone_stripe).zones.load(Ordering::Acquire);
        let snapshot = replica.snapshot()?;
        let Some(zone) = snapshot.get::<Zone>(&id)? else { return Ok(None) };
        let compiled = Arc::new(T::compile(&snapshot, zone)?);
        let kept = Kept { compiled: Arc::clone(&compiled), zone_epoch, name_epoch, zone_stripe, name_stripe };
        self.shared.zones.insert(name.into(), kept);
        Ok(Some(compiled))
    }

    fn stripe(&self, number: u16) -> &Stripe {
        &self.shared.stripes[usize::from(number)]
    }

    fn stripe_of(&self, id_or_name: impl Hash) -> u16 {
        let hash = self.shared.hasher.hash_one(id_or_name);
        u16::try_from(hash % STRIPES as u64).expect("less than STRIPES")
    }
}

/// The name in lower case without its last dot; `None` if it is longer than names are.
fn normalise<'a>(name: &'a str, buffer: &'a mut [u8; NAME_OCTETS_MAX]) -> Option<&'a str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if !name.bytes().any(|octet| octet.is_ascii_uppercase()) {
        return (name.len() <= NAME_OCTETS_MAX).then_some(name);
    }
    let buffer = buffer.get_mut(..name.len())?;
    buffer.copy_from_slice(name.as_bytes());
    buffer.make_ascii_lowercase();
    Some(std::str::from_utf8(buffer).expect("changing the case of ASCII letters keeps UTF-8"))
}

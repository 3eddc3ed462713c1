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
//! **Nothing stale is kept, and a change costs what changed.** Whoever compiles a zone has a place in the cache under its
//! name before the snapshot is taken of which it is made; whoever invalidates takes what is under the name of a zone that
//! changed out of the cache, place or compiled zone, and nothing else. What was made for a place that is there no more is not
//! kept, however long it took.

use std::{sync::Arc, time::Duration};

use proxima_model::{Key, Kind, Zone, limits::NAME_OCTETS_MAX};
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle, GuardResult},
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
    zones: Cache<String, Arc<T>, Weights>,
}

/// What cached zones weigh.
#[derive(Clone)]
struct Weights {
    /// What one weighs at the most: who weighs more than there is room for would never be kept, and compiled for each request.
    max: u64,
}

impl<T: CompileZone> Weighter<String, Arc<T>> for Weights {
    fn weight(&self, _: &String, compiled: &Arc<T>) -> u64 {
        compiled.weight().clamp(1, self.max)
    }
}

impl<T: CompileZone> CompiledZones<T> {
    /// Keeps compiled zones of so much weight together at most; the largest of them take no more than a 64th of it by this
    /// count, whatever they weigh, so that each can be kept: from its second question on, if there was no room.
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
            let found = match self.shared.zones.get(name) {
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
        match self.changed_names(changed) {
            Some(names) => names.iter().for_each(|name| drop(self.shared.zones.remove(name.as_str()))),
            None => self.shared.zones.clear(),
        }
    }

    /// The names of the zones that changed; `None` if that may be any.
    fn changed_names(&self, changed: &ChangeSet) -> Option<Vec<String>> {
        let made_or_deleted = changed.of_kind(Kind::ZoneName)?;
        let mut names: Vec<String> = made_or_deleted.filter_map(Key::first_part).collect();
        let zones = changed.zones()?;
        if zones.is_empty() {
            return Some(names);
        }
        let snapshot = self.shared.replica.snapshot().ok()?;
        for zone in zones {
            match snapshot.get::<Zone>(&zone).ok()? {
                Some(zone) => names.push(zone.name.to_string()),
                // It was deleted, and its name with it.
                None if !names.is_empty() => {}
                None => return None,
            }
        }
        Some(names)
    }

    /// How many compiled zones are cached.
    pub fn len(&self) -> usize {
        self.shared.zones.len()
    }

    /// Whether no compiled zone is cached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Compiles the zone of exactly this name, if there is one. Nobody waits for another who does the same.
    #[cold]
    fn compile(&self, name: &str) -> Result<Option<Arc<T>>, ReadError> {
        // Before the snapshot: see the head of this file.
        let place = match self.shared.zones.get_value_or_guard(name, Some(Duration::ZERO)) {
            GuardResult::Value(compiled) => return Ok(Some(compiled)),
            GuardResult::Guard(place) => Some(place),
            GuardResult::Timeout => None,
        };
        let snapshot = self.shared.replica.snapshot()?;
        let Some(zone) = snapshot.zone_by_name(name)? else { return Ok(None) };
        let compiled = Arc::new(T::compile(&snapshot, zone)?);
        // Where the place is there no more, what was made is good for this once.
        place.and_then(|place| place.insert(Arc::clone(&compiled)).err());
        Ok(Some(compiled))
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

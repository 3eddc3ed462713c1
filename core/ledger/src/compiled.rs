//! What the request path needs of a zone, compiled on first use and kept until the zone changes.
//!
//! ```text
//!  host ─▶ its ends, longest first: may a zone be called so? ─▶ names: name → zone ─▶ zones: zone → Arc<T> ─▶ the request
//!             (zone_names.rs)                                     │ not there          │ not there
//!                                                                 └──── snapshot ──────┴─▶ T::compile
//! ```
//!
//! Both caches are bounded. What they hold are names of zones, and not all names that are asked for: a flood of made-up
//! names in a zone, or in none, pushes nothing out, and finds what it needs in memory but for two in a hundred.
//!
//! **Nothing stale is kept.** A cached thing carries the number of invalidations that its stripe had seen before the
//! snapshot was taken of which it was made; it is valid while that number is still the same. A compilation that began
//! before an invalidation therefore stores something that is already invalid, however long it takes.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use proxima_model::{Kind, Zone, ZoneId, limits::NAME_OCTETS_MAX};
use quick_cache::sync::Cache;

use crate::{ChangeSet, ReadError, Replica, Snapshot, snapshot::zone_candidates};

/// What is made of a zone for the request path.
pub trait CompileZone: Sized + Send + Sync + 'static {
    /// Compiles the zone as it is in the snapshot.
    fn compile(snapshot: &Snapshot, zone: Zone) -> Result<Self, ReadError>;
}

/// Names of zones remembered: about 10 MiB at the longest, 2 MiB of usual ones.
const NAMES_MAX: usize = 32_768;
/// Counters of invalidations; zones share one by the hash of their id. A change of one zone compiles again, besides
/// it, one in as many others that are cached.
const STRIPES: usize = 4_096;

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
    names: Cache<Box<str>, Counted<ZoneId>>,
    names_epoch: AtomicU64,
    zones: Cache<ZoneId, Counted<Arc<T>>>,
    zones_epochs: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// Something, and how many invalidations there had been before what it was made of was read.
#[derive(Clone)]
struct Counted<V> {
    epoch: u64,
    value: V,
}

impl<T: CompileZone> CompiledZones<T> {
    /// Keeps at most `zones_max` compiled zones.
    pub fn new(replica: Replica, zones_max: usize) -> Self {
        let shared = Shared {
            replica,
            names: Cache::new(NAMES_MAX),
            names_epoch: AtomicU64::new(0),
            zones: Cache::new(zones_max),
            zones_epochs: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The compiled zone in which a name lies: the one with the longest name. Any case, with or without the last dot.
    /// Warm, this reads two caches and allocates nothing.
    pub fn find(&self, name: &str) -> Result<Option<Arc<T>>, ReadError> {
        let mut buffer = [0; NAME_OCTETS_MAX];
        let Some(name) = normalise(name, &mut buffer) else { return Ok(None) };
        for name in zone_candidates(name) {
            if self.shared.replica.zone_names().may_be(name)
                && let Some(zone) = self.named(name)?
            {
                return self.get(zone);
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

    /// The zone of exactly this name.
    fn named(&self, name: &str) -> Result<Option<ZoneId>, ReadError> {
        let epoch = self.shared.names_epoch.load(Ordering::Acquire);
        if let Some(known) = self.shared.names.get(name)
            && known.epoch == epoch
        {
            return Ok(Some(known.value));
        }
        let zone = self.shared.replica.snapshot()?.zone_id_by_name(name)?;
        if let Some(value) = zone {
            self.shared.names.insert(name.into(), Counted { epoch, value });
        }
        Ok(zone)
    }

    /// The compiled zone of this id.
    pub fn get(&self, zone: ZoneId) -> Result<Option<Arc<T>>, ReadError> {
        match self.cached(zone) {
            Some(compiled) => Ok(Some(compiled)),
            None => self.compile(zone),
        }
    }

    /// Forgets what was made of the zones that changed. Called with every change set, after it was applied.
    pub fn invalidate(&self, changed: &ChangeSet) {
        let replica = &self.shared.replica;
        // Until that succeeds, everything is found nevertheless, and more slowly.
        replica.zone_names().learn(replica, changed.is_everything().then_some(changed.to)).ok();
        match changed.zones() {
            None => {
                for epoch in &self.shared.zones_epochs {
                    epoch.fetch_add(1, Ordering::AcqRel);
                }
                self.shared.zones.clear();
            }
            Some(zones) => {
                for zone in zones {
                    self.epoch(zone).fetch_add(1, Ordering::AcqRel);
                    self.shared.zones.remove(&zone);
                }
            }
        }
        if changed.touches(Kind::ZoneName) {
            self.shared.names_epoch.fetch_add(1, Ordering::AcqRel);
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

    fn cached(&self, zone: ZoneId) -> Option<Arc<T>> {
        let epoch = self.epoch(zone).load(Ordering::Acquire);
        self.shared.zones.get(&zone).filter(|cached| cached.epoch == epoch).map(|cached| cached.value)
    }

    fn compile(&self, id: ZoneId) -> Result<Option<Arc<T>>, ReadError> {
        // Before the snapshot: see the head of this file.
        let epoch = self.epoch(id).load(Ordering::Acquire);
        let snapshot = self.shared.replica.snapshot()?;
        let Some(zone) = snapshot.get::<Zone>(&id)? else { return Ok(None) };
        let compiled = Arc::new(T::compile(&snapshot, zone)?);
        self.shared.zones.insert(id, Counted { epoch, value: Arc::clone(&compiled) });
        Ok(Some(compiled))
    }

    fn epoch(&self, zone: ZoneId) -> &AtomicU64 {
        let hash = self.shared.hasher.hash_one(zone);
        let stripe = usize::try_from(hash % STRIPES as u64).expect("less than STRIPES");
        &self.shared.zones_epochs[stripe]
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

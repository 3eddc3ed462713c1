//! What the request path needs of a zone: compiled when it is first asked for, kept, and compiled anew when the zone changes,
//! by whoever puts the change in force.
//!
//! ```text
//!  host ─▶ its ends, longest first: may a zone be called so? ─▶ cache: name → Arc<T> ─▶ the request
//!             (zone_names.rs)                                     │ not there    ▲
//!                                                                 └─▶ compile, once for all who ask (compiling.rs)
//!                                                                                │
//!  change ─▶ prepare: T::compile of each zone that changed and is kept ─▶ commit: in the place of the former one
//! ```
//!
//! The cache is bounded by what its zones weigh: by their number, or by the octets that they take. What it holds are names
//! of zones, and not all names that are asked for: a flood of made-up names in a zone, or in none, pushes nothing out, and
//! finds what it needs in memory but for two in a hundred.
//!
//! **Nobody waits for a zone that is kept.** While it is compiled anew, the former one is served; a commit puts the new one
//! in its place. Only the zones that changed are touched. What was changed so far that the changes are not known one by one
//! (a snapshot that was fetched) forgets everything, and each zone is compiled when it is next asked for.
//!
//! **Who has others to answer waits for no large zone** that is not kept ([`CompiledZones::look`]): it is compiled by another
//! thread, once, and the answer is made when it is there.
//!
//! **Nothing goes back.** What is kept carries the place in the log of which it was made, and only something of a later one
//! takes its place. Snapshots that are taken later say the same and more, by what they hold and by the place that they name;
//! so of two with the same place either may stay. A commit puts nothing where nothing is: what was pushed out meanwhile may
//! have been of a later state. Of a zone that was neither kept nor under way when a change was prepared, whatever is there at
//! the commit was read after the change.
//!
//! **A request takes one lock**, shared, of one of the cache's 64 parts, for as long as a name is compared and a pointer
//! counted; it is held alone by who puts a zone in or pushes one out. Warm, nothing is allocated.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use proxima_model::{Key, Kind, Zone, ZoneId, limits::NAME_OCTETS_MAX};
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::{
    ChangeSet, ReadError, Replica, Seq, Snapshot,
    compiling::{Aside, Flight, Flights, Kept, Leading, Outcome, Role},
    snapshot::zone_candidates,
};

/// What is made of a zone for the request path.
pub trait CompileZone: Sized + Send + Sync + 'static {
    /// What a zone weighs of common size, in the unit of [`Self::weight`].
    const WEIGHT_COMMON: u64 = 1;

    /// Compiles the zone as it is in the snapshot.
    fn compile(snapshot: &Snapshot, zone: Zone) -> Result<Self, ReadError>;

    /// Whether to compile it takes so long that others are not to wait for it ([`CompiledZones::look`]).
    fn is_large(_snapshot: &Snapshot, _zone: ZoneId) -> Result<bool, ReadError> {
        Ok(false)
    }

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
    zones: Cache<Box<str>, Kept<T>, Weights>,
    flights: Flights<T>,
    aside: Aside,
    compiled_for_requests: AtomicU64,
    compiled_aside: AtomicU64,
    compiled_ahead: AtomicU64,
}

/// What there is of a zone for who has others to answer meanwhile.
pub enum Look<T> {
    /// This, or no zone.
    Found(Option<Arc<T>>),
    /// It is large, and is being compiled.
    Pending(Pending<T>),
}

/// A zone that is being compiled.
pub struct Pending<T>(Arc<Flight<T>>);

impl<T> Pending<T> {
    /// Until it is there to be found, or something went wrong.
    pub async fn landed(&self) {
        self.0.wait_in_task().await;
    }
}

/// What a change makes of the zone of one name.
enum Next<T> {
    /// This.
    Zone(Kept<T>),
    /// There is none any more, or none that can be read: who asks sees to it.
    None,
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
            flights: Flights::default(),
            aside: Aside::new(),
            compiled_for_requests: AtomicU64::new(0),
            compiled_aside: AtomicU64::new(0),
            compiled_ahead: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The compiled zone in which a name lies: the one with the longest name. Any case, with or without the last dot.
    /// Warm, this reads one cache and allocates nothing. Waits for a zone that is not there.
    pub fn find(&self, name: &str) -> Result<Option<Arc<T>>, ReadError> {
        match self.look_and(name, false)? {
            Look::Found(found) => Ok(found),
            Look::Pending(pending) => pending.0.wait().unwrap_or_else(|| self.find(name)),
        }
    }

    /// As [`Self::find`], for who has others to answer meanwhile: a large zone that is not there is compiled by another thread.
    pub fn look(&self, name: &str) -> Result<Look<T>, ReadError> {
        self.look_and(name, true)
    }

    fn look_and(&self, name: &str, can_wait: bool) -> Result<Look<T>, ReadError> {
        let mut buffer = [0; NAME_OCTETS_MAX];
        let Some(name) = normalise(name, &mut buffer) else { return Ok(Look::Found(None)) };
        for name in zone_candidates(name) {
            if !self.shared.replica.zone_names().may_be(name) {
                continue;
            }
            if let Some(compiled) = self.cached(name) {
                return Ok(Look::Found(Some(compiled)));
            }
            match self.compile(name, can_wait)? {
                Look::Found(None) => {}
                found => return Ok(found),
            }
        }
        Ok(Look::Found(None))
    }

    /// Names strictly beneath this one (lower case, no last dot) that zones have, or had; only such as have four labels
    /// and more, since no other zone leaves a name free between itself and another one. `None` while it is not known, which is
    /// so for a moment after a start, and where there are 64 and more.
    pub fn beneath(&self, name: &str) -> Option<Vec<String>> {
        self.shared.replica.zone_names().beneath(name)
    }

    /// Compiles anew what is kept of the zones that changed; puts it in force when called, which is quick and takes
    /// nothing away before. Called with every change set, and the state up to which it tells.
    pub fn prepare(&self, snapshot: &Snapshot, changed: &ChangeSet) -> impl FnOnce() + Send + use<T> {
        let replica = &self.shared.replica;
        // Until that succeeds, everything is found nevertheless, and more slowly.
        replica.zone_names().learn(replica, changed.is_everything().then_some(changed.to)).ok();
        let seq = snapshot.seq();
        let next = self.names_of(snapshot, changed).map(|names| {
            let next = names.into_iter().filter(|name| self.is_in_use(name, seq)).map(|name| {
                let next = self.next(snapshot, &name);
                (name, next)
            });
            next.collect::<Vec<_>>()
        });
        let zones = self.clone();
        move || match next {
            Some(next) => zones.commit(seq, next),
            None => zones.forget_all(seq),
        }
    }

    /// Prepares for the state of now and commits at once: for who has no others to wait for.
    pub fn invalidate(&self, changed: &ChangeSet) {
        match self.shared.replica.snapshot() {
            Ok(snapshot) => self.prepare(&snapshot, changed)(),
            // Nothing can be compiled: what was made of something that can no longer be read is not to be served.
            Err(_) => self.forget_all(self.shared.replica.seq()),
        }
    }

    /// The names of zones of which something changed; `None` if that may be all.
    fn names_of(&self, snapshot: &Snapshot, changed: &ChangeSet) -> Option<BTreeSet<String>> {
        let names = changed.of_kind(Kind::ZoneName)?.filter_map(Key::first_part::<String>);
        let mut names: BTreeSet<String> = names.collect();
        for zone in changed.zones()? {
            match snapshot.get::<Zone>(&zone) {
                Ok(Some(zone)) => drop(names.insert(zone.name.to_string())),
                // One that was deleted is told by its name.
                Ok(None) => {}
                // It cannot be known which one that was.
                Err(_) => return None,
            }
        }
        Some(names)
    }

    /// Whether something older than this is kept of the zone of this name, or about to be.
    fn is_in_use(&self, name: &str, than: Seq) -> bool {
        match self.shared.zones.peek(name) {
            Some(kept) => kept.seq < than,
            // Who lands between these two looks has kept it by the second.
            None => self.shared.flights.has(name) || self.shared.zones.contains_key(name),
        }
    }

    fn next(&self, snapshot: &Snapshot, name: &str) -> Next<T> {
        let compiled = compile::<T>(snapshot, name);
        self.shared.compiled_ahead.fetch_add(1, Ordering::Relaxed);
        match compiled {
            Ok(Some(kept)) => Next::Zone(kept),
            Ok(None) | Err(_) => Next::None,
        }
    }

    fn commit(&self, seq: Seq, next: Vec<(String, Next<T>)>) {
        for (name, next) in next {
            let zones = &self.shared.zones;
            let under_way = self.shared.flights.lock();
            let is_older = zones.peek(&*name).is_some_and(|kept| kept.seq < seq);
            let newer = match next {
                Next::Zone(kept) => {
                    if is_older {
                        zones.insert(name.as_str().into(), kept.clone());
                    }
                    Some(kept)
                }
                Next::None => {
                    if is_older {
                        zones.remove(&*name);
                    }
                    None
                }
            };
            if let Some(flight) = under_way.get(&*name) {
                flight.overtake(seq, newer.as_ref());
            }
        }
    }

    fn forget_all(&self, seq: Seq) {
        let under_way = self.shared.flights.lock();
        under_way.values().for_each(|flight| flight.overtake(seq, None));
        self.shared.zones.clear();
    }

    /// How many times who asked for a zone that was not kept compiled it.
    pub fn compiled_for_requests(&self) -> u64 {
        self.shared.compiled_for_requests.load(Ordering::Relaxed)
    }

    /// How many times another thread did, since it was large.
    pub fn compiled_aside(&self) -> u64 {
        self.shared.compiled_aside.load(Ordering::Relaxed)
    }

    /// How many zones were compiled because they changed.
    pub fn compiled_ahead(&self) -> u64 {
        self.shared.compiled_ahead.load(Ordering::Relaxed)
    }

    /// How many compiled zones are cached.
    pub fn len(&self) -> usize {
        self.shared.zones.len()
    }

    /// Whether no compiled zone is cached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is kept of the zone of exactly this name.
    fn cached(&self, name: &str) -> Option<Arc<T>> {
        self.shared.zones.get(name).map(|kept| kept.compiled)
    }

    /// Compiles the zone of exactly this name, if there is one, or waits for who does; does neither of a large one, if it can
    /// be waited for otherwise.
    #[cold]
    fn compile(&self, name: &str, can_wait: bool) -> Result<Look<T>, ReadError> {
        let snapshot = self.shared.replica.snapshot()?;
        // No lock for a name that no zone has.
        let Some(zone) = snapshot.zone_id_by_name(name)? else { return Ok(Look::Found(None)) };
        let aside = can_wait && T::is_large(&snapshot, zone)?;
        drop(snapshot);
        loop {
            match self.shared.flights.join(name) {
                Role::Leads(flight) if aside => return Ok(Look::Pending(self.lead_aside(flight, name))),
                Role::Waits(flight) if aside => return Ok(Look::Pending(Pending(flight))),
                Role::Leads(flight) => {
                    return self.lead(&flight, name, &self.shared.compiled_for_requests).map(Look::Found);
                }
                Role::Waits(flight) => {
                    if let Some(outcome) = flight.wait() {
                        return outcome.map(Look::Found);
                    }
                }
            }
        }
    }

    fn lead_aside(&self, flight: Arc<Flight<T>>, name: &str) -> Pending<T> {
        let pending = Pending(Arc::clone(&flight));
        // It does not hold what it is held by: the thread ends when nobody has these zones any more.
        let (shared, name) = (Arc::downgrade(&self.shared), Box::<str>::from(name));
        let compile = move || {
            if let Some(shared) = shared.upgrade() {
                // What it comes to is for those who wait.
                let zones = Self { shared };
                zones.lead(&flight, &name, &zones.shared.compiled_aside).ok();
            }
        };
        if let Err(compile) = self.shared.aside.run(compile) {
            compile();
        }
        pending
    }

    fn lead(&self, flight: &Flight<T>, name: &str, counter: &AtomicU64) -> Outcome<T> {
        let Shared { replica, zones, flights, .. } = &*self.shared;
        let leading = Leading { flights, flight, name };
        // Another one may have landed since it was looked for.
        let mut known = zones.peek(name);
        loop {
            let made = match known.take() {
                Some(kept) => Ok((kept.seq, Some(kept))),
                None => {
                    counter.fetch_add(1, Ordering::Relaxed);
                    replica.snapshot().and_then(|snapshot| Ok((snapshot.seq(), compile(&snapshot, name)?)))
                }
            };
            let mut under_way = flights.lock();
            let outcome = match made.map(|(seq, kept)| flight.newest(seq, kept)) {
                Ok(Some(newest)) => Ok(newest),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            if let Ok(Some(kept)) = &outcome
                && zones.peek(name).is_none_or(|known| known.seq < kept.seq)
            {
                zones.insert(name.into(), kept.clone());
            }
            let outcome = outcome.map(|kept| kept.map(|kept| kept.compiled));
            leading.land(&mut under_way, outcome.clone());
            return outcome;
        }
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

/// The zone of exactly this name as it is in the snapshot.
fn compile<T: CompileZone>(snapshot: &Snapshot, name: &str) -> Result<Option<Kept<T>>, ReadError> {
    let Some(zone) = snapshot.zone_by_name(name)? else { return Ok(None) };
    Ok(Some(Kept { compiled: Arc::new(T::compile(snapshot, zone)?), seq: snapshot.seq() }))
}

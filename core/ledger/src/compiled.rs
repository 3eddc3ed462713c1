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
//! **Nobody waits for a zone that is kept.** While it is compiled anew, the former one is served (`ahead.rs`). What was changed
//! so far that the changes are not known one by one (a snapshot that was fetched) forgets everything, and each zone is
//! compiled when it is next asked for.
//!
//! **Who has others to answer waits for no large zone** that is not kept ([`CompiledZones::look`]): it is compiled by another
//! thread (`aside.rs`), once, and the answer is made when it is there. Only threads that do nothing else compile a large zone,
//! and those that may be held up ([`CompiledZones::find`]).
//!
//! **Nothing goes back.** What is kept carries the place in the log of which it was made, and only something of a later one
//! takes its place. Snapshots that are taken later say the same and more, by what they hold and by the place that they name;
//! so of two with the same place either may stay.
//!
//! **A fault in a compilation is an error of its zone**, for all who ask for it, and ends no thread.
//!
//! **A request takes one lock**, shared, of one of the cache's 64 parts, for as long as a name is compared and a pointer
//! counted; it is held alone by who puts a zone in or pushes one out. Warm, nothing is allocated.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use proxima_model::{Kind, Zone, ZoneId, limits::NAME_OCTETS_MAX};
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::{
    ReadError, Replica, Snapshot,
    aside::Aside,
    compiling::{Flight, Flights, Kept, Leading, Outcome, Role},
    snapshot::zone_candidates,
};

/// What is made of a zone for the request path.
pub trait CompileZone: Sized + Send + Sync + 'static {
    /// The kinds of nouns that it is made of, all of which begin with the zone's id; a change of others changes nothing of it.
    const KINDS: &'static [Kind];
    /// Those of them whose nouns say more than it is made of: where nothing else of a zone changed, what is kept of it is asked
    /// whether it stays ([`Self::is_as_in`]).
    const KINDS_THAT_SAY_MORE: &'static [Kind] = &[];
    /// What a zone weighs of common size, in the unit of [`Self::weight`].
    const WEIGHT_COMMON: u64 = 1;
    /// How long those that changed together are compiled before the change is in force; what is left then follows.
    const AHEAD_WITHIN: Duration = Duration::from_millis(100);

    /// Compiles the zone as it is in the snapshot.
    fn compile(snapshot: &Snapshot, zone: Zone) -> Result<Self, ReadError>;

    /// Whether it says what it would if it were made of the snapshot's nouns of [`Self::KINDS_THAT_SAY_MORE`]; no others have
    /// changed. Reads few of them: it is asked before a change is in force.
    fn is_as_in(&self, _snapshot: &Snapshot, _zone: ZoneId) -> Result<bool, ReadError> {
        Ok(false)
    }

    /// Whether it is made of more nouns than so many. Reads no more of them than that.
    fn is_larger_than(_snapshot: &Snapshot, _zone: ZoneId, _nouns: usize) -> Result<bool, ReadError> {
        Ok(false)
    }

    /// How much of its cache's room it takes: 1, where the zones are counted; or the octets of memory that it takes with all
    /// that it holds, and [`ENTRY_OCTETS`] for its place in the cache.
    fn weight(&self) -> u64 {
        1
    }
}

/// Nouns from which on a zone is large: to compile more takes longer than other questions, and other zones' changes, are to
/// wait.
pub(crate) const LARGE_NOUNS: usize = 1_000;
/// Nouns from which on a zone is vast: to compile more takes longer than other large zones are to wait.
pub(crate) const VAST_NOUNS: usize = 30_000;
/// Octets that a cache keeps beside each zone: its name, and places in its tables.
pub const ENTRY_OCTETS: u64 = 128;
/// Parts of the cache, each with its lock and its share of the room.
const SHARDS: usize = 64;

/// Compiled zones, by the names in them. Cheap to clone; all clones share the caches.
pub struct CompiledZones<T> {
    pub(crate) shared: Arc<Shared<T>>,
}

impl<T> Clone for CompiledZones<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

pub(crate) struct Shared<T> {
    pub(crate) replica: Replica,
    pub(crate) zones: Cache<Box<str>, Kept<T>, Weights>,
    pub(crate) flights: Flights<T>,
    pub(crate) aside: Aside,
    compiled_for_requests: AtomicU64,
    compiled_aside: AtomicU64,
    pub(crate) compiled_ahead: AtomicU64,
}

/// What there is of a zone for who has others to answer meanwhile.
pub enum Look<T> {
    /// This, or no zone.
    Found(Option<Arc<T>>),
    /// It is large, and is being compiled.
    Pending(Pending<T>),
}

/// A zone that is being compiled.
pub struct Pending<T> {
    flight: Arc<Flight<T>>,
    name: Box<str>,
}

impl<T> Pending<T> {
    /// The zone's name.
    pub fn zone_name(&self) -> &str {
        &self.name
    }

    /// What it comes to, as [`CompiledZones::find`] tells it; `None` if whoever did it was kept from ending it, and who asks
    /// again sees to it.
    pub async fn landed(&self) -> Option<Result<Option<Arc<T>>, ReadError>> {
        self.flight.wait_in_task().await
    }
}

/// Who asks for a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// One who may be held up.
    AtLength,
    /// One who has others to answer, and comes again.
    AndComesAgain,
    /// One who has others to answer, and has waited enough.
    ForTheLastTime,
}

/// What cached zones weigh.
#[derive(Clone)]
pub(crate) struct Weights {
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
    /// Warm, this reads one cache and allocates nothing. Waits for a zone that is not there, which may take seconds.
    pub fn find(&self, name: &str) -> Result<Option<Arc<T>>, ReadError> {
        match self.ask(name, Asks::AtLength)? {
            Look::Found(found) => Ok(found),
            Look::Pending(pending) => pending.flight.wait().unwrap_or_else(|| self.find(name)),
        }
    }

    /// As [`Self::find`], for who has others to answer meanwhile: a large zone that is not there is compiled by another thread.
    pub fn look(&self, name: &str) -> Result<Look<T>, ReadError> {
        self.ask(name, Asks::AndComesAgain)
    }

    /// As [`Self::look`], for who does not wait any longer.
    ///
    /// # Errors
    /// [`ReadError::NotCompiled`]: the zone is large and is not there. Nobody is made to compile it.
    pub fn find_compiled(&self, name: &str) -> Result<Option<Arc<T>>, ReadError> {
        match self.ask(name, Asks::ForTheLastTime)? {
            Look::Found(found) => Ok(found),
            Look::Pending(pending) => Err(ReadError::NotCompiled { zone: pending.name.into() }),
        }
    }

    /// What is kept of the zone of exactly this name (lower case, no last dot). Compiles nothing.
    pub fn kept(&self, name: &str) -> Option<Arc<T>> {
        self.shared.zones.get(name).map(|kept| kept.compiled)
    }

    /// The state of now, of which zones are compiled.
    pub fn snapshot(&self) -> Result<Snapshot, ReadError> {
        self.shared.replica.snapshot()
    }

    fn ask(&self, name: &str, asks: Asks) -> Result<Look<T>, ReadError> {
        let mut buffer = [0; NAME_OCTETS_MAX];
        let Some(name) = normalise(name, &mut buffer) else { return Ok(Look::Found(None)) };
        for name in zone_candidates(name) {
            if !self.shared.replica.zone_names().may_be(name) {
                continue;
            }
            if let Some(compiled) = self.kept(name) {
                return Ok(Look::Found(Some(compiled)));
            }
            match self.compile(name, asks)? {
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

    /// Compiles the zone of exactly this name, if there is one, or waits for who does; does neither of a large one for who has
    /// others to answer.
    #[cold]
    fn compile(&self, name: &str, asks: Asks) -> Result<Look<T>, ReadError> {
        let Shared { replica, flights, .. } = &*self.shared;
        // No lock for a name that no zone has.
        if replica.snapshot()?.zone_id_by_name(name)?.is_none() {
            return Ok(Look::Found(None));
        }
        let pending = |flight| Look::Pending(Pending { flight, name: name.into() });
        loop {
            let flight = match flights.join(name) {
                Role::Leads(flight) => flight,
                // The one who leads is about to know.
                Role::Waits(flight) if asks != Asks::AtLength && flight.is_large.get() != Some(&false) => {
                    return Ok(pending(flight));
                }
                Role::Waits(flight) => match flight.wait() {
                    Some(outcome) => return outcome.map(Look::Found),
                    None => continue,
                },
            };
            let _goes_on = self.going_on(name);
            let leading = Leading::new(flights, Arc::clone(&flight), name);
            if asks == Asks::AtLength {
                return self.lead(leading, &self.shared.compiled_for_requests).map(Look::Found);
            }
            let snapshot = replica.snapshot()?;
            // Another one may have its name by now.
            let Some(zone) = snapshot.zone_id_by_name(name)? else { return Ok(Look::Found(None)) };
            let is_large = T::is_larger_than(&snapshot, zone, LARGE_NOUNS)?;
            drop(snapshot);
            flight.is_large.set(is_large).ok();
            match (is_large, asks) {
                (false, _) => {
                    return self.lead(leading, &self.shared.compiled_for_requests).map(Look::Found);
                }
                (true, Asks::ForTheLastTime) => {}
                (true, _) => self.lead_aside(leading, zone),
            }
            return Ok(pending(flight));
        }
    }

    /// Has a large zone compiled by a thread that does nothing else.
    fn lead_aside(&self, leading: Leading<'_, T>, zone: ZoneId) {
        let name = Box::<str>::from(leading.name());
        let handed_over = leading.hand_over();
        self.aside((name, zone), move |zones, name| {
            let _goes_on = zones.going_on(name);
            if let Some(leading) = handed_over.lead(&zones.shared.flights, name) {
                // What it comes to is for those who wait.
                zones.lead(leading, &zones.shared.compiled_aside).ok();
            }
        });
    }

    /// Has something done to a large zone by a thread that does nothing else, behind other large ones if it is vast.
    pub(crate) fn aside(
        &self,
        (name, zone): (Box<str>, ZoneId),
        act: impl FnOnce(&Self, &str) + Send + 'static,
    ) {
        // It does not hold what it is held by: the threads end when nobody has these zones any more.
        let weak = Arc::downgrade(&self.shared);
        self.shared.aside.run(false, move || {
            let Some(shared) = weak.upgrade() else { return };
            let zones = Self { shared };
            let is_vast = catch_unwind(AssertUnwindSafe(|| {
                T::is_larger_than(&zones.shared.replica.snapshot()?, zone, VAST_NOUNS)
            }));
            // What cannot be read, and a fault, is told by what is done: that must be done, for others wait for it.
            if !matches!(is_vast, Ok(Ok(true))) {
                return act(&zones, &name);
            }
            zones.shared.aside.run(true, move || {
                if let Some(shared) = weak.upgrade() {
                    act(&Self { shared }, &name);
                }
            });
        });
    }

    /// Compiles a zone for all who wait for it, and keeps it.
    pub(crate) fn lead(&self, leading: Leading<'_, T>, counter: &AtomicU64) -> Outcome<T> {
        let Shared { replica, zones, flights, .. } = &*self.shared;
        let name = leading.name();
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
            let outcome = match made.map(|(seq, kept)| leading.flight().newest(seq, kept)) {
                Ok(Some((_, Some(kept)))) if under_way.is_of_another(name, &kept) => continue,
                Ok(Some(newest)) => Ok(newest),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match &outcome {
                Ok((seq, kept)) => {
                    let known = zones.peek(name).map(|known| known.seq);
                    match kept {
                        Some(kept) if known.is_none_or(|known| known < *seq) => {
                            zones.insert(name.into(), kept.clone());
                        }
                        None if known.is_some_and(|known| known < *seq) => drop(zones.remove(name)),
                        _ => {}
                    }
                    under_way.serves(name, *seq);
                }
                // A former one is not served beyond that.
                Err(_) if under_way.is_behind(name) => self.serve_nothing(&mut under_way, name),
                Err(_) => {}
            }
            flights.tell_unserved(&under_way);
            let outcome = outcome.map(|(_, kept)| kept.map(|kept| kept.compiled));
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
    compile_zone(snapshot, zone).map(Some)
}

/// Compiles a zone as it is in the snapshot.
///
/// # Errors
/// [`ReadError::Fault`], if that panics.
pub(crate) fn compile_zone<T: CompileZone>(snapshot: &Snapshot, zone: Zone) -> Result<Kept<T>, ReadError> {
    let (id, name) = (zone.id, zone.name.clone());
    let compiled = catch_unwind(AssertUnwindSafe(|| T::compile(snapshot, zone))).unwrap_or_else(|_| {
        tracing::error!(zone = %name, "compiling a zone panicked: what is asked of it fails until that is mended");
        Err(ReadError::Fault { zone: name.to_string() })
    })?;
    Ok(Kept { compiled: Arc::new(compiled), zone: id, seq: snapshot.seq() })
}

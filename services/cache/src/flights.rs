//! Fetches in flight: who asks for the same joins, instead of asking the origin again.
//!
//! A flight is born when somebody has to ask the origin, and ends when the answer is stored, refused or lost. Until
//! the answer's head is known others wait for it; from then on they read the content while it grows, or go their own
//! way if it is not to be shared. Locks are held for look-ups only, never across an await.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use http::HeaderMap;
use proxima_model::ZoneId;
use proxima_pipeline::Fault;
use smallvec::SmallVec;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::{
    disk::Location,
    key::PrimaryKey,
    marks::{Birth, Tags},
    policy::{
        storing::Refusal,
        vary::{Variant, Vary},
    },
    store::{Object, Store},
};

/// Fetches in flight at once; beyond this, requests go to the origin without being collapsed or stored. Each costs a
/// task, an origin connection and up to one window of content.
pub const FLIGHTS_MAX: usize = 1_024;
/// A zone may have this part of all fetches in flight, so that an origin that hangs does not take those of others.
const ZONES_PART: usize = 8;
/// Fetches in flight of one URL: one, or one for each variant asked for at this moment.
const FLIGHTS_PER_KEY_MAX: usize = 16;
/// Locks among which the keys are spread.
const SHARDS: usize = 16;

/// What became of a fetch, as those see it who wait for it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The head is not here yet.
    Pending,
    /// A new answer that may be shared; its content may still be growing.
    Filling(Arc<Object>),
    /// The origin confirmed what was stored.
    Confirmed(Arc<Object>),
    /// The origin failed, and what is stored may serve nevertheless.
    Stale(Arc<Object>),
    /// An answer that is not to be shared: everybody asks for themselves.
    NotStored(Refusal),
    /// The origin failed.
    Failed(Fault),
    /// The fetch ended without an answer: somebody else shall lead.
    Lost,
}

/// One fetch.
#[derive(Debug)]
pub struct Flight {
    id: u64,
    /// What its request says in the fields by which answers of this URL are known to vary.
    vary: Vary,
    variant: Variant,
    birth: Birth,
    outcome: Mutex<Outcome>,
    /// Those who wait for the outcome. Nearly always none: then telling costs a look.
    waiting: AtomicUsize,
    told: Notify,
}

impl Flight {
    /// Sets the outcome, if `change` says so, and tells those who wait.
    fn tell(&self, outcome: Outcome, change: impl FnOnce(&Outcome) -> bool) {
        {
            let mut current = lock(&self.outcome);
            if !change(&current) {
                return;
            }
            *current = outcome;
        }
        // Whoever begins to wait is counted before it looks at the outcome: it is seen here, or has seen this one.
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.told.notify_waiters();
        }
    }
}

/// Somebody who waits for a flight's outcome.
#[derive(Debug)]
pub struct Waiting(Arc<Flight>);

impl Waiting {
    fn new(flight: &Arc<Flight>) -> Self {
        flight.waiting.fetch_add(1, Ordering::AcqRel);
        Self(flight.clone())
    }

    /// The outcome, once it is known.
    pub async fn outcome(&self) -> Outcome {
        loop {
            // Made before the look: what is told in between is not missed.
            let told = self.0.told.notified();
            let outcome = lock(&self.0.outcome).clone();
            if !matches!(outcome, Outcome::Pending) {
                return outcome;
            }
            told.await;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Nearly always one flight for a URL.
type Shard = HashMap<PrimaryKey, SmallVec<[Arc<Flight>; 1]>>;

/// All fetches in flight.
pub struct Flights {
    shards: [Mutex<Shard>; SHARDS],
    permits: Arc<Semaphore>,
    /// How many each zone has; none is left out.
    of_zones: Mutex<HashMap<ZoneId, usize>>,
    of_zone_max: usize,
    ids: AtomicU64,
}

/// How a request that must ask the origin goes on.
pub enum Joined {
    /// It leads: it has to fetch.
    Lead(Lead),
    /// It waits for somebody else's.
    Wait(Waiting),
    /// Somebody else's is here already, and may be shared.
    Share(Arc<Object>),
    /// Something was stored in between: look again.
    Again,
    /// Too much is in flight.
    Busy,
}

/// What a request is looked up by among the fetches in flight.
pub struct Wanted<'a> {
    /// The URL.
    pub key: &'a PrimaryKey,
    /// The request's fields.
    pub request: &'a HeaderMap,
    /// The names by which stored answers of this URL vary.
    pub vary: &'a Vary,
    /// The birth of its fetch, if it leads one. Asked for under the key's lock.
    pub birth: &'a dyn Fn() -> Birth,
    /// Whether an answer whose head is here already would do.
    pub shares: &'a dyn Fn(&Object) -> bool,
    /// Whether something that was stored a moment ago would do.
    pub stored: &'a dyn Fn() -> bool,
}

impl Default for Flights {
    fn default() -> Self {
        Self::new(FLIGHTS_MAX)
    }
}

impl Flights {
    /// At most so many at once, and of one zone an eighth of them.
    pub fn new(flights_max: usize) -> Self {
        Self {
            shards: Default::default(),
            permits: Arc::new(Semaphore::new(flights_max)),
            of_zones: Mutex::default(),
            of_zone_max: (flights_max / ZONES_PART).max(1),
            ids: AtomicU64::new(0),
        }
    }

    /// Joins a flight that would answer the request, or leads a new one.
    pub fn join(self: &Arc<Self>, store: &Store, wanted: &Wanted<'_>) -> Joined {
        let mut shard = self.shard(wanted.key);
        let flights = shard.get(wanted.key).map(SmallVec::as_slice).unwrap_or_default();
        let mut vary = wanted.vary.clone();
        let current = |flight: &Flight, tags: &Tags| store.is_current(wanted.key, &flight.birth, tags);
        for flight in flights {
            match &*lock(&flight.outcome) {
                // Its tags are not known yet: a purge of any may be meant for it.
                Outcome::Pending
                    if flight.vary.variant(wanted.request) == flight.variant
                        && current(flight, &Tags::unknown()) =>
                {
                    return Joined::Wait(Waiting::new(flight));
                }
                Outcome::Filling(object) if current(flight, &object.tags) => {
                    if object.answers(wanted.request)
                        && object.content.is_shareable()
                        && (wanted.shares)(object)
                    {
                        return Joined::Share(object.clone());
                    }
                    vary = object.vary.clone();
                }
                _ => {}
            }
        }
        // Flights end under this lock: if one ended since the caller looked, what it stored is seen now.
        if (wanted.stored)() {
            return Joined::Again;
        }
        if flights.len() >= FLIGHTS_PER_KEY_MAX {
            return Joined::Busy;
        }
        let Ok(permit) = self.permits.clone().try_acquire_owned() else { return Joined::Busy };
        if !self.enter(wanted.key.zone()) {
            return Joined::Busy;
        }
        let flight = Arc::new(Flight {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            variant: vary.variant(wanted.request),
            vary,
            birth: (wanted.birth)(),
            outcome: Mutex::new(Outcome::Pending),
            waiting: AtomicUsize::new(0),
            told: Notify::new(),
        });
        shard.entry(wanted.key.clone()).or_default().push(flight.clone());
        drop(shard);
        Joined::Lead(Lead { flights: self.clone(), key: wanted.key.clone(), flight, _permit: permit })
    }

    /// Forgets a URL: what is stored, and what is in flight. Those who read or wait already go on; nobody joins them
    /// any more, and what they read is not stored.
    pub fn forget(&self, store: &Store, key: &PrimaryKey) {
        let mut shard = self.shard(key);
        shard.remove(key);
        // Under the lock: what lies on the disk must not come into memory in between.
        store.forget(key);
        drop(shard);
    }

    /// Does something under the key's lock, under which whatever is stored is stored.
    pub(crate) fn locked<T>(&self, key: &PrimaryKey, action: impl FnOnce() -> T) -> T {
        let _held = self.shard(key);
        action()
    }

    /// Takes what lay on the disk into memory: see [`Store::take_in`].
    pub(crate) fn take_in(
        &self,
        store: &Store,
        key: &PrimaryKey,
        request: &HeaderMap,
        location: Location,
        object: Arc<Object>,
    ) -> Option<Arc<Object>> {
        let _held = self.shard(key);
        store.take_in(key, request, location, object)
    }

    /// Flights that are on their way now.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).values().map(SmallVec::len).sum::<usize>()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts one more of the zone, if it may have one; every [`Lead`] counts one less in the end.
    fn enter(&self, zone: ZoneId) -> bool {
        let mut of_zones = lock(&self.of_zones);
        let count = of_zones.entry(zone).or_default();
        let may = *count < self.of_zone_max;
        *count += usize::from(may);
        may
    }

    fn leave(&self, zone: ZoneId) {
        let mut of_zones = lock(&self.of_zones);
        if let Some(count) = of_zones.get_mut(&zone) {
            *count -= 1;
            if *count == 0 {
                of_zones.remove(&zone);
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the low bits of the hash are wanted")]
    fn shard(&self, key: &PrimaryKey) -> MutexGuard<'_, Shard> {
        lock(&self.shards[key.hash() as usize % SHARDS])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right and duty to bring a flight to its end. Dropped before that, the flight is lost.
pub struct Lead {
    flights: Arc<Flights>,
    key: PrimaryKey,
    flight: Arc<Flight>,
    _permit: OwnedSemaphorePermit,
}

impl Lead {
    /// When the fetch began.
    pub fn birth(&self) -> &Birth {
        &self.flight.birth
    }

    /// What is being fetched.
    pub const fn key(&self) -> &PrimaryKey {
        &self.key
    }

    /// Whether anybody waits.
    pub fn is_awaited(&self) -> bool {
        self.flight.waiting.load(Ordering::Acquire) > 0
    }

    /// Tells those who wait. The flight goes on; an object that is still growing is joined from now on.
    pub fn announce(&self, outcome: Outcome) {
        self.flight.tell(outcome, |_| true);
    }

    /// Ends the flight; `store` runs under the key's lock, and only if the URL was not forgotten meanwhile.
    pub fn end(self, store: impl FnOnce(&PrimaryKey)) {
        let mut shard = self.flights.shard(&self.key);
        if self.leave(&mut shard) {
            store(&self.key);
        }
    }

    /// Takes the flight out of the table; `false` if it is out already.
    fn leave(&self, shard: &mut Shard) -> bool {
        let Some(flights) = shard.get_mut(&self.key) else { return false };
        let before = flights.len();
        flights.retain(|flight| flight.id != self.flight.id);
        let left = flights.len() < before;
        if flights.is_empty() {
            shard.remove(&self.key);
        }
        left
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.leave(&mut self.flights.shard(&self.key));
        self.flights.leave(self.key.zone());
        self.flight.tell(Outcome::Lost, |outcome| matches!(outcome, Outcome::Pending));
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::{config::CacheConfig, metrics::Metrics};

    #[test]
    fn a_zone_whose_origin_hangs_leaves_room_for_others() {
        let metrics = Metrics::register(&mut Registry::default());
        let store = Store::new(&CacheConfig::default(), &metrics);
        let flights = Arc::new(Flights::new(2 * ZONES_PART));
        let join = |zone: u8, path: &str| {
            let url = format!("http://a.example/{path}");
            let key = PrimaryKey::of_url(ZoneId::from_bytes([zone; 16]), &url).expect("absolute");
            flights.join(
                &store,
                &Wanted {
                    key: &key,
                    request: &HeaderMap::new(),
                    vary: &Vary::default(),
                    birth: &|| store.begin(key.zone()),
                    shares: &|_| false,
                    stored: &|| false,
                },
            )
        };
        let (first, second) = (join(1, "a"), join(1, "b"));
        assert!(matches!((&first, &second), (Joined::Lead(_), Joined::Lead(_))));
        assert!(matches!(join(1, "c"), Joined::Busy));
        assert!(matches!(join(2, "a"), Joined::Lead(_)));
        drop(first);
        assert!(matches!(join(1, "c"), Joined::Lead(_)));
    }
}

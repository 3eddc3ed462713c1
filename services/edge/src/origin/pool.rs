//! Connections that are kept, and how many there may be.
//!
//! ```text
//!  lease(destination) ──▶ a permit (waits while all are taken) ──▶ Lease ──▶ an idle transport, last used first,
//!                                                                   │        or none: open one
//!                              transport is quiet, body read to its end
//!                                                                   ▼
//!                                            keep: idle again; or dropped: closed
//! ```
//!
//! A permit is held by who uses a connection, not by the idle ones; since one is only opened when none is idle, there
//! are never more connections to a place than permits.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use proxima_chassis::Deadline;
use proxima_http1::ReadBuffer;
use proxima_pipeline::Fault;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{OriginLimits, metrics::OriginMetrics, transport::Transport};

/// How often what is idle is looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// For how long an address that could not be connected to is tried after all others.
const FAILED_FOR: Duration = Duration::from_secs(10);

/// What connections have in common that can stand for one another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    pub(super) address: SocketAddr,
    /// TLS, with the name asked for and whether the certificate was verified; `None`: clear.
    pub(super) tls: Option<TlsName>,
}

/// How TLS is spoken to an origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TlsName {
    pub(super) name: Arc<str>,
    pub(super) verify: bool,
}

/// All places that were connected to lately.
pub(super) struct Pool {
    places: Mutex<HashMap<Destination, Arc<Place>>>,
    limits: OriginLimits,
    idle_after: Duration,
    idle_total: AtomicUsize,
    swept: AtomicBool,
    metrics: OriginMetrics,
    weak: Weak<Self>,
}

/// One destination.
struct Place {
    idle: Mutex<Vec<Idle>>,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    failed_at: Mutex<Option<Instant>>,
}

/// What of a connection is kept while nobody uses it.
pub(super) struct Kept {
    pub(super) transport: Transport,
    /// Empty; kept for its memory, as the deadline is for its timer.
    pub(super) buffer: ReadBuffer,
    pub(super) deadline: Deadline,
}

struct Idle {
    kept: Kept,
    since: Instant,
}

/// The right to use one connection to a place.
pub(super) struct Lease {
    place: Arc<Place>,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    pub(super) fn new(limits: OriginLimits, idle_after: Duration, metrics: OriginMetrics) -> Arc<Self> {
        Arc::new_cyclic(|weak| Self {
            places: Mutex::default(),
            limits,
            idle_after,
            idle_total: AtomicUsize::new(0),
            swept: AtomicBool::new(false),
            metrics,
            weak: weak.clone(),
        })
    }

    /// The right to use a connection to `destination`, as soon as there is one.
    ///
    /// # Errors
    /// [`Fault::Overloaded`] when too many wait already, or none became free within `queue`.
    pub(super) async fn lease(&self, destination: &Destination, queue: Duration) -> Result<Lease, Fault> {
        let place = self.place(destination);
        let permit = match place.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let waiting = place.waiting.fetch_add(1, Ordering::Relaxed);
                let _guard = Waiting(&place.waiting);
                if waiting >= self.limits.waiting_per_origin_max {
                    return Err(Fault::Overloaded);
                }
                let permit =
                    Box::pin(tokio::time::timeout(queue, place.permits.clone().acquire_owned())).await;
                permit.map_err(|_| Fault::Overloaded)?.map_err(|_| Fault::Internal("a pool was closed"))?
            }
        };
        let pool = self.weak.upgrade().ok_or(Fault::Internal("a pool was dropped"))?;
        Ok(Lease { place, pool, _permit: permit })
    }

    fn place(&self, destination: &Destination) -> Arc<Place> {
        let mut places = lock(&self.places);
        if let Some(place) = places.get(destination) {
            return place.clone();
        }
        let place = Arc::new(Place {
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(self.limits.connections_per_origin_max)),
            waiting: AtomicUsize::new(0),
            failed_at: Mutex::new(None),
        });
        places.insert(destination.clone(), place.clone());
        drop(places);
        self.begin_sweeping();
        place
    }

    /// Whether this address refused or did not answer a moment ago.
    pub(super) fn failed_lately(&self, destination: &Destination) -> bool {
        let place = lock(&self.places).get(destination).cloned();
        place.is_some_and(|place| lock(&place.failed_at).is_some_and(|at| at.elapsed() < FAILED_FOR))
    }

    /// Sweeps for as long as there are places.
    fn begin_sweeping(&self) {
        if self.swept.swap(true, Ordering::AcqRel) {
            return;
        }
        let weak = self.weak.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(pool) = weak.upgrade() else { return };
                if pool.sweep() {
                    return;
                }
            }
        });
    }

    /// Closes what was idle for too long or was closed by the origin, and forgets places without connections. `true`
    /// when none is left, and sweeping ends.
    fn sweep(&self) -> bool {
        let mut places = lock(&self.places);
        places.retain(|_, place| {
            let mut idle = lock(&place.idle);
            let before = idle.len();
            idle.retain_mut(|idle| idle.since.elapsed() < self.idle_after && idle.kept.transport.is_quiet());
            self.count_idle_out(before - idle.len());
            let used = !idle.is_empty() || lock(&place.failed_at).is_some_and(|at| at.elapsed() < FAILED_FOR);
            drop(idle);
            // A lease holds the place too; nobody can get one while the map is locked.
            used || Arc::strong_count(place) > 1
        });
        let none = places.is_empty();
        if none {
            self.swept.store(false, Ordering::Release);
        }
        none
    }

    fn count_idle_out(&self, closed: usize) {
        self.idle_total.fetch_sub(closed, Ordering::Relaxed);
        self.metrics.idle.dec_by(i64::try_from(closed).unwrap_or(i64::MAX));
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lease {
    /// The idle connection that was used last and still can be; those that cannot are closed. With `certain` the
    /// kernel is asked.
    pub(super) fn take_idle(&self, certain: bool, now: Instant) -> Option<Kept> {
        loop {
            let mut idle = lock(&self.place.idle).pop()?;
            self.pool.count_idle_out(1);
            let fresh = now.saturating_duration_since(idle.since) < self.pool.idle_after;
            let transport = &mut idle.kept.transport;
            if fresh && transport.is_quiet() && (!certain || transport.is_quiet_for_certain()) {
                return Some(idle.kept);
            }
        }
    }

    /// Keeps a connection for the next, unless there are enough.
    pub(super) fn keep(self, kept: Kept) {
        let pool = &self.pool;
        if pool.idle_total.fetch_add(1, Ordering::Relaxed) >= pool.limits.idle_total_max {
            pool.idle_total.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let mut idle = lock(&self.place.idle);
        if idle.len() >= pool.limits.idle_per_origin_max {
            pool.idle_total.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        idle.push(Idle { kept, since: Instant::now() });
        pool.metrics.idle.inc();
    }

    /// Notes how connecting to the place went.
    pub(super) fn note_connect(&self, worked: bool) {
        *lock(&self.place.failed_at) = (!worked).then(Instant::now);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let left = *self.idle_total.get_mut();
        self.metrics.idle.dec_by(i64::try_from(left).unwrap_or(i64::MAX));
    }
}

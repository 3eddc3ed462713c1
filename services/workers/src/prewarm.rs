//! Code is loaded while the client that will ask for it still shakes hands.
//!
//! ```text
//!  ClientHello ─▶ greeted(host): looked at lately? ── yes ─▶ nothing
//!                     │ no: remembered, and put into a bounded queue (full: dropped)
//!                     ▼
//!                a task: the host's zone, its Worker, the version ─▶ loaded lately? ─▶ a token? ─▶ Engine: loaded, not run
//! ```
//!
//! The handshake waits for none of it. What a flood of hellos can have done is bounded by [`LOADS_PER_SECOND_MAX`] and
//! [`LOADS_MAX`]; a host that is looked at is not looked at again for [`LATELY`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use proxima_ledger::{CompiledZones, nearest_active};
use proxima_model::ZoneStatus;
use proxima_pipeline::{Body, Fault, Prewarm, Site};
use serde_json::json;
use siphasher::sip::SipHasher13;
use tokio::{
    sync::{Semaphore, mpsc},
    time::MissedTickBehavior,
};

use crate::{
    engine::Head,
    metrics::Warmed,
    stage::Shared,
    version::{VersionKey, Wish},
};

/// Hosts that wait to be looked at: some hundredths of a second's work.
const WAITING_MAX: usize = 256;
/// For how long a host is not looked at again, nor a version loaded: a process ends after five minutes without requests at the
/// earliest, unless it has to be ended.
const LATELY: Duration = Duration::from_secs(60);
/// Places in which it is remembered what was looked at lately: two that share one are looked at more often.
const PLACES: usize = 4_096;
/// Versions that are loaded in a second: a tenth of a processor, at five milliseconds each.
const LOADS_PER_SECOND_MAX: u32 = 20;
/// Versions that are being loaded at a time: those whose first statements never end leave places for others.
const LOADS_MAX: usize = 8;
/// How long loading one may take: the request that follows does not wait for it in vain.
const WITHIN: Duration = Duration::from_secs(10);
/// Octets of what the dispatcher says when it has been loaded: nothing.
const SAID_OCTETS_MAX: usize = 1_024;

/// Is told of hosts.
pub(crate) struct Greeted {
    hosts: mpsc::Sender<Box<str>>,
    lately: Lately,
    shared: Arc<Shared>,
}

/// Looks at them.
pub(crate) struct Warmer {
    hosts: mpsc::Receiver<Box<str>>,
    sites: CompiledZones<Site>,
    loaded: Lately,
    shared: Arc<Shared>,
}

/// Both ends.
pub(crate) fn prewarming(shared: &Arc<Shared>, sites: CompiledZones<Site>) -> (Arc<Greeted>, Warmer) {
    let (sender, hosts) = mpsc::channel(WAITING_MAX);
    let greeted = Greeted { hosts: sender, lately: Lately::new(), shared: Arc::clone(shared) };
    (Arc::new(greeted), Warmer { hosts, sites, loaded: Lately::new(), shared: Arc::clone(shared) })
}

impl Prewarm for Greeted {
    fn greeted(&self, host: &str) {
        if self.shared.engine.get().is_none() || !self.lately.is_new(host.as_bytes(), &self.shared) {
            return;
        }
        if self.hosts.try_send(host.to_ascii_lowercase().into()).is_err() {
            self.shared.metrics.warmed(Warmed::Dropped);
        }
    }
}

impl Warmer {
    /// Looks at hosts until the node ends, or nobody tells of any.
    pub(crate) async fn run(mut self) {
        let places = Arc::new(Semaphore::new(LOADS_MAX));
        let mut tokens = tokio::time::interval(Duration::from_secs(1) / LOADS_PER_SECOND_MAX);
        tokens.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(host) = self.hosts.recv().await {
            let Some(key) = self.worker_of(&host) else { continue };
            if !self.loaded.is_new(key.to_string().as_bytes(), &self.shared) {
                self.shared.metrics.warmed(Warmed::Warm);
                continue;
            }
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            tokens.tick().await;
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                let loaded = load(&shared, &key).await;
                shared.metrics.warmed(if loaded.is_ok() { Warmed::Loaded } else { Warmed::Failed });
                if let Err(fault) = loaded {
                    tracing::debug!(%key, %fault, "a Worker is not loaded ahead of its requests");
                }
                drop(place);
            });
        }
    }

    /// The version that would answer for a host. A zone that is large and not compiled is left to its requests.
    fn worker_of(&self, host: &str) -> Option<VersionKey> {
        let site = nearest_active(host, |name| self.sites.find_compiled(name)).ok()??;
        if site.zone.status != ZoneStatus::Active || !site.zone.is_proxied() {
            return None;
        }
        let worker = site.workers.of_host(host)?;
        let account = site.zone.account;
        self.shared.deployments.choose(account, worker, Wish::default()).ok()?
    }
}

/// Has a version loaded, without running it.
async fn load(shared: &Shared, key: &VersionKey) -> Result<(), Fault> {
    let engine = shared.engine()?;
    let run = json!({
        "code": key.code(shared.looks.is_looked_at(key.account, &key.worker)),
        "prewarm": true,
    });
    let head = Head::of_node("http://prewarm.internal/", &run, WITHIN, None)?;
    // It is not asked again, if it is lost: whoever asks for the Worker then has it loaded.
    let answered = engine.run(key, head, Body::empty()).await?;
    answered.body.collect(SAID_OCTETS_MAX).await.map_err(|_| Fault::WorkerLost)?;
    Ok(())
}

/// What was looked at lately, by hashes, in as many places as there are.
struct Lately {
    began: Instant,
    /// Keyed, so that nobody can choose hosts that share a place.
    hasher: SipHasher13,
    places: Box<[AtomicU64]>,
}

impl Lately {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            hasher: SipHasher13::new_with_keys(rand::random(), rand::random()),
            places: std::iter::repeat_with(AtomicU64::default).take(PLACES).collect(),
        }
    }

    /// Whether this was not looked at lately; from now on it was. All is new after a change of what is deployed.
    fn is_new(&self, what: &[u8], shared: &Shared) -> bool {
        self.is_new_at(what, shared.deployments.changes(), self.began.elapsed())
    }

    fn is_new_at(&self, what: &[u8], changes: u64, now: Duration) -> bool {
        let hash = self.hasher.hash(what);
        let place = &self.places[usize::try_from(hash % PLACES as u64).unwrap_or_default()];
        // Who: the hash's upper bits. When: the age of all this, in spans, and one more, so that none is 0.
        let span = now.as_secs() / LATELY.as_secs() + 1;
        let noted = (hash.rotate_left(32) ^ changes.rotate_left(48)) & !SPANS | (span & SPANS);
        place.swap(noted, Ordering::Relaxed) != noted
    }
}

/// The bits in which it stands when: a century of spans.
const SPANS: u64 = (1 << 26) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_at_is_new_again_after_a_while_or_a_change() {
        let lately = Lately::new();
        let is_new = |what: &str, changes, seconds| {
            lately.is_new_at(what.as_bytes(), changes, Duration::from_secs(seconds))
        };
        assert!(is_new("a", 0, 0));
        assert!(!is_new("a", 0, 59));
        assert!(is_new("a", 0, 60), "a while has gone");
        assert!(is_new("a", 1, 61), "something has changed");
        assert!(!is_new("a", 1, 62));
        // Most have a place of their own.
        let others = (0..100).filter(|other| is_new(&format!("b{other}"), 1, 63)).count();
        assert_eq!(others, 100);
        let again = (0..100).filter(|other| is_new(&format!("b{other}"), 1, 64)).count();
        assert!(again < 20, "{again}");
    }
}

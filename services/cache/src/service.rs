//! The cache as a service: carries out purges as they come through the ledger, and counts.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use proxima_chassis::{Health, NodeContext, PrepareError, Prepared, Service, ServiceError, Shutdown};
use proxima_compression::Compressor;
use proxima_ledger::{ChangeSet, ReadError, Snapshot};
use proxima_model::{Key, Kind, Purge, PurgeId, PurgeWhat, Zone, ZoneId};

use crate::{
    config::CacheConfig,
    error::CacheError,
    key::PrimaryKey,
    marks::Mark,
    metrics::{Metrics, PurgeKind},
    stage::{CacheStage, NAME},
    store::Store,
};

/// How often the gauges are set: as often as somebody could want to read them.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Purges that are remembered as carried out. What is older than these is long removed from the log's state.
const CARRIED_OUT_MAX: usize = 16_384;

/// The service. Its stage goes into the edge's pipeline.
pub struct CacheService {
    stage: CacheStage,
    metrics: Metrics,
    carried_out: Arc<Mutex<CarriedOut>>,
}

/// The purges that this cache knows to have carried out, so that the removal of an old one from the log's state is
/// told from one that was made and removed while this server was away.
#[derive(Debug, Default)]
struct CarriedOut {
    ids: HashSet<PurgeId>,
    order: VecDeque<PurgeId>,
}

impl CarriedOut {
    fn add(&mut self, id: PurgeId) {
        if self.ids.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > CARRIED_OUT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

/// What a state of the replica asks the cache to forget.
#[derive(Debug, Default, PartialEq, Eq)]
struct Forget {
    everything: bool,
    zones: Vec<ZoneId>,
    files: Vec<PrimaryKey>,
    names: Vec<(ZoneId, Vec<Mark>)>,
    /// The purges that say so.
    purges: Vec<(PurgeId, PurgeKind)>,
}

impl Forget {
    fn carry_out(self, stage: &CacheStage, metrics: &Metrics, carried_out: &Mutex<CarriedOut>) {
        if self.everything {
            stage.store().purge_everything();
        }
        for zone in &self.zones {
            stage.store().purge_zone(*zone);
        }
        for key in &self.files {
            stage.forget(key);
        }
        for (zone, names) in &self.names {
            stage.store().purge_names(*zone, names);
        }
        let mut carried_out = carried_out.lock().unwrap_or_else(PoisonError::into_inner);
        if self.everything {
            tracing::info!(target: "proxima_cache", "purged everything: what was purged before is not known");
        }
        for (id, kind) in self.purges {
            if !self.everything {
                tracing::info!(target: "proxima_cache", purge = %id, ?kind, "purged");
            }
            metrics.count_purge(kind);
            carried_out.add(id);
        }
    }

    /// What one purge asks for; `None` if nobody knows any more.
    fn add(&mut self, zone: ZoneId, what: Option<&PurgeWhat>) {
        match what {
            Some(PurgeWhat::Files(urls)) => {
                self.files.extend(urls.iter().filter_map(|url| PrimaryKey::of_url(zone, url)));
            }
            Some(PurgeWhat::Hosts(hosts)) => self.names.push((zone, hosts.iter().map(Mark::host).collect())),
            Some(PurgeWhat::Prefixes(all)) => self.names.push((zone, all.iter().map(Mark::prefix).collect())),
            Some(PurgeWhat::Tags(tags)) => self.names.push((zone, tags.iter().map(Mark::tag).collect())),
            Some(PurgeWhat::Everything) | None => self.zones.push(zone),
        }
    }
}

impl CacheService {
    /// A cache as `[cache]` of the node's configuration describes it. `compressor` is the node's.
    ///
    /// # Errors
    /// What is wrong in `[cache]`.
    pub fn new(node: &NodeContext, compressor: Arc<Compressor>) -> Result<Arc<Self>, CacheError> {
        let config: CacheConfig = node.config.service(NAME)?;
        config.check()?;
        let metrics = node.metrics.register(NAME, Metrics::register);
        let store = Arc::new(Store::new(&config, &metrics));
        let stage = CacheStage::new(store, config, node.clock.clone(), metrics.clone(), compressor);
        Ok(Arc::new(Self::over(stage, metrics)))
    }

    fn over(stage: CacheStage, metrics: Metrics) -> Self {
        Self { stage, metrics, carried_out: Arc::default() }
    }

    /// The stage for the pipeline.
    pub fn stage(&self) -> CacheStage {
        self.stage.clone()
    }

    fn count(&self) {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let store = self.stage.store();
        self.metrics.objects.set(i64::try_from(store.objects()).unwrap_or(i64::MAX));
        self.metrics.bytes.set(gauge(store.octets()));
        self.metrics.fill_bytes.set(gauge(store.octets_growing()));
    }
}

/// Reads what is to be forgotten between two states. Of a purge that was removed again before this server heard of it
/// nobody knows what it said, so its whole zone goes.
fn to_forget(
    snapshot: &Snapshot,
    changed: &ChangeSet,
    carried_out: impl Fn(&PurgeId) -> bool,
) -> Result<Forget, ReadError> {
    let mut forget = Forget::default();
    let Some(keys) = changed.of_kind(Kind::Purge) else {
        // Anything may have changed: everything goes, and the purges that are there are carried out by that.
        forget.everything = true;
        for purge in snapshot.scan::<Purge>(&[]).take(CARRIED_OUT_MAX) {
            let purge = purge?;
            forget.purges.push((purge.id, PurgeKind::of(Some(&purge.what))));
        }
        return Ok(forget);
    };
    for (zone, id) in keys.filter_map(purge_id) {
        let what = snapshot.get::<Purge>(&(zone, id))?.map(|purge| purge.what);
        if what.is_none() && carried_out(&id) {
            continue;
        }
        forget.add(zone, what.as_ref());
        forget.purges.push((id, PurgeKind::of(what.as_ref())));
    }
    // A zone that was deleted takes its cache along.
    for zone in changed.of_kind(Kind::Zone).into_iter().flatten().filter_map(Key::first_part::<ZoneId>) {
        if snapshot.get::<Zone>(&zone)?.is_none() {
            forget.zones.push(zone);
        }
    }
    Ok(forget)
}

/// The id in `purge/ZONE/ID`.
fn purge_id(key: &Key) -> Option<(ZoneId, PurgeId)> {
    let mut parts = key.as_str().split('/').skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[async_trait]
impl Service for CacheService {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, snapshot: &Snapshot, changed: &ChangeSet) -> Result<Prepared, PrepareError> {
        let forget = {
            let carried_out = self.carried_out.lock().unwrap_or_else(PoisonError::into_inner);
            to_forget(snapshot, changed, |id| carried_out.ids.contains(id))?
        };
        let (stage, metrics) = (self.stage.clone(), self.metrics.clone());
        let carried_out = self.carried_out.clone();
        Ok(Prepared::new(move || forget.carry_out(&stage, &metrics, &carried_out)))
    }

    async fn run(self: Arc<Self>, _node: NodeContext, shutdown: Shutdown) -> Result<(), ServiceError> {
        let mut tick = tokio::time::interval(COUNT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.count(),
                // Nothing is begun or ended here: the stage, and what is in flight, end with the edge's clients.
                () = shutdown.draining() => return Ok(()),
            }
        }
    }

    fn health(&self) -> Health {
        Health::Ready
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;

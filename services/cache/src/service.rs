//! The cache as a service: carries out purges as they come through the ledger, and counts.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use proxima_chassis::{Health, NodeContext, PrepareError, Prepared, Service, ServiceError, Shutdown};
use proxima_compression::Compressor;
use proxima_ledger::{ChangeSet, ReadError, Snapshot};
use proxima_model::{
    Entity as _, Key, Kind, Purge, PurgeId, PurgeWhat, Zone, ZoneId, limits::PURGES_KEPT_MAX,
};
use proxima_pipeline::Invalidations;

use crate::{
    config::CacheConfig,
    disk::{Beginning, Missed},
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
/// Purges of a state that a disk is compared with at a start; with more it starts empty.
const BEGINNING_PURGES_MAX: usize = 100_000;

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
#[derive(Debug, Default)]
struct Forget {
    everything: bool,
    zones: Vec<ZoneId>,
    files: Vec<PrimaryKey>,
    names: Vec<(ZoneId, Vec<Mark>)>,
    /// The purges that say so.
    purges: Vec<(PurgeId, PurgeKind)>,
    /// This is the state with which the process begins, and these are its purges, for the disk.
    beginning: Option<Beginning>,
    /// The state's place in the log.
    seq: u64,
}

impl Forget {
    fn carry_out(self, stage: &CacheStage, metrics: &Metrics, carried_out: &Mutex<CarriedOut>) {
        stage.store().progress().begin(self.seq);
        let disk = stage.store().disk();
        let begins = match (self.beginning, disk) {
            // Nothing is in memory yet; the disk compares for itself.
            (Some(beginning), Some(disk)) if !disk.has_begun() => {
                disk.begin(beginning);
                true
            }
            _ => false,
        };
        if self.everything && !begins {
            stage.store().purge_everything();
        }
        for zone in &self.zones {
            stage.store().purge_zone(*zone);
        }
        for key in &self.files {
            stage.store().purge_url(key);
            stage.forget(key);
        }
        for (zone, names) in &self.names {
            stage.store().purge_names(*zone, names);
        }
        stage.store().end_purging(self.seq);
        let mut carried_out = carried_out.lock().unwrap_or_else(PoisonError::into_inner);
        if self.everything && !begins {
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
            Some(what) => match names(zone, what) {
                Some(names) => self.names.push((zone, names)),
                None => self.zones.push(zone),
            },
            None => self.zones.push(zone),
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
        let store = Arc::new(match config.disk_folder(&node.config.node.data_dir) {
            None => Store::new(&config, &metrics),
            Some(folder) => {
                let of_log = node.clone();
                let log_seen = Box::new(move || of_log.log_last_since_start().map(|seq| seq.0));
                Store::with_disk(&config, folder.clone(), node.clock.clone(), &metrics, log_seen)
                    .map_err(|error| CacheError::Folder { folder, error })?
            }
        });
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
        if let Some(disk) = store.disk() {
            disk.count();
        }
    }
}

/// Reads what is to be forgotten between two states. Of a purge that was removed again before this server heard of it
/// nobody knows what it said, so its whole zone goes.
fn to_forget(
    snapshot: &Snapshot,
    changed: &ChangeSet,
    begins: bool,
    carried_out: impl Fn(&PurgeId) -> bool,
) -> Result<Forget, ReadError> {
    let mut forget = Forget { seq: snapshot.seq().0, ..Forget::default() };
    let Some(keys) = changed.of_kind(Kind::Purge) else {
        // Anything may have changed: everything goes, and the purges that are there are carried out by that.
        forget.everything = true;
        if begins {
            forget.beginning = Some(beginning(snapshot)?);
        }
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

/// What the disk has to know of the state with which this process begins.
fn beginning(snapshot: &Snapshot) -> Result<Beginning, ReadError> {
    let (mut purges, mut of_zones) = (Vec::new(), HashMap::<ZoneId, usize>::new());
    for purge in snapshot.scan::<Purge>(&[]) {
        let purge = purge?;
        if purges.len() == BEGINNING_PURGES_MAX {
            return Ok(Beginning { seq: snapshot.seq().0, purges: None });
        }
        let made_by = snapshot.revision(&purge.key())?.map_or(u64::MAX, |seq| seq.0);
        let zone = purge.zone;
        purges.push(Missed { made_by, zone, names: names(zone, &purge.what) });
        let count = of_zones.entry(zone).or_default();
        *count += 1;
        if *count == PURGES_KEPT_MAX {
            // There may have been more.
            purges.push(Missed { made_by: u64::MAX, zone, names: None });
        }
    }
    Ok(Beginning { seq: snapshot.seq().0, purges: Some(purges) })
}

/// The marks of a purge; `None` if it is of everything.
fn names(zone: ZoneId, what: &PurgeWhat) -> Option<Vec<Mark>> {
    Some(match what {
        PurgeWhat::Everything => return None,
        PurgeWhat::Files(urls) => {
            let keys = urls.iter().filter_map(|url| PrimaryKey::of_url(zone, url));
            keys.flat_map(|key| Mark::url(&key).into_iter().chain([Mark::path(&key)])).collect()
        }
        PurgeWhat::Hosts(hosts) => hosts.iter().map(Mark::host).collect(),
        PurgeWhat::Prefixes(prefixes) => prefixes.iter().map(Mark::prefix).collect(),
        PurgeWhat::Tags(tags) => tags.iter().map(Mark::tag).collect(),
    })
}

/// The id in `purge/ZONE/ID`.
fn purge_id(key: &Key) -> Option<(ZoneId, PurgeId)> {
    let mut parts = key.as_str().split('/').skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

impl Invalidations for CacheStage {
    fn invalidated(&self, zone: ZoneId, url: &str) {
        if let Some(key) = PrimaryKey::of_url(zone, url) {
            self.forget(&key);
        }
    }
}

#[async_trait]
impl Service for CacheService {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, snapshot: &Snapshot, changed: &ChangeSet) -> Result<Prepared, PrepareError> {
        let forget = {
            let carried_out = self.carried_out.lock().unwrap_or_else(PoisonError::into_inner);
            let begins = self.stage.store().disk().is_some_and(|disk| !disk.has_begun());
            to_forget(snapshot, changed, begins, |id| carried_out.ids.contains(id))?
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
                () = shutdown.draining() => break,
            }
        }
        if let Some(disk) = self.stage.store().disk() {
            // What follows may be the process that takes over, which waits for it.
            disk.close().await;
        }
        Ok(())
    }

    fn health(&self) -> Health {
        Health::Ready
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;

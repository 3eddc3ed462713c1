//! The service: opens the store, keeps it in step with the log and with the others, and sweeps it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use proxima_chassis::{
    ConfigError, Health, NodeContext, PrepareError, Prepared, Service, ServiceError, Shutdown,
};
use proxima_ledger::{ChangeSet, Snapshot};
use proxima_model::Timestamp;
use proxima_pipeline::{AnswersServers, KeyValue, Servers};
use proxima_store::Space;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    KvConfig, SERVICE,
    answers::Answers,
    kv::Kv,
    metrics::Metrics,
    named::Renamed,
    port::Port,
    store::{Store, StoreError},
};

/// How often the store is swept, and measured.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Transactions of one sweep: those of clients come in between, and what is left has its turn later.
const SWEEPS_AT_ONCE: usize = 32;

/// The service.
pub struct KvService {
    kv: Arc<Kv>,
}

impl KvService {
    /// The service as `[kv]` describes it, among these servers.
    ///
    /// # Errors
    /// What is wrong there. A store that cannot be opened is none: all else of the node is served.
    pub fn new(node: &NodeContext, servers: Arc<dyn Servers>) -> Result<Arc<Self>, ConfigError> {
        let config = KvConfig::of(&node.config)?;
        let path = node.config.node.data_dir.join(SERVICE);
        let metrics = node.metrics.register(SERVICE, Metrics::register);
        let space = Space::of(&path, config.free_bytes_min, metrics.space.clone());
        let store = Store::open(&path, config.store_bytes_max, space, node.name());
        if let Err(error) = &store {
            tracing::error!(path = %path.display(), %error, "keys and values that lie here cannot be read or written");
        }
        Ok(Arc::new(Self { kv: Kv::new(&config, store, servers, Arc::clone(&node.clock), metrics) }))
    }

    /// By whom keys and values are read and written.
    pub fn port(&self) -> Arc<dyn KeyValue> {
        Arc::new(Port(Arc::clone(&self.kv)))
    }

    /// By whom other servers are answered.
    pub fn answers(&self) -> Arc<dyn AnswersServers> {
        Arc::new(Answers(Arc::clone(&self.kv)))
    }
}

#[async_trait]
impl Service for KvService {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn prepare(&self, snapshot: &Snapshot, changed: &ChangeSet) -> Result<Prepared, PrepareError> {
        let renamed = Renamed::of(snapshot, changed)?;
        let named = self.kv.named.clone();
        Ok(Prepared::new(move || named.apply(renamed)))
    }

    async fn run(self: Arc<Self>, _: NodeContext, shutdown: Shutdown) -> Result<(), ServiceError> {
        // Those who are served until the node stops may need keys and values until then.
        let running = run(&self.kv, &shutdown.stop_token());
        shutdown.draining().await;
        drop(running);
        Ok(())
    }

    fn health(&self) -> Health {
        match self.kv.own.fault() {
            Some(error) => Health::Degraded(format!("no keys and values are kept here: {error}")),
            None => match self.kv.own.shortage() {
                Some(shortage) => Health::Degraded(format!("values are refused here: {shortage}")),
                None => Health::Ready,
            },
        }
    }
}

/// Begins what goes on beside the requests, until `stop`.
pub(crate) fn run(kv: &Arc<Kv>, stop: &CancellationToken) -> Vec<tokio::task::JoinHandle<()>> {
    let writing = {
        let (kv, stop) = (Arc::clone(kv), stop.clone());
        tokio::spawn(async move { kv.own.write_until(stop).await })
    };
    vec![
        writing,
        tokio::spawn(Arc::clone(kv).forget_until(stop.clone())),
        tokio::spawn(Arc::clone(kv).replicate_until(stop.clone())),
        tokio::spawn(Arc::clone(kv).sweep_until(stop.clone())),
    ]
}

impl Kv {
    async fn sweep_until(self: Arc<Self>, stop: CancellationToken) {
        if self.own.fault().is_some() {
            return;
        }
        let mut ticks = interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            // Neither of them waits for what is wrong with another one.
            if let Err(error) = self.sweep(Store::sweep_due).await {
                tracing::warn!(%error, "what has run out stays in the store for now");
            }
            let named = self.named.clone();
            let nameless = move |store: &Store, now| store.sweep_nameless(|id| named.has(id), now);
            if let Err(error) = self.sweep(nameless).await {
                tracing::warn!(%error, "what lies in namespaces that are gone stays in the store for now");
            }
            let named = self.named.clone();
            match self.own.read(move |store, now| store.revive(|id| named.has(id), now)).await {
                Ok(true) => self.pull_anew(),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "what was swept is not looked through for now"),
            }
            self.measure().await;
        }
    }

    /// Does what is due, in bounds.
    async fn sweep<S>(&self, sweep: S) -> Result<(), StoreError>
    where
        S: Fn(&Store, Timestamp) -> Result<usize, StoreError> + Clone + Send + 'static,
    {
        for _ in 0..SWEEPS_AT_ONCE {
            let sweep = sweep.clone();
            let swept = self
                .own
                .read(move |store, now| sweep(store, now).map_err(|error| store.explain(error)))
                .await?;
            self.metrics.swept.inc_by(swept as u64);
            if swept == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn measure(&self) {
        let as_number = |octets: u64| i64::try_from(octets).unwrap_or(i64::MAX);
        self.metrics.unsent.set(as_number(self.replication.unsent()));
        self.metrics.lacking.set(as_number(self.replication.lacking()));
        self.metrics.cache_octets.set(as_number(self.cache.octets()));
        let octets = self.own.read(|store, _| {
            store.space().look();
            store.octets()
        });
        if let Ok(octets) = octets.await {
            self.metrics.store_octets.set(as_number(octets as u64));
        }
    }
}

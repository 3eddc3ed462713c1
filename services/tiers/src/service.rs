//! The service: listens for other servers, and keeps connections to those that this one asks.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use proxima_chassis::{Health, NodeContext, PrepareError, Prepared, Service, ServiceError, Shutdown};
use proxima_ledger::{ChangeSet, Snapshot};
use proxima_model::ZoneId;
use proxima_pipeline::{
    AnswersNeighbours, AnswersServers, Invalidations, Neighbours, Pipeline, ServerAbout, Servers,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::{
    SERVICE, TiersConfig, TiersStage,
    map::Map,
    metrics::Metrics,
    others::{Answering, Others},
    peers::Peers,
    serve::Server,
    wire,
};

/// URLs that others are being told to forget.
const FORGETS_MAX: usize = 1_024;
/// How long that may take.
const FORGET_WITHIN: Duration = Duration::from_secs(5);

/// The service.
pub struct TiersService {
    config: TiersConfig,
    peers: Option<Arc<Peers>>,
    metrics: Metrics,
    /// Bounds what others are being told.
    forgets: Arc<Semaphore>,
    answers: OnceLock<(Pipeline, Arc<dyn Invalidations>)>,
    neighbours: OnceLock<Arc<dyn AnswersNeighbours>>,
    services: Mutex<Answering>,
    others: Arc<Others>,
}

impl TiersService {
    /// The service as `[tiers]` describes it.
    ///
    /// # Errors
    /// What is wrong there.
    pub fn new(node: &NodeContext) -> Result<Arc<Self>, proxima_chassis::ConfigError> {
        let config = TiersConfig::of(&node.config)?;
        let metrics = node.metrics.register(SERVICE, Metrics::register);
        let peers = Map::new(&config, node.name()).map(|map| Peers::new(map, metrics.clone()));
        let others = peers.as_ref().map_or_else(|| Others::alone(about(node)), Others::of);
        Ok(Arc::new(Self {
            config,
            peers,
            metrics,
            forgets: Arc::new(Semaphore::new(FORGETS_MAX)),
            answers: OnceLock::new(),
            neighbours: OnceLock::new(),
            services: Mutex::default(),
            others: Arc::new(others),
        }))
    }

    /// The stage that asks other servers.
    pub fn stage(&self) -> TiersStage {
        TiersStage { peers: self.peers.clone(), metrics: self.metrics.clone() }
    }

    /// The stages by which other servers are answered, and this server's cache. Given once, before the service runs: this
    /// service's own stage is among them.
    pub fn answer_with(&self, pipeline: Pipeline, cache: Arc<dyn Invalidations>) {
        self.answers.set((pipeline, cache)).ok();
    }

    /// The other servers of this one's PoP, for services that ask their like; none, if it is alone there.
    pub fn neighbours(&self) -> Option<Arc<dyn Neighbours>> {
        let peers = self.peers.clone()?;
        let has_some = peers.map.peers().any(|server| peers.map.is_near(server));
        has_some.then_some(peers as Arc<dyn Neighbours>)
    }

    /// All servers of the network, for services that ask their like.
    pub fn servers(&self) -> Arc<dyn Servers> {
        self.others.clone()
    }

    /// Who answers a service's like on other servers. Given before the service runs; without, they are declined.
    pub fn answer_service_with(&self, service: &'static str, answers: Arc<dyn AnswersServers>) {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).insert(service, answers);
    }

    /// Who answers the neighbours' questions. Given once, before the service runs; without, they are declined.
    pub fn answer_neighbours_with(&self, answers: Arc<dyn AnswersNeighbours>) {
        self.neighbours.set(answers).ok();
    }
}

fn about(node: &NodeContext) -> ServerAbout {
    ServerAbout {
        name: node.name().clone(),
        pop: node.pop().clone(),
        region: node.config.node.region.clone(),
    }
}

impl Invalidations for TiersService {
    fn invalidated(&self, zone: ZoneId, url: &str) {
        let Some(peers) = &self.peers else { return };
        for server in peers.map.above(zone, url, |server| peers.is_up(server)) {
            let Some(request) = wire::forget(zone, url) else { return };
            // More at once than this is a flood of changes, of which some are told to nobody.
            let Ok(permit) = self.forgets.clone().try_acquire_owned() else { return };
            let peers = peers.clone();
            // One that is not reached keeps what it has, as the caches of all other PoPs do: RFC 9111, 4.4, asks no more
            // than that of caches that did not see the request.
            tokio::spawn(async move {
                let _permit = permit;
                tokio::time::timeout(FORGET_WITHIN, peers.ask(server, request)).await.map(drop)
            });
        }
    }
}

#[async_trait]
impl Service for TiersService {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn prepare(&self, _: &Snapshot, _: &ChangeSet) -> Result<Prepared, PrepareError> {
        Ok(Prepared::nothing())
    }

    async fn run(self: Arc<Self>, node: NodeContext, shutdown: Shutdown) -> Result<(), ServiceError> {
        let (Some(peers), Some(identity)) = (&self.peers, &node.identity) else {
            shutdown.draining().await;
            return Ok(());
        };
        let Some((pipeline, cache)) = self.answers.get().cloned() else {
            return Err(ServiceError::new("no stages to answer with"));
        };
        let mut listeners = Vec::new();
        for address in &self.config.listen {
            let listener = node.listeners.tcp(SERVICE, *address).map_err(ServiceError::new)?;
            listener.set_nonblocking(true).map_err(ServiceError::new)?;
            listeners.push(TcpListener::from_std(listener).map_err(ServiceError::new)?);
        }
        let server = Arc::new(Server {
            tls: TlsAcceptor::from(identity.server.clone()),
            peers: peers.clone(),
            connections: TaskTracker::new(),
            pipeline,
            cache,
            neighbours: self.neighbours.get().cloned(),
            services: std::mem::take(&mut *self.services.lock().unwrap_or_else(PoisonError::into_inner)),
            pop: node.pop().clone(),
            clock: node.clock.clone(),
            metrics: self.metrics.clone(),
        });
        tracing::info!(target: "proxima_tiers", addresses = ?self.config.listen, servers = peers.map.servers().len(), "other servers' caches are answered");
        // Those who are served until the node stops may need other servers until then.
        peers.keep(identity, &shutdown.stop_token());
        let mut listening: JoinSet<()> =
            listeners.into_iter().map(|listener| server.clone().listen(listener, shutdown.clone())).collect();
        while listening.join_next().await.is_some() {}
        server.connections.close();
        server.connections.wait().await;
        Ok(())
    }

    fn health(&self) -> Health {
        Health::Ready
    }
}

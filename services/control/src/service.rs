//! The service that every server runs.

use std::{
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use proxima_chassis::{
    Health, Identity, NodeContext, Places, PrepareError, Prepared, Service, ServiceError, Shutdown,
};
use proxima_ledger::{ChangeSet, LedgerStatus, Role, Snapshot};
use proxima_model::TokenId;
use proxima_pipeline::{
    CheckWorkers, DurableObjects, Explainer, Invoke, KeyValue, Objects, QueryReports, Queues, Tails,
    TrafficReader, ZoneNotices,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    acme,
    activation::Delegations,
    api::{Api, write::Author},
    background, bootstrap,
    config::ControlConfig,
    error::ControlError,
    limits,
    metrics::ControlMetrics,
    server,
    token::TokenText,
    transfers::{self, Notices},
    workers,
};

/// The file in the data folder that holds the operator's token of a network that this node began.
const TOKEN_FILE: &str = "token";
/// The file in the data folder that says up to which minute cron triggers have run.
const CRONS_FILE: &str = "crons";
/// Octets of the token's file; a token has 97.
const TOKEN_FILE_OCTETS_MAX: u64 = 1_024;
/// How often it is looked whether the log is within reach.
const REACH_INTERVAL: Duration = Duration::from_secs(1);
/// A log that was not heard for so long is taken to be out of reach: ten times its heartbeat's deadline.
const REACH_SILENCE_MAX: Duration = Duration::from_secs(10);

/// The API.
pub struct ControlService {
    config: ControlConfig,
    api: Arc<Api>,
    author: Author,
    keeps_log: bool,
    acme: Option<acme::AcmeSettings>,
    notices: Arc<Notices>,
    invoke: OnceLock<Arc<dyn Invoke>>,
    health: watch::Sender<Health>,
    bound: watch::Sender<Vec<SocketAddr>>,
}

impl ControlService {
    /// Of this node; requests to trace go to `explainer`, `traffic` knows what was counted here, and `queries` what name
    /// servers were asked.
    ///
    /// # Errors
    /// What is wrong in `[control]`, or `[identity]` missing.
    pub fn new(
        node: &NodeContext,
        explainer: Arc<dyn Explainer>,
        traffic: Arc<dyn TrafficReader>,
        queries: Arc<dyn QueryReports>,
    ) -> Result<Arc<Self>, ControlError> {
        let config = ControlConfig::of(&node.config)?;
        if let Some(warning) = config.warning() {
            tracing::warn!("{warning}");
        }
        let acme = config.acme_settings(&node.config)?;
        let api = Api {
            replica: node.replica.clone(),
            log: node.log.clone(),
            clock: node.clock.clone(),
            network: node.config.network.clone(),
            activation: config.activation,
            delegations: Delegations::new(&config.resolvers)?,
            explainer,
            traffic,
            queries,
            node: node.name().clone(),
            pop: node.pop().clone(),
            metrics: node.metrics.register("control", ControlMetrics::register),
            key_values: OnceLock::new(),
            uploads: Semaphore::new(limits::KV_UPLOADS_OCTETS_MAX),
            objects: OnceLock::new(),
            objects_under_way: Places::new(
                limits::OBJECTS_UNDER_WAY_MAX,
                limits::OBJECTS_UNDER_WAY_PER_ACCOUNT_MAX,
            ),
            durable_objects: OnceLock::new(),
            checks: OnceLock::new(),
            queues: OnceLock::new(),
            tails: OnceLock::new(),
            much: Arc::new(Semaphore::new(limits::READS_OF_MUCH_MAX)),
        };
        Ok(Arc::new(Self {
            config,
            acme,
            api: Arc::new(api),
            author: Author::node(node.name().as_str()),
            keeps_log: node.config.ledger.log.is_none(),
            notices: Notices::new(),
            invoke: OnceLock::new(),
            health: watch::Sender::new(Health::Starting),
            bound: watch::Sender::new(Vec::new()),
        }))
    }

    /// By whom messages of queues are sent and taken. Given once, before the service runs: without, whoever asks for them is told
    /// so.
    pub fn queues_by(&self, queues: Arc<dyn Queues>) {
        self.api.queues.set(queues).ok();
    }

    /// By whom keys and values are read and written. Given once, before the service runs: without, whoever asks for them is told
    /// that there are none here.
    pub fn key_values_by(&self, key_values: Arc<dyn KeyValue>) {
        self.api.key_values.set(key_values).ok();
    }

    /// By whom buckets and objects are reached. Given once, before the service runs: without, whoever asks for them is told that
    /// this server has none.
    pub fn objects_by(&self, objects: Arc<dyn Objects>) {
        self.api.objects.set(objects).ok();
    }

    /// Who knows where Durable Objects are. Given once, before the service runs: without, no class of them is made here.
    pub fn durable_objects_by(&self, durable_objects: Arc<dyn DurableObjects>) {
        self.api.durable_objects.set(durable_objects).ok();
    }

    /// Who tries versions of Workers before they are written. Given once, before the service runs: without, they are written untried.
    pub fn checks_by(&self, checks: Arc<dyn CheckWorkers>) {
        self.api.checks.set(checks).ok();
    }

    /// Who shows what Workers do. Given once, before the service runs: without, there are no live logs here.
    pub fn tails_by(&self, tails: Arc<dyn Tails>) {
        self.api.tails.set(tails).ok();
    }

    /// Who takes word that a zone which comes from elsewhere has changed there.
    pub fn notices(&self) -> Arc<dyn ZoneNotices> {
        self.notices.clone()
    }

    /// Who runs Workers of which a cron trigger says so. Given once, before the service runs; without, none is run.
    pub fn invoke_by(&self, invoke: Arc<dyn Invoke>) {
        self.invoke.set(invoke).ok();
    }

    /// The addresses at which it listens, once it does: those in clear, then those with TLS.
    pub async fn bound(&self) -> Vec<SocketAddr> {
        let mut bound = self.bound.subscribe();
        match bound.wait_for(|addresses| !addresses.is_empty()).await {
            Ok(addresses) => addresses.clone(),
            Err(_) => Vec::new(),
        }
    }

    fn bind(&self, node: &NodeContext) -> Result<Vec<(TcpListener, Option<TlsAcceptor>)>, ServiceError> {
        let tls = if self.config.https.is_empty() { None } else { Some(acceptor(node)?) };
        let clear = self.config.listen.iter().map(|address| ("control", address, None));
        let https = self.config.https.iter().map(|address| ("control-https", address, tls.clone()));
        let bind = |(name, address, tls): (&'static str, &SocketAddr, Option<TlsAcceptor>)| {
            let listener = node.listeners.tcp(name, *address).map_err(ServiceError::new)?;
            Ok((TcpListener::from_std(listener).map_err(ServiceError::new)?, tls))
        };
        clear.chain(https).map(bind).collect()
    }

    /// Begins the network, if that is still to be done.
    async fn begin(&self, data_dir: &Path) -> Result<(), ControlError> {
        let path = data_dir.join(TOKEN_FILE);
        let failed = |error: std::io::Error| ControlError::Bootstrap(format!("{}: {error}", path.display()));
        let given = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() > TOKEN_FILE_OCTETS_MAX => {
                return Err(ControlError::Bootstrap(format!("{} is no token", path.display())));
            }
            Ok(_) => Some(std::fs::read_to_string(&path).map_err(failed)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        // Written before the log knows it: a crash in between must not leave a network that nobody can enter.
        let drawn = given.is_none();
        let given = match given {
            Some(given) => given,
            None => {
                let text = TokenText::draw(TokenId::from_bytes(rand::random())).reveal();
                let mut options = std::fs::OpenOptions::new();
                let file = options.write(true).create_new(true).mode(0o600).open(&path);
                file.and_then(|mut file| writeln!(file, "{text}").and_then(|()| file.sync_all()))
                    .map_err(failed)?;
                text
            }
        };
        let api = &self.api;
        let outcome = bootstrap(&*api.log, &api.replica, &*api.clock, Some(&given)).await?;
        if outcome.token.is_some() {
            tracing::info!(path = %path.display(), "this network has begun; the operator's token is in");
        } else if drawn {
            // The network had begun before, and its operator keeps the token elsewhere.
            std::fs::remove_file(&path).map_err(failed)?;
        }
        Ok(())
    }

    /// Says whether changes can be made here, until the node drains.
    async fn watch_reach(&self, node: &NodeContext, shutdown: &Shutdown) {
        let mut tick = tokio::time::interval(REACH_INTERVAL);
        loop {
            tokio::select! {
                () = shutdown.draining() => return,
                _ = tick.tick() => {}
            }
            let health = reach(&node.ledger_status());
            self.health.send_if_modified(|former| {
                let changed = *former != health;
                former.clone_from(&health);
                changed
            });
        }
    }
}

/// TLS under the node's own certificate.
fn acceptor(node: &NodeContext) -> Result<TlsAcceptor, ServiceError> {
    let identity = node.config.identity.as_ref().ok_or_else(|| {
        ServiceError::new("[control] https needs [identity]: the API's certificate is the node's own")
    })?;
    let mut config = Identity::server_for_clients(identity).map_err(ServiceError::new)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Reads go on whatever becomes of the log; changes need it.
fn reach(status: &LedgerStatus) -> Health {
    match (status.log_heard, status.ready) {
        (_, false) => Health::Failed("this server has no state to answer from".to_owned()),
        (Some(heard), true) if heard <= REACH_SILENCE_MAX => match &status.log_problem {
            Some(why) if status.role == Role::Log => {
                Health::Degraded(format!("no room for the log ({why}): reads go on, changes are refused"))
            }
            _ => Health::Ready,
        },
        _ => Health::Degraded("the log is out of reach: reads go on, changes are refused".to_owned()),
    }
}

#[async_trait]
impl Service for ControlService {
    fn name(&self) -> &'static str {
        "control"
    }

    /// The API reads the replica itself: every request sees one whole state, and its answer says which.
    fn prepare(&self, _: &Snapshot, _: &ChangeSet) -> Result<Prepared, PrepareError> {
        Ok(Prepared::nothing())
    }

    async fn run(self: Arc<Self>, node: NodeContext, shutdown: Shutdown) -> Result<(), ServiceError> {
        let listeners = self.bind(&node)?;
        if self.keeps_log {
            self.begin(&node.config.node.data_dir).await.map_err(ServiceError::new)?;
        }
        let addresses =
            listeners.iter().map(|(listener, _)| listener.local_addr()).collect::<Result<Vec<_>, _>>();
        let addresses = addresses.map_err(ServiceError::new)?;
        tracing::info!(?addresses, "the API listens");
        let mut tasks = JoinSet::new();
        for listener in listeners {
            // Each has its own room, in connections and in requests: a flood at a public address must not shut the
            // operator out at loopback.
            let connections = Arc::new(Semaphore::new(self.config.connections_max));
            let router = server::service(&self.api, self.config.requests_max);
            tasks.spawn(server::serve(listener, router, self.api.clone(), connections, shutdown.clone()));
        }
        let notices = self.notices.clone();
        tasks.spawn(notices.run(self.api.clone(), self.author.clone(), shutdown.clone()));
        if self.keeps_log {
            tasks.spawn(background::run(self.api.clone(), self.author.clone(), shutdown.clone()));
            let (api, author) = (self.api.clone(), self.author.clone());
            let allowed = self.config.allow_private_peers;
            tasks.spawn(transfers::fetch(api.clone(), author.clone(), allowed, shutdown.clone()));
            tasks.spawn(transfers::notify(api, author, allowed, node.in_force.clone(), shutdown.clone()));
            let (api, author) = (self.api.clone(), self.author.clone());
            if let Some(invoke) = self.invoke.get().cloned() {
                let claims = node.config.node.data_dir.join(CRONS_FILE);
                tasks.spawn(workers::crons::run(self.api.clone(), invoke, claims, shutdown.clone()));
            }
            tasks.spawn(acme::run(api, author, self.acme.clone(), node.in_force.clone(), shutdown.clone()));
        }
        self.health.send_replace(Health::Ready);
        self.bound.send_replace(addresses);
        self.watch_reach(&node, &shutdown).await;
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(ServiceError::new)?;
        }
        Ok(())
    }

    fn health(&self) -> Health {
        self.health.borrow().clone()
    }
}

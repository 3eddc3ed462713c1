//! A node: the ledger, the services over it, and the way they begin and end.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use proxima_ledger::{Ledger, LedgerError, LedgerStatus, Log, LogRestore, PeerTls, Replica, Sealer, Seq};
use proxima_model::{NodeName, PopCode, Timestamp};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::{JoinError, JoinSet},
};
use tracing::{info, warn};

use crate::{
    Clock, ConfigError, HealthBoard, Identity, IdentityError, Listeners, Metrics, NodeConfig, Service,
    ServiceError, Shutdown, SystemClock, admin, expiry, handover, in_force, notify, program,
};

/// Between withdrawing and draining: nobody new has come for as long, so that routers send them elsewhere by now.
const WITHDRAW_GRACE: Duration = Duration::from_millis(500);
/// Whoever still comes after this has not come by the announcement that was withdrawn.
const WITHDRAW_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long services may take for what they do before the withdrawal: users go on being served meanwhile. Each has a
/// bound of its own, of which the longest is a minute; this is for what goes wrong.
const BEFORE_WITHDRAWAL_MAX: Duration = Duration::from_secs(65);
/// How long the ledger may take to answer what it has taken and to let its peers go.
const LEDGER_STOPS_WITHIN: Duration = Duration::from_secs(5);

/// Why a node ends.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its identity cannot be used.
    #[error("[identity] cannot be used")]
    Identity(#[from] IdentityError),
    /// The key for secrets at rest cannot be used.
    #[error("[node] key_file: {0}")]
    Key(String),
    /// The ledger cannot be started.
    #[error("the ledger cannot be started")]
    Ledger(#[from] LedgerError),
    /// A service cannot be made.
    #[error("making the services: {0}")]
    Services(Box<dyn std::error::Error + Send + Sync>),
    /// A service ended that should not have.
    #[error("{service} has ended")]
    Service {
        /// Which.
        service: &'static str,
        /// Why.
        source: ServiceError,
    },
    /// Something of the operating system's.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// What a node gives its services. Cheap to clone.
#[derive(Clone)]
pub struct NodeContext {
    /// The configuration.
    pub config: Arc<NodeConfig>,
    /// This server's replica.
    pub replica: Replica,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Sockets.
    pub listeners: Listeners,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub metrics: Metrics,
    /// All services' health.
    pub health: HealthBoard,
    /// The state in force: every service serves at least this, of every zone.
    pub in_force: watch::Receiver<Seq>,
    /// How the node ends.
    pub shutdown: Shutdown,
    /// Who this node is towards others, if it has a certificate.
    pub identity: Option<Identity>,
    /// When this node's certificate runs out, if it has one.
    pub identity_expires: Option<Timestamp>,
    ledger: Arc<Ledger>,
}

impl NodeContext {
    /// This node's name.
    pub fn name(&self) -> &NodeName {
        &self.config.node.name
    }

    /// The PoP that it stands in.
    pub fn pop(&self) -> &PopCode {
        &self.config.node.pop
    }

    /// How far the log was at some moment since this node started; `None` while it was not heard since. Who has put that in
    /// force knows all that was acknowledged while this node was not running.
    pub fn log_last_since_start(&self) -> Option<Seq> {
        self.ledger.log_last_since_start()
    }

    /// Whether the replica has all that was in the log at some moment since this node started.
    pub fn has_caught_up(&self) -> bool {
        self.log_last_since_start().is_some_and(|seen| self.replica.seq() >= seen)
    }

    /// Whether the replica has all that is in the log, as far as is known here: what it does not name is not there. Asked before a
    /// state is read, which is the same then or a later one.
    pub fn lacks_nothing(&self) -> bool {
        self.has_caught_up() && self.replica.seq() >= self.log.last()
    }

    /// How the ledger is.
    pub fn ledger_status(&self) -> LedgerStatus {
        self.ledger.status()
    }
}

/// What makes the services once the node's context is there.
pub type MakeServices =
    dyn Fn(&NodeContext) -> Result<Vec<Arc<dyn Service>>, Box<dyn std::error::Error + Send + Sync>>;

/// Runs a node until it is told to end (SIGTERM, SIGINT), or a service fails. `known` are the configuration tables that
/// exist; `ready` is called once everything serves.
///
/// # Errors
/// Whatever kept it from starting, or made it end.
pub async fn run_node(
    config: NodeConfig,
    known: &BTreeSet<&'static str>,
    make: &MakeServices,
    ready: impl FnOnce(&NodeContext),
) -> Result<(), NodeError> {
    // Both before anything takes time: the program may be replaced, and a signal that nobody awaits kills.
    program()?;
    let mut signals = Signals::new()?;
    config.check_services(known)?;
    let (node, in_force) = tokio::select! {
        started = start(config) => started?,
        () = signals.told_to_end() => return Ok(()),
    };
    let outcome = run(&node, in_force, make, ready, &mut signals).await;
    node.shutdown.begin_stop();
    // Who starts the next node may use the same folder at once.
    if tokio::time::timeout(LEDGER_STOPS_WITHIN, node.ledger.stopped()).await.is_err() {
        warn!("the ledger does not end in time: what it still does is cut short");
    }
    outcome
}

/// Everything above the ledger.
async fn run(
    node: &NodeContext,
    told: watch::Sender<Seq>,
    make: &MakeServices,
    ready: impl FnOnce(&NodeContext),
    signals: &mut Signals,
) -> Result<(), NodeError> {
    let mut admin: JoinSet<Result<(), ServiceError>> = JoinSet::new();
    let listen = || admin::listen(node).map_err(|source| NodeError::Service { service: "admin", source });
    // A new node may wait long for its first state, and tells of that. One that takes over leaves the admin port to the
    // former process, which still serves: it must not seem to have stopped.
    if !handover::took_over() {
        admin.spawn(admin::serve(listen()?, node.clone(), node.shutdown.clone()));
    }
    tokio::spawn(expiry::watch(node.clone()));
    let services = make(node).map_err(NodeError::Services)?;
    tokio::select! {
        outcome = in_force::first(node, &services, &told) => outcome?,
        () = signals.told_to_end() => {
            info!("told to end before there was a state to serve");
            notify::stopping();
            return Ok(());
        }
        Some(ended) = admin.join_next() => return Err(ended_early("admin", ended)),
    }
    node.health.set(services.clone());
    if handover::took_over() {
        admin.spawn(admin::serve(listen()?, node.clone(), node.shutdown.clone()));
    }
    let mut tasks: JoinSet<(&'static str, Result<(), ServiceError>)> = JoinSet::new();
    for service in services.iter().cloned() {
        let (node, shutdown) = (node.clone(), node.shutdown.clone());
        tasks.spawn(async move { (service.name(), service.run(node, shutdown).await) });
    }
    let mut keeping: JoinSet<Result<(), ServiceError>> = JoinSet::new();
    keeping.spawn(in_force::keep(node.clone(), services.clone(), told));

    let outcome = tokio::select! {
        outcome = supervise(node, &mut tasks, ready, signals) => outcome,
        Some(ended) = admin.join_next() => Err(ended_early("admin", ended)),
        Some(ended) = keeping.join_next() => Err(ended_early("what puts changes in force", ended)),
    };
    end(node, &services, &mut tasks, outcome.as_ref().is_ok_and(|how| *how == Ending::HandedOver)).await;
    outcome.map(|_| ())
}

fn ended_early(service: &'static str, ended: Result<Result<(), ServiceError>, JoinError>) -> NodeError {
    let source = match ended {
        Ok(Err(source)) => source,
        Ok(Ok(())) => ServiceError::new("it ended without being told to"),
        Err(panic) => ServiceError::new(panic),
    };
    NodeError::Service { service, source }
}

/// The signals that a node obeys, awaited from its very beginning.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    restart: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            restart: signal(SignalKind::user_defined2())?,
        })
    }

    /// Until a node that does not serve yet is told to end.
    async fn told_to_end(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.restart.recv() =>
                    warn!("this node does not serve yet: there is nothing to hand over; stop it and start it"),
            }
        }
    }
}

/// What of a node's configuration lies in files, and is needed before anything else.
struct Foundations {
    sealer: Sealer,
    identity: Option<Identity>,
}

impl Foundations {
    fn load(config: &NodeConfig) -> Result<Self, NodeError> {
        let key = std::fs::read_to_string(&config.node.key_file)
            .map_err(|error| NodeError::Key(format!("{}: {error}", config.node.key_file.display())))?;
        let sealer = Sealer::from_hex(key.trim()).map_err(|error| NodeError::Key(error.to_string()))?;
        let identity = config.identity.as_ref().map(Identity::load).transpose()?;
        config.ledger.check().map_err(LedgerError::Config)?;
        config.ledger.check_identity(identity.is_some()).map_err(LedgerError::Config)?;
        Ok(Self { sealer, identity })
    }
}

/// Checks all of a node's configuration that is no service's, and the files that it names, as the start of the node
/// would. Starts and changes nothing.
///
/// # Errors
/// What would keep the node from starting.
pub fn check_node(config: &NodeConfig, known: &BTreeSet<&'static str>) -> Result<(), NodeError> {
    config.check_services(known)?;
    Foundations::load(config).map(drop)
}

/// Finds out whether the log that this node keeps can be made new from a replica of its peers, and what would be lost.
/// Starts and changes nothing.
///
/// # Errors
/// What is wrong with the configuration, or why there is nothing to restore.
pub async fn survey_log(config: &NodeConfig, peers: &[SocketAddr]) -> Result<LogRestore, NodeError> {
    let Foundations { sealer, identity } = Foundations::load(config)?;
    let identity = identity.ok_or_else(|| {
        LedgerError::Config("a node without `[identity]` has no peers to restore its log from".to_owned())
    })?;
    let data_dir = &config.node.data_dir;
    Ok(LogRestore::survey(&config.ledger, data_dir, sealer, peers, peer_tls(identity)).await?)
}

fn peer_tls(identity: Identity) -> PeerTls {
    PeerTls { server: identity.server, client: identity.client, server_name: Identity::server_name() }
}

/// Everything below the services.
async fn start(config: NodeConfig) -> Result<(NodeContext, watch::Sender<Seq>), NodeError> {
    let Foundations { sealer, identity } = Foundations::load(&config)?;
    std::fs::create_dir_all(&config.node.data_dir)?;
    let identity_expires = identity.as_ref().map(|identity| identity.expires);
    let shutdown = Shutdown::new(Duration::from_secs(config.node.drain_seconds.into()));
    let tls = identity.clone().map(peer_tls);
    let ledger =
        Ledger::start(config.ledger.clone(), &config.node.data_dir, sealer, tls, shutdown.stop_token())
            .await?;
    let (in_force, receiver) = watch::channel(Seq::ZERO);
    let node = NodeContext {
        replica: ledger.replica.clone(),
        log: ledger.log.clone(),
        listeners: Listeners::from_environment(),
        clock: Arc::new(SystemClock),
        metrics: Metrics::default(),
        health: HealthBoard::new(ledger.replica.clone()),
        ledger: Arc::new(ledger),
        in_force: receiver,
        identity,
        identity_expires,
        shutdown,
        config: Arc::new(config),
    };
    Ok((node, in_force))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Somebody asked for it.
    Asked,
    /// The next process serves already: nothing is withdrawn.
    HandedOver,
}

/// Waits until the node is to end.
async fn supervise(
    node: &NodeContext,
    tasks: &mut JoinSet<(&'static str, Result<(), ServiceError>)>,
    ready: impl FnOnce(&NodeContext),
    signals: &mut Signals,
) -> Result<Ending, NodeError> {
    let mut ready = Some(ready);
    let mut handover: Option<BoxFuture<'_, std::io::Result<()>>> = None;
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(Ending::Asked),
            _ = signals.interrupt.recv() => return Ok(Ending::Asked),
            _ = signals.restart.recv(), if handover.is_none() => {
                handover = Some(handover::start_next(node.listeners.clone()).boxed());
            }
            handed = async { handover.as_mut().expect("polled only if there is one").await }, if handover.is_some() => {
                handover = None;
                match handed {
                    Ok(()) => return Ok(Ending::HandedOver),
                    Err(why) => warn!(%why, "graceful restart failed: this process goes on serving"),
                }
            }
            Some(ended) = tasks.join_next() => {
                return Err(match ended {
                    Ok((service, Err(source))) => NodeError::Service { service, source },
                    Ok((service, Ok(()))) =>
                        NodeError::Service { service, source: ServiceError::new("it ended without being told to") },
                    Err(panic) => NodeError::Service { service: "a service", source: ServiceError::new(panic) },
                });
            }
            _ = poll.tick(), if ready.is_some() => {
                if node.health.cannot_serve("").is_none() && let Some(ready) = ready.take() {
                    node.listeners.forget_inherited();
                    // First the supervisor: when the former process ends, it must know that this one goes on.
                    notify::ready();
                    handover::tell_former();
                    info!(took_over = handover::took_over(), in_force = %*node.in_force.borrow(), "ready");
                    ready(node);
                }
            }
        }
    }
}

/// Withdraws, drains and stops.
async fn end(
    node: &NodeContext,
    services: &[Arc<dyn Service>],
    tasks: &mut JoinSet<(&'static str, Result<(), ServiceError>)>,
    handed_over: bool,
) {
    let shutdown = &node.shutdown;
    if !handed_over {
        notify::stopping();
        let prepared =
            futures_util::future::join_all(services.iter().map(|service| service.before_withdrawal()));
        if tokio::time::timeout(BEFORE_WITHDRAWAL_MAX, prepared).await.is_err() {
            warn!("the withdrawal does not wait any longer for what was to be done before it");
        }
        info!("withdrawing");
        shutdown.begin_withdraw();
        if node.config.service::<toml::Table>("anycast").is_ok_and(|table| !table.is_empty()) {
            let quiet = shutdown.arrivals().until_none(WITHDRAW_GRACE);
            tokio::time::timeout(WITHDRAW_WAIT_MAX, quiet).await.ok();
        }
    }
    info!(within_seconds = shutdown.drain_within().as_secs(), "draining");
    node.listeners.release();
    shutdown.begin_drain();
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(shutdown.drain_within(), drained).await.is_err() {
        warn!("the deadline has come before all that was begun had ended");
    }
    shutdown.begin_stop();
    tokio::time::timeout(Duration::from_secs(2), async { while tasks.join_next().await.is_some() {} })
        .await
        .ok();
    tasks.abort_all();
    info!("stopped");
}

//! A node's ledger, put together: the replica, the way to the log, and what keeps them up to date.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Clock, EmbeddedLog, LedgerConfig, Log, RemoteLog, Replica, ReplicaError, Sealer, Seq, Verification,
    follower::{Follower, Following},
    limits::HEARTBEAT_INTERVAL,
    peer::Dialer,
    server::{self, Server},
    system_clock, verify,
    vitals::Vitals,
};

/// The folder of the replica within a node's data.
pub(crate) const FOLDER: &str = "ledger";

/// Why a ledger did not start.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(String),
    /// The replica was not opened.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The listener was not bound.
    #[error("cannot listen for followers on {address} (`ledger.listen`): {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log is not made new from a replica.
    #[error("the log is not restored: {0}")]
    Restore(String),
}

/// How nodes know each other: both sides of a connection show a certificate of the cluster's authority.
#[derive(Clone)]
pub struct PeerTls {
    /// For connections of peers; must demand a certificate.
    pub server: Arc<rustls::ServerConfig>,
    /// For connections to peers; shows this node's certificate.
    pub client: Arc<rustls::ClientConfig>,
    /// The name that the certificate of every node holds.
    pub server_name: ServerName<'static>,
}

/// What a node does for the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It keeps the log.
    Log,
    /// It follows.
    Follower,
}

/// How a node's ledger is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerStatus {
    /// What the node does.
    pub role: Role,
    /// The entry up to which its replica is.
    pub seq: Seq,
    /// The log's last entry, as far as is known here.
    pub log_last: Seq,
    /// How many entries the replica lacks, as far as is known here.
    pub lag: u64,
    /// Whom it follows now.
    pub upstream: Option<SocketAddr>,
    /// The upstream's name, by its certificate.
    pub upstream_name: Option<Arc<str>>,
    /// How long ago the log itself was last heard, directly or through upstreams; zero at the log.
    #[serde(rename = "log_heard_ms", serialize_with = "as_millis")]
    pub log_heard: Option<Duration>,
    /// Why the log cannot be appended to from here, if so.
    pub log_problem: Option<String>,
    /// Whether there is a state to serve from.
    pub ready: bool,
    /// What is damaged, if anything: then the replica is being rebuilt.
    pub corrupt: Option<String>,
    /// Whether a snapshot is being loaded.
    pub rebuilding: bool,
    /// Why following last failed.
    pub problem: Option<String>,
    /// Octets of the store on disk.
    pub octets: u64,
    /// Octets of that disk that are free, if that can be told.
    pub disk_free_octets: Option<u64>,
    /// What the checks of everything that is kept have come to.
    pub verification: Verification,
}

fn as_millis<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
}

/// A node's ledger. It runs until its token is cancelled.
pub struct Ledger {
    /// The state.
    pub replica: Replica,
    /// The log, here or elsewhere.
    pub log: Arc<dyn Log>,
    kept: Kept,
    vitals: Arc<Vitals>,
    listen: Option<SocketAddr>,
    verification: watch::Receiver<Verification>,
    tasks: TaskTracker,
}

/// Where the log is.
enum Kept {
    Here(EmbeddedLog),
    Elsewhere { remote: RemoteLog, following: watch::Receiver<Following> },
}

impl Ledger {
    /// Opens the replica in `data_dir` and starts what keeps it up to date; must be called within a Tokio runtime.
    /// Returns before a follower has its first state; [`Replica::ready`] waits for that.
    ///
    /// `tls` may be missing only for a node that is alone: that keeps the log and serves no followers.
    ///
    /// # Errors
    /// A wrong configuration, a replica that cannot be opened, a damaged log, an address that is not free.
    pub async fn start(
        config: LedgerConfig,
        data_dir: &Path,
        sealer: Sealer,
        tls: Option<PeerTls>,
        stop: CancellationToken,
    ) -> Result<Self, LedgerError> {
        Self::start_with_clock(config, data_dir, sealer, tls, stop, system_clock()).await
    }

    /// As [`Self::start`], with another clock for the entries of a log that is here. Nothing else in the ledger asks what
    /// time it is: deadlines and what is heard of upstreams go by the monotonic clock.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with_clock(
        config: LedgerConfig,
        data_dir: &Path,
        sealer: Sealer,
        tls: Option<PeerTls>,
        stop: CancellationToken,
        clock: Clock,
    ) -> Result<Self, LedgerError> {
        config.check().map_err(LedgerError::Config)?;
        config.check_identity(tls.is_some()).map_err(LedgerError::Config)?;
        let listener = config.listen.map(Listener::bind).transpose()?;
        let (replica, embedded) = open(&config, data_dir.join(FOLDER), sealer, clock).await?;
        let vitals = Arc::new(Vitals::new(replica.clone(), embedded.is_some()));
        let tasks = TaskTracker::new();
        let (told, verification) = watch::channel(Verification::default());
        let checks_stop = stop.clone();
        let listen = listener.as_ref().map(|listener| listener.address);
        if let (Some(listener), Some(tls)) = (listener, &tls) {
            let served = (replica.clone(), embedded.clone());
            let server = Server::new(served, Arc::clone(&vitals), Arc::clone(&tls.server), tasks.clone());
            tasks.spawn(server.run(listener.socket, stop.clone()));
        }
        let kept = match (embedded, config.log, tls) {
            (None, Some(log), Some(tls)) => {
                let dialer = Dialer::new(tls.client, tls.server_name);
                let follower =
                    Follower::new(Arc::clone(&vitals), dialer.clone(), config.follows(), tasks.clone());
                let following = follower.watch();
                tasks.spawn(follower.run(stop.clone()));
                let remote = RemoteLog::start(log, dialer, Arc::clone(&vitals), stop, &tasks);
                Kept::Elsewhere { remote, following }
            }
            (Some(log), ..) => {
                tasks.spawn(notice_handover(replica.clone(), stop));
                Kept::Here(log)
            }
            (None, ..) => {
                unreachable!("without `log` the log is opened, and `log` without `tls` was refused above")
            }
        };
        let role = if matches!(kept, Kept::Here(_)) { Role::Log } else { Role::Follower };
        tasks.spawn(verify::run(replica.clone(), role, config.verify, (checks_stop, tasks.clone()), told));
        tasks.close();
        let log: Arc<dyn Log> = match &kept {
            Kept::Here(log) => Arc::new(log.clone()),
            Kept::Elsewhere { remote, .. } => Arc::new(remote.clone()),
        };
        Ok(Self { replica, log, kept, vitals, listen, verification, tasks })
    }

    /// Where followers are served.
    pub const fn listen(&self) -> Option<SocketAddr> {
        self.listen
    }

    /// How it is.
    pub fn status(&self) -> LedgerStatus {
        let pulse = self.vitals.pulse();
        let (role, following, log_problem) = match &self.kept {
            Kept::Here(_) => (Role::Log, Following::default(), self.replica.lacks_room()),
            Kept::Elsewhere { remote, following } => {
                (Role::Follower, following.borrow().clone(), remote.problem())
            }
        };
        LedgerStatus {
            role,
            seq: pulse.seq,
            log_last: pulse.log_last,
            lag: pulse.log_last.0.saturating_sub(pulse.seq.0),
            upstream: following.upstream,
            upstream_name: following.name,
            log_heard: pulse.log_heard,
            log_problem,
            ready: self.replica.store().is_ok(),
            corrupt: self.replica.fault(),
            rebuilding: following.rebuilding,
            problem: following.problem,
            octets: self.replica.octets(),
            disk_free_octets: self.replica.disk_free(),
            verification: self.verification.borrow().clone(),
        }
    }

    /// The log's last entry at some moment since this node started, and so the least that a replica has to have of which
    /// it can be said that it lacks nothing from before; `None` while the log was not heard since. At the log itself, what
    /// it has.
    pub fn log_last_since_start(&self) -> Option<Seq> {
        self.vitals.log_last_since_start()
    }

    /// Waits, after the token was cancelled, until nothing of it runs any more: appends that were taken are answered, later
    /// ones refused, peers are let go. The store closes with the last clone of the replica.
    pub async fn stopped(&self) {
        // At the same time: a peer that is slow to go must not keep the log from its end.
        let closed = async {
            if let Kept::Here(log) = &self.kept {
                log.clone().close().await;
            }
        };
        tokio::join!(self.tasks.wait(), closed);
    }
}

/// While one process takes over from another, both have the log open; what the one appends, the other must tell its
/// readers and followers.
async fn notice_handover(replica: Replica, stop: CancellationToken) {
    let mut seen = None;
    let mut ticks = tokio::time::interval(HEARTBEAT_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        seen = replica.notice(seen);
    }
}

/// A socket for followers.
struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    fn bind(address: SocketAddr) -> Result<Self, LedgerError> {
        let bound =
            server::bind(address).and_then(|socket| Ok(Self { address: socket.local_addr()?, socket }));
        bound.map_err(|source| LedgerError::Listen { address, source })
    }
}

/// Opens the replica, and the log if it is here. That creates files and syncs them.
async fn open(
    config: &LedgerConfig,
    folder: PathBuf,
    sealer: Sealer,
    clock: Clock,
) -> Result<(Replica, Option<EmbeddedLog>), LedgerError> {
    let options = config.replica_options();
    let keeps_log = config.log.is_none();
    let opening = tokio::task::spawn_blocking(move || {
        if keeps_log {
            EmbeddedLog::open_with_clock(&folder, sealer, options, clock)
                .map(|log| (log.replica().clone(), Some(log)))
        } else {
            Replica::open(&folder, sealer, options).map(|replica| (replica, None))
        }
    });
    let opened =
        opening.await.map_err(|error| LedgerError::Config(format!("opening was cut short: {error}")))?;
    Ok(opened?)
}

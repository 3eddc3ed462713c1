//! Connections to other servers: one each, kept open by a task, shared by all requests.
//!
//! Nobody who asks waits for a connection. A server without one is down, and another is asked; the task goes on to connect,
//! at first often, then every few seconds. A peer that is frozen or cut off is noticed by HTTP/2's pings.
//!
//! Servers that no cache of this one asks have no task: a service that asks one ([`others`](crate::others)) waits for the
//! connection ([`Peers::reach`]), which closes when nothing was asked for [`IDLE_MAX`].

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proxima_chassis::Identity;
use proxima_ledger::certificate_name;
use proxima_model::NodeName;
use proxima_pipeline::{Body, NEIGHBOUR_QUESTIONS_MAX, SERVER_REQUESTS_MAX};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::{map::Map, metrics::Metrics};

/// How long a connection and its handshake may take.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How often a peer that says nothing is pinged, and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_millis(500);
/// After so long a silence a peer is given up.
pub const SILENCE_MAX: Duration = Duration::from_secs(1);
/// How soon a lost peer is tried again; twice as long after each failure.
const AGAIN_MIN: Duration = Duration::from_millis(100);
/// See [`AGAIN_MIN`].
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// What one answer may have under way before its reader reads.
const STREAM_WINDOW_OCTETS: u32 = 1 << 20;
/// What all answers of a connection may: all that HTTP/2 can say, so that those who read slowly, however many, do not
/// stop the others.
const CONNECTION_WINDOW_OCTETS: u32 = (1 << 31) - 1;
/// How long the head of an answer may take: longer than an origin is waited for.
const HEAD_WITHIN: Duration = Duration::from_secs(150);
/// How long a server that declined is left out.
const LEFT_OUT: Duration = Duration::from_secs(2);
/// How long a connection that no task keeps stays when nothing is asked.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// For how long a server that could not be reached is not tried again: all who would ask it wait for one attempt at a time.
const UNREACHED: Duration = Duration::from_secs(1);
/// Fields of an answer, as the edge takes them from origins.
const HEADERS_OCTETS_MAX: u32 = 256 << 10;

type Sender = http2::SendRequest<Body>;

/// The connections.
pub(crate) struct Peers {
    pub(crate) map: Map,
    slots: Vec<Slot>,
    metrics: Metrics,
    begun: Instant,
    /// Set when the service runs: what a connection is made with, and until when.
    reaching: OnceLock<(TlsConnector, CancellationToken)>,
}

/// One server's.
struct Slot {
    up: AtomicBool,
    /// Until when it is left out, in milliseconds since these were made.
    out_until: AtomicU64,
    /// Until when no questions of neighbours are put to it, which it does not take.
    deaf_until: AtomicU64,
    /// Places for those that are.
    questions: Arc<Semaphore>,
    /// Places for requests of services.
    requests: Arc<Semaphore>,
    sender: Mutex<Option<Sender>>,
    /// Whether a task keeps the connection.
    is_kept: bool,
    /// Held by who makes one that no task keeps.
    connecting: tokio::sync::Mutex<()>,
    /// When something was last asked, in milliseconds since these were made.
    asked_at: AtomicU64,
    /// Until when no connection is tried.
    unreached_until: AtomicU64,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            up: AtomicBool::default(),
            out_until: AtomicU64::default(),
            deaf_until: AtomicU64::default(),
            questions: Arc::new(Semaphore::new(NEIGHBOUR_QUESTIONS_MAX)),
            requests: Arc::new(Semaphore::new(SERVER_REQUESTS_MAX)),
            sender: Mutex::default(),
            is_kept: false,
            connecting: tokio::sync::Mutex::default(),
            asked_at: AtomicU64::default(),
            unreached_until: AtomicU64::default(),
        }
    }
}

impl Slot {
    fn is_open(&self) -> bool {
        lock(&self.sender).as_ref().is_some_and(|sender| !sender.is_closed())
    }
}

/// Why a peer did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("there is no connection to it")]
    Down,
    #[error("it takes too long")]
    Slow,
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

impl Peers {
    pub(crate) fn new(map: Map, metrics: Metrics) -> Arc<Self> {
        let mut slots: Vec<Slot> = map.servers().iter().map(|_| Slot::default()).collect();
        for kept in map.peers() {
            slots[kept].is_kept = true;
        }
        metrics.peers.set(i64::try_from(map.peers().count()).unwrap_or(i64::MAX));
        Arc::new(Self { map, slots, metrics, begun: Instant::now(), reaching: OnceLock::new() })
    }

    /// Whether a server can be asked.
    pub(crate) fn is_up(&self, server: usize) -> bool {
        let now = self.millis();
        self.slots.get(server).is_some_and(|slot| {
            slot.up.load(Ordering::Acquire) && slot.out_until.load(Ordering::Relaxed) <= now
        })
    }

    /// Leaves a server out for a while: it cannot answer what it is asked.
    pub(crate) fn leave_out(&self, server: usize) {
        if let Some(slot) = self.slots.get(server) {
            let until = self.millis() + u64::try_from(LEFT_OUT.as_millis()).unwrap_or(0);
            slot.out_until.store(until, Ordering::Relaxed);
        }
    }

    /// Whether questions of neighbours can be put to a server, which it may be even if its cache lags.
    pub(crate) fn hears(&self, server: usize) -> bool {
        let now = self.millis();
        self.slots.get(server).is_some_and(|slot| {
            slot.up.load(Ordering::Acquire) && slot.deaf_until.load(Ordering::Relaxed) <= now
        })
    }

    /// Puts no question to a server for a while: it takes none.
    pub(crate) fn spare(&self, server: usize, how_long: Duration) {
        if let Some(slot) = self.slots.get(server) {
            let until = self.millis() + u64::try_from(how_long.as_millis()).unwrap_or(0);
            slot.deaf_until.store(until, Ordering::Relaxed);
        }
    }

    /// A place for a question to a server, for as long as it is under way.
    pub(crate) fn place(&self, server: usize) -> Option<OwnedSemaphorePermit> {
        self.slots.get(server)?.questions.clone().try_acquire_owned().ok()
    }

    /// A place for a request of a service to a server, for as long as it is under way.
    pub(crate) fn request_place(&self, server: usize) -> Option<OwnedSemaphorePermit> {
        self.slots.get(server)?.requests.clone().try_acquire_owned().ok()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Asks a server.
    pub(crate) async fn ask(
        &self,
        server: usize,
        request: http::Request<Body>,
    ) -> Result<http::Response<Incoming>, AskError> {
        let slot = self.slots.get(server).ok_or(AskError::Down)?;
        let sender = {
            let sender = lock(&slot.sender);
            let open = sender.clone().filter(|sender| !sender.is_closed());
            if open.is_none() {
                // It drains: what it was asked before it still answers.
                slot.up.store(false, Ordering::Release);
            }
            open
        };
        let mut sender = sender.ok_or(AskError::Down)?;
        slot.asked_at.store(self.millis(), Ordering::Relaxed);
        timeout(HEAD_WITHIN, sender.send_request(request))
            .await
            .map_err(|_| AskError::Slow)?
            .map_err(Into::into)
    }

    /// Makes a connection to a server if there is none and no task keeps one.
    pub(crate) async fn reach(self: &Arc<Self>, server: usize) -> Result<(), AskError> {
        let (Some(slot), Some(about)) = (self.slots.get(server), self.map.servers().get(server)) else {
            return Err(AskError::Down);
        };
        if slot.is_kept || slot.is_open() {
            return Ok(());
        }
        let (connector, stop) = self.reaching.get().ok_or(AskError::Down)?;
        let _connecting = slot.connecting.lock().await;
        if slot.is_open() {
            return Ok(());
        }
        if self.millis() < slot.unreached_until.load(Ordering::Relaxed) {
            return Err(AskError::Down);
        }
        let why = match timeout(CONNECT_WITHIN, connect(about.address, &about.name, connector)).await {
            Ok(Ok((sender, connection))) => {
                slot.asked_at.store(self.millis(), Ordering::Relaxed);
                *lock(&slot.sender) = Some(sender);
                let (peers, stop) = (self.clone(), stop.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = peers.drive(server, connection) => {}
                        () = stop.cancelled() => {}
                    }
                });
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it takes too long".to_owned(),
        };
        tracing::warn!(target: "proxima_tiers", peer = %about.name, address = %about.address, why, "cannot be reached by a service that asks it");
        let until = self.millis() + u64::try_from(UNREACHED.as_millis()).unwrap_or(0);
        slot.unreached_until.store(until, Ordering::Relaxed);
        Err(AskError::Down)
    }

    /// Drives a connection that no task keeps, until it ends or nothing was asked for a while.
    async fn drive(&self, server: usize, connection: Connection) {
        let Some(slot) = self.slots.get(server) else { return };
        tokio::pin!(connection);
        loop {
            tokio::select! {
                _ = &mut connection => break,
                () = tokio::time::sleep(IDLE_MAX / 2) => {
                    let idle = self.millis().saturating_sub(slot.asked_at.load(Ordering::Relaxed));
                    if Duration::from_millis(idle) >= IDLE_MAX {
                        // What is still under way ends first: its requests hold the connection open.
                        *lock(&slot.sender) = None;
                        connection.await.ok();
                        return;
                    }
                }
            }
        }
        let mut sender = lock(&slot.sender);
        if sender.as_ref().is_some_and(Sender::is_closed) {
            *sender = None;
        }
    }

    /// Keeps connections to all servers that this one may have to ask, until `stop`.
    pub(crate) fn keep(self: &Arc<Self>, identity: &Identity, stop: &CancellationToken) {
        let connector = TlsConnector::from(identity.client.clone());
        self.reaching.set((connector.clone(), stop.clone())).ok();
        for server in self.map.peers() {
            let (peers, connector, stop) = (self.clone(), connector.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = peers.keep_one(server, &connector) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
    }

    async fn keep_one(&self, server: usize, connector: &TlsConnector) {
        let (Some(slot), Some(about)) = (self.slots.get(server), self.map.servers().get(server)) else {
            return;
        };
        let (name, address) = (&about.name, about.address);
        let (mut again, mut told) = (AGAIN_MIN, false);
        loop {
            match timeout(CONNECT_WITHIN, connect(address, name, connector)).await {
                Ok(Ok((sender, connection))) => {
                    {
                        let mut slot_sender = lock(&slot.sender);
                        *slot_sender = Some(sender);
                        slot.up.store(true, Ordering::Release);
                    }
                    self.metrics.peers_up.inc();
                    tracing::info!(target: "proxima_tiers", peer = %name, "can be asked");
                    let ended = connection.await;
                    slot.up.store(false, Ordering::Release);
                    *lock(&slot.sender) = None;
                    self.metrics.peers_up.dec();
                    let why = ended
                        .err()
                        .map_or_else(|| "it closed the connection".to_owned(), |error| error.to_string());
                    tracing::info!(target: "proxima_tiers", peer = %name, why, "cannot be asked any more");
                    (again, told) = (AGAIN_MIN, false);
                }
                outcome => {
                    let why = match outcome {
                        Ok(Err(error)) => error.to_string(),
                        _ => "it takes too long".to_owned(),
                    };
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(target: "proxima_tiers", peer = %name, %address, why, "cannot be asked: others are, and the origin; trying again");
                    }
                }
            }
            tokio::time::sleep(again).await;
            again = (again * 2).min(AGAIN_MAX);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Connection = http2::Connection<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>, Body, TokioExecutor>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("the server there is {0}: compare the addresses of [[tiers.servers]]")]
    Another(String),
}

async fn connect(
    address: SocketAddr,
    name: &NodeName,
    connector: &TlsConnector,
) -> Result<(Sender, Connection), ConnectError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = connector.connect(Identity::server_name(), stream).await?;
    let certificates = stream.get_ref().1.peer_certificates();
    let there = certificates.and_then(|chain| certificate_name(chain.first()?)).unwrap_or_default();
    if there != name.as_str() {
        return Err(ConnectError::Another(there));
    }
    let builder = {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(SILENCE_MAX.saturating_sub(PING_EVERY))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_OCTETS)
            .initial_connection_window_size(CONNECTION_WINDOW_OCTETS)
            .max_header_list_size(HEADERS_OCTETS_MAX);
        builder
    };
    Ok(builder.handshake(TokioIo::new(stream)).await?)
}

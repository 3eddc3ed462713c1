//! Connection forwarding: a server that receives segments of a connection that it does not have passes them to the server
//! that has it.
//!
//! When a server is withdrawn, or announced anew, routers send packets of connections under way to another server, whose
//! kernel has no socket for them and would answer with RST. So before that happens, servers connect to each other:
//!
//! ```text
//!            client
//!              │ segment of a connection that is at "home"
//!              ▼
//!  ┌─ forwarder ────────────────────────┐                    ┌─ home ─────────────────────────────────────────┐
//!  │ uplink, tc ingress: the program    │    mutual TLS      │                                                │
//!  │   has a socket ──▶ own kernel      │                    │                    own TUN, tc ingress:        │
//!  │   has none ──▶ own TUN ──▶ Tap ────┼── Stray(packet) ──▶│ Tap ──▶ own TUN ──▶  has a socket ──▶ kernel ──┼──▶ client
//!  │                             ▲      │                    │  ▲                   has none ──┐              │ (answers go
//!  │                next home, or│      │                    │  └──────────────── own TUN ◀────┘              │  directly)
//!  │  own kernel (RST) ◀── TUN ◀─┴──────┼◀ NotMine(packet) ──┼──┘                                             │
//!  └────────────────────────────────────┘                    └────────────────────────────────────────────────┘
//! ```
//!
//! A server that **drains** is home: before it withdraws, it connects to its peers and says so ([`Forwarding::call_home`]).
//! A server that is about to be **announced** is forwarder: before, it connects to its peers and asks what they have
//! ([`Forwarding::seek_homes`]). Who connected does not matter after that.
//!
//! `message` (what is said), `agreement` (about which prefixes), `segment` (whose packet is it), `flows` and `side` (where
//! does it go), `window` (for how long) are pure; `guests` counts who is here; `link` (a connection), `tap` (the kernel's
//! side of it), `tun`, `program`, `filter` (what the tap is made of), `connections` (what the kernel still has) do the I/O.
//!
//! Invariants:
//! * **Nothing is attached and no packet is touched while there is no peer.** What is attached lives as long as a
//!   connection between two servers, which heartbeats end within [`limits::SILENCE_MAX`]; and the program acts only while
//!   this process says so, again and again. It detaches its own filters and nobody else's; the empty hook of an interface
//!   (`clsact`) stays.
//! * **No loops.** A home never asks another server; a forwarder asks each home at most once for a packet, and what is
//!   nobody's goes to its own kernel, which resets it.
//! * **Only what is ours:** peers are nodes of the cluster; a server forwards for prefixes that it announces itself, and
//!   takes nothing but whole TCP segments for those that open no connection.
//!
//! What a node that is in the cluster and malicious can still do:
//! * give this server's kernel segments without SYN for our prefixes, from any source address and past the uplink's firewall:
//!   to disturb a connection it must guess sequence numbers, and to open one a SYN cookie, as from anywhere; the kernel
//!   answers others with one RST each, to that address;
//! * as home, read or swallow strays of our prefixes, also of connections that are another home's;
//! * keep the program attached for as long as it is connected.
//!
//! It cannot reach other addresses than those of our prefixes, nor hold more than its own few links ([`limits`]).
//!
//! Limits: [`limits`]. What does not fit is dropped, and TCP sends it again. Not forwarded: UDP, fragments, ICMP errors,
//! IPv6 packets with extension headers.

mod agreement;
mod connections;
mod error;
mod filter;
mod flows;
mod guests;
pub(crate) mod limits;
mod link;
pub mod message;
mod program;
mod segment;
mod side;
mod tap;
mod tun;
mod window;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ipnet::IpNet;
use proxima_chassis::NodeContext;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
    time::{sleep, sleep_until, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

pub(crate) use self::error::ForwardError;
use self::{
    guests::{Guest, Guests},
    limits::{AGAIN_AFTER, HANDSHAKES_MAX, IN_FORCE_WITHIN, LINKS_MAX, LOOK_EVERY},
    link::{Connection, Link},
    message::{Message, Role, VERSION},
    program::Program,
    side::{LinkId, Part},
    tap::Tap,
    window::Window,
};
use crate::{AnycastConfig, metrics::ForwardMetrics};

/// One of the two parts that this server can have.
struct Station {
    tap: Tap,
    /// Ends all connections in which it has this part.
    end: CancellationToken,
    links: TaskTracker,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Station {
    fn start(part: Part, config: &AnycastConfig, metrics: &ForwardMetrics) -> Self {
        let neighbors = config.neighbors.iter().map(|neighbor| neighbor.address).collect();
        let own = config.prefixes.iter().map(IpNet::trunc).collect();
        let (tap, worker) = Tap::start(part, neighbors, own, metrics.clone());
        let worker = Mutex::new(Some(worker));
        Self { tap, end: CancellationToken::new(), links: TaskTracker::new(), worker }
    }

    /// Ends all connections in which it has this part, and waits until nothing is attached.
    async fn end(&self) {
        self.end.cancel();
        self.links.close();
        self.links.wait().await;
        self.tap.end().await;
        let worker = lock(&self.worker).take();
        if let Some(worker) = worker {
            worker.await.ok();
        }
    }
}

/// Connection forwarding of one server.
pub(crate) struct Forwarding {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    peers: Vec<SocketAddr>,
    prefixes: Vec<IpNet>,
    forwarder: Station,
    home: Station,
    /// The visits to the peers that an announcement has begun. Held while they begin.
    seeking: tokio::sync::Mutex<Option<Arc<Mutex<Window>>>>,
    guests: Arc<Guests>,
    ids: AtomicU64,
}

impl Forwarding {
    /// Begins: nothing is attached, but from here on peers can be served and asked. `None` if the configuration does not
    /// ask for it.
    ///
    /// # Errors
    /// Why this machine, or this process with its privileges, cannot.
    pub(crate) async fn start(
        node: &NodeContext,
        config: &AnycastConfig,
        metrics: &ForwardMetrics,
    ) -> Result<Option<Arc<Self>>, ForwardError> {
        let Some(identity) = node.identity.as_ref().filter(|_| config.forwards()) else { return Ok(None) };
        program::apart(check).await?;
        let neighbors: Vec<_> = config.neighbors.iter().map(|neighbor| neighbor.address).collect();
        if let Err(error) = tap::uplinks(&neighbors) {
            // An interface may come later; a configuration that cannot work should be known before routes move.
            warn!(%error, "nothing could be forwarded from here now");
        }
        let this = Arc::new(Self {
            acceptor: TlsAcceptor::from(Arc::clone(&identity.server)),
            connector: TlsConnector::from(Arc::clone(&identity.client)),
            peers: each_once(&config.peers),
            prefixes: config.prefixes.iter().map(IpNet::trunc).collect(),
            forwarder: Station::start(Part::Forwarder, config, metrics),
            home: Station::start(Part::Home, config, metrics),
            seeking: tokio::sync::Mutex::default(),
            guests: Guests::new(LINKS_MAX),
            ids: AtomicU64::new(0),
        });
        if let Some(address) = config.forward_listen {
            let listen = |source| ForwardError::Listen { address, source };
            let listener = node.listeners.tcp("anycast", address).map_err(|error| listen(error.into()))?;
            let listener = TcpListener::from_std(listener).map_err(|error| listen(error.into()))?;
            let draining = node.shutdown.clone();
            let serving = Arc::clone(&this);
            tokio::spawn(async move {
                tokio::select! {
                    () = serving.serve(listener) => {}
                    () = draining.draining() => {}
                }
            });
        }
        Ok(Some(this))
    }

    /// Serves peers that connect.
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Descriptors have run out, most likely: trying at once would only burn time.
                    warn!(%error, "a peer's connection could not be taken");
                    sleep(LOOK_EVERY).await;
                    continue;
                }
            };
            let this = Arc::clone(&self);
            tokio::spawn(async move {
                match this.welcome(stream, permit).await {
                    Ok(()) | Err(ForwardError::Closed) => {}
                    Err(why) => info!(%peer, %why, "the connection of a peer has ended"),
                }
            });
        }
    }

    /// Serves one peer that has connected. Until it has said who it is and what it wants, it has only a permit for that.
    async fn welcome(&self, stream: TcpStream, handshake: OwnedSemaphorePermit) -> Result<(), ForwardError> {
        let mut connection = Connection::accept(stream, &self.acceptor).await?;
        let (version, role, prefixes) = match connection.hear().await? {
            Message::Hello { version, role, prefixes } => (version, role, prefixes),
            _ => return Err(ForwardError::Unexpected("no greeting")),
        };
        let agreed =
            self.agree(version, &prefixes).and_then(|prefixes| Ok((prefixes, self.room(&connection)?)));
        let (prefixes, _room) = match agreed {
            Ok(agreed) => agreed,
            Err(why) => {
                connection.say(&Message::Refused(why.to_string())).await?;
                return Err(why);
            }
        };
        drop(handshake);
        let station = match role {
            Role::Home => &self.forwarder,
            Role::Forwarder => &self.home,
        };
        let (link, queued) = self.link(&connection, true);
        let id = link.id;
        let tap = &station.tap;
        let carried = station.links.track_future(async {
            if let Err(why) = tap.join(link, prefixes.clone()).await {
                connection.say(&Message::Refused(why.to_string())).await?;
                return Err(why);
            }
            connection.say(&Message::InForce { prefixes }).await?;
            Err(connection.carry(queued, |message| tap.take(id, message)).await)
        });
        let outcome = tokio::select! {
            outcome = carried => outcome,
            () = station.end.cancelled() => Ok(()),
        };
        tap.leave(id).await;
        outcome
    }

    /// What a peer may speak about here: what lies in its own prefixes and in those that this server announces.
    fn agree(&self, version: u16, theirs: &[IpNet]) -> Result<Vec<IpNet>, ForwardError> {
        if version != VERSION {
            return Err(ForwardError::Version { theirs: version });
        }
        let prefixes = agreement::common(&self.prefixes, theirs);
        if prefixes.is_empty() { Err(ForwardError::Foreign) } else { Ok(prefixes) }
    }

    fn room(&self, connection: &Connection) -> Result<Guest, ForwardError> {
        self.guests.admit(&connection.name).ok_or(ForwardError::Full)
    }

    fn link(&self, connection: &Connection, theirs: bool) -> (Link, link::Queued) {
        let id = LinkId(self.ids.fetch_add(1, Ordering::Relaxed));
        Link::new(id, Arc::clone(&connection.name), theirs)
    }

    /// Has the peers send strays of this server's connections here from now on, until [`Forwarding::end`]. Returns when
    /// those that answer in time do so.
    pub(crate) async fn call_home(self: &Arc<Self>) {
        if self.peers.is_empty() {
            return;
        }
        let begun = Instant::now();
        let in_force = self.reach(Role::Home, &self.home.end).await;
        let peers = self.peers.len();
        info!(in_force, peers, took = ?begun.elapsed(), "peers forward strays of this server's connections to it");
    }

    /// Passes strays on to the peers from now on, for `window` and for as long after it as any connection is active.
    /// Returns when those that answer in time are ready for them. A server that is announced again and again visits each peer
    /// once, for longer.
    pub(crate) async fn seek_homes(self: &Arc<Self>, window: Duration) {
        if self.peers.is_empty() {
            return;
        }
        let mut seeking = self.seeking.lock().await;
        let until = Instant::now() + window;
        if seeking.as_ref().is_some_and(|window| lock(window).extend(until)) {
            return;
        }
        let window = Arc::new(Mutex::new(Window::new(until)));
        *seeking = Some(Arc::clone(&window));
        let end = self.forwarder.end.child_token();
        let (begun, peers) = (Instant::now(), self.peers.len());
        let in_force = self.reach(Role::Forwarder, &end).await;
        info!(in_force, peers, took = ?begun.elapsed(), "strays of the peers' connections are forwarded to them");
        let tap = self.forwarder.tap.clone();
        self.forwarder.links.spawn(async move {
            let over = async {
                loop {
                    let until = lock(&window).until();
                    sleep_until(until.into()).await;
                    let active = tap.active().await;
                    if lock(&window).close(Instant::now(), active) {
                        return;
                    }
                    sleep(AGAIN_AFTER).await;
                }
            };
            tokio::select! {
                () = over => end.cancel(),
                () = end.cancelled() => {}
            }
        });
    }

    /// Connects to all peers, in parallel, again and again until `end`; waits until each has agreed or failed once, but
    /// not for long. How many have agreed.
    async fn reach(self: &Arc<Self>, role: Role, end: &CancellationToken) -> usize {
        let (told, mut outcomes) = mpsc::channel(self.peers.len().max(1));
        for peer in self.peers.iter().copied() {
            let (this, told, end) = (Arc::clone(self), told.clone(), end.clone());
            self.station(role).links.spawn(async move { this.keep_visiting(peer, role, told, end).await });
        }
        drop(told);
        let mut agreed = 0;
        let answered = async {
            while let Some(outcome) = outcomes.recv().await {
                agreed += usize::from(outcome);
            }
        };
        timeout(IN_FORCE_WITHIN, answered).await.ok();
        agreed
    }

    /// Keeps a connection to a peer, until `end`; tells how the first attempt went.
    async fn keep_visiting(
        &self,
        peer: SocketAddr,
        role: Role,
        told: mpsc::Sender<bool>,
        end: CancellationToken,
    ) {
        let mut told = Some(told);
        while !end.is_cancelled() {
            if let Err(why) = self.visit(peer, role, &mut told, &end).await {
                match told.take() {
                    Some(told) => {
                        warn!(%peer, %why, "a peer takes no part in forwarding: it is asked again and again");
                        told.send(false).await.ok();
                    }
                    None => debug!(%peer, %why, "the connection to a peer has ended"),
                }
            }
            tokio::select! {
                () = sleep(AGAIN_AFTER) => {}
                () = end.cancelled() => {}
            }
        }
    }

    /// Connects to a peer and forwards, until the connection or everything ends.
    async fn visit(
        &self,
        peer: SocketAddr,
        role: Role,
        told: &mut Option<mpsc::Sender<bool>>,
        end: &CancellationToken,
    ) -> Result<(), ForwardError> {
        let mut connection = tokio::select! {
            opened = Connection::open(peer, &self.connector) => opened?,
            () = end.cancelled() => return Ok(()),
        };
        let (link, queued) = self.link(&connection, false);
        let (id, tap) = (link.id, &self.station(role).tap);
        let carried = async {
            let hello = Message::Hello { version: VERSION, role, prefixes: self.prefixes.clone() };
            // Only the tap has the link: when that lets go of it, the connection ends.
            match role {
                // A home must be able to take strays before the first one is sent.
                Role::Home => {
                    tap.join(link, self.prefixes.clone()).await?;
                    connection.say(&hello).await?;
                    self.hear_agreement(&mut connection).await?;
                }
                Role::Forwarder => {
                    connection.say(&hello).await?;
                    let prefixes = self.hear_agreement(&mut connection).await?;
                    tap.join(link, prefixes).await?;
                }
            }
            if let Some(told) = told.take() {
                told.send(true).await.ok();
            }
            Err(connection.carry(queued, |message| tap.take(id, message)).await)
        };
        let outcome = tokio::select! {
            outcome = carried => outcome,
            () = end.cancelled() => Ok(()),
        };
        tap.leave(id).await;
        outcome
    }

    /// What a peer says to a greeting: the prefixes that it agrees to.
    async fn hear_agreement(&self, connection: &mut Connection) -> Result<Vec<IpNet>, ForwardError> {
        match connection.hear().await? {
            Message::InForce { prefixes } => self.agree(VERSION, &prefixes),
            Message::Refused(reason) => Err(ForwardError::Refused(reason)),
            _ => Err(ForwardError::Unexpected("no agreement")),
        }
    }

    /// The part of this server in connections that it opens in a role.
    const fn station(&self, role: Role) -> &Station {
        match role {
            Role::Home => &self.home,
            Role::Forwarder => &self.forwarder,
        }
    }

    /// No longer passes on what arrives here: for a server at which nothing arrives any more.
    pub(crate) async fn end_forwarding(&self) {
        self.forwarder.end().await;
    }

    /// No longer takes strays; nothing is attached any more.
    pub(crate) async fn end(&self) {
        self.forwarder.end().await;
        self.home.end().await;
    }

    /// Waits until the kernel has nothing under way on connections of our prefixes.
    pub(crate) async fn until_nothing_is_under_way(&self) {
        loop {
            let (prefixes, begun) = (self.prefixes.clone(), Instant::now());
            let seen = tokio::task::spawn_blocking(move || connections::under_way(&prefixes)).await;
            match seen {
                Ok(Ok(0)) => return,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return warn!(%error, "the kernel does not tell which connections it has"),
                Err(_) => return,
            }
            sleep(LOOK_EVERY.max(begun.elapsed() * 10)).await;
        }
    }
}

/// A peer that is named twice would be visited twice, and each visit would end the other.
fn each_once(peers: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut peers = peers.to_vec();
    peers.sort_unstable();
    peers.dedup();
    peers
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a packet is one whole TCP segment: the only thing that is forwarded.
pub fn is_segment(packet: &[u8]) -> bool {
    segment::Segment::of(packet).is_some()
}

/// Whether this process could do what forwarding needs, as far as that can be known without attaching anything. Blocking.
fn check() -> Result<(), ForwardError> {
    tun::check().map_err(|source| ForwardError::System { doing: "opening /dev/net/tun", source })?;
    Program::load(0).map(drop)
}

//! Keeps a replica up to date from whichever upstream serves best.
//!
//! ```text
//!  pick an upstream ──▶ connect, greet ──▶ no state, or damaged? ── snapshot ─┐
//!     ▲                                        │ no                           │
//!     │                                        ▼                              ▼
//!     │                                    subscribe from the own cursor ◀────┘
//!     └── silence, error, stale, better one ◀── entries, heartbeats ──▶ apply, publish
//! ```
//!
//! The cursor is the replica's own and never goes back. An entry that is known is passed over; a gap, another log or
//! another history ends the session.
//!
//! Whether an upstream lives is told by the monotonic clock alone, and pulses carry how long ago something was, never
//! when: a wall clock that jumps on any node ends no session. (`clippy.toml` keeps the wall clock out of here.)

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    FollowError, ReadError, Replica, Seq,
    choice::{Choice, Pick},
    codec,
    limits::{
        APPLY_ENTRIES_MAX, APPLY_OCTETS, CONNECT_DEADLINE, HANDSHAKE_DEADLINE, HEARTBEAT_DEADLINE,
        PROBE_INTERVAL, SNAPSHOT_DEADLINE, STALE_AFTER, WRITE_DEADLINE,
    },
    message::{Message, Pulse},
    peer::{Connection, Dialer, PeerError},
    store::StoreError,
    transfer::{self, Origin},
    vitals::Vitals,
    writer::Writer,
};

/// Chunks of a snapshot that wait to be stored.
const CHUNKS_AHEAD: usize = 8;

/// What a follower is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Following {
    /// Whom it follows now.
    pub upstream: Option<SocketAddr>,
    /// The upstream's name, by its certificate.
    pub name: Option<Arc<str>>,
    /// Whether it loads a snapshot.
    pub rebuilding: bool,
    /// Why following last failed; gone once entries or heartbeats come again.
    pub problem: Option<String>,
}

/// Why a session with an upstream ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("it does not hear from the log, or lags behind it")]
    Stale,
    #[error("upstream {0} is better")]
    Better(usize),
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error("it has no state itself")]
    NoState,
    #[error("it sent entry {got} after {had}")]
    Gap { had: Seq, got: Seq },
    #[error("its snapshot was not taken: {0}")]
    Snapshot(String),
    #[error("entries cannot be stored here: {0}")]
    Local(String),
    #[error("this node stops")]
    Shutdown,
}

/// Follows. Made by [`Ledger::start`](crate::Ledger::start).
pub(crate) struct Follower {
    replica: Replica,
    vitals: Arc<Vitals>,
    dialer: Dialer,
    upstreams: Vec<SocketAddr>,
    following: watch::Sender<Following>,
    /// Outlives what writes in the background.
    tasks: TaskTracker,
}

impl Follower {
    pub(crate) fn new(
        vitals: Arc<Vitals>,
        dialer: Dialer,
        upstreams: Vec<SocketAddr>,
        tasks: TaskTracker,
    ) -> Self {
        let replica = vitals.replica().clone();
        Self { replica, vitals, dialer, upstreams, following: watch::Sender::default(), tasks }
    }

    /// What it is doing, and changes of that.
    pub(crate) fn watch(&self) -> watch::Receiver<Following> {
        self.following.subscribe()
    }

    /// Follows until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut choice = Choice::new(self.upstreams.len());
        while !shutdown.is_cancelled() {
            let (upstream, must_be_fresh) = match choice.pick(Instant::now()) {
                Pick::Follow { upstream, must_be_fresh } => (upstream, must_be_fresh),
                Pick::Wait(until) => {
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        () = tokio::time::sleep_until(until) => continue,
                    }
                }
            };
            let mut session =
                Session { follower: &self, choice: &mut choice, upstream, must_be_fresh, stale_since: None };
            let end = tokio::select! {
                () = shutdown.cancelled() => End::Shutdown,
                end = session.run() => end,
            };
            self.ended(&mut choice, upstream, &end);
        }
    }

    fn ended(&self, choice: &mut Choice, upstream: usize, end: &End) {
        let address = self.upstreams[upstream];
        let now = Instant::now();
        match end {
            End::Shutdown => return,
            End::Better(other) => {
                tracing::info!(%address, better = %self.upstreams[*other], "changing the upstream")
            }
            End::Stale => choice.stale(upstream, now),
            _ => choice.failed(upstream, now, rand::random()),
        }
        let problem = format!("{address}: {end}");
        let repeated = self.following.borrow().problem.as_ref() == Some(&problem);
        if !repeated {
            tracing::warn!(%address, reason = %end, "no longer following this upstream");
        }
        self.following.send_replace(Following { problem: Some(problem), ..Following::default() });
    }
}

/// One upstream being followed.
struct Session<'f> {
    follower: &'f Follower,
    choice: &'f mut Choice,
    upstream: usize,
    must_be_fresh: bool,
    /// Since when the upstream does not keep up.
    stale_since: Option<Instant>,
}

impl Session<'_> {
    /// Follows until it ends; says why.
    async fn run(&mut self) -> End {
        match self.follow().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, End> {
        let address = self.follower.upstreams[self.upstream];
        let replica = &self.follower.replica;
        let ours = replica.log_id();
        let (mut connection, welcome) = self.follower.dialer.dial(address, ours).await?;
        let theirs = welcome.log.ok_or(End::NoState)?;
        if let Some(ours) = ours
            && ours != theirs
        {
            return Err(FollowError::OtherLog { ours: ours.to_string(), theirs: theirs.to_string() }.into());
        }
        self.follower.vitals.hear(&welcome.pulse);
        if self.must_be_fresh && silent(&welcome.pulse) {
            return Err(End::Stale);
        }
        let name = Arc::clone(&connection.name);
        let following = Following { upstream: Some(address), name: Some(name), ..Following::default() };
        self.follower.following.send_replace(following);
        loop {
            let from = match replica.head() {
                Ok(head) => head,
                Err(ReadError::NotReady | ReadError::Corrupt(_)) => {
                    self.bootstrap(&mut connection).await?;
                    continue;
                }
                Err(error) => return Err(FollowError::Read(error).into()),
            };
            let subscribe = Message::Subscribe { from: from.seq, digest: Some(from.digest) };
            connection.send(&subscribe).await?;
            match self.tail(&mut connection, from.seq).await? {
                Outcome::Bootstrap => self.bootstrap(&mut connection).await?,
            }
        }
    }

    /// Loads a snapshot.
    async fn bootstrap(&mut self, connection: &mut Connection) -> Result<(), End> {
        let following = &self.follower.following;
        following.send_modify(|following| following.rebuilding = true);
        let loaded = load(&self.follower.replica, connection, &self.follower.tasks).await;
        following.send_modify(|following| following.rebuilding = false);
        let seq = loaded.map_err(End::Snapshot)?;
        tracing::info!(upstream = %connection.name, %seq, "took a snapshot");
        Ok(())
    }

    /// Takes entries and heartbeats. Returns when a snapshot is needed.
    async fn tail(&mut self, connection: &mut Connection, from: Seq) -> Result<Outcome, End> {
        let mut fault = self.follower.replica.watch_fault();
        // Damage may have been found between the look at the head and here: that counts as a change, too.
        fault.mark_changed();
        let mut probes = interval(PROBE_INTERVAL);
        probes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        probes.reset();
        let mut probing: Option<tokio::task::JoinHandle<Vec<(usize, bool)>>> = None;
        loop {
            tokio::select! {
                message = connection.receive_within(HEARTBEAT_DEADLINE) => match message? {
                    Message::Entry(entry) => self.apply(connection, entry).await?,
                    Message::Heartbeat(pulse) => self.beat(&pulse)?,
                    Message::Failed(failure) => match failure.into_error(from) {
                        FollowError::Compacted { .. } => return Ok(Outcome::Bootstrap),
                        error => return Err(error.into()),
                    },
                    _ => return Err(PeerError::Unexpected("something that was not subscribed to").into()),
                },
                // The sender lives in the replica.
                _ = fault.changed() => if self.follower.replica.fault().is_some() {
                    return Ok(Outcome::Bootstrap);
                },
                _ = probes.tick(), if probing.is_none() => probing = self.probe(),
                Some(probed) = finished(&mut probing) => {
                    probing = None;
                    self.probed(&probed)?;
                }
            }
        }
    }

    fn beat(&mut self, pulse: &Pulse) -> Result<(), End> {
        self.follower.vitals.hear(pulse);
        self.choice.works(self.upstream);
        self.follower.following.send_if_modified(|following| following.problem.take().is_some());
        let behind = pulse.seq < self.follower.vitals.log_last();
        if !behind && !silent(pulse) {
            self.stale_since = None;
            return Ok(());
        }
        let since = *self.stale_since.get_or_insert_with(Instant::now);
        if self.must_be_fresh && since.elapsed() >= STALE_AFTER { Err(End::Stale) } else { Ok(()) }
    }

    /// Applies an entry, and with it those that have come already.
    async fn apply(&mut self, connection: &mut Connection, first: Vec<u8>) -> Result<(), End> {
        let mut octets = first.len();
        let mut entries = vec![first];
        let mut pulse = None;
        while entries.len() < APPLY_ENTRIES_MAX && octets < APPLY_OCTETS {
            match connection.receive_now() {
                Some(Ok(Message::Entry(entry))) => {
                    octets += entry.len();
                    entries.push(entry);
                }
                Some(Ok(Message::Heartbeat(beat))) => pulse = Some(beat),
                Some(Ok(_)) => {
                    return Err(PeerError::Unexpected("something that was not subscribed to").into());
                }
                Some(Err(error)) => return Err(error.into()),
                None => break,
            }
        }
        let (replica, token) = (self.follower.replica.clone(), self.follower.tasks.token());
        let applying = tokio::task::spawn_blocking(move || {
            // Dropped in reverse: the token says that the replica is let go.
            let (_token, replica) = (token, replica);
            apply(&replica, &entries)
        });
        applying.await.map_err(|_| End::Shutdown)??;
        self.choice.works(self.upstream);
        pulse.map_or(Ok(()), |pulse| self.beat(&pulse))
    }

    /// Looks for a better upstream in the background.
    fn probe(&self) -> Option<tokio::task::JoinHandle<Vec<(usize, bool)>>> {
        let stale = self.stale_since.is_some();
        let candidates = self.choice.to_probe(self.upstream, stale);
        if candidates.is_empty() {
            return None;
        }
        let dialer = self.follower.dialer.clone();
        let candidates: Vec<_> =
            candidates.into_iter().map(|candidate| (candidate, self.follower.upstreams[candidate])).collect();
        let log = self.follower.replica.log_id();
        let seq = self.follower.replica.seq();
        Some(tokio::spawn(async move {
            let probe = |(candidate, address)| {
                let dialer = dialer.clone();
                async move {
                    let answered =
                        timeout(CONNECT_DEADLINE + HANDSHAKE_DEADLINE, dialer.dial(address, log)).await;
                    let fresh = matches!(answered, Ok(Ok((_, welcome)))
                        if welcome.log == log && !silent(&welcome.pulse) && welcome.pulse.seq >= seq);
                    (candidate, fresh)
                }
            };
            futures_util::future::join_all(candidates.into_iter().map(probe)).await
        }))
    }

    fn probed(&mut self, probed: &[(usize, bool)]) -> Result<(), End> {
        let stale = self.stale_since.is_some();
        let now = Instant::now();
        for &(upstream, fresh) in probed {
            if self.choice.probed(upstream, fresh, stale, now) {
                return Err(End::Better(upstream));
            }
        }
        Ok(())
    }
}

enum Outcome {
    Bootstrap,
}

/// What the probes found; pending while there are none.
async fn finished(
    probing: &mut Option<tokio::task::JoinHandle<Vec<(usize, bool)>>>,
) -> Option<Vec<(usize, bool)>> {
    match probing {
        Some(handle) => Some(handle.await.unwrap_or_default()),
        None => std::future::pending().await,
    }
}

/// Whether an upstream has not heard from the log for too long.
fn silent(pulse: &Pulse) -> bool {
    pulse.log_heard.is_none_or(|heard| heard > STALE_AFTER)
}

/// Applies entries in one transaction; those that are known are passed over.
fn apply(replica: &Replica, entries: &[Vec<u8>]) -> Result<(), End> {
    let store = replica.store().map_err(FollowError::Read)?;
    let applied = || -> Result<Result<(), End>, StoreError> {
        let Some(mut writer) = Writer::begin(&store)? else { return Ok(Err(End::NoState)) };
        let before = writer.head().seq;
        for octets in entries {
            let entry = match codec::decode_entry(octets) {
                Ok(entry) => entry,
                Err(error) => return Ok(Err(PeerError::Garbage(error).into())),
            };
            let had = writer.head().seq;
            if entry.seq <= had {
                // Known; but if the process that is about to take over applied it, this one has not told of it yet.
                if entry.seq > replica.seq() {
                    replica.announce(&entry);
                }
                continue;
            }
            if entry.seq != had.next() {
                return Ok(Err(End::Gap { had, got: entry.seq }));
            }
            writer.apply(&entry, octets)?;
            replica.announce(&entry);
        }
        let head = if writer.head().seq > before { writer.commit()? } else { *writer.head() };
        replica.publish(&head);
        Ok(Ok(()))
    };
    applied().map_err(|error| match store.write_failed(error) {
        StoreError::Full(reason) | StoreError::Io(reason) => End::Local(reason),
        StoreError::Readers => End::Local("too many readers".to_owned()),
        // Marks the replica: the next session rebuilds it.
        error @ StoreError::Corrupt(_) => FollowError::Read(replica.failed(&store, &error)).into(),
    })?
}

/// Asks for a snapshot and loads it; returns its place in the log, or why there is none.
pub(crate) async fn load(
    replica: &Replica,
    connection: &mut Connection,
    tasks: &TaskTracker,
) -> Result<Seq, String> {
    let text = |error: PeerError| error.to_string();
    connection.send(&Message::SnapshotRequest).await.map_err(text)?;
    let origin = loop {
        match connection.receive_within(WRITE_DEADLINE).await.map_err(text)? {
            Message::SnapshotBegin { log, seq, at, digest } => break Origin::new(log, seq, at, digest),
            // On their way when the snapshot was asked for.
            Message::Heartbeat(_) | Message::Entry(_) => {}
            Message::Failed(failure) => return Err(failure.into_error(replica.seq()).to_string()),
            _ => return Err("it sent something else".to_owned()),
        }
    };
    if replica.log_id().is_some_and(|ours| ours != origin.head.log) {
        return Err("it is of another log".to_owned());
    }
    let (theirs, ours) = (origin.head.seq, replica.seq());
    if theirs < ours {
        return Err(transfer::LoadError::Older { theirs, ours }.to_string());
    }
    let (messages, received) = mpsc::channel(CHUNKS_AHEAD);
    let (target, token) = (replica.clone(), tasks.token());
    let loading = tokio::task::spawn_blocking(move || {
        let (_token, target) = (token, target);
        transfer::load(&target, origin, received)
    });
    let received = timeout(SNAPSHOT_DEADLINE, receive(connection, messages)).await;
    let loaded = loading.await.map_err(|_| "loading it was cut short".to_owned())?;
    match (received, loaded) {
        (Ok(Ok(())), Ok(head)) => Ok(head.seq),
        (Err(_), _) => Err(format!("it took longer than {SNAPSHOT_DEADLINE:?}")),
        // What stopped the loading explains more than that nobody received.
        (Ok(Ok(())), Err(error)) => Err(error.to_string()),
        (Ok(Err(error)), _) => Err(error),
    }
}

/// Hands the messages of a snapshot on to whoever loads it.
async fn receive(connection: &mut Connection, messages: mpsc::Sender<Message>) -> Result<(), String> {
    loop {
        let message = connection.receive_within(WRITE_DEADLINE).await.map_err(|error| error.to_string())?;
        if let Message::Failed(failure) = message {
            return Err(failure.into_error(Seq::ZERO).to_string());
        }
        let last = matches!(message, Message::SnapshotEnd { .. });
        if messages.send(message).await.is_err() || last {
            return Ok(());
        }
    }
}

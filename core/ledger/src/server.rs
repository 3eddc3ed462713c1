//! Serves peers: greets them, takes their appends if the log is here, and lets them follow this node's replica.

use std::{net::SocketAddr, sync::Arc};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    AppendError, AskError, EmbeddedLog, FollowError, Log as _, Replica, Seq,
    codec::Digest,
    limits::{
        APPENDS_IN_FLIGHT_MAX, CONNECTIONS_MAX, HANDSHAKE_DEADLINE, HEARTBEAT_INTERVAL, SNAPSHOT_DEADLINE,
        SNAPSHOTS_SENT_MAX,
    },
    message::{Failure, Message, NoAnswer, Refusal, VERSION},
    peer::{Connection, PeerError},
    tail::{Next, Tail},
    transfer,
    vitals::Vitals,
};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 256;
/// Frames of a snapshot that wait to be written.
const SNAPSHOT_FRAMES_AHEAD: usize = 4;

/// Binds the listener for followers. The port may be shared with the process that this one takes over from.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What is served. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) replica: Replica,
    pub(crate) vitals: Arc<Vitals>,
    /// The log, if it is here.
    pub(crate) log: Option<EmbeddedLog>,
    pub(crate) tls: TlsAcceptor,
    snapshots: Arc<Semaphore>,
    /// Outlives what reads in the background.
    tasks: TaskTracker,
}

impl Server {
    pub(crate) fn new(
        (replica, log): (Replica, Option<EmbeddedLog>),
        vitals: Arc<Vitals>,
        tls: Arc<rustls::ServerConfig>,
        tasks: TaskTracker,
    ) -> Self {
        let snapshots = Arc::new(Semaphore::new(SNAPSHOTS_SENT_MAX));
        Self { replica, vitals, log, tls: TlsAcceptor::from(tls), snapshots, tasks }
    }

    /// Serves until `shutdown`.
    pub(crate) async fn run(self, listener: TcpListener, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((_, peer)) if connections.len() >= CONNECTIONS_MAX => {
                        tracing::warn!(%peer, "refused: {CONNECTIONS_MAX} peers are connected already");
                    }
                    Ok((stream, peer)) => {
                        connections.spawn(self.clone().connection(stream, peer));
                    }
                    Err(error) => {
                        // No file descriptors, for example: waiting is all that helps.
                        tracing::warn!(%error, "cannot accept peers");
                        tokio::time::sleep(HEARTBEAT_INTERVAL).await;
                    }
                },
            }
        }
        connections.shutdown().await;
    }

    async fn connection(self, stream: TcpStream, address: SocketAddr) {
        let mut connection = match Connection::accept(stream, &self.tls).await {
            Ok(connection) => connection,
            Err(error) => return tracing::warn!(%address, %error, "a peer was refused"),
        };
        let name = Arc::clone(&connection.name);
        match self.serve(&mut connection).await {
            Ok(()) | Err(PeerError::Closed) => tracing::debug!(%address, %name, "a peer left"),
            Err(error) => tracing::warn!(%address, %name, %error, "a peer was dropped"),
        }
    }

    /// Greets the peer, then does what it asks for.
    async fn serve(&self, connection: &mut Connection) -> Result<(), PeerError> {
        let Message::Hello { version, log: theirs } = connection.receive_within(HANDSHAKE_DEADLINE).await?
        else {
            return Err(PeerError::Unexpected("no greeting"));
        };
        let ours = self.replica.head().ok().map(|head| head.log);
        let keeps_log = self.vitals.keeps_log();
        let pulse = self.vitals.pulse();
        connection.send(&Message::Welcome { version: VERSION, log: ours, keeps_log, pulse }).await?;
        if version != VERSION {
            return Err(PeerError::Version { theirs: version });
        }
        if let (Some(ours), Some(theirs)) = (ours, theirs)
            && ours != theirs
        {
            let other = FollowError::OtherLog { ours: ours.to_string(), theirs: theirs.to_string() };
            return Err(PeerError::Refused(other.to_string()));
        }
        Session { server: self, connection, tail: None, appends: FuturesUnordered::new() }.run().await
    }
}

/// One peer's connection after the greeting.
struct Session<'s> {
    server: &'s Server,
    connection: &'s mut Connection,
    tail: Option<Tail>,
    /// Appends and questions that are being answered.
    appends: FuturesUnordered<BoxFuture<'s, Message>>,
}

impl Session<'_> {
    async fn run(mut self) -> Result<(), PeerError> {
        let mut heartbeat = Instant::now() + HEARTBEAT_INTERVAL;
        loop {
            let following = self.tail.is_some();
            let room = self.appends.len() < APPENDS_IN_FLIGHT_MAX;
            tokio::select! {
                message = self.connection.receive(), if room => self.asked(message?).await?,
                Some(answer) = self.appends.next() => self.connection.send(&answer).await?,
                next = next(&mut self.tail), if following => self.follow(next).await?,
                () = sleep_until(heartbeat), if !following => {
                    heartbeat = Instant::now() + HEARTBEAT_INTERVAL;
                    self.beat().await?;
                }
            }
        }
    }

    async fn asked(&mut self, message: Message) -> Result<(), PeerError> {
        match message {
            Message::Append { id, append } => {
                let log = self.server.log.clone();
                self.appends.push(Box::pin(async move {
                    let outcome = match log {
                        Some(log) => log.append(append).await,
                        None => Err(AppendError::NotTheLog),
                    };
                    match outcome {
                        Ok(appended) => {
                            Message::Appended { id, seq: appended.seq, repeated: appended.repeated }
                        }
                        Err(error) => Message::Refused { id, refusal: Refusal::of(error) },
                    }
                }));
                Ok(())
            }
            Message::Ask { id, topic, question } => {
                let log = self.server.log.clone();
                self.appends.push(Box::pin(async move {
                    let answer = match log {
                        Some(log) => log.desk().answer(&topic, question).await,
                        None => Err(AskError::Nobody(topic)),
                    };
                    Message::Told { id, answer: answer.map_err(NoAnswer::of) }
                }));
                Ok(())
            }
            Message::Subscribe { from, digest } => match self.subscribe(from, digest) {
                Ok(tail) => {
                    self.tail = Some(tail);
                    Ok(())
                }
                Err(error) => self.connection.send(&Message::Failed(Failure::of(&error))).await,
            },
            Message::SnapshotRequest => {
                self.tail = None;
                let sent = timeout(SNAPSHOT_DEADLINE, self.snapshot()).await;
                sent.unwrap_or(Err(PeerError::Late { doing: "sending a snapshot", limit: SNAPSHOT_DEADLINE }))
            }
            _ => Err(PeerError::Unexpected("an answer, but nothing was asked")),
        }
    }

    fn subscribe(&self, from: Seq, digest: Option<Digest>) -> Result<Tail, FollowError> {
        let tail = Tail::new(self.server.replica.clone(), from)?;
        if let Some(theirs) = digest
            && self.server.replica.digest_at(from)?.is_some_and(|ours| ours != theirs)
        {
            return Err(FollowError::Diverged { at: from });
        }
        Ok(tail)
    }

    async fn follow(&mut self, next: Result<Next, FollowError>) -> Result<(), PeerError> {
        match next {
            Ok(Next::Entries(entries)) => {
                self.connection.send_all(entries.into_iter().map(Message::Entry)).await
            }
            Ok(Next::Heartbeat(_)) => self.beat().await,
            Err(error) => {
                self.tail = None;
                self.connection.send(&Message::Failed(Failure::of(&error))).await
            }
        }
    }

    async fn beat(&mut self) -> Result<(), PeerError> {
        self.connection.send(&Message::Heartbeat(self.server.vitals.pulse())).await
    }

    async fn snapshot(&mut self) -> Result<(), PeerError> {
        let Ok(permit) = Arc::clone(&self.server.snapshots).try_acquire_owned() else {
            let busy = Failure::Other("it sends as many snapshots as it may already".to_owned());
            return self.connection.send(&Message::Failed(busy)).await;
        };
        let (frames, mut produced) = mpsc::channel(SNAPSHOT_FRAMES_AHEAD);
        let replica = self.server.replica.clone();
        let token = self.server.tasks.token();
        let reading = tokio::task::spawn_blocking(move || {
            // Dropped in reverse: the token says that the replica is let go.
            let (_permit, _token, replica) = (permit, token, replica);
            transfer::produce(&replica, &frames)
        });
        while let Some(frame) = produced.recv().await {
            self.connection.send_contents(&frame).await?;
        }
        match reading.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => self.connection.send(&Message::Failed(Failure::Other(error.to_string()))).await,
            Err(_) => Err(PeerError::Unexpected("a snapshot request while this node is stopping")),
        }
    }
}

/// The next step of a subscription; pending without one.
async fn next(tail: &mut Option<Tail>) -> Result<Next, FollowError> {
    match tail {
        Some(tail) => tail.next().await,
        None => std::future::pending().await,
    }
}

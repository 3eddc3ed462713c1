//! QUIC (RFC 9250): each query on a stream of its own, answered when it is there, in whatever order.
//!
//! ```text
//!  Initial ─▶ address shown? ─no, and places are scarce or handshakes many─▶ Retry
//!               │ yes, or there is enough
//!               ├─ no place ─▶ CONNECTION_REFUSED
//!               └─ handshake ─▶ each stream: length, query, end ─▶ answer, end
//!                                 └ anything else: the connection is closed with DOQ_PROTOCOL_ERROR
//! ```
//!
//! A connection holds [`STREAMS_MAX`] queries of 4 KiB, answers to [`ANSWERS_MAX`] of them, and a send window: some 800
//! KiB at the most, far less where answers are small. Early data is not taken: a replayed query is harmless, but resolvers
//! that resume save a signature anyway. Answers that were waited for lie there, found, until it is their turn to be written.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use proxima_chassis::{Listeners, Place, Places, Shutdown};
use proxima_tls::steer;
use quinn::{
    Connection, Endpoint, EndpointConfig, IdleTimeout, Incoming, ReadToEndError, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt, crypto::rustls::HandshakeData,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tracing::debug;

use crate::{
    DnsError,
    answerer::{Answerer, Reply, answer_framed, frame},
    asker::{Asker, Transport},
    query::QUERY_OCTETS_MAX,
    service::NAME,
    tcp::{ON_ITS_WAY, WRITE_WITHIN},
    tls::{HANDSHAKE_WITHIN, Secure},
    wire::LENGTH_OCTETS,
};

/// Queries of a connection at once.
const STREAMS_MAX: u32 = 100;
/// Answers of a connection that are made and written at once: one of them may have 64 KiB.
const ANSWERS_MAX: usize = 4;
/// Octets of all queries of a connection that may be on their way: as many streams as there may be have room for a usual
/// query, and some for a long one.
const RECEIVE_WINDOW_BYTES: u32 = 64 << 10;
/// Octets of answers that are written and not yet acknowledged: two of the largest.
const SEND_WINDOW_BYTES: u64 = 128 << 10;
/// Handshakes at once from which on a client must show that it receives at its address before we sign for it. There may
/// be more, as many as there are places: those that wait for silent clients keep nobody out.
const RETRY_ABOVE: usize = 64;
/// Connections that have sent a first packet and were not looked at yet. They are looked at at once.
const UNSEEN_MAX: usize = 1024;
/// Octets that may come for one of them meanwhile, and for all of them together.
const UNSEEN_BYTES: u64 = 16 * 1024;
const UNSEEN_BYTES_TOTAL: u64 = 4 * 1024 * 1024;
/// How long the last packets of connections that have ended may take to be sent.
const LAST_PACKETS: Duration = Duration::from_secs(1);

/// Errors of DNS over QUIC (RFC 9250, 4.3).
mod code {
    pub(super) const NO_ERROR: u32 = 0;
    pub(super) const INTERNAL_ERROR: u32 = 1;
    pub(super) const PROTOCOL_ERROR: u32 = 2;
    pub(super) const REQUEST_CANCELLED: u32 = 3;
}

/// Why a connection cannot go on.
enum Broken {
    /// The client does not speak DNS over QUIC.
    Protocol,
    /// A task of ours has ended with a fault.
    Internal,
}

/// What a stream has come to.
enum Step {
    /// Its query is here, whole.
    Asked(SendStream, Vec<u8>),
    /// Its query is answered, as far as the client took the answer.
    Answered,
    /// There will be no query: the client, or we, have lost interest.
    Left,
}

/// Takes what comes at one address.
pub(crate) struct QuicListener {
    endpoint: Endpoint,
    /// One is taken by each handshake as long as there are some.
    handshakes: Arc<Semaphore>,
}

impl QuicListener {
    /// The socket of this process at an address, and its generation; the former process's connections stay with it.
    ///
    /// # Errors
    /// It cannot be had.
    pub(crate) fn bind(listeners: &Listeners, address: SocketAddr) -> Result<(UdpSocket, u8), DnsError> {
        Ok(listeners.udp_beside(NAME, address, steer)?)
    }

    /// Takes connections at this socket.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub(crate) fn new(
        (socket, generation): (UdpSocket, u8),
        secure: &Secure,
        idle: Duration,
    ) -> std::io::Result<Self> {
        let mut config = ServerConfig::new(secure.quic.clone(), secure.quic_keys.token_key());
        config
            .transport_config(Arc::new(transport(idle)))
            .max_incoming(UNSEEN_MAX)
            .incoming_buffer_size(UNSEEN_BYTES)
            .incoming_buffer_size_total(UNSEEN_BYTES_TOTAL);
        let mut endpoint = EndpointConfig::new(secure.quic_keys.reset_key());
        let keys = secure.quic_keys.clone();
        endpoint.cid_generator(move || keys.connection_ids(generation));
        let endpoint = Endpoint::new(endpoint, Some(config), socket, Arc::new(TokioRuntime))?;
        Ok(Self { endpoint, handshakes: Arc::new(Semaphore::new(RETRY_ABOVE)) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The socket does not say.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Takes connections until the server drains, then waits for those that are open.
    pub(crate) async fn serve<A: Answerer>(
        self,
        answerer: Arc<A>,
        places: Arc<Places>,
        shutdown: Shutdown,
    ) -> Result<(), DnsError> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => {
                    let Some(incoming) = incoming else { break };
                    shutdown.arrivals().note();
                    if let Some((incoming, place, going_on)) = self.admit(incoming, &*answerer, &places) {
                        connections.spawn(connection(incoming, answerer.clone(), (place, going_on), shutdown.clone()));
                    }
                }
                Some(_) = connections.join_next() => {}
                () = shutdown.draining() => break,
            }
        }
        let turned_away = async {
            while let Some(incoming) = self.endpoint.accept().await {
                incoming.refuse();
            }
        };
        tokio::select! {
            () = async { while connections.join_next().await.is_some() {} } => {}
            () = turned_away => {}
        }
        timeout(LAST_PACKETS, self.endpoint.wait_idle()).await.ok();
        Ok(())
    }

    fn admit(
        &self,
        incoming: Incoming,
        answerer: &impl Answerer,
        places: &Arc<Places>,
    ) -> Option<(Incoming, Place, Option<OwnedSemaphorePermit>)> {
        let client = incoming.remote_address().ip();
        let going_on = self.handshakes.clone().try_acquire_owned().ok();
        // A forged address must cost neither us a signature nor its owner a place.
        if !incoming.remote_address_validated() && (going_on.is_none() || places.are_scarce(client)) {
            // Fails only for one that has been validated.
            incoming.retry().ok();
            return None;
        }
        let Some(place) = places.take(client) else {
            answerer.listening().metrics.connection_refused(Transport::Quic);
            incoming.refuse();
            return None;
        };
        Some((incoming, place, going_on))
    }
}

fn transport(idle: Duration) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let query = u32::try_from(LENGTH_OCTETS + QUERY_OCTETS_MAX).expect("a query is short");
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        // Nothing is sent on these (RFC 9250, 4.2).
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(query))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(IdleTimeout::try_from(idle + HANDSHAKE_WITHIN).ok());
    transport
}

async fn connection<A: Answerer>(
    incoming: Incoming,
    answerer: Arc<A>,
    (place, going_on): (Place, Option<OwnedSemaphorePermit>),
    shutdown: Shutdown,
) {
    let metrics = &answerer.listening().metrics;
    let _open = metrics.open(Transport::Quic);
    let shaken = async { incoming.accept()?.await };
    let Ok(Ok(connection)) = timeout(HANDSHAKE_WITHIN, shaken).await else {
        metrics.handshake_failed(Transport::Quic);
        return;
    };
    drop(going_on);
    let ended = converse(&connection, &answerer, &shutdown).await;
    let code = match ended {
        Ok(()) => code::NO_ERROR,
        Err(Broken::Internal) => code::INTERNAL_ERROR,
        Err(Broken::Protocol) => code::PROTOCOL_ERROR,
    };
    connection.close(VarInt::from_u32(code), b"");
    debug!(client = %connection.remote_address(), code, "a QUIC connection ended");
    drop(place);
}

/// Answers a connection's queries to its end: closed, or without a whole query for too long, by the client, or, once the
/// server drains, when what was begun is answered. Streams that bring nothing give it no more time.
async fn converse<A: Answerer>(
    connection: &Connection,
    answerer: &Arc<A>,
    shutdown: &Shutdown,
) -> Result<(), Broken> {
    let idle = answerer.listening().idle;
    let answers = Arc::new(Semaphore::new(ANSWERS_MAX));
    let asker = Asker {
        shown: answerer.shown_by(server_name(connection).as_deref()),
        ..Asker::new(connection.remote_address().ip(), Transport::Quic)
    };
    let mut queries_left = answerer.listening().queries_max;
    let mut deadline = Instant::now() + idle;
    let mut draining = false;
    let mut begun: JoinSet<Result<Step, Broken>> = JoinSet::new();
    // Streams whose query is here.
    let mut asked = 0_usize;
    loop {
        tokio::select! {
            stream = connection.accept_bi(), if queries_left > 0 => {
                let Ok((send, receive)) = stream else { return Ok(()) };
                queries_left -= 1;
                if draining && begun.is_empty() {
                    // It was on its way, and has come: it has as long as any other for the rest of it.
                    deadline = Instant::now() + idle;
                }
                begun.spawn(read(send, receive, idle));
            }
            Some(ended) = begun.join_next() => {
                match ended.unwrap_or(Err(Broken::Internal))? {
                    Step::Asked(send, query) => {
                        asked += 1;
                        let (answerer, answers) = (answerer.clone(), answers.clone());
                        begun.spawn(async move { answer(send, &query, asker, &answerer, &answers).await });
                    }
                    Step::Answered => {
                        asked -= 1;
                        deadline = Instant::now() + idle;
                    }
                    Step::Left => {}
                }
                if begun.is_empty() {
                    if queries_left == 0 {
                        return Ok(());
                    }
                    if draining {
                        deadline = deadline.min(Instant::now() + ON_ITS_WAY);
                    }
                }
            }
            () = sleep_until(deadline), if asked == 0 => return Ok(()),
            _ = connection.closed() => return Ok(()),
            () = shutdown.draining(), if !draining => {
                draining = true;
                if begun.is_empty() {
                    deadline = deadline.min(Instant::now() + ON_ITS_WAY);
                }
            }
        }
    }
}

/// The name by which the client knows whom it asks, if it said one.
fn server_name(connection: &Connection) -> Option<String> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.server_name
}

/// Reads the query of one stream.
async fn read(mut send: SendStream, mut receive: RecvStream, idle: Duration) -> Result<Step, Broken> {
    match timeout(idle, receive.read_to_end(LENGTH_OCTETS + QUERY_OCTETS_MAX)).await {
        Ok(Ok(octets)) => Ok(Step::Asked(send, octets)),
        Ok(Err(ReadToEndError::TooLong)) => Err(Broken::Protocol),
        Ok(Err(ReadToEndError::Read(_))) | Err(_) => {
            send.reset(VarInt::from_u32(code::REQUEST_CANCELLED)).ok();
            Ok(Step::Left)
        }
    }
}

/// Answers the query of one stream.
async fn answer<A: Answerer>(
    mut send: SendStream,
    query: &[u8],
    asker: Asker,
    answerer: &Arc<A>,
    answers: &Semaphore,
) -> Result<Step, Broken> {
    let (length, message) = query.split_first_chunk::<LENGTH_OCTETS>().ok_or(Broken::Protocol)?;
    // One query, whole, and with the id that all have (RFC 9250, 4.2 and 4.2.1).
    if usize::from(u16::from_be_bytes(*length)) != message.len() || !message.starts_with(&[0, 0]) {
        return Err(Broken::Protocol);
    }
    let mut making = answers.acquire().await.map_err(|_| Broken::Internal)?;
    let (mut out, mut kept) = (Vec::new(), None);
    match answer_framed(answerer, message, asker, &mut out) {
        Reply::Now(_) => {}
        Reply::Later(later) => {
            // Others are answered meanwhile.
            drop(making);
            let found = later.await;
            making = answers.acquire().await.map_err(|_| Broken::Internal)?;
            frame(&found, &mut out);
            kept = Some((found.place, found.waiting));
        }
        Reply::None => return Err(Broken::Protocol),
    }
    let written = timeout(WRITE_WITHIN, send.write_all(&out)).await;
    // It lies in the send window now: others are answered while the client takes it.
    drop((making, out, kept));
    if matches!(written, Ok(Ok(()))) {
        send.finish().ok();
        // Until the client has it all: the connection is not closed before.
        timeout(WRITE_WITHIN, send.stopped()).await.ok();
    } else {
        send.reset(VarInt::from_u32(code::REQUEST_CANCELLED)).ok();
    }
    Ok(Step::Answered)
}

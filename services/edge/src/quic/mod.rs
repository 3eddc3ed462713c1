//! QUIC (RFC 9000) towards clients, over quinn: from a UDP socket to a connection that speaks HTTP/3.
//!
//! ```text
//!  Initial ─▶ slot free? ─no─▶ CONNECTION_REFUSED
//!               │ yes
//!               ├─ many handshakes, address not validated ─▶ Retry (its token opens at every server of the network)
//!               ├─ too many handshakes ─▶ CONNECTION_REFUSED
//!               └─ handshake (certificates and tickets as for TCP) ─▶ serve_http3
//! ```
//!
//! Invariants:
//! * **What one server says, all understand.** Retry tokens, tokens for later connections and stateless resets are made
//!   with keys derived from the network's ticket keys ([`QuicKeys`]): a packet that the network's routing brings to another
//!   server is understood there, or answered with a reset that its sender believes.
//! * **Early data is taken where a zone wants it (`0rtt`), and once** (`crate::tls`). A connection that begins with it is
//!   served while its handshake goes on ([`Handshake`]): safe requests of a client whose address is known to be its own at
//!   once, others when it is over.
//! * **A connection's memory is bounded** ([`transport`]), and so is the number of connections.
//!
//! What is sent to an address that has not been validated is bounded by quinn to three times what came from it (RFC
//! 9000, 8.1); migration is on, and validated by quinn (9.3).

mod transport;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proxima_chassis::{GaugeGuard, ListenError, Listeners};
use proxima_pipeline::{Scheme, TlsFacts};
use proxima_tls::{QuicKeys, steer};
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connecting, ConnectionError, Endpoint, EndpointConfig, Incoming, TokioRuntime, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::listen::Ending;
use crate::metrics::HandshakeResult;
use crate::server::{Peer, ServerContext, serve_http3};
use crate::tls::{HANDSHAKES_MAX, Noticed, QuicTls, presented};
use crate::{EdgeError, SERVICE};

/// Handshakes at once from which on a client must show that it receives at its address before we sign for it. It costs
/// honest clients a round trip, and keeps forged addresses from costing us a signature.
pub(crate) const RETRY_ABOVE: i64 = HANDSHAKES_MAX as i64 / 4;
/// How long the last packets of connections that have ended may take to be sent.
const LAST_PACKETS: Duration = Duration::from_secs(1);
/// Octets that the kernel keeps for us while we are busy, as far as it allows (`net.core.rmem_max`): at 1 Gbit/s what
/// comes in 30 ms.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// One UDP socket that takes connections.
pub(crate) struct QuicListener {
    pub(crate) endpoint: Endpoint,
    pub(crate) tls: Arc<QuicTls>,
    config: quinn::ServerConfig,
    local: SocketAddr,
    pub(crate) connections_max: usize,
    pub(crate) context: Arc<ServerContext>,
    pub(crate) ending: Ending,
}

impl QuicListener {
    /// The socket of this process at an address, and its generation; the former process's connections stay with it.
    ///
    /// # Errors
    /// It cannot be had.
    pub(crate) fn bind(listeners: &Listeners, address: SocketAddr) -> Result<(UdpSocket, u8), ListenError> {
        listeners.udp_beside(SERVICE, address, steer)
    }

    /// Takes connections at this socket.
    ///
    /// # Errors
    /// The socket cannot be used, or TLS cannot be set up.
    pub(crate) fn new(
        (socket, generation): (UdpSocket, u8),
        tls: Arc<QuicTls>,
        keys: &Arc<QuicKeys>,
        connections_max: usize,
        context: Arc<ServerContext>,
        ending: Ending,
    ) -> Result<Self, EdgeError> {
        let buffers = socket2::SockRef::from(&socket);
        // What the kernel does not give is not needed for anything but bursts.
        buffers.set_recv_buffer_size(SOCKET_BUFFER_BYTES).ok();
        buffers.set_send_buffer_size(SOCKET_BUFFER_BYTES).ok();
        let local = socket.local_addr()?;
        let crypto = Arc::new(tls.config(&Arc::default())?);
        let mut config = quinn::ServerConfig::new(crypto, keys.token_key());
        transport::configure(&mut config, &context.timeouts, keys);
        let mut endpoint = EndpointConfig::new(keys.reset_key());
        let ids = Arc::clone(keys);
        endpoint.cid_generator(move || ids.connection_ids(generation));
        let endpoint = Endpoint::new(endpoint, Some(config.clone()), socket, Arc::new(TokioRuntime))?;
        Ok(Self { endpoint, tls, config, local, connections_max, context, ending })
    }

    /// Takes connections until draining begins.
    pub(crate) async fn run(self) {
        let slots = Arc::new(Semaphore::new(self.connections_max));
        let connections = TaskTracker::new();
        loop {
            let incoming = tokio::select! {
                biased;
                () = self.ending.drain.cancelled() => break,
                incoming = self.endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            self.ending.arrivals.note();
            match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => self.begin(incoming, slot, &connections),
                Err(_) => {
                    self.context.metrics.connection_refused(Scheme::Https);
                    incoming.refuse();
                }
            }
        }
        connections.close();
        let Self { endpoint, ending, .. } = self;
        ending.connections.spawn(async move {
            let turned_away = async {
                while let Some(incoming) = endpoint.accept().await {
                    incoming.refuse();
                }
            };
            tokio::select! {
                () = connections.wait() => {}
                () = turned_away => {}
            }
            tokio::time::timeout(LAST_PACKETS, endpoint.wait_idle()).await.ok();
        });
    }

    /// Serves a connection in a task of its own, which holds its slot.
    fn begin(&self, incoming: Incoming, slot: OwnedSemaphorePermit, connections: &TaskTracker) {
        let handshakes = self.context.metrics.handshakes_in_flight();
        if handshakes >= RETRY_ABOVE && !incoming.remote_address_validated() {
            // Fails only for one that has been validated.
            incoming.retry().ok();
            return;
        }
        if handshakes >= HANDSHAKES_MAX as i64 {
            self.context.metrics.connection_refused(Scheme::Https);
            return incoming.refuse();
        }
        let noticed = Arc::<Noticed>::default();
        let Ok(crypto) = self.tls.config(&noticed) else { return incoming.refuse() };
        let mut config = self.config.clone();
        config.crypto = Arc::new(crypto);
        let (address, validated) = (incoming.remote_address(), incoming.remote_address_validated());
        // Fails where the first packet is not one; whoever sent it has been told.
        let Ok(connecting) = incoming.accept_with(Arc::new(config)) else { return };
        let open = self.context.metrics.begin_connection(Scheme::Https);
        let shaking_hands = self.context.metrics.begin_handshake();
        let (context, ending) = (Arc::clone(&self.context), self.ending.clone());
        let peer = Peer { address, local: self.local, tls: None };
        connections.spawn(async move {
            let _held = (slot, open);
            let stop = ending.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = serve((connecting, shaking_hands), &noticed, (peer, validated), context, ending) => {}
            }
        });
    }
}

async fn serve(
    (mut connecting, shaking_hands): (Connecting, GaugeGuard),
    noticed: &Noticed,
    (peer, validated): (Peer, bool),
    context: Arc<ServerContext>,
    ending: Ending,
) {
    let deadline = Instant::now() + context.timeouts.handshake;
    // Once the hello has been read it is known whether early data comes with it.
    let hello = tokio::time::timeout_at(deadline, connecting.handshake_data()).await;
    let read = matches!(hello, Ok(Ok(_)));
    drop(hello);
    if read && noticed.early() {
        let Ok((connection, over)) = connecting.into_0rtt() else { return };
        let handshake = Handshake { validated, ..Handshake::default() };
        let finishing = async {
            // What is said of the handshake's success is for clients; a connection that failed has a reason.
            let failed = tokio::time::timeout_at(deadline, over).await.is_err();
            drop(shaking_hands);
            if failed {
                context.metrics.handshake(HandshakeResult::TimedOut);
                connection.close(VarInt::from_u32(0), b"");
            } else if connection.close_reason().is_some() {
                context.metrics.handshake(HandshakeResult::Failed);
            } else {
                let early = handshake.early.load(Ordering::Relaxed);
                let result = if early { HandshakeResult::Early } else { HandshakeResult::Resumed };
                context.metrics.handshake(result);
                handshake.over.cancel();
            }
        };
        let peer = told(&connection, noticed, peer);
        let serving = serve_http3(
            connection.clone(),
            peer,
            Some(handshake.clone()),
            Arc::clone(&context),
            ending.drain.clone(),
        );
        tokio::join!(finishing, serving);
        return;
    }
    let Some(connection) = shake_hands(connecting, deadline, noticed, &context).await else { return };
    drop(shaking_hands);
    let peer = told(&connection, noticed, peer);
    serve_http3(connection, peer, None, context, ending.drain).await;
}

/// The peer, with what its handshake has settled.
fn told(connection: &quinn::Connection, noticed: &Noticed, peer: Peer) -> Peer {
    let server_name = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.server_name)
        .map(|name| Arc::from(name.to_ascii_lowercase()));
    let client_certificate = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .and_then(|chain| presented(Some(&chain)));
    let facts = TlsFacts { version: "TLSv1.3", server_name, resumed: noticed.resumed(), client_certificate };
    let local = connection.local_ip().map_or(peer.local, |ip| SocketAddr::new(ip, peer.local.port()));
    Peer { local, tls: Some(Arc::new(facts)), ..peer }
}

async fn shake_hands(
    connecting: Connecting,
    deadline: Instant,
    noticed: &Noticed,
    context: &ServerContext,
) -> Option<quinn::Connection> {
    let result = match tokio::time::timeout_at(deadline, connecting).await {
        Ok(Ok(connection)) => {
            let result = if noticed.resumed() { HandshakeResult::Resumed } else { HandshakeResult::Full };
            context.metrics.handshake(result);
            return Some(connection);
        }
        Ok(Err(_)) if noticed.nameless() => HandshakeResult::UnknownName,
        Ok(Err(ConnectionError::TimedOut)) | Err(_) => HandshakeResult::TimedOut,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a QUIC handshake failed");
            HandshakeResult::Failed
        }
    };
    context.metrics.handshake(result);
    None
}

/// A handshake that goes on while requests that came with it, as early data, are looked at already.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handshake {
    over: CancellationToken,
    /// Whether the client has shown that it receives at its address: what a forged one asks for must not reach rules that
    /// go by addresses.
    validated: bool,
    /// Whether a request was taken early.
    early: Arc<AtomicBool>,
}

impl Handshake {
    /// Whether it has succeeded. What comes until then may be sent again by somebody else (RFC 8470, 1).
    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Whether a request that changes nothing may be taken before that.
    pub(crate) fn take_early(&self) -> bool {
        if self.validated {
            self.early.store(true, Ordering::Relaxed);
        }
        self.validated
    }

    /// Until it has succeeded; its failure ends the connection.
    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
    }
}

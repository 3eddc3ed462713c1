//! Listeners: from a socket to a connection that is served.
//!
//! ```text
//!  accept ─▶ slot free? ─no─▶ closed at once, counted
//!              │ yes
//!              ├─ from a balancer: PROXY header ─▶ who the client is
//!              ├─ http:  HTTP/2's preface? ─yes─▶ serve_http2
//!              │                            no ─▶ serve_http1
//!              └─ https: handshake ─ ALPN ──────▶ either
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use ipnet::IpNet;
use proxima_chassis::{Accepting, Arrivals};
use proxima_pipeline::Scheme;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::HandshakeResult;
use crate::proxy_protocol;
use crate::server::{Peer, ServerContext, serve_http1, serve_http2};
use crate::tls::{Alpn, HandshakeError, Session, TlsAcceptor};

/// What a client that speaks HTTP/2 without TLS by prior knowledge sends first (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Octets of the first read in clear: most requests' heads.
const FIRST_READ_BYTES: usize = 2 * 1024;
/// How long accepting rests when the system has no descriptors or memory for another connection: trying again at once
/// would take the time that those who are served need to end.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// How connections end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    /// Nothing new is begun.
    pub(crate) drain: CancellationToken,
    /// Everything ends at once.
    pub(crate) stop: CancellationToken,
    /// All connections.
    pub(crate) connections: TaskTracker,
    /// Where each that comes is noted.
    pub(crate) arrivals: Arrivals,
}

/// One listening socket.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    /// With an acceptor, TLS is spoken.
    pub(crate) tls: Option<Arc<TlsAcceptor>>,
    /// Networks whose connections begin with a header of the PROXY protocol.
    pub(crate) balancers: Arc<[IpNet]>,
    pub(crate) connections_max: usize,
    pub(crate) context: Arc<ServerContext>,
    pub(crate) ending: Ending,
}

impl Listener {
    const fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// Accepts until draining begins, and then what waits: closing the socket would reset it.
    pub(crate) async fn run(self) {
        let slots = Arc::new(Semaphore::new(self.connections_max));
        let Ending { drain, arrivals, .. } = self.ending.clone();
        let mut accepting = Accepting::new(&self.socket, drain, arrivals);
        while let Some(accepted) = accepting.next().await {
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => self.begin(stream, address, slot),
                Err(_) => self.context.metrics.connection_refused(self.scheme()),
            }
        }
    }

    /// Serves a connection in a task of its own, which holds its slot.
    fn begin(&self, stream: TcpStream, address: SocketAddr, slot: tokio::sync::OwnedSemaphorePermit) {
        let open = self.context.metrics.begin_connection(self.scheme());
        let (tls, context, ending) = (self.tls.clone(), Arc::clone(&self.context), self.ending.clone());
        let stop = ending.stop.clone();
        let proxied = proxy_protocol::is_among(&self.balancers, address.ip());
        self.ending.connections.spawn(async move {
            let _held = (slot, open);
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = serve(stream, address, proxied, tls, context, ending.drain) => {}
            }
        });
    }
}

async fn serve(
    mut stream: TcpStream,
    address: SocketAddr,
    proxied: bool,
    tls: Option<Arc<TlsAcceptor>>,
    context: Arc<ServerContext>,
    drain: CancellationToken,
) {
    // Small answers must not wait for acknowledgements. Fails only for a connection that has already ended.
    let (Ok(()), Ok(local)) = (stream.set_nodelay(true), stream.local_addr()) else { return };
    let mut peer = Peer { address, local, tls: None };
    if proxied {
        match tokio::time::timeout(context.timeouts.handshake, proxy_protocol::read(&mut stream)).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some((client, reached)))) => (peer.address, peer.local) = (client, reached),
            Ok(Err(error)) => {
                context.metrics.proxy_header_refused();
                return tracing::debug!(balancer = %address, %error, "a connection's PROXY header is refused");
            }
            Err(_) => return context.metrics.proxy_header_refused(),
        }
    }
    match tls {
        None => serve_clear(stream, peer, context, drain).await,
        Some(tls) => {
            let Some(session) = shake_hands(&tls, stream, &context).await else { return };
            let Session { stream, facts, alpn } = session;
            let peer = Peer { tls: Some(Arc::new(facts)), ..peer };
            match alpn {
                Alpn::Http2 => serve_http2(stream, BytesMut::new(), peer, context, drain).await,
                Alpn::Http1 => serve_http1(stream, BytesMut::new(), peer, context, drain).await,
            }
        }
    }
}

async fn shake_hands(
    tls: &TlsAcceptor,
    stream: TcpStream,
    context: &ServerContext,
) -> Option<Session<TcpStream>> {
    let _going_on = context.metrics.begin_handshake();
    let result = match tokio::time::timeout(context.timeouts.handshake, tls.accept(stream)).await {
        Ok(Ok(session)) => {
            let result = if session.facts.resumed { HandshakeResult::Resumed } else { HandshakeResult::Full };
            context.metrics.handshake(result);
            return Some(session);
        }
        Ok(Err(HandshakeError::UnknownName)) => HandshakeResult::UnknownName,
        Ok(Err(HandshakeError::Failed(error))) => {
            tracing::debug!(%error, "a TLS handshake failed");
            HandshakeResult::Failed
        }
        Err(_) => HandshakeResult::TimedOut,
    };
    context.metrics.handshake(result);
    None
}

/// Tells HTTP/2 by prior knowledge from HTTP/1.1 by its first octets.
async fn serve_clear(stream: TcpStream, peer: Peer, context: Arc<ServerContext>, drain: CancellationToken) {
    let mut read = BytesMut::new();
    let told = async {
        while read.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&read) {
            // Until there is something to read, a connection needs no buffer.
            stream.readable().await?;
            read.reserve(FIRST_READ_BYTES);
            match stream.try_read_buf(&mut read) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        std::io::Result::Ok(())
    };
    if !matches!(tokio::time::timeout(context.timeouts.head, told).await, Ok(Ok(()))) {
        return;
    }
    if read.starts_with(HTTP2_PREFACE) {
        serve_http2(stream, read, peer, context, drain).await;
    } else {
        serve_http1(stream, read, peer, context, drain).await;
    }
}

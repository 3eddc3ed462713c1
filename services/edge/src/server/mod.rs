//! Connections: the asynchronous shell that reads requests, runs the pipeline and writes what it answers.
//!
//! ```text
//!              ┌ http1: one task per connection, one exchange at a time ┐   admit    ┌──────────┐
//!  Transport ──┤                                                        ├─ Exchange ▶│ Pipeline │
//!  (TCP, TLS)  ├ http2: one task per connection, and for what waits one │◀ Response ─└──────────┘
//!  QUIC ───────┤ http3: the same, over streams of QUIC                  │
//!  Egress ─────┴ entry: what a Worker asks of a site of another account ┘
//! ```
//!
//! Invariants:
//! * **Nobody waits without end.** Head, body, write and idle time are bounded ([`Timeouts`]), progress is asked for and
//!   not only presence, and every buffer between client and stage has a bound; the client waits when it is full.
//! * **Who has gone is not worked for.** A closed or reset connection or stream drops its exchange at once, and with it
//!   whatever a stage was waiting for. A client that closes its sending half while it waits counts as gone, as with
//!   every large proxy: TCP does not tell the two apart.
//! * **A cut body looks cut.** A body that fails half-way ends the connection or stream visibly; it never ends as if it
//!   were whole.
//! * **The last word is heard.** After an error answer the sending half is closed first, and what the client still
//!   sends is read for a moment: else its kernel would drop our answer.
//!
//! Not spoken: `CONNECT`, but for WebSocket within HTTP/2 and HTTP/3 (`tunnel.rs`), and upgrades other than to WebSocket.
//! HTTP/2 in clear is spoken by prior knowledge only.

mod admit;
mod entry;
mod glance;
mod http1;
mod http2;
mod http3;
mod inbound;
mod message;
mod outbound;
mod output;
mod pace;
mod relay;
#[cfg(test)]
mod tests;
mod transport;
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proxima_chassis::Clock;
use proxima_http1::Limits;
use proxima_model::PopCode;
use proxima_pipeline::{Client, Pipeline, Protocol, Scheme, TlsFacts};
use tokio_util::sync::CancellationToken;

use crate::Observer;
use crate::metrics::EdgeMetrics;
use crate::quic::Handshake;

pub use entry::Entry;
#[cfg(test)]
pub(crate) use entry::STRANGERS;
pub(crate) use http3::{STREAMS_MAX as HTTP3_STREAMS_MAX, UNIDIRECTIONAL_MAX as HTTP3_UNIDIRECTIONAL_MAX};
pub use transport::Transport;

/// How long a client may take for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A TLS handshake.
    pub handshake: Duration,
    /// A request's head, from its first octet (on a new connection: from its beginning) to its last.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Until the next [`BODY_PROGRESS_BYTES_MIN`] octets of a body.
    pub body_idle: Duration,
    /// Until the client takes any more of an answer.
    pub write_idle: Duration,
    /// Until anything moves on a connection that was switched to another protocol; and how long the client of a gRPC call
    /// may be silent while its answer is, too.
    pub upgrade_idle: Duration,
}

impl Timeouts {
    /// What is in force where nothing else is configured.
    pub const DEFAULT: Self = Self {
        handshake: Duration::from_secs(10),
        head: Duration::from_secs(15),
        idle: Duration::from_secs(75),
        body_idle: Duration::from_secs(60),
        write_idle: Duration::from_secs(60),
        upgrade_idle: Duration::from_secs(300),
    };

    /// How long a connection on which nothing goes on may take to bring its next request, after `served` of them.
    pub(crate) const fn until_head(&self, served: u32) -> Duration {
        if served == 0 { self.head } else { self.idle }
    }
}

/// Octets of a body that count as progress: fewer do not buy a client more time.
pub const BODY_PROGRESS_BYTES_MIN: usize = 1024;
/// Requests of one connection; then it is closed as when draining, so that memory that a connection
/// gathered is given back, and load balancers in front can move it.
pub const REQUESTS_PER_CONNECTION_MAX: u32 = 10_000;

/// What all connections share.
pub struct ServerContext {
    /// What answers.
    pub pipeline: Pipeline,
    /// Bounds of heads and framing.
    pub limits: Limits,
    /// Octets of a request's body.
    pub request_body_bytes_max: u64,
    /// Bounds of time.
    pub timeouts: Timeouts,
    /// Where this server stands.
    pub pop: PopCode,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<EdgeMetrics>,
    /// What exchanges leave behind.
    pub observer: Arc<Observer>,
}

/// The other side of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// Ours.
    pub local: SocketAddr,
    /// What TLS settled, if the connection is by TLS. Whether a request may be asked on this session (421) is for the
    /// zone's stage to say.
    pub tls: Option<Arc<TlsFacts>>,
}

impl Peer {
    const fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }

    fn client(&self, protocol: Protocol) -> Client {
        Client { address: self.address, local: self.local, protocol, tls: self.tls.clone() }
    }
}

/// Serves HTTP/1.1 (and HTTP/1.0) on a connection until it ends. Once `drain` is cancelled, the next answer is the last.
/// `read` are octets that were read already.
pub async fn serve_http1<T: Transport>(
    io: T,
    read: bytes::BytesMut,
    peer: Peer,
    context: Arc<ServerContext>,
    drain: CancellationToken,
) {
    http1::serve(io, read, peer, context, drain).await;
}

/// Serves HTTP/2 on a connection until it ends. Once `drain` is cancelled, no new streams are taken.
pub async fn serve_http2<T: Transport>(
    io: T,
    read: bytes::BytesMut,
    peer: Peer,
    context: Arc<ServerContext>,
    drain: CancellationToken,
) {
    http2::serve(transport::Rewound { before: read, io }, peer, context, drain).await;
}

/// Serves HTTP/3 on a connection of QUIC until it ends; `handshake` is the one that goes on meanwhile, if it does. Once `drain` is cancelled, no new requests are taken.
pub(crate) async fn serve_http3(
    connection: quinn::Connection,
    peer: Peer,
    handshake: Option<Handshake>,
    context: Arc<ServerContext>,
    drain: CancellationToken,
) {
    http3::serve(connection, peer, handshake, context, drain).await;
}

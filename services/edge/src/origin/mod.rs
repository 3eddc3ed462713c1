//! Origins: where a site's content comes from, and the clients that fetch it: HTTP/1.1, and HTTP/2 for gRPC ([`http2`]).
//!
//! ```text
//!  OriginStage ─▶ Origins ─▶ Names (our zones, resolver) ─▶ AddressPolicy ─▶ OriginClient
//!                                                                              │ lease, connect, TLS
//!                    Upload: head + body ────────────────▶ Connection ◀────────┘ Pool
//!                    PulledBody: by the listener ◀─────── buffer
//! ```
//!
//! Invariants:
//! * **No task and no queue per request**, by either protocol (a connection by HTTP/2 has one task). The future that
//!   waits for the head sends the request; whoever pulls the answer's body reads the socket, and goes on sending where
//!   the answer came early. Who reads slowly makes the origin wait; who goes away closes the connection or its stream.
//! * **A connection is kept only if its last answer was read to its end**, the request had been sent whole, and nothing
//!   came behind the answer.
//! * **A request goes out twice only where nothing can happen twice** (RFC 9110, 9.2.2).
//! * **No origin lies inside**: the network's own anycast addresses never, private ones only where the node's
//!   configuration says so; names are checked after they were resolved, by the address that is connected to.
//!
//! Limits: [`OriginTimeouts`], [`OriginLimits`], those of the HTTP/1.1 core, and the constants beside what they bound.

mod address;
mod body;
mod client;
mod config;
mod connection;
mod exercise;
mod http2;
mod metrics;
mod names;
mod origins;
mod pool;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod upgraded;

pub(crate) use address::AddressPolicy;
pub use config::{OriginConfig, OriginConfigError, OriginLimits, OriginTimeouts};
pub use origins::Origins;

pub(crate) use exercise::{http1_answers, http2_answers};
pub(crate) use http2::is_grpc;

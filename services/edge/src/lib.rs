//! The edge: where users' connections end, and from where origins are asked.
//!
//! ```text
//!  TCP ─▶ listen ─▶ tls (SNI → certificate, tickets) ─▶ server (HTTP/1.1, HTTP/2) ───┬─▶ Exchange ─▶ pipeline's stages
//!  UDP ─▶ quic ────▶ tls, by the same ────────────────▶ server (HTTP/3, by http3) ───┘                │
//!                                                              ▲                                      │ zone, rules, …
//!                                                              │ http1: one strict core               ▼ cache, …
//!                                                              └────────── for both sides ────────▶ origin ─▶ socket
//! ```
//!
//! What an exchange leaves behind when it has ended, numbers by zone and a line in the request log, is [`Observer`]'s.
//!
//! Invariants:
//! * **Stages know no protocol.** They see [`proxima_pipeline`]'s types only; which listener, which version of HTTP and
//!   which library carried a request is over when the first stage runs.
//! * **One reading.** A message that two programs could read in two ways goes neither in nor out ([`proxima_http1`]); a request
//!   by HTTP/2 or HTTP/3 is held to the same rules, since it leaves by HTTP/1.1.
//! * **Serve from what is here.** Certificates, ticket keys and zones are read from this server's replica, compiled once
//!   and cached; a handshake or a request never waits for another machine but the origin.
//! * **Everything has a bound**: see [`EdgeConfig`] and the constants beside each part. What is over it is refused with
//!   an answer or alert that says so, and counted ([`EdgeMetrics`]).
//!
//! Limits: connections per listener ([`EdgeConfig::connections_max`]), handshakes at once ([`tls::HANDSHAKES_MAX`]),
//! heads and bodies ([`proxima_http1::Limits`], [`LimitsConfig`]), time ([`server::Timeouts`]), certificates in memory
//! ([`proxima_tls::CERTIFICATE_ZONES_MAX`]).

mod config;
mod date;
mod egress;
mod error;
mod exercise;
mod explain;
mod fields;
pub mod http2;
pub mod http3;
mod listen;
mod metrics;
mod observe;
pub mod origin;
mod proxy_protocol;
mod quic;
pub mod server;
mod service;
pub mod stages;
pub mod tls;

pub use config::{EdgeConfig, LimitsConfig, TimeoutsConfig};
pub use egress::{Egress, EgressAddresses, EgressWays};
pub use error::EdgeError;
#[doc(hidden)]
pub use exercise::{
    exercise_fields, exercise_http1, exercise_http2, exercise_http3, exercise_origin_http1,
    exercise_origin_http2,
};
pub use explain::EdgeExplainer;
pub use metrics::{EdgeMetrics, HandshakeResult};
pub use observe::{Observer, RequestLogConfig};
pub use service::{EdgeAddresses, EdgeService};

/// The edge's name: its table in the configuration, its metrics' prefix, its log target.
pub const SERVICE: &str = "edge";

//! The other servers of the network, as services ask their like on them: for what lies there and not here.
//!
//! ```text
//!   kv, r2, … ── Servers::ask(server, service, request) ──▶ the tiers' connections ──▶ that server: AnswersServers ─┐
//!      ▲                                                        (mutual TLS)                 (the same service there) │
//!      └────────────── the answer, its body as it comes ◀─────────────────────────────────────────────────────────────┘
//! ```
//!
//! A request is a path, fields and a body of the service's own; who carries it knows nothing of what they say. It may come twice
//! only if who asks sends it twice. Questions to servers of one PoP that must be answered at once have a port of their own
//! ([`Neighbours`](crate::Neighbours)).
//!
//! Limits: requests under way to one server ([`SERVER_REQUESTS_MAX`]), of all services. What one answer may take is up to who
//! asks.

use futures_util::future::BoxFuture;
use http::{Request, Response};
use proxima_model::{NodeName, PopCode, RegionName};

use crate::{Body, NoAnswer};

/// Requests under way from one server to another, of all services.
pub const SERVER_REQUESTS_MAX: usize = 512;

/// A server of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAbout {
    /// Its name.
    pub name: NodeName,
    /// The PoP that it stands in.
    pub pop: PopCode,
    /// The region that the PoP stands in.
    pub region: RegionName,
}

/// All servers of the network.
pub trait Servers: Send + Sync + 'static {
    /// All of them, this one included, in the order of the configuration; just this one where it is alone.
    fn all(&self) -> &[ServerAbout];

    /// This one.
    fn me(&self) -> &NodeName;

    /// Asks a service on another server; ready when the head of its answer has come, or has not within what a connection may
    /// take. Where no connection stands, one is made first. The request's path is as the service wants it, its authority
    /// nobody's.
    fn ask<'a>(
        &'a self,
        server: &'a NodeName,
        service: &'static str,
        request: Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, NoAnswer>>;
}

/// A service that answers its like on other servers, which are trusted as far as servers of this network are.
pub trait AnswersServers: Send + Sync + 'static {
    /// Answers the request of another server. May be dropped when that one has gone.
    fn answer<'a>(&'a self, asker: &'a NodeName, request: Request<Body>) -> BoxFuture<'a, Response<Body>>;
}

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
//! Limits: requests under way to one server ([`SERVER_REQUESTS_MAX`]), of all services, and of one whose bodies last
//! ([`ServerPlaces`]). What one answer may take is up to who asks.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use proxima_model::{NodeName, PopCode, RegionName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// The places that one service has for requests under way to each server: who reads and writes slowly holds no more than half of
/// those that all services have together.
pub struct ServerPlaces(HashMap<NodeName, Arc<Semaphore>>);

/// Why there is no place for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// No server of the network is called so.
    Unknown,
    /// Too much is under way.
    Busy,
}

impl ServerPlaces {
    /// Requests of one service under way to one server.
    pub const EACH: usize = SERVER_REQUESTS_MAX / 2;

    /// Places for each of these.
    pub fn new(servers: &dyn Servers) -> Self {
        let places = |about: &ServerAbout| (about.name.clone(), Arc::new(Semaphore::new(Self::EACH)));
        Self(servers.all().iter().map(places).collect())
    }

    /// A place for a request to this server, as long as it is held.
    ///
    /// # Errors
    /// Why there is none.
    pub fn take(&self, server: &NodeName) -> Result<OwnedSemaphorePermit, NoPlace> {
        let places = self.0.get(server).ok_or(NoPlace::Unknown)?;
        Arc::clone(places).try_acquire_owned().map_err(|_| NoPlace::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two(Vec<ServerAbout>);

    impl Servers for Two {
        fn all(&self) -> &[ServerAbout] {
            &self.0
        }

        fn me(&self) -> &NodeName {
            &self.0[0].name
        }

        fn ask<'a>(
            &'a self,
            _: &'a NodeName,
            _: &'static str,
            _: Request<Body>,
        ) -> BoxFuture<'a, Result<Response<Body>, NoAnswer>> {
            Box::pin(async { Err(NoAnswer::Lost) })
        }
    }

    #[test]
    fn a_service_has_half_of_the_places_to_each_server_and_none_to_one_that_is_unknown() {
        let [one, other, unknown] = ["fra1", "ams1", "sin1"].map(|name| NodeName::parse(name).unwrap());
        let about = |name: &NodeName| ServerAbout {
            name: name.clone(),
            pop: PopCode::parse("FRA").unwrap(),
            region: RegionName::parse("europe").unwrap(),
        };
        let places = ServerPlaces::new(&Two(vec![about(&one), about(&other)]));
        let held: Vec<_> = (0..SERVER_REQUESTS_MAX / 2).map(|_| places.take(&one).unwrap()).collect();
        assert_eq!(places.take(&one).err(), Some(NoPlace::Busy));
        assert!(places.take(&other).is_ok(), "each has its own");
        drop(held);
        assert!(places.take(&one).is_ok());
        assert_eq!(places.take(&unknown).err(), Some(NoPlace::Unknown));
    }
}

//! From a request's head, whichever protocol carried it, to an exchange: the checks that every request passes before
//! the first stage sees it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::header::{DATE, HOST, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, uri};
use proxima_http1::{Host, Http1Error};
use proxima_pipeline::{Body, Client, Exchange, Fault, Protocol, RayId, Request, Response, Scheme, answer};

use super::{Peer, ServerContext};
use crate::date::http_date;
use crate::observe::Recorded;
use crate::stages::CF_RAY;

/// A request's head, apart from how it came.
pub(super) struct Asked {
    pub(super) protocol: Protocol,
    pub(super) method: Method,
    /// The scheme that the client named, if it did.
    pub(super) scheme: Option<uri::Scheme>,
    pub(super) host: Host,
    pub(super) target: PathAndQuery,
    /// Without hop-by-hop fields.
    pub(super) headers: HeaderMap,
    /// What the body's length was announced to be.
    pub(super) body_bytes: Option<u64>,
    pub(super) upgrade: Option<Arc<str>>,
    /// Its name, if it has one already.
    pub(super) ray: Option<RayId>,
}

impl ServerContext {
    /// The exchange of this request, and what is wrong with it already.
    /// What is sent for it is counted in `sent`.
    pub(super) fn admit(
        &self,
        peer: &Peer,
        mut asked: Asked,
        body: Body,
        sent: &Arc<AtomicU64>,
    ) -> (Recorded, Option<Fault>) {
        let scheme = peer.scheme();
        let fault = self.check(&asked, scheme);
        put_host(&mut asked.headers, &asked.host, scheme);
        let request = Request {
            method: asked.method,
            scheme,
            host: Arc::from(asked.host.name()),
            port: asked.host.port(),
            target: asked.target,
            headers: asked.headers,
            upgrade: asked.upgrade,
        };
        let ray = asked.ray.unwrap_or_else(|| self.new_ray());
        (self.exchange(ray, peer.client(asked.protocol), request, body, sent), fault)
    }

    fn check(&self, asked: &Asked, scheme: Scheme) -> Option<Fault> {
        if asked.scheme.as_ref().is_some_and(|named| named.as_str() != scheme.name()) {
            return Some(Fault::BadRequest("its scheme is not the one by which it came"));
        }
        if asked.body_bytes.is_some_and(|bytes| bytes > self.request_body_bytes_max) {
            return Some(Fault::BodyTooLarge);
        }
        None
    }

    /// An exchange for a request that could not even be read, so that its answer is made like every other.
    pub(super) fn unreadable(&self, peer: &Peer, protocol: Protocol, sent: &Arc<AtomicU64>) -> Recorded {
        let request = Request {
            method: Method::GET,
            scheme: peer.scheme(),
            host: Arc::from(""),
            port: None,
            target: PathAndQuery::from_static("/"),
            headers: HeaderMap::new(),
            upgrade: None,
        };
        self.exchange(self.new_ray(), peer.client(protocol), request, Body::empty(), sent)
    }

    /// A name for a request.
    pub(super) fn new_ray(&self) -> RayId {
        RayId::new(self.pop.clone())
    }

    fn exchange(
        &self,
        ray: RayId,
        client: Client,
        request: Request,
        body: Body,
        sent: &Arc<AtomicU64>,
    ) -> Recorded {
        proxima_chassis::exchange_begun();
        let exchange = Exchange::new(ray, client, request, body, self.clock.now());
        Recorded::new(exchange, Arc::clone(&self.observer), sent)
    }

    /// The answer to a request that no stage sees; it names its ray as all answers do.
    pub(super) fn refusal(&self, fault: &Fault, exchange: &Exchange) -> Response {
        let mut response = answer(fault, exchange);
        if let Ok(ray) = HeaderValue::from_maybe_shared(exchange.ray.to_string()) {
            response.headers.insert(CF_RAY, ray);
        }
        response
    }

    /// `Date` for an answer that has none (RFC 9110, 6.6.1).
    pub(super) fn put_date(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(DATE) {
            headers.insert(DATE, http_date(self.clock.now()));
        }
    }
}

/// Writes `Host` in the one spelling that stages, caches' keys and origins see alike: lower case, without last dot and
/// without the port that the scheme means anyway. An origin that told two spellings apart could be made to answer one
/// under the key of the other.
fn put_host(headers: &mut HeaderMap, host: &Host, scheme: Scheme) {
    let port = host.port().filter(|port| *port != scheme.default_port());
    let value = match port {
        None if headers.get(HOST).is_some_and(|value| value == host.name()) => return,
        None => HeaderValue::from_str(host.name()),
        Some(port) => HeaderValue::from_str(&format!("{}:{port}", host.name())),
    };
    headers.insert(HOST, value.expect("a host's name is visible ASCII"));
}

/// What failed, as the pipeline names it, when a request could not be read.
pub(super) fn fault_of(error: Http1Error) -> Fault {
    match error.status().as_u16() {
        405 => Fault::MethodNotAllowed,
        414 => Fault::TargetTooLong,
        417 => Fault::ExpectationUnmet,
        431 => Fault::HeadersTooLarge,
        501 => Fault::NotImplemented(error.describe()),
        505 => Fault::VersionUnsupported,
        _ => Fault::BadRequest(error.describe()),
    }
}

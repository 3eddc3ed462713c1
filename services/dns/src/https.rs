//! Queries within HTTP (RFC 8484): a stage on the edge's way, for the names of the network's name servers.
//!
//! ```text
//!  https://NAME SERVER/dns-query ─▶ GET ?dns=BASE64URL    ─┐
//!                                   POST, the query as body ─┴▶ Server::answer ─▶ 200, application/dns-message
//!  any other host, path or scheme ─▶ the next stage
//! ```
//!
//! What carries the request (HTTP/1.1, 2 or 3), its certificate, its bounds and its draining are the edge's. It stands
//! before the stage that looks for the host's zone: name servers' names are the network's own, whether a zone here has
//! them or not. Answers may be kept for as long as the shortest-lived record in them (RFC 8484, 5.1).

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, Method, StatusCode, header};
use proxima_pipeline::{Body, BodyError, Decision, Exchange, Fault, Flow, Response, Scheme, Stage};

use crate::{
    asker::{Asker, Transport},
    query::QUERY_OCTETS_MAX,
    server::Server,
};

/// Where queries are answered.
const PATH: &str = "/dns-query";
/// What queries and answers are (RFC 8484, 6).
const MEDIA_TYPE: &str = "application/dns-message";
/// The parameter of a query in a URL (RFC 8484, 4.1).
const PARAMETER: &str = "dns=";

/// Answers queries at `/dns-query` of the network's name servers.
pub struct DnsOverHttps {
    server: Arc<Server>,
    /// Lower case; none if this is switched off.
    hosts: Box<[String]>,
}

impl DnsOverHttps {
    pub(crate) fn new(server: Arc<Server>, hosts: impl IntoIterator<Item = String>) -> Self {
        Self { server, hosts: hosts.into_iter().collect() }
    }

    fn is_asked(&self, exchange: &Exchange) -> bool {
        let request = &exchange.request;
        request.scheme == Scheme::Https
            && request.target.path() == PATH
            && self.hosts.iter().any(|host| **host == *request.host)
    }

    fn get(&self, exchange: &mut Exchange) -> Flow {
        let parameters = exchange.request.target.query().unwrap_or_default().split('&');
        let query = parameters.filter_map(|parameter| parameter.strip_prefix(PARAMETER)).next();
        let Some(query) = query else {
            return Flow::Fail(Fault::BadRequest("a query is missing: ?dns=, or POST one"));
        };
        // Four characters for three octets.
        if query.len() > QUERY_OCTETS_MAX.div_ceil(3) * 4 {
            return Flow::Fail(Fault::TargetTooLong);
        }
        match URL_SAFE_NO_PAD.decode(query) {
            Ok(query) => self.answer(exchange, &query),
            Err(_) => Flow::Fail(Fault::BadRequest("the query is not base64url without padding")),
        }
    }

    async fn post(&self, exchange: &mut Exchange) -> Flow {
        let kind = exchange.request.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())) {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Flow::Respond(Response { status, ..Response::default() });
        }
        let body = std::mem::take(&mut exchange.request_body);
        match body.collect(QUERY_OCTETS_MAX).await {
            Ok(query) => self.answer(exchange, &query),
            Err(BodyError::TooLarge) => Flow::Fail(Fault::BodyTooLarge),
            Err(BodyError::TimedOut) => Flow::Fail(Fault::RequestTimeout),
            Err(_) => Flow::Fail(Fault::BadRequest("the query ended early")),
        }
    }

    fn answer(&self, exchange: &mut Exchange, query: &[u8]) -> Flow {
        let asker = Asker { address: exchange.client.address.ip(), transport: Transport::Https };
        let mut out = Vec::new();
        let Some(answered) = self.server.answer(query, asker, &mut out) else {
            return Flow::Fail(Fault::BadRequest("that is no query"));
        };
        exchange.trace.note(self.name(), || format!("answered {}", answered.rcode.name()));
        let mut response = Response { body: Body::full(out), coding_settled: true, ..Response::default() };
        let kept = format!("max-age={}", answered.ttl.unwrap_or(0));
        let kept = HeaderValue::try_from(kept).expect("letters, digits and a sign");
        response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response.headers.insert(header::CACHE_CONTROL, kept);
        Flow::Respond(response)
    }
}

impl Stage for DnsOverHttps {
    fn name(&self) -> &'static str {
        "dns_over_https"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        if !self.is_asked(exchange) {
            return Decision::Now(Flow::Continue);
        }
        match exchange.request.method {
            Method::GET | Method::HEAD => Decision::Now(self.get(exchange)),
            Method::POST => Decision::Later(Box::pin(self.post(exchange))),
            _ => Decision::Now(Flow::Fail(Fault::MethodNotAllowed)),
        }
    }
}

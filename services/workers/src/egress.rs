//! What Workers fetch, as processes of the engine ask the node for it: any request, with its URL whole, and in a field of the
//! engine's whose code asks. What a Worker has thrown for comes the same way, on its way past it (`pass_through.js`).

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, uri::PathAndQuery};
use hyper::body::Incoming;
use percent_encoding::percent_decode;
use proxima_chassis::{Clock, Places};
use proxima_model::{AccountId, PopCode};
use proxima_pipeline::{
    Body, Caller, Client, Exchange, Fault, Fetch, Protocol, RayId, Request, Scheme, strip_hop_by_hop,
};

use crate::{
    engine::{FAULT_LETTERS_LOGGED, Pace},
    facts::{FIELD, Said},
    metrics::{Fetched, Metrics},
    refuse::refuse,
    switched::{Switching, WEBSOCKET},
    version::VersionKey,
};

/// What the Workers of one account fetch at a time, on one server: what keeps one from taking all connections to origins.
pub(crate) const SUBREQUESTS_PER_ACCOUNT_MAX: usize = 256;

/// By this field an answer says that its Worker has thrown, and who has answered in its place is what lies behind it.
pub(crate) const PASSED: HeaderName = HeaderName::from_static("proxima-passed");
/// What it has thrown, percent-encoded; in the request that passes it.
const THREW: HeaderName = HeaderName::from_static("proxima-threw");

/// The way out.
pub(crate) struct Egress {
    pub(crate) fetch: Arc<dyn Fetch>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pop: PopCode,
    pub(crate) metrics: Metrics,
    pub(crate) under_way: Arc<Places<AccountId>>,
    /// What Workers have thrown whose requests passed them, as it is logged.
    pub(crate) threw: Mutex<Pace>,
}

impl Egress {
    pub(crate) async fn answer(
        self: Arc<Self>,
        mut request: http::Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let switching = Switching::asked_by(&mut request);
        let Some((Said { account, code, row, passes, .. }, mut exchange)) = self.exchange(request) else {
            self.metrics.fetched(Fetched::Refused);
            return Ok(refuse(StatusCode::BAD_REQUEST, "this URL cannot be fetched\n"));
        };
        let Some(place) = self.under_way.take_for(account) else {
            self.metrics.fetched(Fetched::Refused);
            let said = "the Workers of this account fetch too much at a time\n";
            let mut refused = refuse(StatusCode::TOO_MANY_REQUESTS, said);
            if passes {
                refused.headers_mut().insert(PASSED, HeaderValue::from_static("1"));
            }
            return Ok(refused);
        };
        if switching.is_asked() {
            exchange.request.upgrade = Some(WEBSOCKET.into());
        }
        if passes {
            self.tell(code.as_ref(), &mut exchange.request.headers);
        }
        if let Some(VersionKey { worker, .. }) = code {
            exchange.extensions.insert(Caller { worker, row: row.min(Caller::ROW_MAX), passes });
        }
        let mut answered = self.fetch.fetch(account, &mut exchange).await;
        answered.headers.remove(PASSED);
        if passes {
            answered.headers.insert(PASSED, HeaderValue::from_static("1"));
        }
        let failed = exchange.extensions.get::<Fault>().is_some();
        self.metrics.fetched(if failed { Fetched::Failed } else { Fetched::Answered });
        if answered.upgraded.is_some() {
            switching.join(&mut answered, place, Some(self.fetch.websocket_idle_max()));
            return Ok(answered.into());
        }
        Ok(Response::from(answered).map(|body| body.holding(place)))
    }

    /// What a Worker has thrown; its owner's to know, so it is logged.
    fn tell(&self, code: Option<&VersionKey>, headers: &mut HeaderMap) {
        let threw = headers.remove(THREW);
        if self.threw.lock().unwrap_or_else(PoisonError::into_inner).may_tell() {
            let said = threw.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
            let said = percent_decode(said).decode_utf8_lossy();
            let said: String = said.chars().take(FAULT_LETTERS_LOGGED).collect();
            // As a value, which is quoted: it is a tenant's.
            let worker = code.map(tracing::field::display);
            tracing::info!(worker, said, "a Worker failed, and its request passed it");
        }
    }

    /// The request as stages see it; `None` where it is none that they could.
    fn exchange(&self, mut request: http::Request<Incoming>) -> Option<(Said, Exchange)> {
        let mut said = Said::take(&mut request)?;
        let (mut parts, incoming) = request.into_parts();
        parts.headers.remove(FIELD);
        strip_hop_by_hop(&mut parts.headers);
        let scheme = match parts.uri.scheme_str()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let authority = parts.uri.authority()?;
        let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
        let port = authority.port_u16().filter(|port| *port != scheme.default_port());
        let named = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        parts.headers.insert(header::HOST, HeaderValue::from_str(&named).ok()?);
        parts.headers.remove(header::EXPECT);
        let request = Request {
            method: parts.method,
            scheme,
            host: host.into(),
            port,
            target: parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
            headers: parts.headers,
            upgrade: None,
        };
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let client = Client { address: nobody, local: nobody, protocol: Protocol::Http11, tls: None };
        let body = Body::received(incoming);
        let ray = RayId::new(self.pop.clone());
        let mut exchange = Exchange::new(ray, client, request, body, self.clock.now());
        if let Some(caching) = said.caching.take() {
            exchange.extensions.insert(caching.wish());
        }
        Some((said, exchange))
    }
}

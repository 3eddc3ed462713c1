//! What Workers fetch, as processes of the engine ask the node for it: any request, with its URL whole, and in a field of the
//! engine's whose code asks.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use http::{HeaderValue, Response, StatusCode, header, uri::PathAndQuery};
use hyper::body::Incoming;
use proxima_chassis::{Clock, Places};
use proxima_model::{AccountId, PopCode};
use proxima_pipeline::{
    Body, Client, Exchange, Fault, Fetch, Protocol, RayId, Request, Scheme, strip_hop_by_hop,
};
use serde::Deserialize;

use crate::{
    caching::Caching,
    facts::{FIELD, said},
    metrics::{Fetched, Metrics},
    refuse::refuse,
};

/// What the Workers of one account fetch at a time, on one server: what keeps one from taking all connections to origins.
pub(crate) const SUBREQUESTS_PER_ACCOUNT_MAX: usize = 256;

/// The way out.
pub(crate) struct Egress {
    pub(crate) fetch: Arc<dyn Fetch>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pop: PopCode,
    pub(crate) metrics: Metrics,
    pub(crate) under_way: Arc<Places<AccountId>>,
}

/// Who asks, as the dispatcher says.
#[derive(Deserialize)]
struct Asking {
    account: AccountId,
    caching: Option<Caching>,
}

impl Egress {
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: http::Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let Some((account, mut exchange)) = self.exchange(request) else {
            self.metrics.fetched(Fetched::Refused);
            return Ok(refuse(StatusCode::BAD_REQUEST, "this URL cannot be fetched\n"));
        };
        let Some(place) = self.under_way.take_for(account) else {
            self.metrics.fetched(Fetched::Refused);
            let said = "the Workers of this account fetch too much at a time\n";
            return Ok(refuse(StatusCode::TOO_MANY_REQUESTS, said));
        };
        let answered = self.fetch.fetch(account, &mut exchange).await;
        let failed = exchange.extensions.get::<Fault>().is_some();
        self.metrics.fetched(if failed { Fetched::Failed } else { Fetched::Answered });
        Ok(Response::from(answered).map(|body| body.holding(place)))
    }

    /// The request as stages see it; `None` where it is none that they could.
    fn exchange(&self, request: http::Request<Incoming>) -> Option<(AccountId, Exchange)> {
        let (mut parts, incoming) = request.into_parts();
        let Asking { account, caching } = said(&parts.headers)?;
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
        if let Some(caching) = caching {
            exchange.extensions.insert(caching.wish());
        }
        Some((account, exchange))
    }
}

//! What Workers fetch, as processes of the engine ask the node for it: any request, with its URL whole, and in a field of the
//! engine's whose code asks.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, uri::PathAndQuery};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use proxima_chassis::Clock;
use proxima_model::{AccountId, PopCode};
use proxima_pipeline::{
    Body, BodyError, Client, Exchange, Fault, Fetch, Protocol, RayId, Request, Scheme, strip_hop_by_hop,
};
use serde::Deserialize;

use crate::{
    facts::FIELD,
    metrics::{Fetched, Metrics},
};

/// What the Workers of one account fetch at a time, on one server: what keeps one from taking all connections to origins.
const SUBREQUESTS_PER_ACCOUNT_MAX: usize = 256;

/// The way out.
pub(crate) struct Egress {
    pub(crate) fetch: Arc<dyn Fetch>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pop: PopCode,
    pub(crate) metrics: Metrics,
    pub(crate) under_way: Arc<UnderWay>,
}

/// How many subrequests each account has under way.
#[derive(Default)]
pub(crate) struct UnderWay(Mutex<HashMap<AccountId, usize>>);

/// Who asks, as the dispatcher says.
#[derive(Deserialize)]
struct Facts {
    proxima: Asking,
}

#[derive(Deserialize)]
struct Asking {
    account: AccountId,
}

impl Egress {
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: http::Request<Incoming>,
    ) -> Result<Response<Counted>, Infallible> {
        let Some((account, mut exchange)) = self.exchange(request) else {
            self.metrics.fetched(Fetched::Refused);
            return Ok(refuse(StatusCode::BAD_REQUEST, "this URL cannot be fetched\n"));
        };
        let Some(place) = UnderWay::enter(&self.under_way, account) else {
            self.metrics.fetched(Fetched::Refused);
            let said = "the Workers of this account fetch too much at a time\n";
            return Ok(refuse(StatusCode::TOO_MANY_REQUESTS, said));
        };
        let answered = self.fetch.fetch(account, &mut exchange).await;
        let failed = exchange.extensions.get::<Fault>().is_some();
        self.metrics.fetched(if failed { Fetched::Failed } else { Fetched::Answered });
        let mut response = Response::new(Counted { body: answered.body, _place: Some(place) });
        *response.status_mut() = answered.status;
        *response.headers_mut() = answered.headers;
        Ok(response)
    }

    /// The request as stages see it; `None` where it is none that they could.
    fn exchange(&self, request: http::Request<Incoming>) -> Option<(AccountId, Exchange)> {
        let (mut parts, incoming) = request.into_parts();
        // The engine puts its own in the place of what a Worker writes there. Whatever is not plainly so is refused.
        let said = parts.headers.get_all(FIELD).iter().collect::<Vec<_>>();
        let [facts] = said[..] else { return None };
        let account = serde_json::from_slice::<Facts>(facts.as_bytes()).ok()?.proxima.account;
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
        let body = if incoming.is_end_stream() { Body::empty() } else { Body::stream(Sent(incoming)) };
        let ray = RayId::new(self.pop.clone());
        Some((account, Exchange::new(ray, client, request, body, self.clock.now())))
    }
}

fn refuse(status: StatusCode, said: &'static str) -> Response<Counted> {
    let mut response = Response::new(Counted { body: Body::full(said), _place: None });
    *response.status_mut() = status;
    response
}

impl UnderWay {
    fn enter(of: &Arc<Self>, account: AccountId) -> Option<Place> {
        let mut counts = of.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(account).or_default();
        if *count >= SUBREQUESTS_PER_ACCOUNT_MAX {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Place { of: Arc::clone(of), account })
    }
}

/// A place among an account's subrequests, until it is dropped.
struct Place {
    of: Arc<UnderWay>,
    account: AccountId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.account);
            }
        }
    }
}

/// An answer's body, which counts as under way until it has come.
pub(crate) struct Counted {
    body: Body,
    _place: Option<Place>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a Worker sends.
struct Sent(Incoming);

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.0).poll_frame(context).map_err(|_| BodyError::Aborted)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_its_places_and_no_more() {
        let (under_way, account) = (Arc::<UnderWay>::default(), AccountId::from_bytes([1; 16]));
        let mut places: Vec<_> = (0..SUBREQUESTS_PER_ACCOUNT_MAX)
            .map(|_| UnderWay::enter(&under_way, account).expect("a place"))
            .collect();
        assert!(UnderWay::enter(&under_way, account).is_none());
        assert!(UnderWay::enter(&under_way, AccountId::from_bytes([2; 16])).is_some());
        places.pop();
        assert!(UnderWay::enter(&under_way, account).is_some());
        drop(places);
        assert!(under_way.0.lock().expect("unpoisoned").is_empty());
    }
}

//! Responses, as Workers keep them by their Cache API: which account's stands in a field of the engine's, which no Worker writes.
//!
//! A question's URL is that of the response, and its fields are those of the request that it answers; what is done with it stands in
//! the field `proxima-cache`, as JSON, percent-encoded: `match`, `put` with the head of what is kept (its body is the question's,
//! with a mark behind its end), `delete`; and the name of the cache. What is found is answered as it is, with `cf-cache-status:
//! HIT`; what is not, by 504 without it. A response that is not to be kept is refused by 413, one that broke off by 422, and nothing
//! deleted is 404, of which `cache_api.js` makes what Workers know.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use proxima_chassis::Places;
use proxima_model::{AccountId, ZoneId};
use proxima_pipeline::{
    Body, Fetch, Response as Kept, ResponseCache, ResponsePlace, frames_or_routes, strip_hop_by_hop,
};
use serde::Deserialize;

use crate::{
    facts::{FIELD, Said, decoded},
    marked::{Mark, Marked},
    metrics::{CacheOperation, CacheOutcome, Metrics},
    refuse::refuse,
};

/// What is asked for.
const SAID: HeaderName = HeaderName::from_static("proxima-cache");
/// Operations that the Workers of one account have under way at a time: what keeps one from taking all the room that content has
/// while it comes.
const OPERATIONS_PER_ACCOUNT_MAX: usize = 256;
/// Octets of a cache's name: as many letters as are documented, each of up to four.
const NAME_OCTETS_MAX: usize = 4 * 1_024;
/// Octets of the fields of a response that is kept.
const FIELDS_OCTETS_MAX: usize = 32 << 10;

/// Octets of a response that is not to be kept that are read nevertheless, and for how long.
const UNKEPT_OCTETS_MAX: usize = 1 << 20;
const UNKEPT_WITHIN: Duration = Duration::from_secs(5);

/// Answers what Workers ask of the cache.
pub(crate) struct Responses {
    port: Option<Arc<dyn ResponseCache>>,
    fetch: Arc<dyn Fetch>,
    metrics: Metrics,
    under_way: Arc<Places<AccountId>>,
}

/// What is asked for, as `cache_api.js` says.
#[derive(Deserialize)]
struct Asked {
    cache: Option<String>,
    #[serde(flatten)]
    what: What,
}

#[derive(Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
enum What {
    Match,
    Put {
        status: u16,
        fields: Vec<(String, String)>,
        /// What stands behind its body, if it has one.
        mark: Option<String>,
    },
    Delete,
}

impl What {
    const fn operation(&self) -> CacheOperation {
        match self {
            Self::Match => CacheOperation::Match,
            Self::Put { .. } => CacheOperation::Put,
            Self::Delete => CacheOperation::Delete,
        }
    }
}

/// An answer, and what it counts as.
type Answered = (CacheOutcome, Response<Body>);

impl Responses {
    pub(crate) fn new(port: Option<Arc<dyn ResponseCache>>, fetch: Arc<dyn Fetch>, metrics: Metrics) -> Self {
        Self { port, fetch, metrics, under_way: Places::new(usize::MAX, OPERATIONS_PER_ACCOUNT_MAX) }
    }

    pub(crate) async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let asked = request.headers().get(SAID).and_then(decoded::<Asked>);
        let (Some(Said { account, .. }), Some(asked)) = (Said::take(&mut request), asked) else {
            return Ok(refuse(StatusCode::BAD_REQUEST, "what is asked for cannot be read"));
        };
        let operation = asked.what.operation();
        let (outcome, response) = match self.under_way.take_for(account) {
            Some(place) => {
                let (outcome, response) = self.perform(account, asked, request).await;
                (outcome, response.map(|body| body.holding(place)))
            }
            None => {
                let problem = "the Workers of this account ask for too much at a time";
                (CacheOutcome::Failed, refuse(StatusCode::TOO_MANY_REQUESTS, problem))
            }
        };
        self.metrics.asked_of_cache(operation, outcome);
        Ok(response)
    }

    async fn perform(&self, account: AccountId, asked: Asked, request: Request<Incoming>) -> Answered {
        let failed = |status, problem| (CacheOutcome::Failed, refuse(status, problem));
        let Some(port) = &self.port else {
            return failed(StatusCode::SERVICE_UNAVAILABLE, "this server has no cache");
        };
        if asked.cache.as_ref().is_some_and(|name| name.len() > NAME_OCTETS_MAX) {
            return failed(StatusCode::BAD_REQUEST, "the name of the cache is too long");
        }
        let (parts, incoming) = request.into_parts();
        let (url, headers) = (parts.uri, heard(parts.headers));
        let zone = match self.zone(account, &url).await {
            Ok(zone) => zone,
            Err(problem) => return failed(StatusCode::SERVICE_UNAVAILABLE, problem),
        };
        let place = ResponsePlace { account, zone, cache: asked.cache.as_deref(), url: &url };
        match asked.what {
            What::Match => match port.find(place, &headers).await {
                Some(found) => (CacheOutcome::Found, found.into()),
                None => (CacheOutcome::Absent, refuse(StatusCode::GATEWAY_TIMEOUT, "nothing is kept there")),
            },
            What::Delete => {
                let had = port.delete(place, &headers).await;
                let body = Response::new(Body::empty());
                let absent = || refuse(StatusCode::NOT_FOUND, "nothing is kept there");
                if had { (CacheOutcome::Found, body) } else { (CacheOutcome::Absent, absent()) }
            }
            What::Put { status, fields, mark } => {
                let broke = Arc::<AtomicBool>::default();
                let marked = |mark| Marked::new(Body::received(incoming), mark, Arc::clone(&broke));
                let body = match mark.as_deref().map(Mark::parse) {
                    None => Some(Body::empty()),
                    Some(mark) => mark.map(|mark| Body::stream(marked(mark))),
                };
                let Some(mut response) = body.and_then(|body| response(status, &fields, body)) else {
                    return failed(StatusCode::BAD_REQUEST, "the head of the response is none");
                };
                let Err(refused) = port.put(place, &headers, &mut response).await else {
                    return (CacheOutcome::Stored, Response::new(Body::empty()));
                };
                tracing::debug!(%account, %refused, "a response of a Worker is not kept");
                if broke.load(Ordering::Relaxed) {
                    return failed(StatusCode::UNPROCESSABLE_ENTITY, "the response did not come to its end");
                }
                read_to_its_end(response.body).await;
                (CacheOutcome::Refused, refuse(StatusCode::PAYLOAD_TOO_LARGE, refused.to_string()))
            }
        }
    }

    /// The account's own zone that serves a URL.
    async fn zone(&self, account: AccountId, url: &Uri) -> Result<Option<ZoneId>, &'static str> {
        let Some(host) = url.host() else { return Ok(None) };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.fetch.zone(account, &host).await.map_err(|fault| {
            tracing::warn!(%account, %fault, "the zone of a URL cannot be told");
            "the zone of the URL cannot be told"
        })
    }
}

/// The fields of a request, without ours and those of the connection.
fn heard(mut headers: HeaderMap) -> HeaderMap {
    strip_hop_by_hop(&mut headers);
    for name in [SAID, HeaderName::from_static(FIELD), header::HOST, header::CONTENT_LENGTH] {
        headers.remove(name);
    }
    headers
}

/// A response that is to be kept.
fn response(status: u16, fields: &[(String, String)], body: Body) -> Option<Kept> {
    let octets: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    if octets > FIELDS_OCTETS_MAX {
        return None;
    }
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        // As a fetch reads a field: each letter is an octet.
        let value: Option<Vec<u8>> = value.chars().map(|letter| u8::try_from(letter).ok()).collect();
        if !frames_or_routes(name.as_str().as_bytes()) {
            headers.append(name, HeaderValue::from_bytes(&value?).ok()?);
        }
    }
    strip_hop_by_hop(&mut headers);
    Some(Kept { status: StatusCode::from_u16(status).ok()?, headers, body, ..Kept::default() })
}

/// Reads what is left of a body, if it is short: of a node that reads no further the engine says only that the connection was lost.
async fn read_to_its_end(body: Body) {
    let read = tokio::time::timeout(UNKEPT_WITHIN, body.collect(UNKEPT_OCTETS_MAX)).await;
    if !matches!(read, Ok(Ok(_))) {
        tracing::debug!("the body of a response that is not kept is not read to its end");
    }
}

//! Keys and values, as Workers ask the node for them, by way of a binding's entrypoint in the dispatcher: which account's and which
//! namespace stands in a field of the engine's, which no Worker writes.
//!
//! `GET /KEY?cache_ttl=60` answers the value, and in a field what is said of it; `PUT /KEY?expiration_ttl=60` has both the same way;
//! `DELETE /KEY`; `GET /?prefix=p&key_count_limit=10&cursor=c`; `POST /bulk/get` with `{"keys": […], "cache_ttl": 60}`. Keys and
//! the field are percent-encoded. A refusal is a status and a line of text, of which `kv_namespace.js` makes what is thrown.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, percent_decode_str, utf8_percent_encode};
use proxima_chassis::{Clock, NodeContext, Places};
use proxima_ledger::Replica;
use proxima_model::{AccountId, Entity, KvKey, KvNamespace, KvNamespaceId, Timestamp, limits};
use proxima_pipeline::{
    Body, BodyError, KV_LIST_MAX, KV_READ_MANY_MAX, KeyValue, KvError, KvInvalid, KvListing, KvManyError,
    KvPair, KvRead, KvValue, kv_expires, kv_read_many,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    facts::Said,
    metrics::{Fetched, KvOperation, Metrics},
    refuse::refuse,
};

/// What is said of a value, as JSON, percent-encoded.
const METADATA: HeaderName = HeaderName::from_static("cf-kv-metadata");
/// Operations that the Workers of one account have under way at a time: what keeps one from taking all that the port does.
const OPERATIONS_PER_ACCOUNT_MAX: usize = 256;
/// Octets of values that are being written at a time, of those whose length is not told as many as one may have: those of five of
/// the largest, or of thousands of common ones.
const UPLOADS_OCTETS_MAX: usize = 128 << 20;
/// How long a write waits for room among them.
const ROOM_WITHIN: Duration = Duration::from_secs(10);
/// How long a value may take to come: nobody keeps that room.
const UPLOAD_WITHIN: Duration = Duration::from_secs(30);
/// Octets of a list of keys: [`KV_READ_MANY_MAX`] of the longest, each octet escaped.
const KEYS_OCTETS_MAX: usize = KV_READ_MANY_MAX * limits::KV_KEY_OCTETS_MAX * 6 + (4 << 10);
/// For how long what was read may be read again unless a Worker says otherwise, in seconds; as v4 documents it.
const CACHE_TTL_SECONDS: i64 = 60;
/// The least that it may say, in seconds; as v4 documents it.
const CACHE_TTL_SECONDS_MIN: i64 = 30;

/// Answers what Workers ask of keys and values.
pub(crate) struct KeyValues {
    replica: Replica,
    clock: Arc<dyn Clock>,
    port: Option<Arc<dyn KeyValue>>,
    metrics: Metrics,
    under_way: Arc<Places<AccountId>>,
    uploads: Semaphore,
}

/// Why there is no answer.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl From<KvInvalid> for Refusal {
    fn from(KvInvalid(problem): KvInvalid) -> Self {
        Self(StatusCode::BAD_REQUEST, problem)
    }
}

impl From<KvError> for Refusal {
    fn from(error: KvError) -> Self {
        let status = match error {
            KvError::Busy => StatusCode::TOO_MANY_REQUESTS,
            KvError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
            KvError::Unreachable(_) | KvError::Broken(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

impl KeyValues {
    pub(crate) fn new(node: &NodeContext, port: Option<Arc<dyn KeyValue>>, metrics: Metrics) -> Self {
        Self {
            replica: node.replica.clone(),
            clock: Arc::clone(&node.clock),
            port,
            metrics,
            under_way: Places::new(usize::MAX, OPERATIONS_PER_ACCOUNT_MAX),
            uploads: Semaphore::new(UPLOADS_OCTETS_MAX),
        }
    }

    pub(crate) async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let operation = operation(&request);
        let said =
            Said::take(&mut request).and_then(|said| Some((said.account, said.namespace?.parse().ok()?)));
        let Some((account, namespace)) = said else {
            return Ok(self.refuse(operation, bad("nobody says for which namespace this is")));
        };
        let Some(place) = self.under_way.take_for(account) else {
            let problem = "the Workers of this account ask for too much at a time".to_owned();
            return Ok(self.refuse(operation, Refusal(StatusCode::TOO_MANY_REQUESTS, problem)));
        };
        Ok(match self.perform(operation, (account, namespace), request).await {
            Ok(response) => {
                self.metrics.asked_of_key_values(operation, Fetched::Answered);
                response.map(|body| body.holding(place))
            }
            Err(refusal) => self.refuse(operation, refusal),
        })
    }

    fn refuse(&self, operation: KvOperation, Refusal(status, problem): Refusal) -> Response<Body> {
        self.metrics.asked_of_key_values(operation, Fetched::of_refusal(status));
        refuse(status, problem)
    }

    async fn perform(
        &self,
        operation: KvOperation,
        (account, namespace): (AccountId, KvNamespaceId),
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let snapshot = self.replica.snapshot().map_err(unreadable)?;
        if snapshot.revision(&KvNamespace::key_of(&(account, namespace))).map_err(unreadable)?.is_none() {
            return Err(bad("namespace not found"));
        }
        drop(snapshot);
        let absent =
            || Refusal(StatusCode::SERVICE_UNAVAILABLE, "this server has no keys and values".to_owned());
        let port = &**self.port.as_ref().ok_or_else(absent)?;
        let query = Parameters::of(request.uri().query().unwrap_or_default())?;
        match operation {
            KvOperation::Get => {
                let (key, how) = (key_of(request.uri().path())?, how(query.number("cache_ttl")?)?);
                let found = port.get(namespace, &key, how).await?;
                value(found.ok_or_else(|| Refusal(StatusCode::NOT_FOUND, "key not found".to_owned()))?)
            }
            KvOperation::List => list(port, namespace, &query).await,
            KvOperation::GetBulk => get_many(port, namespace, request).await,
            KvOperation::Put => {
                let key = key_of(request.uri().path())?;
                let expires = query.expires(self.clock.now())?;
                let metadata = metadata(&request)?;
                let value = self.upload(request).await?;
                let pair = KvPair { key, value: KvValue { value, metadata, expires } };
                port.put(namespace, vec![pair]).await?;
                Ok(Response::default())
            }
            KvOperation::Delete => {
                port.delete(namespace, vec![key_of(request.uri().path())?]).await?;
                Ok(Response::default())
            }
        }
    }

    /// The value that comes with a request.
    async fn upload(&self, request: Request<Incoming>) -> Result<Bytes, Refusal> {
        let most = limits::KV_VALUE_OCTETS_MAX;
        let too_large = |octets: String| {
            let problem = format!("Value length of {octets} exceeds limit of {most}.");
            Refusal(StatusCode::PAYLOAD_TOO_LARGE, problem)
        };
        let told = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let told = told.and_then(|text| text.parse::<usize>().ok());
        if let Some(octets) = told.filter(|octets| *octets > most) {
            return Err(too_large(octets.to_string()));
        }
        let late = |problem: &str| Refusal(StatusCode::TOO_MANY_REQUESTS, problem.to_owned());
        let octets = u32::try_from(told.unwrap_or(most)).unwrap_or(u32::MAX);
        let room = tokio::time::timeout(ROOM_WITHIN, self.uploads.acquire_many(octets)).await;
        let _room = room.map_err(|_| late("too many values are being written here"))?;
        let body = Body::received(request.into_body()).collect(most);
        match tokio::time::timeout(UPLOAD_WITHIN, body).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(BodyError::TooLarge)) => Err(too_large(format!("more than {most}"))),
            Ok(Err(_)) => Err(bad("the value broke off")),
            Err(_) => Err(late("the value did not come in time")),
        }
    }
}

fn bad(problem: &str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, problem.to_owned())
}

fn unreadable(error: proxima_ledger::ReadError) -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, format!("the replica cannot be read: {error}"))
}

/// What a request asks for. The engine sends no other methods than those of `kv_namespace.js`, whatever a Worker does; one of them
/// with another meaning reaches nothing else.
fn operation(request: &Request<Incoming>) -> KvOperation {
    match *request.method() {
        Method::PUT => KvOperation::Put,
        Method::DELETE => KvOperation::Delete,
        Method::POST => KvOperation::GetBulk,
        _ if request.uri().path() == "/" => KvOperation::List,
        _ => KvOperation::Get,
    }
}

fn key_of(path: &str) -> Result<KvKey, Refusal> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let text = percent_decode_str(path).decode_utf8().map_err(|_| bad("the key is not UTF-8"))?;
    key(&text)
}

fn key(text: &str) -> Result<KvKey, Refusal> {
    let (octets, most) = (text.len(), limits::KV_KEY_OCTETS_MAX);
    if octets > most {
        let problem = format!("UTF-8 encoded length of {octets} exceeds key length limit of {most}.");
        return Err(Refusal(StatusCode::URI_TOO_LONG, problem));
    }
    KvKey::parse(text).map_err(|invalid| bad(&invalid.to_string()))
}

/// How a value is read, which may have been read so many seconds ago.
fn how(cache_ttl: Option<i64>) -> Result<KvRead, Refusal> {
    let seconds = cache_ttl.unwrap_or(CACHE_TTL_SECONDS);
    if seconds < CACHE_TTL_SECONDS_MIN {
        let problem =
            format!("Invalid cache_ttl of {seconds}. Cache TTL must be at least {CACHE_TTL_SECONDS_MIN}.");
        return Err(bad(&problem));
    }
    Ok(KvRead::Cached(Duration::from_secs(seconds.unsigned_abs())))
}

/// What is said of a value that is written.
fn metadata(request: &Request<Incoming>) -> Result<Option<Box<str>>, Refusal> {
    let Some(given) = request.headers().get(METADATA) else { return Ok(None) };
    let text = percent_decode(given.as_bytes()).decode_utf8().map_err(|_| bad("metadata is not UTF-8"))?;
    let (octets, most) = (text.len(), limits::KV_METADATA_OCTETS_MAX);
    if octets > most {
        let problem = format!("Metadata length of {octets} exceeds limit of {most}.");
        return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, problem));
    }
    if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err() {
        return Err(bad("metadata is not JSON"));
    }
    Ok(Some(text.into()))
}

fn value(KvValue { value, metadata, .. }: KvValue) -> Result<Response<Body>, Refusal> {
    let mut response = Response::new(Body::full(value));
    if let Some(metadata) = metadata {
        let encoded = utf8_percent_encode(&metadata, NON_ALPHANUMERIC).to_string();
        let encoded = HeaderValue::try_from(encoded).map_err(|_| bad("metadata is no field's value"))?;
        response.headers_mut().insert(METADATA, encoded);
    }
    Ok(response)
}

async fn list(
    port: &dyn KeyValue,
    namespace: KvNamespaceId,
    query: &Parameters,
) -> Result<Response<Body>, Refusal> {
    let given = query.number("key_count_limit")?;
    let limit = given.map_or(Ok(KV_LIST_MAX), usize::try_from).unwrap_or_default();
    if !(1..=KV_LIST_MAX).contains(&limit) {
        let given = given.unwrap_or_default();
        let problem =
            format!("Invalid key_count_limit of {given}. Please specify an integer from 1 to {KV_LIST_MAX}.");
        return Err(bad(&problem));
    }
    let prefix = query.get("prefix").unwrap_or_default();
    let page = port.list(namespace, KvListing::page(prefix.to_owned(), query.get("cursor"), limit)?).await?;
    let keys = page.keys.iter().map(|listed| {
        let mut shown = json!({ "name": listed.key.as_str() });
        if let Some(at) = listed.expires {
            shown["expiration"] = at.as_seconds().into();
        }
        if let Some(metadata) = &listed.metadata {
            shown["metadata"] = (**metadata).into();
        }
        shown
    });
    let mut shown = json!({ "keys": keys.collect::<Value>(), "list_complete": !page.has_more });
    if let Some(cursor) = page.cursor() {
        shown["cursor"] = cursor.into();
    }
    Ok(Response::new(Body::full(shown.to_string())))
}

/// Which keys are to be read at once.
#[derive(Deserialize)]
struct Many {
    keys: Vec<String>,
    #[serde(default)]
    cache_ttl: Option<i64>,
}

async fn get_many(
    port: &dyn KeyValue,
    namespace: KvNamespaceId,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let body = Body::received(request.into_body()).collect(KEYS_OCTETS_MAX).await;
    let many: Many = body
        .ok()
        .and_then(|body| serde_json::from_slice(&body).ok())
        .ok_or_else(|| bad(&format!("the keys cannot be read: give at most {KV_READ_MANY_MAX}")))?;
    match many.keys.len() {
        0 => return Err(bad("You must request a minimum of 1 key")),
        count if count > KV_READ_MANY_MAX => {
            return Err(bad(&format!("You can request a maximum of {KV_READ_MANY_MAX} keys")));
        }
        _ => {}
    }
    let keys = many.keys.iter().map(|text| key(text)).collect::<Result<Vec<_>, _>>()?;
    let found =
        kv_read_many(port, namespace, &keys, how(many.cache_ttl)?).await.map_err(|error| match error {
            KvManyError::TooLarge => Refusal(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            KvManyError::Failed(error) => error.into(),
        })?;
    let shown = found.into_iter().map(|found| match found {
        None => Value::Null,
        Some(found) => {
            let mut shown = json!({ "value": String::from_utf8_lossy(&found.value) });
            if let Some(metadata) = &found.metadata {
                shown["metadata"] = (**metadata).into();
            }
            shown
        }
    });
    Ok(Response::new(Body::full(shown.collect::<Value>().to_string())))
}

/// A query, taken apart.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(query: &str) -> Result<Self, Refusal> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let decode = |(name, value): (&str, &str)| {
            let value = percent_decode_str(value).decode_utf8().map_err(|_| bad("the query is not UTF-8"))?;
            Ok((name.to_owned(), value.into_owned()))
        };
        pairs.map(decode).collect::<Result<_, _>>().map(Self)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| bad(&format!("Invalid {name} of {text:.40}. Please specify an integer.")))
        };
        self.get(name).map(parse).transpose()
    }

    fn expires(&self, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
        Ok(kv_expires(self.number("expiration")?, self.number("expiration_ttl")?, now)?)
    }
}

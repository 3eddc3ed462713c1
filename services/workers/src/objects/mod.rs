//! Objects, as Workers ask the node for them, by way of a binding's entrypoint in the dispatcher: which account's and which bucket
//! stands in a field of the engine's, which no Worker writes.
//!
//! Every operation is a `POST /`: what is asked for stands in the field `proxima-r2`, as JSON, percent-encoded; what is put is the
//! body, as are lists of keys and parts. What is known of an object comes back in the same field and its octets as the body, all
//! else as JSON. A refusal is a status, R2's code for it in `proxima-r2-code`, and a line of text, of which `r2_bucket.js` makes what
//! is thrown. Octets pass as they come, in both directions. Streams that are put have a mark behind their end (`marked.rs`): one that
//! fails in the Worker is refused by 422, and nothing of it is kept.

mod wire;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use proxima_chassis::{NodeContext, Places};
use proxima_ledger::Replica;
use proxima_model::{AccountId, Bucket};
use proxima_pipeline::{
    Body, OBJECT_KEY_OCTETS_MAX, OBJECT_PARTS_MAX, OBJECTS_LISTED_MAX, ObjectAbout, ObjectConditions,
    ObjectDelete, ObjectError, ObjectGet, ObjectKey, ObjectListing, ObjectPut, ObjectRead, Objects,
    PartChosen, Span, UploadBegin, UploadComplete, UploadId,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::wire::{Asked, Chosen, Hash, Listing, Refusal, show};
use crate::{
    facts::{Said, decoded, encoded},
    marked::{Mark, Marked},
    metrics::{Fetched, Metrics, R2Operation},
    refuse::refuse,
};

/// What is asked for, and what is known of an object.
const SAID: HeaderName = HeaderName::from_static("proxima-r2");
/// R2's code of a refusal.
const CODE: HeaderName = HeaderName::from_static("proxima-r2-code");
/// Operations that the Workers of one account have under way at a time: what keeps one from taking all that the port does.
const OPERATIONS_PER_ACCOUNT_MAX: usize = 256;
/// Octets of a list of keys, each octet escaped; a list of parts, of some hundred octets each, has fewer.
const LIST_OCTETS_MAX: usize = OBJECTS_LISTED_MAX * OBJECT_KEY_OCTETS_MAX * 6 + (4 << 10);

/// Answers what Workers ask of buckets.
pub(crate) struct BucketObjects {
    replica: Replica,
    port: Option<Arc<dyn Objects>>,
    metrics: Metrics,
    under_way: Arc<Places<AccountId>>,
}

type Answered = Result<Response<Body>, Refusal>;

impl BucketObjects {
    pub(crate) fn new(node: &NodeContext, port: Option<Arc<dyn Objects>>, metrics: Metrics) -> Self {
        let under_way = Places::new(usize::MAX, OPERATIONS_PER_ACCOUNT_MAX);
        Self { replica: node.replica.clone(), port, metrics, under_way }
    }

    pub(crate) async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let asked = request.headers().get(SAID).and_then(decoded::<Asked>);
        let (Some(said), Some(asked)) = (Said::take(&mut request), asked) else {
            return Ok(
                self.refuse(R2Operation::Unreadable, Refusal::invalid("what is asked for cannot be read"))
            );
        };
        let operation = asked.operation();
        let Some(place) = self.under_way.take_for(said.account) else {
            let problem = "the Workers of this account ask for too much at a time";
            return Ok(self.refuse(operation, Refusal::new(StatusCode::TOO_MANY_REQUESTS, 10058, problem)));
        };
        Ok(match self.perform(said, asked, request).await {
            Ok(response) => {
                self.metrics.asked_of_objects(operation, Fetched::Answered);
                response.map(|body| body.holding(place))
            }
            Err(refusal) => self.refuse(operation, refusal),
        })
    }

    fn refuse(&self, operation: R2Operation, Refusal { status, code, message }: Refusal) -> Response<Body> {
        self.metrics.asked_of_objects(operation, Fetched::of_refusal(status));
        let mut response = refuse(status, message);
        response.headers_mut().insert(CODE, HeaderValue::from(code));
        response
    }

    /// The bucket, if the account has it as the binding says.
    fn bucket(&self, said: Said) -> Result<Bucket, Refusal> {
        let name = said.bucket.ok_or_else(|| Refusal::invalid("nobody says of which bucket this is"))?;
        let snapshot = self.replica.snapshot().map_err(unreadable)?;
        let found = snapshot.get::<Bucket>(&(said.account, name)).map_err(unreadable)?;
        let found = found.filter(|bucket| bucket.jurisdiction == said.jurisdiction);
        found.ok_or_else(|| ObjectError::NoSuchBucket.into())
    }

    async fn perform(&self, said: Said, asked: Asked, request: Request<Incoming>) -> Answered {
        let bucket = self.bucket(said)?;
        let absent = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, 10043, "this server has no objects");
        let port = &**self.port.as_ref().ok_or_else(absent)?;
        let told = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let octets = told.and_then(|text| text.parse::<u64>().ok());
        let broke = Arc::<AtomicBool>::default();
        let body = Body::received(request.into_body());
        let body = match asked.mark().map(Mark::parse) {
            None => body,
            Some(Some(mark)) => Body::stream(Marked::new(body, mark, Arc::clone(&broke))),
            Some(None) => return Err(Refusal::invalid("the mark behind a stream cannot be read")),
        };
        let answered = perform(port, &bucket, asked, (octets, body)).await;
        let has_broken = answered.is_err() && broke.load(Ordering::Relaxed);
        if has_broken { Err(Refusal::broken()) } else { answered }
    }
}

/// Does what is asked of a bucket. `octets`: how many the body has, as far as it is told.
async fn perform(
    port: &dyn Objects,
    bucket: &Bucket,
    asked: Asked,
    (octets, body): (Option<u64>, Body),
) -> Answered {
    match asked {
        Asked::Head { key } => {
            let (about, _) = port.head(bucket, &key_of(&key)?, ObjectGet::default()).await?;
            Ok(object(bucket, &key, &about, None, Body::empty()))
        }
        Asked::Get { key, only_if, range } => {
            let range = range.as_ref().map(wire::Range::read).transpose()?;
            let get = ObjectGet { conditions: ObjectConditions::default(), range };
            let ObjectRead { about, span, body } = port.get(bucket, &key_of(&key)?, get).await?;
            if only_if.is_none_or(|only_if| only_if.holds(&about)) {
                let whole = Span { start: 0, octets: about.octets };
                return Ok(object(bucket, &key, &about, Some(span.unwrap_or(whole)), body));
            }
            let mut refused = object(bucket, &key, &about, None, Body::empty());
            *refused.status_mut() = StatusCode::PRECONDITION_FAILED;
            Ok(refused)
        }
        Asked::Put { key, only_if, fields, hash, .. } => {
            let put = ObjectPut {
                fields: fields.read()?,
                conditions: only_if.map(|only_if| only_if.to_conditions()).unwrap_or_default(),
                expected: Hash::expected(hash.as_ref(), octets)?,
                copied_from: None,
            };
            match port.put(bucket, &key_of(&key)?, put, body).await {
                Ok(about) => Ok(object(bucket, &key, &about, None, Body::empty())),
                // Something must have been there.
                Err(ObjectError::NoSuchKey) => Err(Refusal::precondition()),
                Err(error) => Err(error.into()),
            }
        }
        Asked::Delete => delete(port, bucket, body).await,
        Asked::List(listing) => list(port, bucket, listing).await,
        Asked::Begin { key, fields } => {
            let begin = UploadBegin { fields: fields.read()?, checksum: None };
            let upload = port.begin_upload(bucket, &key_of(&key)?, begin).await?;
            Ok(told_as(&json!({ "uploadId": upload.to_string() })))
        }
        Asked::Part { key, upload_id, part_number, .. } => {
            let part = (upload_of(&upload_id)?, u16::try_from(part_number).unwrap_or_default());
            let expected = Hash::expected(None, octets)?;
            let part = port.put_part(bucket, &key_of(&key)?, part, expected, body).await?;
            Ok(told_as(&json!({ "etag": part.etag() })))
        }
        Asked::Complete { key, upload_id } => {
            let chosen = collect::<Chosen>(body, usize::from(OBJECT_PARTS_MAX)).await?.into_iter();
            let parts = chosen.map(|Chosen { part_number: number, etag }| PartChosen {
                number,
                etag,
                checksum: None,
            });
            let complete = UploadComplete { parts: parts.collect(), ..UploadComplete::default() };
            let upload = upload_of(&upload_id)?;
            let about = port.complete_upload(bucket, &key_of(&key)?, upload, complete).await?;
            Ok(object(bucket, &key, &about, None, Body::empty()))
        }
        Asked::Abort { key, upload_id } => {
            port.abort_upload(bucket, &key_of(&key)?, upload_of(&upload_id)?).await?;
            Ok(Response::default())
        }
    }
}

fn unreadable(error: proxima_ledger::ReadError) -> Refusal {
    let problem = format!("the replica cannot be read: {error}");
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, 10043, problem)
}

fn key_of(text: &str) -> Result<ObjectKey, Refusal> {
    let named = |_| Refusal::new(StatusCode::BAD_REQUEST, 10020, "The specified object name is not valid.");
    ObjectKey::new(text).map_err(named)
}

fn upload_of(text: &str) -> Result<UploadId, Refusal> {
    text.parse().map_err(Refusal::from)
}

/// An answer that is JSON.
fn told_as(value: &Value) -> Response<Body> {
    Response::new(Body::full(value.to_string()))
}

/// An object.
fn object(bucket: &Bucket, key: &str, about: &ObjectAbout, span: Option<Span>, body: Body) -> Response<Body> {
    let said = encoded(&show(bucket, key, about, span)).expect("letters, digits and percent signs");
    let mut response = Response::new(body);
    response.headers_mut().insert(SAID, said);
    response
}

/// The list that a body is.
async fn collect<T: DeserializeOwned>(body: Body, items_max: usize) -> Result<Vec<T>, Refusal> {
    let octets = body.collect(LIST_OCTETS_MAX).await.map_err(|error| Refusal::invalid(&error.to_string()))?;
    let read = serde_json::from_slice::<Vec<T>>(&octets).ok().filter(|items| items.len() <= items_max);
    read.ok_or_else(|| Refusal::invalid(&format!("the list cannot be read: give at most {items_max}")))
}

async fn delete(port: &dyn Objects, bucket: &Bucket, body: Body) -> Answered {
    let keys = collect::<String>(body, OBJECTS_LISTED_MAX).await?;
    let delete =
        |key: &String| Ok(ObjectDelete { key: key_of(key)?, conditions: ObjectConditions::default() });
    let keys = keys.iter().map(delete).collect::<Result<Vec<_>, Refusal>>()?;
    let outcomes = port.delete(bucket, keys).await?;
    outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(Response::default())
}

async fn list(port: &dyn Objects, bucket: &Bucket, listing: Listing) -> Answered {
    let limit = listing.limit.unwrap_or(OBJECTS_LISTED_MAX);
    if !(1..=OBJECTS_LISTED_MAX).contains(&limit) {
        let problem = format!("MaxKeys params must be positive integer <= {OBJECTS_LISTED_MAX}.");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, 10022, problem));
    }
    let cursor = listing.cursor.map(|cursor| {
        let octets = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
        octets
            .and_then(|octets| String::from_utf8(octets).ok())
            .ok_or_else(|| Refusal::invalid("no such cursor"))
    });
    let asked = ObjectListing {
        prefix: listing.prefix.unwrap_or_default(),
        delimiter: listing.delimiter.filter(|delimiter| !delimiter.is_empty()),
        after: cursor.transpose()?.or(listing.start_after),
        limit,
    };
    let page = port.list(bucket, asked).await?;
    let objects = page.objects.iter().map(|(key, about)| show(bucket, key.as_str(), about, None));
    let mut shown = json!({
        "objects": objects.collect::<Value>(),
        "truncated": page.next.is_some(),
        "delimitedPrefixes": page.prefixes,
    });
    if let Some(next) = page.next {
        shown["cursor"] = BASE64_URL_SAFE_NO_PAD.encode(next).into();
    }
    Ok(told_as(&shown))
}

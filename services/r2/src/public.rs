//! Public hosts: everybody may read a bucket's objects at its custom domains, and do nothing else.
//!
//! ```text
//!  … ▶ cache ▶ tiers ▶ (this stage) is the host a bucket's? ─no─▶ origin
//!                              └─yes─▶ Objects ▶ its home
//! ```
//!
//! The stage stands where the origin does, so that what it answers is cached by the zone's rules, asked for upwards and purged as any
//! site's is. A path is a key, percent-decoded; no path lists a bucket. What may be told to pages of other sites depends on who
//! asks, and is said so by `Vary`, unless it is told to everybody.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use proxima_model::{Bucket, BucketDomain};
use proxima_pipeline::{
    Body, CorsPolicy, CorsRule, Decision, Exchange, Fault, Flow, ObjectAbout, ObjectError, ObjectKey,
    ObjectRead, Objects, Request, Response, Span, Stage, ranges,
};

use crate::{
    SERVICE,
    buckets::Buckets,
    metrics::Metrics,
    s3::{cors, error::unchanged},
    wanted::Wanted,
};

/// What an object is of which nothing is said: nothing that a browser would run.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// What may be done.
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// The stage. Cheap to clone.
#[derive(Clone)]
pub struct PublicStage {
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) buckets: Buckets,
    pub(crate) metrics: Metrics,
}

impl Stage for PublicStage {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        let site = exchange.site.as_ref();
        match site.and_then(|site| site.buckets.get(&*exchange.request.host)).cloned() {
            None => Decision::Now(Flow::Continue),
            Some(domain) => Decision::Later(self.answer(exchange, domain)),
        }
    }
}

impl PublicStage {
    fn answer<'a>(&'a self, exchange: &'a mut Exchange, domain: BucketDomain) -> BoxFuture<'a, Flow> {
        Box::pin(async move {
            exchange.trace.note(SERVICE, || format!("the host is the bucket {}'s", domain.bucket));
            match self.respond(&exchange.request, &domain).await {
                Ok(response) => {
                    self.metrics.answered_publicly(response.status.as_u16());
                    exchange.trace.note(SERVICE, || format!("its home answered {}", response.status));
                    Flow::Respond(response)
                }
                Err(error) => {
                    self.metrics.answered_publicly(Fault::BucketUnavailable.status().as_u16());
                    tracing::warn!(target: "proxima_r2", bucket = %domain.bucket, %error, "a public bucket cannot be read");
                    exchange.trace.note(SERVICE, || format!("it cannot be read: {error}"));
                    Flow::Fail(Fault::BucketUnavailable)
                }
            }
        })
    }

    async fn respond(&self, request: &Request, domain: &BucketDomain) -> Result<Response, ObjectError> {
        // The zone may not have been compiled anew yet, and its caches have forgotten the host already: what is said now they keep.
        let led_to = self.buckets.led_to(domain.zone, domain.hostname.clone()).await?;
        let Some((domain, bucket)) = led_to.filter(|(domain, _)| domain.is_enabled) else {
            return Ok(plain(StatusCode::NOT_FOUND, "nothing is offered at this host"));
        };
        let Some(bucket) = bucket.filter(|bucket| bucket.tag == domain.tag) else {
            return Ok(plain(StatusCode::NOT_FOUND, "there is no such bucket any more"));
        };
        let mut response = match request.method {
            Method::OPTIONS => return Ok(preflight(&bucket, &request.headers)),
            Method::GET | Method::HEAD => self.object(request, &bucket).await?,
            _ => {
                let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "objects can only be read here");
                refused.headers.insert(header::ALLOW, ALLOWED);
                refused
            }
        };
        let told = told(&bucket, &request.headers, &request.method);
        response.headers.extend(told);
        Ok(response)
    }

    /// The object that a path names.
    async fn object(&self, request: &Request, bucket: &Bucket) -> Result<Response, ObjectError> {
        let absent = || plain(StatusCode::NOT_FOUND, "there is no such object");
        let Some(key) = key(request.target.path()) else { return Ok(absent()) };
        let read = match request.method {
            Method::HEAD => self.head(request, bucket, &key).await,
            _ => self.read(request, bucket, &key).await,
        };
        match read {
            Ok(response) => Ok(response),
            Err(ObjectError::NoSuchKey | ObjectError::NoSuchBucket) => Ok(absent()),
            Err(ObjectError::NotModified(about)) => Ok(Response {
                status: StatusCode::NOT_MODIFIED,
                headers: unchanged(&about),
                ..Response::default()
            }),
            Err(ObjectError::PreconditionFailed) => {
                Ok(plain(StatusCode::PRECONDITION_FAILED, "a condition of the request does not hold"))
            }
            Err(ObjectError::InvalidRange(all)) => {
                let mut refused = plain(StatusCode::RANGE_NOT_SATISFIABLE, "there are no such octets");
                refused.headers.insert(header::CONTENT_RANGE, ranges::unsatisfied_range(all));
                Ok(refused)
            }
            Err(error) => Err(error),
        }
    }

    async fn head(
        &self,
        request: &Request,
        bucket: &Bucket,
        key: &ObjectKey,
    ) -> Result<Response, ObjectError> {
        let get = Wanted::read(&request.headers).whole();
        let (about, _) = self.objects.head(bucket, key, get).await?;
        Ok(Response { headers: head(&about, None), ..Response::default() })
    }

    async fn read(
        &self,
        request: &Request,
        bucket: &Bucket,
        key: &ObjectKey,
    ) -> Result<Response, ObjectError> {
        let wanted = Wanted::read(&request.headers);
        let read = wanted.ask(|read: &ObjectRead| &read.about, |get| self.objects.get(bucket, key, get));
        read.await.map(whole_or_part)
    }
}

/// The key that a path names.
fn key(path: &str) -> Option<ObjectKey> {
    let text = percent_decode_str(path.strip_prefix('/')?).decode_utf8().ok()?;
    ObjectKey::new(text).ok()
}

/// An answer in words. It is kept by nobody: what it says, its owner may have changed a moment later.
fn plain(status: StatusCode, words: &str) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let body = Body::full(format!("{}: {words}\n", status.as_u16()));
    Response { status, headers, body, ..Response::default() }
}

/// The fields of an object, or of some of its octets.
fn head(about: &ObjectAbout, span: Option<Span>) -> HeaderMap {
    let mut head = about.head();
    head.entry(header::CONTENT_TYPE).or_insert(CONTENT_TYPE);
    head.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    head.insert(header::CONTENT_LENGTH, span.map_or(about.octets, |span| span.octets).into());
    if let Some(Span { start, octets }) = span {
        let part = ranges::Part { first: start, end: start + octets, length: about.octets };
        head.insert(header::CONTENT_RANGE, part.content_range());
    }
    head
}

fn whole_or_part(read: ObjectRead) -> Response {
    let status = if read.span.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let headers = head(&read.about, read.span);
    Response { status, headers, body: read.body, ..Response::default() }
}

/// What a page of another site is told with an answer.
fn told(bucket: &Bucket, headers: &HeaderMap, method: &Method) -> HeaderMap {
    let Some(policy) = bucket.cors.as_ref().and_then(CorsPolicy::kept) else { return HeaderMap::new() };
    let origin = headers.get(header::ORIGIN);
    let text = origin.and_then(|origin| origin.to_str().ok()).unwrap_or_default();
    let rule = policy.rule(text, method.as_str(), &[]);
    let everybody = HeaderValue::from_static("*");
    if policy.rules.iter().all(CorsRule::is_for_all) {
        return rule.map_or_else(HeaderMap::new, |rule| cors::allowed(rule, &everybody));
    }
    let mut told = rule.zip(origin).map_or_else(HeaderMap::new, |(rule, origin)| cors::allowed(rule, origin));
    told.append(header::VARY, HeaderValue::from_static("Origin"));
    told
}

/// The answer to a preflight.
fn preflight(bucket: &Bucket, headers: &HeaderMap) -> Response {
    let policy = bucket.cors.as_ref().and_then(CorsPolicy::kept);
    match policy.and_then(|policy| cors::preflight(&policy, headers)) {
        Some(headers) => Response { status: StatusCode::NO_CONTENT, headers, ..Response::default() },
        None => plain(StatusCode::FORBIDDEN, "no rule for other sites (CORS) of this bucket allows this"),
    }
}

#[cfg(test)]
#[path = "public_tests.rs"]
mod tests;

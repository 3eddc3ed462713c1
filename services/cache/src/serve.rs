//! Answers made of stored objects.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use proxima_pipeline::{Body, Response};

use crate::{
    marks::CACHE_TAG,
    policy::{
        conditions::{self, Answer},
        directives::{ResponseDirectives, Scope, TARGETED},
        fields, range,
    },
    status::{CACHE_STATUS, CACHE_STATUS_STANDARD, CacheStatus},
    store::Object,
};

/// On an answer to another server's cache, or to this one for a slice: how many seconds are left of the lifetime that a rule gave.
const LEFT: HeaderName = HeaderName::from_static("proxima-tier-left");

/// Takes off an answer how many seconds are left of the lifetime that a rule gave.
pub(crate) fn take_left(headers: &mut HeaderMap) -> Option<u64> {
    headers.remove(&LEFT)?.to_str().ok()?.parse().ok()
}

/// How an object is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// GET or HEAD.
    pub(crate) method: &'a Method,
    /// The request's fields.
    pub(crate) request: &'a HeaderMap,
    /// What the answer is called.
    pub(crate) status: CacheStatus,
    /// Whether a cache asks, which stores it again: another server's, or this one for a slice.
    pub(crate) for_cache: bool,
    /// What browsers are told.
    pub(crate) browser: BrowserLifetime,
}

/// For how long browsers are told to keep an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BrowserLifetime {
    /// As long as the origin says.
    Origins,
    /// These seconds, if the origin says fewer (`browser_cache_ttl` of the zone).
    AtLeast(u32),
    /// These seconds (a cache rule).
    Exactly(u32),
    /// Not at all (a cache rule).
    None,
}

/// The answer that `object` gives. `body`, if there is one, reads all of the content, and `read` a part of it. `None`: the
/// content has become too large to keep and cannot be read from its beginning any more.
pub(crate) fn respond(
    object: &Object,
    asked: Asked<'_>,
    body: Option<Body>,
    read: &dyn Fn(u64, Option<u64>) -> Option<Body>,
) -> Option<Response> {
    let mut response = match conditions::answer(asked.method, asked.request, object.as_stored()) {
        Answer::NotModified => Response {
            status: StatusCode::NOT_MODIFIED,
            headers: not_modified(object, asked.for_cache),
            ..Response::default()
        },
        Answer::Part(part) => {
            let mut headers = object.headers.clone();
            headers.insert(header::CONTENT_RANGE, part.content_range());
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.end - part.first));
            let body = read(part.first, Some(part.end))?;
            Response { status: StatusCode::PARTIAL_CONTENT, headers, body, ..Response::default() }
        }
        Answer::Unsatisfiable(length) => {
            let mut headers = fields::not_modified(&object.headers);
            headers.insert(header::CONTENT_RANGE, range::unsatisfied_range(length));
            Response { status: StatusCode::RANGE_NOT_SATISFIABLE, headers, ..Response::default() }
        }
        Answer::Full => {
            let mut headers = object.headers.clone();
            let body = if asked.method == Method::HEAD {
                if let Some(length) = object.content.length().filter(|_| has_content(object.status)) {
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                }
                Body::empty()
            } else {
                match body {
                    Some(body) => body,
                    None => read(0, None)?,
                }
            };
            Response { status: object.status, headers, body, ..Response::default() }
        }
    };
    finish(&mut response.headers, object, asked);
    Some(response)
}

/// The fields of a 304. A cache is told all that says for how long.
fn not_modified(object: &Object, for_cache: bool) -> HeaderMap {
    let mut headers = fields::not_modified(&object.headers);
    for name in TARGETED.iter().filter(|_| for_cache) {
        for value in object.headers.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// Whether responses of this status have content (RFC 9110, 6.4.1).
fn has_content(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn finish(headers: &mut HeaderMap, object: &Object, asked: Asked<'_>) {
    let age = object.freshness.age(object.resident());
    // An answer that has come just now for this very request has an age only if it brought one along.
    let fetched = matches!(asked.status, CacheStatus::Miss | CacheStatus::Expired);
    if !fetched || age.as_secs() > 0 {
        headers.insert(header::AGE, fields::age(age));
    }
    if asked.for_cache {
        // It needs what this one was told, and what its owner decided.
        if let Some(left) = object.freshness.left_by_rule(object.resident()) {
            headers.insert(LEFT, HeaderValue::from(left));
        }
        if let Some(tags) = object.tags.field() {
            headers.insert(CACHE_TAG, tags);
        }
    } else if object.speaks_to_us {
        // The network's own field is for its caches; CDN-Cache-Control is for all on the way (RFC 9213, 2).
        headers.remove(&TARGETED[0]);
    }
    match asked.browser {
        // What caches store is what the origin said.
        _ if asked.for_cache => {}
        BrowserLifetime::Origins => {}
        BrowserLifetime::AtLeast(seconds) => lengthen(headers, u64::from(seconds) + age.as_secs()),
        BrowserLifetime::Exactly(seconds) => {
            let said = ResponseDirectives::of_cache_control(headers);
            let private = if said.private == Scope::Absent { "" } else { "private, " };
            tell_browsers(
                headers,
                &format!("{private}{}", max_age(&said, u64::from(seconds) + age.as_secs())),
            );
        }
        BrowserLifetime::None => tell_browsers(headers, "no-store"),
    }
    say_status(headers, asked.status);
}

fn say_status(headers: &mut HeaderMap, status: CacheStatus) {
    headers.insert(CACHE_STATUS, status.value());
    headers.append(CACHE_STATUS_STANDARD, status.standard());
}

/// The fields of every hit of an object by a client, as [`respond`] makes them where browsers are told what the origin
/// says; without `Age`.
pub(crate) fn fields_of_hits(object: &Object) -> HeaderMap {
    let mut headers = object.headers.clone();
    if object.speaks_to_us {
        headers.remove(&TARGETED[0]);
    }
    say_status(&mut headers, CacheStatus::Hit);
    headers
}

/// For how long browsers are told to keep an answer, in seconds; `None` where it is not to be lengthened.
pub(crate) fn told_browsers(said: &ResponseDirectives) -> Option<u64> {
    let forbids = said.no_store || said.private != Scope::Absent || said.no_cache != Scope::Absent;
    (!forbids).then(|| said.max_age.unwrap_or(0))
}

/// Lengthens what browsers are told, if it is shorter. `seconds` counts the age in, because browsers subtract it.
/// `Cache-Control` alone is judged: browsers do not hear the targeted fields, and what it forbids them stays forbidden.
fn lengthen(headers: &mut HeaderMap, seconds: u64) {
    let said = ResponseDirectives::of_cache_control(headers);
    if told_browsers(&said).is_some_and(|told| told < seconds) {
        tell_browsers(headers, &max_age(&said, seconds));
    }
}

/// A lifetime for browsers, with what else was said that goes with it.
fn max_age(said: &ResponseDirectives, seconds: u64) -> String {
    let public = if said.public { "public, " } else { "" };
    let revalidate = if said.must_revalidate { ", must-revalidate" } else { "" };
    format!("{public}max-age={seconds}{revalidate}")
}

fn tell_browsers(headers: &mut HeaderMap, value: &str) {
    headers.remove(header::EXPIRES);
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_str(value).expect("words and digits are a valid value"),
    );
}

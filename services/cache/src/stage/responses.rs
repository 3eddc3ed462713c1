//! Responses that code keeps: the Cache API of Workers, over the store in memory.
//!
//! They lie under keys of their own ([`PrimaryKey::of_response`]): no visitor is answered with what code has put, and none that
//! the origin gave is given to code. What a purge of the zone names goes as the zone's own objects do; they are told no other
//! server, and are not on the disk (`docs/decisions/0019-cache-api.md`).

use std::sync::{Arc, atomic::Ordering};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use proxima_model::EdgeLifetime;
use proxima_pipeline::{BodyError, Response, ResponseCache, ResponsePlace, ResponseRefused};

use super::CacheStage;
use crate::{
    fill::{self, Fetched},
    key::PrimaryKey,
    marks::Tags,
    policy::{
        directives::{RequestDirectives, TARGETED},
        freshness::Exchanged,
        reuse::{self, Reuse},
        storing::{Refusal, Storable, Verdict},
        wishes::Wishes,
    },
    serve::{self, BrowserLifetime},
    status::CacheStatus,
    store::{NOT_FOR_DISK, Object},
};

/// Fields of a request that decide nothing of what code keeps for it: code has decided.
const UNHEARD: [header::HeaderName; 5] =
    [header::AUTHORIZATION, header::CACHE_CONTROL, header::PRAGMA, header::RANGE, header::IF_RANGE];

impl ResponseCache for CacheStage {
    fn find<'a>(
        &'a self,
        place: ResponsePlace<'a>,
        request: &'a HeaderMap,
    ) -> BoxFuture<'a, Option<Response>> {
        Box::pin(async move {
            let object = self.kept(&PrimaryKey::of_response(&place)?, request)?;
            let asked = serve::Asked {
                method: &Method::GET,
                request,
                status: CacheStatus::Hit,
                for_cache: false,
                browser: BrowserLifetime::Origins,
            };
            serve::respond(&object, asked, None, &|first, end| object.content.body(first, end))
        })
    }

    fn put<'a>(
        &'a self,
        place: ResponsePlace<'a>,
        request: &'a HeaderMap,
        response: &'a mut Response,
    ) -> BoxFuture<'a, Result<(), ResponseRefused>> {
        Box::pin(async move {
            let key = PrimaryKey::of_response(&place).ok_or(ResponseRefused::Url)?;
            self.keep(&key, request.clone(), response).await
        })
    }

    fn delete<'a>(&'a self, place: ResponsePlace<'a>, request: &'a HeaderMap) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(key) = PrimaryKey::of_response(&place) else { return false };
            let had = self.kept(&key, request).is_some();
            // Without a mark, which would name all URLs of this path, and use up those that the zone may have.
            self.0.forgets.note(&key);
            self.0.flights.forget(&self.0.store, &key);
            had
        })
    }
}

impl CacheStage {
    /// What is kept for a request, if it is fresh.
    fn kept(&self, key: &PrimaryKey, request: &HeaderMap) -> Option<Arc<Object>> {
        let object = self.0.store.find(key, request).object?;
        let none = RequestDirectives::default();
        let fresh = reuse::decide(&object.freshness, object.resident(), &none) == Reuse::Fresh;
        fresh.then_some(object)
    }

    async fn keep(
        &self,
        key: &PrimaryKey,
        mut request: HeaderMap,
        response: &mut Response,
    ) -> Result<(), ResponseRefused> {
        for name in UNHEARD {
            request.remove(name);
        }
        let store = &self.0.store;
        let (birth, forgets) = (store.begin(key.zone()), self.0.forgets.of(key));
        // From now on purges of URLs leave a mark for keys that are not the URL alone.
        store.note_asked(key);
        let tags = Tags::take(&mut response.headers).unwrap_or_default();
        as_it_comes(&mut response.headers);
        quote_cookie(&mut response.headers);
        let now = self.0.clock.now();
        let when = Exchanged { requested_at: now, received_at: now };
        let storable = judge(self, &request, response, when)?;
        let content = store.new_content(response.body.length());
        let object = fill::object(content, Fetched { birth, tags, when }, &request, response, storable);
        object.on_disk.store(NOT_FOR_DISK, Ordering::Relaxed);
        match fill::read(&object, std::mem::take(&mut response.body)).await {
            Ok(true) => {}
            Ok(false) | Err(BodyError::TooLarge) => return Err(ResponseRefused::TooLarge),
            Err(_) => return Err(ResponseRefused::Lost),
        }
        let insert = || {
            // It has no flight that a forgotten URL would end.
            let current =
                self.0.forgets.of(key) == forgets && store.is_current(key, &object.birth, &object.tags);
            if current {
                store.insert(key, &request, Arc::clone(&object));
            }
            current
        };
        if self.0.flights.locked(key, insert) { Ok(()) } else { Err(ResponseRefused::Lost) }
    }
}

/// A body comes from code as it is, whatever its fields say of a coding: the engine has taken it off. So its tag names another
/// representation than these octets.
fn as_it_comes(headers: &mut HeaderMap) {
    if headers.remove(header::CONTENT_ENCODING).is_none() {
        return;
    }
    headers.remove(header::CONTENT_LENGTH);
    let strong = headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    let weak = strong.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok());
    if let Some(tag) = weak {
        headers.insert(header::ETAG, tag);
    }
}

/// Writes `private=Set-Cookie`, as it is documented for Workers, as HTTP has it (RFC 9111, 5.2.2.7): to other caches it would be a plain
/// `private`.
fn quote_cookie(headers: &mut HeaderMap) {
    let is_documented = |directive: &str| directive.trim().eq_ignore_ascii_case("private=set-cookie");
    let written = |line: &HeaderValue| {
        let text = line.to_str().ok().filter(|text| text.split(',').any(is_documented))?;
        let quoted = |directive| if is_documented(directive) { "private=\"Set-Cookie\"" } else { directive };
        HeaderValue::try_from(text.split(',').map(quoted).collect::<Vec<_>>().join(",")).ok()
    };
    let lines = headers.get_all(header::CACHE_CONTROL).iter();
    let lines: Vec<HeaderValue> = lines.map(|line| written(line).unwrap_or_else(|| line.clone())).collect();
    headers.remove(header::CACHE_CONTROL);
    for line in lines {
        headers.append(header::CACHE_CONTROL, line);
    }
}

/// Whether, and for how long, a response is kept.
fn judge(
    stage: &CacheStage,
    request: &HeaderMap,
    response: &Response,
    when: Exchanged,
) -> Result<Storable, ResponseRefused> {
    let headers = &response.headers;
    let told =
        [header::CACHE_CONTROL, header::EXPIRES].iter().chain(&TARGETED).any(|it| headers.contains_key(it));
    let mut wishes = Wishes::default();
    if !told {
        // What overrides the origin's would leave the cookie out.
        if headers.contains_key(header::SET_COOKIE) {
            return Err(ResponseRefused::Response("it sets a cookie".to_owned()));
        }
        let seconds = lifetime_untold(response.status).ok_or_else(|| {
            ResponseRefused::Response("nothing says for how long it may be kept".to_owned())
        })?;
        wishes.lifetime = EdgeLifetime::Seconds(seconds);
    }
    let storable = match fill::judge(&stage.0.store, request, response, when, (false, wishes)) {
        Verdict::Store(storable) => storable,
        Verdict::Refuse(Refusal::TooLarge) => return Err(ResponseRefused::TooLarge),
        Verdict::Refuse(refusal) => return Err(ResponseRefused::Response(refusal.to_string())),
    };
    // Nobody confirms it.
    let freshness = &storable.freshness;
    if freshness.lifetime_seconds == 0 || freshness.always_validate() {
        return Err(ResponseRefused::Response("it would have to be confirmed on every use".to_owned()));
    }
    Ok(storable)
}

/// For how many seconds a response is kept that says nothing of it: as v4 documents it.
fn lifetime_untold(status: StatusCode) -> Option<u32> {
    Some(match status.as_u16() {
        200 | 301 => 7_200,
        302 | 303 => 1_200,
        404 | 410 => 180,
        403 => 60,
        _ => return None,
    })
}

//! Objects that are too large to be stored as a whole: they lie in slices.
//!
//! ```text
//!   an answer that is too large, with a strong tag, of an origin that takes ranges
//!      └─▶ the first slice is asked for ──a 206 of the same──▶ the object is known: its head is stored, its content sliced
//!   a request for it, or for a part of it
//!      └─▶ slice after slice through this stage itself: stored, joined, asked of other servers, as every other answer
//! ```
//!
//! Whoever asks for a part makes the origin send the slices in which it lies, and no more. Slices lie under a key of their
//! own beside the URL's, and are asked for by `If-Range` with the object's tag, so that slices of two versions never come
//! together: where the origin says that the object is another by now, the answer under way breaks off, and the URL is
//! forgotten.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use proxima_pipeline::{AskedByPeer, Body, BodyError, BodySender, Exchange, Response, Rest};
use tokio_util::task::AbortOnDropHandle;

use super::CacheStage;
use crate::{
    fill::{self, Fetched},
    key::{PrimaryKey, Slice},
    marks::Tags,
    policy::{freshness::Exchanged, range, storing::Verdict, validators::EntityTag},
    ruling::Ruling,
    serve::take_left,
    status::CacheStatus,
    store::Object,
};

/// Octets of a slice: few requests for a large object, and little that is fetched beside what is wanted.
pub(crate) const SLICE_OCTETS: u64 = 1 << 20;
/// Pieces of a slice that wait for the client.
const PIECES_WAITING_MAX: usize = 2;

/// What slices are asked for with.
struct Asking {
    stage: CacheStage,
    rest: Rest,
    key: PrimaryKey,
    /// What the zone's cache rules say of it, and the path that they say it of.
    ruling: Ruling,
    path: String,
    /// The fields of a request for the same URL.
    request: HeaderMap,
    /// The request. Locked because its parts are not for several threads at once.
    template: Mutex<Exchange>,
    tag: HeaderValue,
    length: u64,
}

impl CacheStage {
    /// Counts a request; slices are counted as what they are parts of.
    pub(super) fn count(&self, exchange: &Exchange, status: CacheStatus) {
        if exchange.extensions.get::<Slice>().is_none() {
            self.0.metrics.count(status);
        }
    }

    /// A body that reads a part of an object.
    pub(super) fn read(
        &self,
        exchange: &Exchange,
        object: &Arc<Object>,
        first: u64,
        end: Option<u64>,
    ) -> Option<Body> {
        if !object.content.is_sliced() {
            return object.content.body(first, end);
        }
        let length = object.content.length()?;
        let end = end.unwrap_or(length).min(length);
        let asking = Asking::new(self, exchange, object.headers.get(header::ETAG)?.clone(), length)?;
        let (sender, body) = Body::channel(PIECES_WAITING_MAX, Some(end.saturating_sub(first)));
        tokio::spawn(asking.write(first, end, sender));
        Some(body)
    }

    /// An answer was too large to be stored: sees whether it can be had in slices.
    pub(super) fn consider_slices(&self, exchange: &Exchange, response: &Response) {
        let strong = response.headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
        let takes_ranges = response.headers.get(header::ACCEPT_RANGES).is_some_and(|unit| unit == "bytes");
        let length = match response.status {
            StatusCode::OK if takes_ranges => response.body.length(),
            StatusCode::PARTIAL_CONTENT => range::whole_length(&response.headers),
            _ => None,
        };
        let (Some(tag), Some(length)) = (strong, length) else { return };
        let of_a_slice = exchange.extensions.get::<Slice>().is_some();
        if of_a_slice || length <= self.0.store.object_octets_max() {
            return;
        }
        if let Some(asking) = Asking::new(self, exchange, tag.clone(), length) {
            tokio::spawn(asking.prove());
        }
    }
}

impl Asking {
    fn new(stage: &CacheStage, exchange: &Exchange, tag: HeaderValue, length: u64) -> Option<Self> {
        let rest = exchange.rest()?.from_here();
        let mut template = exchange.sub_request();
        let headers = &mut template.request.headers;
        for name in [
            header::RANGE,
            header::IF_RANGE,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            // What the client has to say of freshness was said of the whole.
            header::CACHE_CONTROL,
            header::PRAGMA,
        ] {
            headers.remove(name);
        }
        template.request.method = Method::GET;
        say_what_for(&mut template, exchange);
        let key = PrimaryKey::of(exchange)?.whole();
        let (stage, request) = (stage.clone(), template.request.headers.clone());
        let (ruling, path) = (Ruling::of(exchange), template.request.target.path().to_owned());
        Some(Self { stage, rest, key, ruling, path, request, template: Mutex::new(template), tag, length })
    }

    /// The first and the last octet of a slice.
    fn bounds(&self, slice: u64) -> (u64, u64) {
        let first = slice * SLICE_OCTETS;
        (first, (first + SLICE_OCTETS).min(self.length) - 1)
    }

    /// Asks for a slice. `Err`: what came is none.
    async fn ask(self: Arc<Self>, slice: u64) -> Result<Response, BodyError> {
        let (first, last) = self.bounds(slice);
        let mut exchange = {
            let template = self.template.lock().unwrap_or_else(PoisonError::into_inner);
            let mut exchange = template.sub_request();
            say_what_for(&mut exchange, &template);
            exchange
        };
        let wanted =
            HeaderValue::try_from(format!("bytes={first}-{last}")).map_err(|_| BodyError::Aborted)?;
        exchange.request.headers.insert(header::RANGE, wanted);
        exchange.request.headers.insert(header::IF_RANGE, self.tag.clone());
        self.rest.run(&mut exchange).await;
        let response = exchange.response.take().ok_or(BodyError::Aborted)?;
        let tag = response.headers.get(header::ETAG).map(|tag| EntityTag::parse(tag.as_bytes()));
        let same = tag.is_some_and(|tag| tag.strong_eq(EntityTag::parse(self.tag.as_bytes())));
        let right = response.status == StatusCode::PARTIAL_CONTENT
            && range::content_range(&response.headers) == Some((first, last))
            && range::whole_length(&response.headers) == Some(self.length);
        if same && right {
            return Ok(response);
        }
        // A failure of the origin says nothing of what is stored.
        if !response.status.is_server_error() {
            let (url, status) = (self.key.url(), response.status);
            tracing::debug!(target: "proxima_cache", url, %status, "the object is another than its slices");
            self.stage.forget(&self.key);
        }
        Err(BodyError::Aborted)
    }

    /// Writes `first..end`, asking for the next slice while the present one is read.
    async fn write(self, first: u64, end: u64, mut sender: BodySender) {
        let asking = Arc::new(self);
        let ask = |slice: u64| {
            let wanted = slice * SLICE_OCTETS < end;
            wanted.then(|| AbortOnDropHandle::new(tokio::spawn(asking.clone().ask(slice))))
        };
        let mut slice = first / SLICE_OCTETS;
        let mut next = ask(slice);
        while let Some(asked) = next {
            // A task that ended without an answer ends the answer.
            let response = match asked.await.unwrap_or(Err(BodyError::Aborted)) {
                Ok(response) => response,
                Err(error) => return sender.fail(error).await,
            };
            next = ask(slice + 1);
            let from = slice * SLICE_OCTETS;
            if let Err(error) = pass_on(response.body, from, first, end, &mut sender).await {
                return sender.fail(error).await;
            }
            slice += 1;
        }
        sender.finish().await;
    }

    /// Asks for the first slice; if it is one, the object is known from now on.
    async fn prove(self) {
        let asking = Arc::new(self);
        let (key, stage) = (&asking.key, &asking.stage);
        let forgets = stage.0.forgets.of(key);
        let birth = {
            let template = asking.template.lock().unwrap_or_else(PoisonError::into_inner);
            stage.birth(&template, key)
        };
        let requested_at = stage.0.clock.now();
        let Ok(mut first) = asking.clone().ask(0).await else { return };
        let when = Exchanged { requested_at, received_at: stage.0.clock.now() };
        // Told by a stored slice to this cache alone.
        let tags = Tags::take(&mut first.headers).unwrap_or_default();
        let left = take_left(&mut first.headers);
        let Some(object) = asking.known(&first, Fetched { birth, tags, when }, left) else { return };
        let store = &stage.0.store;
        stage.0.flights.locked(key, || {
            // It has no flight that a forgotten URL would end.
            if stage.0.forgets.of(key) == forgets {
                store.insert(key, &asking.request, object);
            }
        });
        // The slice itself is stored by whoever fetches it, if it is read to its end.
        while let Some(Ok(_)) = first.body.next_frame().await {}
    }

    /// The object, as its first slice tells of it. `left`: of a lifetime that a rule gave when the slice was stored.
    fn known(&self, slice: &Response, fetched: Fetched, left: Option<u64>) -> Option<Arc<Object>> {
        let mut whole =
            Response { status: StatusCode::OK, headers: slice.headers.clone(), ..Response::default() };
        for name in [header::CONTENT_RANGE, header::CONTENT_LENGTH] {
            whole.headers.remove(name);
        }
        whole.headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let shared = &self.stage.0;
        let wishes = self.ruling.wishes(whole.status, &self.path);
        let answered = (shared.config.share_cookies, wishes);
        let verdict = fill::judge(&shared.store, &self.request, &whole, fetched.when, answered);
        let Verdict::Store(mut storable) = verdict else { return None };
        storable.freshness = storable.freshness.with_at_most(left);
        let content = shared.store.sliced_content(self.length);
        Some(fill::object(content, fetched, &self.request, &whole, storable))
    }
}

/// Says of a request of our own what it is for: extensions are not copied by themselves.
fn say_what_for(exchange: &mut Exchange, of: &Exchange) {
    exchange.extensions.insert(Slice);
    if let Some(asked) = of.extensions.get::<AskedByPeer>() {
        exchange.extensions.insert(*asked);
    }
}

/// Passes on what lies in `first..end` of a slice that begins at `at`.
async fn pass_on(
    mut body: Body,
    mut at: u64,
    first: u64,
    end: u64,
    sender: &mut BodySender,
) -> Result<(), BodyError> {
    while let Some(frame) = body.next_frame().await {
        let Ok(mut data) = frame?.into_data() else { continue };
        let octets = data.len() as u64;
        let skipped = small(first.saturating_sub(at)).min(data.len());
        let wanted: Bytes = data.split_off(skipped);
        let from = at + skipped as u64;
        let wanted = wanted.slice(..small(end.saturating_sub(from)).min(wanted.len()));
        at += octets;
        if !wanted.is_empty() {
            sender.send(wanted).await?;
        }
    }
    Ok(())
}

fn small(octets: u64) -> usize {
    usize::try_from(octets).unwrap_or(usize::MAX)
}

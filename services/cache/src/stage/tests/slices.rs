//! Objects too large to be stored as a whole, of an origin that the tests run.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use proxima_pipeline::Body;
use serde_json::json;

use super::{super::*, harness::*};
use crate::{policy::range::Asked, stage::slices::SLICE_OCTETS};

/// Three slices and a bit.
const OCTETS: usize = 3 * (1 << 20) + 1_000;

/// An origin of one large object.
struct Large {
    content: Mutex<Bytes>,
    tag: Mutex<&'static str>,
    takes_ranges: AtomicBool,
    /// Octets that it was asked for.
    sent: AtomicUsize,
    requests: AtomicUsize,
}

fn content(seed: usize) -> Bytes {
    (0..OCTETS).map(|n| u8::try_from((n * 7 + n / 1_021 + seed) % 251).expect("a rest")).collect()
}

impl Large {
    fn start(world: &Arc<World>) -> Arc<Self> {
        let large = Arc::new(Self {
            content: Mutex::new(content(0)),
            tag: Mutex::new("\"1\""),
            takes_ranges: true.into(),
            sent: 0.into(),
            requests: 0.into(),
        });
        let (world, origin) = (world.clone(), large.clone());
        tokio::spawn(async move {
            loop {
                origin.answer(world.call().await);
            }
        });
        large
    }

    fn answer(&self, call: Call) {
        let (content, tag) =
            (self.content.lock().expect("no panic").clone(), *self.tag.lock().expect("no panic"));
        let same = call.headers.get(header::IF_RANGE).is_none_or(|wanted| wanted == tag);
        let takes_ranges = self.takes_ranges.load(Ordering::Relaxed);
        let part = Asked::read(&call.headers).filter(|_| same && takes_ranges);
        let part = part.and_then(|asked| asked.of_length(content.len() as u64));
        let mut answer =
            response(200, &[("cache-control", "max-age=600"), ("cache-tag", "large")], Body::empty());
        answer.headers.insert(header::ETAG, HeaderValue::from_static(tag));
        answer.headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let body = match part {
            None => content,
            Some(part) => {
                answer.status = http::StatusCode::PARTIAL_CONTENT;
                answer.headers.insert(header::CONTENT_RANGE, part.content_range());
                content.slice(place(part.first)..place(part.end))
            }
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.sent.fetch_add(body.len(), Ordering::Relaxed);
        answer.body = Body::full(body);
        call.respond(answer);
    }

    fn become_another(&self) {
        *self.content.lock().expect("no panic") = content(1);
        *self.tag.lock().expect("no panic") = "\"2\"";
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

fn place(octets: u64) -> usize {
    usize::try_from(octets).expect("small")
}

fn world() -> Arc<World> {
    world_with(&[])
}

fn world_with(rules: &[(&str, serde_json::Value)]) -> Arc<World> {
    let config = CacheConfig { object_bytes_max: Some(2 << 20), ..CacheConfig::default() };
    World::made(config, proxima_model::ZoneSettings::default(), World::rules(rules))
}

async fn get(world: &Arc<World>, fields: Fields<'_>) -> Read {
    let read = world.get("/large", fields).await.expect("no panic").read().await;
    settle().await;
    read
}

/// Asks until the object is known; the slices that lie there then are those that were asked for.
async fn until_known(world: &Arc<World>) {
    loop {
        let found = world.stage.store().find(&world.key("/large"), &http::HeaderMap::new());
        if found.object.is_some_and(|object| object.content.is_sliced()) {
            return;
        }
        settle().await;
    }
}

#[tokio::test]
async fn a_large_object_is_served_from_slices_and_fetched_once() {
    let world = world();
    let origin = Large::start(&world);
    let first = get(&world, &[]).await;
    assert!(first.body.as_ref().is_ok_and(|body| *body == content(0)));
    assert!(first.says("larger than an object may be"), "{:?}", first.trace);
    until_known(&world).await;
    let second = get(&world, &[]).await;
    assert_eq!((second.status, second.cache_status()), (200, "HIT"));
    assert!(second.body.as_ref().is_ok_and(|body| *body == content(0)));
    assert!(second.field("cache-tag").is_none() && second.field("content-range").is_none());
    // The whole, and each of its slices.
    assert_eq!(origin.requests(), 1 + 4);
    let third = get(&world, &[]).await;
    assert!(third.body.is_ok_and(|body| body == content(0)));
    assert_eq!(origin.requests(), 1 + 4);
    let head = world.send(Method::HEAD, "/large", &[]).await.expect("no panic").read().await;
    assert_eq!(head.field("content-length"), Some(OCTETS.to_string().as_str()));
    let same = get(&world, &[("if-none-match", "\"1\"")]).await;
    assert_eq!(same.status, 304);
}

#[tokio::test]
async fn a_part_costs_the_slices_in_which_it_lies() {
    let world = world();
    let origin = Large::start(&world);
    // Two slices from the middle; the object was not known before.
    let first = get(&world, &[("range", "bytes=1500000-1500009")]).await;
    assert_eq!((first.status, first.body.expect("whole")), (206, content(0).slice(1_500_000..1_500_010)));
    until_known(&world).await;
    let before = origin.sent.load(Ordering::Relaxed);
    let last = place(SLICE_OCTETS);
    for (range, from, to) in [
        (format!("bytes={}-{}", last - 5, last + 4), last - 5, last + 5),
        (format!("bytes={}-{}", last - 7, last + 9), last - 7, last + 10),
        ("bytes=0-0".to_owned(), 0, 1),
    ] {
        let part = get(&world, &[("range", range.leak())]).await;
        assert_eq!((part.status, part.cache_status()), (206, "HIT"));
        assert_eq!(part.field("content-length"), Some((to - from).to_string().as_str()));
        assert_eq!(part.body.expect("whole"), content(0).slice(from..to));
    }
    // The first slice is there since the object is known.
    assert_eq!(origin.sent.load(Ordering::Relaxed) - before, place(SLICE_OCTETS));
    let tail = get(&world, &[("range", "bytes=-10")]).await;
    assert_eq!(tail.body.expect("whole"), content(0).slice(OCTETS - 10..));
}

#[tokio::test]
async fn slices_of_two_versions_never_come_together() {
    let world = world();
    let origin = Large::start(&world);
    get(&world, &[]).await;
    until_known(&world).await;
    // Its first slice is stored; the others will be another's.
    origin.become_another();
    let torn = get(&world, &[]).await;
    assert_eq!(torn.status, 200);
    assert!(torn.body.is_err());
    let anew = get(&world, &[]).await;
    assert_eq!(anew.field("etag"), Some("\"2\""));
    assert!(anew.body.is_ok_and(|body| body == content(1)));
}

#[tokio::test]
async fn a_purge_forgets_an_object_and_its_slices() {
    for purge in [
        (|world: &World| world.stage.store().purge_names(world.zone(), &[tag("large")])) as fn(&World),
        |world| world.stage.store().purge_names(world.zone(), &[prefix("example.test/large")]),
        |world| world.stage.forget(&world.key("/large")),
        |world| world.stage.store().purge_zone(world.zone()),
    ] {
        let world = world();
        let origin = Large::start(&world);
        get(&world, &[]).await;
        until_known(&world).await;
        get(&world, &[]).await;
        // The same tag: nothing but the purge tells that it is another.
        *origin.content.lock().expect("no panic") = content(1);
        purge(&world);
        assert!(get(&world, &[]).await.body.is_ok_and(|body| body == content(1)));
        until_known(&world).await;
        assert!(get(&world, &[]).await.body.is_ok_and(|body| body == content(1)), "and no slice of before");
    }
}

#[tokio::test]
async fn what_cannot_be_had_in_slices_passes() {
    let world = world();
    let origin = Large::start(&world);
    // It says that it takes ranges, and does not.
    origin.takes_ranges.store(false, Ordering::Relaxed);
    for _ in 0..2 {
        assert!(get(&world, &[]).await.body.is_ok_and(|body| body == content(0)));
    }
    assert!(world.stage.store().find(&world.key("/large"), &http::HeaderMap::new()).object.is_none());

    let world = self::world();
    let origin = Large::start(&world);
    *origin.tag.lock().expect("no panic") = "W/\"1\"";
    for _ in 0..2 {
        assert!(get(&world, &[]).await.body.is_ok_and(|body| body == content(0)));
    }
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_ends_what_was_asked_for_it() {
    let world = world();
    let origin = Large::start(&world);
    get(&world, &[]).await;
    until_known(&world).await;
    let before = origin.requests();
    let mut answer = world.get("/large", &[]).await.expect("no panic");
    answer.piece().await.expect("a piece").expect("whole");
    drop(answer);
    settle().await;
    assert!(origin.requests() <= before + 2, "the slice that was read, and the next");
}

#[tokio::test]
async fn what_a_slice_tells_this_cache_reaches_no_client() {
    let world = world_with(&[("true", json!({"edge_ttl": {"mode": "override_origin", "default": 3_600}}))]);
    let _origin = Large::start(&world);
    get(&world, &[]).await;
    until_known(&world).await;
    let hit = get(&world, &[]).await;
    assert_eq!(hit.cache_status(), "HIT");
    assert!(hit.says("a cache rule"), "{:?}", hit.trace);
    let ours = hit.headers.keys().find(|name| name.as_str().starts_with("proxima-"));
    assert!(ours.is_none(), "{ours:?}");
}

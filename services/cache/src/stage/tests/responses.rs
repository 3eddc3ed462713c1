//! What code keeps: by its own keys, for as long as it says, and gone with a purge of its zone.

use bytes::Bytes;
use http::{HeaderMap, Uri};
use proxima_model::{AccountId, DnsName, ZoneSettings};
use proxima_pipeline::{ResponseCache as _, ResponsePlace, ResponseRefused};

use super::{super::*, harness::*};
use crate::marks::Mark;

const FRESH: (&str, &str) = ("cache-control", "max-age=60");
const OWN: AccountId = AccountId::from_bytes([1; 16]);
const OTHER: AccountId = AccountId::from_bytes([2; 16]);

type Purging<'a> = &'a dyn Fn(&World);

/// A place at a path of the zone.
struct At(Uri);

impl At {
    fn path(path: &str) -> Self {
        Self(format!("http://{HOST}{path}").parse().expect("a URL"))
    }

    fn of<'a>(&'a self, world: &World, account: AccountId, cache: Option<&'a str>) -> ResponsePlace<'a> {
        ResponsePlace { account, zone: Some(world.zone()), cache, url: &self.0 }
    }
}

async fn put(world: &World, path: &str, response: Response) -> Result<(), ResponseRefused> {
    put_for(world, path, &[], response).await
}

async fn put_for(
    world: &World,
    path: &str,
    request: Fields<'_>,
    mut response: Response,
) -> Result<(), ResponseRefused> {
    let at = At::path(path);
    world.stage.put(at.of(world, OWN, None), &map(request), &mut response).await
}

async fn find(world: &World, path: &str, request: Fields<'_>) -> Option<Read> {
    let at = At::path(path);
    let response = world.stage.find(at.of(world, OWN, None), &map(request)).await?;
    Some(Answer { response, trace: Vec::new() }.read().await)
}

/// What is found, as text.
async fn text(world: &World, path: &str, request: Fields<'_>) -> Option<String> {
    Some(find(world, path, request).await?.text().to_owned())
}

fn kept(fields: Fields<'_>, body: &'static str) -> Response {
    response(200, fields, Body::full(body))
}

#[tokio::test(start_paused = true)]
async fn what_is_put_is_found_until_its_lifetime_is_over() {
    let world = World::new();
    assert_eq!(text(&world, "/a", &[]).await, None);
    put(&world, "/a", kept(&[FRESH, ("x-own", "1"), ("cache-tag", "t")], "kept")).await.expect("kept");
    tokio::time::advance(Duration::from_secs(59)).await;
    let read = find(&world, "/a", &[]).await.expect("still fresh");
    assert_eq!((read.status, read.text(), read.cache_status()), (200, "kept", "HIT"));
    assert_eq!(
        (read.field("age"), read.field("x-own"), read.field("cache-tag")),
        (Some("59"), Some("1"), None)
    );
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(text(&world, "/a", &[]).await, None, "nobody confirms it");
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_is_kept_as_long_as_its_status_is_usual() {
    for (status, seconds) in [(200, 7_200), (302, 1_200), (404, 180), (403, 60)] {
        let world = World::new();
        put(&world, "/a", response(status, &[], Body::full("kept"))).await.expect("kept");
        tokio::time::advance(Duration::from_secs(seconds - 1)).await;
        assert!(find(&world, "/a", &[]).await.is_some(), "{status}");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(find(&world, "/a", &[]).await.is_none(), "{status}");
    }
}

#[tokio::test]
async fn what_is_not_to_be_kept_is_refused_and_leaves_what_was_there() {
    let world = World::new();
    put(&world, "/a", kept(&[FRESH], "former")).await.expect("kept");
    for fields in [
        &[("cache-control", "no-store")][..],
        &[("cache-control", "private")],
        &[("cache-control", "max-age=0")],
        &[("cache-control", "no-cache, max-age=60"), ("etag", "\"1\"")],
        &[("set-cookie", "a=b")],
        &[("set-cookie", "a=b"), FRESH],
        &[("vary", "*"), FRESH],
    ] {
        let refused = put(&world, "/a", kept(fields, "another")).await;
        assert!(matches!(refused, Err(ResponseRefused::Response(_))), "{fields:?}: {refused:?}");
    }
    let refused = put(&world, "/a", response(500, &[], Body::full("another"))).await;
    assert!(matches!(refused, Err(ResponseRefused::Response(_))), "{refused:?}");
    assert_eq!(text(&world, "/a", &[]).await.as_deref(), Some("former"));
    let cookie_apart = [("set-cookie", "a=b"), ("cache-control", "private=Set-Cookie, max-age=60")];
    put(&world, "/a", kept(&cookie_apart, "without")).await.expect("kept");
    let read = find(&world, "/a", &[]).await.expect("kept");
    assert_eq!((read.text(), read.field("set-cookie")), ("without", None));
}

#[tokio::test]
async fn what_the_request_says_of_itself_alone_decides_nothing() {
    let world = World::new();
    let request = [("authorization", "Bearer x"), ("cache-control", "no-store"), ("range", "bytes=0-0")];
    put_for(&world, "/a", &request, kept(&[FRESH], "kept")).await.expect("kept");
    assert_eq!(text(&world, "/a", &[]).await.as_deref(), Some("kept"));
    assert_eq!(text(&world, "/a", &[("authorization", "Bearer y")]).await.as_deref(), Some("kept"));
}

#[tokio::test]
async fn conditions_and_ranges_are_heeded() {
    let world = World::new();
    let fields = [FRESH, ("etag", "\"1\""), ("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT")];
    put(&world, "/a", kept(&fields, "0123456789")).await.expect("kept");
    let part = find(&world, "/a", &[("range", "bytes=2-4")]).await.expect("kept");
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.field("content-range"), Some("bytes 2-4/10"));
    for condition in [("if-none-match", "\"1\""), ("if-modified-since", "Sun, 06 Nov 1994 08:00:00 GMT")] {
        let read = find(&world, "/a", &[condition]).await.expect("kept");
        assert_eq!((read.status, read.text(), read.cache_status()), (304, "", "HIT"), "{condition:?}");
    }
    assert_eq!(find(&world, "/a", &[("if-none-match", "\"2\"")]).await.expect("kept").status, 200);
}

#[tokio::test]
async fn what_varies_is_found_by_requests_alike() {
    let world = World::new();
    let varies = [FRESH, ("vary", "x-kind")];
    put_for(&world, "/a", &[("x-kind", "one")], kept(&varies, "one")).await.expect("kept");
    put_for(&world, "/a", &[("x-kind", "two")], kept(&varies, "two")).await.expect("kept");
    assert_eq!(text(&world, "/a", &[("x-kind", "one")]).await.as_deref(), Some("one"));
    assert_eq!(text(&world, "/a", &[("x-kind", "two")]).await.as_deref(), Some("two"));
    assert_eq!(text(&world, "/a", &[]).await, None);
}

#[tokio::test]
async fn accounts_caches_and_visitors_have_what_is_theirs_alone() {
    let world = World::new();
    let (a, elsewhere) = (At::path("/a"), Uri::from_static("https://elsewhere.example/a"));
    let places = [
        a.of(&world, OWN, None),
        a.of(&world, OTHER, None),
        a.of(&world, OWN, Some("")),
        a.of(&world, OWN, Some("named")),
        ResponsePlace { account: OWN, zone: None, cache: None, url: &elsewhere },
        ResponsePlace { account: OTHER, zone: None, cache: None, url: &elsewhere },
    ];
    let none = HeaderMap::new();
    for (at, place) in places.iter().enumerate() {
        for (other, place) in places.iter().enumerate() {
            let found = world.stage.find(*place, &none).await;
            assert_eq!(found.is_some(), other < at, "{at} {place:?}");
        }
        let body = ["0", "1", "2", "3", "4", "5"][at];
        world.stage.put(*place, &none, &mut kept(&[FRESH], body)).await.expect("kept");
    }
    world.fetch("/a", &[], &[FRESH], "the origin's").await;
    assert_eq!(world.from_cache("/a", &[]).await.text(), "the origin's");
    for (at, place) in places.iter().enumerate() {
        let found = world.stage.find(*place, &none).await.expect("kept");
        assert_eq!(found.body.collect(9).await.expect("whole"), at.to_string());
    }
    assert!(world.stage.delete(places[3], &none).await);
    assert!(!world.stage.delete(places[3], &none).await);
    assert!(world.stage.find(places[3], &none).await.is_none());
    assert!(world.stage.find(places[2], &none).await.is_some());
    assert_eq!(world.from_cache("/a", &[]).await.text(), "the origin's");
}

#[tokio::test]
async fn deleting_one_url_leaves_others_of_its_path() {
    let world = World::new();
    for path in ["/a?x=1", "/a?x=2"] {
        put(&world, path, kept(&[FRESH], "kept")).await.expect("kept");
    }
    let at = At::path("/a?x=1");
    assert!(world.stage.delete(at.of(&world, OWN, None), &HeaderMap::new()).await);
    assert_eq!(text(&world, "/a?x=1", &[]).await, None);
    assert_eq!(text(&world, "/a?x=2", &[]).await.as_deref(), Some("kept"));
}

#[tokio::test]
async fn every_kind_of_purge_reaches_what_code_keeps_in_its_zone() {
    let host = Mark::host(&DnsName::parse(HOST).expect("a name"));
    let purges: [(&str, Purging<'_>); 5] = [
        ("everything", &|world| world.stage.store().purge_zone(world.zone())),
        ("its URL", &|world| world.stage.forget(&world.key("/a"))),
        ("its host", &|world| world.stage.store().purge_names(world.zone(), &[host])),
        ("its prefix", &|world| world.stage.store().purge_names(world.zone(), &[prefix("example.test/a")])),
        ("its tag", &|world| world.stage.store().purge_names(world.zone(), &[tag("t")])),
    ];
    for (what, purge) in purges {
        let world = World::new();
        let fields = [FRESH, ("cache-tag", "t")];
        put(&world, "/a", kept(&fields, "kept")).await.expect("kept");
        put(&world, "/b", kept(&[FRESH], "kept")).await.expect("kept");
        purge(&world);
        assert_eq!(text(&world, "/a", &[]).await, None, "a purge of {what}");
        let of_all = matches!(what, "everything" | "its host");
        assert_eq!(text(&world, "/b", &[]).await.is_none(), of_all, "a purge of {what}");
        put(&world, "/a", kept(&fields, "anew")).await.expect("kept");
        assert_eq!(text(&world, "/a", &[]).await.as_deref(), Some("anew"), "after a purge of {what}");
    }
}

#[tokio::test]
async fn what_is_deleted_or_purged_while_it_comes_is_not_kept() {
    let purges: [Purging<'_>; 2] = [&|world| world.stage.store().purge_zone(world.zone()), &|world| {
        world.stage.forget(&world.key("/a"))
    }];
    for purge in purges {
        let world = World::new();
        let (mut sender, body) = Body::channel(1, None);
        let putting = world.clone();
        let put = tokio::spawn(async move { put(&putting, "/a", response(200, &[FRESH], body)).await });
        sender.send(Bytes::from_static(b"old")).await.expect("read");
        settle().await;
        purge(&world);
        sender.finish().await;
        assert_eq!(put.await.expect("no panic"), Err(ResponseRefused::Lost));
        assert_eq!(text(&world, "/a", &[]).await, None);
    }
}

#[tokio::test]
async fn what_breaks_off_or_is_too_large_is_not_kept() {
    let world = World::with(
        CacheConfig { object_bytes_max: Some(8), ..CacheConfig::default() },
        ZoneSettings::default(),
    );
    let announced = put(&world, "/a", kept(&[FRESH], "123456789")).await;
    assert_eq!(announced, Err(ResponseRefused::TooLarge));
    let (mut sender, body) = Body::channel(4, None);
    for _ in 0..3 {
        sender.send(Bytes::from_static(b"123")).await.expect("room");
    }
    let streamed = put(&world, "/a", response(200, &[FRESH], body)).await;
    assert_eq!(streamed, Err(ResponseRefused::TooLarge));
    let (mut sender, body) = Body::channel(4, None);
    sender.send(Bytes::from_static(b"123")).await.expect("room");
    drop(sender);
    let broken = put(&world, "/a", response(200, &[FRESH], body)).await;
    assert_eq!(broken, Err(ResponseRefused::Lost));
    assert_eq!(text(&world, "/a", &[]).await, None);
    assert_eq!(world.stage.store().octets_growing(), 0, "what was reserved for it is given back");
    put(&world, "/a", kept(&[FRESH], "12345678")).await.expect("as long as may be");
}

#[tokio::test]
async fn what_comes_decoded_is_kept_without_its_coding() {
    let world = World::new();
    let fields = [FRESH, ("content-encoding", "gzip"), ("etag", "\"1\"")];
    put(&world, "/a", kept(&fields, "plain")).await.expect("kept");
    let read = find(&world, "/a", &[]).await.expect("kept");
    assert_eq!(
        (read.text(), read.field("content-encoding"), read.field("etag")),
        ("plain", None, Some("W/\"1\""))
    );
}

//! What is reused, for whom, and what the answer looks like.

use proxima_model::ZoneSettings;

use super::{super::*, harness::*};

#[tokio::test(start_paused = true)]
async fn a_fresh_answer_is_a_hit_with_its_age_until_it_is_stale() {
    let world = World::new();
    let miss = world.fetch("/a", &[], &[("cache-control", "s-maxage=60"), ("x-kept", "1")], "hello").await;
    assert_eq!((miss.cache_status(), miss.text(), miss.field("age")), ("MISS", "hello", None));
    assert!(miss.says("cache: storing: stored for 60 s: s-maxage"), "{:?}", miss.trace);
    assert!(miss.says("origin: asked"), "the trace of the fetch is the client's: {:?}", miss.trace);
    tokio::time::advance(Duration::from_secs(12)).await;
    let hit = world.from_cache("/a", &[]).await;
    assert_eq!((hit.cache_status(), hit.text()), ("HIT", "hello"));
    assert_eq!((hit.field("age"), hit.field("x-kept")), (Some("12"), Some("1")));
    assert_eq!(hit.field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert!(hit.says("HIT: hit; age 12 s of 60 (s-maxage)"), "{:?}", hit.trace);
    tokio::time::advance(Duration::from_secs(48)).await;
    let expired = world.fetch("/a", &[], &[("cache-control", "max-age=60")], "again").await;
    assert_eq!((expired.cache_status(), expired.text()), ("EXPIRED", "again"));
    assert_eq!(world.from_cache("/a", &[]).await.text(), "again");
    assert_eq!(world.metrics.requests(CacheStatus::Hit), 2);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_neither_revives_nor_ages() {
    let world = World::new();
    world.fetch("/a", &[], &[("cache-control", "max-age=60")], "hello").await;
    world.clock.set(NOW.plus_seconds(86_400));
    assert_eq!(world.from_cache("/a", &[]).await.cache_status(), "HIT");
    world.clock.set(NOW.plus_seconds(-86_400));
    tokio::time::advance(Duration::from_secs(61)).await;
    let _client = world.get("/a", &[]);
    world.call().await;
}

#[tokio::test]
async fn a_304_confirms_what_is_stored_and_renews_its_fields() {
    let world = World::new();
    let fields = [("cache-control", "max-age=0"), ("etag", "\"1\""), ("x-old", "kept"), ("x-new", "0")];
    world.fetch("/a", &[], &fields, "hello").await;
    let client = world.get("/a", &[("if-none-match", "\"client\""), ("range", "bytes=0-1")]);
    let call = world.call().await;
    assert_eq!(call.headers, map(&[("if-none-match", "\"1\"")]));
    call.answer(304, &[("cache-control", "max-age=60"), ("x-new", "1"), ("set-cookie", "for=you")], "");
    let read = client.await.expect("no panic").read().await;
    assert_eq!((read.status, read.cache_status(), read.text()), (206, "REVALIDATED", "he"));
    assert_eq!(read.field("set-cookie"), Some("for=you"));
    let hit = world.from_cache("/a", &[]).await;
    assert_eq!((hit.cache_status(), hit.text(), hit.field("set-cookie")), ("HIT", "hello", None));
    assert_eq!((hit.field("x-old"), hit.field("x-new")), (Some("kept"), Some("1")));
}

#[tokio::test]
async fn fields_that_are_not_to_be_stored_reach_the_client_that_fetched_them() {
    let world = World::new();
    let fields =
        [("cache-control", "max-age=60, private=\"set-cookie, x\""), ("set-cookie", "a=b"), ("x", "1")];
    let miss = world.fetch("/a", &[], &fields, "hello").await;
    assert_eq!((miss.field("set-cookie"), miss.field("x")), (Some("a=b"), Some("1")));
    let hit = world.from_cache("/a", &[]).await;
    assert_eq!((hit.text(), hit.field("set-cookie"), hit.field("x")), ("hello", None, None));
}

#[tokio::test]
async fn a_304_for_another_representation_has_the_origin_asked_again_without_condition() {
    let world = World::new();
    world.fetch("/a", &[], &[("cache-control", "max-age=0"), ("etag", "\"1\"")], "one").await;
    let client = world.get("/a", &[]);
    world.call().await.answer(304, &[("etag", "\"2\"")], "");
    let call = world.call().await;
    assert_eq!(call.headers, map(&[]));
    call.answer(200, &[("cache-control", "max-age=60"), ("etag", "\"2\"")], "two");
    assert_eq!(client.await.expect("no panic").read().await.text(), "two");
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_the_origins_fault() {
    let world = World::new();
    let client = world.get("/a", &[]);
    world.call().await.answer(304, &[], "");
    assert_eq!(client.await.expect("no panic").read().await.status, 520);
}

#[tokio::test]
async fn clients_get_304_206_416_and_heads_from_what_is_stored() {
    let world = World::new();
    let fields = [("cache-control", "max-age=60"), ("etag", "\"1\""), ("content-type", "text/plain")];
    world.fetch("/a", &[], &fields, "0123456789").await;
    let not_modified = world.from_cache("/a", &[("if-none-match", "W/\"1\"")]).await;
    assert_eq!((not_modified.status, not_modified.text()), (304, ""));
    assert_eq!((not_modified.field("etag"), not_modified.field("content-type")), (Some("\"1\""), None));
    let part = world.from_cache("/a", &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.field("content-range"), Some("bytes 2-4/10"));
    assert_eq!(part.field("content-length"), Some("3"));
    let beyond = world.from_cache("/a", &[("range", "bytes=10-")]).await;
    assert_eq!((beyond.status, beyond.field("content-range")), (416, Some("bytes */10")));
    let several = world.from_cache("/a", &[("range", "bytes=0-1,3-4")]).await;
    assert_eq!((several.status, several.text()), (200, "0123456789"));
    let head = world.send(Method::HEAD, "/a", &[]).await.expect("no panic").read().await;
    assert_eq!((head.status, head.text(), head.field("content-length")), (200, "", Some("10")));
    assert_eq!(head.cache_status(), "HIT");
}

#[tokio::test]
async fn variants_are_kept_apart() {
    let world = World::new();
    let fields = [("cache-control", "max-age=60"), ("vary", "accept-language")];
    world.fetch("/a", &[("accept-language", "en")], &fields, "hello").await;
    world.fetch("/a", &[("accept-language", "de")], &fields, "hallo").await;
    assert_eq!(world.from_cache("/a", &[("accept-language", "EN")]).await.text(), "hello");
    assert_eq!(world.from_cache("/a", &[("accept-language", "de")]).await.text(), "hallo");
    let _client = world.get("/a", &[]);
    world.call().await;
}

#[tokio::test]
async fn what_may_not_be_stored_says_why_and_reaches_the_origin_each_time() {
    let world = World::new();
    let rows: [(&str, Fields<'_>, &str, &str); 6] = [
        ("/cookie", &[("etag", "\"1\""), ("set-cookie", "a=b")], "BYPASS", "Set-Cookie"),
        ("/private", &[("cache-control", "private")], "BYPASS", "private"),
        ("/no-store", &[("cache-control", "no-store")], "BYPASS", "no-store"),
        ("/star", &[("cache-control", "max-age=60"), ("vary", "*")], "BYPASS", "Vary"),
        ("/nothing", &[], "DYNAMIC", "no lifetime and no validator"),
        ("/expired", &[("cache-control", "max-age=0")], "BYPASS", "already stale"),
    ];
    for (target, fields, status, why) in rows {
        for _ in 0..2 {
            let read = world.fetch(target, &[], fields, "mine").await;
            assert_eq!((read.cache_status(), read.text()), (status, "mine"), "{target}");
            assert!(read.says(&format!("not stored: {why}")), "{target}: {:?}", read.trace);
        }
    }
}

#[tokio::test]
async fn a_url_that_becomes_storable_is_stored_again_before_its_minute_is_over() {
    let world = World::new();
    world.fetch("/a", &[], &[("cache-control", "private")], "mine").await;
    world.fetch("/a", &[], &[("cache-control", "max-age=60")], "passed by").await;
    world.fetch("/a", &[], &[("cache-control", "max-age=60")], "stored").await;
    assert_eq!(world.from_cache("/a", &[]).await.text(), "stored");
}

#[tokio::test]
async fn some_requests_are_never_for_a_cache() {
    let world = World::new();
    world.fetch("/a", &[], &[("cache-control", "max-age=60")], "stored").await;
    let rows: [(Method, Fields<'_>, &str); 8] = [
        (Method::OPTIONS, &[], "DYNAMIC"),
        (Method::GET, &[("if-match", "\"1\"")], "BYPASS"),
        (Method::GET, &[("x-forwarded-host", "evil.test")], "BYPASS"),
        (Method::GET, &[("x-forwarded_host", "evil.test")], "BYPASS"),
        (Method::GET, &[("forwarded", "host=evil.test")], "BYPASS"),
        (Method::GET, &[("x-host", "evil.test")], "BYPASS"),
        (Method::GET, &[("x-http-method-override", "POST")], "BYPASS"),
        (Method::GET, &[("cache-control", "no-store")], "BYPASS"),
    ];
    for (method, fields, status) in rows {
        let client = world.send(method, "/a", fields);
        world.call().await.answer(200, &[("cache-control", "max-age=60")], "from the origin");
        let read = client.await.expect("no panic").read().await;
        assert_eq!((read.cache_status(), read.text()), (status, "from the origin"), "{fields:?}");
    }
    assert_eq!(world.from_cache("/a", &[]).await.text(), "stored");
}

#[tokio::test]
async fn a_head_of_what_is_not_stored_passes_by_unstored() {
    let world = World::new();
    let client = world.send(Method::HEAD, "/a", &[]);
    let call = world.call().await;
    assert_eq!(call.method, Method::HEAD);
    call.answer(200, &[("cache-control", "max-age=60")], "");
    assert_eq!(client.await.expect("no panic").read().await.cache_status(), "MISS");
    world.fetch("/a", &[], &[("cache-control", "max-age=60")], "0123456789").await;
}

#[tokio::test]
async fn only_if_cached_is_answered_504_when_nothing_is_stored() {
    let world = World::new();
    let read = world.from_cache("/a", &[("cache-control", "only-if-cached")]).await;
    assert_eq!(read.status, 504);
    world.fetch("/a", &[], &[("cache-control", "max-age=60")], "hello").await;
    assert_eq!(world.from_cache("/a", &[("cache-control", "only-if-cached")]).await.text(), "hello");
}

#[tokio::test]
async fn clients_may_ask_for_validation_unless_the_configuration_says_otherwise() {
    let world = World::new();
    world.fetch("/a", &[], &[("cache-control", "max-age=60")], "one").await;
    let reloaded =
        world.fetch("/a", &[("cache-control", "no-cache")], &[("cache-control", "max-age=60")], "two").await;
    assert_eq!(reloaded.text(), "two");
    assert_eq!(world.from_cache("/a", &[]).await.text(), "two");
    let config = CacheConfig { client_directives: false, ..CacheConfig::default() };
    let world = World::with(config, ZoneSettings::default());
    world.fetch("/a", &[], &[("cache-control", "max-age=60")], "one").await;
    assert_eq!(world.from_cache("/a", &[("cache-control", "no-cache")]).await.text(), "one");
}

#[tokio::test]
async fn development_mode_passes_everything_by() {
    let settings = ZoneSettings { development_mode: true, ..ZoneSettings::default() };
    let world = World::with(CacheConfig::default(), settings);
    for _ in 0..2 {
        let read = world.fetch("/a", &[], &[("cache-control", "max-age=60")], "hello").await;
        assert_eq!(read.cache_status(), "BYPASS");
    }
}

#[tokio::test(start_paused = true)]
async fn browsers_are_told_the_zones_lifetime_where_the_origins_is_shorter() {
    let settings = ZoneSettings { browser_cache_ttl: 3600, ..ZoneSettings::default() };
    let world = World::with(CacheConfig::default(), settings);
    let fields = [("cache-control", "public, max-age=60"), ("expires", "Sun, 06 Nov 1994 08:49:37 GMT")];
    let miss = world.fetch("/a", &[], &fields, "hello").await;
    assert_eq!((miss.field("cache-control"), miss.field("expires")), (Some("public, max-age=3600"), None));
    tokio::time::advance(Duration::from_secs(10)).await;
    // Browsers subtract the age.
    assert_eq!(world.from_cache("/a", &[]).await.field("cache-control"), Some("public, max-age=3610"));
    let long = world.fetch("/b", &[], &[("cache-control", "max-age=86400")], "hello").await;
    assert_eq!(long.field("cache-control"), Some("max-age=86400"));
}

#[tokio::test]
async fn what_browsers_may_not_share_or_keep_stays_so_whatever_the_networks_own_directives_say() {
    let settings = ZoneSettings { browser_cache_ttl: 3600, ..ZoneSettings::default() };
    let world = World::with(CacheConfig::default(), settings);
    let all = ["private", "private, max-age=60", "no-store", "no-cache", "no-cache=\"a\", max-age=1"];
    for (index, said) in all.into_iter().enumerate() {
        let fields = [("cdn-cache-control", "max-age=600"), ("cache-control", said)];
        let path = format!("/{index}");
        let miss = world.fetch(&path, &[], &fields, "hello").await;
        assert_eq!((miss.cache_status(), miss.field("cache-control")), ("MISS", Some(said)));
    }
}

#[tokio::test]
async fn the_networks_own_directives_are_not_told_to_clients() {
    let world = World::new();
    let fields = [("cloudflare-cdn-cache-control", "max-age=60"), ("cdn-cache-control", "max-age=1")];
    let miss = world.fetch("/a", &[], &fields, "hello").await;
    assert_eq!(miss.field("cloudflare-cdn-cache-control"), None);
    assert_eq!(miss.field("cdn-cache-control"), Some("max-age=1"));
    assert!(world.from_cache("/a", &[]).await.says("of 60 (CDN-Cache-Control)"));
}

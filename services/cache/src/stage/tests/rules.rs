//! Cache rules of a zone: what they decide, and what a purge forgets of what they stored.

use serde_json::{Value, json};

use super::{super::*, harness::*};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn override_edge(seconds: u32) -> Value {
    json!({"edge_ttl": {"mode": "override_origin", "default": seconds}})
}

fn key(custom: Value) -> Value {
    json!({"cache_key": {"custom_key": custom}})
}

#[tokio::test]
async fn who_has_a_session_goes_past_the_cache_and_all_others_do_not() {
    let world = World::with_rules(&[("http.cookie contains \"session=\"", json!({"cache": false}))]);
    let anonymous = world.fetch("/a", &[], &[FRESH], "for all").await;
    assert_eq!(anonymous.cache_status(), "MISS");
    let session = [("cookie", "theme=dark; session=1")];
    for _ in 0..2 {
        let own = world.fetch("/a", &session, &[FRESH], "for one").await;
        assert_eq!((own.cache_status(), own.text()), ("BYPASS", "for one"));
        let words = "proxima; fwd=bypass; detail=\"a cache rule of the zone says so\"";
        assert_eq!(own.field("cache-status"), Some(words));
        assert!(own.says(&format!("rule {} (number 1) decides cache", "01".repeat(16))), "{:?}", own.trace);
    }
    // Several lines, as HTTP/2 has them.
    let split = [("cookie", "theme=dark"), ("cookie", "session=1")];
    assert_eq!(world.fetch("/a", &split, &[FRESH], "for one").await.cache_status(), "BYPASS");
    let hit = world.from_cache("/a", &[("cookie", "theme=dark")]).await;
    assert_eq!((hit.cache_status(), hit.text()), ("HIT", "for all"));
    assert!(!hit.says("decides"));
}

#[tokio::test]
async fn later_rules_override_earlier_ones_setting_by_setting() {
    let world = World::with_rules(&[
        ("true", json!({"cache": false, "browser_ttl": {"mode": "override_origin", "default": 5}})),
        ("starts_with(http.request.uri.path, \"/static/\")", json!({"cache": true})),
        ("false", json!({"cache": false})),
    ]);
    assert_eq!(world.fetch("/a", &[], &[FRESH], "x").await.cache_status(), "BYPASS");
    let miss = world.fetch("/static/a", &[], &[FRESH], "x").await;
    assert_eq!((miss.cache_status(), miss.field("cache-control")), ("MISS", Some("max-age=5")));
    assert!(miss.says("(number 2) decides cache") && miss.says("(number 1) decides browser_ttl"));
    assert_eq!(world.from_cache("/static/a", &[]).await.cache_status(), "HIT");
}

#[tokio::test(start_paused = true)]
async fn an_edge_lifetime_of_a_rule_stands_above_the_origins() {
    let world = World::with_rules(&[("true", override_edge(60))]);
    let fields = [("cache-control", "private, no-store"), ("set-cookie", "session=1"), ("age", "7")];
    let miss = world.fetch("/a", &[], &fields, "hello").await;
    // Who fetched it gets what came; the next one, no cookie.
    assert_eq!((miss.cache_status(), miss.field("set-cookie")), ("MISS", Some("session=1")));
    tokio::time::advance(Duration::from_secs(59)).await;
    let hit = world.from_cache("/a", &[]).await;
    assert_eq!((hit.cache_status(), hit.field("set-cookie")), ("HIT", None));
    assert_eq!(
        hit.field("cache-control"),
        Some("private, no-store"),
        "browsers are told what the origin says"
    );
    assert!(hit.says("(a cache rule)"), "{:?}", hit.trace);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(world.fetch("/a", &[], &fields, "anew").await.cache_status(), "EXPIRED");
    let authorized = [("authorization", "Basic eDp5")];
    assert_eq!(world.fetch("/b", &authorized, &[FRESH], "secret").await.cache_status(), "BYPASS");
}

#[tokio::test]
async fn statuses_have_lifetimes_of_their_own() {
    let ttl = json!({"edge_ttl": {"mode": "bypass_by_default", "status_code_ttl": [
        {"status_code": 404, "value": 60}, {"status_code_range": {"from": 500}, "value": -1},
    ]}});
    let world = World::with_rules(&[("true", ttl)]);
    for (target, status, fields, named) in [
        ("/missing", 404, &[("cache-control", "no-store")][..], "MISS"),
        ("/broken", 503, &[FRESH], "BYPASS"),
        ("/guess", 200, &[("last-modified", "Sun, 06 Nov 1994 07:49:37 GMT")], "BYPASS"),
        ("/said", 200, &[FRESH], "MISS"),
    ] {
        let client = world.get(target, &[]);
        world.call().await.answer(status, fields, "x");
        assert_eq!(client.await.expect("no panic").read().await.cache_status(), named, "{target}");
        settle().await;
    }
    assert_eq!(world.from_cache("/missing", &[]).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn browsers_are_told_what_a_rule_says_whatever_the_origin_says() {
    let rule = |mode: Value| json!({ "browser_ttl": mode });
    let world = World::with_rules(&[
        ("http.request.uri.path eq \"/a\"", rule(json!({"mode": "override_origin", "default": 10}))),
        ("http.request.uri.path eq \"/b\"", rule(json!({"mode": "bypass"}))),
        ("http.request.uri.path eq \"/c\"", rule(json!({"mode": "respect_origin"}))),
    ]);
    let fields = [("cache-control", "public, max-age=60"), ("expires", "Sun, 06 Nov 1994 08:50:37 GMT")];
    for (target, told) in [
        ("/a", "public, max-age=10"),
        ("/b", "no-store"),
        ("/c", "public, max-age=60"),
        ("/d", "public, max-age=60"),
    ] {
        let miss = world.fetch(target, &[], &fields, "x").await;
        assert_eq!(miss.field("cache-control"), Some(told), "{target}");
        assert_eq!(miss.field("expires").is_none(), matches!(target, "/a" | "/b"), "{target}");
    }
    tokio::time::advance(Duration::from_secs(20)).await;
    let hit = world.from_cache("/a", &[]).await;
    assert_eq!(hit.field("cache-control"), Some("public, max-age=30"), "browsers subtract the age");
}

#[tokio::test(start_paused = true)]
async fn nothing_stale_is_served_while_it_is_asked_about_if_a_rule_says_so() {
    let world =
        World::with_rules(&[("true", json!({"serve_stale": {"disable_stale_while_updating": true}}))]);
    let fields = [("cache-control", "max-age=1, stale-while-revalidate=600")];
    world.fetch("/a", &[], &fields, "old").await;
    tokio::time::advance(Duration::from_secs(2)).await;
    let anew = world.fetch("/a", &[], &fields, "new").await;
    assert_eq!((anew.cache_status(), anew.text()), ("EXPIRED", "new"));
}

#[tokio::test]
async fn a_query_counts_as_far_as_a_rule_says() {
    for (custom, same, other) in [
        (key(json!({"query_string": {"exclude": "*"}})), "/a?x=2", "/b?x=1"),
        (key(json!({"query_string": {"exclude": {"list": ["utm"]}}})), "/a?x=1&utm=9", "/a?x=2"),
        (key(json!({"query_string": {"include": ["x"]}})), "/a?y=3&x=1", "/a?x=1&x=1"),
        (json!({"cache_key": {"ignore_query_strings_order": true}}), "/a?x=1", "/a?x=1&x"),
    ] {
        let world = World::with_rules(&[("true", custom)]);
        let first = world.fetch("/a?x=1", &[], &[FRESH], "one").await;
        assert_eq!(first.cache_status(), "MISS");
        assert_eq!(world.from_cache(same, &[]).await.text(), "one", "{same}");
        assert_eq!(world.fetch(other, &[], &[FRESH], "two").await.text(), "two", "{other}");
    }
    let world = World::with_rules(&[("true", json!({"cache_key": {"ignore_query_strings_order": true}}))]);
    let client = world.get("/a?b=1&a=2", &[]);
    let call = world.call().await;
    assert_eq!(call.target, "/a?b=1&a=2", "the origin is asked as the client asked");
    call.answer(200, &[FRESH], "one");
    client.await.expect("no panic").read().await;
    settle().await;
    assert_eq!(world.from_cache("/a?a=2&b=1", &[]).await.text(), "one");
}

#[tokio::test]
async fn fields_and_cookies_count_as_far_as_a_rule_says() {
    let custom = key(json!({
        "header": {
            "include": ["X-Tier"], "check_presence": ["x-beta"], "contains": {"accept": ["webp"]},
            "exclude_origin": false,
        },
        "cookie": {"include": ["theme"], "check_presence": ["session"]},
        "user": {"lang": true},
    }));
    let world = World::with_rules(&[("true", custom)]);
    let all: [Fields<'_>; 8] = [
        &[],
        &[("x-tier", "gold")],
        &[("x-beta", "1")],
        &[("accept", "image/webp,*/*")],
        &[("origin", "https://other.test")],
        &[("cookie", "theme=dark")],
        &[("cookie", "session=1")],
        &[("accept-language", "de-AT, en;q=0.5")],
    ];
    for fields in all {
        let read = world.fetch("/a", fields, &[FRESH], "x").await;
        assert_eq!(read.cache_status(), "MISS", "{fields:?}");
    }
    let alike: [Fields<'_>; 6] = [
        &[("user-agent", "any")],
        &[("x-beta", "2")],
        &[("accept", "text/html,image/webp")],
        &[("cookie", "other=1; theme=dark")],
        &[("cookie", "session=2")],
        &[("accept-language", "de-at;q=0.7, fr")],
    ];
    for fields in alike {
        assert_eq!(world.from_cache("/a", fields).await.cache_status(), "HIT", "{fields:?}");
    }
}

#[tokio::test]
async fn a_purge_of_a_url_forgets_all_keys_that_rules_made_of_its_path() {
    let custom = key(json!({"query_string": {"exclude": "*"}, "cookie": {"include": ["theme"]}}));
    let world = World::with_rules(&[("not http.request.uri.path contains \"plain\"", custom)]);
    let dark = [("cookie", "theme=dark")];
    world.fetch("/a?x=1", &[], &[FRESH], "old").await;
    world.fetch("/a", &dark, &[FRESH], "old").await;
    world.fetch("/b", &[], &[FRESH], "kept").await;
    world.fetch("/plain?x=1", &[], &[FRESH], "kept").await;
    world.fetch("/plain?x=2", &[], &[FRESH], "old").await;
    // One that is on its way is forgotten with the rest.
    let red = [("cookie", "theme=red")];
    let client = world.get("/a", &red);
    let call = world.call().await;
    // By a URL that was never asked for itself.
    world.stage.forget(&world.key("/a?x=2"));
    world.stage.forget(&world.key("/plain?x=2"));
    call.answer(200, &[FRESH], "old");
    client.await.expect("no panic").read().await;
    settle().await;
    for (target, fields) in [("/a?x=1", &[][..]), ("/a", &dark), ("/a", &red), ("/plain?x=2", &[])] {
        let read = world.fetch(target, fields, &[FRESH], "new").await;
        assert_eq!((read.cache_status(), read.text()), ("MISS", "new"), "{target} {fields:?}");
    }
    for target in ["/b", "/plain?x=1"] {
        assert_eq!(world.from_cache(target, &[]).await.text(), "kept", "{target}");
    }
    // What a POST has changed is forgotten in the same way.
    let client = world.send(Method::POST, "/a?x=9", &[]);
    world.call().await.answer(204, &[], "");
    client.await.expect("no panic").read().await;
    assert_eq!(world.fetch("/a", &dark, &[FRESH], "newer").await.text(), "newer");
    // Purges by host, prefix and tag mean keys of rules, too.
    world.stage.store().purge_names(world.zone(), &[prefix("example.test/a")]);
    assert_eq!(world.fetch("/a", &dark, &[FRESH], "newest").await.text(), "newest");
}

#[tokio::test]
async fn a_page_under_the_name_of_a_picture_is_not_stored_if_a_rule_says_so() {
    let world = World::with_rules(&[("true", json!({"cache_key": {"cache_deception_armor": true}}))]);
    let page = [FRESH, ("content-type", "text/html")];
    let own = world.fetch("/account/x.jpg", &[], &page, "private").await;
    assert_eq!(own.cache_status(), "BYPASS");
    assert!(own.field("cache-status").is_some_and(|said| said.contains("type of the URL's extension")));
    world.fetch("/y.jpg", &[], &[FRESH, ("content-type", "image/jpeg")], "a picture").await;
    assert_eq!(world.from_cache("/y.jpg", &[]).await.text(), "a picture");
}

#[tokio::test]
async fn origins_are_asked_for_one_of_a_few_sets_of_codings() {
    let world = World::new();
    let fields = [FRESH, ("vary", "accept-encoding"), ("content-encoding", "gzip")];
    let client = world.get("/a", &[("accept-encoding", "gzip, deflate, br;q=0.9, zstd")]);
    let call = world.call().await;
    assert_eq!(call.headers.get_all("accept-encoding").iter().collect::<Vec<_>>(), ["br, gzip"]);
    call.answer(200, &fields, "coded");
    client.await.expect("no panic").read().await;
    settle().await;
    for alike in ["br, gzip", "gzip;q=0.2, BR, *;q=0"] {
        assert_eq!(
            world.from_cache("/a", &[("accept-encoding", alike)]).await.cache_status(),
            "HIT",
            "{alike}"
        );
    }
    let only = world.fetch("/a", &[("accept-encoding", "gzip, br;q=0")], &fields, "other").await;
    assert_eq!(only.text(), "other");
    // Where answers are not expected to be stored, the client's own exchange goes: it keeps what it accepts.
    for _ in 0..2 {
        world.fetch("/api/a", &[], &[("cache-control", "no-store")], "x").await;
        world.fetch("/api/b", &[], &[("cache-control", "no-store")], "x").await;
    }
    let client = world.get("/api/c", &[("accept-encoding", "deflate")]);
    let call = world.call().await;
    assert_eq!(call.headers["accept-encoding"], "identity");
    call.answer(200, &[FRESH], "x");
    assert_eq!(client.await.expect("no panic").read().await.cache_status(), "MISS");
}

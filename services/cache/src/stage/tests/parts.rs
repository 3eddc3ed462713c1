//! Parts of what is not stored whole, answers to POST, and languages.

use super::{super::*, harness::*};

const PART: Fields<'_> = &[("range", "bytes=0-1")];

/// Answers a request of the first two octets of ten as the origin.
async fn fetch_part(world: &Arc<World>, request: Fields<'_>) -> Read {
    let client = world.get("/a", request);
    let call = world.call().await;
    assert_eq!(call.headers.get("range").expect("kept"), "bytes=0-1");
    let fields = [("cache-control", "max-age=60"), ("etag", "\"1\""), ("content-range", "bytes 0-1/10")];
    call.answer(206, &fields, "01");
    let read = client.await.expect("no panic").read().await;
    settle().await;
    read
}

#[tokio::test]
async fn a_part_answers_requests_of_the_same_part_and_no_others() {
    let world = World::new();
    let miss = fetch_part(&world, PART).await;
    assert_eq!((miss.status, miss.cache_status(), miss.text()), (206, "MISS", "01"));
    let hit = world.from_cache("/a", PART).await;
    assert_eq!((hit.status, hit.cache_status(), hit.text()), (206, "HIT", "01"));
    assert_eq!(hit.field("content-range"), Some("bytes 0-1/10"));
    let not_modified = world.from_cache("/a", &[PART[0], ("if-none-match", "\"1\"")]).await;
    assert_eq!(not_modified.status, 304);
    for (method, fields) in [
        (Method::GET, &[][..]),
        (Method::GET, &[("range", "bytes=0-0")]),
        (Method::GET, &[PART[0], ("if-range", "\"2\"")]),
        (Method::HEAD, PART),
    ] {
        let client = world.send(method, "/a", fields);
        world.call().await.answer(200, &[("cache-control", "no-store")], "");
        assert_eq!(client.await.expect("no panic").read().await.status, 200, "{fields:?}");
    }
}

#[tokio::test]
async fn a_whole_that_comes_after_its_part_answers_all_of_its_parts() {
    let world = World::new();
    fetch_part(&world, PART).await;
    world.fetch("/a", &[], &[("cache-control", "max-age=60")], "abcdefghij").await;
    assert_eq!(world.from_cache("/a", PART).await.text(), "ab");
    assert_eq!(world.from_cache("/a", &[("range", "bytes=-2")]).await.text(), "ij");
    assert_eq!(world.from_cache("/a", &[]).await.text(), "abcdefghij");
}

#[tokio::test]
async fn a_whole_that_the_origin_sends_for_a_part_is_cut_here() {
    let world = World::new();
    let client = world.get("/a", &[("range", "bytes=2-3")]);
    world.call().await.answer(200, &[("cache-control", "max-age=60")], "0123456789");
    let read = client.await.expect("no panic").read().await;
    assert_eq!((read.status, read.text()), (206, "23"));
    settle().await;
    assert_eq!(world.from_cache("/a", &[]).await.text(), "0123456789");
}

#[tokio::test]
async fn what_a_part_is_refused_with_is_not_the_answer_for_the_whole() {
    let world = World::new();
    let client = world.get("/a", &[("range", "bytes=99-")]);
    let fields = [("cache-control", "max-age=60"), ("content-range", "bytes */10")];
    world.call().await.answer(416, &fields, "");
    assert_eq!(client.await.expect("no panic").read().await.status, 416);
    settle().await;
    assert_eq!(world.from_cache("/a", &[("range", "bytes=99-")]).await.status, 416);
    let client = world.get("/b", &[("range", "bytes=99-")]);
    world.call().await.answer(416, &[("content-range", "bytes */10")], "");
    client.await.expect("no panic").read().await;
    for target in ["/a", "/b"] {
        let read = world.fetch(target, &[], &[("cache-control", "max-age=60")], "0123456789").await;
        assert_eq!((read.cache_status(), read.text()), ("MISS", "0123456789"));
    }
}

#[tokio::test]
async fn ranges_of_what_is_too_large_to_keep_go_to_the_origin_all_at_once() {
    for announced in [true, false] {
        let config = CacheConfig { memory_bytes_max: 1 << 20, ..CacheConfig::default() };
        let world = World::with(config, proxima_model::ZoneSettings::default());
        let large = vec![b'x'; 1 << 20];
        let body = if announced { Body::full(large) } else { unannounced(large) };
        let rest = ("range", "bytes=0-");
        let client = world.get("/a", &[rest]);
        let fields = [("cache-control", "max-age=60"), ("content-range", "bytes 0-1048575/1048576")];
        world.call().await.respond(response(206, &fields, body));
        let read = client.await.expect("no panic").read().await;
        assert_eq!((read.status, read.body.expect("whole").len()), (206, 1 << 20));
        settle().await;

        let other = ("range", "bytes=524288-");
        let clients = [rest, rest, other, other].map(|range| world.get("/a", &[range]));
        // None is answered before all have asked.
        let mut calls = Vec::new();
        for _ in 0..clients.len() {
            let asked = tokio::time::timeout(Duration::from_secs(5), world.call()).await;
            calls.push(asked.unwrap_or_else(|_| panic!("they wait for each other (announced: {announced})")));
        }
        for call in calls {
            call.answer(206, &[("content-range", "bytes 0-0/1048576")], "x");
        }
        for client in clients {
            assert_eq!(client.await.expect("no panic").read().await.status, 206);
        }
    }
}

/// Content that does not say how much it is.
fn unannounced(content: Vec<u8>) -> Body {
    let (mut sender, body) = Body::channel(1, None);
    tokio::spawn(async move {
        sender.send(content.into()).await.expect("read");
        sender.finish().await;
    });
    body
}

#[tokio::test(start_paused = true)]
async fn a_stale_part_is_confirmed_as_a_part() {
    let world = World::new();
    fetch_part(&world, PART).await;
    tokio::time::advance(Duration::from_secs(61)).await;
    let client = world.get("/a", PART);
    let call = world.call().await;
    assert_eq!(call.headers, map(&[("range", "bytes=0-1"), ("if-none-match", "\"1\"")]));
    call.answer(304, &[("cache-control", "max-age=60")], "");
    let read = client.await.expect("no panic").read().await;
    assert_eq!((read.status, read.cache_status(), read.text()), (206, "REVALIDATED", "01"));
    assert_eq!(world.from_cache("/a", PART).await.text(), "01");
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_to_be_stored_no_more_is_forgotten_without_the_others() {
    let world = World::new();
    fetch_part(&world, PART).await;
    tokio::time::advance(Duration::from_secs(61)).await;
    let other = [("range", "bytes=2-3")];
    let client = world.get("/a", &other);
    let fields = [("cache-control", "max-age=60"), ("etag", "\"1\""), ("content-range", "bytes 2-3/10")];
    world.call().await.answer(206, &fields, "23");
    client.await.expect("no panic").read().await;
    settle().await;

    let client = world.get("/a", PART);
    world.call().await.answer(304, &[("cache-control", "no-store")], "");
    assert_eq!(client.await.expect("no panic").read().await.text(), "01");
    settle().await;
    assert_eq!(world.from_cache("/a", &other).await.text(), "23");
    let client = world.get("/a", PART);
    let call = world.call().await;
    assert!(!call.headers.contains_key("if-none-match"), "it is stored no more");
    call.answer(206, &fields, "01");
    client.await.expect("no panic").read().await;
}

#[tokio::test]
async fn an_answer_to_post_that_is_what_a_get_would_bring_answers_gets() {
    let world = World::new();
    world.fetch("/a", &[], &[("cache-control", "max-age=60")], "old").await;
    let client = world.send(Method::POST, "/a", &[]);
    let fields = [("cache-control", "max-age=60"), ("content-location", "/a")];
    world.call().await.answer(200, &fields, "new");
    let read = client.await.expect("no panic").read().await;
    assert_eq!((read.cache_status(), read.text()), ("DYNAMIC", "new"));
    settle().await;
    let hit = world.from_cache("/a", &[]).await;
    assert_eq!((hit.cache_status(), hit.text()), ("HIT", "new"));
    assert_eq!(hit.field("cache-status"), Some("proxima; hit"));
}

#[tokio::test]
async fn an_answer_to_post_that_was_purged_on_its_way_is_not_stored() {
    let world = World::new();
    let client = world.send(Method::POST, "/a", &[]);
    let call = world.call().await;
    world.stage.store().purge_zone(world.zone());
    call.answer(200, &[("cache-control", "max-age=60"), ("content-location", "/a")], "new");
    assert_eq!(client.await.expect("no panic").read().await.text(), "new");
    settle().await;
    world.fetch("/a", &[], &[], "asked again").await;
}

#[tokio::test]
async fn an_answer_to_post_whose_url_was_purged_on_its_way_is_not_stored() {
    let world = World::new();
    let client = world.send(Method::POST, "/a", &[]);
    let call = world.call().await;
    world.stage.forget(&world.key("/a"));
    call.answer(200, &[("cache-control", "max-age=60"), ("content-location", "/a")], "old");
    assert_eq!(client.await.expect("no panic").read().await.text(), "old");
    settle().await;
    world.fetch("/a", &[], &[], "asked again").await;
}

#[tokio::test]
async fn an_answer_to_post_that_another_field_may_have_chosen_is_not_stored() {
    let world = World::new();
    let client = world.send(Method::POST, "/a", &[("x-forwarded-host", "evil.test")]);
    let fields = [("cache-control", "max-age=60"), ("content-location", "/a")];
    world.call().await.answer(200, &fields, "evil");
    assert_eq!(client.await.expect("no panic").read().await.text(), "evil");
    settle().await;
    world.fetch("/a", &[], &[], "good").await;
}

#[tokio::test]
async fn who_prefers_a_language_to_all_others_gets_what_is_stored_in_it() {
    let world = World::new();
    let fields = [("cache-control", "max-age=60"), ("vary", "accept-language"), ("content-language", "de")];
    world.fetch("/a", &[("accept-language", "en, de")], &fields, "hallo").await;
    let preferring = [("accept-language", "fr;q=0.5, de;q=1.0")];
    assert_eq!(world.from_cache("/a", &preferring).await.text(), "hallo");
    let read = world.fetch("/a", &[("accept-language", "es, de")], &fields, "encore hallo").await;
    assert_eq!(read.cache_status(), "MISS");
    assert_eq!(world.from_cache("/a", &preferring).await.text(), "encore hallo");
}

#[tokio::test]
async fn what_somebody_got_instead_of_their_first_choice_is_nobody_elses() {
    let fields = [("cache-control", "max-age=60"), ("vary", "accept-language"), ("content-language", "de")];
    for compromise in ["fr, de;q=0.9", "de-CH, de;q=0.9", "*"] {
        let world = World::new();
        world.fetch("/a", &[("accept-language", compromise)], &fields, "grüezi").await;
        let read = world.fetch("/a", &[("accept-language", "de, en;q=0.1")], &fields, "hallo").await;
        assert_eq!((read.cache_status(), read.text()), ("MISS", "hallo"), "{compromise}");
        assert_eq!(world.from_cache("/a", &[("accept-language", compromise)]).await.text(), "grüezi");
    }
}

#[tokio::test]
async fn the_standard_field_says_what_the_cache_did_beside_those_behind() {
    let world = World::new();
    let fields = [("cache-control", "max-age=60"), ("cache-status", "shield; hit")];
    let read = world.fetch("/a", &[], &fields, "").await;
    let said: Vec<_> = read.headers.get_all("cache-status").iter().collect();
    assert_eq!(said, ["shield; hit", "proxima; fwd=uri-miss; stored"]);
    let refused = world.fetch("/b", &[], &[("cache-control", "private")], "").await;
    assert_eq!(refused.field("cache-status"), Some("proxima; fwd=uri-miss; detail=\"private\""));
    let passed = world.fetch("/a", &[("if-match", "*")], &[], "").await;
    assert!(
        passed.field("cache-status").is_some_and(|said| said.starts_with("proxima; fwd=bypass; detail="))
    );
}

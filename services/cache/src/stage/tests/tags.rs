//! Tags: kept with what is stored, shown to no client, and what a purge of them forgets.

use bytes::Bytes;

use super::{super::*, harness::*};
use crate::marks::Mark;

const FRESH: (&str, &str) = ("cache-control", "max-age=60");
const TAGGED: [(&str, &str); 2] = [FRESH, ("cache-tag", "Product-7, shop")];

impl World {
    fn purge(&self, names: &[Mark]) {
        self.stage.store().purge_names(self.zone(), names);
    }
}

#[tokio::test]
async fn a_purge_of_a_tag_forgets_what_has_it_and_nothing_else() {
    let world = World::new();
    world.fetch("/a", &[], &TAGGED, "old").await;
    world.fetch("/b", &[], &[FRESH, ("cache-tag", "product-8,shop")], "old").await;
    world.fetch("/c", &[], &[FRESH], "old").await;
    world.purge(&[tag("product-7"), tag("product-9")]);
    for target in ["/b", "/c"] {
        assert_eq!(world.from_cache(target, &[]).await.text(), "old");
    }
    assert_eq!(world.fetch("/a", &[], &TAGGED, "new").await.cache_status(), "MISS");
    assert_eq!(world.from_cache("/a", &[]).await.text(), "new");
    world.purge(&[tag("SHOP")]);
    for target in ["/a", "/b"] {
        assert_eq!(world.fetch(target, &[], &TAGGED, "newer").await.cache_status(), "MISS");
    }
    assert_eq!(world.from_cache("/c", &[]).await.text(), "old");
}

#[tokio::test]
async fn all_variants_and_head_are_forgotten_with_a_tag() {
    let world = World::new();
    let varied = [TAGGED[0], TAGGED[1], ("vary", "accept-language")];
    for language in ["en", "de"] {
        world.fetch("/a", &[("accept-language", language)], &varied, "old").await;
    }
    let head = || world.send(Method::HEAD, "/a", &[("accept-language", "en")]);
    assert_eq!(head().await.expect("no panic").cache_status(), "HIT");
    world.purge(&[tag("shop")]);
    let asked = head();
    world.call().await.answer(200, &varied, "");
    assert_eq!(asked.await.expect("no panic").cache_status(), "MISS");
    for language in ["en", "de"] {
        let read = world.fetch("/a", &[("accept-language", language)], &varied, "new").await;
        assert_eq!(read.cache_status(), "MISS");
    }
}

#[tokio::test]
async fn no_client_gets_the_tags_however_it_is_answered() {
    let world = World::new();
    let mut answers = vec![
        world.fetch("/a", &[], &TAGGED, "shared").await,
        world.from_cache("/a", &[]).await,
        world.from_cache("/a", &[("range", "bytes=0-1")]).await,
        world.fetch("/b", &[], &[("cache-control", "private"), TAGGED[1]], "refused").await,
        // Now that nothing of this folder is expected to be stored: run by the client's own exchange.
        world.fetch("/b2", &[], &[("cache-control", "private"), TAGGED[1]], "refused").await,
        world
            .fetch("/b3", &[], &[("cache-control", "max-age=60, private=\"cache-tag\""), TAGGED[1]], "own")
            .await,
        world
            .fetch("/c/d", &[], &[("cache-control", "max-age=60, no-cache=\"cache-tag\""), TAGGED[1]], "x")
            .await,
    ];
    for (method, status) in [(Method::POST, 200), (Method::GET, 500), (Method::HEAD, 200)] {
        let client = world.send(method, "/e/f", &[("cookie", "a=b")]);
        world.call().await.answer(status, &[TAGGED[1]], "");
        answers.push(client.await.expect("no panic").read().await);
    }
    world.fetch("/g/h", &[], &[("cache-control", "max-age=0"), ("etag", "\"1\""), TAGGED[1]], "x").await;
    let client = world.get("/g/h", &[]);
    world.call().await.answer(304, &[FRESH, ("etag", "\"1\""), ("cache-tag", "later")], "");
    answers.push(client.await.expect("no panic").read().await);
    for read in answers {
        assert_eq!(read.field("cache-tag"), None, "{:?}", read.trace);
    }
}

#[tokio::test]
async fn a_purge_of_a_tag_during_a_fetch_keeps_its_answer_from_later_requests() {
    let world = World::new();
    // Before the head is known, any tag may be its own.
    let first = world.get("/a", &[]);
    let call = world.call().await;
    world.purge(&[tag("shop")]);
    let second = world.get("/a", &[]);
    let newer = world.call().await;
    call.answer(200, &TAGGED, "old");
    assert_eq!(first.await.expect("no panic").read().await.text(), "old");
    // While its content comes, its tags are known.
    let mut sender = newer.stream(&TAGGED, None);
    let reader = second.await.expect("no panic");
    sender.send(Bytes::from_static(b"new")).await.expect("read");
    world.purge(&[tag("other")]);
    let joined = world.get("/a", &[]);
    assert!(world.origin_is_quiet().await, "nothing of it was purged");
    world.purge(&[tag("product-7")]);
    let third = world.get("/a", &[]);
    world.call().await.answer(200, &TAGGED, "newest");
    assert_eq!(third.await.expect("no panic").read().await.text(), "newest");
    sender.finish().await;
    assert_eq!(reader.read().await.text(), "new");
    assert_eq!(joined.await.expect("no panic").read().await.text(), "new");
    settle().await;
    assert_eq!(world.from_cache("/a", &[]).await.text(), "newest");
}

#[tokio::test]
async fn a_purge_of_a_prefix_during_a_fetch_does_the_same_for_what_lies_beneath_it() {
    let world = World::new();
    let clients = [world.get("/a/x", &[]), world.get("/b", &[])];
    let calls = [world.call().await, world.call().await];
    world.purge(&[prefix("example.test/a")]);
    let waits = world.get("/b", &[]);
    assert!(world.origin_is_quiet().await, "nothing of it was purged");
    for call in calls {
        call.answer(200, &[FRESH], "asked for before");
    }
    for client in clients {
        client.await.expect("no panic").read().await;
    }
    waits.await.expect("no panic").read().await;
    settle().await;
    assert_eq!(world.from_cache("/b", &[]).await.text(), "asked for before");
    assert_eq!(world.fetch("/a/x", &[], &[FRESH], "new").await.cache_status(), "MISS");
}

#[tokio::test]
async fn a_304_keeps_the_tags_unless_it_brings_others_and_a_purge_of_either_forgets_it() {
    const STALE: (&str, &str) = ("cache-control", "max-age=0");
    for (brought, purged, found) in [
        (None, "first", false),
        (None, "second", true),
        (Some("second"), "second", false),
        (Some("second"), "first", true),
    ] {
        let world = World::new();
        world.fetch("/a", &[], &[STALE, ("etag", "\"1\""), ("cache-tag", "first")], "x").await;
        let client = world.get("/a", &[]);
        let mut fields = vec![FRESH, ("etag", "\"1\"")];
        fields.extend(brought.map(|tag| ("cache-tag", tag)));
        world.call().await.answer(304, &fields, "");
        assert_eq!(client.await.expect("no panic").cache_status(), "REVALIDATED");
        settle().await;
        world.purge(&[tag(purged)]);
        if found {
            world.from_cache("/a", &[]).await;
        } else {
            assert_eq!(world.fetch("/a", &[], &[FRESH], "new").await.cache_status(), "MISS");
        }
    }
    // While it is being confirmed, it has the former ones.
    let world = World::new();
    world.fetch("/a", &[], &[STALE, ("etag", "\"1\""), ("cache-tag", "first")], "x").await;
    let client = world.get("/a", &[]);
    let call = world.call().await;
    world.purge(&[tag("first")]);
    call.answer(304, &[FRESH, ("etag", "\"1\""), ("cache-tag", "second")], "");
    client.await.expect("no panic").read().await;
    settle().await;
    assert_eq!(world.fetch("/a", &[], &[FRESH], "new").await.cache_status(), "MISS");
}

#[tokio::test]
async fn the_answer_to_a_post_is_not_stored_if_its_tag_was_purged_meanwhile() {
    let posted = [FRESH, ("content-location", "http://example.test/a"), ("cache-tag", "shop")];
    for (purged, stored) in [("shop", false), ("other", true)] {
        let world = World::new();
        let client = world.send(Method::POST, "/a", &[]);
        let call = world.call().await;
        world.purge(&[tag(purged)]);
        call.answer(200, &posted, "posted");
        let read = client.await.expect("no panic").read().await;
        assert_eq!((read.text(), read.field("cache-tag")), ("posted", None));
        settle().await;
        if stored {
            assert_eq!(world.from_cache("/a", &[]).await.text(), "posted");
        } else {
            assert_eq!(world.fetch("/a", &[], &[FRESH], "new").await.cache_status(), "MISS");
        }
    }
}

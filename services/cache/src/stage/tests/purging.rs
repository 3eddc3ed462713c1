//! What is forgotten is not served any more.

use bytes::Bytes;

use super::{super::*, harness::*};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

#[tokio::test]
async fn a_purge_of_the_zone_during_a_fetch_keeps_its_answer_from_later_requests() {
    let world = World::new();
    let client = world.get("/a", &[]);
    let mut sender = world.call().await.stream(&[FRESH], None);
    let reader = client.await.expect("no panic");
    sender.send(Bytes::from_static(b"old")).await.expect("read");
    world.stage.store().purge_zone(world.zone());
    // While it is still on its way: a new request does not join, but asks anew.
    let fresh = world.get("/a", &[]);
    world.call().await.answer(200, &[FRESH], "new");
    assert_eq!(fresh.await.expect("no panic").read().await.text(), "new");
    sender.finish().await;
    // Who asked before the purge gets what was asked for, and it is not stored over the newer one.
    assert_eq!(reader.read().await.text(), "old");
    settle().await;
    assert_eq!(world.from_cache("/a", &[]).await.text(), "new");
}

#[tokio::test]
async fn a_purge_of_a_url_during_a_fetch_does_the_same_for_it_alone() {
    let world = World::new();
    let clients = [world.get("/a", &[]), world.get("/b", &[])];
    let calls = [world.call().await, world.call().await];
    world.stage.forget(&world.key("/a"));
    for call in calls {
        call.answer(200, &[FRESH], "asked for before");
    }
    for client in clients {
        assert_eq!(client.await.expect("no panic").read().await.text(), "asked for before");
    }
    settle().await;
    assert_eq!(world.from_cache("/b", &[]).await.text(), "asked for before");
    assert_eq!(world.fetch("/a", &[], &[FRESH], "new").await.cache_status(), "MISS");
}

#[tokio::test]
async fn a_purge_while_a_stale_answer_is_being_confirmed_forgets_it() {
    let world = World::new();
    world.fetch("/a", &[], &[("cache-control", "max-age=0"), ("etag", "\"1\"")], "old").await;
    let client = world.get("/a", &[]);
    let call = world.call().await;
    world.stage.store().purge_zone(world.zone());
    call.answer(304, &[FRESH], "");
    assert_eq!(client.await.expect("no panic").read().await.text(), "old");
    settle().await;
    let client = world.get("/a", &[]);
    let call = world.call().await;
    assert_eq!(call.headers, map(&[]));
    call.answer(200, &[FRESH], "new");
    assert_eq!(client.await.expect("no panic").read().await.text(), "new");
}

#[tokio::test]
async fn an_unsafe_request_that_succeeds_forgets_what_it_may_have_changed() {
    let world = World::new();
    for target in ["/a", "/b", "/c"] {
        world.fetch(target, &[], &[FRESH], "old").await;
    }
    let client = world.send(Method::POST, "/a", &[]);
    let call = world.call().await;
    assert_eq!((call.method.clone(), call.target.as_str()), (Method::POST, "/a"));
    call.answer(303, &[("location", "/b")], "");
    let read = client.await.expect("no panic").read().await;
    assert_eq!(read.cache_status(), "DYNAMIC");
    assert!(
        read.says("forgotten, because POST may have changed it: http://example.test/b"),
        "{:?}",
        read.trace
    );
    world.fetch("/a", &[], &[FRESH], "new").await;
    world.fetch("/b", &[], &[FRESH], "new").await;
    assert_eq!(world.from_cache("/c", &[]).await.text(), "old");
}

#[tokio::test]
async fn an_unsafe_request_that_fails_forgets_nothing() {
    let world = World::new();
    world.fetch("/a", &[], &[FRESH], "old").await;
    let client = world.send(Method::DELETE, "/a", &[]);
    world.call().await.answer(500, &[], "");
    client.await.expect("no panic");
    let client = world.send(Method::DELETE, "/a", &[]);
    world.call().await.fail(Fault::OriginDown);
    client.await.expect("no panic");
    assert_eq!(world.from_cache("/a", &[]).await.text(), "old");
}

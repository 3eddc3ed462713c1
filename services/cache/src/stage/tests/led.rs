//! Fetches that the client's own exchange runs: in all but that like the others.

use bytes::Bytes;
use futures_util::future::join_all;

use super::{super::*, harness::*};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");
const PRIVATE: (&str, &str) = ("cache-control", "private");
const LED: &str = "the last answers from that folder were not to be";

/// A world in which the answers of `/api/` have lately not been for a cache.
async fn world() -> Arc<World> {
    let world = World::new();
    for target in ["/api/1", "/api/2"] {
        let read = world.fetch(target, &[], &[PRIVATE], "mine").await;
        assert!(!read.says(LED), "nothing is expected yet");
    }
    world
}

#[tokio::test]
async fn an_answer_that_is_refused_as_expected_says_what_any_says() {
    let world = world().await;
    let read = world.fetch("/api/3", &[("cookie", "a=b")], &[PRIVATE], "mine").await;
    assert!(read.says(LED) && read.says("not stored: private"), "{:?}", read.trace);
    assert_eq!((read.text(), read.cache_status()), ("mine", "BYPASS"));
    assert_eq!(read.field("cache-status"), Some("proxima; fwd=uri-miss; detail=\"private\""));
    assert_eq!(world.metrics.fills.get(), 0);
    // A URL that nobody waited for is not remembered by itself.
    assert_eq!(world.stage.store().pass(&world.key("/api/3")), None);
}

#[tokio::test]
async fn an_origin_does_not_speak_as_another_server_of_ours() {
    let world = world().await;
    let left = ("proxima-tier-left", "1");
    let refused = world.fetch("/api/3", &[], &[PRIVATE, left], "mine").await;
    assert!(refused.says(LED) && refused.field(left.0).is_none());
    let passed = world.fetch("/api/3", &[("x-host", "a")], &[FRESH, left], "mine").await;
    assert!(passed.says("passed by") && passed.field(left.0).is_none());
    let stored = world.fetch("/api/4", &[], &[FRESH, left], "everybody's").await;
    assert!(stored.says(LED) && stored.field(left.0).is_none());
    assert!(world.from_cache("/api/4", &[]).await.field(left.0).is_none());
}

#[tokio::test]
async fn whoever_waits_for_what_is_refused_asks_for_itself_at_once() {
    let world = world().await;
    let leader = world.get("/api/3", &[]);
    let call = world.call().await;
    let waiters: Vec<_> = (0..3).map(|_| world.get("/api/3", &[])).collect();
    assert!(world.origin_is_quiet().await);
    call.answer(200, &[PRIVATE], "the leader's");
    assert_eq!(leader.await.expect("no panic").read().await.text(), "the leader's");
    for call in [world.call().await, world.call().await, world.call().await] {
        call.answer(200, &[PRIVATE], "a waiter's");
    }
    for waiter in join_all(waiters).await {
        assert_eq!(waiter.expect("no panic").read().await.text(), "a waiter's");
    }
    assert!(world.stage.store().pass(&world.key("/api/3")).is_some());
}

#[tokio::test]
async fn what_proves_to_be_storable_is_shared_while_it_comes_and_stored() {
    let world = world().await;
    let leader = world.get("/api/3", &[]);
    let call = world.call().await;
    let waiter = world.get("/api/3", &[]);
    settle().await;
    let fields = [("cache-control", "max-age=60, private=\"x-own\""), ("x-own", "1")];
    let mut sender = call.stream(&fields, None);
    sender.send(Bytes::from_static(b"first ")).await.expect("read");
    let (mut leader, waiter) = (leader.await.expect("no panic"), waiter.await.expect("no panic"));
    assert_eq!(leader.piece().await, Some(Ok(Bytes::from_static(b"first "))));
    assert_eq!((leader.cache_status(), waiter.cache_status()), ("MISS", "HIT"));
    assert_eq!(leader.response.headers["x-own"], "1");
    sender.send(Bytes::from_static(b"last")).await.expect("read");
    sender.finish().await;
    assert_eq!(leader.read().await.text(), "last");
    let waiter = waiter.read().await;
    assert_eq!((waiter.text(), waiter.field("x-own")), ("first last", None));
    assert_eq!(world.from_cache("/api/3", &[]).await.text(), "first last");
    let next = world.fetch("/api/4", &[], &[PRIVATE], "mine").await;
    assert!(!next.says(LED), "the folder is not what it was taken for");
}

#[tokio::test]
async fn a_leader_that_leaves_before_the_head_is_followed_by_one_who_waits() {
    let world = world().await;
    let leader = world.get("/api/3", &[]);
    let call = world.call().await;
    let waiters: Vec<_> = (0..3).map(|_| world.get("/api/3", &[])).collect();
    settle().await;
    leader.abort();
    settle().await;
    assert!(call.is_cancelled());
    world.call().await.answer(200, &[FRESH], "hello");
    for waiter in join_all(waiters).await {
        assert_eq!(waiter.expect("no panic").read().await.text(), "hello");
    }
    assert!(world.origin_is_quiet().await);
}

#[tokio::test]
async fn a_leader_that_leaves_while_it_reads_does_not_end_what_is_to_be_stored() {
    let world = world().await;
    let leader = world.get("/api/3", &[]);
    let mut sender = world.call().await.stream(&[FRESH], None);
    drop(leader.await.expect("no panic"));
    sender.send(Bytes::from_static(b"hello")).await.expect("the fetch goes on");
    sender.finish().await;
    settle().await;
    assert_eq!(world.from_cache("/api/3", &[]).await.text(), "hello");
}

#[tokio::test]
async fn the_origins_faults_are_told_to_all() {
    let world = world().await;
    let clients: Vec<_> = (0..3).map(|_| world.get("/api/3", &[])).collect();
    let call = world.call().await;
    settle().await;
    call.fail(Fault::OriginDown);
    for client in join_all(clients).await {
        assert_eq!(client.expect("no panic").read().await.status, 521);
    }
    let client = world.get("/api/3", &[]);
    world.call().await.answer(304, &[], "");
    assert_eq!(client.await.expect("no panic").read().await.status, 520);
}

#[tokio::test]
async fn what_was_purged_on_its_way_is_not_stored() {
    let world = world().await;
    let client = world.get("/api/3", &[]);
    let call = world.call().await;
    world.stage.forget(&world.key("/api/3"));
    call.answer(200, &[FRESH], "old");
    assert_eq!(client.await.expect("no panic").read().await.text(), "old");
    settle().await;
    world.fetch("/api/3", &[], &[FRESH], "new").await;
}

#[tokio::test]
async fn a_request_with_a_condition_is_fetched_without_it() {
    let world = world().await;
    let client = world.get("/api/3", &[("if-none-match", "\"1\"")]);
    let call = world.call().await;
    assert_eq!(call.headers, map(&[]));
    call.answer(200, &[FRESH, ("etag", "\"1\"")], "hello");
    assert_eq!(client.await.expect("no panic").read().await.status, 304);
}

#[tokio::test]
async fn a_url_that_is_too_large_to_keep_is_remembered_by_itself() {
    let world = world().await;
    let client = world.get("/api/3", &[]);
    let _sender = world.call().await.stream(&[FRESH], Some(1 << 40));
    assert_eq!(client.await.expect("no panic").cache_status(), "BYPASS");
    assert_eq!(world.stage.store().pass(&world.key("/api/3")), Some(Refusal::TooLarge));
}

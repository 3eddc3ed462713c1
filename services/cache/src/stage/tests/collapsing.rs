//! Requests for the same at the same time.

use bytes::Bytes;
use futures_util::future::join_all;

use super::{super::*, harness::*};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

#[tokio::test]
async fn concurrent_misses_make_one_fetch_and_all_read_before_its_end() {
    let world = World::new();
    let clients: Vec<_> = (0..50).map(|_| world.get("/a", &[])).collect();
    let mut sender = world.call().await.stream(&[FRESH], None);
    sender.send(Bytes::from_static(b"first ")).await.expect("read");
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.expect("no panic"));
    }
    for answer in &mut answers {
        assert_eq!(answer.piece().await, Some(Ok(Bytes::from_static(b"first "))));
    }
    // Somebody who comes while it grows gets all of it, too.
    let late = world.get("/a", &[]).await.expect("no panic");
    assert_eq!(late.cache_status(), "HIT");
    sender.send(Bytes::from_static(b"last")).await.expect("read");
    sender.finish().await;
    assert_eq!(answers.iter().filter(|answer| answer.cache_status() == "MISS").count(), 1);
    for answer in answers {
        assert_eq!(answer.read().await.text(), "last");
    }
    assert_eq!(late.read().await.text(), "first last");
    assert_eq!(world.from_cache("/a", &[]).await.text(), "first last");
    assert_eq!(world.metrics.collapsed.get(), 50);
}

#[tokio::test]
async fn a_leader_that_leaves_before_the_head_takes_nobody_along() {
    let world = World::new();
    let leader = world.get("/a", &[]);
    let call = world.call().await;
    let waiters: Vec<_> = (0..5).map(|_| world.get("/a", &[])).collect();
    settle().await;
    leader.abort();
    settle().await;
    assert!(!call.is_cancelled());
    call.answer(200, &[FRESH], "hello");
    for waiter in join_all(waiters).await {
        assert_eq!(waiter.expect("no panic").read().await.text(), "hello");
    }
    assert_eq!(world.from_cache("/a", &[]).await.text(), "hello");
}

#[tokio::test]
async fn a_leader_that_leaves_while_it_reads_takes_nobody_along() {
    let world = World::new();
    let leader = world.get("/a", &[]);
    let mut sender = world.call().await.stream(&[FRESH], Some(10));
    let mut leader = leader.await.expect("no panic");
    let waiter = world.get("/a", &[]).await.expect("no panic");
    sender.send(Bytes::from_static(b"01234")).await.expect("read");
    assert_eq!(leader.piece().await, Some(Ok(Bytes::from_static(b"01234"))));
    drop(leader);
    sender.send(Bytes::from_static(b"56789")).await.expect("the fetch goes on");
    sender.finish().await;
    assert_eq!(waiter.read().await.text(), "0123456789");
    assert_eq!(world.from_cache("/a", &[]).await.text(), "0123456789");
}

#[tokio::test]
async fn a_fetch_whose_readers_have_all_left_is_stored_nevertheless() {
    let world = World::new();
    let client = world.get("/a", &[]);
    let mut sender = world.call().await.stream(&[FRESH], None);
    drop(client.await.expect("no panic"));
    sender.send(Bytes::from_static(b"hello")).await.expect("the fetch goes on");
    sender.finish().await;
    settle().await;
    assert_eq!(world.from_cache("/a", &[]).await.text(), "hello");
}

#[tokio::test]
async fn what_is_not_to_be_shared_goes_to_its_leader_and_the_others_all_ask_at_once() {
    let world = World::new();
    let leader = world.get("/a", &[("cookie", "leader")]);
    let call = world.call().await;
    let waiters: Vec<_> = (0..3).map(|_| world.get("/a", &[("cookie", "waiter")])).collect();
    settle().await;
    call.answer(200, &[("cache-control", "private")], "the leader's");
    assert_eq!(leader.await.expect("no panic").read().await.text(), "the leader's");
    // All three are at the origin before any of them is answered.
    let calls = [world.call().await, world.call().await, world.call().await];
    for call in calls {
        assert_eq!(call.headers, map(&[("cookie", "waiter")]));
        call.answer(200, &[("cache-control", "private")], "a waiter's");
    }
    for waiter in join_all(waiters).await {
        let read = waiter.expect("no panic").read().await;
        assert_eq!((read.text(), read.cache_status()), ("a waiter's", "BYPASS"));
    }
}

#[tokio::test]
async fn a_fault_of_the_origin_is_told_to_all_who_wait_and_to_nobody_later() {
    let world = World::new();
    let clients: Vec<_> = (0..3).map(|_| world.get("/a", &[])).collect();
    let call = world.call().await;
    settle().await;
    call.fail(Fault::OriginDown);
    for client in join_all(clients).await {
        assert_eq!(client.expect("no panic").read().await.status, 521);
    }
    world.fetch("/a", &[], &[FRESH], "well again").await;
}

#[tokio::test]
async fn each_variant_is_fetched_once() {
    let world = World::new();
    let languages = ["en", "de", "en", "de", "en", "de"];
    let clients: Vec<_> =
        languages.iter().map(|language| world.get("/a", &[("accept-language", language)])).collect();
    let vary = ("vary", "accept-language");
    let first = world.call().await;
    assert_eq!(first.headers, map(&[("accept-language", "en")]));
    settle().await;
    let sender = first.stream(&[FRESH, vary], Some(0));
    // The English who waited read along; the Germans learn that this is not theirs, and one of them leads.
    let second = world.call().await;
    assert_eq!(second.headers, map(&[("accept-language", "de")]));
    assert!(world.origin_is_quiet().await);
    second.answer(200, &[FRESH, vary], "hallo");
    sender.finish().await;
    for (client, language) in join_all(clients).await.into_iter().zip(languages) {
        let text = client.expect("no panic").read().await;
        assert_eq!(text.text(), if language == "de" { "hallo" } else { "" });
    }
    assert!(world.origin_is_quiet().await);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_too_long_asks_for_itself() {
    let world = World::new();
    let leader = world.get("/a", &[]);
    let slow = world.call().await;
    let waiter = world.get("/a", &[]);
    // Time is paused: it moves on to the end of the waiter's patience, because nothing else can happen.
    let own = world.call().await;
    own.answer(200, &[FRESH], "own");
    let read = waiter.await.expect("no panic").read().await;
    assert_eq!((read.text(), read.cache_status()), ("own", "MISS"));
    slow.answer(200, &[FRESH], "slow");
    assert_eq!(leader.await.expect("no panic").read().await.text(), "slow");
}

#[tokio::test]
async fn what_must_be_confirmed_on_each_use_is_not_shared_by_those_who_waited_for_it() {
    let world = World::new();
    let leader = world.get("/a", &[]);
    let call = world.call().await;
    let waiters: Vec<_> = (0..2).map(|_| world.get("/a", &[])).collect();
    settle().await;
    let fields = [("cache-control", "no-cache"), ("etag", "\"1\"")];
    call.answer(200, &fields, "leader");
    leader.await.expect("no panic");
    let calls = [world.call().await, world.call().await];
    for call in calls {
        call.answer(200, &fields, "waiter");
    }
    for waiter in join_all(waiters).await {
        assert_eq!(waiter.expect("no panic").read().await.text(), "waiter");
    }
    // Stored, it is confirmed once for all who ask at that moment.
    let clients: Vec<_> = (0..3).map(|_| world.get("/a", &[])).collect();
    let call = world.call().await;
    settle().await;
    assert_eq!(call.headers, map(&[("if-none-match", "\"1\"")]));
    call.answer(304, &[], "");
    for client in join_all(clients).await {
        let read = client.expect("no panic").read().await;
        assert_eq!((read.cache_status(), read.text()), ("REVALIDATED", "leader"));
    }
}

#[tokio::test]
async fn a_304_that_is_for_one_client_is_not_for_those_who_wait_with_it() {
    let world = World::new();
    world.fetch("/a", &[], &[("cache-control", "no-cache"), ("etag", "\"1\"")], "common").await;
    let leader = world.get("/a", &[]);
    let call = world.call().await;
    let waiter = world.get("/a", &[]);
    settle().await;
    let private = [("cache-control", "private"), ("etag", "\"1\""), ("x-user", "alice")];
    call.answer(304, &private, "");
    let read = leader.await.expect("no panic").read().await;
    assert_eq!((read.field("x-user"), read.text()), (Some("alice"), "common"));
    world.call().await.answer(200, &[("cache-control", "private"), ("x-user", "bob")], "bobs");
    let read = waiter.await.expect("no panic").read().await;
    assert_eq!((read.field("x-user"), read.text()), (Some("bob"), "bobs"));
}

//! Fetches that end otherwise than they should, and stale answers.

use bytes::Bytes;
use proxima_model::ZoneSettings;
use proxima_pipeline::BodyError;

use super::{super::*, harness::*};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

#[tokio::test]
async fn a_body_shorter_than_announced_is_an_error_for_all_and_is_not_stored() {
    let world = World::new();
    let client = world.get("/a", &[]);
    let mut sender = world.call().await.stream(&[FRESH], Some(10));
    let (leader, waiter) = (client.await.expect("no panic"), world.get("/a", &[]).await.expect("no panic"));
    sender.send(Bytes::from_static(b"short")).await.expect("read");
    sender.finish().await;
    assert_eq!(leader.read().await.body, Err(BodyError::WrongLength));
    assert_eq!(waiter.read().await.body, Err(BodyError::WrongLength));
    world.fetch("/a", &[], &[FRESH], "whole").await;
}

#[tokio::test]
async fn an_aborted_body_is_an_error_for_all_and_is_not_stored() {
    let world = World::new();
    let client = world.get("/a", &[]);
    let mut sender = world.call().await.stream(&[FRESH], None);
    let leader = client.await.expect("no panic");
    sender.send(Bytes::from_static(b"begun")).await.expect("read");
    drop(sender);
    assert_eq!(leader.read().await.body, Err(BodyError::Aborted));
    settle().await;
    world.fetch("/a", &[], &[FRESH], "whole").await;
}

#[tokio::test]
async fn what_is_announced_as_too_large_goes_to_its_client_alone() {
    let world = World::new();
    let client = world.get("/a", &[]);
    let mut sender = world.call().await.stream(&[FRESH], Some(1 << 40));
    let mut answer = client.await.expect("no panic");
    assert_eq!(answer.cache_status(), "BYPASS");
    sender.send(Bytes::from_static(b"begun")).await.expect("read");
    assert_eq!(answer.piece().await, Some(Ok(Bytes::from_static(b"begun"))));
    drop(answer);
    sender.closed().await;
}

#[tokio::test]
async fn what_grows_too_large_reaches_its_reader_whole_and_is_not_stored() {
    let config = CacheConfig { memory_bytes_max: 1 << 20, ..CacheConfig::default() };
    let world = World::with(config, ZoneSettings::default());
    let client = world.get("/a", &[]);
    let mut sender = world.call().await.stream(&[FRESH], None);
    let answer = client.await.expect("no panic");
    let reading = tokio::spawn(answer.read());
    for _ in 0..32 {
        sender.send(Bytes::from(vec![1; 64 * 1024])).await.expect("read");
    }
    sender.finish().await;
    let read = reading.await.expect("no panic");
    assert_eq!(read.body.map(|body| body.len()), Ok(2 << 20));
    settle().await;
    let again = world.fetch("/a", &[], &[FRESH], "again").await;
    assert!(again.says("larger than an object may be"), "{:?}", again.trace);
}

#[tokio::test]
async fn a_reader_of_what_grew_too_large_ends_the_fetch_when_it_leaves() {
    let config = CacheConfig { memory_bytes_max: 1 << 20, ..CacheConfig::default() };
    let world = World::with(config, ZoneSettings::default());
    let client = world.get("/a", &[]);
    let mut sender = world.call().await.stream(&[FRESH], None);
    let answer = client.await.expect("no panic");
    sender.send(Bytes::from(vec![1; 256 * 1024])).await.expect("read");
    drop(answer);
    sender.send(Bytes::from(vec![1; 256 * 1024])).await.ok();
    sender.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_nobody_reads_and_that_does_not_come_on_is_given_up() {
    let world = World::new();
    let client = world.get("/a", &[]);
    let sender = world.call().await.stream(&[FRESH], None);
    drop(client.await.expect("no panic"));
    // Time is paused and moves on to whatever comes next, which is the end of the fetch's patience.
    sender.closed().await;
    settle().await;
    world.fetch("/a", &[], &[FRESH], "whole").await;
}

#[tokio::test(start_paused = true)]
async fn stale_while_revalidate_answers_at_once_and_asks_once_in_the_background() {
    let world = World::new();
    let fields = [("cache-control", "max-age=10, stale-while-revalidate=60"), ("etag", "\"1\"")];
    world.fetch("/a", &[], &fields, "one").await;
    tokio::time::advance(Duration::from_secs(11)).await;
    let (first, second) = (world.get("/a", &[]), world.get("/a", &[]));
    for client in [first, second] {
        let read = client.await.expect("no panic").read().await;
        assert_eq!((read.cache_status(), read.text()), ("UPDATING", "one"));
    }
    let call = world.call().await;
    assert_eq!(call.headers, map(&[("if-none-match", "\"1\"")]));
    call.answer(200, &fields, "two");
    assert!(world.origin_is_quiet().await);
    assert_eq!(world.from_cache("/a", &[]).await.text(), "two");
    tokio::time::advance(Duration::from_secs(71)).await;
    assert_eq!(world.fetch("/a", &[], &fields, "three").await.text(), "three");
}

#[tokio::test(start_paused = true)]
async fn stale_if_error_serves_while_the_origin_fails_and_spares_it() {
    let world = World::new();
    world.fetch("/a", &[], &[("cache-control", "max-age=10, stale-if-error=60")], "kept").await;
    tokio::time::advance(Duration::from_secs(11)).await;
    let client = world.get("/a", &[]);
    world.call().await.fail(Fault::OriginConnectTimeout);
    let read = client.await.expect("no panic").read().await;
    assert_eq!((read.status, read.cache_status(), read.text()), (200, "STALE", "kept"));
    // For some seconds the origin is not asked again.
    assert_eq!(world.from_cache("/a", &[]).await.cache_status(), "STALE");
    tokio::time::advance(ASK_AGAIN_AFTER).await;
    let client = world.get("/a", &[]);
    world.call().await.answer(503, &[], "no");
    assert_eq!(client.await.expect("no panic").read().await.text(), "kept");
    tokio::time::advance(Duration::from_secs(60)).await;
    let client = world.get("/a", &[]);
    world.call().await.answer(503, &[], "no");
    assert_eq!(client.await.expect("no panic").read().await.status, 503);
}

#[tokio::test(start_paused = true)]
async fn nothing_stale_is_served_without_leave_when_the_origin_fails() {
    for directives in ["max-age=10", "max-age=10, must-revalidate, stale-if-error=60", "s-maxage=10"] {
        let world = World::new();
        world.fetch("/a", &[], &[("cache-control", directives)], "kept").await;
        tokio::time::advance(Duration::from_secs(11)).await;
        let client = world.get("/a", &[]);
        world.call().await.fail(Fault::OriginDown);
        assert_eq!(client.await.expect("no panic").read().await.status, 521, "{directives}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_always_online_zone_outlives_its_origin() {
    let settings = ZoneSettings { always_online: true, ..ZoneSettings::default() };
    let world = World::with(CacheConfig::default(), settings);
    world.fetch("/a", &[], &[("cache-control", "max-age=10")], "kept").await;
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let client = world.get("/a", &[]);
    world.call().await.fail(Fault::OriginDown);
    let read = client.await.expect("no panic").read().await;
    assert_eq!((read.cache_status(), read.text()), ("STALE", "kept"));
}

//! Other servers' caches: what they are told that clients are not, and what they wait for.

use std::sync::{Mutex, atomic::Ordering};

use http::Method;
use proxima_model::ZoneId;
use proxima_pipeline::{AskedByPeer, CacheFill, Fault, Invalidations};

use super::{super::*, harness::*};

const TAGGED: Fields<'_> = &[
    ("cache-control", "max-age=60"),
    ("cloudflare-cdn-cache-control", "max-age=600"),
    ("cache-tag", "A, b"),
    ("cache-tag", "c"),
    ("content-type", "text/plain"),
];

#[tokio::test]
async fn another_cache_gets_what_it_needs_to_store_an_answer_and_a_client_does_not() {
    let world = World::new();
    world.fetch("/a", &[], TAGGED, &"text ".repeat(100).leak()[..]).await;
    let client = world.from_cache("/a", &[("accept-encoding", "gzip")]).await;
    assert!(client.field("cache-tag").is_none() && client.field("cloudflare-cdn-cache-control").is_none());
    assert_eq!(client.field("content-encoding"), Some("gzip"));
    let peer = world.send_as_peer("/a", 0).await.expect("no panic").read().await;
    assert_eq!(peer.field("cache-tag"), Some("A, b,c,"));
    assert_eq!(peer.field("cloudflare-cdn-cache-control"), Some("max-age=600"));
    assert!(peer.field("content-encoding").is_none());
    assert_eq!(peer.cache_status(), "HIT");
    assert!(peer.field("age").is_some());
}

#[tokio::test]
async fn tags_that_came_by_way_of_another_cache_are_purged_by() {
    let world = World::new();
    world.fetch("/a", &[], &[("cache-control", "max-age=60"), ("cache-tag", "A, b,c,")], "old").await;
    world.stage.store().purge_names(world.zone(), &[tag("b")]);
    assert_eq!(world.fetch("/a", &[], TAGGED, "new").await.cache_status(), "MISS");
}

#[tokio::test]
async fn a_cache_that_has_purged_less_waits_until_it_has_as_much() {
    let world = World::new();
    world.fetch("/a", &[], TAGGED, "old").await;
    let peer = world.send_as_peer("/a", 5);
    settle().await;
    assert!(!peer.is_finished());
    world.serial.store(2, Ordering::SeqCst);
    world.stage.store().progress().begin(5);
    world.stage.store().purge_names(world.zone(), &[tag("a")]);
    world.stage.store().end_purging(5);
    let call = world.call().await;
    let fill = CacheFill { url: format!("http://{HOST}/a").into(), purged_up_to: 5 };
    assert_eq!(call.fill, Some(fill), "and says so to those above");
    assert_eq!(call.asked, Some(AskedByPeer { level: 1, purged_up_to: 5 }));
    assert_eq!(
        call.serial, 2,
        "the zone is looked up when the purge has come, which what it changed came before"
    );
    call.answer(200, TAGGED, "new");
    let read = peer.await.expect("no panic").read().await;
    assert_eq!((read.text(), read.cache_status()), ("new", "MISS"));
    assert_eq!(world.send_as_peer("/a", 4).await.expect("no panic").read().await.cache_status(), "HIT");
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_stays_behind_declines() {
    let world = World::new();
    world.fetch("/a", &[], TAGGED, "old").await;
    let read = world.send_as_peer("/a", 5).await.expect("no panic").read().await;
    assert_eq!(read.status, 503);
    assert!(read.says(&Fault::Behind.to_string()), "{:?}", read.trace);
}

struct Told(Mutex<Vec<(ZoneId, String)>>);

impl Invalidations for Told {
    fn invalidated(&self, zone: ZoneId, url: &str) {
        self.0.lock().expect("no panic").push((zone, url.to_owned()));
    }
}

#[tokio::test]
async fn others_are_told_of_what_an_unsafe_request_has_changed_and_are_heard() {
    let world = World::new();
    let told = Arc::new(Told(Mutex::default()));
    world.stage.tell_invalidations(told.clone());
    world.fetch("/a", &[], TAGGED, "old").await;
    let post = world.send(Method::POST, "/a", &[]);
    world.call().await.answer(200, &[], "");
    post.await.expect("no panic").read().await;
    let url = format!("http://{HOST}/a");
    assert_eq!(*told.0.lock().expect("no panic"), [(world.zone(), url.clone())]);

    world.fetch("/a", &[], TAGGED, "new").await;
    world.stage.invalidated(world.zone(), &url);
    assert_eq!(world.fetch("/a", &[], TAGGED, "newer").await.cache_status(), "MISS");
    assert_eq!(told.0.lock().expect("no panic").len(), 1, "what others say is not said again");
}

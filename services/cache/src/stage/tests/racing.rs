//! Clients, purges and fetches at once, on several threads. The origin answers with the version of its content at the
//! moment at which it was asked; nobody who asks after a purge may get a version from before it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{super::*, harness::*};

const CLIENTS: usize = 8;
const REQUESTS: usize = 400;
const PURGES: usize = 300;
const FRESH: [(&str, &str); 2] = [("cache-control", "max-age=60"), ("cache-tag", "all")];
const URLS: [&str; 3] = ["/a", "/b", "/c"];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_asks_after_a_purge_gets_nothing_from_before_it() {
    let world = World::new();
    let version = Arc::new(AtomicU64::new(1));
    let purged = Arc::new(AtomicU64::new(0));

    let origin = tokio::spawn({
        let (world, version) = (world.clone(), version.clone());
        async move {
            loop {
                let call = world.call().await;
                let version = version.load(Ordering::SeqCst).to_string();
                let fresh = [
                    ("cache-control", "max-age=60"),
                    ("vary", "accept-language"),
                    ("cache-tag", "all, a-few"),
                ];
                tokio::spawn(async move {
                    let (mut sender, body) = Body::channel(1, Some(version.len() as u64));
                    call.respond(response(200, &fresh, body));
                    tokio::task::yield_now().await;
                    sender.send(version.into()).await.ok();
                    sender.finish().await;
                });
            }
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (world, purged) = (world.clone(), purged.clone());
            tokio::spawn(async move {
                let languages = [("accept-language", "en"), ("accept-language", "de")];
                for n in 0..REQUESTS {
                    let least = purged.load(Ordering::SeqCst);
                    let answer = world.get(URLS[n % URLS.len()], &languages[client % 2..=client % 2]).await;
                    let read = answer.expect("no panic").read().await;
                    let got: u64 = read.text().parse().expect("a version");
                    assert!(
                        got >= least,
                        "got {got} after the purge of all before {least}: {:?}",
                        read.trace
                    );
                }
            })
        })
        .collect();
    for n in 0..PURGES {
        let next = version.fetch_add(1, Ordering::SeqCst) + 1;
        let store = world.stage.store();
        match n % 4 {
            0 => store.purge_zone(world.zone()),
            1 => URLS.iter().for_each(|url| world.stage.forget(&world.key(url))),
            2 => store.purge_names(world.zone(), &[tag("all")]),
            _ => store.purge_names(world.zone(), &[prefix("example.test")]),
        }
        purged.store(next, Ordering::SeqCst);
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    for client in clients {
        client.await.expect("no client saw what was purged");
    }
    assert!(world.metrics.requests(CacheStatus::Hit) > 0);
    origin.abort();
}

/// A request has found a zone, and waits; then the zone changes, and is purged. What the request brings at last is its
/// own, and nobody else's.
async fn waits_through(purge: impl Fn(&World)) {
    let world = World::new();
    for target in ["/api/1", "/api/2"] {
        world.fetch(target, &[], &[("cache-control", "private")], "mine").await;
    }
    // Such a leader takes its fetch along: one of those who wait leads anew.
    let leader = world.get("/api/3", &[]);
    let _call = world.call().await;
    let waiter = world.get("/api/3", &[]);
    assert!(world.origin_is_quiet().await);
    world.serial.store(2, Ordering::SeqCst);
    purge(&world);
    leader.abort();
    let call = world.call().await;
    assert_eq!(call.serial, 1);
    let later = world.get("/api/3", &[]);
    let of_later = world.call().await;
    assert_eq!(of_later.serial, 2, "it does not wait for what is from before the purge");
    call.answer(200, &FRESH, "old");
    assert_eq!(waiter.await.expect("no panic").read().await.text(), "old");
    of_later.answer(200, &FRESH, "new");
    assert_eq!(later.await.expect("no panic").read().await.text(), "new");
    settle().await;
    assert_eq!(world.from_cache("/api/3", &[]).await.text(), "new");
}

#[tokio::test]
async fn what_a_request_from_before_a_purge_of_its_zone_brings_is_not_stored() {
    waits_through(|world| world.stage.store().purge_zone(world.zone())).await;
}

#[tokio::test]
async fn what_a_request_from_before_a_purge_of_its_tag_brings_is_not_stored() {
    waits_through(|world| world.stage.store().purge_names(world.zone(), &[tag("all")])).await;
}

#[tokio::test]
async fn what_a_request_from_before_a_purge_of_its_url_brings_is_not_stored() {
    waits_through(|world| world.stage.forget(&world.key("/api/3"))).await;
}

#[tokio::test]
async fn what_a_request_from_before_another_purge_brings_is_stored() {
    let world = World::new();
    let waiter = world.get("/a", &[]);
    let call = world.call().await;
    world.stage.forget(&world.key("/b"));
    world.stage.store().purge_names(world.zone(), &[tag("other")]);
    call.answer(200, &FRESH, "hello");
    assert_eq!(waiter.await.expect("no panic").read().await.text(), "hello");
    settle().await;
    assert_eq!(world.from_cache("/a", &[]).await.text(), "hello");
}

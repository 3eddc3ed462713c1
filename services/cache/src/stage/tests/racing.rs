//! Clients, purges and fetches at once, on several threads. The origin answers with the version of its content at the
//! moment at which it was asked; nobody who asks after a purge may get a version from before it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{super::*, harness::*};

const CLIENTS: usize = 8;
const REQUESTS: usize = 400;
const PURGES: usize = 300;
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

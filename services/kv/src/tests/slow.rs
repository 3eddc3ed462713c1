//! Servers that have too much to do, and disks that stand still.

use proxima_pipeline::KvListed;
use tokio::sync::{SemaphorePermit, oneshot};

use super::*;
use crate::{kv::REQUESTS_MAX, store::Job};

impl World {
    /// Has a server be busy for as long as this is held.
    fn busy(&self, server: &str) -> SemaphorePermit<'_> {
        let all = u32::try_from(REQUESTS_MAX).expect("small");
        self.kv(server).others.try_acquire_many(all).expect("nothing is under way")
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_run_out_is_not_given_where_replicas_are_there_and_busy() {
    let world = World::new(&[("fra1", "FRA"), ("ams1", "AMS"), ("sin1", "SIN")]).await;
    let id = world.namespace("ams1", "sin1");
    world.put("ams1", id, "k", "1").await.expect("written");
    settle().await;
    assert_eq!(world.get("fra1", id, "k", MINUTE).await, found("1"));
    pass(Duration::from_secs(61)).await;
    let held = [world.busy("ams1"), world.busy("sin1")];
    assert_eq!(world.get("fra1", id, "k", MINUTE).await, Err(KvError::Busy));
    drop(held);
    assert_eq!(world.get("fra1", id, "k", MINUTE).await, found("1"));
}

#[tokio::test(start_paused = true)]
async fn where_the_home_is_busy_the_other_replica_is_not_asked_for_the_latest() {
    let world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.put("fra1", id, "k", "1").await.expect("written");
    settle().await;
    let held = world.busy("ams1");
    world.asked();
    assert_eq!(world.get("fra1", id, "k", KvRead::Latest).await, Err(KvError::Busy));
    assert_eq!(world.port("fra1").list(id, listing("", 10)).await, Err(KvError::Busy));
    assert_eq!(world.put("fra1", id, "k", "2").await, Err(KvError::Busy));
    assert!(world.asked().iter().all(|(server, _)| *server == name("ams1")));
    drop(held);
    assert_eq!(world.get("fra1", id, "k", KvRead::Latest).await, found("1"));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_slow_at_something_else_has_what_is_written() {
    let world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.meet(Some(|server, question| {
        (server == "sin1" && matches!(question, Question::ChangesAmong { .. })).then_some(Met::Nothing)
    }));
    // It has just been waited for in vain.
    pass(Duration::from_secs(23)).await;
    world.put("ams1", id, "k", "1").await.expect("written");
    assert_eq!(world.stored("sin1", id, "k").await.as_deref(), Some("1"));
    assert_eq!(world.kv("ams1").metrics.alone.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_to_a_disk_that_stands_still_ends_and_one_that_was_given_up_before_its_turn_is_not_done() {
    let world = World::new(&[("fra1", "FRA")]).await;
    let id = KvNamespaceId::from_bytes([1; 16]);
    let (held, is_held) = oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let kv = Arc::clone(world.kv("fra1"));
    let holding = tokio::spawn(async move {
        let hold = move |store: &Store, _| {
            let _writing = store.hold();
            held.send(()).ok();
            released.recv().ok();
            Ok(())
        };
        kv.own.read(hold).await
    });
    is_held.await.expect("held");
    for text in ["under way", "behind it"] {
        let mut write = Box::pin(world.put("fra1", id, text, "1"));
        assert!(futures_util::poll!(&mut write).is_pending());
        // No time passes by itself while a thread waits for the disk.
        for _ in 0..5 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let written = write.await;
        assert!(matches!(written, Err(KvError::Unreachable(_))), "{written:?}");
    }
    drop(release);
    holding.await.expect("no panic").expect("held");
    world.put("fra1", id, "after", "1").await.expect("written");
    let page = world.port("fra1").list(id, listing("", 10)).await.expect("listed");
    let keys: Vec<_> = page.keys.iter().map(|KvListed { key, .. }| key.as_str()).collect();
    assert_eq!(keys, ["after", "under way"]);
}

#[tokio::test(start_paused = true)]
async fn a_listing_passes_over_many_keys_that_have_run_out_but_not_over_any_number_of_them() {
    let world = World::new(&[("fra1", "FRA")]).await;
    let id = KvNamespaceId::from_bytes([1; 16]);
    let expires = Some(Timestamp::from_millis(NOW.as_millis() + 60_000));
    let run_out = |numbers: std::ops::Range<usize>| {
        let write = |number: usize| (key(&format!("{number:05}")), Some(KvValue { expires, ..value("v") }));
        world.kv("fra1").own.commit(Job::Write(id, numbers.map(write).collect()))
    };
    run_out(0..25_000).await.expect("written");
    world.put("fra1", id, "stays", "1").await.expect("written");
    world.later(60_000);
    let list = || async { world.port("fra1").list(id, listing("", 10)).await };
    let keys = |page: &proxima_pipeline::KvPage| page.keys.len();
    let page = list().await.expect("listed");
    assert_eq!((keys(&page), page.has_more, page.keys[0].key.as_str()), (1, false, "stays"));
    world.later(0);
    run_out(25_000..40_001).await.expect("written");
    world.later(60_000);
    assert_eq!(list().await, Err(KvError::Busy));
    // They are swept.
    pass(Duration::from_secs(21)).await;
    assert_eq!(list().await.as_ref().map(keys), Ok(1));
}

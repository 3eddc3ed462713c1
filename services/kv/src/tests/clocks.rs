//! Servers whose clocks are wrong.

use super::*;
use crate::stamp::AHEAD_MS_MAX;

impl World {
    /// Starts a server anew, with a clock that is so far ahead.
    async fn restart_ahead(&mut self, server: &str, ahead_ms: i64) {
        self.kill(server).await;
        let ahead = Timestamp::from_millis(NOW.as_millis() + ahead_ms);
        self.wrong.insert(name(server), Arc::new(SimulatedClock::new(ahead)));
        self.start(server);
        pass(CAUGHT_UP).await;
    }

    /// Starts it anew with its clock set right.
    async fn restart_right(&mut self, server: &str) {
        self.kill(server).await;
        self.wrong.remove(&name(server));
        self.start(server);
        pass(CAUGHT_UP).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_home_is_ahead_is_not_acknowledged_before_both_replicas_have_it() {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.restart_ahead("ams1", 2 * AHEAD_MS_MAX).await;
    for (server, text) in [("fra1", "k1"), ("ams1", "k2")] {
        assert_eq!(world.put(server, id, text, "1").await, Ok(()));
        for replica in ["ams1", "sin1"] {
            assert_eq!(world.stored(replica, id, text).await.as_deref(), Some("1"), "{replica} {text}");
            assert_eq!(world.kv(replica).metrics.alone.get(), 0);
        }
    }
    // The other one refuses what the home has stamped, and nobody else is there to write it.
    world.link("fra1", "sin1", false);
    assert!(world.put("fra1", id, "k3", "1").await.is_err());
    assert_eq!(world.kv("ams1").metrics.alone.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_ahead_leaves_writes_to_the_other_replica_until_its_stamps_can_be_taken() {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.kill("sin1").await;
    world.restart_ahead("ams1", 2 * AHEAD_MS_MAX).await;
    world.put("fra1", id, "k", "1").await.expect("one copy is better than none");
    world.restart_right("ams1").await;
    assert!(world.put("fra1", id, "k2", "1").await.is_err());
    assert_eq!(world.stored("ams1", id, "k2").await, None);
    world.start("sin1");
    pass(CAUGHT_UP).await;
    assert_eq!(world.put("fra1", id, "k2", "2").await, Ok(()));
    for replica in ["ams1", "sin1"] {
        assert_eq!(world.stored(replica, id, "k2").await.as_deref(), Some("2"), "{replica}");
    }
    assert_eq!(world.stored("sin1", id, "k").await, None);
    // Its time has come.
    world.later(AHEAD_MS_MAX);
    pass(CAUGHT_UP).await;
    assert_eq!(world.stored("sin1", id, "k").await.as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_write_from_far_ahead_does_not_hold_up_what_is_taken_over_beside_it() {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.kill("sin1").await;
    world.put("fra1", id, "before", "1").await.expect("written");
    world.restart_ahead("ams1", 2 * AHEAD_MS_MAX).await;
    world.put("fra1", id, "ahead", "1").await.expect("written");
    world.start("sin1");
    pass(CAUGHT_UP).await;
    assert_eq!(world.stored("sin1", id, "before").await.as_deref(), Some("1"));
    assert_eq!(world.stored("sin1", id, "ahead").await, None);
    assert!(world.kv("sin1").replication.is_ready(), "one wrong clock must not stop the homes of all others");
    assert!(world.kv("sin1").replication.in_step_at(&name("ams1")).is_none());
    world.later(AHEAD_MS_MAX);
    pass(CAUGHT_UP).await;
    assert_eq!(world.stored("sin1", id, "ahead").await.as_deref(), Some("1"));
    assert!(world.kv("sin1").replication.in_step_at(&name("ams1")).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_alone_goes_on_after_its_clock_was_ahead() {
    let mut world = World::new(&[("fra1", "FRA")]).await;
    let id = KvNamespaceId::from_bytes([1; 16]);
    world.restart_ahead("fra1", 1_000 * AHEAD_MS_MAX).await;
    world.put("fra1", id, "k", "1").await.expect("written");
    world.restart_right("fra1").await;
    world.put("fra1", id, "k", "2").await.expect("written");
    assert_eq!(world.get("fra1", id, "k", KvRead::Latest).await, found("2"));
}

//! Servers whose disks are short.

use super::*;

impl World {
    /// Starts a server on a disk of which so much is free.
    fn shorten(&mut self, server: &str, octets: u64) {
        self.free.insert(name(server), Arc::new(AtomicU64::new(octets)));
        self.start(server);
    }

    fn lengthen(&self, server: &str) {
        self.free[&name(server)].store(u64::MAX, Ordering::Relaxed);
    }

    async fn delete(&self, id: KvNamespaceId, text: &str) {
        self.port("fra1").delete(id, vec![key(text)]).await.expect("deleted");
    }

    /// How often a server was asked for rows since this was called last.
    fn asked_for_rows(&self, of: &str) -> usize {
        let is_so = |question: &Question| {
            matches!(question, Question::Versions { .. } | Question::VersionsUpTo { .. })
        };
        self.asked().iter().filter(|(server, question)| *server == name(of) && is_so(question)).count()
    }
}

fn large() -> String {
    "x".repeat(6 << 20)
}

#[tokio::test(start_paused = true)]
async fn a_replica_without_room_takes_over_deletions_and_what_fits_and_the_rest_as_soon_as_there_is_room() {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    // What this leaves in the files is room for what is small.
    world.put("fra1", id, "room", &"x".repeat(4 << 20)).await.expect("written");
    world.delete(id, "room").await;
    for text in ["k", "early", "late"] {
        world.put("fra1", id, text, "1").await.expect("written");
    }
    world.kill("ams1").await;
    for text in ["large", "another", "third"] {
        world.put("fra1", id, text, &large()).await.expect("written");
    }
    world.put("fra1", id, "k", "2").await.expect("written");
    world.delete(id, "early").await;
    world.asked();
    world.shorten("ams1", FREE_MIN);
    pass(CAUGHT_UP).await;
    assert_eq!(world.stored("ams1", id, "k").await.as_deref(), Some("2"));
    assert_eq!(world.stored("ams1", id, "early").await, None);
    assert_eq!(world.stored("ams1", id, "large").await, None);
    assert_eq!(
        world.asked_for_rows("sin1"),
        2,
        "what has no room is not fetched again and again, nor others of its size"
    );
    assert!(!world.kv("ams1").replication.is_ready() && world.kv("ams1").metrics.unsettled.get() == 1);
    for server in ["ams1", "fra2"] {
        assert_eq!(world.get(server, id, "large", KvRead::Latest).await, found(&large()), "{server}");
    }

    // What comes meanwhile, and is not pushed.
    world.lose(Some(|question| matches!(question, Question::Merge(_))));
    world.delete(id, "late").await;
    world.asked();
    pass(CAUGHT_UP).await;
    assert_eq!(world.stored("ams1", id, "late").await, None);
    assert_eq!(world.asked_for_rows("sin1"), 1, "only what is new");

    world.lengthen("ams1");
    pass(Duration::from_secs(70)).await;
    for text in ["large", "another", "third"] {
        assert_eq!(world.stored("ams1", id, text).await, Some(large()), "{text}");
    }
    assert!(world.kv("ams1").replication.is_ready() && world.kv("ams1").metrics.unsettled.get() == 0);
    world.kill("ams1").await;
    world.asked();
    world.start("ams1");
    pass(CAUGHT_UP).await;
    assert_eq!(world.asked_for_rows("sin1"), 0, "it is noted");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lacks_nothing_but_deletions_of_what_it_never_had_is_a_home() {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.kill("ams1").await;
    world.put("fra1", id, "k", "1").await.expect("written");
    world.delete(id, "k").await;
    world.shorten("ams1", FREE_MIN / 4);
    pass(CAUGHT_UP).await;
    let ams1 = world.kv("ams1");
    assert!(ams1.replication.is_ready() && ams1.metrics.lacking.get() == 1);
    assert_eq!(world.get("fra2", id, "k", KvRead::Latest).await, Ok(None));
    world.lengthen("ams1");
    pass(Duration::from_secs(90)).await;
    assert_eq!(world.kv("ams1").metrics.lacking.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn of_what_is_written_at_once_the_other_replica_keeps_what_has_room_and_says_that_it_is_not_all() {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.put("fra1", id, "deleted", "1").await.expect("written");
    world.kill("sin1").await;
    world.shorten("sin1", FREE_MIN);
    pass(CAUGHT_UP).await;
    let writes = vec![(key("large"), Some(value(&large()))), (key("deleted"), None)];
    let written = world.kv("fra1").write(id, writes).await;
    assert!(matches!(&written, Err(KvError::Full(why)) if why.contains("sin1")), "{written:?}");
    assert_eq!(world.kv("ams1").replication.unsent(), 2);
    assert_eq!(world.stored("sin1", id, "deleted").await, None);
    assert_eq!(world.stored("sin1", id, "large").await, None);
    world.lengthen("sin1");
    pass(Duration::from_secs(70)).await;
    assert_eq!(world.stored("sin1", id, "large").await, Some(large()));
    assert_eq!(world.kv("ams1").replication.unsent(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_replica_without_room_asks_one_that_knows_no_sizes_as_before_and_leaves_it_at_that() {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.kill("ams1").await;
    for text in ["large", "another"] {
        world.put("fra1", id, text, &large()).await.expect("written");
    }
    world.meet(Some(|_, question| {
        matches!(question, Question::VersionsUpTo { .. })
            .then_some(Met::Says(|| Answer::Refused(Refusal::NotUnderstood)))
    }));
    world.shorten("ams1", FREE_MIN);
    pass(CAUGHT_UP).await;
    assert!(!world.kv("ams1").replication.is_ready());
    assert!(world.asked().iter().all(|(_, question)| !matches!(question, Question::Changes { .. })));
    world.lengthen("ams1");
    pass(CAUGHT_UP).await;
    assert_eq!(world.stored("ams1", id, "another").await, Some(large()));
    assert!(world.kv("ams1").replication.is_ready());
}

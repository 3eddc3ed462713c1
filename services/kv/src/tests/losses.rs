//! Servers and links that are lost, and come back.

use super::*;

impl World {
    /// Starts all servers anew, as a network of these.
    async fn restart_as(&mut self, about: Vec<ServerAbout>) {
        let running: Vec<_> = self.servers.keys().cloned().collect();
        for server in &running {
            self.kill(server.as_str()).await;
        }
        self.about = about;
        for server in self.about.clone() {
            self.start(server.name.as_str());
        }
        pass(Duration::from_secs(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_home_acknowledged_is_read_by_the_other_replica_and_what_that_takes_meanwhile_comes_back_to_it()
 {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    for text in ["k", "deleted"] {
        world.put("fra1", id, text, "1").await.expect("written");
    }
    world.kill("ams1").await;
    for text in ["k", "deleted"] {
        assert_eq!(world.get("fra1", id, text, KvRead::Latest).await, found("1"));
    }
    world.put("fra2", id, "k", "2").await.expect("written");
    world.port("fra1").delete(id, vec![key("deleted")]).await.expect("deleted");
    assert_eq!(world.kv("sin1").replication.unsent(), 2);
    assert_eq!(world.get("fra1", id, "k", KvRead::Latest).await, found("2"));
    world.start("ams1");
    pass(CAUGHT_UP).await;
    assert_eq!(world.stored("ams1", id, "k").await.as_deref(), Some("2"));
    assert_eq!(world.stored("ams1", id, "deleted").await, None);
    assert_eq!(world.kv("sin1").replication.unsent(), 0);
    // And the other way round.
    world.kill("sin1").await;
    assert_eq!(world.get("fra1", id, "k", KvRead::Latest).await, found("2"));
    assert_eq!(world.get("fra1", id, "deleted", KvRead::Latest).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_with_an_empty_disk_has_everything_again() {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    let port = world.port("fra1");
    let long = |number: u8| KvValue {
        value: vec![number; 3 << 20].into(),
        metadata: Some("1".into()),
        expires: None,
    };
    let pairs: Vec<_> =
        (0..20).map(|number| KvPair { key: key(&format!("{number}")), value: long(number) }).collect();
    port.put(id, pairs.clone()).await.expect("written");
    drop(port);
    world.kill("ams1").await;
    std::fs::remove_dir_all(world.folder.path().join("ams1")).expect("a lost disk");
    world.start("ams1");
    pass(CAUGHT_UP).await;
    world.kill("sin1").await;
    for pair in pairs {
        let read = world.port("fra2").get(id, &pair.key, KvRead::Latest).await;
        assert_eq!(read, Ok(Some(pair.value)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_much_to_take_over_is_no_home_before_it_has_all_of_it_however_often_that_is_broken_off()
 {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    let long = |number: u8| KvValue { value: vec![number; 3 << 20].into(), metadata: None, expires: None };
    let pairs: Vec<_> =
        (0..12).map(|number| KvPair { key: key(&format!("{number}")), value: long(number) }).collect();
    world.port("fra1").put(id, pairs.clone()).await.expect("written");
    world.kill("ams1").await;
    std::fs::remove_dir_all(world.folder.path().join("ams1")).expect("a lost disk");
    // Each third message is lost.
    world.lose(Some(|question| {
        static MESSAGES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let is_one = matches!(question, Question::Versions { .. });
        is_one && MESSAGES.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 3 == 2
    }));
    let wanted = String::from_utf8(pairs[11].value.value.to_vec()).expect("text");
    world.start("ams1");
    for second in 0.. {
        let has_all = world.stored("ams1", id, "11").await.is_some();
        assert_eq!(world.get("fra2", id, "11", KvRead::Latest).await, found(&wanted), "{second}");
        if has_all {
            assert!(second > 2, "it was broken off");
            break;
        }
        assert!(!world.kv("ams1").replication.is_ready() && world.kv("ams1").metrics.unsettled.get() > 0);
        assert!(second < 600, "it goes on, however often it is broken off");
        pass(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_just_started_is_no_home_before_it_has_taken_over_what_it_missed() {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.put("fra1", id, "k", "1").await.expect("written");
    world.kill("ams1").await;
    world.put("fra1", id, "k", "2").await.expect("written");
    world.lose(Some(|question| matches!(question, Question::Changes { .. })));
    world.start("ams1");
    // Long enough that it is asked again.
    pass(Duration::from_secs(1)).await;
    world.asked();
    for server in ["fra2", "ams1"] {
        assert_eq!(world.get(server, id, "k", KvRead::Latest).await, found("2"), "{server}");
    }
    world.put("fra2", id, "k", "3").await.expect("written");
    assert_eq!(world.stored("sin1", id, "k").await.as_deref(), Some("3"));
    world.lose(None);
    pass(CAUGHT_UP).await;
    world.asked();
    assert_eq!(world.get("fra2", id, "k", KvRead::Latest).await, found("3"));
    assert!(world.asked().iter().any(|(server, _)| *server == name("ams1")), "it is the home again");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_take_over_what_it_missed_is_no_home_as_long_as_the_one_that_has_it_is_there() {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.put("fra1", id, "k", "1").await.expect("written");
    world.kill("ams1").await;
    let large = |number: usize| KvPair {
        key: key(&number.to_string()),
        value: KvValue { value: vec![0; 1 << 20].into(), metadata: None, expires: None },
    };
    world.port("fra1").put(id, (0..12).map(large).collect()).await.expect("written");
    world.put("fra1", id, "k", "2").await.expect("written");
    world.small.insert(name("ams1"));
    world.start("ams1");
    pass(Duration::from_secs(60)).await;
    assert_eq!(world.stored("ams1", id, "11").await, None, "it was full before it came there");
    let large = "\0".repeat(1 << 20);
    for server in ["ams1", "fra2"] {
        assert_eq!(world.get(server, id, "11", KvRead::Latest).await, found(&large), "{server}");
    }
    // What it has is better than nothing.
    world.kill("sin1").await;
    pass(CAUGHT_UP).await;
    assert_eq!(world.get("fra2", id, "11", KvRead::Latest).await, Ok(None));
    assert_eq!(
        world.get("fra2", id, "k", KvRead::Latest).await,
        found("2"),
        "there was room for what is small"
    );
}

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_parted_network_take_writes_and_agree_afterwards_upon_the_later_ones() {
    let world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    for text in ["deleted late", "deleted early"] {
        world.put("fra1", id, text, "0").await.expect("written");
    }
    for (one, other) in [("ams1", "sin1"), ("fra2", "ams1"), ("fra1", "sin1"), ("fra1", "fra2")] {
        world.link(one, other, false);
    }
    // On the side of the home…
    world.later(1_000);
    world.put("fra1", id, "both", "early").await.expect("written");
    world.put("fra1", id, "here", "1").await.expect("written");
    world.port("fra1").delete(id, vec![key("deleted early")]).await.expect("deleted");
    // … and on the other one.
    world.later(2_000);
    world.put("fra2", id, "both", "late").await.expect("written");
    world.put("fra2", id, "there", "2").await.expect("written");
    world.put("fra2", id, "deleted early", "written late").await.expect("written");
    world.later(3_000);
    world.put("fra2", id, "deleted late", "written early").await.expect("written");
    world.later(4_000);
    world.port("fra1").delete(id, vec![key("deleted late")]).await.expect("deleted");
    assert_eq!(world.get("fra1", id, "both", KvRead::Latest).await, found("early"));
    assert_eq!(world.get("fra2", id, "both", KvRead::Latest).await, found("late"));
    for (one, other) in [("ams1", "sin1"), ("fra2", "ams1"), ("fra1", "sin1"), ("fra1", "fra2")] {
        world.link(one, other, true);
    }
    pass(CAUGHT_UP).await;
    for server in ["ams1", "sin1"] {
        for (text, octets) in [
            ("both", Some("late")),
            ("here", Some("1")),
            ("there", Some("2")),
            ("deleted early", Some("written late")),
            ("deleted late", None),
        ] {
            assert_eq!(world.stored(server, id, text).await.as_deref(), octets, "{server} {text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_fails_where_the_other_replica_is_there_and_cannot_keep_it() {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.kill("sin1").await;
    world.small.insert(name("sin1"));
    world.start("sin1");
    pass(CAUGHT_UP).await;
    let pair = |number: usize| KvPair {
        key: key(&number.to_string()),
        value: KvValue { value: vec![0; 1 << 20].into(), metadata: None, expires: None },
    };
    let port = world.port("fra1");
    let mut outcomes = Vec::new();
    for number in 0..12 {
        outcomes.push(port.put(id, vec![pair(number)]).await);
    }
    assert_eq!(outcomes[0], Ok(()));
    assert!(matches!(&outcomes[11], Err(KvError::Full(why)) if why.contains("sin1")), "{:?}", outcomes[11]);
    drop(port);
    // It is known to be away: what is kept by one is better than nothing.
    world.kill("sin1").await;
    assert_eq!(world.port("fra1").put(id, vec![pair(12)]).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn what_lies_in_a_namespace_that_was_deleted_is_swept_by_every_server_that_has_it() {
    let mut world = World::of_four().await;
    let (id, stays) = (world.namespace("ams1", "sin1"), world.namespace("sin1", "ams1"));
    for id in [id, stays] {
        world.put("fra1", id, "k", "1").await.expect("written");
    }
    world.named.remove(&id);
    for Server { kv, .. } in world.servers.values() {
        kv.named.apply(Renamed::Some(vec![(id, false)]));
    }
    let put = world.put("fra1", id, "k", "2").await;
    assert!(matches!(put, Err(KvError::Unreachable(_))), "{put:?}");
    pass(Duration::from_secs(20)).await;
    assert_eq!(world.stored("ams1", id, "k").await.as_deref(), Some("1"), "its deletion may be reverted");
    world.later(3_600_000);
    pass(Duration::from_secs(20)).await;
    for server in ["ams1", "sin1"] {
        assert_eq!(world.stored(server, id, "k").await, None, "{server}");
        assert_eq!(world.stored(server, stays, "k").await.as_deref(), Some("1"), "{server}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_swept_is_taken_over_from_who_has_it_when_its_namespace_is_named_again_and_not_before() {
    let world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.put("fra1", id, "k", "1").await.expect("written");
    pass(CAUGHT_UP).await;
    // The other one's replica of the log is behind.
    world.kv("ams1").named.apply(Renamed::Some(vec![(id, false)]));
    pass(Duration::from_secs(20)).await;
    world.later(3_600_000);
    pass(Duration::from_secs(60)).await;
    assert_eq!(world.stored("ams1", id, "k").await, None);
    world.kv("ams1").named.apply(Renamed::Some(vec![(id, true)]));
    pass(CAUGHT_UP).await;
    assert_eq!(world.stored("ams1", id, "k").await.as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn what_lies_in_namespaces_that_are_gone_is_swept_also_where_what_has_run_out_cannot_be() {
    let world = World::new(&[("fra1", "FRA")]).await;
    let id = KvNamespaceId::from_bytes([1; 16]);
    world.put("fra1", id, "k", "1").await.expect("written");
    let kv = world.kv("fra1");
    kv.own.read(|store, _| store.damage()).await.expect("written");
    kv.named.apply(Renamed::Some(vec![(id, false)]));
    pass(Duration::from_secs(20)).await;
    world.later(3_600_000);
    pass(Duration::from_secs(20)).await;
    assert_eq!(world.stored("fra1", id, "k").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_added_takes_over_its_share_and_what_one_had_that_is_taken_out_moves_to_others() {
    let mut world = World::new(&[("fra1", "FRA"), ("ams1", "AMS")]).await;
    let two = world.about.clone();
    let three = World::new(&[("fra1", "FRA"), ("ams1", "AMS"), ("sin1", "SIN")]).await.about.clone();
    let is_moved = |id: &KvNamespaceId| place::replicas(&three, *id)[0].name == name("sin1");
    let moved: Vec<_> = world.named.iter().copied().filter(is_moved).take(8).collect();
    for id in &moved {
        world.put("fra1", *id, "k", "1").await.expect("written");
    }
    world.restart_as(three).await;
    for id in &moved {
        assert_eq!(world.get("fra1", *id, "k", KvRead::Latest).await, found("1"));
        assert_eq!(world.stored("sin1", *id, "k").await.as_deref(), Some("1"));
        world.put("fra1", *id, "k2", "2").await.expect("written");
    }
    world.restart_as(two).await;
    for (id, server) in moved.iter().flat_map(|id| [(id, "fra1"), (id, "ams1")]) {
        assert_eq!(world.stored(server, *id, "k2").await.as_deref(), Some("2"), "{server}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_store_cannot_be_read_is_represented_by_the_other_replica() {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    let long = "x".repeat(500_000);
    world.put("fra1", id, "k", &long).await.expect("written");
    world.kill("ams1").await;
    let path = world.folder.path().join("ams1/data.mdb");
    std::fs::File::options().write(true).open(&path).expect("a file").set_len(50_000).expect("cut");
    world.damaged.insert(name("ams1"));
    world.start("ams1");
    pass(CAUGHT_UP).await;
    for server in ["fra1", "ams1"] {
        assert_eq!(world.get(server, id, "k", KvRead::Latest).await, found(&long), "{server}");
        world.put(server, id, "k2", "2").await.expect("written");
    }
}

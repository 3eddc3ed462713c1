//! Servers and links that are lost, and come back.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_loss_of_either_replica_loses_nothing_that_was_acknowledged() {
    for lost in ["fra1", "ams1"] {
        let mut world = World::of_four().await;
        let id = world.queue("jobs", ["fra1", "ams1"], Some(puller()));
        world.send("sin1", id, &["a", "b"]).await.expect("it is reached");
        assert_eq!(world.stored("fra1", id), 2);
        assert_eq!(world.stored("ams1", id), 2);
        world.kill(lost).await;
        world.send("sin1", id, &["c"]).await.expect("one replica is there");
        pass(TAKEN_OVER).await;
        let pulled = world.pull("fra2", id).await.expect("one replica is there");
        assert_eq!(
            (texts_of(&pulled), pulled.backlog.messages),
            (vec!["a".into(), "b".into(), "c".into()], 3)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_other_replica_delivers_while_the_home_is_away_and_nobody_else() {
    let mut world = World::of_four().await;
    let id = world.queue("jobs", ["fra1", "ams1"], Some(worker(10)));
    world.send("sin1", id, &["a"]).await.expect("it is reached");
    pass(Duration::from_secs(1)).await;
    assert_eq!(world.given(), [(name("fra1"), vec![("a".into(), 1)])], "the home delivers");
    world.kill("fra1").await;
    world.send("sin1", id, &["b"]).await.expect("one replica is there");
    pass(TAKEN_OVER).await;
    assert_eq!(world.given(), [(name("ams1"), vec![("b".into(), 1)])]);
    // What was done meanwhile is not done again when it is back.
    world.start("fra1");
    pass(TAKEN_OVER).await;
    assert_eq!(world.given(), []);
    world.send("sin1", id, &["c"]).await.expect("it is reached");
    pass(Duration::from_secs(1)).await;
    assert_eq!(world.given(), [(name("fra1"), vec![("c".into(), 1)])], "it is the home again");
    assert_eq!((world.stored("fra1", id), world.stored("ams1", id)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_ends_before_it_is_said_what_became_of_messages_has_them_delivered_again() {
    let mut world = World::new(&[("fra1", "FRA")]).await;
    world.name(QueueId::from_bytes([9; 16]), "jobs", Some(worker(10)));
    let id = QueueId::from_bytes([9; 16]);
    let workers = Arc::clone(&world.workers);
    let held = workers.gate.write().await;
    world.send("fra1", id, &["a"]).await.expect("it is here");
    pass(Duration::from_secs(1)).await;
    assert_eq!(world.given().len(), 1);
    assert_eq!(world.stored("fra1", id), 1, "it is under way, and not done with");
    // The store of a process that was killed at this moment.
    let folder = tempfile::tempdir().expect("a folder");
    let file = "data.mdb";
    std::fs::copy(world.folder.path().join("fra1").join(file), folder.path().join(file)).expect("copied");
    let store = Store::open(folder.path(), 64 << 20, Space::endless()).expect("it opens");
    let ready = store.ready(id, world.clock.now(), 10, &HashSet::new()).expect("readable");
    assert_eq!(ready.len(), 1, "it is delivered by the next process");
    drop(held);
    pass(Duration::from_secs(1)).await;
    assert_eq!(world.stored("fra1", id), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_other_replica_missed_it_does_in_order_when_it_is_back() {
    let mut world = World::of_four().await;
    let id = world.queue("jobs", ["fra1", "ams1"], Some(puller()));
    world.link("fra1", "ams1", false);
    world.send("fra1", id, &["a", "b", "c"]).await.expect("the home is here");
    let pulled = world.pull("fra1", id).await.expect("the home is here");
    assert_eq!(world.settle("fra1", id, &pulled.messages[0].lease, QueueSettling::Ack).await, [1, 0, 0]);
    assert_eq!(
        world.settle("fra1", id, &pulled.messages[1].lease, QueueSettling::Retry(Some(60))).await,
        [0, 1, 0]
    );
    assert_eq!(world.stored("ams1", id), 0);
    world.link("fra1", "ams1", true);
    pass(Duration::from_secs(20)).await;
    assert_eq!((world.stored("fra1", id), world.stored("ams1", id)), (2, 2));
    let store = world.home("ams1").own.store().expect("it is there");
    assert_eq!(store.next_due(id, &HashSet::new()).expect("readable").map(|due| due > BEGAN), Some(true));
    // Its lease counts there, too.
    world.kill("fra1").await;
    pass(TAKEN_OVER).await;
    assert_eq!(world.settle("sin1", id, &pulled.messages[2].lease, QueueSettling::Ack).await, [1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn two_sides_of_a_parted_network_may_deliver_the_same_and_agree_afterwards() {
    let mut world = World::of_four().await;
    let id = world.queue("jobs", ["fra1", "ams1"], Some(worker(10)));
    world.change(id, |queue| queue.settings.is_paused = true);
    world.send("sin1", id, &["a"]).await.expect("it is reached");
    world.link("fra1", "ams1", false);
    pass(TAKEN_OVER).await;
    world.change(id, |queue| queue.settings.is_paused = false);
    pass(TAKEN_OVER).await;
    assert_eq!(world.texts(), ["a", "a"], "each of them takes the other one to be away");
    world.link("fra1", "ams1", true);
    pass(TAKEN_OVER).await;
    assert_eq!((world.stored("fra1", id), world.stored("ams1", id)), (0, 0));
    assert_eq!(world.texts(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn without_both_replicas_it_is_told_that_nobody_is_reached() {
    let mut world = World::of_four().await;
    let id = world.queue("jobs", ["fra1", "ams1"], None);
    world.kill("fra1").await;
    world.kill("ams1").await;
    let refusal = world.send("sin1", id, &["a"]).await.expect_err("nobody has it");
    assert!(matches!(refusal, QueueError::Unreachable(_)), "{refusal}");
    let unknown = world.send("sin1", QueueId::from_bytes([255; 16]), &["a"]).await;
    assert!(unknown.is_err(), "a queue that nobody has named");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_no_room_for_a_copy_has_the_message_refused() {
    let mut world = World::of_four().await;
    world.kill("ams1").await;
    world.config.store_bytes_max = 4 << 20;
    world.start("ams1");
    pass(Duration::from_secs(10)).await;
    let id = world.queue("jobs", ["fra1", "ams1"], None);
    let large = "x".repeat(128_000);
    let mut taken = 0;
    let refusal = loop {
        match world.send("sin1", id, &[&large]).await {
            Ok(_) => taken += 1,
            Err(refusal) => break refusal,
        }
        assert!(taken < 40, "4 MiB have no room for so many");
    };
    assert!(matches!(refusal, QueueError::Full(_)), "{refusal}");
    assert!(taken > 5, "{taken}");
    pass(Duration::from_secs(10)).await;
    assert_eq!((world.stored("fra1", id), world.stored("ams1", id)), (taken, taken), "it is kept nowhere");
    assert_eq!(world.port("sin1").purge(id).await, Ok(taken), "what is there goes");
    pass(Duration::from_secs(10)).await;
    world.send("sin1", id, &[&large]).await.expect("there is room again");
}

#[tokio::test(start_paused = true)]
async fn messages_follow_their_queue_when_servers_are_added_and_taken_out() {
    let all = [("fra1", "FRA"), ("ams1", "AMS"), ("sin1", "SIN"), ("hel1", "HEL")];
    let mut world = World::new(&all[..2]).await;
    // With all four it is one that neither of the first two has, and with three one that sin1 has with one of them.
    let four = about(&all);
    let chosen = |about: &[ServerAbout], id: &QueueId| {
        let mut names: Vec<_> = replicas(about, id.as_bytes()).iter().map(|it| it.name.to_string()).collect();
        names.sort_unstable();
        names
    };
    let is_so = |id: &QueueId| {
        chosen(&four, id) == ["hel1", "sin1"] && chosen(&four[..3], id).contains(&"sin1".to_owned())
    };
    let id = (0..=255).map(|number| QueueId::from_bytes([number; 16])).find(is_so).expect("one of 256");
    world.name(id, "jobs", None);
    world.send("fra1", id, &["a", "b", "c"]).await.expect("it is reached");
    for count in [3, 4] {
        for (server, _) in &all[..count - 1] {
            world.kill(server).await;
        }
        world.about = four[..count].to_vec();
        for (server, _) in &all[..count] {
            world.start(server);
        }
        pass(Duration::from_secs(120)).await;
        for (server, _) in &all[..count] {
            let has = chosen(&world.about, &id).contains(&(*server).to_owned());
            assert_eq!(world.stored(server, id), if has { 3 } else { 0 }, "{server} of {count}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_another_server_goes_on_with_takes_nothing_that_came_meanwhile() {
    let mut world = World::of_four().await;
    let id = world.queue("jobs", ["fra1", "ams1"], None);
    world.send("fra1", id, &["a", "b"]).await.expect("it is here");
    world.silence("sin1", "fra1", true);
    let port = world.port("sin1");
    let purging = tokio::spawn(async move { port.purge(id).await });
    pass(Duration::from_secs(1)).await;
    assert!(!purging.is_finished(), "its home says nothing");
    world.send("fra2", id, &["c"]).await.expect("it is reached by others");
    assert_eq!(purging.await.expect("no panic"), Ok(2));
    pass(Duration::from_secs(10)).await;
    assert_eq!((world.stored("fra1", id), world.stored("ams1", id)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_done_with_while_its_server_was_away_is_not_sent_on_when_the_queue_has_others() {
    let all = [("fra1", "FRA"), ("ams1", "AMS"), ("sin1", "SIN")];
    let mut world = World::new(&all[..2]).await;
    let three = about(&all);
    let has_not = |id: &QueueId| replicas(&three, id.as_bytes()).iter().all(|it| it.name.as_str() != "fra1");
    let id = (0..=255).map(|number| QueueId::from_bytes([number; 16])).find(has_not).expect("one of 256");
    world.name(id, "jobs", Some(puller()));
    world.send("ams1", id, &["a"]).await.expect("it is reached");
    world.kill("fra1").await;
    pass(TAKEN_OVER).await;
    let pulled = world.pull("ams1", id).await.expect("one replica is there");
    assert_eq!(world.settle("ams1", id, &pulled.messages[0].lease, QueueSettling::Ack).await, [1, 0, 0]);
    world.kill("ams1").await;
    world.about = three;
    world.start("ams1");
    world.start("sin1");
    pass(TAKEN_OVER).await;
    world.start("fra1");
    pass(Duration::from_secs(120)).await;
    for (server, _) in all {
        assert_eq!(world.stored(server, id), 0, "{server}");
    }
}

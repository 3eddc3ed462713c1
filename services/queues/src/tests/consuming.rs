//! Who takes messages: Workers, and whoever pulls.

use super::*;

async fn alone(consumer: Option<QueueConsumer>) -> (World, QueueId) {
    let mut world = World::new(&[("fra1", "FRA")]).await;
    let id = QueueId::from_bytes([9; 16]);
    world.name(id, "jobs", consumer);
    (world, id)
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:03}")).collect()
}

async fn send_all(world: &World, id: QueueId, texts: &[String]) {
    for part in texts.chunks(100) {
        let part: Vec<_> = part.iter().map(String::as_str).collect();
        world.send("fra1", id, &part).await.expect("it is here");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_until_it_is_full_or_long_enough() {
    let (mut world, id) = alone(Some(worker(3))).await;
    world.change(id, |queue| {
        if let Some(QueueConsumer { reader: QueueReader::Worker { max_wait_ms, .. }, .. }) =
            &mut queue.consumer
        {
            *max_wait_ms = 5_000;
        }
    });
    send_all(&world, id, &numbered(4)).await;
    pass(Duration::from_secs(1)).await;
    let batches: Vec<_> = world.given().iter().map(|(_, batch)| batch.len()).collect();
    assert_eq!(batches, [3], "the fourth waits for others");
    pass(Duration::from_secs(3)).await;
    assert_eq!(world.given(), []);
    pass(Duration::from_secs(2)).await;
    assert_eq!(world.texts().len(), 1);
    assert_eq!(world.stored("fra1", id), 0);
}

#[tokio::test(start_paused = true)]
async fn more_batches_are_under_way_while_more_waits_and_no_more_than_may_be() {
    let (mut world, id) = alone(Some(worker(1))).await;
    let set = |queue: &mut Queue, most: Option<u32>| {
        if let Some(QueueConsumer { reader: QueueReader::Worker { max_concurrency, .. }, .. }) =
            &mut queue.consumer
        {
            *max_concurrency = most;
        }
    };
    world.change(id, |queue| set(queue, Some(3)));
    let texts = numbered(200);
    send_all(&world, id, &texts).await;
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.texts(), texts);
    let most = std::mem::take(&mut *lock(&world.workers.running)).1;
    assert!((2..=3).contains(&most), "{most}");
    world.change(id, |queue| set(queue, None));
    send_all(&world, id, &texts).await;
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.texts(), texts);
    assert!(lock(&world.workers.running).1 > 3);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_always_fails_has_its_messages_moved_to_the_dead_letter_queue() {
    let mut world = World::of_four().await;
    let dead = world.queue("dead", ["sin1", "fra2"], Some(puller()));
    let consumer = QueueConsumer {
        max_retries: 2,
        dead_letter_queue: Some(QueueName::parse("dead").expect("a name")),
        ..worker(10)
    };
    let id = world.queue("jobs", ["fra1", "ams1"], Some(consumer));
    world.says(|_| Ok(QueueOutcome { threw: true, messages: vec![], others: QueueSettling::Retry(None) }));
    world.send("ams1", id, &["a"]).await.expect("it is reached");
    pass(Duration::from_secs(5)).await;
    let attempts: Vec<_> = world.given().iter().map(|(_, batch)| batch[0].1).collect();
    assert_eq!(attempts, [1, 2, 3], "once, and two times more");
    assert_eq!((world.stored("fra1", id), world.stored("sin1", dead)), (0, 1));
    let pulled = world.pull("ams1", dead).await.expect("it is reached");
    assert_eq!((texts_of(&pulled), pulled.messages[0].attempts), (vec!["a".to_owned()], 1));
    // Without a dead letter queue they are dropped; where it is gone, they stay.
    world.change(id, |queue| queue.consumer.as_mut().expect("one").dead_letter_queue = None);
    world.send("ams1", id, &["b"]).await.expect("it is reached");
    pass(Duration::from_secs(5)).await;
    assert_eq!((world.stored("fra1", id), world.home("fra1").metrics.dropped.get()), (0, 1));
    let gone = Some(QueueName::parse("gone").expect("a name"));
    world.change(id, |queue| queue.consumer.as_mut().expect("one").dead_letter_queue = gone);
    world.send("ams1", id, &["c"]).await.expect("it is reached");
    pass(Duration::from_secs(120)).await;
    assert_eq!(world.stored("fra1", id), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_says_of_each_message_is_done() {
    let (world, id) = alone(Some(QueueConsumer { retry_delay_seconds: 5, ..worker(10) })).await;
    world.says(|texts| {
        let said = [("b", QueueSettling::Retry(Some(60))), ("c", QueueSettling::Retry(None))];
        let is_there = |(text, _): &(&str, _)| texts.iter().any(|it| it == text);
        let messages = said.into_iter().filter(is_there).map(|(text, it)| (text.to_owned(), it)).collect();
        Ok(QueueOutcome { threw: false, messages, others: QueueSettling::Ack })
    });
    world.send("fra1", id, &["a", "b", "c"]).await.expect("it is here");
    pass(Duration::from_secs(1)).await;
    assert_eq!(world.stored("fra1", id), 2);
    world.says(|_| acked());
    pass(Duration::from_secs(50)).await;
    assert_eq!(world.stored("fra1", id), 1, "one waits for its minute");
    pass(Duration::from_secs(20)).await;
    let attempts = |given: Vec<Given>, text: &str| {
        let of_text = |(_, batch): Given| {
            batch.into_iter().filter(|(it, _)| it == text).map(|(_, attempts)| attempts).max()
        };
        given.into_iter().filter_map(of_text).max()
    };
    let given = world.given();
    assert_eq!(attempts(given.clone(), "a"), Some(1));
    assert_eq!(attempts(given, "b"), Some(2));
    assert_eq!(world.stored("fra1", id), 0);
}

#[tokio::test(start_paused = true)]
async fn what_no_worker_takes_waits_and_does_not_count_as_delivered() {
    let (mut world, id) = alone(Some(worker(10))).await;
    world.says(|_| Err(NotConsumed::Absent));
    world.send("fra1", id, &["a"]).await.expect("it is here");
    pass(Duration::from_secs(300)).await;
    let tried = world.given().len();
    assert!((5..30).contains(&tried), "{tried}: it is tried, and not all the time");
    assert_eq!(world.home("fra1").metrics.held_back.get(), tried as u64);
    world.says(|_| acked());
    pass(Duration::from_secs(60)).await;
    assert_eq!(world.given(), [(name("fra1"), vec![("a".into(), 1)])]);
    // Nor while delivery is paused, or without a consumer.
    world.change(id, |queue| queue.settings.is_paused = true);
    world.send("fra1", id, &["b"]).await.expect("it is here");
    pass(Duration::from_secs(60)).await;
    assert_eq!(world.given(), []);
    world.change(id, |queue| (queue.settings.is_paused, queue.consumer) = (false, None));
    pass(Duration::from_secs(60)).await;
    assert_eq!(world.given(), []);
    world.change(id, |queue| queue.consumer = Some(worker(10)));
    pass(Duration::from_secs(1)).await;
    assert_eq!(world.texts(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn messages_wait_as_long_as_is_said_and_are_kept_no_longer_than_may_be() {
    let (mut world, id) = alone(Some(worker(10))).await;
    world.change(id, |queue| {
        queue.settings.delivery_delay_seconds = 30;
        queue.settings.retention_seconds = 60;
    });
    let message = |text: &str, delay_seconds| QueueMessage {
        content_type: QueueContentType::Text,
        body: text.to_owned().into(),
        delay_seconds,
    };
    let messages = vec![message("now", Some(0)), message("as queue", None), message("never", Some(600))];
    world.port("fra1").send(id, messages).await.expect("it is here");
    pass(Duration::from_secs(1)).await;
    assert_eq!(world.texts(), ["now"]);
    pass(Duration::from_secs(28)).await;
    assert_eq!(world.given(), []);
    pass(Duration::from_secs(3)).await;
    assert_eq!(world.texts(), ["as queue"]);
    pass(Duration::from_secs(600)).await;
    assert_eq!((world.given(), world.stored("fra1", id)), (vec![], 0));
    assert_eq!(world.home("fra1").metrics.swept.get(), 1);
    // Those of a queue that is gone are kept for a while, for it may come back.
    world.change(id, |queue| queue.consumer = None);
    world.send("fra1", id, &["orphan"]).await.expect("it is here");
    world.named.clear();
    world.tell_names();
    pass(Duration::from_secs(3_500)).await;
    assert_eq!(world.stored("fra1", id), 1);
    pass(Duration::from_secs(200)).await;
    assert_eq!(world.stored("fra1", id), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_pulled_is_shown_to_nobody_else_until_its_lease_runs_out() {
    let mut world = World::of_four().await;
    let id = world.queue("jobs", ["fra1", "ams1"], Some(puller()));
    world.send("fra2", id, &["a", "b"]).await.expect("it is reached");
    let first = world.pull("sin1", id).await.expect("it is reached");
    assert_eq!((texts_of(&first), first.backlog.messages), (vec!["a".into(), "b".into()], 2));
    assert!(first.messages.iter().all(|message| message.attempts == 1 && message.id.len() == 32));
    assert!(world.pull("fra2", id).await.expect("it is reached").messages.is_empty());
    assert_eq!(world.settle("fra2", id, &first.messages[0].lease, QueueSettling::Ack).await, [1, 0, 0]);
    assert_eq!(world.settle("fra2", id, "nonsense", QueueSettling::Ack).await, [0, 0, 1]);
    pass(Duration::from_secs(61)).await;
    let second = world.pull("ams1", id).await.expect("it is reached");
    assert_eq!((second.messages.len(), second.messages[0].attempts), (1, 2));
    let stale = &first.messages[1].lease;
    assert_eq!(world.settle("fra2", id, stale, QueueSettling::Ack).await, [0, 0, 1], "another one has it");
    let lease = &second.messages[0].lease;
    assert_eq!(world.settle("fra2", id, lease, QueueSettling::Retry(Some(5))).await, [0, 1, 0]);
    assert!(world.pull("ams1", id).await.expect("it is reached").messages.is_empty());
    // As often as may be, and no more.
    for attempts in 3..=4 {
        pass(Duration::from_secs(61)).await;
        assert_eq!(world.pull("ams1", id).await.expect("it is reached").messages[0].attempts, attempts);
    }
    pass(Duration::from_secs(61)).await;
    assert!(world.pull("ams1", id).await.expect("it is reached").messages.is_empty());
    assert_eq!((world.stored("fra1", id), world.home("fra1").metrics.dropped.get()), (0, 1));
    world.change(id, |queue| queue.consumer = Some(worker(10)));
    let refusal = world.pull("ams1", id).await.expect_err("it is pushed");
    assert!(matches!(refusal, QueueError::Invalid(_)), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn messages_go_round_in_no_circle_of_dead_letter_queues() {
    let mut world = World::new(&[("fra1", "FRA")]).await;
    let failing = |dead: &str| QueueConsumer {
        max_retries: 0,
        dead_letter_queue: Some(QueueName::parse(dead).expect("a name")),
        ..worker(10)
    };
    let ids = [1, 2, 3].map(|number| QueueId::from_bytes([number; 16]));
    for (id, called, dead) in [(ids[0], "a", "b"), (ids[1], "b", "c"), (ids[2], "c", "b")] {
        world.name(id, called, Some(failing(dead)));
        world.change(id, |queue| queue.settings.retention_seconds = 3_600);
    }
    world.says(|_| Ok(QueueOutcome { threw: true, messages: vec![], others: QueueSettling::Retry(None) }));
    world.send("fra1", ids[0], &["x"]).await.expect("it is here");
    pass(Duration::from_secs(600)).await;
    assert_eq!(ids.map(|id| world.stored("fra1", id)), [0, 1, 0], "to the circle, and not round it");
    assert_eq!((world.given().len(), world.home("fra1").metrics.buried.get()), (2, 1));
    pass(Duration::from_secs(3_600)).await;
    assert_eq!(world.stored("fra1", ids[1]), 0, "as long as it may be kept");
}

#[tokio::test(start_paused = true)]
async fn of_leases_that_are_settled_at_once_those_that_had_run_out_are_told_unless_the_home_is_older() {
    let mut world = World::of_four().await;
    let id = world.queue("jobs", ["fra1", "ams1"], Some(puller()));
    world.send("fra2", id, &["a", "b", "c", "d"]).await.expect("it is reached");
    let stale = world.pull("sin1", id).await.expect("it is reached").messages;
    pass(Duration::from_secs(61)).await;
    let held = world.pull("sin1", id).await.expect("it is reached").messages;
    let settle = async |settled: Vec<(&String, QueueSettling)>| {
        let settled = settled.into_iter();
        let settled = settled.map(|(lease, settling)| QueueSettled { lease: lease.clone(), settling });
        world.port("sin1").settle(id, settled.collect()).await.expect("it is reached")
    };
    let told = settle(vec![
        (&held[0].lease, QueueSettling::Retry(None)),
        (&stale[1].lease, QueueSettling::Ack),
        (&held[2].lease, QueueSettling::Ack),
        (&stale[3].lease, QueueSettling::Retry(None)),
    ])
    .await;
    assert_eq!((told.acked, told.retried), (1, 1));
    assert_eq!(told.stale, [stale[1].lease.clone(), stale[3].lease.clone()]);

    // A home of the version before tells none of them, and is asked all the same while the other replica is away.
    lock(&world.network.old).insert(name("fra1"));
    world.link("sin1", "ams1", false);
    let told =
        settle(vec![(&held[1].lease, QueueSettling::Ack), (&stale[3].lease, QueueSettling::Ack)]).await;
    assert_eq!((told.acked, told.retried, told.stale), (1, 0, Vec::new()));
}

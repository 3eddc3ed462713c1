//! Room and places: what takes all that it can, and what goes on all the same.

use super::*;
use crate::{
    home::REQUESTS_MAX,
    message::{Message, MessageId, State},
    store::{Job, Put},
};

/// A queue of a number, and of an account of one.
fn numbered(world: &mut World, number: u16, account: u8) -> QueueId {
    let mut octets = [0; 16];
    octets[..2].copy_from_slice(&number.to_be_bytes());
    let id = QueueId::from_bytes(octets);
    world.name(id, &format!("jobs-{number}"), Some(worker(1)));
    world.change(id, |queue| queue.account = AccountId::from_bytes([account; 16]));
    id
}

#[tokio::test(start_paused = true)]
async fn accounts_whose_batches_last_leave_places_for_those_of_others() {
    let mut world = World::new(&[("fra1", "FRA")]).await;
    let workers = Arc::clone(&world.workers);
    let held = workers.gate.write().await;
    for number in 0..=256_u16 {
        let account = u8::try_from(number / 64).expect("a few");
        let id = numbered(&mut world, number, account);
        world.send("fra1", id, &[&number.to_string()]).await.expect("it is here");
        if number % 64 == 63 {
            pass(Duration::from_secs(1)).await;
        }
    }
    pass(Duration::from_secs(10)).await;
    let mut counts = [0; 5];
    let mut given = world.texts();
    for text in &given {
        counts[text.parse::<usize>().expect("a number") / 64] += 1;
    }
    assert_eq!(counts, [64, 64, 32, 16, 1], "the fifth account has one message, which is delivered");
    drop(held);
    pass(Duration::from_secs(10)).await;
    given.extend(world.texts());
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 257, "the others have their turn");
    assert_eq!(world.home("fra1").own.store().expect("it is there").messages(), Ok(0));
}

#[tokio::test(start_paused = true)]
async fn copies_are_made_while_requests_of_clients_take_all_places() {
    let mut world = World::of_four().await;
    let id = world.queue("jobs", ["fra1", "ams1"], None);
    let all = u32::try_from(REQUESTS_MAX).expect("a few");
    for server in ["fra1", "ams1"] {
        let home = Arc::clone(world.home(server));
        // For as long as the test lasts.
        home.others.acquire_many(all).await.expect("nobody has any").forget();
    }
    let refusal = world.send("sin1", id, &["passed on"]).await.expect_err("there is no place");
    assert_eq!(refusal, QueueError::Busy);
    world.send("fra1", id, &["here"]).await.expect("the other replica has a place for a copy");
    assert_eq!((world.stored("fra1", id), world.stored("ams1", id)), (1, 1));
    pass(TAKEN_OVER).await;
    assert!(!world.home("ams1").links.get(&name("fra1")).expect("a server").is_away(), "it is greeted, too");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_away_is_not_told_all_anew_time_and_again() {
    let mut world = World::of_four().await;
    let id = world.queue("jobs", ["fra1", "ams1"], None);
    for _ in 0..15 {
        world.send("fra1", id, &["x"; 100]).await.expect("it is here");
    }
    world.kill("ams1").await;
    pass(TAKEN_OVER).await;
    let home = Arc::clone(world.home("fra1"));
    let untaken = Job::Untaken { server: name("ams1"), queues: HashSet::from([id]) };
    home.write(untaken).await.expect("written");
    let untold = || home.own.store().expect("it is there").untold(&name("ams1")).expect("readable").1;
    pass(Duration::from_secs(120)).await;
    assert_eq!(untold(), 0, "nothing gathers for who does not take it");
    world.start("ams1");
    pass(Duration::from_secs(60)).await;
    assert_eq!(home.own.store().expect("it is there").is_told(id, &name("ams1")), Ok(true));
    assert_eq!(untold(), 0);
    drop(home);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_waits_for_what_was_there_when_it_came_and_not_for_more() {
    let world = World::of_four().await;
    let home = world.home("fra1");
    let (link, store) = (home.links.get(&name("ams1")).expect("a server"), proxima_store::StoreId::default());
    let unsettled = crate::links::Links::new([name("ams1")].into_iter());
    let fresh = unsettled.get(&name("ams1")).expect("a server");
    home.note_met(fresh, store, 2).await;
    assert!(!unsettled.are_settled(), "two are to come");
    let delete = |number| crate::wire::Numbered {
        number,
        operation: crate::wire::Operation::Delete([0; 16], MessageId::from_octets([0; 16])),
    };
    let operations = (1..=3).map(delete).collect();
    home.write(Job::Take { from: link.server.clone(), store, operations }).await.expect("written");
    home.note_met(fresh, store, 9).await;
    assert!(unsettled.are_settled(), "what has come since keeps nothing waiting");
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_which_much_is_too_old_keeps_no_other_one_from_being_swept() {
    let mut world = World::new(&[("fra1", "FRA")]).await;
    let (much, little) = (numbered(&mut world, 1, 1), numbered(&mut world, 2, 1));
    let at = Timestamp::from_millis(BEGAN - 1_000 * 345_601);
    let message = || Message {
        id: MessageId::new(at),
        state: State { due_ms: i64::MAX, attempts: 0 },
        content_type: QueueContentType::Text,
        body: "x".into(),
    };
    let put = async |queue, count: usize| {
        let messages = (0..count).map(|_| message()).collect();
        let put = Put { queue, messages, other: None, octets_max: 1 << 30 };
        world.home("fra1").write(Job::Put(put)).await.expect("there is room");
    };
    for _ in 0..40 {
        put(much, 1_000).await;
    }
    put(little, 1).await;
    pass(Duration::from_millis(10_500)).await;
    assert_eq!(world.stored("fra1", little), 0, "it had its turn");
    assert!(world.stored("fra1", much) > 0, "in bounds");
    pass(Duration::from_secs(1)).await;
    assert_eq!(world.stored("fra1", much), 0, "and the rest a moment later");
}

//! Reads from elsewhere: how soon they see what was written, and who is asked.

use super::*;
use crate::{cache::STALE_MAX, metrics::From};

fn is_read(question: &Question) -> bool {
    matches!(question, Question::Read { .. })
}

impl World {
    /// Who was asked for a key since this was called last.
    fn asked_for_a_key(&self) -> Vec<String> {
        let asked = self.asked().into_iter().filter(|(_, question)| is_read(question));
        asked.map(|(server, _)| server.as_str().to_owned()).collect()
    }

    /// A key for which `asker` asks `near` first.
    fn key_near(&self, id: KvNamespaceId, asker: &str, near: &str) -> String {
        let is_so = |text: &String| {
            place::near(&self.about, &name(asker), id, &key(text)).is_some_and(|it| it.name == name(near))
        };
        (0..100).map(|number| format!("key {number}")).find(is_so).expect("one of a hundred")
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_seen_at_once_at_home_and_elsewhere_when_caches_have_been_told() {
    let world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.put("fra1", id, "k", "1").await.expect("written");
    for server in ["fra1", "fra2", "ams1", "sin1"] {
        assert_eq!(world.get(server, id, "k", MINUTE).await, found("1"), "{server}");
    }
    world.put("sin1", id, "k", "2").await.expect("written");
    for server in ["ams1", "sin1"] {
        assert_eq!(world.get(server, id, "k", MINUTE).await, found("2"), "{server}");
    }
    assert_eq!(world.get("fra2", id, "k", KvRead::Latest).await, found("2"));
    settle().await;
    assert_eq!(world.get("fra1", id, "k", MINUTE).await, found("2"));
    assert_eq!(world.port("fra1").delete(id, vec![key("k")]).await, Ok(()));
    assert_eq!(world.get("fra1", id, "k", MINUTE).await, Ok(None), "who has written sees it at once");
    settle().await;
    for server in ["fra2", "ams1", "sin1"] {
        assert_eq!(world.get(server, id, "k", MINUTE).await, Ok(None), "{server}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_not_told_sees_it_when_what_it_has_is_as_old_as_its_reader_takes() {
    let world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.put("ams1", id, "k", "1").await.expect("written");
    settle().await;
    for server in ["fra1", "fra2"] {
        assert_eq!(world.get(server, id, "k", MINUTE).await, found("1"));
    }
    world.lose(Some(|question| matches!(question, Question::Forget(_))));
    world.put("ams1", id, "k", "2").await.expect("written");
    pass(Duration::from_secs(59)).await;
    for server in ["fra1", "fra2"] {
        assert_eq!(world.get(server, id, "k", MINUTE).await, found("1"), "it has not heard");
    }
    pass(Duration::from_secs(1)).await;
    let longer = KvRead::Cached(Duration::from_secs(600));
    assert_eq!(world.get("fra1", id, "k", longer).await, found("1"), "as its reader asked for");
    for server in ["fra1", "fra2"] {
        assert_eq!(world.get(server, id, "k", MINUTE).await, found("2"), "{server}");
    }
    assert!(world.kv("ams1").metrics.forgets_lost.get() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_heard_of_a_write_does_not_ask_its_way_back_by_one_that_has_not() {
    let world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    let near = world.key_near(id, "fra2", "fra1");
    for wanted in [Ok(None), found("1"), found("2")] {
        for server in ["fra1", "fra2"] {
            assert_eq!(world.get(server, id, &near, MINUTE).await, wanted, "{server}");
        }
        world.meet(Some(|server, question| match question {
            Question::Forget(_) if server == "fra1" => Some(Met::Nothing),
            _ => None,
        }));
        let next = if wanted == found("1") { "2" } else { "1" };
        world.put("ams1", id, &near, next).await.expect("written");
        settle().await;
        assert_eq!(world.get("fra1", id, &near, MINUTE).await, wanted, "it has not heard");
        assert_eq!(world.get("fra2", id, &near, MINUTE).await, found(next));
        assert_eq!(world.get("fra1", id, &near, MINUTE).await, found(next), "it was asked for a later one");
        // It was not answered, and is not told for a while.
        world.meet(None);
        pass(Duration::from_secs(10)).await;
    }
    // Also not where that one waits itself for what it has asked for before.
    world.meet(Some(|server, question| match question {
        Question::Read { near_ms: Some(_), .. } if server == "fra1" => {
            Some(Met::Says(|| Answer::Found { value: Some(value("old")), age_ms: 5 }))
        }
        _ => None,
    }));
    world.put("ams1", id, &near, "3").await.expect("written");
    settle().await;
    assert_eq!(world.get("fra2", id, &near, MINUTE).await, found("3"));
}

#[tokio::test(start_paused = true)]
async fn the_other_replica_that_has_heard_of_a_write_does_not_answer_from_a_store_that_lacks_it() {
    let world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.put("fra1", id, "k", "1").await.expect("written");
    pass(CAUGHT_UP).await;
    assert_eq!(world.get("sin1", id, "k", MINUTE).await, found("1"));
    world.meet(Some(|server, question| match question {
        Question::Merge(_) if server == "sin1" => Some(Met::Nothing),
        _ => None,
    }));
    world.put("fra1", id, "k", "2").await.expect("written");
    assert_eq!(world.stored("sin1", id, "k").await.as_deref(), Some("1"), "it was not pushed");
    assert_eq!(world.get("sin1", id, "k", MINUTE).await, found("2"));
}

#[tokio::test(start_paused = true)]
async fn that_a_key_has_nothing_is_remembered_and_forgotten_like_a_value() {
    let world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    assert_eq!(world.get("fra1", id, "k", MINUTE).await, Ok(None));
    assert!(!world.asked_for_a_key().is_empty());
    assert_eq!(world.get("fra1", id, "k", MINUTE).await, Ok(None));
    assert_eq!(world.asked_for_a_key(), Vec::<String>::new());
    assert_eq!(world.kv("fra1").metrics.reads(From::Cache), 1);
    world.put("sin1", id, "k", "1").await.expect("written");
    settle().await;
    assert_eq!(world.get("fra1", id, "k", MINUTE).await, found("1"));
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_one_key_at_the_same_time_is_answered_by_one_question_whoever_goes_away() {
    let world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.put("ams1", id, "k", "1").await.expect("written");
    settle().await;
    world.asked();
    let near = world.key_near(id, "fra1", "fra2");
    let kv = world.kv("fra1");
    let held_up = world.network.gate.write().await;
    let mut first = Box::pin(kv.read((id, key(&near)), MINUTE));
    let mut rest = futures_util::future::join_all((0..50).map(|_| kv.read((id, key(&near)), MINUTE)));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut rest).is_pending());
    drop((first, held_up));
    assert!(rest.await.into_iter().all(|read| read == Ok(None)));
    assert_eq!(world.asked_for_a_key().iter().filter(|server| *server == "ams1").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_cache_of_the_pop_is_asked_before_the_home_and_passed_over_when_it_is_away() {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    let near = world.key_near(id, "fra2", "fra1");
    world.put("ams1", id, &near, "1").await.expect("written");
    settle().await;
    world.asked();
    assert_eq!(world.get("fra2", id, &near, MINUTE).await, found("1"));
    assert_eq!(world.asked_for_a_key(), ["fra1", "ams1"]);
    assert_eq!(world.get("fra1", id, &near, MINUTE).await, found("1"));
    assert_eq!(world.asked_for_a_key(), Vec::<String>::new(), "it has it from having been asked");
    assert_eq!(world.kv("fra2").metrics.reads(From::Pop), 1);
    // How old it is goes along: both run out together.
    pass(Duration::from_secs(40)).await;
    world.kv("fra2").cache.evict(&(id, key(&near)));
    assert_eq!(world.get("fra2", id, &near, MINUTE).await, found("1"));
    assert_eq!(world.asked_for_a_key(), ["fra1"]);
    pass(Duration::from_secs(21)).await;
    world.kill("fra1").await;
    assert_eq!(world.get("fra2", id, &near, MINUTE).await, found("1"));
    assert_eq!(world.asked_for_a_key(), ["ams1"]);
}

#[tokio::test(start_paused = true)]
async fn where_no_replica_is_reached_what_has_run_out_is_given_for_an_hour_and_the_latest_is_not() {
    let world = World::new(&[("fra1", "FRA"), ("ams1", "AMS"), ("sin1", "SIN")]).await;
    let id = world.namespace("ams1", "sin1");
    world.put("ams1", id, "k", "1").await.expect("written");
    settle().await;
    assert_eq!(world.get("fra1", id, "k", MINUTE).await, found("1"));
    for other in ["ams1", "sin1"] {
        world.link("fra1", other, false);
    }
    pass(Duration::from_secs(61)).await;
    assert_eq!(world.get("fra1", id, "k", MINUTE).await, found("1"));
    assert_eq!(world.kv("fra1").metrics.reads(From::Stale), 1);
    assert!(matches!(world.get("fra1", id, "k", KvRead::Latest).await, Err(KvError::Unreachable(_))));
    assert!(matches!(world.get("fra1", id, "other", MINUTE).await, Err(KvError::Unreachable(_))));
    pass(STALE_MAX).await;
    assert!(matches!(world.get("fra1", id, "k", MINUTE).await, Err(KvError::Unreachable(_))));
}

#[tokio::test(start_paused = true)]
async fn what_the_other_replica_tells_is_as_old_as_what_it_took_over_from_the_home() {
    let world = World::new(&[("fra1", "FRA"), ("ams1", "AMS"), ("sin1", "SIN"), ("sin2", "SIN")]).await;
    let id = world.namespace("ams1", "sin1");
    let near = world.key_near(id, "sin2", "sin1");
    // Nobody hears that it is written.
    let unheard: Meets = |_, question| matches!(question, Question::Forget(_)).then_some(Met::Nothing);
    world.meet(Some(unheard));
    world.put("fra1", id, &near, "1").await.expect("written");
    settle().await;
    // It misses a write, and does not take it over: what it has, it has known since it was started.
    world.meet(Some(|server, question| match question {
        Question::Merge(_) if server == "sin1" => Some(Met::Nothing),
        Question::Forget(_) => Some(Met::Nothing),
        Question::ChangesAmong { .. } if server == "ams1" => Some(Met::Nothing),
        _ => None,
    }));
    world.put("fra1", id, &near, "2").await.expect("written");
    pass(Duration::from_secs(45)).await;
    assert_eq!(world.get("sin2", id, &near, MINUTE).await, found("1"));
    let half = KvRead::Cached(Duration::from_secs(30));
    assert_eq!(world.get("sin1", id, &near, half).await, found("2"));
    pass(Duration::from_secs(15)).await;
    for server in ["sin1", "sin2"] {
        assert_eq!(world.get(server, id, &near, MINUTE).await, found("2"), "{server}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_the_homes_from_wherever_it_is_asked() {
    let world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    for text in ["b", "a", "c"] {
        world.put("fra1", id, text, "1").await.expect("written");
    }
    for server in ["fra1", "ams1", "sin1"] {
        let page = world.port(server).list(id, listing("", 2)).await.expect("listed");
        let keys: Vec<_> = page.keys.iter().map(|listed| listed.key.as_str()).collect();
        assert!(keys == ["a", "b"] && page.has_more, "{server}");
    }
}

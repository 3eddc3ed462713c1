//! Changes that reach one server after the other: another list of servers, another version.

use super::*;

#[tokio::test(start_paused = true)]
async fn where_servers_are_restarted_one_by_one_with_another_list_nothing_is_left_behind_and_all_are_served()
{
    let mut world = World::new(&[("fra1", "FRA"), ("ams1", "AMS"), ("sin1", "SIN")]).await;
    // Of the one, another server has it now; the other one stays where it is.
    let (moves, stays) = (world.namespace("ams1", "sin1"), world.namespace("fra1", "ams1"));
    world.put("ams1", moves, "k", "1").await.expect("written");
    world.put("ams1", stays, "k", "1").await.expect("written");
    pass(CAUGHT_UP).await;
    world.kill("fra1").await;
    world.put("ams1", stays, "k", "2").await.expect("written");
    world.about.retain(|server| server.name != name("sin1"));
    world.start("fra1");
    pass(CAUGHT_UP).await;
    // For however long the others still have the former list.
    for server in ["fra1", "ams1"] {
        assert_eq!(world.get(server, stays, "k", KvRead::Latest).await, found("2"), "{server}");
        assert_eq!(world.get(server, moves, "k", KvRead::Latest).await, found("1"), "{server}");
        world.put(server, moves, server, "3").await.expect("written");
    }
    world.kill("sin1").await;
    world.kill("ams1").await;
    world.start("ams1");
    pass(CAUGHT_UP).await;
    for (server, text) in [("fra1", "k"), ("ams1", "k"), ("fra1", "fra1"), ("fra1", "ams1"), ("ams1", "fra1")]
    {
        assert!(world.stored(server, moves, text).await.is_some(), "{server} {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_of_version_1_is_asked_as_it_knows_it_and_anew_when_it_has_been_upgraded() {
    let mut world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.kill("ams1").await;
    std::fs::remove_dir_all(world.folder.path().join("ams1")).expect("a lost disk");
    world.put("fra1", id, "k", "1").await.expect("written");
    world.meet(Some(|_, question| {
        matches!(question, Question::ChangesAmong { .. })
            .then_some(Met::Says(|| Answer::Refused(Refusal::NotUnderstood)))
    }));
    world.start("ams1");
    pass(CAUGHT_UP).await;
    assert_eq!(world.stored("ams1", id, "k").await.as_deref(), Some("1"));
    assert!(world.kv("ams1").replication.is_ready());
    assert_eq!(world.kv("ams1").metrics.unsettled.get(), 0);
    // What one of version 1 has passed over, because its list was another one, is told by the one that comes after it.
    world.meet(None);
    world.asked();
    pass(CAUGHT_UP).await;
    let begins_anew = |question: &Question| matches!(question, Question::ChangesAmong { since, .. } if *since == Default::default());
    let anew: Vec<_> = world.asked().into_iter().filter(|(_, question)| begins_anew(question)).collect();
    assert!(anew.iter().any(|(server, _)| *server == name("sin1")), "{anew:?}");
}

#[tokio::test(start_paused = true)]
async fn namespaces_of_a_server_whose_version_does_not_have_the_service_are_the_other_replicas_meanwhile() {
    let world = World::of_four().await;
    let id = world.namespace("ams1", "sin1");
    world.meet(Some(|server, _| (server == "ams1").then_some(Met::NoService)));
    for server in ["fra1", "sin1"] {
        world.put(server, id, "k", server).await.expect("written");
        assert_eq!(world.get("fra2", id, "k", KvRead::Latest).await, found(server));
        assert_eq!(world.port("fra1").list(id, listing("", 10)).await.expect("listed").keys.len(), 1);
    }
    assert_eq!(world.stored("ams1", id, "k").await, None);
    world.meet(None);
    pass(CAUGHT_UP).await;
    assert_eq!(world.stored("ams1", id, "k").await.as_deref(), Some("sin1"));
}

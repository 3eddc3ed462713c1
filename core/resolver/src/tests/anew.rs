//! Answers for who keeps them himself; how long denials last; and what extended errors say about it.

use super::*;

async fn ask_anew(resolver: &Arc<Resolver<Arc<World>>>, text: &str) -> Answered {
    let query = query(text, rtype::A, 0);
    let mut octets = Vec::new();
    resolver.answer_anew(&query, query.udp_octets_max(), &mut octets).await;
    answered(&octets)
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_kept_is_passed_by_for_who_asks_anew() {
    let world = world(|_| {});
    let resolver = resolver(&world);
    ask(&resolver, "www.plain.test", rtype::A, 0).await;
    world.pass(270);
    assert_eq!(ask(&resolver, "www.plain.test", rtype::A, 0).await.message.answer[0].ttl, 30);
    assert_eq!(ask_anew(&resolver, "www.plain.test").await.message.answer[0].ttl, 300);
    // All have what he found, and who asks anew at once takes it.
    let before = world.count();
    assert_eq!(ask(&resolver, "www.plain.test", rtype::A, 0).await.message.answer[0].ttl, 300);
    assert_eq!(ask_anew(&resolver, "www.plain.test").await.message.answer[0].ttl, 300);
    assert_eq!(world.count(), before);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_remembered_is_passed_by_and_what_had_expired_is_not_answered() {
    let world = world(|_| {});
    let resolver = resolver(&world);
    ask(&resolver, "a.b.c.plain.test", rtype::A, 0).await;
    world.pass(301);
    world.set(ip(PLAIN), Some(Fault::Silent));
    for text in ["www.plain.test", "a.b.c.plain.test"] {
        let failed = ask_anew(&resolver, text).await;
        assert_eq!((failed.message.rcode(), failed.ede), (2, Some(ede::NO_AUTHORITY)), "{text}");
    }
    world.set(ip(PLAIN), None);
    assert_eq!(ask(&resolver, "www.plain.test", rtype::A, 0).await.message.rcode(), 2, "remembered");
    assert_eq!(ask_anew(&resolver, "www.plain.test").await.addresses(), [90]);
}

#[tokio::test(start_paused = true)]
async fn who_asks_anew_joins_a_resolution_that_is_under_way() {
    let world = world(|_| {});
    let resolver = resolver(&world);
    ask(&resolver, "www.signed.test", rtype::A, 0).await;
    world.pass(280);
    let before = world.count();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50 {
        let resolver = resolver.clone();
        tasks.spawn(async move {
            // Some are refreshed ahead by who asks as everybody does.
            match number % 2 {
                0 => ask(&resolver, "www.signed.test", rtype::A, 0).await.addresses(),
                _ => ask_anew(&resolver, "www.signed.test").await.addresses(),
            }
        });
    }
    assert!(tasks.join_all().await.iter().all(|addresses| addresses == &[80]));
    let asked = world.asked.lock().unwrap();
    let again = asked[before..].iter().filter(|it| it.1 == name("www.signed.test")).count();
    assert_eq!(again, 1);
}

#[tokio::test(start_paused = true)]
async fn a_denial_counts_down_from_what_its_zone_says() {
    let soa = |minimum: u32| vec![[&b"\0\0"[..], &[0; 16], &minimum.to_be_bytes()].concat()];
    let world = world(|zone| zone.sets[0].2 = soa(60));
    let resolver = resolver(&world);
    for (passes, text, expected) in [(0, "no.signed.test", 60), (50, "no.signed.test", 10)] {
        world.pass(passes);
        let denied = ask(&resolver, text, rtype::A, DO).await;
        assert_eq!(denied.message.rcode(), 3);
        let ttls: Vec<u32> = denied.message.authority.iter().map(|record| record.ttl).collect();
        assert!(ttls.iter().all(|ttl| *ttl == expected), "{ttls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_denial_that_has_expired_and_a_network_that_is_away_are_told_as_such() {
    let world = world(|_| {});
    let resolver = resolver(&world);
    assert_eq!(ask(&resolver, "no.plain.test", rtype::A, 0).await.message.rcode(), 3);
    world.pass(301);
    world.set(ip(PLAIN), Some(Fault::Unreachable));
    let stale = ask(&resolver, "no.plain.test", rtype::A, 0).await;
    assert_eq!((stale.message.rcode(), stale.ede), (3, Some(ede::STALE_NXDOMAIN)));
    let away = ask(&resolver, "www.plain.test", rtype::A, 0).await;
    assert_eq!((away.message.rcode(), away.ede), (2, Some(ede::NETWORK)));
}

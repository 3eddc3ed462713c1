//! What is asked for again in the last tenth of its time is refreshed before that has passed, and nobody waits for it.

use std::sync::Arc;

use super::{PLAIN, World, answered, ask, ip, name, query, resolver, world};
use crate::{Resolver, message::rtype, upstream::Transport};

type Asked = Arc<Resolver<Arc<World>>>;

const NAME: &str = "www.plain.test";

/// The world, in which the sets of `plain.test` live for so many seconds, and all above it for 300.
fn living_for(seconds: u32) -> Arc<World> {
    let mut world = Arc::into_inner(world(|_| {})).unwrap();
    let plain = world.zones.iter_mut().find(|zone| zone.0 == ip(PLAIN)).unwrap();
    plain.1.ttl = seconds;
    Arc::new(world)
}

/// The TTL of the answer, without waiting: nothing that was begun can go on meanwhile.
fn at_once(resolver: &Asked) -> Option<u32> {
    let (query, mut octets) = (query(NAME, rtype::A, 0), Vec::new());
    resolver.answer_now(&query, query.udp_octets_max(), &mut octets)?;
    let answered = answered(&octets);
    assert_eq!(answered.addresses(), [90]);
    Some(answered.message.answer[0].ttl)
}

/// Lets go on what was begun.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_refreshed_in_the_last_tenth_of_its_time_by_one_question_and_nobody_waits() {
    let world = living_for(100);
    let resolver = resolver(&world);
    assert_eq!(at_once(&resolver), None, "nothing is known");
    ask(&resolver, NAME, rtype::A, 0).await;
    let before = world.count();
    for (passes, left) in [(0, 100), (50, 50), (40, 10)] {
        world.pass(passes);
        assert_eq!(at_once(&resolver), Some(left));
        settle().await;
        assert_eq!((world.count(), resolver.metrics().prefetched.get()), (before, 0), "{left} seconds left");
    }
    world.pass(1);
    for _ in 0..20 {
        assert_eq!(at_once(&resolver), Some(9), "what there is, and at once");
    }
    assert_eq!(world.count(), before, "nobody has waited");
    settle().await;
    assert_eq!((world.count(), resolver.metrics().prefetched.get()), (before + 1, 1));
    let asked = world.asked.lock().unwrap().last().cloned();
    assert_eq!(asked, Some((ip(PLAIN), name(NAME), rtype::A, Transport::Udp)));
    // It has all its time again, from then on.
    assert_eq!(at_once(&resolver), Some(100));
    world.pass(89);
    assert_eq!(at_once(&resolver), Some(11));
    settle().await;
    assert_eq!(world.count(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn what_lives_for_seconds_only_is_not_refreshed() {
    let world = living_for(9);
    let resolver = resolver(&world);
    ask(&resolver, NAME, rtype::A, 0).await;
    let before = world.count();
    for left in (1..=8).rev() {
        world.pass(1);
        assert_eq!(at_once(&resolver), Some(left));
        settle().await;
    }
    assert_eq!((world.count(), resolver.metrics().prefetched.get()), (before, 0));
    world.pass(1);
    assert_eq!(at_once(&resolver), None, "its time has passed");
}

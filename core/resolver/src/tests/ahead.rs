//! A signed zone that is new: its keys and what is sought there are asked for at the same time.

use super::*;

const ROUND_TRIP: Duration = Duration::from_millis(100);

fn far(change: impl FnOnce(&mut Zone)) -> Arc<World> {
    let mut world = Arc::into_inner(world(change)).unwrap();
    world.round_trip = ROUND_TRIP;
    Arc::new(world)
}

#[tokio::test(start_paused = true)]
async fn each_zone_on_the_way_to_a_cold_name_costs_one_round_trip_whether_signed_or_not() {
    for (text, secure, questions) in [("www.signed.test", true, 6), ("www.plain.test", false, 5)] {
        let world = far(|_| {});
        let begun = tokio::time::Instant::now();
        let answered = ask(&resolver(&world), text, rtype::A, 0).await;
        assert_eq!((answered.message.rcode(), answered.is_secure()), (0, secure), "{text}");
        // The root's keys, which are fetched before anybody is asked, the root, the TLD, and the zone.
        assert_eq!(begun.elapsed().as_millis() / ROUND_TRIP.as_millis(), 4, "{text}: {:?}", begun.elapsed());
        assert_eq!(world.count(), questions, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_said_before_the_keys_were_known_is_judged_by_them() {
    let world = far(|zone| zone.is_forged = true);
    let resolver = resolver(&world);
    let answered = ask(&resolver, "www.signed.test", rtype::A, 0).await;
    assert_eq!((answered.message.rcode(), answered.addresses()), (2, vec![]));
    let unchecked = ask(&resolver, "www.signed.test", rtype::A, flag::CD).await;
    assert!(!unchecked.is_secure() && unchecked.message.rcode() == 0);
}

#[tokio::test(start_paused = true)]
async fn what_follows_from_what_is_known_of_a_zone_is_not_asked_while_its_keys_are_fetched_anew() {
    let world = far(|zone| zone.keys_ttl = 10);
    let resolver = resolver(&world);
    ask(&resolver, "no.signed.test", rtype::A, 0).await;
    world.pass(60);
    let before = world.count();
    let answered = ask(&resolver, "other.signed.test", rtype::A, DO).await;
    assert_eq!((answered.message.rcode(), answered.ede), (3, Some(ede::SYNTHESIZED)));
    let asked = world.asked.lock().unwrap();
    let asked: Vec<u16> = asked[before..].iter().filter(|it| it.0 == ip(SIGNED)).map(|it| it.2).collect();
    assert_eq!(asked, [rtype::DNSKEY]);
}

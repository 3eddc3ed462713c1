//! What is believed, for how long, and what an attacker or a mistake makes others believe: nothing.

use super::*;
use crate::tests::world::new_key;

const SECOND: u8 = 7;

/// A root, a TLD, and two zones below it, all signed.
fn signed_world(change: impl FnOnce(&mut Zone, &mut Zone)) -> World {
    let mut signed = Zone::new("signed.test", true)
        .with_a("www.signed.test", 80)
        .with_a("other.signed.test", 81)
        .with_a("third.signed.test", 82);
    let mut evil = Zone::new("evil.test", true).with_a("www.evil.test", 66);
    change(&mut signed, &mut evil);
    let test = Zone::new("test", true).with_child(&signed, SIGNED).with_child(&evil, EVIL);
    let root = Zone::new(".", true).with_child(&test, TEST);
    let zones = [(ROOT, root), (TEST, test), (SIGNED, signed), (EVIL, evil)];
    let world = World { zones: zones.map(|(at, zone)| (ip(at), zone)).into(), ..World::default() };
    world.now.store(BEGIN, Ordering::Relaxed);
    world
}

async fn is_secure(resolver: &Arc<Resolver<Arc<World>>>, text: &str) -> bool {
    ask(resolver, text, rtype::A, 0).await.is_secure()
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_signs_with_a_new_key_is_believed_at_once() {
    let mut world = signed_world(|_, _| {});
    let signed = world.zones.iter_mut().find(|zone| zone.0 == ip(SIGNED)).unwrap();
    signed.1.rolls_at = Some((BEGIN + 60, new_key()));
    let world = Arc::new(world);
    let resolver = resolver(&world);
    assert!(is_secure(&resolver, "www.signed.test").await, "by the former key");
    world.pass(100);
    assert!(is_secure(&resolver, "other.signed.test").await, "by the new one");
}

#[tokio::test(start_paused = true)]
async fn keys_are_known_for_as_long_as_their_ttl_says() {
    let world = Arc::new(signed_world(|zone, _| zone.keys_ttl = 20));
    let resolver = resolver(&world);
    let fetched = || {
        let asked = world.asked.lock().unwrap();
        asked.iter().filter(|it| it.0 == ip(SIGNED) && it.2 == rtype::DNSKEY).count()
    };
    for (passes, text, times) in
        [(0, "www.signed.test", 1), (15, "other.signed.test", 1), (10, "third.signed.test", 2)]
    {
        world.pass(passes);
        assert!(is_secure(&resolver, text).await);
        assert_eq!(fetched(), times, "{text}");
    }
}

/// Who has a zone of its own can have a question cost all the checks that there are for it.
fn costly_world(from: u64) -> Arc<World> {
    Arc::new(signed_world(|_, evil| {
        (evil.chaff, evil.chaff_at) = (1, from);
        *evil = std::mem::replace(evil, Zone::new("evil.test", true)).with_name(
            "*.evil.test",
            rtype::CNAME,
            "www.signed.test",
        );
        for number in 0..60 {
            evil.add(&format!("n{number}.evil.test"), rtype::A, vec![vec![192, 0, 2, 66]]);
        }
    }))
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_is_served_where_the_answer_costs_too_much() {
    let world = costly_world(BEGIN + 350);
    let resolver = resolver(&world);
    assert_eq!(ask(&resolver, "x.y.evil.test", rtype::A, 0).await.addresses(), [80]);
    world.pass(400);
    let answered = ask(&resolver, "x.y.evil.test", rtype::A, 0).await;
    assert_eq!((answered.addresses(), answered.ede), (vec![80], Some(ede::STALE)));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_costs_too_much_makes_nothing_bogus_for_others() {
    let resolver = resolver(&costly_world(0));
    for more in [flag::CD, 0] {
        let answered = ask(&resolver, "x.y.evil.test", rtype::A, more).await;
        assert_eq!((answered.message.rcode(), answered.ede), (2, Some(ede::OTHER)), "{more}");
    }
    assert!(is_secure(&resolver, "www.signed.test").await);
    assert!(is_secure(&resolver, "www.evil.test").await, "not even in its own zone");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_wrong_is_forgiven_within_a_minute() {
    let world = Arc::new(signed_world(|_, _| {}));
    // Signatures begin so much earlier than they end, and a minute is forgiven.
    let begins = BEGIN + 86_400 - 200_000;
    world.now.store(begins - 70, Ordering::Relaxed);
    let resolver = resolver(&world);
    let answered = ask(&resolver, "www.signed.test", rtype::A, 0).await;
    assert_eq!((answered.message.rcode(), answered.ede), (2, Some(ede::NOT_YET_VALID)));
    world.pass(65);
    assert!(is_secure(&resolver, "www.signed.test").await);
}

#[tokio::test(start_paused = true)]
async fn one_server_with_old_signatures_among_several_does_no_harm() {
    for _ in 0..10 {
        let mut world = signed_world(|_, _| {});
        let [test, signed] =
            [TEST, SIGNED].map(|at| world.zones.iter().position(|it| it.0 == ip(at)).unwrap());
        let sets = &mut world.zones[test].1.sets;
        let servers = sets.iter_mut().find(|set| set.0 == name("signed.test") && set.1 == rtype::NS).unwrap();
        servers.2.push(name("ns2.signed.test").wire().to_vec());
        world.zones[test].1.add("ns2.signed.test", rtype::A, vec![vec![192, 0, 2, SECOND]]);
        let old = world.zones[signed].1.elsewhere(-3_600);
        world.zones.push((ip(SECOND), old));
        let world = Arc::new(world);
        let resolver = resolver(&world);
        assert!(is_secure(&resolver, "www.signed.test").await);
        assert!(is_secure(&resolver, "other.signed.test").await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_zone_of_whose_ds_records_none_can_be_checked_is_insecure_and_says_why() {
    // An algorithm, and a digest, that nobody knows.
    for (at, why) in [(2, ede::UNSUPPORTED_KEY), (3, ede::UNSUPPORTED_DIGEST)] {
        let mut world = signed_world(|_, _| {});
        let test = world.zones.iter_mut().find(|zone| zone.0 == ip(TEST)).unwrap();
        let is_its =
            |set: &&mut (Name, u16, Vec<Vec<u8>>)| set.0 == name("signed.test") && set.1 == rtype::DS;
        test.1.sets.iter_mut().find(is_its).unwrap().2[0][at] = 200;
        let answered = ask(&resolver(&Arc::new(world)), "www.signed.test", rtype::A, 0).await;
        assert_eq!((answered.message.rcode(), answered.addresses()), (0, vec![80]));
        assert_eq!((answered.is_secure(), answered.ede), (false, Some(why)));
    }
}

#[tokio::test(start_paused = true)]
async fn that_it_is_validated_is_told_to_who_sets_ad_or_do_and_to_nobody_else() {
    const AD: u16 = 0x0120;
    let resolver = resolver(&Arc::new(signed_world(|_, _| {})));
    for (flags, edns, is_told) in [
        (0x0100, None, false),
        (0x0100, Some(0), false),
        (AD, None, true),
        (AD, Some(0), true),
        (0x0100, Some(DO), true),
    ] {
        let mut octets = [7, flags, 1, 0, 0, u16::from(edns.is_some())].map(u16::to_be_bytes).concat();
        octets.extend(name("www.signed.test").wire());
        octets.extend([rtype::A, 1].map(u16::to_be_bytes).concat());
        if let Some(its) = edns {
            octets.push(0);
            octets.extend([rtype::OPT, 1_232, 0, its, 0].map(u16::to_be_bytes).concat());
        }
        let Read::Query(query) = Query::read(&octets) else { panic!("it is a question") };
        let mut answer = Vec::new();
        resolver.answer(&query, query.udp_octets_max(), &mut answer).await;
        let answered = answered(&answer);
        assert_eq!((answered.addresses(), answered.is_secure()), (vec![80], is_told), "{flags:#x} {edns:?}");
    }
}

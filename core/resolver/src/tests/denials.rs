//! What follows from what was denied, and what does not.

use super::*;
use crate::denials::Synthesis;

/// How often something followed, by what.
fn synthesized(resolver: &Resolver<Arc<World>>) -> [u64; 3] {
    let metrics = resolver.metrics();
    [0, 1, 2].map(|what: usize| metrics.synthesized[what].get())
}

/// A flood of names that are asked for once each.
async fn flood(resolver: &Arc<Resolver<Arc<World>>>, zone: &str, more: u16) {
    for number in 0..200_u32 {
        let letter = char::from(b'a' + (number % 26) as u8);
        let text = format!("{letter}{number}.{zone}");
        let answered = ask(resolver, &text, rtype::A, more | DO).await;
        assert_eq!(answered.message.rcode(), 3, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_names_that_do_not_exist_costs_the_servers_of_a_signed_zone_nothing() {
    let world = world(|_| {});
    let resolver = resolver(&world);
    ask(&resolver, "no.signed.test", rtype::A, 0).await;
    let before = world.count();
    flood(&resolver, "signed.test", 0).await;
    assert_eq!(world.count(), before, "the zone's gaps were known");
    assert_eq!(synthesized(&resolver), [200, 0, 0]);
    let answered = ask(&resolver, "another.signed.test", rtype::A, DO).await;
    assert!(answered.is_secure() && answered.ede == Some(ede::SYNTHESIZED), "{:?}", answered.ede);
    let has = |rtype| answered.message.authority.iter().any(|it: &Record| it.rtype == rtype);
    assert!(has(rtype::SOA) && has(rtype::NSEC) && has(rtype::RRSIG));
    assert_eq!(
        ask(&resolver, "www.signed.test", rtype::A, 0).await.addresses(),
        [80],
        "what there is is found"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_where_nothing_is_signed_nor_for_who_checks_it_himself() {
    for (zone, more, known) in
        [("plain.test", 0, "no.plain.test"), ("signed.test", flag::CD, "no.signed.test")]
    {
        let world = world(|_| {});
        let resolver = resolver(&world);
        ask(&resolver, known, rtype::A, 0).await;
        let before = world.count();
        flood(&resolver, zone, more).await;
        assert!(world.count() >= before + 200, "{zone}");
        assert_eq!(synthesized(&resolver), [0; 3], "{zone}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_name_or_a_wildcard_has_follows_from_what_was_asked() {
    let world = world(|zone| {
        *zone = std::mem::replace(zone, Zone::new("signed.test", true)).with_name(
            "*.moved.signed.test",
            rtype::CNAME,
            "www.signed.test",
        );
    });
    let resolver = resolver(&world);
    for (text, kind, what, addresses) in [
        ("www.signed.test", rtype::AAAA, Synthesis::NoData, vec![]),
        ("wild.signed.test", rtype::A, Synthesis::NoData, vec![]),
        ("one.wild.signed.test", rtype::AAAA, Synthesis::NoData, vec![]),
        ("two.wild.signed.test", rtype::A, Synthesis::Wildcard, vec![81]),
        ("deep.two.wild.signed.test", rtype::A, Synthesis::Wildcard, vec![81]),
        ("three.moved.signed.test", rtype::A, Synthesis::Wildcard, vec![80]),
    ] {
        // What is known: the chain, what the wildcards have, and what one of them leads to.
        for known in ["no.signed.test", "x.wild.signed.test", "x.moved.signed.test"] {
            ask(&resolver, known, rtype::A, 0).await;
        }
        let (before, counted) = (world.count(), synthesized(&resolver));
        let answered = ask(&resolver, text, kind, 0).await;
        assert_eq!((answered.message.rcode(), answered.addresses()), (0, addresses), "{text}");
        assert!(answered.is_secure(), "{text}");
        assert_eq!(world.count(), before, "{text}");
        let mut expected = counted;
        expected[what as usize] += 1;
        assert_eq!(synthesized(&resolver), expected, "{text}");
    }
    // What is below a DNAME, or below a delegation, is not what its zone's gaps tell.
    assert_eq!(ask(&resolver, "www.old.signed.test", rtype::A, 0).await.addresses(), [80]);
    assert_eq!(ask(&resolver, "www.plain.test", rtype::A, 0).await.addresses(), [90]);
}

#[tokio::test(start_paused = true)]
async fn a_denial_serves_until_the_first_of_its_records_ends_and_no_longer() {
    let world = world(|_| {});
    let resolver = resolver(&world);
    ask(&resolver, "no.signed.test", rtype::A, 0).await;
    let before = world.count();
    world.pass(200);
    let answered = ask(&resolver, "other.signed.test", rtype::A, DO).await;
    assert_eq!(world.count(), before);
    assert!(answered.message.authority.iter().all(|record| record.ttl <= 100), "what is left of 300");
    world.pass(50);
    let known = ask(&resolver, "other.signed.test", rtype::A, DO).await;
    assert!(known.message.authority.iter().all(|record| record.ttl <= 50));
    world.pass(51);
    world.set(ip(SIGNED), Some(Fault::Silent));
    for text in ["other.signed.test", "third.signed.test"] {
        let answered = ask(&resolver, text, rtype::A, 0).await;
        assert_eq!(answered.message.rcode(), 2, "{text}: neither concluded nor served when it has expired");
    }
}

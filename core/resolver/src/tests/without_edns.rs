//! Servers that do not know EDNS.

use super::*;
use crate::message::rcode;

/// How they say so.
const REFUSALS: [Fault; 4] = [
    Fault::NoEdns(rcode::FORMERR, false),
    Fault::NoEdns(rcode::FORMERR, true),
    Fault::NoEdns(rcode::NOTIMP, false),
    Fault::NoEdns(rcode::NOTIMP, true),
];

/// Of the questions to a server since then, which had an OPT record.
fn have_edns(world: &World, server: u8, since: usize) -> Vec<bool> {
    let (asked, queries) = (world.asked.lock().unwrap(), world.queries.lock().unwrap());
    let all = asked.iter().zip(queries.iter()).skip(since);
    all.filter(|(asked, _)| asked.0 == ip(server)).map(|(_, query)| query[11] == 1).collect()
}

#[tokio::test(start_paused = true)]
async fn who_does_not_know_edns_is_asked_without_it_for_a_while() {
    for fault in REFUSALS {
        let world = world(|_| {});
        world.set(ip(PLAIN), Some(fault));
        let resolver = resolver(&world);
        assert_eq!(ask(&resolver, "www.plain.test", rtype::A, 0).await.addresses(), [90], "{fault:?}");
        assert_eq!(have_edns(&world, PLAIN, 0), [true, false], "{fault:?}");
        let before = world.count();
        assert_eq!(ask(&resolver, "a.b.c.plain.test", rtype::A, 0).await.addresses(), [91], "{fault:?}");
        let later = have_edns(&world, PLAIN, before);
        assert!(!later.is_empty() && later.iter().all(|has_edns| !has_edns), "{fault:?}: {later:?}");
        // A quarter of an hour later it may have learned it.
        for (passes, expected) in [(899, vec![false]), (2, vec![true, false])] {
            world.pass(passes);
            let before = world.count();
            let text = format!("n{passes}.plain.test");
            assert_eq!(ask(&resolver, &text, rtype::A, 0).await.message.rcode(), 3, "{fault:?}");
            assert_eq!(have_edns(&world, PLAIN, before), expected, "{fault:?}, {passes} seconds later");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_of_no_use_without_edns_either_is_asked_with_it_from_then_on() {
    for (fault, expected) in [(Fault::Refuses, vec![true]), (Fault::ReadsNothing, vec![true, false])] {
        let world = world(|_| {});
        world.set(ip(PLAIN), Some(fault));
        let resolver = resolver(&world);
        assert_eq!(ask(&resolver, "www.plain.test", rtype::A, 0).await.message.rcode(), 2, "{fault:?}");
        assert_eq!(have_edns(&world, PLAIN, 0), expected, "{fault:?}");
        world.set(ip(PLAIN), None);
        let before = world.count();
        assert_eq!(ask(&resolver, "no.plain.test", rtype::A, 0).await.message.rcode(), 3, "{fault:?}");
        assert_eq!(have_edns(&world, PLAIN, before), [true], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_is_validated_is_never_asked_without_edns() {
    for (server, fault) in [ROOT, TEST, SIGNED].into_iter().flat_map(|at| REFUSALS.map(|it| (at, it))) {
        let world = world(|_| {});
        world.set(ip(server), Some(fault));
        let resolver = resolver(&world);
        let answered = ask(&resolver, "www.signed.test", rtype::A, 0).await;
        assert_eq!(
            (answered.message.rcode(), answered.ede),
            (2, Some(ede::NO_AUTHORITY)),
            "{server} {fault:?}"
        );
        let asked = have_edns(&world, server, 0);
        assert!(!asked.is_empty() && asked.iter().all(|has_edns| *has_edns), "{server} {fault:?}: {asked:?}");
        // Nothing of it lasts.
        world.set(ip(server), None);
        world.pass(6);
        assert!(ask(&resolver, "www.signed.test", rtype::A, 0).await.is_secure(), "{server} {fault:?}");
    }
    // Not even of a server of which it is known by another zone.
    let world = world(|_| {});
    let resolver = resolver(&world);
    resolver.core().servers.without_edns(ip(SIGNED), BEGIN * 1_000);
    assert!(ask(&resolver, "www.signed.test", rtype::A, 0).await.is_secure());
    assert!(have_edns(&world, SIGNED, 0).iter().all(|has_edns| *has_edns));
}

#[tokio::test(start_paused = true)]
async fn questions_with_edns_ask_for_signatures_and_for_what_is_not_checked() {
    let world = world(|_| {});
    assert!(ask(&resolver(&world), "www.signed.test", rtype::A, 0).await.is_secure());
    let queries = world.queries.lock().unwrap();
    let flags = |query: &Vec<u8>| u16::from_be_bytes([query[2], query[3]]);
    assert!(queries.iter().all(|query| flags(query) == flag::CD && query.ends_with(&[0x80, 0, 0, 0])));
}

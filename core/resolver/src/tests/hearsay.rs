//! Servers that speak of a zone without authority.

use super::*;

/// Another server of `plain.test`.
const SECOND: u8 = 7;

/// `plain.test` has a second server, which has lost it, and where other things are true.
fn lame_world() -> World {
    let mut world = Arc::into_inner(world(|_| {})).unwrap();
    let test = world.zones.iter_mut().find(|zone| zone.0 == ip(TEST)).unwrap();
    let servers =
        test.1.sets.iter_mut().find(|set| set.0 == name("plain.test") && set.1 == rtype::NS).unwrap();
    servers.2.push(name("ns2.plain.test").wire().to_vec());
    test.1.add("ns2.plain.test", rtype::A, vec![vec![192, 0, 2, SECOND]]);
    let former = Zone::new("plain.test", false)
        .with_a("www.plain.test", 66)
        .with_name("a.b.c.plain.test", rtype::CNAME, "www.evil.test")
        .with_a("pool.plain.test", 66);
    world.zones.push((ip(SECOND), former));
    world.set(ip(SECOND), Some(Fault::Hearsay));
    world
}

/// A resolver for which that server is the nearest.
fn near_the_lame(world: &Arc<World>) -> Arc<Resolver<Arc<World>>> {
    let resolver = resolver(world);
    bring_near(&resolver);
    resolver
}

/// What both answered since then has made them alike.
fn bring_near(resolver: &Resolver<Arc<World>>) {
    resolver.core().servers.answered(ip(SECOND), Duration::from_millis(1));
    resolver.core().servers.answered(ip(PLAIN), Duration::from_secs(1));
}

/// Who of the zone's servers was asked since then, in order.
fn asked_of(world: &World, since: usize) -> Vec<u8> {
    let asked = world.asked.lock().unwrap();
    let servers = asked[since..].iter().map(|it| it.0);
    servers.filter_map(|it| [PLAIN, SECOND].into_iter().find(|at| it == ip(*at))).collect()
}

#[tokio::test(start_paused = true)]
async fn who_has_authority_is_believed_and_not_who_was_first() {
    // An address, an alias, and a name that is said not to exist.
    for (text, code, addresses) in [
        ("www.plain.test", 0, vec![90]),
        ("a.b.c.plain.test", 0, vec![91]),
        ("no.plain.test", 3, vec![]),
        ("alias.signed.test", 0, vec![90]),
    ] {
        let world = Arc::new(lame_world());
        let resolver = near_the_lame(&world);
        for _ in 0..2 {
            let answered = ask(&resolver, text, rtype::A, 0).await;
            assert_eq!((answered.message.rcode(), answered.addresses()), (code, addresses.clone()), "{text}");
        }
        assert!(asked_of(&world, 0).starts_with(&[SECOND, PLAIN]), "{text}: {:?}", asked_of(&world, 0));
        assert!(resolver.metrics().hearsay.get() > 0, "{text}");
        // It is known by then, and comes last for a minute.
        for (passes, asked) in [(0, vec![PLAIN]), (61, vec![SECOND, PLAIN])] {
            world.pass(passes);
            bring_near(&resolver);
            let before = world.count();
            ask(&resolver, &format!("n{passes}.plain.test"), rtype::A, 0).await;
            assert_eq!(asked_of(&world, before), asked, "{text}, {passes} seconds later");
        }
    }
}

/// The server with authority is of another zone: its address does not come with the referral.
#[tokio::test(start_paused = true)]
async fn who_has_authority_is_asked_also_where_its_address_has_to_be_looked_up() {
    let mut world = lame_world();
    let bank = world.zones.iter_mut().find(|zone| zone.0 == ip(BANK)).unwrap();
    bank.1.add("dns.bank.test", rtype::A, vec![vec![192, 0, 2, PLAIN]]);
    let test = world.zones.iter_mut().find(|zone| zone.0 == ip(TEST)).unwrap();
    let servers =
        test.1.sets.iter_mut().find(|set| set.0 == name("plain.test") && set.1 == rtype::NS).unwrap();
    servers.2 = ["ns2.plain.test", "dns.bank.test"].map(|text| name(text).wire().to_vec()).into();
    let resolver = resolver(&Arc::new(world));
    for (text, code, addresses) in
        [("www.plain.test", 0, vec![90]), ("a.b.c.plain.test", 0, vec![91]), ("no.plain.test", 3, vec![])]
    {
        let answered = ask(&resolver, text, rtype::A, 0).await;
        assert_eq!((answered.message.rcode(), answered.addresses()), (code, addresses), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_has_authority_what_is_heard_is_better_than_nothing_and_costs_no_more_for_long() {
    let world = Arc::new(lame_world());
    world.set(ip(PLAIN), Some(Fault::Hearsay));
    let resolver = near_the_lame(&world);
    let answered = ask(&resolver, "www.plain.test", rtype::A, 0).await;
    assert_eq!((answered.addresses(), answered.is_secure()), (vec![66], false));
    assert_eq!(asked_of(&world, 0), [SECOND, PLAIN], "each was asked");
    bring_near(&resolver);
    let before = world.count();
    assert_eq!(ask(&resolver, "no.plain.test", rtype::A, 0).await.message.rcode(), 3);
    assert_eq!(asked_of(&world, before), [SECOND], "it is known that there is nobody better");
}

#[tokio::test(start_paused = true)]
async fn hearsay_is_told_where_who_has_authority_is_silent_and_for_a_minute_only() {
    let world = Arc::new(lame_world());
    world.set(ip(PLAIN), Some(Fault::Silent));
    let resolver = near_the_lame(&world);
    assert_eq!(ask(&resolver, "www.plain.test", rtype::A, 0).await.addresses(), [66]);
    world.set(ip(PLAIN), None);
    world.pass(61);
    assert_eq!(ask(&resolver, "www.plain.test", rtype::A, 0).await.addresses(), [90]);
}

#[tokio::test(start_paused = true)]
async fn hearsay_of_a_signed_zone_is_what_the_zone_has_signed_or_nothing() {
    for (is_forged, code, addresses) in [(false, 0, vec![80]), (true, 2, vec![])] {
        let world = world(|zone| zone.is_forged = is_forged);
        world.set(ip(SIGNED), Some(Fault::Hearsay));
        let answered = ask(&resolver(&world), "www.signed.test", rtype::A, 0).await;
        assert_eq!((answered.message.rcode(), answered.addresses()), (code, addresses));
        assert_eq!(answered.is_secure(), !is_forged);
    }
}

//! Which servers the root has by now, and what must not make us believe others.

use std::net::IpAddr;

use super::*;

const ROOTS: [u8; 3] = [ROOT, 11, 12];
const DEAD: u8 = 20;
const OUTDATED: u8 = 21;
/// Where who lies has servers of his own.
const ELSEWHERE: u8 = 66;

/// A root with a server at each of [`ROOTS`], whose names lie in an unsigned zone as the real ones do, and a TLD; at
/// [`OUTDATED`] is somebody who has the root no more.
fn rooted() -> World {
    let test = Zone::new("test", true).with_a("www.test", 80).with_a("other.test", 81);
    let mut names = Zone::new("servers", false);
    for at in ROOTS {
        names = names.with_a(&format!("r{at}.servers"), at);
    }
    let mut root = Zone::new(".", true).with_child(&test, TEST).with_child(&names, TEST);
    let servers = ROOTS.map(|at| format!("r{at}.servers"));
    root.add(".", rtype::NS, servers.iter().map(|server| name(server).wire().to_vec()).collect());
    for (server, at) in servers.iter().zip(ROOTS) {
        root = root.with_a(server, at);
    }
    let mut zones: Vec<_> = ROOTS[1..].iter().map(|at| (ip(*at), root.elsewhere(86_400))).collect();
    zones.insert(0, (ip(ROOT), root));
    zones.extend([
        (ip(TEST), test),
        (ip(TEST), names),
        (ip(OUTDATED), Zone::new("elsewhere.example", false)),
    ]);
    let world = World { zones, ..World::default() };
    world.now.store(BEGIN, Ordering::Relaxed);
    world
}

fn begun_at(world: &Arc<World>, hints: &[u8]) -> Arc<Resolver<Arc<World>>> {
    let hints = hints.iter().map(|at| ip(*at)).collect();
    resolver_with(world, |settings| settings.hints = hints)
}

/// The addresses of the root's servers that are asked from now on.
fn known(resolver: &Resolver<Arc<World>>) -> Option<Vec<u8>> {
    let servers = resolver.core().root_servers.get(resolver.core().seconds())?;
    let mut addresses: Vec<u8> = servers.iter().flat_map(|(_, its)| its).map(last).collect();
    addresses.sort_unstable();
    Some(addresses)
}

fn last(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    }
}

/// The IPv6 address of a server that has an IPv4 one.
fn twin(at: u8) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(at)])
}

/// Who of the root's servers and hints was asked since then.
fn asked_of(world: &World, since: usize) -> Vec<u8> {
    let asked = world.asked.lock().unwrap();
    let mut asked: Vec<u8> = asked[since..].iter().map(|it| last(&it.0)).filter(|at| *at != TEST).collect();
    asked.sort_unstable();
    asked.dedup();
    asked
}

#[tokio::test(start_paused = true)]
async fn the_roots_servers_are_found_by_hints_of_which_some_are_dead_and_some_outdated() {
    let world = Arc::new(rooted());
    let resolver = begun_at(&world, &[DEAD, OUTDATED, ROOTS[0], ROOTS[1]]);
    let again = resolver.tend().await;
    assert!(again.again <= Duration::from_secs(60), "{again:?}");
    assert_eq!(known(&resolver), Some(ROOTS.to_vec()));
    let before = world.count();
    assert_eq!(ask(&resolver, "www.test", rtype::A, 0).await.addresses(), [80]);
    assert!(asked_of(&world, before).iter().all(|at| ROOTS.contains(at)), "no hint is asked any more");
    assert!(ask(&resolver, "other.test", rtype::A, 0).await.is_secure());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_them_again_before_their_time_ends_and_then_they_are() {
    let world = Arc::new(rooted());
    let resolver = begun_at(&world, &ROOTS);
    let primes = || {
        let asked = world.asked.lock().unwrap();
        asked.iter().filter(|it| it.1 == Name::root() && it.2 == rtype::NS).count()
    };
    for (passes, expected) in [(0, 2), (100, 2), (180, 4), (200, 4)] {
        world.pass(passes);
        resolver.tend().await;
        assert_eq!(primes(), expected, "after {passes} seconds more");
    }
    assert_eq!(known(&resolver), Some(ROOTS.to_vec()));
}

#[tokio::test(start_paused = true)]
async fn who_speaks_of_the_root_without_authority_is_no_witness() {
    let world = Arc::new(rooted());
    world.set(ip(ROOTS[0]), Some(Fault::Hearsay));
    let resolver = begun_at(&world, &ROOTS[..2]);
    resolver.tend().await;
    assert_eq!(known(&resolver), Some(ROOTS[..2].to_vec()), "the third has one witness, and is no hint");
}

#[tokio::test(start_paused = true)]
async fn one_server_that_lies_about_addresses_is_not_believed() {
    for hints in [&ROOTS[..], &ROOTS[..1]] {
        let world = Arc::new(rooted());
        world.set(ip(ROOTS[0]), Some(Fault::MovesServers));
        let resolver = begun_at(&world, hints);
        resolver.tend().await;
        // Of which addresses nothing is believed, the hints stay.
        let known = known(&resolver).unwrap_or_else(|| hints.to_vec());
        assert!(!known.contains(&ELSEWHERE) && !known.is_empty(), "{known:?}");
        ask(&resolver, "www.test", rtype::A, 0).await;
        assert!(!asked_of(&world, 0).contains(&ELSEWHERE));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_is_not_its_own_witness_by_its_other_address() {
    // The other servers are silent, say what is true, or lie with it.
    let others = [Some(Fault::Silent), None, Some(Fault::MovesServers)];
    // The order in which they are asked is left to chance.
    for (fault, _) in others.into_iter().flat_map(|fault| (0..8).map(move |time| (fault, time))) {
        let mut world = rooted();
        let other = world.zones[0].1.elsewhere(86_400);
        world.zones.push((twin(ROOTS[0]), other));
        let world = Arc::new(world);
        [ip(ROOTS[0]), twin(ROOTS[0])].into_iter().for_each(|at| world.set(at, Some(Fault::MovesServers)));
        ROOTS[1..].iter().for_each(|at| world.set(ip(*at), fault));
        let hints = vec![twin(ROOTS[0]), ip(ROOTS[0]), ip(ROOTS[1])];
        let resolver = resolver_with(&world, |settings| settings.hints = hints);
        resolver.tend().await;
        let is_moved = known(&resolver).is_some_and(|known| known.contains(&ELSEWHERE));
        assert_eq!(is_moved, fault == Some(Fault::MovesServers), "{fault:?}: two servers are believed");
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_the_hints_do_not_have_needs_two_who_say_so() {
    let world = Arc::new(rooted());
    world.set(ip(ROOTS[1]), Some(Fault::Silent));
    world.set(ip(ROOTS[2]), Some(Fault::Silent));
    let resolver = begun_at(&world, &ROOTS[..2]);
    resolver.tend().await;
    assert_eq!(known(&resolver), Some(ROOTS[..2].to_vec()), "one has answered");
    world.set(ip(ROOTS[1]), None);
    world.pass(290);
    resolver.tend().await;
    assert_eq!(known(&resolver), Some(ROOTS.to_vec()));
}

#[tokio::test(start_paused = true)]
async fn names_of_servers_that_the_roots_keys_do_not_sign_are_not_believed() {
    let mut world = rooted();
    // Somebody else's root, at all addresses but one.
    for at in &ROOTS[1..] {
        let zone = world.zones.iter_mut().find(|zone| zone.0 == ip(*at)).unwrap();
        zone.1.signed_for = -3_600;
    }
    let world = Arc::new(world);
    let resolver = begun_at(&world, &ROOTS);
    resolver.tend().await;
    assert_eq!(resolver.metrics().primed.get(), 1, "the one is enough for what the hints have");
    let mut world = rooted();
    world.zones[..ROOTS.len()].iter_mut().for_each(|zone| zone.1.signed_for = -3_600);
    let world = Arc::new(world);
    let resolver = begun_at(&world, &ROOTS);
    resolver.tend().await;
    assert_eq!((known(&resolver), resolver.metrics().unprimed.get()), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn where_it_fails_the_hints_are_used_and_it_is_tried_again_in_a_minute() {
    let world = Arc::new(rooted());
    ROOTS.iter().for_each(|at| world.set(ip(*at), Some(Fault::Silent)));
    let resolver = begun_at(&world, &ROOTS);
    assert_eq!(resolver.tend().await.again, Duration::from_secs(60));
    ROOTS.iter().for_each(|at| world.set(ip(*at), None));
    assert_eq!(known(&resolver), None);
    world.pass(59);
    resolver.tend().await;
    assert_eq!(known(&resolver), None);
    assert_eq!(ask(&resolver, "www.test", rtype::A, 0).await.addresses(), [80]);
    world.pass(1);
    resolver.tend().await;
    assert_eq!(known(&resolver), Some(ROOTS.to_vec()));
}

#[tokio::test(start_paused = true)]
async fn when_none_of_the_servers_answers_that_were_found_the_hints_count_again() {
    const OLD: u8 = 13;
    let mut world = rooted();
    let old = world.zones[0].1.elsewhere(86_400);
    world.zones.push((ip(OLD), old));
    let world = Arc::new(world);
    let resolver = begun_at(&world, &[ROOTS[0], OLD]);
    resolver.tend().await;
    assert_eq!(known(&resolver), Some(ROOTS.to_vec()));
    ROOTS.iter().for_each(|at| world.set(ip(*at), Some(Fault::Silent)));
    assert_eq!(ask(&resolver, "www.test", rtype::A, 0).await.message.rcode(), 2);
    world.pass(10);
    assert_eq!(ask(&resolver, "www.test", rtype::A, 0).await.addresses(), [80], "by the old hint");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_nobody_else_says_counts_where_it_is_signed() {
    let mut world = rooted();
    let signed = Zone::new("servers", true).with_a("r12.servers", ROOTS[2]);
    let ds = signed.ds().unwrap().into();
    for (_, zone) in &mut world.zones[..ROOTS.len()] {
        zone.add("servers", rtype::DS, vec![Vec::clone(&ds)]);
    }
    let names = world.zones.iter_mut().find(|zone| zone.1.name == name("servers")).unwrap();
    names.1 = signed;
    let world = Arc::new(world);
    world.set(ip(ROOTS[1]), Some(Fault::Silent));
    world.set(ip(ROOTS[2]), Some(Fault::Silent));
    let resolver = begun_at(&world, &ROOTS[..2]);
    resolver.tend().await;
    assert_eq!(known(&resolver), Some(ROOTS.to_vec()));
}

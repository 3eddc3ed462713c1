//! The resolver against an internet in a table.

#![allow(clippy::cast_possible_truncation, reason = "the table is small")]

mod ahead;
mod anchors;
mod anew;
mod chance;
mod denials;
mod dname;
mod hearsay;
mod homes;
mod liars;
mod minimised;
mod prefetch;
mod priming;
mod trust;
mod without_edns;
mod world;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use prometheus_client::registry::Registry;
use world::{BEGIN, Fault, World, Zone, ip, name};

use crate::{
    Metrics, Query, Read, Resolver, Settings, TrustAnchors,
    iterate::{QUERIES_MAX, RESOLUTION_MAX, ZONE_ASKED_MAX},
    keys::ede,
    message::{Message, Record, flag, rtype},
    name::Name,
    upstream::{Transport, Upstream},
};

const ROOT: u8 = 1;
const TEST: u8 = 2;
const SIGNED: u8 = 3;
const PLAIN: u8 = 4;
const BANK: u8 = 5;
const EVIL: u8 = 6;

/// A root and a TLD that are signed, below them zones that are and are not.
fn world(change: impl FnOnce(&mut Zone)) -> Arc<World> {
    let mut signed = Zone::new("signed.test", true)
        .with_a("www.signed.test", 80)
        .with_a("*.wild.signed.test", 81)
        .with_name("alias.signed.test", rtype::CNAME, "www.plain.test")
        .with_name("old.signed.test", rtype::DNAME, "signed.test");
    change(&mut signed);
    let plain = Zone::new("plain.test", false)
        .with_a("www.plain.test", 90)
        .with_a("a.b.c.plain.test", 91)
        .with_name("loop.plain.test", rtype::CNAME, "pool.plain.test")
        .with_name("pool.plain.test", rtype::CNAME, "loop.plain.test");
    let bank = Zone::new("bank.test", false).with_a("www.bank.test", 100);
    let evil = Zone::new("evil.test", false).with_a("www.evil.test", 66).with_a("ns.evil.test", EVIL);
    let test = Zone::new("test", true)
        .with_child(&signed, SIGNED)
        .with_child(&plain, PLAIN)
        .with_child(&bank, BANK)
        .with_child(&evil, EVIL);
    let root = Zone::new(".", true).with_child(&test, TEST);
    let zones = [(ROOT, root), (TEST, test), (SIGNED, signed), (PLAIN, plain), (BANK, bank), (EVIL, evil)];
    let world = World { zones: zones.map(|(at, zone)| (ip(at), zone)).into(), ..World::default() };
    world.now.store(BEGIN, Ordering::Relaxed);
    Arc::new(world)
}

fn resolver(world: &Arc<World>) -> Arc<Resolver<Arc<World>>> {
    resolver_with(world, |_| {})
}

fn resolver_with(world: &Arc<World>, change: impl FnOnce(&mut Settings)) -> Arc<Resolver<Arc<World>>> {
    let mut settings = settings(world);
    change(&mut settings);
    Resolver::new(world.clone(), settings, Metrics::register(&mut Registry::default()))
}

/// The root of this world, and its clock.
fn settings(world: &Arc<World>) -> Settings {
    let clock = world.clone();
    Settings {
        hints: vec![ip(ROOT)],
        anchors: TrustAnchors::fixed(vec![world.zones[0].1.ds().unwrap()]),
        allow_private_servers: true,
        cache_octets: 16 << 20,
        zone_asked_max: ZONE_ASKED_MAX,
        clock: Arc::new(move || clock.now.load(Ordering::Relaxed) * 1_000),
        stale_after: Duration::from_millis(1_800),
        stale_for: Duration::from_secs(86_400),
    }
}

/// A client's question with RD and AD, and EDNS of 1,232 octets, with DO or not.
fn query(text: &str, rtype: u16, more: u16) -> Query {
    let mut octets = [7_u16, 0x0120 | more & 0x0FFF, 1, 0, 0, 1].map(u16::to_be_bytes).concat();
    octets.extend(name(text).wire());
    octets.extend([rtype, 1].map(u16::to_be_bytes).concat());
    octets.push(0);
    octets.extend([rtype::OPT, 1_232, 0, more & 0x8000, 0].map(u16::to_be_bytes).concat());
    match Query::read(&octets) {
        Read::Query(query) => query,
        other => panic!("{other:?}"),
    }
}

struct Answered {
    message: Message,
    ede: Option<u16>,
}

impl Answered {
    fn addresses(&self) -> Vec<u8> {
        self.message.answer.iter().filter(|it| it.rtype == rtype::A).map(|it| it.data[3]).collect()
    }

    fn is_secure(&self) -> bool {
        self.message.has(flag::AD)
    }
}

async fn ask<U: Upstream>(resolver: &Arc<Resolver<U>>, text: &str, rtype: u16, more: u16) -> Answered {
    let query = query(text, rtype, more);
    let mut octets = Vec::new();
    resolver.answer(&query, query.udp_octets_max(), &mut octets).await;
    answered(&octets)
}

fn answered(octets: &[u8]) -> Answered {
    let ede = octets.len().checked_sub(6).map(|at| &octets[at..]).filter(|it| it[..4] == [0, 15, 0, 2]);
    let ede = ede.map(|it| u16::from_be_bytes([it[4], it[5]]));
    Answered { message: Message::parse(octets).unwrap(), ede }
}

const DO: u16 = 0x8000;

#[tokio::test(start_paused = true)]
async fn signed_names_are_secure_and_unsigned_ones_insecure() {
    let resolver = resolver(&world(|_| {}));
    for (text, address, secure) in [
        ("www.signed.test", 80, true),
        ("x.wild.signed.test", 81, true),
        ("www.old.signed.test", 80, true),
        ("www.plain.test", 90, false),
        ("a.b.c.plain.test", 91, false),
        ("alias.signed.test", 90, false),
    ] {
        let answered = ask(&resolver, text, rtype::A, 0).await;
        assert_eq!((answered.message.rcode(), answered.addresses()), (0, vec![address]), "{text}");
        assert_eq!((answered.is_secure(), answered.ede), (secure, None), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_the_servers_of_the_one_above_have_too_is_found_at_its_own_name() {
    for (text, kind, code, secure) in [
        ("signed.test", rtype::SOA, 0, true),
        ("signed.test", rtype::AAAA, 0, true),
        ("signed.test", rtype::DNSKEY, 0, true),
        ("signed.test", rtype::DS, 0, true),
        ("www.signed.test", rtype::A, 0, true),
        ("no.signed.test", rtype::A, 3, true),
        ("plain.test", rtype::SOA, 0, false),
        ("plain.test", rtype::AAAA, 0, false),
        ("plain.test", rtype::DS, 0, true),
        ("www.plain.test", rtype::A, 0, false),
    ] {
        // They answer for it, and refer nobody to it.
        let mut world = Arc::into_inner(world(|_| {})).unwrap();
        let is_here = |zone: &&(std::net::IpAddr, Zone)| [ip(SIGNED), ip(PLAIN)].contains(&zone.0);
        let with_servers = |(_, zone): &(std::net::IpAddr, Zone)| {
            let (apex, server) = (zone.name.to_string(), format!("ns.{}", zone.name));
            zone.elsewhere(86_400).with_name(&apex, rtype::NS, &server).with_a(&server, TEST)
        };
        let here: Vec<_> = world.zones.iter().filter(is_here).map(with_servers).collect();
        world.zones.extend(here.into_iter().map(|zone| (ip(TEST), zone)));
        let answered = ask(&resolver(&Arc::new(world)), text, kind, DO).await;
        assert_eq!((answered.message.rcode(), answered.is_secure()), (code, secure), "{text} {kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_denied_securely() {
    let resolver = resolver(&world(|_| {}));
    for (text, kind, code) in [
        ("no.signed.test", rtype::A, 3),
        ("www.signed.test", rtype::AAAA, 0),
        ("wild.signed.test", rtype::A, 0),
        ("x.wild.signed.test", rtype::AAAA, 0),
        ("nowhere", rtype::A, 3),
        ("plain.test", rtype::DS, 0),
    ] {
        let answered = ask(&resolver, text, kind, DO).await;
        assert_eq!((answered.message.rcode(), answered.is_secure()), (code, true), "{text}");
        assert!(matches!(answered.ede, None | Some(ede::SYNTHESIZED)), "{text}: {:?}", answered.ede);
        let has = |rtype| answered.message.authority.iter().any(|it: &Record| it.rtype == rtype);
        assert!(has(rtype::SOA) && has(rtype::NSEC) && has(rtype::RRSIG), "{text}");
        let without = ask(&resolver, text, kind, 0).await;
        assert_eq!(without.message.authority.len(), 1, "{text}: the SOA alone");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_bogus_fails_and_says_why_but_is_shown_with_cd() {
    type Change = fn(&mut Zone);
    let cases: [(Change, u16); 3] = [
        (|zone| zone.is_forged = true, ede::BOGUS),
        (|zone| zone.signed_for = -3_600, ede::EXPIRED),
        (|zone| zone.signed_for = 400_000, ede::NOT_YET_VALID),
    ];
    for (change, why) in cases {
        let resolver = resolver(&world(change));
        let answered = ask(&resolver, "www.signed.test", rtype::A, 0).await;
        assert_eq!((answered.message.rcode(), answered.ede), (2, Some(why)));
        let unchecked = ask(&resolver, "www.signed.test", rtype::A, flag::CD).await;
        assert_eq!(
            (unchecked.message.rcode(), unchecked.addresses().len(), unchecked.is_secure()),
            (0, 1, false)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_zone_full_of_colliding_keys_and_bad_signatures_costs_a_bounded_amount() {
    // Key and signature come after three of each that fail: more signatures than are tried.
    let world = world(|zone| zone.chaff = 8);
    let answered = ask(&resolver(&world), "www.signed.test", rtype::A, 0).await;
    // Where the real key is among the alike ones, which come in any order, decides what is wrong first.
    assert_eq!(answered.message.rcode(), 2);
    assert!(matches!(answered.ede, Some(ede::BOGUS | ede::DNSKEY_MISSING)), "{:?}", answered.ede);
}

#[tokio::test(start_paused = true)]
async fn servers_are_shown_no_more_than_they_need() {
    let world = world(|_| {});
    ask(&resolver(&world), "www.signed.test", rtype::A, 0).await;
    for (server, asked, ..) in world.asked.lock().unwrap().iter() {
        let depth_max = match server {
            it if *it == ip(ROOT) => 1,
            it if *it == ip(TEST) => 2,
            _ => 3,
        };
        assert!(asked.depth() <= depth_max, "{server} was shown {asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_not_asked_again_until_it_expires() {
    let world = world(|_| {});
    let resolver = resolver(&world);
    ask(&resolver, "www.signed.test", rtype::A, 0).await;
    let before = world.count();
    world.pass(100);
    let answered = ask(&resolver, "WWW.signed.test", rtype::A, 0).await;
    assert_eq!((answered.message.answer[0].ttl, world.count()), (200, before));
    world.pass(201);
    let answered = ask(&resolver, "www.signed.test", rtype::A, 0).await;
    assert_eq!(answered.message.answer[0].ttl, 300);
    assert!(world.count() > before);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lies_about_others_is_not_believed() {
    let world = world(|_| {});
    let resolver = resolver(&world);
    world.set(ip(EVIL), Some(Fault::Poisons));
    assert_eq!(ask(&resolver, "www.evil.test", rtype::A, 0).await.addresses(), [66]);
    assert_eq!(ask(&resolver, "www.bank.test", rtype::A, 0).await.addresses(), [100]);
}

#[tokio::test(start_paused = true)]
async fn a_forged_delegation_does_not_make_a_signed_name_insecure() {
    let mut world = Arc::into_inner(world(|_| {})).unwrap();
    world.zones.push((ip(EVIL), Zone::new("www.signed.test", false).with_a("www.signed.test", 66)));
    let world = Arc::new(world);
    world.set(ip(SIGNED), Some(Fault::ForgesDelegation));
    let resolver = resolver(&world);
    let unchecked = ask(&resolver, "www.signed.test", rtype::A, flag::CD).await;
    assert_eq!(unchecked.addresses(), [66], "the forged server was asked");
    let answered = ask(&resolver, "www.signed.test", rtype::A, 0).await;
    assert_eq!((answered.message.rcode(), answered.ede), (2, Some(ede::BOGUS)));
}

#[tokio::test(start_paused = true)]
async fn truncated_and_lower_case_answers_are_asked_for_by_tcp() {
    for fault in [Fault::Truncates, Fault::LowerCase] {
        let world = world(|_| {});
        world.set(ip(PLAIN), Some(fault));
        let text = "www.plain.test";
        assert_eq!(ask(&resolver(&world), text, rtype::A, 0).await.addresses(), [90], "{fault:?}");
        let asked = world.asked.lock().unwrap();
        assert!(asked.iter().any(|(at, .., transport)| *at == ip(PLAIN) && *transport == Transport::Tcp));
    }
}

#[tokio::test(start_paused = true)]
async fn servers_that_cannot_be_used_make_a_failure_that_is_remembered() {
    for fault in [Fault::Silent, Fault::Refuses, Fault::OtherId, Fault::OtherQuestion] {
        let world = world(|_| {});
        world.set(ip(PLAIN), Some(fault));
        let resolver = resolver(&world);
        let answered = ask(&resolver, "www.plain.test", rtype::A, 0).await;
        assert_eq!((answered.message.rcode(), answered.ede), (2, Some(ede::NO_AUTHORITY)), "{fault:?}");
        let before = world.count();
        ask(&resolver, "www.plain.test", rtype::A, 0).await;
        assert_eq!(world.count(), before, "{fault:?}");
        world.set(ip(PLAIN), None);
        world.pass(6);
        assert_eq!(ask(&resolver, "www.plain.test", rtype::A, 0).await.addresses(), [90], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_is_served_while_its_servers_are_silent() {
    let world = world(|_| {});
    let resolver = resolver(&world);
    ask(&resolver, "www.plain.test", rtype::A, 0).await;
    world.pass(400);
    world.set(ip(PLAIN), Some(Fault::Silent));
    let begun = tokio::time::Instant::now();
    let answered = ask(&resolver, "www.plain.test", rtype::A, 0).await;
    assert!(begun.elapsed() <= Duration::from_millis(1_900), "{:?}", begun.elapsed());
    assert_eq!((answered.addresses(), answered.ede), (vec![90], Some(ede::STALE)));
    assert_eq!(answered.message.answer[0].ttl, 30);
    // For a while nobody waits for them again.
    let (begun, before) = (tokio::time::Instant::now(), world.count());
    assert_eq!(ask(&resolver, "www.plain.test", rtype::A, 0).await.ede, Some(ede::STALE));
    assert_eq!((begun.elapsed(), world.count()), (Duration::ZERO, before));
    world.set(ip(PLAIN), None);
    world.pass(31);
    assert_eq!(ask(&resolver, "www.plain.test", rtype::A, 0).await.message.answer[0].ttl, 300);
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_is_served_for_a_day_and_no_longer() {
    let mut world = Arc::into_inner(world(|_| {})).unwrap();
    world.zones.iter_mut().for_each(|(_, zone)| zone.signs_anew = true);
    let world = Arc::new(world);
    let resolver = resolver(&world);
    ask(&resolver, "www.plain.test", rtype::A, 0).await;
    ask(&resolver, "no.plain.test", rtype::A, 0).await;
    world.set(ip(PLAIN), Some(Fault::Silent));
    world.pass(300 + 86_400 - 1);
    for (text, code) in [("www.plain.test", ede::STALE), ("no.plain.test", ede::STALE_NXDOMAIN)] {
        assert_eq!(ask(&resolver, text, rtype::A, 0).await.ede, Some(code), "{text}, in its last second");
    }
    world.pass(1);
    for text in ["www.plain.test", "no.plain.test"] {
        let answered = ask(&resolver, text, rtype::A, 0).await;
        assert_eq!((answered.message.rcode(), answered.ede), (2, Some(ede::NO_AUTHORITY)), "{text}");
        assert!(answered.message.answer.is_empty(), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn aliases_that_lead_round_end() {
    let answered = ask(&resolver(&world(|_| {})), "loop.plain.test", rtype::A, 0).await;
    assert_eq!((answered.message.rcode(), answered.ede), (2, Some(ede::OTHER)));
}

#[tokio::test(start_paused = true)]
async fn the_same_question_of_many_is_resolved_once() {
    let world = world(|_| {});
    let resolver = resolver(&world);
    let alone = {
        let world = self::world(|_| {});
        ask(&self::resolver(&world), "www.signed.test", rtype::A, 0).await;
        world.count()
    };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let resolver = resolver.clone();
        tasks.spawn(async move { ask(&resolver, "www.signed.test", rtype::A, 0).await.addresses() });
    }
    assert!(tasks.join_all().await.iter().all(|addresses| addresses == &[80]));
    assert_eq!(world.count(), alone);
}

#[tokio::test(start_paused = true)]
async fn a_delegation_to_many_names_that_have_to_be_looked_up_is_not_an_amplifier() {
    let mut world = Arc::into_inner(world(|_| {})).unwrap();
    let evil = world.zones.iter_mut().find(|zone| zone.0 == ip(EVIL)).unwrap();
    let servers =
        |zone: &str| (0..200).map(|it| name(&format!("ns{it}.{zone}.bank.test")).wire().to_vec()).collect();
    evil.1.add("deep.evil.test", rtype::NS, servers("a"));
    let world = Arc::new(world);
    let answered = ask(&resolver(&world), "www.deep.evil.test", rtype::A, 0).await;
    assert_eq!(answered.message.rcode(), 2);
    let asked = world.asked.lock().unwrap();
    let of_victim = asked.iter().filter(|it| it.0 == ip(BANK)).count();
    assert!(of_victim <= 20, "{of_victim} questions to the victim");
    assert!(asked.len() <= QUERIES_MAX as usize);
}

#[tokio::test(start_paused = true)]
async fn zones_whose_servers_have_names_in_each_other_end_in_a_failure_and_hold_up_nobody() {
    let mut world = Arc::into_inner(world(|_| {})).unwrap();
    let test = world.zones.iter_mut().find(|zone| zone.0 == ip(TEST)).unwrap();
    // One is in the other, and a third leads into them.
    for (zone, server) in [("a.test", "ns.b.test"), ("b.test", "ns.a.test"), ("c.test", "ns.a.test")] {
        test.1.add(zone, rtype::NS, vec![name(server).wire().to_vec()]);
    }
    let world = Arc::new(world);
    let resolver = resolver(&world);
    let begun = tokio::time::Instant::now();
    for text in ["www.a.test", "www.b.test", "www.c.test"] {
        let before = world.count();
        let (answered, other) =
            tokio::join!(ask(&resolver, text, rtype::A, 0), ask(&resolver, "www.bank.test", rtype::A, 0));
        assert_eq!((answered.message.rcode(), answered.addresses().len()), (2, 0), "{text}");
        assert_eq!((other.message.rcode(), other.addresses()), (0, vec![100]), "{text}");
        assert!(world.count() - before <= QUERIES_MAX as usize, "{text}: {}", world.count() - before);
        // It is remembered (RFC 9520), and nobody asked again at once.
        let before = world.count();
        assert_eq!(ask(&resolver, text, rtype::A, 0).await.message.rcode(), 2, "{text}");
        assert_eq!(world.count(), before, "{text}");
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody was waited for");
}

#[tokio::test(start_paused = true)]
async fn a_question_takes_a_bounded_time_however_slow_servers_are() {
    let mut world = Arc::into_inner(world(|_| {})).unwrap();
    let evil = world.zones.iter_mut().find(|zone| zone.0 == ip(EVIL)).unwrap();
    let servers = (0..9).map(|it| name(&format!("ns{it}.a.bank.test")).wire().to_vec()).collect();
    evil.1.add("deep.evil.test", rtype::NS, servers);
    let world = Arc::new(world);
    world.set(ip(BANK), Some(Fault::Tarpit));
    let begun = tokio::time::Instant::now();
    let answered = ask(&resolver(&world), "www.deep.evil.test", rtype::A, 0).await;
    assert_eq!((answered.message.rcode(), answered.ede), (2, Some(ede::NO_AUTHORITY)));
    assert!(begun.elapsed() <= RESOLUTION_MAX, "{:?}", begun.elapsed());
}

#[test]
fn what_is_no_question_for_a_resolver_is_refused() {
    let header = |flags: u16, questions: u16| [7, flags, questions, 0, 0, 0].map(u16::to_be_bytes).concat();
    let asked = |kind: u16, class: u16| {
        [header(0x100, 1), vec![0], [kind, class].map(u16::to_be_bytes).concat()].concat()
    };
    for (message, code) in [
        (header(0x2800, 1), 4),
        (header(0, 0), 1),
        (header(0, 1), 1),
        (asked(255, 1), 4),
        (asked(252, 1), 4),
        (asked(16, 3), 4),
        (asked(rtype::NXNAME, 1), 1),
    ] {
        let mut messages = vec![(message.clone(), false)];
        // The same with EDNS, where there is a question to say back.
        if message.len() > 12 {
            let opt = [&[0][..], &[rtype::OPT, 1_232, 0, 0, 0].map(u16::to_be_bytes).concat()].concat();
            let mut with_edns = [message, opt].concat();
            with_edns[11] = 1;
            messages.push((with_edns, true));
        }
        for (message, is_edns) in messages {
            let Read::Refused(octets) = Query::read(&message) else { panic!("{message:?}") };
            assert_eq!((octets[3] & 0xF, octets[11]), (code, u8::from(is_edns)), "{message:?}");
            assert_eq!(octets.ends_with(&[0; 6]) && octets.len() > 12, is_edns, "{octets:?}");
        }
    }
    assert!(matches!(Query::read(&header(0x8000, 1)), Read::Ignored));
    assert!(matches!(Query::read(b"x"), Read::Ignored));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_left_out_and_said_so() {
    let resolver =
        resolver(&world(|zone| zone.add("big.signed.test", 16, (0..9).map(|it| vec![it; 200]).collect())));
    let answered = ask(&resolver, "big.signed.test", 16, 0).await;
    assert!(answered.message.has(flag::TC) && answered.message.answer.is_empty());
    let mut octets = Vec::new();
    resolver.answer(&query("big.signed.test", 16, 0), usize::from(u16::MAX), &mut octets).await;
    assert_eq!(Message::parse(&octets).unwrap().answer.len(), 9);
}

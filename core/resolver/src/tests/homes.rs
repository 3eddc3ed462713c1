//! Two servers of a PoP: one asks, the other is home.

use std::{
    future::{pending, ready},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    asking::{ANSWERED_WITHIN, TAKEN_WITHIN},
    homes::{Awaited, HomeQuestion, Homes, NotHome},
    resolver::RESOLVING_MAX,
};

/// How a home behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    Answers,
    /// It answers, but so much later.
    Slow(Duration),
    /// It is known to be lost.
    Down,
    Lost,
    Declines,
    Frozen,
    TakesAndIsLost,
    TakesAndIsBusy,
    TakesAndFreezes,
    Says(Vec<u8>),
}

/// The way from one server to another.
struct Link {
    there: Arc<Resolver<Arc<World>>>,
    mode: Mutex<Mode>,
    asked: AtomicUsize,
}

impl Link {
    /// From `here`, for which the other one is home of everything.
    fn between(here: &Resolver<Arc<World>>, there: &Arc<Resolver<Arc<World>>>) -> Arc<Self> {
        let (mode, asked) = (Mutex::new(Mode::Answers), AtomicUsize::new(0));
        let link = Arc::new(Self { there: there.clone(), mode, asked });
        here.share(link.clone());
        link
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    fn mode(&self) -> Mode {
        self.mode.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Homes for Link {
    fn of(&self, _: &[u8]) -> Option<usize> {
        (self.mode() != Mode::Down).then_some(0)
    }

    async fn ask(&self, _: usize, question: Vec<u8>) -> Result<Awaited, NotHome> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let after = match self.mode() {
            Mode::Lost | Mode::Down => return Err(NotHome::Lost),
            Mode::Declines => return Err(NotHome::Declined),
            Mode::Frozen => pending().await,
            Mode::TakesAndFreezes => return Ok(Box::pin(pending())),
            Mode::Says(octets) => return Ok(Box::pin(ready(Ok(octets)))),
            Mode::TakesAndIsLost => {
                return Ok(Box::pin(async {
                    sleep(Duration::from_millis(300)).await;
                    Err(NotHome::Lost)
                }));
            }
            Mode::TakesAndIsBusy => return Ok(Box::pin(ready(Err(NotHome::Busy)))),
            Mode::Slow(after) => after,
            Mode::Answers => Duration::ZERO,
        };
        let question = HomeQuestion::read(&question).ok_or(NotHome::Declined)?;
        let there = self.there.clone();
        Ok(Box::pin(async move {
            if !after.is_zero() {
                sleep(after).await;
            }
            match there.answer_peer_now(&question) {
                Some(answer) => Ok(answer),
                None => there.answer_peer(&question).await.ok_or(NotHome::Busy),
            }
        }))
    }
}

/// Two servers, of which the first asks the second.
struct Pair {
    world: Arc<World>,
    here: Arc<Resolver<Arc<World>>>,
    home: Arc<Resolver<Arc<World>>>,
    link: Arc<Link>,
}

fn pair(change: impl FnOnce(&mut Zone)) -> Pair {
    let world = world(change);
    let (here, home) = (resolver(&world), resolver(&world));
    let link = Link::between(&here, &home);
    Pair { world, here, home, link }
}

/// How many questions a name costs who resolves it alone.
async fn alone(text: &str) -> usize {
    let world = world(|_| {});
    ask(&resolver(&world), text, rtype::A, 0).await;
    world.count()
}

#[tokio::test(start_paused = true)]
async fn a_cold_name_is_asked_for_once_and_both_keep_it_for_the_rest_of_its_time() {
    let Pair { world, here, home, link } = pair(|_| {});
    let expected = alone("www.signed.test").await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50 {
        let resolver = if number % 2 == 0 { here.clone() } else { home.clone() };
        tasks.spawn(async move { ask(&resolver, "www.signed.test", rtype::A, 0).await.addresses() });
    }
    assert!(tasks.join_all().await.iter().all(|addresses| addresses == &[80]));
    assert_eq!((world.count(), link.count()), (expected, 1));
    world.pass(100);
    // Of another client's interest: the home has it, this server not.
    let later = resolver(&world);
    let link = Link::between(&later, &home);
    for _ in 0..2 {
        let answered = ask(&later, "www.signed.test", rtype::A, 0).await;
        assert_eq!((answered.message.answer[0].ttl, answered.is_secure()), (200, true));
    }
    assert_eq!((world.count(), link.count()), (expected, 1));
    world.pass(201);
    link.set(Mode::Down);
    assert_eq!(ask(&later, "www.signed.test", rtype::A, 0).await.message.answer[0].ttl, 300, "it was over");
}

#[tokio::test(start_paused = true)]
async fn what_a_home_says_is_told_as_what_is_found_here() {
    let long = "x".repeat(63);
    let too_long = format!("{long}.far.signed.test");
    for (text, kind, more) in [
        ("www.signed.test", rtype::A, DO),
        ("alias.signed.test", rtype::A, DO),
        ("www.old.signed.test", rtype::A, 0),
        ("x.wild.signed.test", rtype::A, DO),
        ("no.signed.test", rtype::A, DO),
        ("no.plain.test", rtype::A, 0),
        ("www.signed.test", rtype::AAAA, DO | flag::CD),
        ("loop.plain.test", rtype::A, 0),
        (&too_long, rtype::A, DO),
        ("nowhere", rtype::A, 0),
    ] {
        let Pair { world, here, home, link } = pair(|zone| {
            let target = name(&format!("{long}.{long}.{long}")).wire().to_vec();
            zone.add("far.signed.test", rtype::DNAME, vec![target]);
        });
        let by_home = ask(&here, text, kind, more).await;
        let there = ask(&home, text, kind, more).await;
        assert_eq!(by_home.message.flags, there.message.flags, "{text}");
        assert_eq!(by_home.message.answer, there.message.answer, "{text}");
        assert_eq!(by_home.message.authority, there.message.authority, "{text}");
        assert_eq!((by_home.ede, link.count()), (there.ede, 1), "{text}");
        let before = world.count();
        ask(&here, text, kind, more).await;
        assert_eq!((world.count(), link.count()), (before, 1), "{text}: it is kept");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_bogus_is_bogus_by_a_home_too_and_shown_to_who_sets_cd() {
    let Pair { here, link, .. } = pair(|zone| zone.is_forged = true);
    let answered = ask(&here, "www.signed.test", rtype::A, 0).await;
    assert_eq!((answered.message.rcode(), answered.ede), (2, Some(ede::BOGUS)));
    let unchecked = ask(&here, "www.signed.test", rtype::A, flag::CD).await;
    assert_eq!((unchecked.message.rcode(), unchecked.is_secure()), (0, false));
    assert_eq!((unchecked.addresses().len(), link.count()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn servers_that_each_take_the_other_for_the_home_make_no_circle() {
    let Pair { here, home, link, .. } = pair(|_| {});
    let back = Link::between(&home, &here);
    let begun = Instant::now();
    let (one, other) =
        tokio::join!(ask(&here, "www.plain.test", rtype::A, 0), ask(&home, "www.plain.test", rtype::A, 0));
    assert_eq!((one.addresses(), other.addresses()), (vec![90], vec![90]));
    assert_eq!((link.count(), back.count()), (1, 1));
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited for whom");
}

#[tokio::test(start_paused = true)]
async fn a_home_that_does_not_answer_costs_a_bounded_wait_and_no_answer() {
    type Counted = fn(&Metrics) -> u64;
    let cases: [(Mode, Duration, Counted); 9] = [
        (Mode::Down, Duration::ZERO, |it| 1 - it.homes.lost.get()),
        (Mode::Lost, Duration::ZERO, |it| it.homes.lost.get()),
        (Mode::Declines, Duration::ZERO, |it| it.homes.declined.get()),
        (Mode::TakesAndIsBusy, Duration::ZERO, |it| it.homes.busy.get() - it.homes.lost.get()),
        (Mode::Says(b"nonsense".to_vec()), Duration::ZERO, |it| it.homes.malformed.get()),
        (Mode::Frozen, TAKEN_WITHIN, |it| it.homes.late.get()),
        (Mode::TakesAndIsLost, Duration::from_millis(300), |it| it.homes.lost.get()),
        (Mode::TakesAndFreezes, ANSWERED_WITHIN, |it| it.homes.late.get()),
        (Mode::Slow(Duration::from_secs(9)), ANSWERED_WITHIN, |it| it.homes.late.get()),
    ];
    for (mode, wait, counted) in cases {
        let Pair { world, here, link, .. } = pair(|_| {});
        link.set(mode.clone());
        let begun = Instant::now();
        let answered = ask(&here, "www.signed.test", rtype::A, 0).await;
        assert_eq!((answered.addresses(), answered.is_secure()), (vec![80], true), "{mode:?}");
        assert!(begun.elapsed() >= wait && begun.elapsed() <= wait + Duration::from_millis(5), "{mode:?}");
        assert_eq!(counted(here.metrics()), 1, "{mode:?}");
        // It is kept, as what is found otherwise.
        let before = (world.count(), link.count());
        ask(&here, "www.signed.test", rtype::A, 0).await;
        assert_eq!((world.count(), link.count()), before, "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_home_that_resolves_all_that_it_can_is_busy_and_not_lost() {
    let world = world(|_| {});
    let silent = self::world(|_| {});
    silent.set(ip(ROOT), Some(Fault::Silent));
    let home = resolver_with(&silent, |settings| settings.zone_asked_max = RESOLVING_MAX);
    let here = resolver(&world);
    let link = Link::between(&here, &home);
    for number in 0..RESOLVING_MAX {
        let query = query(&format!("n{number}.plain.test"), rtype::A, 0);
        assert!(home.begin(query.key(), false, None).is_some(), "{number}");
    }
    let begun = Instant::now();
    assert_eq!(ask(&here, "www.signed.test", rtype::A, 0).await.addresses(), [80]);
    assert_eq!((begun.elapsed(), link.count()), (Duration::ZERO, 1));
    assert_eq!((here.metrics().homes.busy.get(), here.metrics().homes.lost.get()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_home_that_is_late_is_heard_if_it_is_first() {
    let Pair { world, here, home, link } = pair(|_| {});
    ask(&home, "www.plain.test", rtype::A, 0).await;
    // Name servers are out of reach by then: the home alone has it.
    world.set(ip(ROOT), Some(Fault::Silent));
    link.set(Mode::Slow(Duration::from_millis(1_500)));
    let begun = Instant::now();
    assert_eq!(ask(&here, "www.plain.test", rtype::A, 0).await.addresses(), [90]);
    assert!(begun.elapsed() < Duration::from_millis(1_510), "{:?}", begun.elapsed());
    assert_eq!((here.metrics().homes.late.get(), here.metrics().homes.kept.get()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_home_whose_network_is_away_is_no_reason_to_fail() {
    let Pair { here, .. } = pair(|_| {});
    let cut_off = world(|_| {});
    for zone in [ROOT, TEST, SIGNED] {
        cut_off.set(ip(zone), Some(Fault::Unreachable));
    }
    let home = resolver(&cut_off);
    let world = world(|_| {});
    let alone = resolver(&world);
    let link = Link::between(&alone, &home);
    let begun = Instant::now();
    assert_eq!(ask(&alone, "www.signed.test", rtype::A, 0).await.addresses(), [80]);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(alone.metrics().homes.failed.get() + alone.metrics().homes.late.get(), 1);
    assert_eq!(link.count(), 1);
    // Nor is one that gave up: it may have been out of places.
    assert_eq!(ask(&here, "loop.plain.test", rtype::A, 0).await.ede, Some(ede::OTHER));
    assert_eq!(here.metrics().failed.get(), 1, "it was tried here");
}

#[tokio::test(start_paused = true)]
async fn what_had_expired_at_the_home_is_told_and_kept_as_such_and_no_longer_than_there() {
    let mut world = Arc::into_inner(world(|_| {})).unwrap();
    world.zones.iter_mut().for_each(|(_, zone)| zone.signs_anew = true);
    let world = Arc::new(world);
    let (here, home) = (resolver(&world), resolver(&world));
    let link = Link::between(&here, &home);
    ask(&home, "www.plain.test", rtype::A, 0).await;
    world.pass(400);
    world.set(ip(PLAIN), Some(Fault::Silent));
    // The first waits until the home has waited; who comes then, not, nor is the failure that is found meanwhile in its way.
    for wait in [2, 0] {
        let begun = Instant::now();
        let answered = ask(&here, "www.plain.test", rtype::A, 0).await;
        assert_eq!((answered.addresses(), answered.ede), (vec![90], Some(ede::STALE)), "{wait}");
        assert_eq!((answered.message.answer[0].ttl, answered.is_secure()), (30, false), "{wait}");
        assert!(begun.elapsed() <= Duration::from_secs(wait), "{wait}: {:?}", begun.elapsed());
        assert_eq!(link.count(), 1, "{wait}");
        sleep(RESOLUTION_MAX).await;
    }
    // Its day is over at the home 300 seconds later than 24 hours after it was found.
    link.set(Mode::Down);
    world.pass(86_400 + 300 - 400 - 1);
    assert_eq!(ask(&here, "www.plain.test", rtype::A, 0).await.ede, Some(ede::STALE));
    world.pass(1);
    assert_eq!(ask(&here, "www.plain.test", rtype::A, 0).await.ede, Some(ede::NO_AUTHORITY));
    world.set(ip(PLAIN), None);
    world.pass(6);
    assert_eq!(ask(&here, "www.plain.test", rtype::A, 0).await.message.answer[0].ttl, 300);
}

#[tokio::test(start_paused = true)]
async fn of_a_pop_the_home_alone_asks_ahead() {
    let Pair { world, here, home, link } = pair(|_| {});
    ask(&here, "www.plain.test", rtype::A, 0).await;
    world.pass(280);
    let before = world.count();
    for _ in 0..3 {
        assert_eq!(ask(&here, "www.plain.test", rtype::A, 0).await.message.answer[0].ttl, 20);
    }
    while ask(&here, "www.plain.test", rtype::A, 0).await.message.answer[0].ttl != 300 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&home, "www.plain.test", rtype::A, 0).await.message.answer[0].ttl, 300);
    let asked = world.asked.lock().unwrap();
    let again = asked[before..].iter().filter(|it| it.1 == name("www.plain.test")).count();
    assert_eq!((again, link.count()), (1, 2));
    assert_eq!((home.metrics().prefetched.get(), here.metrics().prefetched.get()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn who_asks_anew_asks_nobody_elses_cache() {
    let Pair { here, link, .. } = pair(|_| {});
    let query = query("www.plain.test", rtype::A, 0);
    let mut octets = Vec::new();
    here.answer_anew(&query, query.udp_octets_max(), &mut octets).await;
    assert_eq!((answered(&octets).addresses(), link.count()), (vec![90], 0));
}

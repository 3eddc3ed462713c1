//! Durable Objects that are clicked from every region, while one server's are handed over to another one, and another one dies and
//! comes back with its disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use proxima_lab::Fault;

use super::{CLIENTS, DIES, HOSTS, LEAVES, LOG, ask, asked, homes};
use crate::{
    api::Api,
    two_pops::TwoPops,
    visitors::{Asked, Visit, Visitors},
};

/// Counters of each account: that a server has none of them has a chance of one in a hundred thousand.
const COUNTERS: usize = 32;
/// Who clicks at a time, of each client.
const EACH: usize = 4;
/// Clicks that are acknowledged before and after what happens.
const CLICKS: usize = 200;
/// Clicks on each counter while a server is dead, from each region whose own server lives.
const WHILE_DEAD: usize = 2;
/// By when it is said that an object is out of reach.
const SAID_WITHIN: Duration = Duration::from_secs(5);

/// The counter whose turn it is.
fn click(number: usize) -> Asked {
    asked("POST", HOSTS[number % HOSTS.len()], &format!("clicks/{}", number / HOSTS.len() % COUNTERS))
}

/// All of them.
fn counters() -> Vec<Asked> {
    (0..HOSTS.len() * COUNTERS).map(click).collect()
}

type Counter = (&'static str, String);

fn counter(asked: &Asked) -> Counter {
    (asked.host, asked.path.clone())
}

/// The counters whose home is [`DIES`].
pub(super) fn clicks_are_counted_once_while_servers_leave_and_die(
    lab: &TwoPops,
    api: &Api<'_>,
) -> Vec<Asked> {
    let mut visitors = Visitors::start(lab, &CLIENTS.map(|client| (client, EACH)), click);
    are_handed_over(lab, api, &mut visitors);
    let [there, away] = while_their_server_is_dead(lab, &mut visitors);

    lab.fault(&Fault::Restart { server: DIES.to_owned() });
    let (back, from) = (Instant::now(), visitors.visits.len());
    visitors.until("all counters are counted again", |visits| {
        let well = visits[from..].iter().filter(|visit| visit.begun > back && visit.said().is_some());
        well.map(|visit| counter(&visit.asked)).collect::<BTreeSet<_>>().len() == counters().len()
    });
    let visits = visitors.end();
    let elsewhere = visits.iter().filter(is_unharmed).filter(|visit| there.contains(&counter(&visit.asked)));
    let lost: Vec<_> = elsewhere.filter(|visit| visit.said().is_none()).collect();
    assert!(lost.is_empty(), "objects elsewhere were harmed: {lost:#?}");
    each_was_counted_once(lab, counters().into_iter().map(|counter| (counter, 0)), &visits);
    counters().into_iter().filter(|asked| away.contains(&counter(asked))).collect()
}

/// One server's slots go to another one: no click is lost.
fn are_handed_over(lab: &TwoPops, api: &Api<'_>, visitors: &mut Visitors) {
    let has = |server: &str| homes(api).iter().filter(|slot| slot["server"] == server).count();
    let acknowledged = |visits: &[Visit]| visits.iter().filter(|visit| visit.said().is_some()).count();
    visitors.until("clicks are counted", |visits| acknowledged(visits) >= CLICKS);
    assert_eq!([LOG, DIES, LEAVES].map(has), [HOSTS.len(); 3], "each has a slot of each account");
    let begun = Instant::now();
    let told = lab.proxima("near-a", &["objects", "hand-over", "--from", LEAVES, "--to", LOG]);
    assert!(told.contains("2 slots of 2 accounts"), "{told}");
    lab.until("all is handed over", |_| has(LEAVES) == 0);
    println!("handed over after {:?}", begun.elapsed());
    let from = Instant::now();
    visitors.until("clicks are counted", |visits| {
        let since = visits.iter().filter(|visit| visit.begun > from && visit.said().is_some());
        since.count() >= CLICKS
    });
    let lost: Vec<_> = visitors.visits.iter().filter(|visit| visit.said().is_none()).collect();
    assert!(lost.is_empty(), "clicks were lost while objects were handed over: {lost:#?}");
    assert_eq!([LOG, DIES, LEAVES].map(has), [2 * HOSTS.len(), HOSTS.len(), 0]);
}

/// A server is killed: the counters that are there, and those that are away, as it is said of them.
fn while_their_server_is_dead(lab: &TwoPops, visitors: &mut Visitors) -> [BTreeSet<Counter>; 2] {
    lab.fault(&Fault::Kill { server: DIES.to_owned() });
    let (killed, from) = (Instant::now(), visitors.visits.len());
    let is_since = |visit: &&Visit| visit.begun > killed && is_unharmed(visit);
    visitors.until("all counters are clicked from the other regions", |visits| {
        let mut clicks = BTreeMap::<_, usize>::new();
        for visit in visits[from..].iter().filter(is_since) {
            *clicks.entry((visit.client, counter(&visit.asked))).or_default() += 1;
        }
        clicks.len() == 2 * counters().len() && clicks.values().all(|clicks| *clicks >= WHILE_DEAD)
    });
    let visits = visitors.visits[from..].iter().filter(is_since);
    let (there, away): (Vec<&Visit>, Vec<&Visit>) = visits.partition(|visit| visit.said().is_some());
    for visit in &away {
        let answer = visit.answer.as_ref().unwrap_or_else(|error| panic!("{error}: {visit:#?}"));
        let clear = format!("its home, {DIES}, does not answer; retryable: true");
        assert!(answer.status == 503 && answer.body.contains(&clear), "{visit:#?}");
        assert!(visit.took < SAID_WITHIN, "who clicks must not wait for a home that is away: {visit:#?}");
    }
    let slowest = away.iter().map(|visit| visit.took).max();
    let both = [there, away]
        .map(|visits| visits.into_iter().map(|visit| counter(&visit.asked)).collect::<BTreeSet<Counter>>());
    let [there, away] = &both;
    println!("{} of {} counters are away, as is said within {slowest:?}", away.len(), counters().len());
    assert!(there.is_disjoint(away), "some are both there and away: {both:?}");
    for host in HOSTS {
        let some = |counters: &BTreeSet<Counter>| counters.iter().any(|(of, _)| *of == host);
        assert!(some(there) && some(away), "{host}: {both:?}");
    }
    both
}

/// Whether the server that a visitor comes to is none that dies.
fn is_unharmed(visit: &&Visit) -> bool {
    visit.client != "near-b"
}

/// How much a counter has counted.
pub(super) fn count(lab: &TwoPops, counter: &Asked) -> usize {
    let count = ask(lab, LOG, &Asked { method: "GET", ..counter.clone() });
    count.parse().unwrap_or_else(|_| panic!("{}: {count}", counter.path))
}

/// What was acknowledged of counters, each of which stood at so much, has been counted, by a number of its own; what was not may have
/// been, once. Some of each was.
pub(super) fn each_was_counted_once(
    lab: &TwoPops,
    counters: impl IntoIterator<Item = (Asked, usize)>,
    visits: &[Visit],
) {
    let (mut all, mut unknown) = (0, 0);
    for (asked, before) in counters {
        let clicks: Vec<&Visit> = visits.iter().filter(|visit| visit.is_of(&asked)).collect();
        let said = clicks.iter().filter_map(|visit| visit.said());
        let said: Vec<usize> = said.map(|count| count.parse().unwrap()).collect();
        let distinct: BTreeSet<usize> = said.iter().copied().collect();
        let counted = count(lab, &asked) - before;
        let (clicks, said) = (clicks.len(), said.len());
        let what = format!("{}{}: {counted} of {clicks}, {said} acknowledged", asked.host, asked.path);
        assert!(said > 0, "{what}: nobody could click it");
        assert_eq!(distinct.len(), said, "{what}: two were told the same count");
        assert!((said..=clicks).contains(&counted), "{what}");
        let is_within = |last: &usize| *last <= before + counted;
        assert!(distinct.last().is_none_or(is_within), "{what}: {distinct:?}");
        (all, unknown) = (all + said, unknown + clicks - said);
    }
    println!("{all} clicks were acknowledged, {unknown} were not");
}

//! Roll-overs of keys: each stage by table, and resolvers that remember anything, by simulation.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proxima_model::{
    KeyRole, KeyRoll, ParentDs, ParentSays, RollStage, SigningAlgorithm, SigningKey, SigningState, Timestamp,
    ZoneId, ZoneSigning, limits,
};

const START: Timestamp = Timestamp::from_millis(1_764_000_000_000);
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

fn key(number: u8, algorithm: SigningAlgorithm) -> SigningKey {
    let (role, created_at) = (KeyRole::Active, START);
    SigningKey { algorithm, public: vec![number; 32], private: Vec::new(), role, created_at }
}

fn signed() -> ZoneSigning {
    let keys = vec![key(1, SigningAlgorithm::EcdsaP256)];
    ZoneSigning { parent: ParentDs::Seen, ..ZoneSigning::new(ZoneId::from_bytes([1; 16]), keys, START) }
}

fn at(hours: i64) -> Timestamp {
    START.plus_seconds(hours * HOUR)
}

/// The keys with their roles, and the stage.
fn shape(signing: &ZoneSigning) -> (Vec<(u8, KeyRole)>, Option<RollStage>) {
    (signing.keys.iter().map(|key| (key.public[0], key.role)).collect(), signing.roll.map(|roll| roll.stage))
}

use KeyRole::{Active, Companion, Hidden};
use ParentSays::{NamesActive, Trusted, Unknown};
use RollStage::{Publishing, Settling, Signing, WaitingForParent, Withdrawing};
use SigningAlgorithm::{EcdsaP256, Ed25519};

#[test]
fn a_key_is_rolled_over_stage_by_stage_and_never_past_the_parent() {
    let begun = signed().roll_to(key(2, EcdsaP256), START).unwrap();
    assert_eq!(shape(&begun), (vec![(1, Active), (2, Companion)], Some(Publishing)));
    for parent in [Unknown, NamesActive(true), NamesActive(false), Trusted] {
        assert_eq!(begun.roll_on(parent, START.plus_seconds(2 * HOUR - 1)), None);
    }
    let waiting = begun.roll_on(Unknown, at(2)).unwrap();
    assert_eq!(shape(&waiting), (vec![(1, Companion), (2, Active)], Some(WaitingForParent)));
    assert_eq!(waiting.roll.unwrap().due_at(), None);
    for parent in [Unknown, NamesActive(false), Trusted] {
        assert_eq!(waiting.roll_on(parent, at(99_999)), None, "{parent:?}");
    }
    let settling = waiting.roll_on(NamesActive(true), at(10)).unwrap();
    assert_eq!((shape(&settling).0, settling.roll.unwrap().stage), (shape(&waiting).0, Settling));
    assert_eq!(settling.roll_on(NamesActive(true), at(57)), None);
    assert_eq!(settling.roll_on(Unknown, at(99_999)), None, "what the parent says now counts");
    let again = settling.roll_on(NamesActive(false), at(58)).unwrap();
    assert_eq!(shape(&again), shape(&waiting), "the parent has changed back");
    let done = settling.roll_on(NamesActive(true), at(58)).unwrap();
    assert_eq!(shape(&done), (vec![(2, Active)], None));
    assert_eq!(done.roll_on(NamesActive(true), at(99_999)), None);

    // Where nobody looks, its owner says so.
    let said = waiting.parent_names_active(at(10)).unwrap();
    assert_eq!(said, settling);
    assert_eq!(said.roll_on(Trusted, at(57)), None);
    assert_eq!(said.roll_on(Trusted, at(58)).unwrap(), done);
}

#[test]
fn between_algorithms_signatures_come_before_the_key_and_leave_after_it() {
    let begun = signed().roll_to(key(2, Ed25519), START).unwrap();
    assert_eq!(shape(&begun), (vec![(1, Active), (2, Hidden)], Some(Signing)));
    assert_eq!(begun.roll_on(Unknown, at(24)), None);
    let publishing = begun.roll_on(Unknown, at(25)).unwrap();
    assert_eq!(shape(&publishing), (vec![(1, Active), (2, Companion)], Some(Publishing)));
    let waiting = publishing.roll_on(Unknown, at(27)).unwrap();
    let settling = waiting.roll_on(NamesActive(true), at(30)).unwrap();
    let withdrawing = settling.roll_on(NamesActive(true), at(78)).unwrap();
    assert_eq!(shape(&withdrawing), (vec![(1, Hidden), (2, Active)], Some(Withdrawing)));
    assert_eq!(withdrawing.roll_on(Unknown, at(79)), None);
    assert_eq!(shape(&withdrawing.roll_on(Unknown, at(80)).unwrap()), (vec![(2, Active)], None));
}

#[test]
fn a_roll_over_is_turned_back_until_the_former_key_is_published_no_longer() {
    let begun = signed().roll_to(key(2, Ed25519), START).unwrap();
    assert_eq!(shape(&begun.roll_back(at(1)).unwrap()), (vec![(1, Active)], None));
    let roles = |stage, roles: [KeyRole; 2]| {
        let mut signing = begun.clone();
        signing.roll = Some(KeyRoll { stage, since: START });
        signing.keys.iter_mut().zip(roles).for_each(|(key, role)| key.role = role);
        signing.roll_back(at(1))
    };
    let back = (vec![(1, Active), (2, Companion)], Some(WaitingForParent));
    for (stage, before) in [
        (Publishing, [Active, Companion]),
        (WaitingForParent, [Companion, Active]),
        (Settling, [Companion, Active]),
    ] {
        assert_eq!(shape(&roles(stage, before).unwrap()), back, "{stage:?}");
    }
    assert!(roles(Withdrawing, [Hidden, Active]).is_err());
    assert!(signed().roll_back(START).is_err());
    assert!(signed().parent_names_active(START).is_err());
}

#[test]
fn one_key_is_rolled_over_at_a_time_and_only_of_a_zone_that_stays_signed() {
    let begun = signed().roll_to(key(2, EcdsaP256), START).unwrap();
    assert!(begun.roll_to(key(3, EcdsaP256), START).is_err());
    let leaving = ZoneSigning { state: SigningState::Leaving, ..begun };
    assert_eq!(leaving.roll_on(NamesActive(true), at(99)), None);
    assert!(ZoneSigning { roll: None, ..leaving }.roll_to(key(3, EcdsaP256), START).is_err());
    assert!(ZoneSigning { keys: Vec::new(), ..signed() }.roll_to(key(3, EcdsaP256), START).is_err());

    let days = |roll_days, parent| ZoneSigning { roll_days, parent, ..signed() };
    let due = |signing: &ZoneSigning, days: i64| signing.is_roll_due(START.plus_seconds(days * DAY));
    assert!(!due(&days(0, ParentDs::Seen), 9_999) && !due(&days(30, ParentDs::Seen), 29));
    assert!(due(&days(30, ParentDs::Seen), 30) && !due(&days(30, ParentDs::Unseen), 30));
    assert!(
        !due(&ZoneSigning { multi_signer: true, ..days(30, ParentDs::Seen) }, 30),
        "others must have it first"
    );
}

/// What a server or the parent said from some time on.
struct Said<T>(Vec<(i64, T)>);

impl<T> Said<T> {
    fn at(&self, seconds: i64) -> &T {
        let begun = self.0.iter().rev().find(|(since, _)| *since <= seconds);
        &begun.unwrap_or(&self.0[0]).1
    }
}

/// A resolver remembers each of these for as long as it may, had from a server that is behind.
#[derive(Clone, Debug)]
struct Resolver {
    now: i64,
    ds_age: i64,
    key_age: i64,
    set_age: i64,
    behind: [i64; 2],
}

/// Why a resolver finds no chain, if it does not.
fn broken(zone: &Said<ZoneSigning>, ds: &Said<BTreeSet<u8>>, resolver: &Resolver) -> Option<String> {
    let ds = ds.at(resolver.now - resolver.ds_age);
    let keys = zone.at(resolver.now - resolver.key_age - resolver.behind[0]);
    let set = zone.at(resolver.now - resolver.set_age - resolver.behind[1]);
    let published: Vec<&SigningKey> = keys.keys().filter(|key| key.role.is_published()).collect();
    let signs_keys = published.iter().any(|key| key.role.signs() && ds.contains(&key.public[0]));
    let signers: Vec<&SigningKey> = set.keys().filter(|key| key.role.signs()).collect();
    let signs_set = published.iter().any(|key| signers.iter().any(|signer| signer.public == key.public));
    // Some want a signature of each algorithm that has a key.
    let all_sign = published.iter().all(|key| signers.iter().any(|signer| signer.algorithm == key.algorithm));
    let holds = signs_keys && signs_set && all_sign;
    (!holds).then(|| format!("{resolver:?}\nDS {ds:?}\nDNSKEY {keys:?}\nset {set:?}"))
}

#[test]
fn the_simulation_finds_the_gap_where_there_is_one() {
    let resolver = |ds_age, key_age, set_age| Resolver { now: DAY, ds_age, key_age, set_age, behind: [0; 2] };
    // A key that takes the place of another one at once.
    let swapped = ZoneSigning { keys: vec![key(2, EcdsaP256)], ..signed() };
    let zone = Said(vec![(0, signed()), (DAY - 10, swapped)]);
    let ds = Said(vec![(0, BTreeSet::from([1])), (DAY - 10, BTreeSet::from([2]))]);
    assert!(
        broken(&zone, &ds, &resolver(0, 0, 0)).is_none()
            && broken(&zone, &ds, &resolver(20, 20, 20)).is_none()
    );
    for ages in [(20, 0, 0), (0, 20, 0), (0, 0, 20)] {
        assert!(broken(&zone, &ds, &resolver(ages.0, ages.1, ages.2)).is_some(), "{ages:?}");
    }
    // A key of another algorithm that is published before what it signed is there.
    let begun = signed().roll_to(key(2, Ed25519), START).unwrap();
    let hasty = begun.roll_on(Unknown, at(25)).unwrap();
    let (zone, ds) = (Said(vec![(0, signed()), (DAY - 10, hasty)]), Said(vec![(0, BTreeSet::from([1]))]));
    assert!(
        broken(&zone, &ds, &resolver(0, 0, 20)).is_some()
            && broken(&zone, &ds, &resolver(0, 20, 20)).is_none()
    );
}

/// What happens at one time.
#[derive(Clone, Debug)]
enum Event {
    /// Time passes, and the network looks after its keys.
    Upkeep { looks: bool },
    /// The parent does as it is asked.
    ParentFollows,
    /// The owner turns back.
    Back,
}

fn event() -> impl Strategy<Value = (i64, Event)> {
    let what = prop_oneof![
        6 => any::<bool>().prop_map(|looks| Event::Upkeep { looks }),
        3 => Just(Event::ParentFollows),
        1 => Just(Event::Back),
    ];
    (prop_oneof![0..2 * HOUR, 0..60 * HOUR], what)
}

fn resolver() -> impl Strategy<Value = Resolver> {
    let key_ttl = i64::from(limits::KEY_TTL_SECONDS);
    let set_ttl = i64::from(limits::TTL_SECONDS_MAX);
    let behind = 0..limits::PROPAGATION_SECONDS;
    (0..60 * DAY, 0..DAY, 0..key_ttl, 0..set_ttl, [behind.clone(), behind]).prop_map(
        |(now, ds_age, key_age, set_age, behind)| Resolver { now, ds_age, key_age, set_age, behind },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_resolver_remembers_it_finds_a_chain(
        algorithm in prop_oneof![Just(EcdsaP256), Just(Ed25519)],
        events in proptest::collection::vec(event(), 1..60),
        resolvers in proptest::collection::vec(resolver(), 300),
    ) {
        let mut zone = Said(vec![(0, signed())]);
        let mut ds = Said(vec![(0, BTreeSet::from([1]))]);
        let first = signed().roll_to(key(2, algorithm), START).unwrap();
        let (mut now, mut rolled) = (DAY, 2);
        zone.0.push((now, ZoneSigning { roll: first.roll.map(|roll| KeyRoll { since: at(24), ..roll }), ..first }));
        let mut changes = vec![now];
        for (passes, event) in events {
            now += passes;
            let (current, time) = (zone.at(now).clone(), START.plus_seconds(now));
            let active = current.active_key().unwrap().public[0];
            let next = match event {
                Event::Upkeep { looks } => {
                    let says = if looks { NamesActive(ds.at(now).contains(&active)) } else { Unknown };
                    current.roll_on(says, time)
                }
                Event::ParentFollows => {
                    // It reads CDS from a server that may be behind by nothing; what is there names the active key.
                    ds.0.push((now, current.trusted().map(|key| key.public[0]).collect()));
                    None
                }
                Event::Back => current.roll_back(time).ok(),
            };
            changes.push(now);
            if let Some(next) = next {
                // And again, when it is over.
                let over = next.roll.is_none();
                zone.0.push((now, next.clone()));
                if over {
                    rolled += 1;
                    now += 1;
                    let again = next.roll_to(key(rolled, algorithm), START.plus_seconds(now)).unwrap();
                    zone.0.push((now, again));
                }
            }
        }
        for (number, mut resolver) in resolvers.into_iter().enumerate() {
            // Most of them soon after something changed, and with what they may remember the longest.
            if number % 3 > 0 {
                resolver.now = changes[number % changes.len()] + resolver.now % (2 * DAY);
            }
            if number % 2 == 0 {
                (resolver.ds_age, resolver.set_age) = (DAY - 1, i64::from(limits::TTL_SECONDS_MAX) - 1);
                resolver.key_age = i64::from(limits::KEY_TTL_SECONDS) - 1;
            }
            let broken = broken(&zone, &ds, &resolver);
            prop_assert!(broken.is_none(), "{}", broken.unwrap_or_default());
        }
    }
}

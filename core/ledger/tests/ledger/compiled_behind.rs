//! Zones that take long to compile and change while they are served; and compilations that fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::common::*;
use proxima_ledger::{
    Change, ChangeSet, CompileZone, CompiledZones, EmbeddedLog, Log as _, Look, ReadError, Snapshot,
};
use proxima_model::{Entity as _, Kind, Phase, Ruleset, SecondaryZone, Zone, ZoneId, ZoneIndex, ZoneName};

const LARGE: &str = "large.example";
const SMALL: &str = "small.example";

fn put(log: &EmbeddedLog, name: &str, serial: u32) -> Change {
    log.replica().put(&Zone { serial, ..zone(name) })
}

static BEGUN: AtomicUsize = AtomicUsize::new(0);
static MAY_END: AtomicUsize = AtomicUsize::new(0);

/// A zone of which all but the small one are large, and their compilations end when the test lets them.
struct Gated {
    id: ZoneId,
    serial: u32,
}

impl CompileZone for Gated {
    const KINDS: &'static [Kind] = &[Kind::Zone];
    const AHEAD_WITHIN: Duration = AHEAD_AT_LENGTH;

    fn is_larger_than(_: &Snapshot, zone: ZoneId, _: usize) -> Result<bool, ReadError> {
        Ok(zone != zone_id(SMALL))
    }

    fn compile(_: &Snapshot, zone: Zone) -> Result<Self, ReadError> {
        if zone.id != zone_id(SMALL) {
            let number = BEGUN.fetch_add(1, Ordering::SeqCst);
            while MAY_END.load(Ordering::SeqCst) <= number {
                std::thread::yield_now();
            }
        }
        Ok(Self { id: zone.id, serial: zone.serial })
    }
}

async fn begun(count: usize) {
    until("a compilation begins", || BEGUN.load(Ordering::SeqCst) == count).await;
}

fn may_end(count: usize) {
    MAY_END.store(count, Ordering::SeqCst);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_zone_that_changes_is_served_as_it_was_until_what_it_became_is_compiled() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Gated>::new(log.replica().clone(), 1_000);
    let unserved = || *zones.unserved().borrow();
    let serial = |name: &str| zones.find(name).unwrap().unwrap().serial;
    let first = [put_zone(log.replica(), LARGE), put_zone(log.replica(), SMALL)].concat();
    change(&log, &zones, first).await;
    may_end(1);
    assert_eq!((serial(LARGE), serial(SMALL), unserved()), (1, 1, None));

    // One that is small and changes together with it waits for nothing.
    let before = log.replica().seq();
    let second = change(&log, &zones, vec![put(&log, LARGE, 2), put(&log, SMALL, 2)]).await;
    assert_eq!((serial(LARGE), serial(SMALL)), (1, 2));
    assert_eq!(unserved(), Some(before.next()));
    begun(2).await;
    // It changes while that is compiled; each compilation brings it forward all the same.
    let third = change(&log, &zones, vec![put(&log, LARGE, 3)]).await;
    assert_eq!((serial(LARGE), unserved()), (1, Some(before.next())));
    may_end(2);
    begun(3).await;
    assert_eq!(serial(LARGE), 2);
    assert_eq!(unserved(), Some(second.next()));
    assert!(third > second);
    may_end(3);
    until("all is served", || unserved().is_none()).await;
    assert_eq!(serial(LARGE), 3);
    assert_eq!((zones.compiled_for_requests(), zones.compiled_aside(), zones.compiled_ahead()), (2, 0, 3));

    // One that is deleted while it is compiled is gone at once, and does not come back.
    change(&log, &zones, vec![put(&log, LARGE, 4)]).await;
    begun(4).await;
    let name = ZoneName::parse(LARGE).unwrap();
    let deletions = vec![Change::delete::<Zone>(&zone_id(LARGE)), Change::delete::<ZoneIndex>(&name)];
    change(&log, &zones, deletions).await;
    assert_eq!(unserved(), None);
    assert!(zones.kept(LARGE).is_none());
    may_end(4);
    until("there is none", || zones.find(LARGE).unwrap().is_none()).await;
    assert!(zones.kept(LARGE).is_none());

    // One that takes the place of another under its name is never answered for by it.
    change(&log, &zones, put_zone(log.replica(), LARGE)).await;
    may_end(5);
    assert_eq!(serial(LARGE), 1);
    let other = ZoneId::from_bytes([9; 16]);
    let changes = vec![
        Change::delete::<Zone>(&zone_id(LARGE)),
        log.replica().put(&Zone { id: other, ..zone(LARGE) }),
        log.replica().put(&ZoneIndex { name, zone: other }),
    ];
    change(&log, &zones, changes).await;
    assert!(zones.kept(LARGE).is_none());
    assert_eq!(unserved(), None);
    may_end(6);
    assert!(zones.find(LARGE).unwrap().unwrap().id == other);
}

/// A zone for which there is never time ahead of a change.
struct Late(u32);

impl CompileZone for Late {
    const KINDS: &'static [Kind] = &[Kind::Zone];
    const AHEAD_WITHIN: Duration = Duration::ZERO;

    fn compile(_: &Snapshot, zone: Zone) -> Result<Self, ReadError> {
        Ok(Self(zone.serial))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zones_that_there_is_no_time_for_before_a_change_follow_it() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Late>::new(log.replica().clone(), 1_000);
    let names: Vec<String> = (0..20).map(|number| format!("zone{number}.example")).collect();
    change(&log, &zones, names.iter().flat_map(|name| put_zone(log.replica(), name)).collect()).await;
    let serials = || names.iter().map(|name| zones.find(name).unwrap().unwrap().0).collect::<Vec<_>>();
    assert_eq!(serials(), [1; 20]);
    let from = log.replica().seq();
    log.append(append(names.iter().map(|name| put(&log, name, 2)).collect())).await.unwrap();
    let snapshot = log.replica().snapshot().unwrap();
    let commit = zones.prepare(&snapshot, &log.replica().changes_since(from));
    assert_eq!((zones.compiled_ahead(), serials()), (0, vec![1; 20]));
    commit();
    let mut unserved = zones.unserved();
    unserved.wait_for(Option::is_none).await.unwrap();
    assert_eq!((zones.compiled_ahead(), serials()), (20, vec![2; 20]));
    assert_eq!(zones.compiled_for_requests(), 20);
}

#[tokio::test]
async fn a_change_of_what_a_zone_is_not_made_of_compiles_nothing() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Late>::new(log.replica().clone(), 1_000);
    change(&log, &zones, put_zone(log.replica(), SMALL)).await;
    let kept = zones.find(SMALL).unwrap().unwrap();
    let from = log.replica().seq();
    log.append(append(put_zone(log.replica(), LARGE))).await.unwrap();
    let snapshot = log.replica().snapshot().unwrap();
    let of = |key| ChangeSet { from, to: snapshot.seq(), keys: Some([key].into()) };
    let ruleset = of(Ruleset::key_of(&(zone_id(SMALL), Phase::ALL[0])));
    assert_eq!(ruleset.zones().unwrap().len(), 1);
    zones.prepare(&snapshot, &ruleset)();
    assert_eq!((zones.compiled_ahead(), *zones.unserved().borrow()), (0, None));
    assert!(Arc::ptr_eq(&kept, &zones.find(SMALL).unwrap().unwrap()));
    // And one of what it is made of does.
    zones.prepare(&snapshot, &of(Zone::key_of(&zone_id(SMALL))))();
    zones.unserved().wait_for(Option::is_none).await.unwrap();
    assert_eq!(zones.compiled_ahead(), 1);
}

/// A zone whose second state cannot be compiled.
#[derive(Debug)]
struct Faulty(u32);

impl CompileZone for Faulty {
    const KINDS: &'static [Kind] = &[Kind::Zone];
    const AHEAD_WITHIN: Duration = AHEAD_AT_LENGTH;

    fn is_larger_than(_: &Snapshot, zone: ZoneId, nouns: usize) -> Result<bool, ReadError> {
        Ok(zone == zone_id(LARGE) && nouns < 10_000)
    }

    fn compile(_: &Snapshot, zone: Zone) -> Result<Self, ReadError> {
        assert_ne!(zone.serial, 2, "as a fault of a compiler");
        Ok(Self(zone.serial))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_whose_compilation_panics_fails_alone_and_is_there_again_when_it_can_be_compiled() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Faulty>::new(log.replica().clone(), 1_000);
    const OTHER: &str = "other.example";
    let names = [LARGE, SMALL, OTHER];
    change(&log, &zones, names.iter().flat_map(|name| put_zone(log.replica(), name)).collect()).await;
    for name in names {
        assert_eq!(zones.find(name).unwrap().unwrap().0, 1);
    }
    // Ahead, in the thread that puts the change in force, and behind.
    change(&log, &zones, vec![put(&log, LARGE, 2), put(&log, SMALL, 2), put(&log, OTHER, 3)]).await;
    zones.unserved().wait_for(Option::is_none).await.unwrap();
    let is_fault = |error: &ReadError, name: &str| matches!(error, ReadError::Fault { zone } if zone == name);
    for name in [LARGE, SMALL] {
        assert!(zones.kept(name).is_none(), "what {name} was is not served any more");
        assert!(is_fault(&zones.find(name).unwrap_err(), name));
    }
    assert_eq!(zones.find(OTHER).unwrap().unwrap().0, 3);
    // Who waits is told.
    let Ok(Look::Pending(pending)) = zones.look(LARGE) else { panic!("it cannot be there") };
    let outcome = pending.landed().await.expect("an outcome");
    assert!(is_fault(&outcome.unwrap_err(), LARGE));
    // Who has waited enough has nobody compile it.
    let compiled = zones.compiled_aside();
    assert!(matches!(zones.find_compiled(LARGE), Err(ReadError::NotCompiled { .. })));
    assert_eq!(zones.compiled_aside(), compiled);
    change(&log, &zones, vec![put(&log, LARGE, 3), put(&log, SMALL, 3)]).await;
    for name in names {
        assert_eq!(zones.find(name).unwrap().unwrap().0, 3);
    }
}

/// A zone that is as large as the test wants; whether it is vast is known when the test lets that be counted.
struct Counted;

static IS_LARGE: AtomicUsize = AtomicUsize::new(0);
static MAY_COUNT: AtomicUsize = AtomicUsize::new(0);

impl CompileZone for Counted {
    const KINDS: &'static [Kind] = &[Kind::Zone];
    const AHEAD_WITHIN: Duration = AHEAD_AT_LENGTH;

    fn is_larger_than(_: &Snapshot, _: ZoneId, nouns: usize) -> Result<bool, ReadError> {
        if nouns > 1_000 {
            while MAY_COUNT.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
        }
        Ok(IS_LARGE.load(Ordering::SeqCst) == 1)
    }

    fn compile(_: &Snapshot, _: Zone) -> Result<Self, ReadError> {
        Ok(Self)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_was_left_behind_and_is_compiled_ahead_at_its_next_change_holds_nothing_back() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Counted>::new(log.replica().clone(), 1_000);
    change(&log, &zones, put_zone(log.replica(), LARGE)).await;
    assert!(zones.find(LARGE).unwrap().is_some());
    IS_LARGE.store(1, Ordering::SeqCst);
    let before = log.replica().seq();
    change(&log, &zones, vec![put(&log, LARGE, 2)]).await;
    assert_eq!(*zones.unserved().borrow(), Some(before.next()));
    // It has become small before it is looked at by the thread that would compile it.
    IS_LARGE.store(0, Ordering::SeqCst);
    change(&log, &zones, vec![put(&log, LARGE, 3)]).await;
    assert_eq!(*zones.unserved().borrow(), None);
    MAY_COUNT.store(1, Ordering::SeqCst);
}

/// A zone whose size cannot be looked at.
struct Uncounted;

impl CompileZone for Uncounted {
    const KINDS: &'static [Kind] = &[Kind::Zone];

    fn is_larger_than(_: &Snapshot, _: ZoneId, nouns: usize) -> Result<bool, ReadError> {
        assert!(nouns <= 1_000, "as a fault in looking");
        Ok(true)
    }

    fn compile(_: &Snapshot, _: Zone) -> Result<Self, ReadError> {
        Ok(Self)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_in_looking_how_large_a_zone_is_keeps_nobody_from_it() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Uncounted>::new(log.replica().clone(), 1_000);
    change(&log, &zones, put_zone(log.replica(), LARGE)).await;
    let Ok(Look::Pending(pending)) = zones.look(LARGE) else { panic!("it is large") };
    assert!(pending.landed().await.unwrap().unwrap().is_some());
    assert!(zones.find(LARGE).unwrap().is_some());
}

static LOOKED: AtomicUsize = AtomicUsize::new(0);
static MAY_LAND: AtomicUsize = AtomicUsize::new(0);

/// A large zone that is made of whether it has expired; its compilations end when the test lets them.
struct Expiring(bool);

impl Expiring {
    fn in_state(snapshot: &Snapshot, zone: ZoneId) -> Result<bool, ReadError> {
        Ok(snapshot.get::<SecondaryZone>(&zone)?.is_some_and(|secondary| secondary.expired))
    }
}

impl CompileZone for Expiring {
    const KINDS: &'static [Kind] = &[Kind::Zone, Kind::Secondary];
    const KINDS_THAT_SAY_MORE: &'static [Kind] = &[Kind::Secondary];
    const AHEAD_WITHIN: Duration = AHEAD_AT_LENGTH;

    fn is_larger_than(_: &Snapshot, _: ZoneId, _: usize) -> Result<bool, ReadError> {
        Ok(true)
    }

    fn compile(snapshot: &Snapshot, zone: Zone) -> Result<Self, ReadError> {
        let compiled = Self(Self::in_state(snapshot, zone.id)?);
        let number = LOOKED.fetch_add(1, Ordering::SeqCst);
        while MAY_LAND.load(Ordering::SeqCst) <= number {
            std::thread::yield_now();
        }
        Ok(compiled)
    }

    fn is_as_in(&self, snapshot: &Snapshot, zone: ZoneId) -> Result<bool, ReadError> {
        Ok(Self::in_state(snapshot, zone)? == self.0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_and_changes_back_while_it_is_compiled_is_served_as_it_is_in_the_end() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Expiring>::new(log.replica().clone(), 1_000);
    let is =
        |expired| vec![log.replica().put(&SecondaryZone { expired, ..SecondaryZone::new(zone_id(LARGE)) })];
    change(&log, &zones, [put_zone(log.replica(), LARGE), is(false)].concat()).await;
    MAY_LAND.store(1, Ordering::SeqCst);
    assert!(!zones.find(LARGE).unwrap().unwrap().0);
    change(&log, &zones, is(true)).await;
    until("its state between is compiled", || LOOKED.load(Ordering::SeqCst) == 2).await;
    // What is kept says the same.
    change(&log, &zones, is(false)).await;
    MAY_LAND.store(usize::MAX, Ordering::SeqCst);
    until("all is served", || zones.unserved().borrow().is_none()).await;
    assert!(!zones.find(LARGE).unwrap().unwrap().0);
    // While nothing is under way, that it is noted again costs nothing.
    let compiled = LOOKED.load(Ordering::SeqCst);
    change(&log, &zones, is(false)).await;
    assert_eq!(LOOKED.load(Ordering::SeqCst), compiled);
}

//! Zones that change while they are asked for: nobody who asks compiles what is kept, and nothing goes back.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::common::*;
use proxima_ledger::{
    CHANGES_PER_APPEND_MAX, Change, ChangeSet, CompileZone, CompiledZones, EmbeddedLog, Log as _, Look,
    ReadError, Replica, Snapshot,
};
use proxima_model::{
    Kind, Record, RecordId, SecondaryZone, TransferredRecord, Zone, ZoneId, ZoneIndex, ZoneName,
};

/// Records of the large zone.
const RECORDS: u32 = 100_000;
const LARGE: &str = "large.example";
const SMALL: &str = "small.example";

/// How many records of which generation a zone has in force.
#[derive(Debug)]
struct Counted {
    serial: u32,
    generation: u32,
    records: usize,
    /// Those of a generation, each of which takes the place of all former ones.
    others: usize,
}

impl CompileZone for Counted {
    const KINDS: &'static [Kind] = &[Kind::Zone, Kind::Secondary];
    const AHEAD_WITHIN: Duration = AHEAD_AT_LENGTH;

    fn compile(snapshot: &Snapshot, zone: Zone) -> Result<Self, ReadError> {
        let secondary = snapshot.get::<SecondaryZone>(&zone.id)?;
        let generation = secondary.map_or(0, |secondary| secondary.generation);
        let mut counted = Self { serial: zone.serial, generation, records: 0, others: 0 };
        for found in snapshot.scan::<TransferredRecord>(&[&zone.id]) {
            let found = found?;
            if found.is_in_force(generation) {
                counted.records += 1;
                counted.others += usize::from(found.from != generation);
            }
        }
        Ok(counted)
    }
}

/// A record of the large zone that is in force from this generation on, for one generation.
fn transferred(replica: &Replica, number: u32, generation: u32) -> Change {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&generation.to_be_bytes());
    id[4..8].copy_from_slice(&number.to_be_bytes());
    let text = format!(
        r#"{{"id":"{}","zone":"{}","name":"host{number}.{LARGE}","data":{{"type":"A","address":"192.0.2.1"}},
            "ttl":60,"proxied":false,"comment":null,"created_at":0,"modified_at":0}}"#,
        RecordId::from_bytes(id),
        zone_id(LARGE),
    );
    let record: Record = serde_json::from_str(&text).unwrap();
    replica.put(&TransferredRecord { record, from: generation, until: Some(generation + 1), wire: None })
}

/// Puts the records of a generation beside those that are in force, in batches, as a transfer does.
async fn stage(log: &EmbeddedLog, zones: &CompiledZones<Counted>, generation: u32) {
    let numbers: Vec<u32> = (0..RECORDS).collect();
    for batch in numbers.chunks(CHANGES_PER_APPEND_MAX) {
        let batch = batch.iter().map(|number| transferred(log.replica(), *number, generation)).collect();
        change(log, zones, batch).await;
    }
}

fn put_in_force(replica: &Replica, generation: u32) -> Vec<Change> {
    vec![replica.put(&SecondaryZone { generation, ..SecondaryZone::new(zone_id(LARGE)) })]
}

/// Asks for a zone without a pause, and looks at what it is given: whole, and never older than before nor than what was in
/// force when it was asked for.
fn ask(
    zones: CompiledZones<Counted>,
    name: &'static str,
    (in_force, done): (Arc<AtomicU32>, Arc<AtomicBool>),
) -> std::thread::JoinHandle<u32> {
    std::thread::spawn(move || {
        let mut last = 0;
        while !done.load(Ordering::SeqCst) {
            let at_least = if name == LARGE { in_force.load(Ordering::SeqCst) } else { 0 };
            let found = zones.find(name).unwrap().unwrap();
            assert!(found.generation >= last.max(at_least), "{found:?}, after {last} and {at_least}");
            if name == LARGE {
                assert_eq!((found.records, found.others), (RECORDS as usize, 0));
            }
            last = found.generation;
        }
        last
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_records_are_replaced_while_their_zone_and_another_are_asked_for() {
    let folder = folder();
    let log = open(&folder);
    let replica = log.replica();
    let zones = CompiledZones::<Counted>::new(replica.clone(), 1_000);
    change(&log, &zones, [put_zone(replica, LARGE), put_zone(replica, SMALL)].concat()).await;
    stage(&log, &zones, 1).await;
    change(&log, &zones, put_in_force(replica, 1)).await;
    assert_eq!((zones.compiled_ahead(), zones.len()), (0, 0), "nobody has asked for anything");
    let first = zones.find(LARGE).unwrap().unwrap();
    assert!(zones.find(SMALL).unwrap().is_some());

    let (in_force, done) = (Arc::new(AtomicU32::new(1)), Arc::new(AtomicBool::new(false)));
    let shared = || (Arc::clone(&in_force), Arc::clone(&done));
    let asking = [LARGE, LARGE, SMALL].map(|name| ask(zones.clone(), name, shared()));
    stage(&log, &zones, 2).await;
    assert_eq!(zones.compiled_ahead(), 0, "what lies ready for later changes nothing");
    assert!(Arc::ptr_eq(&first, &zones.find(LARGE).unwrap().unwrap()));
    change(&log, &zones, put_in_force(replica, 2)).await;
    in_force.store(2, Ordering::SeqCst);
    assert_eq!(zones.find(LARGE).unwrap().unwrap().generation, 2);
    done.store(true, Ordering::SeqCst);
    for asking in asking {
        assert!(asking.join().unwrap() <= 2);
    }
    assert_eq!(zones.compiled_for_requests(), 2, "each zone once, when it was cold");
    assert_eq!(zones.compiled_ahead(), 1, "the one that changed, once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_state_is_served_until_the_new_one_is_committed() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Counted>::new(log.replica().clone(), 1_000);
    change(&log, &zones, put_zone(log.replica(), SMALL)).await;
    let serial = || zones.find(SMALL).unwrap().map(|found| found.serial);
    assert_eq!(serial(), Some(1));
    let prepare = async |serial| {
        let from = log.replica().seq();
        let changed = Zone { serial, ..zone(SMALL) };
        log.append(append(vec![log.replica().put(&changed)])).await.unwrap();
        let snapshot = log.replica().snapshot().unwrap();
        zones.prepare(&snapshot, &log.replica().changes_since(from))
    };
    let (second, third) = (prepare(2).await, prepare(3).await);
    assert_eq!(serial(), Some(1));
    third();
    assert_eq!(serial(), Some(3));
    second();
    assert_eq!(serial(), Some(3), "a former state never takes the place of a later one");
    assert_eq!((zones.compiled_for_requests(), zones.compiled_ahead()), (1, 2));

    // A zone that is deleted is gone with the commit; and so is everything of which the changes are not known.
    let from = log.replica().seq();
    let name = ZoneName::parse(SMALL).unwrap();
    let deletions = vec![Change::delete::<Zone>(&zone_id(SMALL)), Change::delete::<ZoneIndex>(&name)];
    log.append(append(deletions)).await.unwrap();
    let snapshot = log.replica().snapshot().unwrap();
    let commit = zones.prepare(&snapshot, &log.replica().changes_since(from));
    assert_eq!(serial(), Some(3));
    commit();
    assert_eq!((serial(), zones.len()), (None, 0));
    change(&log, &zones, put_zone(log.replica(), SMALL)).await;
    assert_eq!(serial(), Some(1));
    zones.prepare(&snapshot, &ChangeSet::everything(snapshot.seq()))();
    assert_eq!(zones.len(), 0);
}

/// What a secondary zone is served from.
#[derive(Debug)]
struct Served {
    generation: u32,
}

impl CompileZone for Served {
    const KINDS: &'static [Kind] = &[Kind::Zone, Kind::Secondary];
    const KINDS_THAT_SAY_MORE: &'static [Kind] = &[Kind::Secondary];
    const AHEAD_WITHIN: Duration = AHEAD_AT_LENGTH;

    fn compile(snapshot: &Snapshot, zone: Zone) -> Result<Self, ReadError> {
        let secondary = snapshot.get::<SecondaryZone>(&zone.id)?;
        Ok(Self { generation: secondary.map_or(0, |secondary| secondary.generation) })
    }

    fn is_as_in(&self, snapshot: &Snapshot, zone: ZoneId) -> Result<bool, ReadError> {
        let secondary = snapshot.get::<SecondaryZone>(&zone)?;
        Ok(secondary.is_some_and(|secondary| secondary.generation == self.generation))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_noted_about_a_zone_does_not_have_it_compiled_anew() {
    let folder = folder();
    let log = open(&folder);
    let (replica, id) = (log.replica(), zone_id(LARGE));
    let zones = CompiledZones::<Served>::new(replica.clone(), 1_000);
    change(&log, &zones, put_zone(replica, LARGE)).await;
    change(&log, &zones, put_in_force(replica, 1)).await;
    let first = zones.find(LARGE).unwrap().unwrap();
    let noted = |generation, left_out| {
        vec![replica.put(&SecondaryZone { generation, left_out, ..SecondaryZone::new(id) })]
    };
    change(&log, &zones, noted(1, 7)).await;
    change(&log, &zones, noted(1, 8)).await;
    assert!(Arc::ptr_eq(&first, &zones.find(LARGE).unwrap().unwrap()));
    assert_eq!((zones.compiled_ahead(), zones.compiled_for_requests()), (0, 1));
    // What it is made of, or something else of it that changes at the same time.
    change(&log, &zones, noted(2, 8)).await;
    assert_eq!((zones.find(LARGE).unwrap().unwrap().generation, zones.compiled_ahead()), (2, 1));
    let both = [noted(2, 9), vec![replica.put(&Zone { serial: 9, ..zone(LARGE) })]].concat();
    change(&log, &zones, both).await;
    assert_eq!(zones.compiled_ahead(), 2);
    change(&log, &zones, vec![Change::delete::<SecondaryZone>(&id)]).await;
    assert_eq!((zones.find(LARGE).unwrap().unwrap().generation, zones.compiled_ahead()), (0, 3));
    assert_eq!(zones.compiled_for_requests(), 1);
}

static COMPILING: AtomicUsize = AtomicUsize::new(0);
static OVERTAKEN: AtomicBool = AtomicBool::new(false);

/// A zone whose first compilation ends only when it was overtaken by a change, and the second with a fault.
struct Slow(u32);

impl CompileZone for Slow {
    const KINDS: &'static [Kind] = &[Kind::Zone];
    const AHEAD_WITHIN: Duration = AHEAD_AT_LENGTH;

    fn compile(_: &Snapshot, zone: Zone) -> Result<Self, ReadError> {
        match COMPILING.fetch_add(1, Ordering::SeqCst) {
            0 => {
                while !OVERTAKEN.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
            }
            2 => panic!("as a fault of a compiler"),
            _ => {}
        }
        Ok(Self(zone.serial))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_is_compiled_once_for_all_who_ask_and_as_the_last_change_has_it() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Slow>::new(log.replica().clone(), 1_000);
    change(&log, &zones, put_zone(log.replica(), SMALL)).await;
    let ask_together = |count: usize| {
        let together = Arc::new(Barrier::new(count));
        let ask = |_| {
            let (zones, together) = (zones.clone(), Arc::clone(&together));
            std::thread::spawn(move || {
                together.wait();
                zones.find(SMALL).unwrap().unwrap().0
            })
        };
        (0..count).map(ask).collect::<Vec<_>>()
    };
    let asking = ask_together(4);
    until("one compiles", || COMPILING.load(Ordering::SeqCst) == 1).await;
    change(&log, &zones, vec![log.replica().put(&Zone { serial: 2, ..zone(SMALL) })]).await;
    OVERTAKEN.store(true, Ordering::SeqCst);
    for asking in asking {
        assert_eq!(asking.join().unwrap(), 2, "who waited is given what the change made");
    }
    assert_eq!((zones.compiled_for_requests(), zones.compiled_ahead()), (1, 1));

    // All who ask meanwhile meet the fault, as an error; who asks then is given the zone.
    commit(log.replica(), &zones, &ChangeSet::everything(log.replica().seq()));
    let outcomes = (0..4).map(|_| {
        let zones = zones.clone();
        std::thread::spawn(move || zones.find(SMALL).map(|found| found.unwrap().0))
    });
    let outcomes: Vec<_> =
        outcomes.collect::<Vec<_>>().into_iter().map(|asked| asked.join().unwrap()).collect();
    assert!(
        outcomes.iter().any(|outcome| matches!(outcome, Err(ReadError::Fault { zone }) if zone == SMALL))
    );
    assert!(outcomes.iter().flatten().all(|serial| *serial == 2));
    assert_eq!(zones.find(SMALL).unwrap().unwrap().0, 2);
}

static MAY_END: AtomicBool = AtomicBool::new(false);
static MEASURED: AtomicUsize = AtomicUsize::new(0);

/// A zone of which the large one is compiled only when the test lets it be.
struct Held;

impl CompileZone for Held {
    const KINDS: &'static [Kind] = &[Kind::Zone];

    fn is_larger_than(_: &Snapshot, zone: ZoneId, _: usize) -> Result<bool, ReadError> {
        MEASURED.fetch_add(usize::from(zone == zone_id(LARGE)), Ordering::SeqCst);
        Ok(zone == zone_id(LARGE))
    }

    fn compile(_: &Snapshot, zone: Zone) -> Result<Self, ReadError> {
        while zone.id == zone_id(LARGE) && !MAY_END.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Ok(Self)
    }
}

/// In a single thread: it goes on while the large zone is compiled.
#[tokio::test]
async fn a_large_zone_that_is_not_kept_holds_up_nobody_who_has_others_to_answer() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Held>::new(log.replica().clone(), 1_000);
    change(&log, &zones, [put_zone(log.replica(), LARGE), put_zone(log.replica(), SMALL)].concat()).await;
    assert!(matches!(zones.find_compiled(LARGE), Err(ReadError::NotCompiled { .. })));
    let mut pending = Vec::new();
    let measured = MEASURED.load(Ordering::SeqCst);
    for _ in 0..30 {
        match zones.look("www.large.example").unwrap() {
            Look::Pending(flight) => pending.push(flight),
            Look::Found(_) => panic!("it cannot be there"),
        }
        assert!(matches!(zones.look(SMALL).unwrap(), Look::Found(Some(_))));
    }
    assert!(matches!(zones.find_compiled(LARGE), Err(ReadError::NotCompiled { .. })));
    // By the first who asked, and by the thread that compiles it.
    assert!(MEASURED.load(Ordering::SeqCst) <= measured + 2, "whoever waits does not read it");
    MAY_END.store(true, Ordering::SeqCst);
    for flight in pending {
        assert_eq!(flight.zone_name(), LARGE);
        assert!(matches!(flight.landed().await, Some(Ok(Some(_)))));
    }
    assert!(matches!(zones.look(LARGE).unwrap(), Look::Found(Some(_))));
    assert_eq!((zones.compiled_for_requests(), zones.compiled_aside()), (1, 1));
}

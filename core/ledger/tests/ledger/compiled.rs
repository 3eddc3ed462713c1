//! What the request path reads: zones by name, compiled once and never stale.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use crate::common::*;
use proxima_ledger::{
    Change, ChangeSet, CompileZone, CompiledZones, Log as _, ReadError, Replica, Seq, Snapshot,
};
use proxima_model::{Entity as _, Kind, Record, Timestamp, Zone, ZoneIndex, ZoneName, ZoneNotice};

#[derive(Debug, PartialEq)]
struct Compiled {
    name: String,
    serial: u32,
}

impl CompileZone for Compiled {
    const KINDS: &'static [Kind] = &[Kind::Zone, Kind::Record];
    const AHEAD_WITHIN: Duration = AHEAD_AT_LENGTH;

    fn compile(snapshot: &Snapshot, zone: Zone) -> Result<Self, ReadError> {
        assert_eq!(snapshot.scan::<Record>(&[&zone.id]).count(), 0);
        Ok(Self { name: zone.name.to_string(), serial: zone.serial })
    }
}

/// A zone that weighs so many KiB.
struct Heavy(u32);

impl CompileZone for Heavy {
    const KINDS: &'static [Kind] = &[Kind::Zone];
    const WEIGHT_COMMON: u64 = 1 << 10;

    fn compile(_: &Snapshot, zone: Zone) -> Result<Self, ReadError> {
        Ok(Self(zone.serial))
    }

    fn weight(&self) -> u64 {
        u64::from(self.0) << 10
    }
}

fn found(zones: &CompiledZones<Compiled>, name: &str) -> Option<String> {
    zones.find(name).unwrap().map(|compiled| compiled.name.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_found_in_the_zone_with_the_longest_name_at_a_labels_border() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Compiled>::new(log.replica().clone(), 100);
    for name in ["example.com", "sub.example.com", "ample.com"] {
        change(&log, &zones, put_zone(log.replica(), name)).await;
    }
    for (name, zone) in [
        ("example.com", Some("example.com")),
        ("www.example.com", Some("example.com")),
        ("WWW.Example.COM.", Some("example.com")),
        ("sub.example.com", Some("sub.example.com")),
        ("a.b.sub.example.com", Some("sub.example.com")),
        ("xsub.example.com", Some("example.com")),
        ("ample.com", Some("ample.com")),
        ("xample.com", None),
        ("com", None),
        ("", None),
        (".", None),
        ("..", None),
        ("example.org", None),
    ] {
        assert_eq!(found(&zones, name).as_deref(), zone, "{name}");
        assert_eq!(found(&zones, name).as_deref(), zone, "{name}, warm");
    }
    assert_eq!(found(&zones, &format!("{}.example.com", "a".repeat(400))), None);
    let snapshot = log.replica().snapshot().unwrap();
    assert_eq!(snapshot.zone_by_name("www.example.com").unwrap(), None);
    assert_eq!(snapshot.enclosing_zone("www.example.com").unwrap(), Some(zone("example.com")));
    assert_eq!(snapshot.count(Kind::Zone).unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_zone_and_a_deleted_one_are_seen_by_names_that_were_looked_up_before() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Compiled>::new(log.replica().clone(), 100);
    assert_eq!(found(&zones, "www.example.com"), None);
    change(&log, &zones, put_zone(log.replica(), "example.com")).await;
    assert_eq!(found(&zones, "www.example.com").as_deref(), Some("example.com"));
    change(&log, &zones, put_zone(log.replica(), "www.example.com")).await;
    assert_eq!(found(&zones, "www.example.com").as_deref(), Some("www.example.com"));
    let name = ZoneName::parse("www.example.com").unwrap();
    let deletions =
        vec![Change::delete::<Zone>(&zone_id("www.example.com")), Change::delete::<ZoneIndex>(&name)];
    change(&log, &zones, deletions).await;
    assert_eq!(found(&zones, "www.example.com").as_deref(), Some("example.com"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caches_stay_within_their_bounds_under_a_flood_of_names() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Compiled>::new(log.replica().clone(), 10);
    let mut changes = Vec::new();
    for number in 0..50 {
        changes.extend(put_zone(log.replica(), &format!("zone{number}.example")));
    }
    change(&log, &zones, changes).await;
    for number in 0..60_000 {
        assert!(found(&zones, &format!("random{number}.zone{}.example", number % 50)).is_some());
    }
    assert!(zones.len() <= 10, "{}", zones.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zones_are_kept_by_what_they_weigh_and_one_that_weighs_more_than_all_may_is_kept_nevertheless() {
    const ROOM: u64 = 64 << 20;
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Heavy>::new(log.replica().clone(), ROOM);
    let of_weight = |name: &str, kib| {
        let heavy = Zone { serial: kib, ..zone(name) };
        let others = put_zone(log.replica(), name).into_iter().filter(|change| *change.key() != heavy.key());
        others.chain([log.replica().put(&heavy)]).collect::<Vec<_>>()
    };
    let mut changes = of_weight("vast.example", 1 << 20);
    (0..400).for_each(|number| changes.extend(of_weight(&format!("zone{number}.example"), 512)));
    log.append(append(changes)).await.unwrap();
    commit(log.replica(), &zones, &ChangeSet::everything(log.replica().seq()));
    for number in 0..400 {
        assert!(zones.find(&format!("www.zone{number}.example")).unwrap().is_some());
    }
    let kept = zones.len() as u64;
    assert!((16..=ROOM / (512 << 10)).contains(&kept), "{kept} are kept");
    // From the second time on: what is asked for once pushes nothing out.
    zones.find("vast.example").unwrap();
    let vast = zones.find("vast.example").unwrap().unwrap();
    assert!(Arc::ptr_eq(&vast, &zones.find("vast.example").unwrap().unwrap()));
}

/// Raises the serial as fast as it can, while others look the zone up; whoever looks after a change was committed
/// must see it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_compilation_that_began_before_a_change_is_never_found_after_it() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Compiled>::new(log.replica().clone(), 100);
    change(&log, &zones, put_zone(log.replica(), "example.com")).await;
    let valid = Arc::new(AtomicU32::new(1));
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (zones, valid, done) = (zones.clone(), Arc::clone(&valid), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut reads = 0;
                while !done.load(Ordering::SeqCst) {
                    let at_least = valid.load(Ordering::SeqCst);
                    let compiled = zones.find("www.example.com").unwrap().unwrap();
                    assert!(compiled.serial >= at_least, "{} is older than {at_least}", compiled.serial);
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    for serial in 2..200 {
        let changed = Zone { serial, ..zone("example.com") };
        change(&log, &zones, vec![log.replica().put(&changed)]).await;
        valid.store(serial, Ordering::SeqCst);
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_is_told_by_key_and_by_zone_and_a_change_of_one_zone_leaves_others_compiled() {
    let folder = folder();
    let log = open(&folder);
    let replica: &Replica = log.replica();
    let zones = CompiledZones::<Compiled>::new(replica.clone(), 100);
    change(&log, &zones, put_zone(replica, "one.example")).await;
    let others: Vec<String> = (0..20).map(|number| format!("other{number}.example")).collect();
    for other in &others {
        change(&log, &zones, put_zone(replica, other)).await;
    }
    let from = replica.seq();
    let changed = Zone { serial: 7, ..zone("one.example") };
    log.append(append(vec![replica.put(&changed)])).await.unwrap();
    let change_set = replica.changes_since(from);
    assert_eq!((change_set.from, change_set.to), (from, Seq(from.0 + 1)));
    assert_eq!(change_set.zones().unwrap().into_iter().collect::<Vec<_>>(), [zone_id("one.example")]);
    assert!(change_set.touches(Kind::Zone) && !change_set.touches(Kind::ZoneName));
    let compile_others =
        || others.iter().map(|other| zones.find(other).unwrap().unwrap()).collect::<Vec<_>>();
    let before = compile_others();
    zones.find("one.example").unwrap();
    commit(replica, &zones, &change_set);
    let asked = zones.compiled_for_requests();
    let are_same = |before: &[Arc<Compiled>]| {
        before.iter().zip(compile_others()).all(|(before, after)| Arc::ptr_eq(before, &after))
    };
    assert!(are_same(&before));
    let compiled = zones.find("one.example").unwrap().unwrap();
    assert_eq!(compiled.serial, 7);
    assert!(replica.changes_since(Seq::ZERO).keys.is_some_and(|keys| keys.len() == 42));

    // And neither does a new zone.
    let before = compile_others();
    change(&log, &zones, put_zone(replica, "new.example")).await;
    assert!(are_same(&before));
    let compiled = zones.find("one.example").unwrap().unwrap();

    // That a primary says that a zone has changed changes nothing of it.
    let from = replica.seq();
    let notice = ZoneNotice { zone: zone_id("one.example"), at: Timestamp::default() };
    log.append(append(vec![replica.put(&notice)])).await.unwrap();
    let change_set = replica.changes_since(from);
    assert!(change_set.touches(Kind::ZoneNotice));
    commit(replica, &zones, &change_set);
    assert!(Arc::ptr_eq(&compiled, &zones.find("one.example").unwrap().unwrap()));
    assert_eq!(zones.compiled_for_requests(), asked, "who asks for what is kept compiles nothing");
}

/// Whatever was asked for before: a zone is found from the moment at which the entry that brings it is published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_is_found_before_anybody_says_that_something_changed() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Compiled>::new(log.replica().clone(), 100);
    commit(log.replica(), &zones, &ChangeSet::everything(Seq::ZERO));
    for number in 0..40 {
        let name = format!("zone{number}.example");
        assert_eq!(found(&zones, &name), None);
        log.append(append(put_zone(log.replica(), &name))).await.unwrap();
        assert_eq!(found(&zones, &format!("other.{name}")).as_deref(), Some(&*name), "another name of it");
    }
    // With nothing kept of what was asked before.
    let zones = CompiledZones::<Compiled>::new(log.replica().clone(), 100);
    for number in 0..40 {
        let name = format!("www.zone{number}.example");
        assert!(found(&zones, &name).is_some() && found(&zones, &format!("{name}.org")).is_none());
    }
}

/// Filters are made anew again and again while zones are made: each is found as soon as its entry is published.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_zone_that_is_made_while_names_are_learnt_is_found() {
    let folder = folder();
    let log = open(&folder);
    let zones = CompiledZones::<Compiled>::new(log.replica().clone(), 1_000);
    let done = Arc::new(AtomicBool::new(false));
    let learning = {
        let (replica, zones, done) = (log.replica().clone(), zones.clone(), Arc::clone(&done));
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                commit(&replica, &zones, &ChangeSet::everything(Seq(u64::MAX)));
            }
        })
    };
    for number in 0..300 {
        let name = format!("zone{number}.example");
        log.append(append(put_zone(log.replica(), &name))).await.unwrap();
        assert_eq!(found(&zones, &name).as_deref(), Some(&*name));
    }
    done.store(true, Ordering::Relaxed);
    learning.join().unwrap();
    // And by the last of those filters, with nothing kept of what was asked before.
    commit(log.replica(), &zones, &ChangeSet::everything(log.replica().seq()));
    for number in 0..300 {
        assert!(found(&zones, &format!("www.zone{number}.example")).is_some(), "{number}");
    }
}

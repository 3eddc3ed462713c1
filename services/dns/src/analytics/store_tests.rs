use std::time::Duration;

use proxima_model::{NodeName, PopCode};
use proxima_pipeline::{QUERY_NAMES_OTHER, QueryDimension};

use super::*;

const MAP_OCTETS: usize = 64 << 20;
const ZONE: ZoneId = ZoneId::from_bytes([1; 16]);
const OTHER: ZoneId = ZoneId::from_bytes([2; 16]);
/// A full hour.
const NOW: Timestamp = Timestamp::from_millis(1_795_996_800_000);

fn report(process: u64, number: u64, at: Timestamp, rows: &[(ZoneId, &str, u64)]) -> Report {
    let row = |name: &str| Row { name: name.into(), qtype: 1, rcode: 0, streamed: false, v6: false };
    Report {
        id: ReportId { node: NodeName::parse("fra-1").unwrap(), process, number },
        pop: PopCode::parse("FRA").unwrap(),
        at,
        rows: rows.iter().map(|(zone, name, count)| (*zone, row(name), *count)).collect(),
    }
}

fn asked(zone: ZoneId, by_minute: bool, from: Timestamp, seconds: i64) -> QueryReportAsked {
    QueryReportAsked {
        zone,
        by_minute,
        boundaries: vec![from, from.plus_seconds(seconds)],
        dimensions: vec![QueryDimension::Name],
        any_of: Vec::new(),
        sort: Vec::new(),
        limit: 10_000,
    }
}

fn told(store: &Store, asked: &QueryReportAsked) -> Vec<(String, u64)> {
    let report = store.tell(asked, Instant::now() + Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!(report.total, report.rows.iter().map(|row| row.counts[0]).sum::<u64>());
    report.rows.into_iter().map(|mut row| (row.dimensions.remove(0), row.counts[0])).collect()
}

fn with_store(test: impl FnOnce(&Store)) {
    let folder = tempfile::tempdir().unwrap();
    test(&Store::open(&folder.path().join("queries"), MAP_OCTETS).unwrap());
}

#[test]
fn what_is_kept_is_told_by_minute_and_by_hour_and_of_its_zone_alone() {
    with_store(|store| {
        let later = NOW.plus_seconds(60);
        assert!(store.keep(&report(1, 1, NOW, &[(ZONE, "a", 3), (OTHER, "x", 9)]), NOW).unwrap());
        assert!(store.keep(&report(1, 2, later, &[(ZONE, "a", 1), (ZONE, "b", 2)]), later).unwrap());
        let pair = |name: &str, count| (name.to_owned(), count);
        assert_eq!(told(store, &asked(ZONE, true, NOW, 60)), [pair("a", 3)]);
        assert_eq!(told(store, &asked(ZONE, true, NOW, 120)), [pair("a", 4), pair("b", 2)]);
        assert_eq!(told(store, &asked(ZONE, false, NOW, 3_600)), [pair("a", 4), pair("b", 2)]);
        assert_eq!(told(store, &asked(OTHER, false, NOW, 3_600)), [pair("x", 9)]);
        assert!(told(store, &asked(ZONE, false, NOW.plus_seconds(-3_600), 3_600)).is_empty());
    });
}

#[test]
fn a_report_that_comes_twice_counts_once_and_each_process_has_numbers_of_its_own() {
    with_store(|store| {
        let keep =
            |process, number| store.keep(&report(process, number, NOW, &[(ZONE, "a", 1)]), NOW).unwrap();
        assert!(keep(1, 1) && keep(1, 2) && !keep(1, 2) && !keep(1, 1));
        assert!(keep(2, 1), "the next process of the same server");
        assert!(keep(1, 3) && !keep(2, 1));
        assert_eq!(told(store, &asked(ZONE, false, NOW, 3_600)), [("a".to_owned(), 4)]);
        // They are forgotten when nothing can come twice any more, so that restarts do not add up.
        let next_day = NOW.plus_seconds(86_400);
        assert!(store.keep(&report(3, 1, next_day, &[]), next_day).unwrap());
        let txn = store.env.read_txn().unwrap();
        assert_eq!(store.reporters.stat(&txn).unwrap().entries, 1);
    });
}

#[test]
fn names_of_a_zone_have_a_bound_in_each_slot_and_none_is_lost() {
    with_store(|store| {
        let names: Vec<String> = (0..3_000).map(|number| format!("n{number}")).collect();
        for (number, names) in names.chunks(1_000).enumerate() {
            let rows: Vec<_> = names.iter().map(|name| (ZONE, name.as_str(), 1)).collect();
            store.keep(&report(1, number as u64 + 1, NOW, &rows), NOW).unwrap();
        }
        for (by_minute, max) in [(true, ROWS_OF_MINUTE_MAX), (false, ROWS_OF_HOUR_MAX)] {
            let rows = told(store, &asked(ZONE, by_minute, NOW, 3_600));
            assert_eq!(rows.len(), max + 1);
            assert_eq!(rows[0], (QUERY_NAMES_OTHER.to_owned(), 3_000 - max as u64));
        }
    });
}

#[test]
fn minutes_and_hours_are_kept_as_long_as_they_say() {
    with_store(|store| {
        store.keep(&report(1, 1, NOW, &[(ZONE, "a", 1)]), NOW).unwrap();
        let keeps = |number, at: Timestamp| {
            store.keep(&report(1, number, at, &[]), at).unwrap();
            [true, false].map(|by_minute| !told(store, &asked(ZONE, by_minute, NOW, 3_600)).is_empty())
        };
        assert_eq!(keeps(2, NOW.plus_seconds(QUERY_MINUTES_KEPT)), [true, true]);
        assert_eq!(keeps(3, NOW.plus_seconds(QUERY_MINUTES_KEPT + 60)), [false, true]);
        assert_eq!(keeps(4, NOW.plus_seconds(QUERY_HOURS_KEPT)), [false, true]);
        assert_eq!(keeps(5, NOW.plus_seconds(QUERY_HOURS_KEPT + 3_600)), [false, false]);
        // A clock that is ahead fills the present.
        let ahead = NOW.plus_seconds(90 * 86_400);
        store.keep(&report(1, 6, ahead, &[(ZONE, "b", 1)]), NOW).unwrap();
        assert_eq!(told(store, &asked(ZONE, true, NOW, 60)), [("b".to_owned(), 1)]);
    });
}

#[test]
fn a_full_store_lets_go_of_what_is_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), 16 << 20).unwrap();
    let names: Vec<String> = (0..400).map(|number| format!("{number}.{}", "x".repeat(200))).collect();
    let rows: Vec<_> =
        [ZONE, OTHER].iter().flat_map(|zone| names.iter().map(|name| (*zone, &**name, 1))).collect();
    for number in 0..80 {
        let at = NOW.plus_seconds(60 * number);
        assert!(store.keep(&report(1, number as u64 + 1, at, &rows), at).unwrap());
        assert!(store.octets().unwrap() <= 16 << 20);
    }
    let last = NOW.plus_seconds(60 * 79);
    assert_eq!(told(&store, &asked(ZONE, true, last, 60)).len(), 400, "the newest are there");
    assert!(told(&store, &asked(ZONE, true, NOW, 60)).is_empty(), "the oldest are not");
}

#[test]
fn what_is_kept_is_there_when_it_is_opened_again_and_a_damaged_file_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), MAP_OCTETS).unwrap();
    store.keep(&report(1, 1, NOW, &[(ZONE, "a", 1)]), NOW).unwrap();
    let all = asked(ZONE, false, NOW, 3_600);
    drop(store);
    let store = Store::open(folder.path(), MAP_OCTETS).unwrap();
    assert_eq!(told(&store, &all).len(), 1);
    assert!(!store.keep(&report(1, 1, NOW, &[(ZONE, "a", 1)]), NOW).unwrap());
    drop(store);
    std::fs::write(folder.path().join("data.mdb"), "no such file was ever LMDB's").unwrap();
    let store = Store::open(folder.path(), MAP_OCTETS).unwrap();
    assert!(told(&store, &all).is_empty());
    assert!(store.keep(&report(1, 1, NOW, &[(ZONE, "a", 1)]), NOW).unwrap());
}

#[test]
fn a_report_that_takes_too_long_is_given_up() {
    with_store(|store| {
        let names: Vec<String> = (0..ROWS_OF_MINUTE_MAX).map(|number| number.to_string()).collect();
        let rows: Vec<_> = names.iter().map(|name| (ZONE, name.as_str(), 1)).collect();
        for minute in 0..=(ROWS_PER_LOOK / ROWS_OF_MINUTE_MAX) as u64 {
            let at = NOW.plus_seconds(60 * minute as i64);
            store.keep(&report(1, minute + 1, at, &rows), at).unwrap();
        }
        let told = store.tell(&asked(ZONE, true, NOW, 3_600), Instant::now()).unwrap();
        assert!(matches!(told, Err(NoQueryReport::TooMuch(_))), "{told:?}");
    });
}

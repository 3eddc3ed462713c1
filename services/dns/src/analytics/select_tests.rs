use proxima_model::{Timestamp, ZoneId};
use proxima_pipeline::QueryComparison::{Equal, GreaterOrEqual, NotEqual};
use proxima_pipeline::QueryDimension::{Colo, DayOfWeek, IpVersion, Name, ResponseCode, Tcp, Type};

use super::*;

/// A Monday's first minute, in minutes since 1970.
const MONDAY: u32 = 29_933_280;

fn row(name: &'static str, qtype: u16) -> RowKey<'static> {
    RowKey { pop: "FRA", qtype, rcode: 0, streamed: false, v6: false, name }
}

fn asked(dimensions: &[QueryDimension]) -> QueryReportAsked {
    let at = |minute: u32| Timestamp::from_millis(i64::from(minute) * 60_000);
    QueryReportAsked {
        zone: ZoneId::from_bytes([1; 16]),
        by_minute: true,
        boundaries: vec![at(MONDAY), at(MONDAY + 2), at(MONDAY + 3)],
        dimensions: dimensions.to_vec(),
        any_of: Vec::new(),
        sort: Vec::new(),
        limit: 100,
    }
}

fn told(asked: &QueryReportAsked, rows: &[(u32, RowKey<'_>, u64)]) -> Vec<(String, Vec<u64>)> {
    let mut selection = Selection::new(asked).unwrap();
    assert_eq!(selection.slots(), MONDAY..MONDAY + 3);
    for (slot, row, count) in rows {
        selection.add(*slot, row, *count).unwrap();
    }
    let report = selection.finish();
    report.rows.into_iter().map(|row| (row.dimensions.join("|"), row.counts)).collect()
}

#[test]
fn rows_are_grouped_by_what_is_asked_and_by_interval() {
    let rows = [
        (MONDAY, row("a", 1), 1),
        (MONDAY + 1, row("a", 28), 2),
        (MONDAY + 2, row("a", 1), 4),
        (MONDAY + 2, row("b", 65_280), 8),
    ];
    let by = |dimensions: &[QueryDimension]| told(&asked(dimensions), &rows);
    assert_eq!(by(&[]), [(String::new(), vec![3, 12])]);
    assert_eq!(by(&[Name]), [("b".to_owned(), vec![0, 8]), ("a".to_owned(), vec![3, 4])]);
    let types = [("".to_owned(), vec![0, 8]), ("A".to_owned(), vec![1, 4]), ("AAAA".to_owned(), vec![2, 0])];
    assert_eq!(by(&[Type]), types, "what has no mnemonic is empty");
    let all = [Name, Type, ResponseCode, Colo, Tcp, IpVersion, DayOfWeek];
    let odd = RowKey { pop: "AMS12", rcode: 3, streamed: true, v6: true, ..row("c", 15) };
    assert_eq!(
        told(&asked(&all), &[(MONDAY, odd, 1)]),
        [("c|MX|NXDOMAIN|AMS12|1|6|1".to_owned(), vec![1, 0])]
    );
}

#[test]
fn filters_hold_by_any_of_all() {
    let condition = |dimension, comparison, value: &str| QueryCondition {
        dimension,
        comparison,
        value: value.to_owned(),
    };
    let rows = [(MONDAY, row("a", 1), 1), (MONDAY, row("a", 28), 2), (MONDAY, row("b", 1), 4)];
    let told = |any_of| told(&QueryReportAsked { any_of, ..asked(&[Name, Type]) }, &rows);
    let names = |rows: Vec<(String, Vec<u64>)>| rows.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let a = condition(Name, Equal, "a");
    assert_eq!(names(told(vec![vec![a.clone()]])), ["a|AAAA", "a|A"]);
    let not_aaaa = condition(Type, NotEqual, "AAAA");
    assert_eq!(names(told(vec![vec![a.clone(), not_aaaa]])), ["a|A"]);
    let b = condition(Name, GreaterOrEqual, "b");
    assert_eq!(names(told(vec![vec![a, condition(Type, Equal, "A")], vec![b]])), ["b|A", "a|A"]);
    assert!(told(vec![vec![condition(Colo, Equal, "AMS")]]).is_empty());
}

#[test]
fn rows_are_sorted_as_wished_and_cut_but_counted() {
    let rows = [(MONDAY, row("a", 1), 5), (MONDAY, row("b", 1), 9), (MONDAY, row("c", 28), 5)];
    let sorted = |sort: &[(QueryKey, bool)], limit| {
        let asked = QueryReportAsked { sort: sort.to_vec(), limit, ..asked(&[Type, Name]) };
        let mut selection = Selection::new(&asked).unwrap();
        rows.iter().for_each(|(slot, row, count)| selection.add(*slot, row, *count).unwrap());
        let report = selection.finish();
        assert_eq!(report.total, 19);
        report.rows.into_iter().map(|mut row| row.dimensions.remove(1)).collect::<String>()
    };
    assert_eq!(sorted(&[], 10), "bac");
    assert_eq!(sorted(&[(QueryKey::Dimension(1), true)], 10), "cba");
    assert_eq!(sorted(&[(QueryKey::Count, false)], 2), "ac");
    assert_eq!(sorted(&[(QueryKey::Dimension(0), true), (QueryKey::Dimension(1), true)], 10), "cba");
}

#[test]
fn a_report_has_bounds() {
    let at = Timestamp::from_millis;
    let of = |boundaries| QueryReportAsked { boundaries, ..asked(&[Name]) };
    for boundaries in [
        vec![],
        vec![at(0)],
        vec![at(120_000), at(0)],
        vec![at(0), at(60_000 * (QUERY_INTERVALS_MAX as i64 + 1))],
    ] {
        assert!(matches!(Selection::new(&of(boundaries)), Err(NoQueryReport::TooMuch(_))));
    }
    let boundaries = (0..=1_000).map(|minute| at(minute * 60_000)).collect();
    let asked = of(boundaries);
    let mut selection = Selection::new(&asked).unwrap();
    let names: Vec<String> = (0..=CELLS_MAX / 1_000).map(|number| number.to_string()).collect();
    let added: Vec<_> =
        names.iter().map(|name| selection.add(0, &RowKey { name, ..row("", 1) }, 1).is_ok()).collect();
    assert_eq!(added.iter().filter(|added| !**added).count(), 1, "the last one has no place");
}

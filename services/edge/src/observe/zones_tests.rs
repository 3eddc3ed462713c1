use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::stages::tests::fixtures::{site_of, zone};

fn table(named_max: usize) -> Arc<ZoneTable> {
    ZoneTable::new(PopCode::parse("TST").unwrap(), named_max)
}

fn site(name: &str) -> Arc<Site> {
    site_of(zone(name), &[], Vec::new())
}

fn ask(table: &ZoneTable, site: &Site, times: u64) {
    for _ in 0..times {
        let answered = Some((StatusCode::OK, Duration::from_millis(2)));
        let ended = Ended { answered, cache: 0, request_bytes: 3, response_bytes: 5, origin: None };
        table.count(Some(site), &ended);
    }
}

/// Requests by series.
fn requests(table: &ZoneTable) -> Vec<(String, u64)> {
    let mut series = table.series();
    series.sort_by(|a, b| a.0.cmp(&b.0));
    series.into_iter().map(|(name, numbers)| (name, numbers.requests())).collect()
}

fn of(table: &ZoneTable, name: &str) -> Option<u64> {
    requests(table).into_iter().find(|(known, _)| known == name).map(|(_, requests)| requests)
}

#[test]
fn zones_beyond_the_bound_are_summed_up_and_nothing_counts_twice() {
    let table = table(2);
    let sites: Vec<_> = ["a.example", "b.example", "c.example", "d.example"].map(site).into();
    for (index, site) in sites.iter().enumerate() {
        ask(&table, site, 10 + index as u64);
    }
    table.count(None, &Ended { answered: None, cache: 8, request_bytes: 0, response_bytes: 0, origin: None });
    let expected = [("a.example", 10), ("b.example", 11), ("none", 1), ("other", 12 + 13)];
    assert_eq!(requests(&table), expected.map(|(name, requests)| (name.to_owned(), requests)));
    assert_eq!(table.of(sites[3].zone.id).unwrap().requests(), 13, "the API knows each");
    // A zone that changed is compiled anew, and counts on.
    ask(&table, &site("a.example"), 1);
    assert_eq!(of(&table, "a.example"), Some(11));
}

#[test]
fn a_much_busier_zone_takes_the_place_of_a_quiet_one_and_no_series_ever_falls() {
    let table = table(1);
    let (quiet, busy) = (site("quiet.example"), site("busy.example"));
    ask(&table, &quiet, 5);
    ask(&table, &busy, 50);
    let mut before = requests(&table);
    let mut total = 55;
    for _ in 0..2 + LEAVING_SWEEPS {
        table.sweep();
        ask(&table, &quiet, 1);
        ask(&table, &busy, 50);
        total += 51;
        let now = requests(&table);
        for (name, former) in &before {
            let present = now.iter().find(|(known, _)| known == name).map(|(_, requests)| *requests);
            assert!(present.is_none_or(|present| present >= *former), "{name} fell: {before:?} {now:?}");
        }
        let named = now.iter().filter(|(name, _)| name.contains('.')).count();
        assert!(named <= 1, "{now:?}");
        if of(&table, "quiet.example").is_some() {
            assert_eq!(now.iter().map(|(_, requests)| requests).sum::<u64>(), total, "{now:?}");
        }
        before = now;
    }
    assert_eq!(of(&table, "quiet.example"), None);
    assert!(of(&table, "busy.example").is_some(), "{before:?}");
    assert_eq!(
        table.of(busy.zone.id).unwrap().requests() + table.of(quiet.zone.id).unwrap().requests(),
        total
    );
}

#[test]
fn an_idle_zone_loses_its_series_after_an_hour_and_is_forgotten_when_no_site_holds_it() {
    let table = table(1);
    let idle = site("idle.example");
    let id = idle.zone.id;
    ask(&table, &idle, 5);
    for _ in 0..=IDLE_SWEEPS_MAX {
        assert_eq!(of(&table, "idle.example"), Some(5));
        table.sweep();
    }
    // It stands still, for whoever scrapes seldom.
    for _ in 0..LEAVING_SWEEPS {
        assert_eq!(of(&table, "idle.example"), Some(5));
        table.sweep();
    }
    assert_eq!(of(&table, "idle.example"), None);
    assert_eq!(table.of(id).unwrap().requests(), 5, "a site holds it");
    // It comes again: its place is free, and its series begins anew with what comes from then on.
    ask(&table, &idle, 3);
    table.sweep();
    assert_eq!((of(&table, "idle.example"), of(&table, "other")), (Some(0), Some(3)));
    ask(&table, &idle, 2);
    assert_eq!((of(&table, "idle.example"), of(&table, "other")), (Some(2), Some(3)));
    drop(idle);
    for _ in 0..=IDLE_SWEEPS_MAX + LEAVING_SWEEPS + 1 {
        table.sweep();
    }
    assert!(table.of(id).is_none());
    assert_eq!(of(&table, "other"), Some(3));
}

#[test]
fn without_places_everything_is_other_and_the_table_has_a_bound() {
    let table = table(0);
    let sites: Vec<_> = (0..ZONES_MAX + 10).map(|index| site(&format!("{index}.example"))).collect();
    sites.iter().for_each(|site| ask(&table, site, 1));
    assert_eq!(of(&table, "other"), Some(sites.len() as u64));
    assert_eq!(table.lock().zones.len(), ZONES_MAX);
    drop(sites);
    table.sweep();
    assert_eq!(table.lock().zones.len(), 0);
    assert_eq!(of(&table, "other"), Some((ZONES_MAX + 10) as u64));
}

#[test]
fn a_name_has_one_series_also_when_another_zone_gets_it() {
    let table = table(5);
    let former = site("a.example");
    ask(&table, &former, 4);
    let mut anew = zone("a.example");
    anew.id = ZoneId::from_bytes([9; 16]);
    let anew = site_of(anew, &[], Vec::new());
    ask(&table, &anew, 2);
    assert_eq!((of(&table, "a.example"), of(&table, "other")), (Some(4), Some(2)));
    assert_eq!(table.of(anew.zone.id).unwrap().requests(), 2, "its owner does not see the former's");
}

#[test]
fn metrics_have_a_zone_and_a_pop() {
    let table = table(1);
    let mut registry = Registry::with_prefix("p");
    register(&mut registry, &table);
    ask(&table, &site("a.example"), 2);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "p_zone_requests_total{zone=\"a.example\",pop=\"TST\",status=\"2xx\"} 2",
        "p_zone_cache_total{zone=\"a.example\",pop=\"TST\",status=\"hit\"} 2",
        "p_zone_response_bytes_total{zone=\"a.example\",pop=\"TST\"} 10",
        "p_zone_request_bytes_total{zone=\"a.example\",pop=\"TST\"} 6",
        "p_zone_first_byte_seconds_total{zone=\"a.example\",pop=\"TST\"} 0.004",
        "p_zone_origin_seconds_total{zone=\"other\",pop=\"TST\"} 0.0",
        "p_zone_origin_requests_total{zone=\"none\",pop=\"TST\"} 0",
    ] {
        assert!(text.lines().any(|there| there == line), "{line} is not in {text}");
    }
    assert!(!text.contains("3xx"), "what never happened has no series");
}

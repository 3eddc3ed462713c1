use proxima_pipeline::QueryRow;

use super::*;

fn now() -> Timestamp {
    let now: jiff::Timestamp = "2026-11-28T15:30:20Z".parse().unwrap();
    Timestamp::from_millis(now.as_millisecond())
}

fn read(text: &str, delta: Delta) -> Result<Asked, ApiError> {
    Asked::read(&Query::parse(Some(text)).unwrap(), delta, now())
}

#[test]
fn a_report_has_the_shape_of_the_v4_api() {
    let text = "dimensions=queryName,queryType&metrics=queryCount,uncachedCount&sort=-queryCount,%2BqueryName\
                &filters=responseCode%3D%3Dnoerror&since=2026-11-28T14:00:10Z&until=2026-11-28T15:00:00Z&limit=100";
    let asked = read(text, Delta::All).unwrap();
    assert_eq!(
        asked.sort,
        [("queryCount", Some(QueryKey::Count), true), ("queryName", Some(QueryKey::Dimension(0)), false)]
    );
    let dimensions = vec!["www.example.com".to_owned(), "A".to_owned()];
    let report =
        QueryReport { rows: vec![QueryRow { dimensions, counts: vec![7] }], total: 9, lag_seconds: 10 };
    assert_eq!(
        asked.show(&report, false),
        json!({
            "rows": 1,
            "data": [{ "dimensions": ["www.example.com", "A"], "metrics": [7, 0] }],
            "data_lag": 10,
            "min": {},
            "max": {},
            "totals": { "queryCount": 9, "uncachedCount": 0 },
            "query": {
                "dimensions": ["queryName", "queryType"],
                "metrics": ["queryCount", "uncachedCount"],
                "since": "2026-11-28T14:00:00Z",
                "until": "2026-11-28T15:00:00Z",
                "limit": 100,
                "sort": ["-queryCount", "+queryName"],
                "filters": "responseCode==NOERROR",
            },
        })
    );
}

#[test]
fn a_report_by_time_has_a_number_for_each_interval() {
    let asked = read("since=2026-11-28T14:10:00Z&until=2026-11-28T15:20:00Z", Delta::Hour).unwrap();
    let report = QueryReport {
        rows: vec![QueryRow { dimensions: Vec::new(), counts: vec![1, 2] }],
        total: 3,
        lag_seconds: 10,
    };
    let shown = asked.show(&report, true);
    assert_eq!(shown["data"], json!([{ "dimensions": [], "metrics": [[1, 2]] }]));
    assert_eq!(
        shown["time_intervals"],
        json!([
            ["2026-11-28T14:10:00Z", "2026-11-28T14:59:59Z"],
            ["2026-11-28T15:00:00Z", "2026-11-28T15:19:59Z"],
        ])
    );
    assert_eq!(shown["totals"], json!({ "queryCount": 3 }));
    assert_eq!(shown["query"]["time_delta"], "hour");
    assert!(shown["query"].get("filters").is_none() && shown["query"].get("sort").is_none());
}

#[test]
fn what_is_wrong_is_named_with_its_parameter() {
    for (text, named) in [
        ("dimensions=queryname", "dimensions: \"queryname\" is no dimension"),
        ("dimensions=queryName,queryName", "dimensions: one is named twice"),
        ("dimensions=queryName,", "dimensions: "),
        ("dimensions=responseCached", "dimensions: responseCached is not told here"),
        ("metrics=queries", "metrics: \"queries\" is no metric"),
        ("metrics=responseTimeAvg", "metrics: responseTimeAvg is not told here"),
        ("filters=queryName", "filters: "),
        ("sort=queryName", "sort: queryName is not among"),
        ("sort=-", "sort: "),
        ("limit=0", "limit: give 1 to 10000"),
        ("limit=10001", "limit: give 1 to 10000"),
        ("limit=many", "limit: "),
        ("since=yesterday", "since: \"yesterday\" is not a time"),
        ("until=2026-13-01", "until: \"2026-13-01\" is not a time"),
        ("since=2026-11-28T16:00:00Z", "since does not lie before until"),
    ] {
        let refused = read(text, Delta::All).unwrap_err();
        assert_eq!(refused.code(), Code::QueryInvalid);
        assert!(refused.to_string().contains(named), "{text}: {refused}");
    }
    let long = format!("filters={}", "a".repeat(PARAMETER_OCTETS_MAX + 1));
    assert!(read(&long, Delta::All).unwrap_err().to_string().contains("longer"));
}

#[test]
fn times_are_read_as_clients_write_them() {
    let since = |text: &str| read(&format!("since={text}"), Delta::All).unwrap().times.boundaries[0];
    let expected = since("2026-11-28T12:00:00Z");
    for text in [
        "2026-11-28T12:00:00.000Z",
        "2026-11-28T13:00:00%2B01:00",
        "2026-11-28T13:00:00+01:00",
        "2026-11-28T12:00:59Z",
    ] {
        assert_eq!(since(text), expected, "{text}");
    }
    assert_eq!(second(since("2026-11-28")), "2026-11-28T00:00:00Z");
}

//! `zones/:zone_id/dns_analytics`: what is understood, shown and refused. What is counted is told by `tests/dev`.

use serde_json::json;

use crate::harness::Node;

#[tokio::test]
async fn a_report_is_told_and_what_cannot_be_understood_is_refused() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let path = |more: &str| format!("/zones/{zone}/dns_analytics/report{more}");
    let report =
        node.ok("GET", &path("?dimensions=queryName,coloName&metrics=queryCount,staleCount"), None).await;
    assert_eq!(report["data"], json!([{ "dimensions": ["queryName", "coloName"], "metrics": [1, 0] }]));
    assert_eq!((&report["totals"]["queryCount"], &report["data_lag"]), (&json!(1), &json!(10)));

    let by_time = node.ok("GET", &path("/bytime?time_delta=hour"), None).await;
    let intervals = by_time["time_intervals"].as_array().unwrap().len();
    assert!(intervals >= 6, "{by_time}");
    assert_eq!(by_time["data"][0]["metrics"][0].as_array().unwrap().len(), intervals);
    assert_eq!(by_time["query"]["time_delta"], "hour");

    let (_, old) = node.call("GET", &path("?since=2020-01-01T00:00:00Z"), None).await;
    assert!(
        old["success"] == true && old["messages"][0]["message"].as_str().unwrap().contains("31 days"),
        "{old}"
    );
    for wrong in [
        "?dimensions=name",
        "?metrics=responseTimeAvg",
        "?filters=queryName",
        "?sort=queryName",
        "?limit=0",
        "?since=then",
        "?since=2999-01-01T00:00:00Z",
        "/bytime?time_delta=fortnight",
        "/bytime?time_delta=minute&since=2020-01-01T00:00:00Z",
        "?filters=queryType%3D%3DTYPE1",
    ] {
        assert_eq!(node.refused("GET", &path(wrong), None).await, (400, 1012), "{wrong}");
    }
    assert_eq!(node.refused("GET", &path("?filters=queryType%3D%3DTYPE0"), None).await, (503, 10022));
}

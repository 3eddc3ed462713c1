//! A log without room: what is written is refused in words, what is there is read.

use serde_json::{Value, json};

use crate::harness::{Node, Options};

/// Batches after which a log of [`ROOM`] octets must have been full.
const BATCHES_MAX: usize = 200;
/// The least that a store can be configured to.
const ROOM: usize = 1 << 20;

#[tokio::test]
async fn a_full_log_refuses_writes_with_a_clear_error_and_reads_go_on() {
    let node = Node::with(Options {
        control: "activation = \"trust\"".to_owned(),
        tables: format!("[ledger]\nmap_bytes_max = {ROOM}\n"),
        ..Options::default()
    })
    .await;
    let zone = node.zone("example.com").await;
    let batch = |number: usize| {
        let record = |nth: usize| json!({ "type": "TXT", "name": format!("r{number}-{nth}"), "content": format!("\"{}\"", "x".repeat(200)) });
        json!({ "posts": (0..50).map(record).collect::<Vec<_>>() })
    };
    let path = format!("/zones/{zone}/dns_records");
    let mut written = 0;
    let refused = loop {
        assert!(written < BATCHES_MAX, "a log of {ROOM} octets takes everything");
        let (status, envelope) = node.call("POST", &format!("{path}/batch"), Some(batch(written))).await;
        if status != 200 {
            break (status, envelope);
        }
        written += 1;
    };
    assert_eq!(refused.0, 503, "{}", refused.1);
    assert_eq!(refused.1["errors"][0]["code"], 10017, "{}", refused.1);
    let words = refused.1["errors"][0]["message"].as_str().unwrap();
    assert!(words.contains("no room for the log") && words.contains("map_bytes_max"), "{words}");

    // What was acknowledged is there, the rest not even by halves, and a read is a read.
    let (status, listed) = node.call("GET", &format!("{path}?per_page=1"), None).await;
    assert_eq!((status, listed["result_info"]["total_count"].as_u64()), (200, Some(written as u64 * 50)));
    assert_eq!(node.ok("GET", &format!("/zones/{zone}"), None).await["name"], Value::from("example.com"));
}

//! `proxima/log`: what was changed, and the way back.

use proxima_ledger::{CHANGES_PER_APPEND_MAX, Snapshot};
use proxima_model::{
    Certificate, Permission, Record, RecordId, Timestamp, TokenScope, Zone, ZoneId, ZoneStatus,
};
use serde_json::{Value, json};

use crate::harness::{Node, Options};

/// The zone's serial, and the contents of its records, as the replica serves them.
fn served(node: &Node, zone: &str) -> (u32, Vec<String>) {
    let id: ZoneId = zone.parse().unwrap();
    let snapshot = node.context.replica.snapshot().unwrap();
    let records = snapshot.scan::<Record>(&[&id]).map(|record| record.unwrap().data.content());
    let mut records: Vec<String> = records.collect();
    records.sort();
    (snapshot.get::<Zone>(&id).unwrap().unwrap().serial, records)
}

async fn add(node: &Node, zone: &str, content: &str) -> String {
    let record = json!({"type": "A", "name": "www", "content": content});
    let made = node.ok("POST", &format!("/zones/{zone}/dns_records"), Some(record)).await;
    made["id"].as_str().unwrap().to_owned()
}

fn head(node: &Node) -> u64 {
    node.context.replica.seq().0
}

async fn revert(node: &Node, to: u64, dry_run: bool) -> Value {
    let body = json!({"sequence": to, "dry_run": dry_run});
    node.ok("POST", "/proxima/log/revert", Some(body)).await
}

#[tokio::test]
async fn a_changed_record_is_brought_back_and_the_serial_goes_on() {
    let node = Node::settled(Options::default()).await;
    let zone = node.zone("example.com").await;
    let record = add(&node, &zone, "192.0.2.1").await;
    let before = head(&node);
    let path = format!("/zones/{zone}/dns_records/{record}");
    node.ok("PATCH", &path, Some(json!({"content": "192.0.2.2"}))).await;
    add(&node, &zone, "192.0.2.3").await;
    let (serial, records) = served(&node, &zone);
    assert_eq!(records, ["192.0.2.2", "192.0.2.3"]);

    let from = head(&node);
    let planned = revert(&node, before, true).await;
    assert_eq!((&planned["sequence"], &planned["from"]), (&json!(null), &json!(from)));
    assert_eq!(planned["changes_total"], 3, "two records and their zone: {planned}");
    assert_eq!((head(&node), served(&node, &zone)), (from, (serial, records)), "a dry run changes nothing");

    let made = revert(&node, before, false).await;
    assert_eq!((&made["sequence"], &made["reverted_to"]), (&json!(from + 1), &json!(before)));
    let contents: Vec<_> =
        made["changes"].as_array().unwrap().iter().map(|change| &change["content"]).collect();
    assert!(contents.contains(&&json!("192.0.2.1")), "{made}");
    let (after, records) = served(&node, &zone);
    assert_eq!(records, ["192.0.2.1"]);
    assert!(after > serial, "{after} is not beyond {serial}");
    assert_eq!(node.ok("GET", &path, None).await["content"], "192.0.2.1");

    // The way back can be taken back, and the serial goes on again.
    revert(&node, from, false).await;
    let (forth, records) = served(&node, &zone);
    assert_eq!(records, ["192.0.2.2", "192.0.2.3"]);
    assert!(forth > after);
    let nothing = revert(&node, head(&node), false).await;
    assert_eq!((&nothing["changes_total"], &nothing["sequence"]), (&json!(0), &json!(null)));
}

#[tokio::test]
async fn a_zone_that_was_deleted_and_made_anew_comes_back_with_a_serial_beyond_both() {
    let node = Node::settled(Options::default()).await;
    let zone = node.zone("example.com").await;
    add(&node, &zone, "192.0.2.1").await;
    let before = head(&node);
    node.ok("DELETE", &format!("/zones/{zone}"), None).await;
    let other = node.zone("example.com").await;
    for number in 1..9 {
        add(&node, &other, &format!("198.51.100.{number}")).await;
    }
    let (serial, _) = served(&node, &other);
    revert(&node, before, false).await;
    let (after, records) = served(&node, &zone);
    assert_eq!(records, ["192.0.2.1"]);
    assert!(after > serial, "{after} is not beyond {serial}");
    assert_eq!(node.refused("GET", &format!("/zones/{other}"), None).await, (404, 7003));
    let found = node.ok("GET", "/zones?name=example.com", None).await;
    assert_eq!(found[0]["id"], zone.as_str());
}

#[tokio::test]
async fn a_zone_that_became_active_since_stays_so_and_keeps_its_certificate() {
    let node = Node::settled(Options::default()).await;
    let empty = head(&node);
    let zone = node.zone("example.com").await;
    let id: ZoneId = zone.parse().unwrap();
    let present = || node.context.replica.snapshot().unwrap().get::<Zone>(&id).unwrap().unwrap();
    assert_eq!(present().status, ZoneStatus::Pending);
    let before = head(&node);
    let mut active = present();
    active.status = ZoneStatus::Active;
    active.activated_at = Some(Timestamp::from_millis(1_000));
    node.append(vec![node.context.replica.put(&active)]).await;
    let issued = |snapshot: &Snapshot| snapshot.scan::<Certificate>(&[&id]).next().is_some();
    node.until("the zone's certificate", issued).await;
    add(&node, &zone, "192.0.2.1").await;

    let from = head(&node);
    let made = revert(&node, before, false).await;
    assert_eq!((&made["from"], &made["sequence"]), (&json!(from), &json!(from + 1)));
    assert_eq!(made["changes_total"], 2, "the record and its zone: {made}");
    let after = present();
    assert_eq!((after.status, after.activated_at), (active.status, active.activated_at));
    assert!(after.serial > active.serial);
    assert!(served(&node, &zone).1.is_empty());
    assert!(issued(&node.context.replica.snapshot().unwrap()));

    // With the zone its certificate goes.
    revert(&node, empty, false).await;
    let snapshot = node.context.replica.snapshot().unwrap();
    assert!(snapshot.get::<Zone>(&id).unwrap().is_none() && !issued(&snapshot));
}

#[tokio::test]
async fn a_token_that_was_revoked_stays_revoked() {
    let node = Node::settled(Options::default()).await;
    let token = node.token(vec![(TokenScope::Everything, vec![Permission::All])]).await;
    let before = head(&node);
    let id = token.split('_').next().unwrap();
    node.ok("DELETE", &format!("/user/tokens/{id}"), None).await;
    node.zone("example.com").await;
    let made = revert(&node, before, false).await;
    assert_eq!(made["changes_total"], 2, "the zone and its name: {made}");
    assert_eq!(node.call_as(&token, "GET", "/user", None).await.0, 401);
    // Not even to the beginning: the operator is not locked out.
    revert(&node, 0, false).await;
    node.ok("GET", "/user", None).await;
}

#[tokio::test]
async fn what_cannot_be_gone_back_to_is_refused_with_why() {
    let tables = "[ledger]\nlog_entries_max = 4\n".to_owned();
    let node = Node::settled(Options { tables, ..Options::default() }).await;
    let zone = node.zone("example.com").await;
    for number in 1..9 {
        add(&node, &zone, &format!("192.0.2.{number}")).await;
    }
    let ask = |sequence: Value| node.call("POST", "/proxima/log/revert", Some(json!({"sequence": sequence})));
    let (status, envelope) = ask(json!(head(&node) + 1)).await;
    assert_eq!((status, &envelope["errors"][0]["code"]), (400, &json!(10020)));
    assert!(
        envelope["errors"][0]["message"].as_str().unwrap().contains("beyond the last entry"),
        "{envelope}"
    );
    let (status, envelope) = ask(json!(1)).await;
    assert_eq!((status, &envelope["errors"][0]["code"]), (400, &json!(10020)));
    assert!(envelope["errors"][0]["message"].as_str().unwrap().contains("no longer kept"), "{envelope}");
    assert_eq!(ask(json!(-1)).await.0, 400);
    assert_eq!(node.ok("GET", "/proxima/log", None).await.as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn what_is_more_than_an_append_holds_with_its_serials_is_refused_when_it_is_only_planned_too() {
    let node = Node::settled(Options::default()).await;
    let zone = node.zone("example.com").await;
    let id: RecordId = add(&node, &zone, "192.0.2.1").await.parse().unwrap();
    let before = head(&node);
    let snapshot = node.context.replica.snapshot().unwrap();
    let record = snapshot.get::<Record>(&(zone.parse().unwrap(), id)).unwrap().unwrap();
    drop(snapshot);
    let put = |number: usize| {
        let mut id = [7; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        node.context.replica.put(&Record { id: RecordId::from_bytes(id), ..record.clone() })
    };
    // As many as one append holds; the zone, whose serial rises, is one more.
    node.append((0..CHANGES_PER_APPEND_MAX).map(put).collect()).await;
    for dry_run in [true, false] {
        let body = json!({"sequence": before, "dry_run": dry_run});
        let (status, envelope) = node.call("POST", "/proxima/log/revert", Some(body)).await;
        assert_eq!((status, &envelope["errors"][0]["code"]), (400, &json!(10020)), "{envelope}");
        let message = envelope["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("10001 changes") && message.contains("importing"), "{message}");
    }
    assert_eq!(node.count::<Record>(), CHANGES_PER_APPEND_MAX + 1);
}

#[tokio::test]
async fn the_log_lists_who_changed_what_the_latest_first_and_no_secrets() {
    let node = Node::settled(Options::default()).await;
    let zone = node.zone("example.com").await;
    add(&node, &zone, "192.0.2.1").await;
    let policies = json!([{"effect": "allow", "permission_groups": [{"name": "Zone Read"}],
        "resources": {"com.cloudflare.api.account.*": "*"}}]);
    node.ok("POST", "/user/tokens", Some(json!({"name": "robot", "policies": policies}))).await;
    let (status, envelope) = node.call("GET", "/proxima/log?per_page=2", None).await;
    assert_eq!(status, 200);
    let entries = envelope["result"].as_array().unwrap();
    assert_eq!(envelope["result_info"]["total_count"], head(&node));
    assert_eq!(entries[0]["sequence"], head(&node));
    let token = &entries[0]["changes"][0];
    assert_eq!((&token["action"], &token["kind"]), (&json!("put"), &json!("token")));
    assert_eq!(token.as_object().unwrap().len(), 3, "nothing of a secret but its key: {token}");
    assert_eq!((&entries[1]["author_name"], &entries[1]["changes_total"]), (&json!("operator"), &json!(2)));
    let record = entries[1]["changes"].as_array().unwrap().iter().find(|change| change["kind"] == "record");
    assert_eq!(record.unwrap()["name"], "www.example.com");
    let next = node.ok("GET", "/proxima/log?per_page=2&page=2", None).await;
    assert_eq!(next[0]["sequence"], head(&node) - 2);
    assert_eq!(node.ok("GET", "/proxima/log?page=999", None).await, json!([]));
}

//! Transfers that were broken off: what they left goes, with nobody's help.

use proxima_model::{RecordId, SecondaryZone, TransferredRecord, ZoneId};

use crate::{
    harness::{Node, Options},
    secondaries::{
        RIGHT, contents, has_serial, options, peer, record_of_another, secondary, start, until, zone,
    },
};
use proxima_control::FIRST_ACCOUNT;

/// Puts what a transfer leaves that was broken off: a record that never came into force, one that was to go, and, if it was
/// broken off only when all had come, one that is not in force any more.
async fn break_off(node: &Node, zone: ZoneId) {
    let found = secondary(node, zone);
    let next = found.generation + 1;
    let replica = &node.context.replica;
    let snapshot = replica.snapshot().unwrap();
    let here = snapshot.scan::<TransferredRecord>(&[&zone]).map(Result::unwrap);
    let going = here.map(|found| replica.put(&TransferredRecord { until: Some(next), ..found }));
    let mut changes: Vec<_> = going.collect();
    changes.push(replica.put(&record_of_another(zone, next)));
    let mut former = TransferredRecord { until: Some(found.generation), ..record_of_another(zone, 0) };
    former.record.id = RecordId::from_bytes([8; 16]);
    changes.push(replica.put(&former));
    changes.push(replica.put(&SecondaryZone { staging: Some(1), ..found }));
    node.append(changes).await;
    assert_eq!(contents(node, zone).len(), 3);
}

/// Waits until nothing is there but what is served.
async fn until_swept(node: &Node, zone: ZoneId) {
    until(node, zone, "that what was left is gone", |found| found.staging.is_none()).await;
    assert_eq!(contents(node, zone), ["192.0.2.5"]);
    let snapshot = node.context.replica.snapshot().unwrap();
    assert!(snapshot.scan::<TransferredRecord>(&[&zone]).all(|found| found.unwrap().until.is_none()));
    let found = secondary(node, zone);
    assert!(has_serial(5)(&found) && found.failure.is_none() && found.is_served(), "{found:?}");
}

#[tokio::test]
async fn what_a_transfer_left_that_was_broken_off_is_taken_away_without_another_one() {
    let (node, account) = (start().await, FIRST_ACCOUNT);
    let primary = peer(&node, account, RIGHT.start()).await;
    let zone = zone(&node, account, "example.com", &[primary]).await;
    until(&node, zone, "the zone", has_serial(5)).await;
    let transferred = secondary(&node, zone).transferred_at;
    break_off(&node, zone).await;
    until_swept(&node, zone).await;
    assert_eq!(secondary(&node, zone).transferred_at, transferred, "it did not come anew");
}

#[tokio::test]
async fn what_a_transfer_left_when_its_server_died_is_taken_away_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let there = || Options { dir: Some(folder.path().to_owned()), ..options() };
    let (node, account) = (Node::with(there()).await, FIRST_ACCOUNT);
    let primary = peer(&node, account, RIGHT.start()).await;
    let zone = zone(&node, account, "example.com", &[primary]).await;
    until(&node, zone, "the zone", has_serial(5)).await;
    break_off(&node, zone).await;
    drop(node);
    let node = Node::with(there()).await;
    until_swept(&node, zone).await;
}

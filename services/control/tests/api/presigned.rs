//! Zones that are answered as their primary signed them: what is said of it.

use proxima_control::FIRST_ACCOUNT;
use proxima_model::{SecondaryZone, ZoneId};
use serde_json::{Value, json};

use crate::{
    harness::Node,
    secondaries::{RIGHT, has_serial, peer, secondary, start, until, zone},
};

async fn patch(node: &Node, zone: ZoneId, presigned: bool) -> Value {
    node.ok("PATCH", &format!("/zones/{zone}/dnssec"), Some(json!({"dnssec_presigned": presigned}))).await
}

#[tokio::test]
async fn a_zone_is_said_to_be_in_order_only_if_it_is_answered_so() {
    let (node, account) = (start().await, FIRST_ACCOUNT);
    let primary = peer(&node, account, RIGHT.start()).await;
    let zone = zone(&node, account, "example.com", &[primary]).await;
    until(&node, zone, "the zone", has_serial(5)).await;
    patch(&node, zone, true).await;
    until(&node, zone, "it anew", |found| found.presigned.as_ref().is_some_and(|it| it.came.is_some())).await;
    let shown = async || {
        let shown = node.ok("GET", &format!("/zones/{zone}/dnssec"), None).await;
        (shown["status"].clone(), shown["presigned"]["problem"].as_str().unwrap_or_default().to_owned())
    };
    let (status, problem) = shown().await;
    assert!(status == "error" && problem.contains("without keys"), "{status} {problem}");
    // However it is signed, nothing is answered of what has expired.
    let mut found = secondary(&node, zone);
    let came = found.presigned.as_mut().unwrap().came.as_mut().unwrap();
    came.keys = vec![1];
    came.signs_soa = true;
    came.unsigned = 0;
    came.denial = Some(proxima_model::Denial::Nsec);
    came.expires_at = Some(node.context.clock.now().plus_seconds(9 * 86_400));
    node.append(vec![node.context.replica.put(&found)]).await;
    assert_eq!(shown().await, (json!("active"), String::new()));
    node.append(vec![node.context.replica.put(&SecondaryZone { expired: true, ..found.clone() })]).await;
    let (status, problem) = shown().await;
    assert!(status == "error" && problem.contains("SERVFAIL"), "{status} {problem}");
    // A set of it that is answered without a signature is one that validators refuse.
    found.presigned.as_mut().unwrap().came.as_mut().unwrap().unsigned = 3;
    node.append(vec![node.context.replica.put(&found)]).await;
    let (status, problem) = shown().await;
    assert!(status == "error" && problem.contains("3 record sets"), "{status} {problem}");
}

//! Zones that are answered as their primary signed them: who is told that this was switched, and what is said of it.

use std::net::UdpSocket;

use proxima_control::FIRST_ACCOUNT;
use proxima_ledger::Snapshot;
use proxima_model::{OutgoingTransfers, SecondaryZone, Timestamp, TransferNotices, ZoneId};
use serde_json::{Value, json};

use crate::{
    harness::{Node, PATIENCE},
    secondaries::{RIGHT, has_serial, peer, secondary, start, until, zone},
};

/// A peer that acknowledges whatever it is told, and tells of it.
fn acknowledges(told: std::sync::mpsc::Sender<()>) -> std::net::SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // NOTIFY (RFC 1996, 3.7).
            assert_eq!(buffer[2] >> 3 & 0xf, 4);
            buffer[2] |= 0x80;
            socket.send_to(&buffer[..length], from).unwrap();
            if told.send(()).is_err() {
                return;
            }
        }
    });
    address
}

/// When its peers were last wished to be told, if all of them acknowledged that.
fn told(snapshot: &Snapshot, zone: ZoneId) -> Option<Timestamp> {
    let wished = snapshot.get::<OutgoingTransfers>(&zone).unwrap()?.forced_at;
    let notices = snapshot.get::<TransferNotices>(&zone).unwrap()?.peers;
    let is_told = |notice: &proxima_model::PeerNotice| notice.forced_at == wished && notice.failure.is_none();
    (notices.len() == 1 && notices.iter().all(is_told)).then_some(wished.unwrap_or_default())
}

async fn patch(node: &Node, zone: ZoneId, presigned: bool) -> Value {
    node.ok("PATCH", &format!("/zones/{zone}/dnssec"), Some(json!({"dnssec_presigned": presigned}))).await
}

#[tokio::test]
async fn peers_are_told_that_a_zone_is_answered_otherwise_though_its_serial_stays() {
    let (node, account) = (start().await, FIRST_ACCOUNT);
    let primary = peer(&node, account, RIGHT.start()).await;
    let (tell, hears) = std::sync::mpsc::channel();
    let secondary_there = peer(&node, account, acknowledges(tell)).await;
    let zone = zone(&node, account, "example.com", &[primary]).await;
    until(&node, zone, "the zone", has_serial(5)).await;
    let outgoing = json!({"name": "example.com.", "peers": [secondary_there]});
    node.ok("POST", &format!("/zones/{zone}/secondary_dns/outgoing"), Some(outgoing)).await;
    node.until("the first notice", |snapshot| told(snapshot, zone).is_some()).await;
    hears.recv_timeout(PATIENCE).unwrap();

    let has_come = |found: &SecondaryZone| found.presigned.as_ref().is_some_and(|it| it.came.is_some());
    for presigned in [true, false] {
        let former = told(&node.context.replica.snapshot().unwrap(), zone).unwrap();
        let transferred = secondary(&node, zone).transferred_at;
        patch(&node, zone, presigned).await;
        node.until("that its peer was told", |snapshot| told(snapshot, zone).is_some_and(|at| at > former))
            .await;
        hears.recv_timeout(PATIENCE).unwrap();
        until(&node, zone, "it anew", |found| {
            found.transferred_at != transferred && has_come(found) == presigned && has_serial(5)(found)
        })
        .await;
        // They are told once more when it has come, or of both at once.
        let came = secondary(&node, zone).transferred_at;
        node.until("that it was told when it had come", |snapshot| told(snapshot, zone) >= came).await;
        while hears.try_recv().is_ok() {}
    }
    // What changes nothing is told nobody.
    let former = told(&node.context.replica.snapshot().unwrap(), zone).unwrap();
    patch(&node, zone, false).await;
    assert_eq!(told(&node.context.replica.snapshot().unwrap(), zone), Some(former));
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

//! `zones/:zone_id/dnssec`: switched on and off, and what the parent says of it.

use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use proxima_model::{ParentDs, Permission, RollStage, SigningState, TokenScope, Zone, ZoneId, ZoneSigning};
use serde_json::{Value, json};

use crate::{
    delegation::Unbound,
    harness::{Node, Options},
};

fn on() -> Option<Value> {
    Some(json!({"status": "active"}))
}

fn off() -> Option<Value> {
    Some(json!({"status": "disabled"}))
}

fn signing(node: &Node, zone: &str) -> Option<ZoneSigning> {
    let id: ZoneId = zone.parse().unwrap();
    node.context.replica.snapshot().unwrap().get::<ZoneSigning>(&id).unwrap()
}

#[tokio::test]
async fn dnssec_is_switched_on_shown_and_switched_off() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let path = format!("/zones/{zone}/dnssec");
    let before = node.ok("GET", &path, None).await;
    assert_eq!(
        (&before["status"], &before["ds"], &before["key_tag"]),
        (&json!("disabled"), &json!(null), &json!(null))
    );

    let serial = || {
        let id: ZoneId = zone.parse().unwrap();
        node.context.replica.snapshot().unwrap().get::<Zone>(&id).unwrap().unwrap().serial
    };
    let first = serial();
    let made = node.ok("PATCH", &path, on()).await;
    assert_eq!(made["status"], "active", "where owners are taken at their word");
    assert_eq!(serial(), first + 1);
    assert_eq!(
        [
            &made["flags"],
            &made["algorithm"],
            &made["digest_type"],
            &made["digest_algorithm"],
            &made["key_type"]
        ],
        [&json!(257), &json!("13"), &json!("2"), &json!("SHA256"), &json!("ECDSAP256SHA256")]
    );
    let digest = made["digest"].as_str().unwrap();
    assert!(
        digest.len() == 64
            && digest.bytes().all(|digit| digit.is_ascii_digit() || (b'A'..=b'F').contains(&digit))
    );
    assert_eq!(made["ds"], format!("example.com. 3600 IN DS {} 13 2 {digest}", made["key_tag"]));
    assert_eq!(BASE64_STANDARD.decode(made["public_key"].as_str().unwrap()).unwrap().len(), 64);
    assert_eq!(node.ok("GET", &path, None).await, made);
    // Again, and without anything to do: the key stays.
    assert_eq!(node.ok("PATCH", &path, on()).await, made);
    assert_eq!(node.ok("PATCH", &path, Some(json!({}))).await, made);
    assert_eq!(serial(), first + 1);
    let kept = signing(&node, &zone).unwrap();
    assert!(!made.to_string().contains(&hex::encode(&kept.keys[0].private)));

    assert_eq!(node.ok("PATCH", &path, off()).await["status"], "disabled");
    assert!(signing(&node, &zone).is_none());
    // A key is never used twice.
    assert_ne!(node.ok("PATCH", &path, on()).await["key_tag"], Value::Null);
    assert_ne!(signing(&node, &zone).unwrap().keys, kept.keys);
    assert_eq!(node.ok("DELETE", &path, None).await, "");
    assert_eq!(node.ok("GET", &path, None).await["status"], "disabled");

    for body in [
        json!({"status": "pending"}),
        json!({"dnssec_presigned": true}),
        json!({"dnssec_multi_signer": true}),
        json!({"key_roll": "start"}),
        json!({"key_roll_days": 90}),
        json!({"dnssec_use_nsec3": true}),
        json!({"algorithm": "15"}),
    ] {
        assert_eq!(node.refused("PATCH", &path, Some(body)).await.0, 400);
    }
}

#[tokio::test]
async fn the_algorithm_is_chosen_when_a_zone_is_switched_on_and_stays() {
    let node = Node::start().await;
    for (given, algorithm, key_type, octets) in [
        (json!("15"), "15", "ED25519", 32),
        (json!(15), "15", "ED25519", 32),
        (json!("ecdsap256sha256"), "13", "ECDSAP256SHA256", 64),
    ] {
        let zone = node.zone("example.com").await;
        let path = format!("/zones/{zone}/dnssec");
        let made = node.ok("PATCH", &path, Some(json!({"status": "active", "algorithm": given}))).await;
        assert_eq!((&made["algorithm"], &made["key_type"]), (&json!(algorithm), &json!(key_type)));
        let public = BASE64_STANDARD.decode(made["public_key"].as_str().unwrap()).unwrap();
        assert_eq!(public.len(), octets);
        assert!(made["ds"].as_str().unwrap().contains(&format!(" {algorithm} 2 ")), "{made}");
        assert_eq!(node.ok("PATCH", &path, on()).await, made);
        let other = if algorithm == "15" { "13" } else { "15" };
        for body in
            [json!({"algorithm": other}), json!({"algorithm": "8"}), json!({"algorithm": null, "status": 1})]
        {
            assert_eq!(node.refused("PATCH", &path, Some(body)).await.0, 400);
        }
        assert_eq!(node.ok("GET", &path, None).await, made);
        node.ok("DELETE", &format!("/zones/{zone}"), None).await;
    }
}

#[tokio::test]
async fn nsec3_is_switched_on_and_off_in_a_zone_that_is_signed() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let path = format!("/zones/{zone}/dnssec");
    let wish = |body: Value| node.ok("PATCH", &path, Some(body));
    assert_eq!(wish(json!({"dnssec_use_nsec3": false})).await["status"], "disabled");
    let made = wish(json!({"status": "active", "dnssec_use_nsec3": true})).await;
    assert_eq!(made["dnssec_use_nsec3"], true);
    assert_eq!(wish(json!({})).await, made);
    let without = wish(json!({"dnssec_use_nsec3": false})).await;
    assert_eq!((&without["dnssec_use_nsec3"], &without["ds"]), (&json!(false), &made["ds"]));

    // A zone's name of 222 octets on the wire leaves room for a hash, and one of 223 does not.
    for (label, expected) in [(50, 200), (51, 400)] {
        let [first, second, rest] = ["a".repeat(63), "b".repeat(label), "c".repeat(50)];
        let zone = node.zone(&format!("{first}.{second}.{rest}.{rest}.com")).await;
        let body = json!({"status": "active", "dnssec_use_nsec3": true});
        let (status, told) = node.call("PATCH", &format!("/zones/{zone}/dnssec"), Some(body)).await;
        assert_eq!(status, expected, "{told}");
    }
}

#[tokio::test]
async fn a_retry_with_the_same_key_makes_no_second_key_and_a_deleted_zone_leaves_none() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let path = format!("/zones/{zone}/dnssec");
    let mut tags = Vec::new();
    for _ in 0..2 {
        let request = node.request(reqwest::Method::PATCH, &path).bearer_auth(&node.token);
        let answer = request.header("idempotency-key", "once").json(&on()).send().await.unwrap();
        tags.push(answer.json::<Value>().await.unwrap()["result"]["public_key"].clone());
    }
    assert!(tags[0] == tags[1] && tags[0].is_string(), "{tags:?}");
    assert_eq!(node.count::<ZoneSigning>(), 1);
    node.ok("DELETE", &format!("/zones/{zone}"), None).await;
    assert_eq!(node.count::<ZoneSigning>(), 0);
}

#[tokio::test]
async fn who_may_read_dns_sees_it_and_who_may_edit_dns_changes_it() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let path = format!("/zones/{zone}/dnssec");
    let scope = TokenScope::Zone(zone.parse().unwrap());
    for (permission, sees, changes) in
        [(Permission::DnsRead, 200, 403), (Permission::DnsEdit, 200, 200), (Permission::ZoneEdit, 403, 403)]
    {
        let token = node.token(vec![(scope.clone(), vec![permission])]).await;
        assert_eq!(node.call_as(&token, "GET", &path, None).await.0, sees, "{permission:?}");
        assert_eq!(node.call_as(&token, "PATCH", &path, on()).await.0, changes, "{permission:?}");
        assert_eq!(node.call_as(&token, "DELETE", &path, None).await.0, changes, "{permission:?}");
    }
}

/// A node with its state in this folder, which asks this resolver for what parents say.
async fn node_in(folder: &Path, resolver: Option<&Unbound>) -> Node {
    let resolvers = resolver.map(|unbound| format!("resolvers = [\"{}\"]", unbound.address));
    let dir = Some(folder.to_owned());
    Node::with(Options { control: resolvers.unwrap_or_default(), dir, ..Options::default() }).await
}

/// A node that takes owners at their word for what parents say.
async fn trusting_node_in(folder: &Path) -> Node {
    let (control, dir) = ("activation = \"trust\"".to_owned(), Some(folder.to_owned()));
    Node::with(Options { control, dir, ..Options::default() }).await
}

#[tokio::test]
async fn a_signed_zone_is_active_when_its_ds_is_there_and_stays_signed_until_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    // Upkeep looks when its node starts.
    let start = async |resolver| node_in(folder.path(), resolver).await;
    let node = start(None).await;
    let zone = node.zone("ours.example").await;
    let path = format!("/zones/{zone}/dnssec");
    let made = node.ok("PATCH", &path, on()).await;
    assert_eq!(made["status"], "pending");
    drop(node);

    let with_ds = Unbound::start(&[made["ds"].as_str().unwrap()]);
    let node = start(Some(&with_ds)).await;
    let id: ZoneId = zone.parse().unwrap();
    let parent = |snapshot: &proxima_ledger::Snapshot| {
        snapshot.get::<ZoneSigning>(&id).unwrap().map(|signing| signing.parent)
    };
    node.until("the DS", |snapshot| parent(snapshot) == Some(ParentDs::Seen)).await;
    assert_eq!(node.ok("GET", &path, None).await["status"], "active");
    let leaving = node.ok("PATCH", &path, off()).await;
    assert_eq!((&leaving["status"], &leaving["ds"]), (&json!("pending-disabled"), &made["ds"]));
    drop(node);

    let without_ds = Unbound::start(&[]);
    let node = start(Some(&without_ds)).await;
    node.until("the end of the DS", |snapshot| matches!(parent(snapshot), Some(ParentDs::Gone(_)))).await;
    let kept = signing(&node, &zone).unwrap();
    assert_eq!(kept.state, SigningState::Leaving, "caches may have the DS for days");
    // Its owner thinks better of it: the key is still good.
    assert_eq!(node.ok("PATCH", &path, on()).await["ds"], made["ds"]);
    assert_eq!(node.ok("PATCH", &path, off()).await["status"], "pending-disabled");
    assert_eq!(node.ok("DELETE", &path, None).await, "");
    assert_eq!(node.ok("GET", &path, None).await["status"], "disabled");
}

#[tokio::test]
async fn dnssec_with_others_who_sign_too_is_switched_on_and_off() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let path = format!("/zones/{zone}/dnssec");
    let wish = |body: Value| node.ok("PATCH", &path, Some(body));
    let made = wish(json!({"status": "active", "dnssec_multi_signer": true})).await;
    assert_eq!((&made["dnssec_multi_signer"], &made["status"]), (&json!(true), &json!("active")));
    assert_eq!(wish(json!({})).await, made);
    assert_eq!(wish(json!({"dnssec_multi_signer": false})).await["dnssec_multi_signer"], false);
}

/// Makes a roll-over as old as if it had begun its stage three days before.
async fn age(node: &Node, zone: &str) {
    let mut aged = signing(node, zone).unwrap();
    let roll = aged.roll.as_mut().unwrap();
    roll.since = roll.since.plus_seconds(-3 * 86_400);
    node.append(vec![node.context.replica.put(&aged)]).await;
}

fn stage(snapshot: &proxima_ledger::Snapshot, zone: &str) -> Option<RollStage> {
    let id: ZoneId = zone.parse().unwrap();
    let signing = snapshot.get::<ZoneSigning>(&id).unwrap();
    signing.and_then(|signing| signing.roll).map(|roll| roll.stage)
}

#[tokio::test]
async fn a_key_is_rolled_over_on_wish_and_its_owner_says_when_the_parent_names_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    // Upkeep looks when its node starts.
    let start = async || trusting_node_in(folder.path()).await;
    let node = start().await;
    let zone = node.zone("example.com").await;
    let path = format!("/zones/{zone}/dnssec");
    let roll = |wish: &str| Some(json!({"key_roll": wish}));
    let made = node.ok("PATCH", &path, on()).await;
    assert_eq!((&made["key_roll"], &made["key_roll_days"]), (&json!(null), &json!(0)));
    for wish in ["back", "parent_done", "sideways"] {
        assert_eq!(node.refused("PATCH", &path, roll(wish)).await.0, 400, "{wish}");
    }
    let begun = node.ok("PATCH", &path, roll("start")).await;
    assert_eq!((&begun["key_roll"]["stage"], &begun["ds"]), (&json!("publishing"), &made["ds"]));
    assert!(begun["key_roll"]["next_on"].is_string() && begun["key_roll"]["new_key_tag"].is_number());
    for wish in ["start", "parent_done"] {
        assert_eq!(node.refused("PATCH", &path, roll(wish)).await.0, 400, "{wish}");
    }
    assert_eq!(node.ok("GET", &path, None).await, begun);
    age(&node, &zone).await;
    drop(node);

    let node = start().await;
    node.until("asking", |snapshot| stage(snapshot, &zone) == Some(RollStage::WaitingForParent)).await;
    let waiting = node.ok("GET", &path, None).await;
    assert_eq!(
        (&waiting["key_roll"]["stage"], &waiting["status"]),
        (&json!("waiting_for_parent"), &json!("active"))
    );
    assert_eq!(waiting["key_roll"]["next_on"], json!(null), "no time alone leads on");
    assert!(waiting["ds"] != made["ds"] && waiting["key_roll"]["former_key_tag"] == made["key_tag"]);
    // There and back again.
    assert_eq!(node.ok("PATCH", &path, roll("back")).await["ds"], made["ds"]);
    assert_eq!(node.ok("PATCH", &path, roll("back")).await["ds"], waiting["ds"]);
    let settling = node.ok("PATCH", &path, roll("parent_done")).await;
    assert_eq!(settling["key_roll"]["stage"], "settling");
    age(&node, &zone).await;
    drop(node);

    let node = start().await;
    node.until("the end", |snapshot| stage(snapshot, &zone).is_none()).await;
    let done = node.ok("GET", &path, None).await;
    assert_eq!((&done["ds"], &done["key_roll"]), (&waiting["ds"], &json!(null)));
    assert_eq!(signing(&node, &zone).unwrap().keys.len(), 1);
    let other = Some(json!({"key_roll": "start", "algorithm": "15", "key_roll_days": 90}));
    let begun = node.ok("PATCH", &path, other).await;
    assert_eq!((&begun["key_roll"]["stage"], &begun["key_roll_days"]), (&json!("signing"), &json!(90)));
    assert_eq!(node.refused("PATCH", &path, Some(json!({"key_roll_days": 3}))).await.0, 400);
}

#[tokio::test]
async fn a_roll_over_goes_on_when_the_parent_is_seen_to_name_the_new_key() {
    let folder = tempfile::tempdir().unwrap();
    let start = async |resolver| node_in(folder.path(), resolver).await;
    let node = start(None).await;
    let zone = node.zone("ours.example").await;
    let path = format!("/zones/{zone}/dnssec");
    node.ok("PATCH", &path, on()).await;
    node.ok("PATCH", &path, Some(json!({"key_roll": "start"}))).await;
    age(&node, &zone).await;
    drop(node);
    let node = start(None).await;
    node.until("asking", |snapshot| stage(snapshot, &zone) == Some(RollStage::WaitingForParent)).await;
    let said = node.refused("PATCH", &path, Some(json!({"key_roll": "parent_done"}))).await;
    assert_eq!(said.0, 400, "it is looked at");
    let ds = node.ok("GET", &path, None).await["ds"].as_str().unwrap().to_owned();
    drop(node);
    let parent = Unbound::start(&[&ds]);
    let node = start(Some(&parent)).await;
    node.until("the new DS", |snapshot| stage(snapshot, &zone) == Some(RollStage::Settling)).await;
    age(&node, &zone).await;
    drop(node);
    let node = start(Some(&parent)).await;
    node.until("the end", |snapshot| stage(snapshot, &zone).is_none()).await;
    assert_eq!(node.ok("GET", &path, None).await["ds"], ds);
}

#[tokio::test]
async fn a_zone_whose_key_cannot_be_rolled_keeps_no_other_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let start = async || trusting_node_in(folder.path()).await;
    let node = start().await;
    let zone = node.zone("example.com").await;
    let path = format!("/zones/{zone}/dnssec");
    node.ok("PATCH", &path, on()).await;
    node.ok("PATCH", &path, Some(json!({"key_roll": "start"}))).await;
    age(&node, &zone).await;
    // One that a later version wrote, and that comes first.
    let broken = ZoneId::from_bytes([0; 16]);
    let of_broken = ZoneSigning { zone: broken, ..signing(&node, &zone).unwrap() };
    let key = <proxima_model::Zone as proxima_model::Entity>::key_of(&broken);
    let unreadable = proxima_ledger::Change::Put { key, value: b"{\"id\": \"of a later version\"}".to_vec() };
    node.append(vec![unreadable, node.context.replica.put(&of_broken)]).await;
    drop(node);
    let node = start().await;
    node.until("asking", |snapshot| stage(snapshot, &zone) == Some(RollStage::WaitingForParent)).await;
    assert_eq!(
        stage(&node.context.replica.snapshot().unwrap(), &broken.to_string()),
        Some(RollStage::Publishing)
    );
}

#[tokio::test]
async fn a_secondary_zone_is_answered_as_its_primary_signed_it_until_that_is_switched_off() {
    let node = Node::start().await;
    let primary = node.zone("example.com").await;
    let made = node.ok("POST", "/zones", Some(json!({"name": "example.org", "type": "secondary"}))).await;
    let path = format!("/zones/{}/dnssec", made["id"].as_str().unwrap());
    let presigned = |on: bool| Some(json!({"dnssec_presigned": on}));
    let refused = async |path: &str, body: Value| node.refused("PATCH", path, Some(body)).await;
    assert_eq!(refused(&format!("/zones/{primary}/dnssec"), json!({"dnssec_presigned": true})).await.0, 400);
    for body in [
        json!({"dnssec_presigned": true, "status": "disabled"}),
        json!({"dnssec_presigned": true, "algorithm": "15"}),
        json!({"dnssec_presigned": true, "dnssec_multi_signer": true}),
        json!({"dnssec_presigned": true, "key_roll_days": 90}),
    ] {
        assert_eq!(refused(&path, body).await.0, 400);
    }
    assert_eq!(node.ok("GET", &path, None).await["presigned"], Value::Null);
    let on = node.ok("PATCH", &path, Some(json!({"dnssec_presigned": true, "status": "active"}))).await;
    assert_eq!(
        (&on["status"], &on["dnssec_presigned"], &on["ds"], &on["key_tag"]),
        (&json!("pending"), &json!(true), &Value::Null, &Value::Null)
    );
    assert!(on["presigned"]["problem"].as_str().unwrap().contains("has not come"), "{on}");
    assert_eq!(node.ok("GET", &path, None).await, on);
    assert_eq!(
        node.ok("PATCH", &path, Some(json!({"status": "active"}))).await,
        on,
        "nothing else is asked for"
    );
    assert_eq!(refused(&path, json!({"key_roll": "start"})).await.0, 400);
    let off = node.ok("PATCH", &path, presigned(false)).await;
    assert_eq!((&off["status"], &off["dnssec_presigned"]), (&json!("disabled"), &json!(false)));
    // Signed here, it is not signed elsewhere too.
    node.ok("PATCH", &path, presigned(true)).await;
    let own = node.ok("PATCH", &path, Some(json!({"dnssec_presigned": false, "status": "active"}))).await;
    assert!(own["ds"].is_string() && own["dnssec_presigned"] == false, "{own}");
    assert_eq!(refused(&path, json!({"dnssec_presigned": true})).await.0, 400);
    node.ok("DELETE", &path, None).await;
    for off in [Some(json!({"status": "disabled"})), None] {
        node.ok("PATCH", &path, presigned(true)).await;
        match off {
            Some(body) => node.ok("PATCH", &path, Some(body)).await,
            None => node.ok("DELETE", &path, None).await,
        };
        assert_eq!(node.ok("GET", &path, None).await["dnssec_presigned"], false);
    }
}

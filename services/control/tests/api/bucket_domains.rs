//! Custom domains of buckets.

use proxima_control::FIRST_ACCOUNT;
use proxima_model::{
    Bucket, BucketDomain, BucketName, BucketTag, DnsName, NodeName, Permission, Purge, PurgeWhat, Record,
    StorageClass, Timestamp, TokenScope, limits,
};
use serde_json::{Value, json};

use crate::{
    harness::Node,
    workers::{deployed, path},
};

/// Puts a bucket, as who has the objects would.
pub(crate) async fn bucket(node: &Node, name: &str, seed: u8) -> Bucket {
    let bucket = Bucket {
        account: FIRST_ACCOUNT,
        name: BucketName::parse(name).unwrap(),
        tag: BucketTag::from_bytes([seed; 16]),
        created_at: Timestamp::from_millis(0),
        home: NodeName::parse("test").unwrap(),
        location: None,
        jurisdiction: None,
        storage_class: StorageClass::Standard,
        cors: None,
        lifecycle: None,
        notifications: None,
        domains: std::collections::BTreeSet::new(),
    };
    node.append(vec![node.context.replica.put(&bucket)]).await;
    bucket
}

fn domains(bucket: &str) -> String {
    format!("/accounts/{FIRST_ACCOUNT}/r2/buckets/{bucket}/domains/custom")
}

/// As wrangler attaches one.
fn body(host: &str, zone: &str) -> Value {
    json!({ "domain": host, "zoneId": zone, "minTLS": "1.0", "enabled": true })
}

#[tokio::test]
async fn a_custom_domain_of_a_bucket_comes_and_goes_with_its_record() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    bucket(&node, "photos", 1).await;
    let (all, one) = (domains("photos"), format!("{}/files.example.com", domains("photos")));
    let made = node.ok("POST", &all, Some(body("Files.example.com", &zone))).await;
    let shown = json!({
        "domain": "files.example.com", "enabled": true, "minTLS": "1.2", "zoneId": zone,
        "zoneName": "example.com", "status": made["status"],
    });
    assert_eq!(made, shown);
    assert_eq!(node.ok("GET", &all, None).await, json!({ "domains": [shown] }));
    assert_eq!(node.ok("GET", &one, None).await, shown);

    let records = format!("/zones/{zone}/dns_records");
    let record = node.ok("GET", &records, None).await[0].clone();
    assert_eq!(
        (&record["name"], &record["type"], &record["content"], &record["proxied"]),
        (&json!("files.example.com"), &json!("AAAA"), &json!("100::"), &json!(true))
    );
    let of_record = format!("{records}/{}", record["id"].as_str().unwrap());
    let address = json!({ "type": "A", "name": "files", "content": "192.0.2.1" });
    assert_eq!(node.refused("DELETE", &of_record, None).await, (400, 1046));
    assert_eq!(node.refused("POST", &records, Some(address)).await, (400, 1046));

    let off = node.ok("PUT", &one, Some(json!({ "enabled": false, "minTLS": "1.1" }))).await;
    assert_eq!(off["enabled"], false);
    let on = node.ok("POST", &all, Some(body("files.example.com", &zone))).await;
    assert_eq!((&on["enabled"], node.count::<Record>()), (&json!(true), 1), "attached again it is the same");

    assert_eq!(node.ok("DELETE", &one, None).await, json!({ "domain": "files.example.com" }));
    assert_eq!((node.count::<BucketDomain>(), node.count::<Record>()), (0, 0));
    assert_eq!(node.refused("GET", &one, None).await, (404, 100_114));
    assert_eq!(node.ok("GET", &all, None).await, json!({ "domains": [] }));
}

#[tokio::test]
async fn what_caches_keep_of_a_host_is_forgotten_when_it_is_attached_switched_or_removed_and_not_else() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    bucket(&node, "photos", 1).await;
    let (all, one) = (domains("photos"), format!("{}/files.example.com", domains("photos")));
    let again = body("files.example.com", &zone);
    for (method, at, given, purges) in [
        ("POST", &all, Some(again.clone()), 1),
        ("PUT", &one, Some(json!({ "enabled": true })), 1),
        ("PUT", &one, Some(json!({ "enabled": false })), 2),
        ("PUT", &one, Some(json!({ "minTLS": "1.1" })), 2),
        ("POST", &all, Some(again.clone()), 3),
        ("POST", &all, Some(again), 3),
        ("DELETE", &one, None, 4),
    ] {
        node.ok(method, at, given.clone()).await;
        assert_eq!(node.count::<Purge>(), purges, "{method} {at} {given:?}");
    }
    let snapshot = node.context.replica.snapshot().unwrap();
    let hosts = PurgeWhat::Hosts(vec![DnsName::parse("files.example.com").unwrap()]);
    for purge in snapshot.scan::<Purge>(&[]) {
        let purge = purge.unwrap();
        assert_eq!((purge.zone.to_string(), purge.what), (zone.clone(), hosts.clone()));
    }
}

#[tokio::test]
async fn a_host_is_one_things_whoever_comes_second() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    deployed(&node, "app").await;
    for (name, seed) in [("photos", 1), ("other", 2)] {
        bucket(&node, name, seed).await;
    }
    let attach = async |name: &str, host: &str| {
        node.refused("POST", &domains(name), Some(body(&format!("{host}.example.com"), &zone))).await
    };
    node.ok("POST", &domains("photos"), Some(body("files.example.com", &zone))).await;
    assert_eq!(attach("other", "files").await, (400, 100_117), "another bucket's");
    assert_eq!(node.refused("GET", &format!("{}/files.example.com", domains("other")), None).await.0, 404);
    let origins = json!([{ "hostname": "files.example.com" }]);
    let put = json!({ "override_scope": true, "override_existing_origin": true,
                      "override_existing_dns_record": true, "origins": origins });
    let refused = node.refused("PUT", &path("scripts/app/domains/records"), Some(put)).await;
    assert_eq!(refused, (400, 100_117), "a Worker takes no bucket's, whatever gives way");
    let worker = json!({ "hostname": "app.example.com", "service": "app" });
    node.ok("PUT", &path("domains"), Some(worker)).await;
    assert_eq!(attach("photos", "app").await, (400, 100_117), "a Worker's");
    let taken = json!({ "type": "A", "name": "www", "content": "192.0.2.1" });
    node.ok("POST", &format!("/zones/{zone}/dns_records"), Some(taken)).await;
    assert_eq!(attach("photos", "www").await, (400, 100_117), "a record's");
    for host in ["*", "a_b"] {
        assert_eq!(attach("photos", host).await, (400, 100_115), "{host}");
    }
    let elsewhere = Some(body("files.example.net", &zone));
    assert_eq!(node.refused("POST", &domains("photos"), elsewhere).await, (400, 100_115));
    assert_eq!((node.count::<BucketDomain>(), node.count::<Record>()), (1, 3));
}

#[tokio::test]
async fn what_no_host_of_a_bucket_has_is_told() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    bucket(&node, "photos", 1).await;
    for (field, value, refused) in [
        ("minTLS", json!("1.3"), (400, 1107)),
        ("minTLS", json!("2"), (400, 1009)),
        ("ciphers", json!(["AES128-SHA"]), (400, 1107)),
    ] {
        let mut body = body("files.example.com", &zone);
        body[field] = value.clone();
        assert_eq!(node.refused("POST", &domains("photos"), Some(body)).await, refused, "{field} {value}");
    }
    let tls = format!("/zones/{zone}/settings/min_tls_version");
    node.ok("PATCH", &tls, Some(json!({ "value": "1.3" }))).await;
    let mut newest = body("files.example.com", &zone);
    newest["minTLS"] = "1.3".into();
    assert_eq!(node.ok("POST", &domains("photos"), Some(newest)).await["minTLS"], "1.3");
    let managed = format!("/accounts/{FIRST_ACCOUNT}/r2/buckets/photos/domains/managed");
    assert_eq!(node.ok("GET", &managed, None).await["enabled"], false);
    assert_eq!(node.refused("PUT", &managed, Some(json!({ "enabled": true }))).await, (400, 1107));
    assert_eq!(node.ok("PUT", &managed, Some(json!({ "enabled": false }))).await["enabled"], false);
}

#[tokio::test]
async fn who_may_not_change_a_zones_records_attaches_nothing_in_it() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    bucket(&node, "photos", 1).await;
    let of_account = (TokenScope::Account(FIRST_ACCOUNT), vec![Permission::R2Edit]);
    let of_zone = (TokenScope::Zone(zone.parse().unwrap()), vec![Permission::DnsEdit]);
    let without = node.token(vec![of_account.clone()]).await;
    let with = node.token(vec![of_account, of_zone]).await;
    let attach = async |token: &str| {
        let body = Some(body("files.example.com", &zone));
        node.call_as(token, "POST", &domains("photos"), body).await.0
    };
    assert_eq!(attach(&without).await, 401);
    assert_eq!(attach(&with).await, 200);
    let one = format!("{}/files.example.com", domains("photos"));
    assert_eq!(node.call_as(&without, "DELETE", &one, None).await.0, 401);
    assert_eq!(node.call_as(&with, "DELETE", &one, None).await.0, 200);
}

#[tokio::test]
async fn custom_domains_go_with_their_zone_and_leave_their_bucket_room_for_others() {
    let node = Node::start().await;
    let mut owner = bucket(&node, "photos", 1).await;
    for name in ["example.com", "example.net"] {
        let zone = node.zone(name).await;
        node.ok("POST", &domains("photos"), Some(body(&format!("files.{name}"), &zone))).await;
        node.ok("DELETE", &format!("/zones/{zone}"), None).await;
        assert_eq!((node.count::<BucketDomain>(), node.count::<Record>()), (0, 0));
        assert_eq!(node.ok("GET", &domains("photos"), None).await, json!({ "domains": [] }));
    }
    let zone = node.zone("example.org").await;
    owner.domains = (0..limits::BUCKET_DOMAINS_MAX)
        .map(|at| (zone.parse().unwrap(), DnsName::parse(&format!("h{at}.example.org")).unwrap()))
        .collect();
    node.append(vec![node.context.replica.put(&owner)]).await;
    for at in 0..limits::BUCKET_DOMAINS_MAX {
        let host = format!("g{at}.example.org");
        node.ok("POST", &domains("photos"), Some(body(&host, &zone))).await;
    }
    let one_more = Some(body("files.example.org", &zone));
    assert_eq!(node.refused("POST", &domains("photos"), one_more).await, (400, 10009));
}

//! Where Workers are reached: routes and custom domains.

use proxima_control::FIRST_ACCOUNT;
use proxima_model::{
    Permission, Record, TokenScope, WorkerDomain, WorkerHost, WorkerRoute, WorkerRouteId, WorkerTriggers,
    limits,
};
use serde_json::{Value, json};

use crate::{
    harness::Node,
    workers::{deployed, path},
};

fn routes(zone: &str) -> String {
    format!("/zones/{zone}/workers/routes")
}

async fn route(node: &Node, zone: &str, pattern: &str, script: Value) -> Value {
    node.ok("POST", &routes(zone), Some(json!({"pattern": pattern, "script": script}))).await
}

#[tokio::test]
async fn routes_are_made_listed_changed_and_deleted() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    deployed(&node, "app").await;
    deployed(&node, "other").await;
    let made = route(&node, &zone, "*.example.com/api/*", json!("app")).await;
    let none = route(&node, &zone, "www.example.com/api/x", json!(null)).await;
    assert_eq!(
        (&made["pattern"], &made["script"], &none["script"]),
        (&json!("*.example.com/api/*"), &json!("app"), &json!(null))
    );
    let one = format!("{}/{}", routes(&zone), made["id"].as_str().unwrap());
    assert_eq!(node.ok("GET", &one, None).await, made);
    assert_eq!(node.ok("GET", &routes(&zone), None).await.as_array().unwrap().len(), 2);
    let changed = node.ok("PUT", &one, Some(json!({"pattern": "example.com/*", "script": "other"}))).await;
    assert_eq!((&changed["id"], &changed["script"]), (&made["id"], &json!("other")));
    assert_eq!(node.count::<WorkerTriggers>(), 1, "only the Worker that has one is noted");
    node.ok("DELETE", &one, None).await;
    assert_eq!(node.refused("GET", &one, None).await, (404, 10_024));
    assert_eq!((node.count::<WorkerRoute>(), node.count::<WorkerTriggers>()), (1, 0));

    for (body, refused) in [
        (json!({"pattern": "www.example.com/api/x"}), (400, 10_083)),
        (json!({"pattern": "WWW.example.com/api/x", "script": "app"}), (400, 10_083)),
        (json!({"pattern": "example.org/*", "script": "app"}), (400, 10_082)),
        (json!({"pattern": "example.com/*.jpg", "script": "app"}), (400, 10_082)),
        (json!({"pattern": "example.com/*", "script": "none"}), (404, 10_007)),
        (json!({"pattern": "example.com/*", "script": "A b"}), (400, 10_006)),
    ] {
        assert_eq!(node.refused("POST", &routes(&zone), Some(body.clone())).await, refused, "{body}");
    }
}

#[tokio::test]
async fn a_zone_has_so_many_routes_and_no_more() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let most = u128::try_from(limits::WORKER_ROUTES_PER_ZONE_MAX).unwrap();
    let made = (0..most).map(|number| WorkerRoute {
        id: WorkerRouteId::from_bytes(number.to_be_bytes()),
        zone: zone.parse().unwrap(),
        pattern: format!("example.com/{number}").parse().unwrap(),
        script: None,
    });
    let changes = made.map(|route| node.context.replica.put(&route)).collect();
    node.append(changes).await;
    let body = Some(json!({"pattern": "example.com/one-more"}));
    assert_eq!(node.refused("POST", &routes(&zone), body).await, (400, 10_037));
}

#[tokio::test]
async fn wrangler_puts_all_routes_of_a_worker_over_its_zones() {
    let node = Node::start().await;
    let (one, two) = (node.zone("one.example").await, node.zone("two.example").await);
    deployed(&node, "app").await;
    deployed(&node, "other").await;
    route(&node, &one, "one.example/other", json!("other")).await;
    let all = path("scripts/app/routes");
    let put = json!([{"pattern": "one.example/*"}, {"pattern": "*.two.example/*", "zone_name": "two.example"},
                     {"pattern": "two.example/a", "zone_id": two}]);
    assert_eq!(node.ok("PUT", &all, Some(put)).await.as_array().unwrap().len(), 3);
    let before = node.ok("GET", &routes(&one), None).await;
    // Others of it go, what it has stays, and what is another's is not touched.
    let fewer = node.ok("PUT", &all, Some(json!([{"pattern": "one.example/*"}]))).await;
    assert_eq!(node.ok("GET", &routes(&one), None).await, before);
    assert_eq!(fewer[0]["script"], "app");
    assert_eq!(node.ok("GET", &routes(&two), None).await, json!([]));
    let taken = Some(json!([{"pattern": "one.example/other"}]));
    assert_eq!(node.refused("PUT", &all, taken).await, (400, 10_083));
    let nowhere = Some(json!([{"pattern": "elsewhere.example/*"}]));
    assert_eq!(node.refused("PUT", &all, nowhere).await, (400, 10_082));
    // Who may not write a zone's routes gets the code at which wrangler goes on zone by zone.
    let scope = TokenScope::Account(FIRST_ACCOUNT);
    let token = node.token(vec![(scope, vec![Permission::WorkersEdit])]).await;
    let (_, envelope) = node.call_as(&token, "PUT", &all, Some(json!([{"pattern": "two.example/*"}]))).await;
    assert_eq!(envelope["errors"][0]["code"], 10_000, "{envelope}");
    node.ok("DELETE", &path("scripts/app"), None).await;
    let left = node.ok("GET", &routes(&one), None).await;
    assert_eq!(
        (left.as_array().unwrap().len(), &left[0]["script"]),
        (1, &json!("other")),
        "routes go with their Worker"
    );
}

#[tokio::test]
async fn a_custom_domain_has_a_record_of_its_own_that_is_changed_with_it_alone() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    deployed(&node, "app").await;
    deployed(&node, "other").await;
    let body = |service: &str| {
        Some(
            json!({"hostname": "Shop.example.com", "service": service, "environment": "production", "zone_id": zone}),
        )
    };
    let made = node.ok("PUT", &path("domains"), body("app")).await;
    assert_eq!(
        (&made["hostname"], &made["service"], &made["zone_name"]),
        (&json!("shop.example.com"), &json!("app"), &json!("example.com"))
    );
    let records = format!("/zones/{zone}/dns_records");
    let record = node.ok("GET", &format!("{records}?name=shop.example.com"), None).await[0].clone();
    assert_eq!(
        (&record["type"], &record["content"], &record["proxied"]),
        (&json!("AAAA"), &json!("100::"), &json!(true))
    );
    let of_record = format!("{records}/{}", record["id"].as_str().unwrap());
    let address = json!({"type": "A", "name": "shop", "content": "192.0.2.1"});
    assert_eq!(node.refused("PATCH", &of_record, Some(json!({"comment": "mine"}))).await, (400, 1046));
    assert_eq!(node.refused("DELETE", &of_record, None).await, (400, 1046));
    assert_eq!(node.refused("POST", &records, Some(address)).await, (400, 1046));
    let text = json!({"type": "TXT", "name": "shop", "content": "\"x\""});
    node.ok("POST", &records, Some(text)).await;

    let moved = node.ok("PUT", &path("domains"), body("other")).await;
    assert_eq!((&moved["id"], &moved["service"]), (&made["id"], &json!("other")));
    assert_eq!(node.ok("GET", &path("domains?service=app"), None).await, json!([]));
    assert_eq!(node.ok("GET", &path("domains/records?service=other"), None).await, json!([moved]));
    let one = path(&format!("domains/{}", made["id"].as_str().unwrap()));
    assert_eq!(node.ok("GET", &one, None).await, moved);
    node.ok("DELETE", &one, None).await;
    assert_eq!(node.refused("GET", &one, None).await, (404, 100_114));
    let left = node.ok("GET", &records, None).await;
    assert_eq!((left.as_array().unwrap().len(), &left[0]["type"]), (1, &json!("TXT")));
    assert_eq!((node.count::<WorkerHost>(), node.count::<WorkerTriggers>()), (0, 0));
}

#[tokio::test]
async fn wrangler_looks_at_what_would_change_and_then_puts_custom_domains() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    deployed(&node, "app").await;
    deployed(&node, "other").await;
    let record = json!({"type": "CNAME", "name": "taken", "content": "example.net"});
    node.ok("POST", &format!("/zones/{zone}/dns_records"), Some(record)).await;
    let owned = json!({"hostname": "owned.example.com", "service": "other"});
    node.ok("PUT", &path("domains"), Some(owned)).await;
    let origins = json!([{"hostname": "free.example.com"}, {"hostname": "taken.example.com"}, {"hostname": "owned.example.com"}]);
    let changes = node
        .ok("POST", &path("scripts/app/domains/changeset?replace_state=true"), Some(origins.clone()))
        .await;
    assert_eq!(changes["added"][0]["hostname"], "free.example.com");
    assert_eq!(changes["conflicting"][0]["hostname"], "taken.example.com");
    assert_eq!(
        (&changes["updated"][0]["modified"], &changes["updated"][0]["service"]),
        (&json!(true), &json!("other"))
    );
    let put = |origin: bool, record: bool, origins: &Value| {
        Some(
            json!({"override_scope": true, "override_existing_origin": origin, "override_existing_dns_record": record, "origins": origins}),
        )
    };
    let all = path("scripts/app/domains/records");
    assert_eq!(
        node.refused("PUT", &all, put(false, true, &origins)).await,
        (400, 100_117),
        "another Worker's"
    );
    assert_eq!(node.refused("PUT", &all, put(true, false, &origins)).await, (400, 100_117), "a record");
    assert_eq!(node.count::<WorkerDomain>(), 1, "all or none");
    assert_eq!(node.ok("PUT", &all, put(true, true, &origins)).await.as_array().unwrap().len(), 3);
    let kinds: Vec<_> = node
        .ok("GET", &format!("/zones/{zone}/dns_records"), None)
        .await
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["content"].clone())
        .collect();
    assert_eq!(kinds, [json!("100::"), json!("100::"), json!("100::")]);
    node.ok("PUT", &all, put(false, false, &origins)).await;
    assert_eq!(node.count::<WorkerDomain>(), 3, "once more changes nothing");

    for (origin, refused) in [
        (json!({"hostname": "*.example.com"}), (400, 100_115)),
        (json!({"hostname": "a b"}), (400, 100_115)),
        (json!({"hostname": "0/25.example.com"}), (400, 100_115)),
        (json!({"hostname": "a.example.org"}), (400, 100_115)),
        (json!({"hostname": "a.example.org", "zone_id": zone}), (400, 100_115)),
        (json!({"hostname": "a.example.com", "previews_enabled": true}), (400, 1107)),
    ] {
        assert_eq!(node.refused("PUT", &all, put(true, true, &json!([origin]))).await, refused, "{origin}");
    }
    node.ok("DELETE", &path("scripts/app"), None).await;
    assert_eq!((node.count::<WorkerDomain>(), node.count::<WorkerHost>(), node.count::<Record>()), (0, 0, 0));
}

#[tokio::test]
async fn what_a_zone_has_of_workers_goes_with_it_and_their_worker_stays() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    deployed(&node, "app").await;
    route(&node, &zone, "example.com/*", json!("app")).await;
    node.ok("PUT", &path("domains"), Some(json!({"hostname": "example.com", "service": "app"}))).await;
    node.ok("DELETE", &format!("/zones/{zone}"), None).await;
    assert_eq!(
        (node.count::<WorkerRoute>(), node.count::<WorkerHost>(), node.count::<WorkerDomain>()),
        (0, 0, 0)
    );
    assert_eq!(node.ok("GET", &path("domains"), None).await, json!([]));
    // What is still noted of them is passed over.
    let zone = node.zone("example.com").await;
    node.ok("PUT", &path("scripts/app/routes"), Some(json!([{"pattern": "example.com/*"}]))).await;
    assert_eq!(node.ok("GET", &routes(&zone), None).await.as_array().unwrap().len(), 1);
    node.ok("DELETE", &path("scripts/app"), None).await;
    assert_eq!((node.count::<WorkerRoute>(), node.count::<WorkerTriggers>()), (0, 0));
}

//! `dns_settings` of a zone, and whether an alias is flattened: `settings.flatten_cname` of a record.

use proxima_model::{Zone, ZoneId};
use serde_json::{Value, json};

use crate::harness::Node;

#[tokio::test]
async fn whether_all_aliases_are_flattened_is_one_choice_that_two_paths_show() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let (path, setting) =
        (format!("/zones/{zone}/dns_settings"), format!("/zones/{zone}/settings/cname_flattening"));
    let serial = || {
        let id: ZoneId = zone.parse().unwrap();
        node.context.replica.snapshot().unwrap().get::<Zone>(&id).unwrap().unwrap().serial
    };
    let shown = node.ok("GET", &path, None).await;
    assert_eq!((&shown["flatten_all_cnames"], &shown["ns_ttl"]), (&json!(false), &json!(86_400)));
    assert_eq!(shown["soa"]["rname"], "hostmaster.example.com", "{shown}");
    let first = serial();
    assert_eq!(node.ok("PATCH", &path, Some(shown.clone())).await, shown, "what is shown can be sent back");
    assert_eq!(serial(), first, "and is no change");

    let all = node.ok("PATCH", &path, Some(json!({"flatten_all_cnames": true}))).await;
    assert_eq!(all, {
        let mut all = shown.clone();
        all["flatten_all_cnames"] = json!(true);
        all
    });
    assert_eq!(node.ok("GET", &setting, None).await["value"], "flatten_all");
    assert_eq!(serial(), first + 1, "DNS answers otherwise");
    node.ok("PATCH", &setting, Some(json!({"value": "flatten_at_root"}))).await;
    assert_eq!(node.ok("GET", &path, None).await, shown);

    for (body, code) in [
        (json!({"flatten_all_cnames": "yes"}), 1009),
        (json!({"ns_ttl": 300}), 1107),
        (json!({"soa": {"expire": 1}}), 1107),
        (json!({"flatten_all_cnames": true, "foundation_dns": true}), 1107),
        (json!({"nothing": 1}), 1107),
    ] {
        assert_eq!(node.refused("PATCH", &path, Some(body)).await, (400, code));
    }
    assert_eq!(node.ok("GET", &path, None).await, shown, "what is refused is refused whole");
    let unknown = "/zones/00000000000000000000000000000000/dns_settings";
    assert_eq!(node.call("GET", unknown, None).await.0, 404);
}

#[tokio::test]
async fn the_soa_record_of_a_secondary_zone_is_its_primarys_and_not_among_its_settings() {
    let node = Node::start().await;
    let made = node.ok("POST", "/zones", Some(json!({"name": "example.org", "type": "secondary"}))).await;
    let path = format!("/zones/{}/dns_settings", made["id"].as_str().unwrap());
    assert_eq!(node.ok("GET", &path, None).await.get("soa"), None);
    let refused = node.refused("PATCH", &path, Some(json!({"soa": {"ttl": 1_800}}))).await;
    assert_eq!(refused, (400, 1107));
}

#[tokio::test]
async fn an_alias_says_by_itself_that_it_is_flattened_and_nothing_else_does() {
    let node = Node::start().await;
    let records = format!("/zones/{}/dns_records", node.zone("example.com").await);
    let alias = |settings: Value| json!({"type": "CNAME", "name": "a", "content": "b.example.net", "ttl": 300, "settings": settings});
    let made = node.ok("POST", &records, Some(alias(json!({"flatten_cname": true})))).await;
    assert_eq!(made["settings"], json!({"flatten_cname": true}));
    let one = format!("{records}/{}", made["id"].as_str().unwrap());
    assert_eq!(node.ok("GET", &one, None).await["settings"], json!({"flatten_cname": true}));
    // A change of something else leaves it; one that says otherwise ends it, and so does one of the whole without it.
    let changed = node.ok("PATCH", &one, Some(json!({"ttl": 600}))).await;
    assert_eq!(changed["settings"], json!({"flatten_cname": true}));
    let changed = node.ok("PATCH", &one, Some(json!({"settings": {"flatten_cname": false}}))).await;
    assert_eq!(changed["settings"], json!({"flatten_cname": false}));
    node.ok("PATCH", &one, Some(json!({"settings": {"flatten_cname": true}}))).await;
    let put = node.ok("PUT", &one, Some(alias(json!({})))).await;
    assert_eq!(put["settings"], json!({"flatten_cname": false}));
    for (body, code) in [
        (alias(json!({"ipv4_only": true})), 1107),
        (
            json!({"type": "A", "name": "c", "content": "192.0.2.1", "settings": {"flatten_cname": true}}),
            1004,
        ),
    ] {
        let refused = node.refused("POST", &records, Some(body.clone())).await;
        assert_eq!(refused.0, 400, "{body}");
        assert!(code != 1107 || refused.1 == code, "{body}: {refused:?}");
    }
}

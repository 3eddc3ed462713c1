//! Zones: made once, found by filters, changed, and deleted with everything beneath.

use proxima_control::limits;
use proxima_model::{
    Certificate, CertificateSource, EdgeAuthority, Permission, Purge, Record, Ruleset, TicketKeys,
    TokenScope, Zone, ZoneId,
};
use serde_json::json;

use crate::harness::{Node, Options};

#[tokio::test]
async fn a_zone_is_made_once_and_found_by_every_filter() {
    let node = Node::start().await;
    let id = node.zone("Bücher.example").await;
    let zone = node.ok("GET", &format!("/zones/{id}"), None).await;
    assert_eq!(zone["name"], "xn--bcher-kva.example");
    assert_eq!((&zone["status"], &zone["paused"]), (&json!("active"), &json!(false)));
    assert_eq!(zone["name_servers"], json!(["ns1.proxima.example", "ns2.proxima.example"]));
    assert_eq!(node.refused("POST", "/zones", Some(json!({"name": "bücher.example"}))).await, (400, 1061));
    for name in ["example", "a..b.example", "*.example.com", "", "a_b.example.com", &"a.".repeat(200)] {
        assert_eq!(node.refused("POST", "/zones", Some(json!({"name": name}))).await.1, 1001, "{name}");
    }
    node.zone("alpha.example").await;
    let count =
        async |query: &str| node.ok("GET", &format!("/zones{query}"), None).await.as_array().unwrap().len();
    for (query, expected) in [
        ("", 2),
        ("?name=alpha.example", 1),
        ("?name=contains:cher", 1),
        ("?name=alpha.example&status=pending", 0),
        ("?name=alpha.example&status=pending&match=any", 1),
        ("?account.name=Proxima", 2),
        ("?account.id=00000000000000000000000000000000", 0),
        ("?per_page=1&page=2", 1),
        ("?per_page=1&page=3", 0),
    ] {
        assert_eq!(count(query).await, expected, "{query}");
    }
    let (_, page) = node.call("GET", "/zones?per_page=1&order=name&direction=desc", None).await;
    assert_eq!(page["result"][0]["name"], "xn--bcher-kva.example");
    let info = json!({"page": 1, "per_page": 1, "count": 1, "total_count": 2, "total_pages": 2});
    assert_eq!(page["result_info"], info);
}

#[tokio::test]
async fn an_active_zone_gets_a_certificate_and_the_network_its_keys() {
    let node = Node::start().await;
    node.zone("example.com").await;
    node.until("the certificate", |snapshot| snapshot.scan::<Certificate>(&[]).count() == 1).await;
    let snapshot = node.context.replica.snapshot().unwrap();
    let certificate = snapshot.scan::<Certificate>(&[]).next().unwrap().unwrap();
    assert_eq!(certificate.source, CertificateSource::LocalAuthority);
    let hosts: Vec<_> = certificate.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["example.com", "*.example.com"]);
    assert!(snapshot.get::<EdgeAuthority>(&()).unwrap().is_some());
    assert_eq!(snapshot.get::<TicketKeys>(&()).unwrap().unwrap().keys.len(), 1);
}

#[tokio::test]
async fn a_zone_that_is_not_delegated_stays_pending_and_has_no_certificate() {
    let node = Node::with(Options::default()).await;
    let id = node.zone("example.com").await;
    let (_, envelope) = node.call("PUT", &format!("/zones/{id}/activation_check"), None).await;
    assert_eq!(envelope["success"], true);
    assert!(envelope["messages"][0]["message"].as_str().unwrap().starts_with("still pending"), "{envelope}");
    let zone = node.ok("GET", &format!("/zones/{id}"), None).await;
    assert_eq!((&zone["status"], &zone["activated_on"]), (&json!("pending"), &json!(null)));
    assert_eq!(node.count::<Certificate>(), 0);
}

#[tokio::test]
async fn a_deleted_zone_takes_everything_beneath_with_it() {
    let node = Node::start().await;
    let id = node.zone("example.com").await;
    let zone = format!("/zones/{id}");
    for number in 0..20 {
        let record = json!({"type": "A", "name": format!("host-{number}"), "content": "192.0.2.1"});
        node.ok("POST", &format!("{zone}/dns_records"), Some(record)).await;
    }
    node.ok("POST", &format!("{zone}/purge_cache"), Some(json!({"purge_everything": true}))).await;
    let rules = json!({"rules": [{"action": "route", "expression": "true", "action_parameters": {"origin": {"port": 81}}}]});
    node.ok("PUT", &format!("{zone}/rulesets/phases/http_request_origin/entrypoint"), Some(rules)).await;
    node.until("the certificate", |snapshot| snapshot.scan::<Certificate>(&[]).count() == 1).await;
    assert_eq!(node.ok("DELETE", &zone, None).await, json!({"id": id}));
    assert_eq!(node.refused("GET", &zone, None).await, (404, 7003));
    node.until("the end of what lay beneath", |snapshot| {
        snapshot.scan::<Record>(&[]).count() == 0
            && snapshot.scan::<Ruleset>(&[]).count() == 0
            && snapshot.scan::<Certificate>(&[]).count() == 0
            && snapshot.scan::<Purge>(&[]).count() == 0
    })
    .await;
    node.zone("example.com").await;
}

#[tokio::test]
async fn a_zone_that_one_append_cannot_delete_goes_at_once_and_the_rest_follows() {
    let node = Node::start().await;
    let id = node.zone("example.com").await;
    for batch in 0..2 {
        let post =
            |number| json!({"type": "A", "name": format!("h{batch}-{number}"), "content": "192.0.2.1"});
        let posts: Vec<_> = (0..3_000).map(post).collect();
        node.ok("POST", &format!("/zones/{id}/dns_records/batch"), Some(json!({"posts": posts}))).await;
    }
    node.ok("DELETE", &format!("/zones/{id}"), None).await;
    assert_eq!(node.refused("GET", &format!("/zones/{id}"), None).await, (404, 7003));
    node.until("the end of its records", |snapshot| snapshot.count(proxima_model::Kind::Record) == Ok(0))
        .await;
}

#[tokio::test]
async fn development_mode_ends_by_itself_and_says_when() {
    let node = Node::start().await;
    let zone = format!("/zones/{}", node.zone("example.com").await);
    let mode = format!("{zone}/settings/development_mode");
    let read = node.ok("GET", &mode, None).await;
    assert_eq!((&read["value"], &read["time_remaining"]), (&json!("off"), &json!(0)));
    assert_eq!(node.ok("GET", &zone, None).await["development_mode"], 0);
    let on = node.ok("PATCH", &mode, Some(json!({"value": "on"}))).await;
    assert_eq!((&on["value"], &on["time_remaining"]), (&json!("on"), &json!(10_800)));
    let left = node.ok("GET", &zone, None).await["development_mode"].as_i64().unwrap();
    assert!((1..=10_800).contains(&left), "{left}");
    let off = node.ok("PATCH", &mode, Some(json!({"value": "off"}))).await;
    assert_eq!((&off["value"], &off["time_remaining"]), (&json!("off"), &json!(0)));
    assert!(node.ok("GET", &zone, None).await["development_mode"].as_i64().unwrap() <= 0);
}

#[tokio::test]
async fn settings_are_read_and_changed_one_by_one_and_together() {
    let node = Node::start().await;
    let settings = format!("/zones/{}/settings", node.zone("example.com").await);
    assert_eq!(
        node.ok("GET", &settings, None).await.as_array().unwrap().len(),
        proxima_model::Setting::ALL.len()
    );
    let ssl = node.ok("PATCH", &format!("{settings}/ssl"), Some(json!({"value": "strict"}))).await;
    assert_eq!(ssl["value"], "strict");
    let items = json!({"items": [{"id": "always_use_https", "value": "on"}, {"id": "browser_cache_ttl", "value": 14400}]});
    node.ok("PATCH", &settings, Some(items)).await;
    assert_eq!(node.ok("GET", &format!("{settings}/browser_cache_ttl"), None).await["value"], 14400);
    let half =
        json!({"items": [{"id": "always_use_https", "value": "off"}, {"id": "ssl", "value": "wrong"}]});
    assert_eq!(node.refused("PATCH", &settings, Some(half)).await, (400, 1007));
    assert_eq!(node.ok("GET", &format!("{settings}/always_use_https"), None).await["value"], "on");
    assert_eq!(node.refused("GET", &format!("{settings}/rocket_loader"), None).await, (404, 1006));
}

#[tokio::test]
async fn a_paused_zone_says_so_and_what_is_not_offered_is_refused() {
    let node = Node::start().await;
    let zone = format!("/zones/{}", node.zone("example.com").await);
    assert_eq!(node.ok("PATCH", &zone, Some(json!({"paused": true}))).await["paused"], true);
    assert_eq!(node.ok("GET", &zone, None).await["paused"], true);
    assert_eq!(node.refused("PATCH", &zone, Some(json!({"plan": {"id": "x"}}))).await, (400, 1107));
    assert_eq!(
        node.refused("POST", "/zones", Some(json!({"name": "a.example", "type": "partial"}))).await,
        (400, 1107)
    );
}

#[tokio::test]
async fn purges_name_one_kind_of_thing_of_the_zone_and_nothing_else() {
    let node = Node::start().await;
    let purge = format!("/zones/{}/purge_cache", node.zone("example.com").await);
    for body in [
        json!({"purge_everything": true}),
        json!({"files": ["https://www.example.com/a?b=c", "http://example.com"]}),
        json!({"files": [{"url": "https://example.com/a", "headers": {"accept-language": "de"}}]}),
        json!({"purge_everything": false, "tags": ["Product-7", "a"]}),
        json!({"hosts": ["WWW.example.com.", "example.com", "bücher.example.com"]}),
        json!({"prefixes": ["www.example.com/foo", "Example.com", "bücher.example.com/a/"]}),
        json!({"tags": vec!["a"; 30]}),
    ] {
        let result = node.ok("POST", &purge, Some(body)).await;
        assert_eq!(result["id"].as_str().unwrap().len(), 32);
    }
    for (body, code) in [
        (json!({}), 1094),
        (json!({"purge_everything": false}), 1094),
        (json!({"purge_everything": true, "files": ["https://example.com/"]}), 1094),
        (json!({"files": []}), 1094),
        (json!({"files": ["https://example.net/"]}), 1094),
        (json!({"files": ["/path"]}), 1094),
        (json!({"files": [7]}), 9207),
        (json!({"tags": ["a"], "hosts": ["www.example.com"]}), 1094),
        (json!({"tags": ["a"], "purge_everything": true}), 1094),
        (json!({"tags": ["a"], "files": []}), 1094),
        (json!({"tags": []}), 1094),
        (json!({"tags": vec!["a"; 31]}), 1094),
        (json!({"tags": ["a b"]}), 1094),
        (json!({"tags": ["ä"]}), 1094),
        (json!({"tags": ["a".repeat(1_025)]}), 1094),
        (json!({"tags": "a"}), 9207),
        (json!({"hosts": ["www.example.net"]}), 1094),
        (json!({"hosts": ["notexample.com"]}), 1094),
        (json!({"hosts": ["*.example.com"]}), 1094),
        (json!({"hosts": ["https://www.example.com"]}), 1094),
        (json!({"hosts": ["www.example.com/foo"]}), 1094),
        (json!({"prefixes": ["https://www.example.com/foo"]}), 1094),
        (json!({"prefixes": ["www.example.net/foo"]}), 1094),
        (json!({"prefixes": ["www.example.com/foo?a=b"]}), 1094),
        (json!({"prefixes": ["www.example.com:8080/foo"]}), 1094),
        (json!({"prefixes": ["/foo"]}), 1094),
    ] {
        assert_eq!(node.refused("POST", &purge, Some(body.clone())).await, (400, code), "{body}");
    }
    assert_eq!(node.count::<Purge>(), 7);
}

#[tokio::test]
async fn a_purge_that_is_refused_says_which_of_its_names_and_why() {
    let node = Node::start().await;
    let purge = format!("/zones/{}/purge_cache", node.zone("example.com").await);
    for (body, pointer, words) in [
        (
            json!({"hosts": ["example.com", "a.net"]}),
            json!("/hosts/1"),
            "a.net is not in the zone example.com",
        ),
        (json!({"prefixes": ["example.com/a#b"]}), json!("/prefixes/0"), "has a query or a fragment"),
        (json!({"tags": ["a", "b", "c,d"]}), json!("/tags/2"), "printable ASCII without spaces and commas"),
        (json!({"tags": []}), json!("/tags"), "give 1 to 30"),
        (json!({}), json!(null), "exactly one of \"purge_everything\": true, \"files\", \"tags\""),
    ] {
        let (status, envelope) = node.call_as(&node.token, "POST", &purge, Some(body)).await;
        let error = &envelope["errors"][0];
        assert_eq!((status, &error["source"]["pointer"]), (400, &pointer), "{envelope}");
        assert!(error["message"].as_str().unwrap().contains(words), "{envelope}");
    }
}

#[tokio::test]
async fn what_a_purge_names_is_kept_in_its_one_form() {
    let node = Node::start().await;
    let purge = format!("/zones/{}/purge_cache", node.zone("example.com").await);
    node.ok("POST", &purge, Some(json!({"hosts": ["Bücher.example.com."]}))).await;
    node.ok("POST", &purge, Some(json!({"prefixes": ["WWW.example.com/Foo"]}))).await;
    node.ok("POST", &purge, Some(json!({"tags": ["Shop"]}))).await;
    let snapshot = node.context.replica.snapshot().unwrap();
    let kept = snapshot.scan::<Purge>(&[]).map(|purge| serde_json::to_value(purge.unwrap().what).unwrap());
    let kept: Vec<_> = kept.collect();
    for what in [
        json!({"hosts": ["xn--bcher-kva.example.com"]}),
        json!({"prefixes": ["www.example.com/Foo"]}),
        json!({"tags": ["shop"]}),
    ] {
        assert!(kept.contains(&what), "{what} in {kept:?}");
    }
}

#[tokio::test]
async fn a_pending_zone_holds_its_own_name_for_a_week_and_nothing_beneath_it() {
    let node = Node::with(Options::default()).await;
    let squatted: ZoneId = node.zone("example.com").await.parse().unwrap();
    let theirs = node.account("theirs").await;
    let owner = node.token(vec![(TokenScope::Account(theirs), vec![Permission::All])]).await;
    let make = async |name: &str| {
        let (status, envelope) = node.call_as(&owner, "POST", "/zones", Some(json!({"name": name}))).await;
        (status, envelope["errors"][0]["code"].as_u64())
    };
    assert_eq!(make("www.example.com").await, (200, None));
    assert_eq!(make("example.com").await, (400, Some(1061)));
    let mut zone = node.context.replica.snapshot().unwrap().get::<Zone>(&squatted).unwrap().unwrap();
    zone.created_at = zone.created_at.plus_seconds(-limits::PENDING_NAME_HELD_SECONDS);
    node.append(vec![node.context.replica.put(&zone)]).await;
    assert_eq!(make("example.com").await, (200, None));
    assert_eq!(node.refused("GET", &format!("/zones/{squatted}"), None).await, (404, 7003));
    assert_eq!(make("example.com").await, (400, Some(1061)), "now it is their own");
}

#[tokio::test]
async fn a_key_that_comes_again_with_another_body_is_refused_and_changes_nothing() {
    let node = Node::start().await;
    let zone = format!("/zones/{}", node.zone("example.com").await);
    let send = async |path: &str, body: serde_json::Value| {
        let request = node.request(reqwest::Method::PATCH, path).bearer_auth(&node.token);
        let response = request.header("idempotency-key", "key").json(&body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<serde_json::Value>().await.unwrap())
    };
    let ssl = format!("{zone}/settings/ssl");
    for _ in 0..2 {
        let (status, envelope) = send(&ssl, json!({"value": "strict"})).await;
        assert_eq!((status, &envelope["result"]["value"]), (200, &json!("strict")));
    }
    // Another value; the same one in other words, which changes nothing; one that is none.
    for body in [json!({"value": "off"}), json!({"value": "strict", "x": 1}), json!({"value": "wrong"})] {
        let (status, envelope) = send(&ssl, body.clone()).await;
        assert_eq!((status, &envelope["errors"][0]["code"]), (409, &json!(10019)), "{body}: {envelope}");
        assert_eq!((&envelope["success"], &envelope["result"]), (&json!(false), &json!(null)));
    }
    assert_eq!(node.ok("GET", &ssl, None).await["value"], "strict");
    let (status, envelope) = send(&zone, json!({"paused": true})).await;
    assert_eq!((status, &envelope["result"]["paused"]), (200, &json!(true)), "a key is one path's");
}

#[tokio::test]
async fn a_zone_s_traffic_is_what_this_server_counted() {
    let node = Node::start().await;
    let id = node.zone("example.com").await;
    let traffic = node.ok("GET", &format!("/proxima/zones/{id}/traffic"), None).await;
    assert_eq!(traffic["node"], json!(node.context.name()));
    assert_eq!(traffic["pop"], json!(node.context.pop()));
    assert_eq!(
        traffic["totals"],
        json!({
            "requests": 1, "request_bytes": 10, "response_bytes": 100, "status": {"2xx": 1},
            "cache_status": {"hit": 1}, "first_byte_ms": 5, "origin_requests": 0, "origin_ms": 0,
        })
    );
}

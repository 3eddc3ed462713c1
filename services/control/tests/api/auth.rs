//! Who may do what: every endpoint, asked as everybody who may not.

use proxima_control::{EndpointRow, NeededScope, endpoint_table};
use proxima_model::{BucketName, Permission, Timestamp, TokenScope, TokenStatus};
use serde_json::{Value, json};

use crate::{bucket_domains::bucket, harness::Node};

const NOWHERE: &str = "00000000000000000000000000000000";

/// The path with its parameters filled in.
fn path(row: &EndpointRow, zone: &str, account: &str) -> String {
    row.path
        .replace("{zone_id}", zone)
        .replace("{account_id}", account)
        .replace("{phase}", "http_request_origin")
        .replace("{setting_id}", "ssl")
        .replace("{token_id}", NOWHERE)
        .replace("{record_id}", NOWHERE)
        .replace("{ruleset_id}", NOWHERE)
        .replace("{rule_id}", NOWHERE)
        .replace("{certificate_id}", NOWHERE)
        .replace("{acl_id}", NOWHERE)
        .replace("{peer_id}", NOWHERE)
        .replace("{tsig_id}", NOWHERE)
        .replace("{script_name}", "app")
        .replace("{version_id}", NOWHERE)
        .replace("{deployment_id}", NOWHERE)
        .replace("{secret_name}", "TOKEN")
        .replace("{route_id}", NOWHERE)
        .replace("{domain_id}", NOWHERE)
        .replace("{namespace_id}", NOWHERE)
        .replace("{*key_name}", "key")
        .replace("{bucket_name}", "bucket")
        .replace("{*object_key}", "key")
        .replace("{tail_id}", NOWHERE)
        .replace("{queue_id}", NOWHERE)
        .replace("{consumer_id}", NOWHERE)
}

/// A permission that does not allow what is needed.
fn another(needed: Permission) -> Permission {
    if needed == Permission::CachePurge { Permission::DnsRead } else { Permission::CachePurge }
}

struct Asker<'a> {
    node: &'a Node,
    row: EndpointRow,
}

impl Asker<'_> {
    /// Asks with this `Authorization`, and a body that no endpoint takes.
    async fn ask(&self, authorization: Option<&str>, path: &str) -> (u16, u64, Value) {
        let mut request =
            self.node.request(self.row.method.clone(), path).json(&json!("no endpoint takes this"));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let envelope: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        (status, envelope["errors"][0]["code"].as_u64().unwrap_or(0), envelope)
    }
}

#[tokio::test]
async fn every_endpoint_refuses_everybody_who_may_not_ask_it() {
    let node = Node::start().await;
    let theirs = node.account("theirs").await;
    let ours = proxima_control::FIRST_ACCOUNT;
    let stranger = node.token(vec![(TokenScope::Account(theirs), vec![Permission::All])]).await;
    let operator = vec![(TokenScope::Everything, vec![Permission::All])];
    let expired =
        node.token_with(operator.clone(), |token| token.expires_on = Some(Timestamp::from_millis(1))).await;
    let early = node
        .token_with(operator.clone(), |token| token.not_before = Some(Timestamp::from_millis(i64::MAX / 2)))
        .await;
    let disabled = node.token_with(operator, |token| token.status = TokenStatus::Disabled).await;
    let wrong_secret = format!("{}_{}", node.token.split('_').next().unwrap(), "0".repeat(64));
    let unknown = format!("{NOWHERE}_{}", "0".repeat(64));

    for (index, row) in endpoint_table().into_iter().enumerate() {
        // One for each, since who may ask an endpoint may delete the zone with it.
        let zone = node.zone(&format!("zone-{index}.example")).await;
        let name = format!("{} {}", row.method, row.path);
        let path_to_ours = path(&row, &zone, &ours.to_string());
        let path_to_none = path(&row, NOWHERE, NOWHERE);
        let asker = Asker { node: &node, row: row.clone() };
        let bearer = |token: &str| format!("Bearer {token}");

        if row.scope == NeededScope::Signed {
            // No token is of use there, not even the operator's.
            for wrong in [None, Some("Bearer nonsense".to_owned()), Some(bearer(&node.token))] {
                let (status, _, envelope) = asker.ask(wrong.as_deref(), &path_to_ours).await;
                assert_eq!(status, 401, "{name} without what the API signed: {envelope}");
            }
            continue;
        }
        let (status, code, _) = asker.ask(None, &path_to_ours).await;
        assert_eq!((status, code), (401, 9106), "{name} without a token");
        let (status, code, _) = asker.ask(Some("Bearer nonsense"), &path_to_ours).await;
        assert_eq!((status, code), (400, 6003), "{name} with a malformed token");
        for wrong in [&wrong_secret, &unknown] {
            let (status, code, _) = asker.ask(Some(&bearer(wrong)), &path_to_ours).await;
            assert_eq!((status, code), (401, 1000), "{name} with a wrong token");
        }
        for unusable in [&expired, &early, &disabled] {
            let (status, code, _) = asker.ask(Some(&bearer(unusable)), &path_to_ours).await;
            assert_eq!((status, code), (401, 10000), "{name} with a token that may not be used");
        }
        if matches!(row.scope, NeededScope::Zone | NeededScope::Account | NeededScope::Bucket) {
            let (status, code, hidden) = asker.ask(Some(&bearer(&stranger)), &path_to_ours).await;
            let (none_status, none_code, none) = asker.ask(Some(&bearer(&stranger)), &path_to_none).await;
            assert_eq!((status, code), (404, 7003), "{name} of another account");
            assert_eq!((none_status, none_code), (404, 7003), "{name} of nobody");
            let shown = |envelope: &Value| {
                envelope
                    .to_string()
                    .replace(&zone, "ID")
                    .replace(&ours.to_string(), "ID")
                    .replace(NOWHERE, "ID")
            };
            assert_eq!(shown(&hidden), shown(&none), "{name} tells nothing of another account");
        }
        if row.scope == NeededScope::Network {
            let account = vec![(TokenScope::Account(ours), vec![Permission::All])];
            let (status, code, _) = asker.ask(Some(&bearer(&node.token(account).await)), &path_to_ours).await;
            assert_eq!((status, code), (403, 9109), "{name} with everything on an account only");
        }
        if let Some(needed) = row.permission {
            let scope = match row.scope {
                NeededScope::Zone => TokenScope::Zone(zone.parse().unwrap()),
                NeededScope::Network => TokenScope::Everything,
                _ => TokenScope::Account(ours),
            };
            let with = |permission| node.token(vec![(scope.clone(), vec![permission])]);
            let (status, code, _) =
                asker.ask(Some(&bearer(&with(another(needed)).await)), &path_to_ours).await;
            assert_eq!((status, code), (403, 9109), "{name} without the permission");
            // Whoever has a queue told of a bucket may do that to both.
            let tells = name.starts_with("PUT ") && name.ends_with("/configuration/queues/{queue_id}");
            let also = tells.then_some(Permission::QueuesEdit);
            let enough = [needed].into_iter().chain(also).collect();
            let enough = node.token(vec![(scope.clone(), enough)]).await;
            let (status, code, envelope) = asker.ask(Some(&bearer(&enough)), &path_to_ours).await;
            let refused = matches!(status, 401 | 403) || code == 7003 && row.scope != NeededScope::Somewhere;
            assert!(!refused, "{name} with the permission and nothing else: {envelope}");
        }
    }
}

#[tokio::test]
async fn a_right_on_what_is_in_a_bucket_opens_no_endpoint_but_those_of_its_objects() {
    let node = Node::start().await;
    let ours = proxima_control::FIRST_ACCOUNT;
    let zone = node.zone("example.com").await;
    bucket(&node, "bucket", 1).await;
    let name = BucketName::parse("bucket").unwrap();
    let scope = TokenScope::Bucket { account: ours, jurisdiction: None, name };
    let token = node.token(vec![(scope, vec![Permission::R2ItemEdit])]).await;
    for row in endpoint_table() {
        let (path, name) = (path(&row, &zone, &ours.to_string()), format!("{} {}", row.method, row.path));
        let needed = row.scope;
        let asker = Asker { node: &node, row };
        let (status, code, envelope) = asker.ask(Some(&format!("Bearer {token}")), &path).await;
        match needed {
            // That this server has no objects is said to who may ask for them.
            NeededScope::Bucket => assert_eq!(status, 503, "{name}: {envelope}"),
            NeededScope::Account | NeededScope::Somewhere | NeededScope::Network => {
                assert_eq!((status, code), (403, 9109), "{name}: {envelope}");
            }
            NeededScope::Zone => assert_eq!((status, code), (404, 7003), "{name}: {envelope}"),
            NeededScope::Signed => assert_eq!(status, 401, "{name}: {envelope}"),
            NeededScope::Token => {}
        }
    }
}

#[tokio::test]
async fn lists_show_only_what_the_token_covers() {
    let node = Node::start().await;
    let theirs = node.account("theirs").await;
    let first = node.zone("first.example").await;
    node.zone("second.example").await;
    let body = json!({"name": "third.example", "account": {"id": theirs.to_string()}});
    node.ok("POST", "/zones", Some(body)).await;
    let names = |envelope: &Value| {
        let zones = envelope["result"].as_array().unwrap();
        zones.iter().map(|zone| zone["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let one = node.token(vec![(TokenScope::Zone(first.parse().unwrap()), vec![Permission::ZoneRead])]).await;
    assert_eq!(names(&node.call_as(&one, "GET", "/zones", None).await.1), ["first.example"]);
    let account = node.token(vec![(TokenScope::Account(theirs), vec![Permission::ZoneRead])]).await;
    assert_eq!(names(&node.call_as(&account, "GET", "/zones", None).await.1), ["third.example"]);
    assert_eq!(names(&node.call_as(&account, "GET", "/zones?name=first.example", None).await.1), [""; 0]);
    let (_, accounts) = node.call_as(&account, "GET", "/accounts", None).await;
    assert_eq!(accounts["result"], json!([]), "ZoneRead is not AccountRead");
    assert_eq!(names(&node.call("GET", "/zones", None).await.1).len(), 3);
}

#[tokio::test]
async fn nobody_takes_a_part_of_a_zone_of_another_account() {
    let node = Node::start().await;
    let theirs = node.account("theirs").await;
    let stranger = node.token(vec![(TokenScope::Account(theirs), vec![Permission::All])]).await;
    node.zone("example.com").await;
    for name in ["example.com", "www.example.com", "EXAMPLE.com."] {
        let (status, envelope) = node.call_as(&stranger, "POST", "/zones", Some(json!({"name": name}))).await;
        assert_eq!((status, &envelope["errors"][0]["code"]), (400, &json!(1061)), "{name}");
    }
    let body =
        json!({"name": "other.example", "account": {"id": proxima_control::FIRST_ACCOUNT.to_string()}});
    let (status, envelope) = node.call_as(&stranger, "POST", "/zones", Some(body)).await;
    assert_eq!((status, &envelope["errors"][0]["code"]), (400, &json!(1068)), "in another account");
    let (status, _) =
        node.call_as(&stranger, "POST", "/zones", Some(json!({"name": "notexample.com"}))).await;
    assert_eq!(status, 200, "a name that only ends alike is free");
}

#[tokio::test]
async fn answers_that_no_endpoint_gives_are_envelopes_too() {
    let node = Node::start().await;
    assert_eq!(node.refused("GET", "/nowhere", None).await, (404, 7000));
    assert_eq!(node.refused("DELETE", "/zones", None).await, (405, 7001));
    assert_eq!(node.refused("GET", "/zones/not-an-id", None).await, (404, 7003));
    let account = format!("/accounts/{}", proxima_control::FIRST_ACCOUNT);
    for (method, path, product) in [
        ("GET", "d1/database", "D1"),
        ("POST", "d1/database/some/query", "D1"),
        ("PUT", "r2/buckets/photos/lock", "locks of buckets"),
        ("GET", "vectorize/v2/indexes?page=1", "Vectorize"),
        ("GET", "workers/dispatch/namespaces", "Workers for Platforms"),
        ("GET", "r2/metrics", "metrics of all buckets"),
        ("POST", "r2/temp-access-credentials", "temporary credentials"),
        ("GET", "tokens", "tokens of accounts"),
        ("POST", "tokens", "tokens of accounts"),
        ("GET", "tokens/verify", "tokens of accounts"),
        ("GET", "workers/account-settings", "settings of Workers"),
        ("PUT", "workers/account-settings", "settings of Workers"),
        ("POST", "workers/observability/telemetry/query", "Workers Observability"),
        ("GET", "workers/scripts-search?name=x", "a search for Workers"),
        ("GET", "workers/workers", "the beta"),
        ("POST", "workers/workers", "the beta"),
    ] {
        let (status, envelope) = node.call(method, &format!("{account}/{path}"), None).await;
        assert_eq!((status, &envelope["errors"][0]["code"]), (400, &json!(1107)), "{method} {path}");
        let told = envelope["errors"][0]["message"].as_str().unwrap();
        assert!(told.starts_with(&format!("this network does not offer {product}")), "{path}: {told}");
    }
    for path in ["d1x", "r2/buckets/photos/locks", "r2/buckets/a/b/lock", "nothing/d1"] {
        assert_eq!(node.refused("GET", &format!("{account}/{path}"), None).await, (404, 7000), "{path}");
    }
    assert_eq!(node.refused("GET", "/d1/database", None).await, (404, 7000));
    let text = node
        .request(reqwest::Method::POST, "/zones")
        .bearer_auth(&node.token)
        .header("content-type", "text/plain");
    let response = text.body("name=example.com").send().await.unwrap();
    assert_eq!(response.status().as_u16(), 415);
    let long = "x".repeat(proxima_control::limits::JSON_BODY_OCTETS_MAX);
    assert_eq!(node.refused("POST", "/zones", Some(json!({"name": long}))).await, (413, 7002));
    let (status, envelope) = node.call("POST", "/zones", Some(json!({"name": 7}))).await;
    assert_eq!((status, &envelope["errors"][0]["source"]["pointer"]), (400, &json!("/name")));
    assert_eq!(node.refused("GET", "/zones?per_page=0", None).await, (400, 1012));
}

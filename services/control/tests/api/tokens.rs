//! Tokens: what is given, shown once, rolled and taken away.

use proxima_control::FIRST_ACCOUNT;
use proxima_model::{Permission, TokenScope};
use serde_json::json;

use crate::harness::Node;

fn body(name: &str, group: &str, resource: &str) -> serde_json::Value {
    json!({"name": name, "policies": [{"effect": "allow", "permission_groups": [{"name": group}], "resources": {resource: "*"}}]})
}

#[tokio::test]
async fn a_token_is_made_used_rolled_and_deleted() {
    let node = Node::start().await;
    let verified = node.ok("GET", "/user/tokens/verify", None).await;
    assert_eq!(verified["status"], "active");
    assert_eq!(node.ok("GET", "/user", None).await["id"], verified["id"]);
    let account = format!("com.cloudflare.api.account.{FIRST_ACCOUNT}");
    let made = node.ok("POST", "/user/tokens", Some(body("reader", "Zone Read", &account))).await;
    let value = made["value"].as_str().unwrap().to_owned();
    let path = format!("/user/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(node.call_as(&value, "GET", "/zones", None).await.0, 200);
    assert_eq!(node.call_as(&value, "POST", "/zones", Some(json!({"name": "example.com"}))).await.0, 403);
    let listed = node.ok("GET", "/user/tokens", None).await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains(value.split('_').nth(1).unwrap()));
    let rolled = node.ok("PUT", &format!("{path}/value"), Some(json!({}))).await;
    assert_eq!(node.call_as(&value, "GET", "/zones", None).await.0, 401);
    let rolled = rolled.as_str().unwrap();
    assert_eq!(node.call_as(rolled, "GET", "/zones", None).await.0, 200);
    let mut off = body("reader", "Zone Read", &account);
    off["status"] = json!("disabled");
    assert_eq!(node.ok("PUT", &path, Some(off)).await["status"], "disabled");
    assert_eq!(node.call_as(rolled, "GET", "/zones", None).await.0, 401);
    node.ok("DELETE", &path, None).await;
    assert_eq!(node.refused("GET", &path, None).await, (404, 7003));
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_hold() {
    let node = Node::start().await;
    let theirs = node.account("theirs").await;
    let owner = node.token(vec![(TokenScope::Account(theirs), vec![Permission::All])]).await;
    let make = async |resource: &str| {
        node.call_as(&owner, "POST", "/user/tokens", Some(body("t", "DNS Write", resource))).await
    };
    assert_eq!(make(&format!("com.cloudflare.api.account.{theirs}")).await.0, 200);
    for resource in ["com.cloudflare.api.account.*", &format!("com.cloudflare.api.account.{FIRST_ACCOUNT}")] {
        let (status, envelope) = make(resource).await;
        assert_eq!((status, &envelope["errors"][0]["code"]), (403, &json!(1097)), "{resource}");
    }
    let (_, listed) = node.call_as(&owner, "GET", "/user/tokens", None).await;
    assert_eq!(listed["result"].as_array().unwrap().len(), 2, "their own and the one that they made");
    let operator = node.token.split('_').next().unwrap();
    assert_eq!(node.call_as(&owner, "DELETE", &format!("/user/tokens/{operator}"), None).await.0, 404);
}

#[tokio::test]
async fn a_token_that_expires_makes_none_that_outlives_it() {
    let node = Node::start().await;
    let end = proxima_model::Timestamp::from_millis(4_000_000_000_000);
    let all = || vec![(TokenScope::Everything, vec![Permission::All])];
    let caller = node.token_with(all(), |token| token.expires_on = Some(end)).await;
    let own = format!("/user/tokens/{}", caller.split('_').next().unwrap());
    let operator = format!("/user/tokens/{}/value", node.token.split('_').next().unwrap());
    let ask = async |method: &str, path: &str, expires_on: serde_json::Value| {
        let mut body = body("t", "All", "com.cloudflare.api.account.*");
        body["expires_on"] = expires_on;
        let (status, envelope) = node.call_as(&caller, method, path, Some(body)).await;
        (status, envelope["errors"][0]["code"].as_u64())
    };
    for (method, path) in [("POST", "/user/tokens"), ("PUT", &own)] {
        for longer in [json!(null), json!("2096-10-02T07:06:41Z")] {
            assert_eq!(ask(method, path, longer.clone()).await, (403, Some(1097)), "{method} {longer}");
        }
        assert_eq!(ask(method, path, json!("2096-10-02T07:06:40Z")).await, (200, None), "{method}");
    }
    assert_eq!(ask("PUT", &operator, json!(null)).await, (403, Some(1097)), "rolling is taking");
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let node = Node::start().await;
    let account = format!("com.cloudflare.api.account.{FIRST_ACCOUNT}");
    let good = body("t", "DNS Write", &account);
    let with = |pointer: &str, value: serde_json::Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        Some(changed)
    };
    for (body, code) in [
        (with("/name", json!("")), 1009),
        (with("/policies", json!([])), 1009),
        (with("/policies/0/effect", json!("deny")), 1107),
        (with("/policies/0/permission_groups", json!([{"name": "Everything"}])), 1009),
        (with("/policies/0/permission_groups", json!([])), 1009),
        (with("/policies/0/resources", json!({"com.example": "*"})), 1009),
        (with("/policies/0/resources", json!({account.clone(): "x"})), 1009),
        (with("/policies", json!("x")), 9207),
    ] {
        assert_eq!(node.refused("POST", "/user/tokens", body.clone()).await.1, code, "{body:?}");
    }
}

#[tokio::test]
async fn a_network_begins_once_and_its_token_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::start().await;
    let file = node.context.config.node.data_dir.join("token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (log, replica, clock) = (&node.context.log, &node.context.replica, &node.context.clock);
    for given in [None, Some(format!("{}_{}", "1".repeat(32), "2".repeat(64)))] {
        let again = proxima_control::bootstrap(&**log, replica, &**clock, given.as_deref()).await.unwrap();
        assert_eq!((again.account, again.token), (FIRST_ACCOUNT, None));
    }
    assert_eq!(node.ok("GET", "/user/tokens", None).await.as_array().unwrap().len(), 1);
    let wrong = proxima_control::bootstrap(&**log, replica, &**clock, Some("nonsense")).await;
    assert!(!wrong.unwrap_err().to_string().contains("nonsense"));
}

#[tokio::test]
async fn a_token_that_lies_ready_is_the_operators() {
    let folder = tempfile::tempdir().unwrap();
    let token = format!("{}_{}", "1".repeat(32), "2".repeat(64));
    std::fs::write(folder.path().join("token"), &token).unwrap();
    let options = crate::harness::Options { dir: Some(folder.path().to_owned()), ..Default::default() };
    let node = Node::with(options).await;
    assert_eq!(node.call_as(&token, "GET", "/user/tokens/verify", None).await.0, 200);
}

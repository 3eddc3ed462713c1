//! Event notifications of buckets to queues.

use proxima_control::FIRST_ACCOUNT;
use proxima_model::{Bucket, BucketTag, Jurisdiction, Permission, TokenScope};
use serde_json::{Value, json};

use crate::{bucket_domains::bucket, harness::Node, queues::queue};

fn all(bucket: &str) -> String {
    format!("/accounts/{FIRST_ACCOUNT}/event_notifications/r2/{bucket}/configuration")
}

fn of(bucket: &str, queue: &str) -> String {
    format!("{}/queues/{queue}", all(bucket))
}

/// As wrangler gives one.
fn rule(prefix: &str, actions: &[&str]) -> Value {
    json!({ "rules": [{ "prefix": prefix, "suffix": "", "actions": actions }] })
}

/// The ids of a queue's rules.
async fn ids(node: &Node, path: &str) -> Vec<String> {
    let shown = node.ok("GET", path, None).await;
    let rules = shown["rules"].as_array().unwrap().iter();
    rules.map(|rule| rule["ruleId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn rules_are_added_shown_and_removed_by_queue() {
    let node = Node::start().await;
    bucket(&node, "photos", 1).await;
    let (one, two) = (queue(&node, "one").await, queue(&node, "two").await);
    let of_one = of("photos", &one);
    assert_eq!(node.refused("GET", &all("photos"), None).await, (404, 11_015));
    assert_eq!(node.refused("GET", &of_one, None).await, (404, 11_011));
    let create = ["PutObject", "CompleteMultipartUpload", "CopyObject"];
    let mut first = rule("a/", &create);
    first["rules"][0]["description"] = "all of a".into();
    assert_eq!(node.ok("PUT", &of_one, Some(first)).await, json!({}));
    // A further one comes beside it; as does one of another queue that covers the same.
    node.ok("PUT", &of_one, Some(json!({ "rules": [{ "suffix": ".png", "actions": ["DeleteObject"] }] })))
        .await;
    node.ok("PUT", &of("photos", &two), Some(rule("a/", &create))).await;

    let listed = node.ok("GET", &all("photos"), None).await;
    assert_eq!(listed["bucketName"], "photos");
    let (of_first, of_second) = (&listed["queues"][0], &listed["queues"][1]);
    assert_eq!((&of_first["queueId"], &of_first["queueName"]), (&json!(one), &json!("one")));
    assert_eq!((&of_second["queueId"], &of_second["queueName"]), (&json!(two), &json!("two")));
    let rules = &of_first["rules"];
    let created = rules[0]["createdAt"].as_str().unwrap();
    assert!(created.ends_with('Z') && created.starts_with("20"), "{created}");
    let shown = json!({
        "ruleId": rules[0]["ruleId"], "createdAt": created, "prefix": "a/", "suffix": "", "actions": create,
        "description": "all of a",
    });
    assert_eq!(rules[0], shown);
    assert_eq!((&rules[1]["suffix"], &rules[1]["actions"]), (&json!(".png"), &json!(["DeleteObject"])));
    assert_eq!(rules[1].get("description"), None);
    assert_eq!(node.ok("GET", &of_one, None).await, *of_first);
    let hyphens = format!("{}-{}-{}-{}-{}", &one[..8], &one[8..12], &one[12..16], &one[16..20], &one[20..]);
    assert_eq!(node.ok("GET", &of("photos", &hyphens), None).await, *of_first, "as R2 writes it");

    let [first, second] = &ids(&node, &of_one).await[..] else { panic!("there are two") };
    let none = Some(json!({ "ruleIds": [first, "none"] }));
    assert_eq!(node.refused("DELETE", &of_one, none).await, (404, 11_011));
    assert_eq!(ids(&node, &of_one).await, [first.clone(), second.clone()], "all or none");
    assert_eq!(node.refused("DELETE", &of_one, Some(json!({ "ruleIds": [] }))).await, (400, 11_014));
    node.ok("DELETE", &of_one, Some(json!({ "ruleIds": [first] }))).await;
    assert_eq!(ids(&node, &of_one).await, std::slice::from_ref(second));
    node.ok("DELETE", &of_one, None).await;
    assert_eq!(node.refused("DELETE", &of_one, None).await, (404, 11_011));
    assert_eq!(node.refused("GET", &of_one, None).await, (404, 11_011));
    assert_eq!(node.ok("GET", &all("photos"), None).await["queues"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_a_rule_is_refused_and_nothing_of_it_is_kept() {
    let node = Node::start().await;
    bucket(&node, "photos", 1).await;
    let one = of("photos", &queue(&node, "one").await);
    node.ok("PUT", &one, Some(rule("a/", &["PutObject"]))).await;
    let many: Vec<_> =
        (0..100).map(|at| json!({ "prefix": format!("z{at}/"), "actions": ["PutObject"] })).collect();
    for (body, refused) in [
        (rule("a/b/", &["PutObject", "DeleteObject"]), (409, 11_020)),
        (rule("", &["PutObject"]), (409, 11_020)),
        (
            json!({ "rules": [{ "prefix": "x", "actions": ["DeleteObject"] },
                           { "prefix": "x/y", "actions": ["DeleteObject"] }] }),
            (409, 11_020),
        ),
        (rule("b/", &[]), (400, 11_014)),
        (json!({ "rules": [] }), (400, 11_014)),
        (json!({}), (400, 11_014)),
        (json!({ "rules": many }), (400, 11_014)),
        (rule("b/", &["AbortMultipartUpload"]), (400, 9_207)),
        (json!({ "rules": [{ "prefix": "b/" }] }), (400, 9_207)),
    ] {
        assert_eq!(node.refused("PUT", &one, Some(body.clone())).await, refused, "{body}");
    }
    assert_eq!(ids(&node, &one).await.len(), 1);
    // Another action of the same keys is no overlap.
    node.ok("PUT", &one, Some(rule("a/", &["DeleteObject", "LifecycleDeletion"]))).await;
    let unknown = of("photos", &"0".repeat(32));
    assert_eq!(node.refused("PUT", &unknown, Some(rule("b/", &["PutObject"]))).await, (404, 11_000));
    let nowhere = of("other", &"0".repeat(32));
    assert_eq!(node.refused("PUT", &nowhere, Some(rule("b/", &["PutObject"]))).await, (404, 10_006));
}

#[tokio::test]
async fn a_queue_that_is_told_of_objects_is_not_deleted_and_rules_go_with_their_bucket() {
    let node = Node::start().await;
    let photos = bucket(&node, "photos", 1).await;
    let id = queue(&node, "one").await;
    let path = format!("/accounts/{FIRST_ACCOUNT}/queues/{id}");
    node.ok("PUT", &of("photos", &id), Some(rule("", &["PutObject"]))).await;
    let (status, told) = node.call("DELETE", &path, None).await;
    assert_eq!((status, &told["errors"][0]["code"]), (400, &json!(11_005)), "{told}");
    assert!(told["errors"][0]["message"].as_str().unwrap().contains("photos"), "{told}");
    // One of its name that is made anew has none.
    let anew = Bucket { tag: BucketTag::from_bytes([2; 16]), ..photos };
    node.append(vec![node.context.replica.put(&anew)]).await;
    assert_eq!(node.refused("GET", &all("photos"), None).await, (404, 11_015));
    node.ok("PUT", &of("photos", &id), Some(rule("", &["PutObject"]))).await;
    node.ok("DELETE", &of("photos", &id), None).await;
    assert_eq!(node.ok("DELETE", &path, None).await, Value::Null);
}

#[tokio::test]
async fn rules_are_those_of_their_account_and_jurisdiction_for_who_may() {
    let node = Node::start().await;
    let photos = bucket(&node, "photos", 1).await;
    let european = Bucket { jurisdiction: Some(Jurisdiction::EuropeanUnion), ..photos };
    node.append(vec![node.context.replica.put(&european)]).await;
    let one = of("photos", &queue(&node, "one").await);
    let ask = async |jurisdiction: Option<&str>| {
        let mut request = node.request(reqwest::Method::PUT, &one).bearer_auth(&node.token);
        if let Some(jurisdiction) = jurisdiction {
            request = request.header("cf-r2-jurisdiction", jurisdiction);
        }
        request.json(&rule("", &["PutObject"])).send().await.unwrap().status().as_u16()
    };
    assert_eq!((ask(None).await, ask(Some("fedramp")).await, ask(Some("eu")).await), (404, 404, 200));
    let reader = node.token(vec![(TokenScope::Account(FIRST_ACCOUNT), vec![Permission::R2Read])]).await;
    let (status, _) = node.call_as(&reader, "DELETE", &one, None).await;
    assert_eq!(status, 403);
    // Who may edit buckets alone sends nothing to queues, but keeps their buckets from doing so.
    let edit = |permissions: &[Permission]| vec![(TokenScope::Account(FIRST_ACCOUNT), permissions.to_vec())];
    let editor = node.token(edit(&[Permission::R2Edit, Permission::QueuesRead])).await;
    bucket(&node, "own", 2).await;
    let own = one.replace("photos", "own");
    let added = node.call_as(&editor, "PUT", &own, Some(rule("", &["PutObject"]))).await;
    assert_eq!(added.0, 403, "{added:?}");
    let both = node.token(edit(&[Permission::R2Edit, Permission::QueuesEdit])).await;
    let added = node.call_as(&both, "PUT", &own, Some(rule("", &["PutObject"]))).await;
    assert_eq!(added.0, 200, "{added:?}");
    let removed = node.call_as(&editor, "DELETE", &own, None).await;
    assert_eq!(removed.0, 200, "{removed:?}");
    let theirs = node.account("theirs").await;
    let path = format!("/accounts/{theirs}/event_notifications/r2/photos/configuration");
    assert_eq!(node.refused("GET", &path, None).await, (404, 10_006));
}

//! Queues: nouns, consumers and messages, as wrangler and the SDKs ask for them.

use std::sync::atomic::Ordering;

use proxima_control::FIRST_ACCOUNT;
use proxima_model::{Permission, Queue, QueueUsage, TokenScope};
use proxima_pipeline::{QueueContentType, QueueMessage, Queues as _};
use serde_json::{Value, json};

use crate::{harness::Node, workers::upload};

/// A path of the account's queues.
fn path(rest: &str) -> String {
    format!("/accounts/{FIRST_ACCOUNT}/queues{rest}")
}

/// A new queue's id.
pub(crate) async fn queue(node: &Node, name: &str) -> String {
    let made = node.ok("POST", &path(""), Some(json!({ "queue_name": name }))).await;
    made["queue_id"].as_str().unwrap().to_owned()
}

async fn names(node: &Node, query: &str) -> Vec<String> {
    let listed = node.ok("GET", &path(query), None).await;
    listed.as_array().unwrap().iter().map(|it| it["queue_name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn queues_are_made_found_by_name_changed_and_deleted() {
    let node = Node::start().await;
    let made = node.ok("POST", &path(""), Some(json!({ "queue_name": "jobs" }))).await;
    let settings =
        json!({ "delivery_delay": 0, "delivery_paused": false, "message_retention_period": 345_600 });
    assert_eq!(
        (&made["settings"], &made["producers_total_count"], &made["consumers"]),
        (&settings, &json!(0), &json!([]))
    );
    queue(&node, "a").await;
    queue(&node, "b").await;
    assert_eq!(names(&node, "").await, ["a", "b", "jobs"]);
    assert_eq!(names(&node, "?page=1&name=jobs&name=a&name=none").await, ["a", "jobs"]);
    assert_eq!(names(&node, "?page=2&per_page=2").await, ["jobs"]);
    let of_jobs = path(&format!("/{}", made["queue_id"].as_str().unwrap()));
    let patch =
        json!({ "queue_name": "jobs", "settings": { "delivery_delay": 43_200.0, "delivery_paused": true } });
    let changed = node.ok("PATCH", &of_jobs, Some(patch)).await;
    assert_eq!(changed["settings"]["delivery_delay"], 43_200);
    let put = json!({ "settings": { "message_retention_period": 60 } });
    let expected = json!({ "delivery_delay": 0, "delivery_paused": false, "message_retention_period": 60 });
    assert_eq!(node.ok("PUT", &of_jobs, Some(put)).await["settings"], expected);
    assert_eq!(node.ok("GET", &of_jobs, None).await["settings"], expected);

    for (method, path, body, expected) in [
        ("POST", path(""), json!({ "queue_name": "jobs" }), (400, 11_009)),
        ("POST", path(""), json!({ "queue_name": "No Name" }), (400, 11_003)),
        ("POST", path(""), json!({}), (400, 11_003)),
        ("PATCH", of_jobs.clone(), json!({ "queue_name": "other" }), (400, 100_128)),
        ("PATCH", of_jobs.clone(), json!({ "settings": { "delivery_delay": 43_201 } }), (400, 100_128)),
        ("PATCH", of_jobs.clone(), json!({ "settings": { "message_retention_period": 59 } }), (400, 100_128)),
        ("PATCH", of_jobs.clone(), json!({ "settings": { "delivery_delay": 1.5 } }), (400, 100_128)),
        ("GET", path("/00000000000000000000000000000000"), Value::Null, (404, 11_000)),
        ("GET", path("/jobs"), Value::Null, (404, 11_000)),
    ] {
        let body = (!body.is_null()).then_some(body);
        assert_eq!(node.refused(method, &path, body.clone()).await, expected, "{method} {path} {body:?}");
    }
    assert_eq!(node.ok("DELETE", &of_jobs, None).await, Value::Null);
    assert_eq!((node.count::<Queue>(), node.count::<QueueUsage>()), (2, 1));
    let theirs = node.account("theirs").await;
    let token = node.token(vec![(TokenScope::Account(theirs), vec![Permission::QueuesEdit])]).await;
    let (status, listed) = node.call_as(&token, "GET", &format!("/accounts/{theirs}/queues"), None).await;
    assert_eq!((status, &listed["result"]), (200, &json!([])), "another account has its own");
}

#[tokio::test]
async fn a_queue_has_one_consumer_whose_dead_letter_queue_is_made_with_it() {
    let node = Node::start().await;
    let consumers = path(&format!("/{}/consumers", queue(&node, "jobs").await));
    let worker = json!({ "type": "worker", "script_name": "app", "environment_name": "", "dead_letter_queue": "dead",
                         "settings": { "batch_size": 5, "max_wait_time_ms": 1000.0 } });
    assert_eq!(node.refused("POST", &consumers, Some(worker.clone())).await, (404, 10_007), "no such Worker");
    assert_eq!(names(&node, "").await, ["jobs"], "nothing of it is done");
    assert_eq!(upload(&node, "app", "export default {}", json!({})).await.0, 200);
    let made = node.ok("POST", &consumers, Some(worker.clone())).await;
    let settings = json!({ "batch_size": 5, "max_retries": 3, "retry_delay": 0, "max_wait_time_ms": 1000, "max_concurrency": null });
    assert_eq!(
        (&made["settings"], &made["script"], &made["dead_letter_queue"]),
        (&settings, &json!("app"), &json!("dead"))
    );
    assert_eq!(names(&node, "").await, ["dead", "jobs"]);
    let shown = node.ok("GET", &path("?name=jobs"), None).await;
    assert_eq!(shown[0]["consumers"], json!([made]));
    assert_eq!(node.refused("POST", &consumers, Some(worker)).await, (400, 11_004));
    let dead = node.ok("GET", &path("?name=dead"), None).await[0]["queue_id"].clone();
    let dead = path(&format!("/{}", dead.as_str().unwrap()));
    assert_eq!(node.refused("DELETE", &dead, None).await, (400, 11_005), "it is one's dead letter queue");

    let one = format!("{consumers}/{}", made["consumer_id"].as_str().unwrap());
    let pull = json!({ "type": "http_pull", "settings": { "visibility_timeout_ms": 1, "max_retries": 0 } });
    let changed = node.ok("PUT", &one, Some(pull)).await;
    assert_eq!((&changed["consumer_id"], &changed["type"]), (&made["consumer_id"], &json!("http_pull")));
    assert_eq!(node.ok("GET", &one, None).await, changed);
    assert_eq!(node.ok("GET", &consumers, None).await, json!([changed]));
    for (body, expected) in [
        (json!({ "type": "http_pull", "settings": { "batch_size": 101 } }), 100_127),
        (json!({ "type": "http_pull", "settings": { "max_retries": 101 } }), 100_127),
        (json!({ "type": "http_pull", "settings": { "visibility_timeout_ms": 43_200_001 } }), 100_127),
        (json!({ "type": "http_pull", "dead_letter_queue": "jobs" }), 100_127),
        (json!({ "type": "worker", "script_name": "app", "settings": { "max_concurrency": 251 } }), 100_127),
        (json!({ "type": "worker" }), 100_127),
        (json!({ "type": "carrier pigeon" }), 100_127),
        (json!({ "type": "worker", "script_name": "app", "environment_name": "staging" }), 1_107),
    ] {
        assert_eq!(node.refused("PUT", &one, Some(body.clone())).await, (400, expected), "{body}");
    }
    assert_eq!(node.ok("DELETE", &one, None).await, Value::Null);
    assert_eq!(node.refused("DELETE", &one, None).await, (404, 11_001));
    assert_eq!(node.ok("DELETE", &dead, None).await, Value::Null);
}

#[tokio::test]
async fn dead_letter_queues_lead_in_no_circle() {
    let node = Node::start().await;
    let pull = |dead: &str| json!({ "type": "http_pull", "dead_letter_queue": dead });
    let mut consumers = Vec::new();
    for name in ["a", "b", "c"] {
        consumers.push(path(&format!("/{}/consumers", queue(&node, name).await)));
    }
    node.ok("POST", &consumers[0], Some(pull("b"))).await;
    let of_b = node.ok("POST", &consumers[1], Some(pull("c"))).await;
    for (queue, dead, way) in [(2, "a", "c → a → b → c"), (2, "b", "c → b → c"), (2, "c", "c → c")]
    {
        let (status, refusal) = node.call("POST", &consumers[queue], Some(pull(dead))).await;
        let error = &refusal["errors"][0];
        assert_eq!((status, &error["code"]), (400, &json!(100_127)), "{refusal}");
        assert!(error["message"].as_str().unwrap().ends_with(way), "{refusal}");
    }
    node.ok("POST", &consumers[2], Some(pull("d"))).await;
    // What is changed is looked at, too.
    let of_b = format!("{}/{}", consumers[1], of_b["consumer_id"].as_str().unwrap());
    assert_eq!(node.refused("PUT", &of_b, Some(pull("a"))).await, (400, 100_127));
    node.ok("PUT", &of_b, Some(pull("d"))).await;
}

#[tokio::test]
async fn a_worker_is_bound_to_a_queue_that_is_there_and_keeps_it_from_being_deleted() {
    let node = Node::start().await;
    let bound = |queue: &str| json!({ "bindings": [{ "type": "queue", "name": "JOBS", "queue_name": queue, "delivery_delay": 5 }] });
    let (status, envelope) = upload(&node, "app", "export default {}", bound("jobs")).await;
    assert_eq!((status, &envelope["errors"][0]["code"]), (404, &json!(11_000)), "{envelope}");
    let id = queue(&node, "jobs").await;
    assert_eq!(upload(&node, "app", "export default {}", bound("jobs")).await.0, 200);
    let settings =
        node.ok("GET", &format!("/accounts/{FIRST_ACCOUNT}/workers/scripts/app/settings"), None).await;
    assert_eq!(
        settings["bindings"][0],
        json!({ "type": "queue", "name": "JOBS", "queue_name": "jobs", "delivery_delay": 5 })
    );
    let shown = node.ok("GET", &path(&format!("/{id}")), None).await;
    assert_eq!(shown["producers"], json!([{ "type": "worker", "script": "app" }]));
    assert_eq!(node.refused("DELETE", &path(&format!("/{id}")), None).await, (400, 11_005));
    assert_eq!(upload(&node, "app", "export default {}", json!({})).await.0, 200);
    node.ok("DELETE", &path(&format!("/{id}")), None).await;
}

#[tokio::test]
async fn messages_are_sent_pulled_settled_counted_and_purged() {
    let node = Node::start().await;
    let id = queue(&node, "jobs").await;
    let at = |rest: &str| path(&format!("/{id}{rest}"));
    let sent =
        node.ok("POST", &at("/messages"), Some(json!({ "body": { "a": 1 }, "delay_seconds": 5 }))).await;
    let metrics = json!({ "backlog_count": 1, "backlog_bytes": 7, "oldest_message_timestamp_ms": 1_700_000_040_000_i64 });
    assert_eq!(sent, json!({ "metadata": { "metrics": metrics } }));
    assert_eq!(node.ok("GET", &at("/metrics"), None).await, metrics);
    let batch = json!({ "messages": [{ "body": "text", "content_type": "text" }, { "body": null }], "delay_seconds": 9 });
    node.ok("POST", &at("/messages/batch"), Some(batch)).await;

    assert_eq!(node.refused("POST", &at("/messages/pull"), Some(json!({}))).await, (404, 11_001));
    let pull = json!({ "type": "http_pull", "settings": { "batch_size": 2, "visibility_timeout_ms": 77 } });
    node.ok("POST", &at("/consumers"), Some(pull)).await;
    let pulled = node.ok("POST", &at("/messages/pull"), Some(json!({}))).await;
    let messages = &pulled["messages"];
    assert_eq!((&pulled["message_backlog_count"], messages.as_array().unwrap().len()), (&json!(3), 2));
    assert_eq!(
        (&messages[0]["body"], &messages[0]["metadata"]["CF-Content-Type"]),
        (&json!("eyJhIjoxfQ=="), &json!("json"))
    );
    assert_eq!(
        (&messages[1]["body"], &messages[1]["lease_id"], &messages[1]["attempts"]),
        (&json!("text"), &json!("1-77"), &json!(1))
    );
    let asked = json!({ "batch_size": 100, "visibility_timeout_ms": 5 });
    let pulled = node.ok("POST", &at("/messages/pull"), Some(asked)).await;
    assert_eq!(pulled["messages"][0]["lease_id"], "2-5");
    let acks = json!({ "acks": [{ "lease_id": "0-77" }, { "lease_id": "none" }], "retries": [{ "lease_id": "1-77", "delay_seconds": 3 }] });
    let settled = node.ok("POST", &at("/messages/ack"), Some(acks)).await;
    assert_eq!((&settled["ackCount"], &settled["retryCount"]), (&json!(1), &json!(1)));
    assert_eq!(settled["warnings"], json!({ "none": "it is no lease, or has run out" }));
    let acks = json!({ "acks": [{ "lease_id": "2-5" }] });
    assert_eq!(node.ok("POST", &at("/messages/ack"), Some(acks)).await["warnings"], json!({}));

    let many = |count: usize, octets: usize| {
        let one = json!({ "body": "x".repeat(octets), "content_type": "text" });
        json!({ "messages": vec![one; count] })
    };
    for (rest, body) in [
        ("/messages", json!({ "body": 1, "content_type": "text" })),
        ("/messages", json!({ "body": "/wA=", "content_type": "bytes" })),
        ("/messages", json!({ "body": 1, "content_type": "v8" })),
        ("/messages", json!({})),
        ("/messages", json!({ "content_type": "text" })),
        ("/messages/batch", json!({ "messages": [{ "body": 1 }, {}] })),
        ("/messages", json!({ "body": 1, "delay_seconds": 43_201 })),
        ("/messages", json!({ "body": 1, "delay_seconds": -1 })),
        ("/messages", json!({ "body": "x".repeat(128_001), "content_type": "text" })),
        ("/messages/batch", many(0, 0)),
        ("/messages/batch", many(101, 1)),
        ("/messages/batch", many(3, 100_000)),
        ("/messages/pull", json!({ "batch_size": 101 })),
        ("/messages/pull", json!({ "visibility_timeout_ms": 43_200_001 })),
        ("/purge", json!({})),
    ] {
        assert_eq!(node.refused("POST", &at(rest), Some(body)).await, (400, 11_011), "{rest}");
    }
    let refused = node.refused("POST", &at("/messages"), Some(json!({ "body": "full" }))).await;
    assert_eq!(refused, (507, 11_012));
    let kept = node.queues.taken(id.parse().unwrap());
    let delays: Vec<_> = kept.iter().map(|message| message.delay_seconds).collect();
    assert_eq!(delays, [Some(5), Some(3), Some(9)], "as it was sent, or said when it was settled");
    node.ok("POST", &at("/messages"), Some(json!({ "body": 1 }))).await;
    let purged = node.ok("POST", &at("/purge"), Some(json!({ "delete_messages_permanently": true }))).await;
    assert_eq!(purged["queue_name"], "jobs");
    assert_eq!(node.ok("GET", &at("/metrics"), None).await["backlog_count"], 0);
    node.queues.is_away.store(true, Ordering::Relaxed);
    assert_eq!(node.refused("GET", &at("/metrics"), None).await, (503, 11_013));
}

#[tokio::test]
async fn what_a_worker_sent_as_octets_or_a_structured_clone_is_pulled_as_base64() {
    let node = Node::start().await;
    let id = queue(&node, "jobs").await;
    let at = |rest: &str| path(&format!("/{id}{rest}"));
    node.ok("POST", &at("/consumers"), Some(json!({ "type": "http_pull" }))).await;
    let of_worker = [QueueContentType::Bytes, QueueContentType::V8].map(|content_type| QueueMessage {
        content_type,
        body: vec![0xFF, 0].into(),
        delay_seconds: None,
    });
    node.queues.send(id.parse().unwrap(), of_worker.into()).await.unwrap();
    let pulled = node.ok("POST", &at("/messages/pull"), Some(json!({ "batch_size": 100 }))).await;
    let shown = pulled["messages"].as_array().unwrap().iter();
    let shown: Vec<_> = shown.map(|it| (&it["metadata"]["CF-Content-Type"], &it["body"])).collect();
    assert_eq!(shown, [(&json!("bytes"), &json!("/wA=")), (&json!("v8"), &json!("/wA="))]);
}

//! Records: one by one and in batches, without clashes, whoever writes at the same time.

use proxima_model::{Record, Zone};
use serde_json::{Value, json};

use crate::harness::Node;

fn a(name: &str, content: &str) -> Option<Value> {
    Some(json!({"type": "A", "name": name, "content": content, "ttl": 300}))
}

#[tokio::test]
async fn a_record_is_made_read_put_patched_and_deleted() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let records = format!("/zones/{zone}/dns_records");
    let made = node.ok("POST", &records, a("www", "192.0.2.1")).await;
    assert_eq!(
        (&made["name"], &made["ttl"], &made["zone_id"]),
        (&json!("www.example.com"), &json!(300), &json!(zone))
    );
    let record = format!("{records}/{}", made["id"].as_str().unwrap());
    assert_eq!(node.ok("GET", &record, None).await, made);
    let patched = node.ok("PATCH", &record, Some(json!({"content": "192.0.2.2", "comment": "c"}))).await;
    assert_eq!(
        (&patched["content"], &patched["comment"], &patched["ttl"]),
        (&json!("192.0.2.2"), &json!("c"), &json!(300))
    );
    let put = node.ok("PUT", &record, a("www", "192.0.2.3")).await;
    assert_eq!(
        (&put["id"], &put["created_on"], &put["comment"]),
        (&made["id"], &made["created_on"], &json!(null))
    );
    assert_eq!(node.ok("DELETE", &record, None).await, json!({"id": made["id"]}));
    assert_eq!(node.refused("GET", &record, None).await, (404, 81044));
    assert_eq!(node.refused("DELETE", &record, None).await, (404, 81044));
    assert_eq!(
        node.refused("PATCH", &format!("{records}/nonsense"), a("x", "192.0.2.1")).await,
        (404, 81044)
    );
}

#[tokio::test]
async fn a_name_that_says_a_block_of_addresses_is_not_proxied() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let records = format!("/zones/{zone}/dns_records");
    let proxied = |name: &str| json!({"type": "A", "name": name, "content": "192.0.2.1", "proxied": true});
    for name in ["0/25", "1.0/25", "*.0/25"] {
        let (status, envelope) = node.call("POST", &records, Some(proxied(name))).await;
        let error = &envelope["errors"][0];
        assert_eq!((status, &error["code"]), (400, &json!(9004)), "{name}: {envelope}");
        assert!(error["message"].as_str().unwrap().contains("no host"), "{name}: {envelope}");
    }
    let made = node.ok("POST", &records, a("0/25", "192.0.2.1")).await;
    assert_eq!((&made["proxied"], &made["proxiable"]), (&json!(false), &json!(false)));
    let path = format!("{records}/{}", made["id"].as_str().unwrap());
    assert_eq!(node.refused("PATCH", &path, Some(json!({"proxied": true}))).await, (400, 9004));
    // Others are asked for, whether a host should be called so or not.
    for name in ["_dmarc", "*.wild"] {
        assert_eq!(node.ok("POST", &records, Some(proxied(name))).await["proxied"], true, "{name}");
    }
}

#[tokio::test]
async fn every_change_raises_the_serial_and_no_change_does_not() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let serial = || {
        let snapshot = node.context.replica.snapshot().unwrap();
        snapshot.get::<Zone>(&zone.parse().unwrap()).unwrap().unwrap().serial
    };
    let first = serial();
    let record = node.ok("POST", &format!("/zones/{zone}/dns_records"), a("www", "192.0.2.1")).await;
    assert_eq!(serial(), first + 1);
    let path = format!("/zones/{zone}/dns_records/{}", record["id"].as_str().unwrap());
    node.ok("PUT", &path, a("www", "192.0.2.1")).await;
    assert_eq!(serial(), first + 1);
    node.ok("DELETE", &path, None).await;
    assert_eq!(serial(), first + 2);
}

#[tokio::test]
async fn clashes_are_refused_under_the_numbers_that_clients_look_for() {
    let node = Node::start().await;
    let records = format!("/zones/{}/dns_records", node.zone("example.com").await);
    node.ok("POST", &records, a("www", "192.0.2.1")).await;
    let cname = |name: &str| Some(json!({"type": "CNAME", "name": name, "content": "target.example.net"}));
    node.ok("POST", &records, cname("alias")).await;
    assert_eq!(node.refused("POST", &records, a("www", "192.0.2.1")).await, (400, 81058));
    assert_eq!(node.refused("POST", &records, cname("www")).await, (400, 81053));
    assert_eq!(node.refused("POST", &records, a("alias", "192.0.2.1")).await, (400, 81054));
    assert_eq!(node.refused("POST", &records, a("x", "nonsense")).await, (400, 9005));
    let wrong = json!({"type": "A", "name": "x", "content": "192.0.2.1", "ttl": "soon"});
    let (status, envelope) = node.call("POST", &records, Some(wrong)).await;
    assert_eq!((status, &envelope["errors"][0]["source"]["pointer"]), (400, &json!("/ttl")));
}

#[tokio::test]
async fn a_batch_is_made_whole_or_not_at_all_and_says_where_it_is_wrong() {
    let node = Node::start().await;
    let records = format!("/zones/{}/dns_records", node.zone("example.com").await);
    let one = node.ok("POST", &records, a("one", "192.0.2.1")).await;
    let two = node.ok("POST", &records, a("two", "192.0.2.2")).await;
    let bad = json!({
        "deletes": [{"id": one["id"]}],
        "posts": [{"type": "A", "name": "ok", "content": "192.0.2.9"}, {"type": "A", "name": "bad", "content": "x"}],
    });
    let (status, envelope) = node.call("POST", &format!("{records}/batch"), Some(bad)).await;
    assert_eq!((status, &envelope["errors"][0]["source"]["pointer"]), (400, &json!("/posts/1/content")));
    assert_eq!(node.ok("GET", &records, None).await.as_array().unwrap().len(), 2);
    let good = json!({
        "deletes": [{"id": one["id"]}],
        "patches": [{"id": two["id"], "content": "192.0.2.22"}],
        "puts": [],
        "posts": [{"type": "CNAME", "name": "one", "content": "two.example.com"}],
    });
    let result = node.ok("POST", &format!("{records}/batch"), Some(good)).await;
    assert_eq!(result["deletes"][0]["id"], one["id"]);
    assert_eq!(result["patches"][0]["content"], "192.0.2.22");
    assert_eq!(result["posts"][0]["type"], "CNAME");
    assert_eq!(node.ok("GET", &records, None).await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn writers_at_the_same_time_lose_nothing_and_make_no_clash() {
    let node = Node::start().await;
    let records = format!("/zones/{}/dns_records", node.zone("example.com").await);
    let writes = (0..6).map(|number| {
        let (node, records) = (&node, &records);
        async move {
            let own = node.call("POST", records, a(&format!("own-{number}"), "192.0.2.1")).await.0;
            let same = node.call("POST", records, a("same", "192.0.2.1")).await.0;
            (own, same)
        }
    });
    let outcomes = futures_util::future::join_all(writes).await;
    assert!(outcomes.iter().all(|(own, _)| matches!(own, 200 | 409)), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|(_, same)| *same == 200).count(), 1, "{outcomes:?}");
    let made = outcomes.iter().filter(|(own, _)| *own == 200).count() + 1;
    assert_eq!(node.count::<Record>(), made);
}

#[tokio::test]
async fn a_request_that_is_repeated_under_its_key_is_one_change_and_one_answer() {
    let node = Node::start().await;
    let records = format!("/zones/{}/dns_records", node.zone("example.com").await);
    let send = async |key: &str, body: Value| {
        let request = node.request(reqwest::Method::POST, &records).bearer_auth(&node.token);
        let response = request.header("idempotency-key", key).json(&body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap()["result"].clone())
    };
    let body = a("www", "192.0.2.1").unwrap();
    let (_, first) = send("key-1", body.clone()).await;
    let (status, again) = send("key-1", body.clone()).await;
    assert_eq!((status, &again), (200, &first));
    assert_eq!(send("key-2", body).await.0, 400, "another key is another request: the record exists");
    assert_eq!(node.count::<Record>(), 1);
    assert_eq!(send("", json!({})).await.0, 400);
    let path = format!("{records}/{}", first["id"].as_str().unwrap());
    node.ok("DELETE", &path, None).await;
    assert_eq!(send("key-1", a("www", "192.0.2.1").unwrap()).await.0, 409, "what it made is gone");
}

#[tokio::test]
async fn pages_of_records_cover_all_of_them_once() {
    let node = Node::start().await;
    let records = format!("/zones/{}/dns_records", node.zone("example.com").await);
    let posts: Vec<_> =
        (0..250).map(|n| json!({"type": "A", "name": format!("h{n}"), "content": "192.0.2.1"})).collect();
    node.ok("POST", &format!("{records}/batch"), Some(json!({"posts": posts}))).await;
    let mut names = std::collections::BTreeSet::new();
    for page in 1..=3 {
        let (_, envelope) = node.call("GET", &format!("{records}?page={page}&order=content"), None).await;
        assert_eq!(envelope["result_info"]["total_pages"], 3);
        names.extend(envelope["result"].as_array().unwrap().iter().map(|record| record["name"].to_string()));
    }
    assert_eq!(names.len(), 250);
    assert_eq!(
        node.ok("GET", &format!("{records}?per_page=5000"), None).await.as_array().unwrap().len(),
        250
    );
    let found = node.ok("GET", &format!("{records}?name.startswith=h24&type=A"), None).await;
    assert_eq!(found.as_array().unwrap().len(), 11);
}

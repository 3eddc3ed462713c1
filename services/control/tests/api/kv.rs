//! Keys and values: namespaces, values, lists and bulks, as wrangler and the SDKs ask for them.

use std::sync::atomic::Ordering;

use futures_util::future::select_all;
use proxima_control::FIRST_ACCOUNT;
use proxima_model::{KvNamespace, KvUsage, Permission, TokenScope, limits};
use proxima_pipeline::KvRead;
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    harness::{Node, Options},
    workers::upload,
};

const NAMESPACES: &str = "/storage/kv/namespaces";

/// A path of the account's namespaces.
fn path(rest: &str) -> String {
    format!("/accounts/{FIRST_ACCOUNT}{NAMESPACES}{rest}")
}

/// A new namespace's id.
async fn namespace(node: &Node, title: &str) -> String {
    let made = node.ok("POST", &path(""), Some(json!({ "title": title }))).await;
    assert_eq!((&made["title"], &made["supports_url_encoding"]), (&json!(title), &json!(true)));
    made["id"].as_str().unwrap().to_owned()
}

/// What a body of octets is answered with.
async fn put(node: &Node, path: &str, octets: Vec<u8>) -> (u16, Value) {
    let response =
        node.request(Method::PUT, path).bearer_auth(&node.token).body(octets).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn get(node: &Node, path: &str) -> reqwest::Response {
    node.request(Method::GET, path).bearer_auth(&node.token).send().await.unwrap()
}

fn names(listed: &Value, field: &str) -> Vec<String> {
    let listed = listed["result"].as_array().unwrap();
    listed.iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn namespaces_are_made_listed_renamed_and_deleted_and_titles_are_one_of_the_account() {
    let node = Node::start().await;
    for title in ["c", "a", "b"] {
        namespace(&node, title).await;
    }
    let page = |number: usize, direction: &str| {
        path(&format!("?per_page=2&order=title&direction={direction}&page={number}"))
    };
    let titles = async |path: String| names(&node.call("GET", &path, None).await.1, "title");
    assert_eq!(titles(page(1, "asc")).await, ["a", "b"]);
    assert_eq!(titles(page(2, "asc")).await, ["c"]);
    assert_eq!(titles(page(3, "asc")).await, [""; 0], "wrangler asks until a page is empty");
    assert_eq!(titles(page(1, "desc")).await, ["c", "b"]);

    let (_, listed) = node.call("GET", &path("?order=title"), None).await;
    let id = listed["result"][0]["id"].as_str().unwrap().to_owned();
    let one = path(&format!("/{id}"));
    assert_eq!(node.ok("GET", &one, None).await, listed["result"][0]);
    let title = |title: &str| Some(json!({ "title": title }));
    assert_eq!(node.ok("PUT", &one, title("z")).await["title"], "z");
    assert_eq!(node.ok("PUT", &one, title("z")).await["title"], "z", "its own title is free");
    assert_eq!(node.refused("PUT", &one, title("b")).await, (400, 10_014));
    assert_eq!(node.refused("POST", &path(""), title("b")).await, (400, 10_014));
    for wrong in
        [json!({}), json!({ "title": "" }), json!({ "title": "x".repeat(513) }), json!({ "title": "a\n" })]
    {
        assert_eq!(node.refused("POST", &path(""), Some(wrong.clone())).await, (400, 10_019), "{wrong}");
    }
    let eu = json!({ "title": "eu", "jurisdiction": "eu" });
    assert_eq!(node.refused("POST", &path(""), Some(eu)).await, (400, 1_107));
    let usage = |node: &Node| {
        let snapshot = node.context.replica.snapshot().unwrap();
        snapshot.get::<KvUsage>(&FIRST_ACCOUNT).unwrap().unwrap().namespaces
    };
    assert_eq!(usage(&node), 3);
    assert_eq!(node.ok("DELETE", &one, None).await, Value::Null);
    for method in ["GET", "DELETE"] {
        assert_eq!(node.refused(method, &one, None).await, (404, 10_013), "{method}");
    }
    assert_eq!((usage(&node), node.count::<KvNamespace>()), (2, 2));
    assert_eq!(node.refused("GET", &path("/nonsense"), None).await, (404, 10_013));
}

#[tokio::test]
async fn an_account_has_a_thousand_namespaces() {
    let node = Node::start().await;
    let most = limits::KV_NAMESPACES_PER_ACCOUNT_MAX;
    let one = |number: usize| KvNamespace {
        account: FIRST_ACCOUNT,
        id: proxima_model::KvNamespaceId::from_bytes((number as u128).to_be_bytes()),
        title: format!("title-{number}"),
        created_at: proxima_model::Timestamp::from_millis(0),
    };
    let mut changes: Vec<_> = (1..most).map(|number| node.context.replica.put(&one(number))).collect();
    changes.push(node.context.replica.put(&KvUsage { account: FIRST_ACCOUNT, namespaces: most - 1 }));
    node.append(changes).await;
    namespace(&node, "the last").await;
    let refused = node.refused("POST", &path(""), Some(json!({ "title": "one more" }))).await;
    assert_eq!(refused, (400, 10_018));
}

#[tokio::test]
async fn a_value_is_put_raw_or_in_a_form_and_read_octet_by_octet_whatever_its_key_is() {
    let node = Node::start().await;
    let id = namespace(&node, "a").await;
    let value = |key: &str| path(&format!("/{id}/values/{key}"));
    let octets: Vec<u8> = (0..=255).collect();
    // Escaped, as wrangler writes them, and as far as a path allows without.
    let keys = [
        ("plain", "plain"),
        ("a%2Fb%2F", "a/b/"),
        ("a/c", "a/c"),
        ("%252F", "%2F"),
        ("ns%3Akey%20%C3%BC%E2%9C%93", "ns:key ü✓"),
        ("%3Fx%3D1%23", "?x=1#"),
        ("bulk", "bulk"),
    ];
    for (written, _) in keys {
        let (status, envelope) = put(&node, &value(written), octets.clone()).await;
        assert_eq!((status, &envelope["result"]), (200, &json!({})), "{written}: {envelope}");
        let got = get(&node, &value(written)).await;
        assert_eq!(got.headers()["content-type"], "application/octet-stream");
        assert!(got.headers().get("expiration").is_none());
        assert_eq!(got.bytes().await.unwrap(), octets, "{written}");
        assert_eq!(node.ok("GET", &path(&format!("/{id}/metadata/{written}")), None).await, Value::Null);
    }
    let mut expected = keys.map(|(_, key)| key);
    expected.sort_unstable();
    assert_eq!(names(&node.call("GET", &path(&format!("/{id}/keys")), None).await.1, "name"), expected);
    assert!(node.key_values.reads.lock().unwrap().iter().all(|read| *read == KvRead::Latest));

    let now = node.context.clock.now().as_seconds();
    let form = |metadata: &str| {
        let part = Part::bytes(b"form".to_vec()).file_name("blob");
        Form::new().part("value", part).text("metadata", metadata.to_owned())
    };
    let send = async |target: String, form: Form| {
        let request = node.request(Method::PUT, &target).bearer_auth(&node.token).multipart(form);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, envelope) = send(value("plain?expiration_ttl=60"), form(r#"{"a": "ü"}"#)).await;
    assert_eq!(status, 200, "{envelope}");
    let got = get(&node, &value("plain")).await;
    let expiration: i64 = got.headers()["expiration"].to_str().unwrap().parse().unwrap();
    assert!((now + 60..now + 90).contains(&expiration), "{expiration}");
    assert_eq!(got.text().await.unwrap(), "form");
    assert_eq!(node.ok("GET", &path(&format!("/{id}/metadata/plain")), None).await, json!({ "a": "ü" }));
    let (_, listed) = node.call("GET", &path(&format!("/{id}/keys?prefix=pl")), None).await;
    assert_eq!(
        listed["result"],
        json!([{ "name": "plain", "expiration": expiration, "metadata": { "a": "ü" } }])
    );
    let wide = format!("\"{}\"", "x".repeat(limits::KV_METADATA_OCTETS_MAX - 1));
    for (metadata, refused) in [(wide.as_str(), (413, 10_024)), ("{", (400, 10_033))] {
        let (status, envelope) = send(value("plain"), form(metadata)).await;
        assert_eq!((status, envelope["errors"][0]["code"].as_u64().unwrap()), refused);
    }
    let (status, _) = send(value("plain"), Form::new().text("metadata", "{}")).await;
    assert_eq!(status, 400, "a form without a value");

    assert_eq!(node.ok("DELETE", &value("a%2Fb%2F"), None).await, json!({}));
    for gone in [value("a%2Fb%2F"), path(&format!("/{id}/metadata/a%2Fb%2F")), value("never")] {
        assert_eq!(node.refused("GET", &gone, None).await, (404, 10_009), "{gone}");
    }
    assert_eq!(node.ok("DELETE", &value("never"), None).await, json!({}), "what is not there can be deleted");
}

#[tokio::test]
async fn what_no_value_can_be_is_refused_and_nothing_is_written() {
    let node = Node::start().await;
    let id = namespace(&node, "a").await;
    let value = |key: &str| path(&format!("/{id}/values/{key}"));
    let longest = "k".repeat(limits::KV_KEY_OCTETS_MAX);
    assert_eq!(put(&node, &value(&longest), b"x".to_vec()).await.0, 200);
    let past = node.context.clock.now().as_seconds() + 59;
    for (target, refused) in [
        (format!("{longest}k"), (414, 10_030)),
        ("k?expiration_ttl=59".to_owned(), (400, 10_033)),
        (format!("k?expiration={past}"), (400, 10_033)),
        ("k?expiration_ttl=x".to_owned(), (400, 1_012)),
    ] {
        let (status, envelope) = put(&node, &value(&target), b"x".to_vec()).await;
        assert_eq!((status, envelope["errors"][0]["code"].as_u64().unwrap()), refused, "{target}");
    }
    let most = limits::KV_VALUE_OCTETS_MAX;
    assert_eq!(put(&node, &value("large"), vec![7; most]).await.0, 200);
    let form = Form::new().part("value", Part::bytes(vec![8; most]));
    let request = node.request(Method::PUT, &value("form")).bearer_auth(&node.token).multipart(form);
    assert_eq!(request.send().await.unwrap().status(), 200, "a form has room for the largest value");
    let (status, envelope) = put(&node, &value("larger"), vec![7; most + 1]).await;
    assert_eq!((status, &envelope["errors"][0]["code"]), (413, &json!(10_024)));
    let (_, listed) = node.call("GET", &path(&format!("/{id}/keys?prefix=")), None).await;
    assert_eq!(names(&listed, "name"), ["form", &longest, "large"]);
    assert_eq!(get(&node, &value("large")).await.bytes().await.unwrap().len(), most);
}

#[tokio::test]
async fn keys_are_listed_page_by_page_by_cursors_that_are_checked() {
    let node = Node::start().await;
    let id = namespace(&node, "a").await;
    let pairs: Vec<_> = (0..25).map(|n| json!({ "key": format!("k{n:02}"), "value": "v" })).collect();
    let done = node.ok("PUT", &path(&format!("/{id}/bulk")), Some(Value::Array(pairs))).await;
    assert_eq!(done, json!({ "successful_key_count": 25, "unsuccessful_keys": [] }));
    let list = async |query: &str| node.call("GET", &path(&format!("/{id}/keys?{query}")), None).await.1;
    let (mut found, mut cursor, mut counts) = (Vec::new(), String::new(), Vec::new());
    loop {
        let page = list(&format!("limit=10&prefix=k&cursor={cursor}")).await;
        found.extend(names(&page, "name"));
        counts.push(page["result_info"]["count"].as_u64().unwrap());
        cursor = page["result_info"]["cursor"].as_str().unwrap().to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!((found.len(), counts.as_slice()), (25, &[10, 10, 5][..]));
    assert!(found.is_sorted());
    let cursor = list("limit=10").await["result_info"]["cursor"].as_str().unwrap().to_owned();
    for (query, refused) in [
        ("limit=9".to_owned(), 10_028),
        ("limit=1001".to_owned(), 10_028),
        ("cursor=nonsense!".to_owned(), 1_012),
        (format!("cursor={cursor}&prefix=other"), 1_012),
    ] {
        assert_eq!(list(&query).await["errors"][0]["code"], refused, "{query}");
    }
}

#[tokio::test]
async fn many_pairs_are_written_read_and_deleted_at_once() {
    let node = Node::start().await;
    let id = namespace(&node, "a").await;
    let bulk = |rest: &str| path(&format!("/{id}/bulk{rest}"));
    let now = node.context.clock.now().as_seconds();
    let pairs = json!([
        { "key": "json", "value": "{\"a\": 1}", "metadata": { "m": true }, "expiration": now + 1_000 },
        { "key": "octets", "value": "AP8=", "base64": true },
        { "key": "text", "value": "first" },
        { "key": "text", "value": "ü", "expiration_ttl": 60, "metadata": null },
    ]);
    node.ok("PUT", &bulk(""), Some(pairs)).await;
    let octets = get(&node, &path(&format!("/{id}/values/octets"))).await.bytes().await.unwrap();
    assert_eq!(octets, &[0, 255][..]);
    let asked = json!({ "keys": ["json", "text", "none"] });
    assert_eq!(
        node.ok("POST", &bulk("/get"), Some(asked)).await,
        json!({ "values": { "json": "{\"a\": 1}", "text": "ü", "none": null } })
    );
    let asked = json!({ "keys": ["json", "none"], "type": "json", "withMetadata": true });
    let json = json!({ "value": { "a": 1 }, "metadata": { "m": true }, "expiration": now + 1_000 });
    assert_eq!(
        node.ok("POST", &bulk("/get"), Some(asked)).await,
        json!({ "values": { "json": json, "none": null } })
    );
    let keys = |count: usize| (0..count).map(|n| format!("k{n}")).collect::<Vec<_>>();
    for (asked, refused) in [
        (json!({ "keys": [] }), (400, 10_028)),
        (json!({ "keys": keys(101) }), (400, 10_028)),
        (json!({ "keys": ["text"], "type": "json" }), (400, 10_033)),
        (json!({ "keys": ["text"], "type": "stream" }), (400, 9_207)),
        (json!({ "keys": [""] }), (400, 10_030)),
        (json!({ "keys": [".."] }), (400, 10_030)),
    ] {
        assert_eq!(node.refused("POST", &bulk("/get"), Some(asked.clone())).await, refused, "{asked}");
    }
    for (pairs, refused, pointer) in [
        (json!([{ "key": "a", "value": "v" }, { "key": "b" }]), (400, 9_207), "/1"),
        (json!([{ "key": "a", "value": "v" }, { "key": "", "value": "v" }]), (400, 10_030), "/1/key"),
        (json!([{ "key": "a", "value": "!", "base64": true }]), (400, 10_033), "/0"),
        (json!([{ "key": "a", "value": "v", "expiration_ttl": 1 }]), (400, 10_033), "/0"),
    ] {
        let (status, envelope) = node.call("PUT", &bulk(""), Some(pairs)).await;
        let error = &envelope["errors"][0];
        assert_eq!((status, error["code"].as_u64().unwrap()), refused, "{envelope}");
        assert!(error["source"]["pointer"].as_str().unwrap().starts_with(pointer), "{envelope}");
    }
    assert_eq!(get(&node, &path(&format!("/{id}/values/a"))).await.status(), 404, "whole or not at all");
    let many: Vec<_> = keys(10_001).iter().map(|key| json!({ "key": key, "value": "" })).collect();
    assert_eq!(node.refused("PUT", &bulk(""), Some(many.into())).await, (413, 10_024));

    node.ok("DELETE", &bulk(""), Some(json!(["json", "none"]))).await;
    let done = node.ok("POST", &bulk("/delete"), Some(json!(["text"]))).await;
    assert_eq!(done["successful_key_count"], 1);
    let (_, listed) = node.call("GET", &path(&format!("/{id}/keys")), None).await;
    assert_eq!(names(&listed, "name"), ["octets"]);
}

#[tokio::test]
async fn nobody_reaches_a_namespace_of_another_account() {
    let node = Node::start().await;
    let id = namespace(&node, "ours").await;
    assert_eq!(put(&node, &path(&format!("/{id}/values/k")), b"secret".to_vec()).await.0, 200);
    let theirs = node.account("theirs").await;
    let all = vec![Permission::KvEdit];
    let stranger = node.token(vec![(TokenScope::Account(theirs), all)]).await;
    for (method, rest, body) in [
        ("GET", "", None),
        ("PUT", "", Some(json!({ "title": "mine" }))),
        ("DELETE", "", None),
        ("GET", "/keys", None),
        ("GET", "/values/k", None),
        ("GET", "/metadata/k", None),
        ("PUT", "/values/k", Some(json!("mine"))),
        ("DELETE", "/values/k", None),
        ("PUT", "/bulk", Some(json!([{ "key": "k", "value": "mine" }]))),
        ("DELETE", "/bulk", Some(json!(["k"]))),
        ("POST", "/bulk/delete", Some(json!(["k"]))),
        ("POST", "/bulk/get", Some(json!({ "keys": ["k"] }))),
    ] {
        let target = format!("/accounts/{theirs}{NAMESPACES}/{id}{rest}");
        let (status, envelope) = node.call_as(&stranger, method, &target, body).await;
        assert_eq!((status, &envelope["errors"][0]["code"]), (404, &json!(10_013)), "{method} {rest}");
    }
    let value = get(&node, &path(&format!("/{id}/values/k"))).await;
    assert_eq!(value.text().await.unwrap(), "secret");
    let title = Some(json!({ "title": "ours" }));
    let target = format!("/accounts/{theirs}{NAMESPACES}");
    assert_eq!(node.call_as(&stranger, "POST", &target, title).await.0, 200, "titles are one of an account");
}

#[tokio::test]
async fn a_worker_is_bound_to_namespaces_of_its_account_which_are_not_deleted_meanwhile() {
    let node = Node::start().await;
    let id = namespace(&node, "a").await;
    let bind =
        |id: &str| json!({ "bindings": [{ "type": "kv_namespace", "name": "KV", "namespace_id": id }] });
    for (wrong, refused) in [
        (bind(&"0".repeat(32)), 10_041),
        (bind("nonsense"), 10_041),
        (json!({ "bindings": [{ "type": "kv_namespace", "name": "KV" }] }), 10_057),
    ] {
        let (status, envelope) = upload(&node, "app", "export default {}", wrong).await;
        assert_eq!((status, &envelope["errors"][0]["code"]), (400, &json!(refused)), "{envelope}");
    }
    let (status, envelope) = upload(&node, "app", "export default {}", bind(&id)).await;
    assert_eq!(status, 200, "{envelope}");
    let bound = json!([{ "type": "kv_namespace", "name": "KV", "namespace_id": id }]);
    let settings = format!("/accounts/{FIRST_ACCOUNT}/workers/scripts/app/settings");
    assert_eq!(node.ok("GET", &settings, None).await["bindings"], bound);
    // What is only named, or inherited, stays as it is.
    for inherited in
        [json!([{ "type": "kv_namespace", "name": "KV" }]), json!([{ "type": "inherit", "name": "KV" }])]
    {
        let (status, envelope) =
            upload(&node, "app", "export default 2", json!({ "bindings": inherited })).await;
        assert_eq!(status, 200, "{envelope}");
        assert_eq!(node.ok("GET", &settings, None).await["bindings"], bound);
    }
    let one = path(&format!("/{id}"));
    assert_eq!(node.refused("DELETE", &one, None).await, (400, 10_052));
    let (status, _) = upload(&node, "app", "export default 3", json!({})).await;
    assert_eq!(status, 200, "without the binding");
    node.ok("DELETE", &one, None).await;
    let (_, envelope) = upload(&node, "app", "export default 4", bind(&id)).await;
    assert_eq!(envelope["errors"][0]["code"], 10_041);
}

#[tokio::test]
async fn a_server_without_keys_and_values_says_so_and_one_that_reaches_none_says_when_to_ask_again() {
    let control = "activation = \"trust\"".to_owned();
    let node = Node::with(Options { control, without_kv: true, ..Options::default() }).await;
    let id = namespace(&node, "a").await;
    assert_eq!(node.refused("GET", &path(&format!("/{id}/keys")), None).await, (503, 10_025));
    let node = Node::start().await;
    let id = namespace(&node, "a").await;
    node.key_values.is_away.store(true, Ordering::Relaxed);
    let away = get(&node, &path(&format!("/{id}/values/k"))).await;
    assert_eq!((away.status().as_u16(), away.headers().contains_key("retry-after")), (503, true));
    assert_eq!(away.json::<Value>().await.unwrap()["errors"][0]["code"], 10_023);
}

#[tokio::test]
async fn uploads_beyond_the_room_for_them_are_told_to_come_again_and_small_ones_go_on() {
    let node = Node::start().await;
    let id = namespace(&node, "a").await;
    let head = format!(
        "PUT /client/v4{} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        path(&format!("/{id}/bulk")),
        node.token,
        100 << 20
    );
    // There is room for two of them, none of which goes on.
    let mut under_way = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(node.bound[0]).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        under_way.push(stream);
    }
    let answers = under_way.iter_mut().map(|stream| {
        Box::pin(async {
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            String::from_utf8_lossy(&answer).into_owned()
        })
    });
    let (first, ..) = select_all(answers).await;
    assert_eq!(first, "HTTP/1.1 503");
    assert_eq!(put(&node, &path(&format!("/{id}/values/small")), vec![1; 1 << 20]).await.0, 200);
}

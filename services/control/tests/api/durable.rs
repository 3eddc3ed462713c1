//! Durable Objects: classes by migrations, bindings to them, and what is shown of them.

use futures_util::future::BoxFuture;
use proxima_model::{
    DurableNamespace, DurableNamespaceId, DurableObjectId, DurableUsage, Node as Server, NodeName, PopCode,
    Timestamp,
};
use proxima_pipeline::{DurableAbout, DurableError, DurableObjects};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::Node,
    workers::{MODULE, bindings, form, metadata, path, refusal, send, upload},
};

/// All namespaces have these objects: the first five ids; those whose class ends in `Away` are away.
pub(crate) struct FiveObjects;

impl DurableObjects for FiveObjects {
    fn homes(&self, _: DurableNamespaceId) -> Vec<NodeName> {
        vec![NodeName::parse("test").unwrap()]
    }

    fn list<'a>(
        &'a self,
        namespace: &'a DurableNamespace,
        after: Option<DurableObjectId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DurableAbout>, DurableError>> {
        let about = |number| DurableAbout {
            id: DurableObjectId::from_bytes([number; 32]),
            has_stored_data: number % 2 == 0,
        };
        let found = (0..5_u8).map(about).filter(|about| after.is_none_or(|after| about.id > after));
        let found = match namespace.class.as_str().ends_with("Away") {
            true => Err(DurableError::Away(namespace.homes[0].clone())),
            false => Ok(found.take(limit).collect()),
        };
        Box::pin(async move { found })
    }
}

fn migrations(old: Option<&str>, new: &str, steps: Value) -> Value {
    json!({ "old_tag": old, "new_tag": new, "steps": steps })
}

fn bound(class: &str) -> Value {
    json!({ "name": class.to_uppercase(), "type": "durable_object_namespace", "class_name": class })
}

async fn put(node: &Node, name: &str, more: Value) -> Value {
    let (status, envelope) = upload(node, name, "export default {}", more).await;
    assert_eq!(status, 200, "{envelope}");
    envelope["result"].clone()
}

/// Status, code and message of an upload of `app` that is refused.
async fn refused(node: &Node, more: Value) -> (u16, u64, String) {
    refusal(node, form(&metadata(more), &[("index.js", MODULE, b"export default {}")])).await
}

async fn namespaces(node: &Node) -> Vec<(String, String, bool)> {
    let listed = node.ok("GET", &path("durable_objects/namespaces"), None).await;
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let about = |one: &Value| (text(one, "script"), text(one, "class"), one["use_sqlite"] == true);
    let mut found: Vec<_> = listed.as_array().unwrap().iter().map(about).collect();
    found.sort_unstable();
    found
}

fn named(all: &[(&str, &str, bool)]) -> Vec<(String, String, bool)> {
    all.iter().map(|(script, class, has_sql)| ((*script).to_owned(), (*class).to_owned(), *has_sql)).collect()
}

#[tokio::test]
async fn migrations_make_rename_move_and_delete_classes_and_what_is_bound_stays_bound() {
    let node = Node::start().await;
    let first =
        migrations(None, "v1", json!([{ "new_sqlite_classes": ["Room"] }, { "new_classes": ["Old"] }]));
    let made = put(&node, "app", json!({ "bindings": [bound("Room")], "migrations": first })).await;
    assert_eq!(made["migration_tag"], "v1");
    assert_eq!(namespaces(&node).await, named(&[("app", "Old", false), ("app", "Room", true)]));
    let shown = bindings(&node, "app").await;
    let id = shown[0]["namespace_id"].as_str().unwrap().to_owned();
    assert_eq!((&shown[0]["class_name"], &shown[0]["name"]), (&json!("Room"), &json!("ROOM")));

    let renamed = migrations(
        Some("v1"),
        "v2",
        json!([
            { "renamed_classes": [{ "from": "Room", "to": "Hall" }] },
            { "deleted_classes": ["Old"] },
        ]),
    );
    put(&node, "app", json!({ "bindings": [bound("Hall")], "migrations": renamed })).await;
    assert_eq!(namespaces(&node).await, named(&[("app", "Hall", true)]));
    assert_eq!(bindings(&node, "app").await[0]["namespace_id"], json!(id), "objects stay where they are");

    // Without migrations, all stays as it is; another Worker binds to the class.
    put(&node, "app", json!({ "bindings": [bound("Hall")] })).await;
    let mut other = bound("Hall");
    other["script_name"] = "app".into();
    put(&node, "other", json!({ "bindings": [other] })).await;
    assert_eq!(bindings(&node, "other").await[0]["script_name"], "app");

    let step = json!([{ "transferred_classes": [{ "from": "Hall", "from_script": "app", "to": "Moved" }] }]);
    put(&node, "other", json!({ "bindings": [bound("Moved")], "migrations": migrations(None, "t1", step) }))
        .await;
    assert_eq!(namespaces(&node).await, named(&[("other", "Moved", true)]));
    assert_eq!(bindings(&node, "other").await[0]["namespace_id"], json!(id));
    assert_eq!(node.count::<DurableUsage>(), 1);
}

#[tokio::test]
async fn migrations_that_cannot_be_done_are_refused_and_nothing_is_done() {
    let node = Node::start().await;
    let unknown = refused(&node, json!({ "bindings": [bound("Room")] })).await;
    assert!(unknown.0 == 400 && unknown.1 == 10_061 && unknown.2.contains("'Room'"), "{unknown:?}");
    let first = migrations(None, "v1", json!([{ "new_sqlite_classes": ["Room"] }]));
    put(&node, "app", json!({ "bindings": [bound("Room")], "migrations": first.clone() })).await;
    for (steps, old, code) in [
        (json!([]), None, 10_079),
        (json!([]), Some("v0"), 10_079),
        (json!([{ "new_sqlite_classes": ["Room"] }]), Some("v1"), 10_074),
        (json!([{ "new_classes": ["Fine", "Room"] }]), Some("v1"), 10_074),
        (json!([{ "deleted_classes": ["None"] }]), Some("v1"), 10_074),
        (json!([{ "renamed_classes": [{ "from": "None", "to": "X" }] }]), Some("v1"), 10_074),
        (
            json!([{ "transferred_classes": [{ "from": "X", "from_script": "none", "to": "X" }] }]),
            Some("v1"),
            10_074,
        ),
        // What it is bound to itself goes with it only if the binding does.
        (json!([{ "deleted_classes": ["Room"] }]), Some("v1"), 10_061),
    ] {
        let more = json!({ "bindings": [bound("Room")], "migrations": migrations(old, "v2", steps.clone()) });
        let refused = refused(&node, more).await;
        assert_eq!(refused.1, code, "{steps}: {refused:?}");
    }
    let mut other = bound("Room");
    other["script_name"] = "app".into();
    put(&node, "other", json!({ "bindings": [other] })).await;
    let gone = migrations(Some("v1"), "v2", json!([{ "deleted_classes": ["Room"] }]));
    let in_use = refused(&node, json!({ "migrations": gone })).await;
    assert!(in_use.1 == 10_064 && in_use.2.contains("other"), "{in_use:?}");
    let form = form(&metadata(json!({ "migrations": first })), &[("index.js", MODULE, b"export default {}")]);
    let (status, envelope) = send(&node, Method::POST, &path("scripts/app/versions"), form).await;
    assert_eq!((status, &envelope["errors"][0]["code"]), (400, &json!(10_074)), "{envelope}");
    assert_eq!(namespaces(&node).await, named(&[("app", "Room", true)]));
}

#[tokio::test]
async fn objects_are_shown_page_by_page_and_go_with_their_worker() {
    let node = Node::start().await;
    let first = migrations(None, "v1", json!([{ "new_sqlite_classes": ["Room", "GoneAway"] }]));
    put(&node, "app", json!({ "bindings": [bound("Room"), bound("GoneAway")], "migrations": first })).await;
    let shown = bindings(&node, "app").await;
    let objects = |number: usize, query: &str| {
        let id = shown[number]["namespace_id"].as_str().unwrap();
        path(&format!("durable_objects/namespaces/{id}/objects{query}"))
    };
    let page = node.call("GET", &objects(0, "?limit=3"), None).await.1;
    let ids: Vec<_> = page["result"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!((ids.len(), &page["result"][0]["hasStoredData"]), (3, &json!(true)));
    let cursor = page["result_info"]["cursor"].as_str().unwrap();
    assert_eq!(page["result_info"]["cursors"], json!({ "after": cursor }), "where the SDKs look for it");
    let rest = node.call("GET", &objects(0, &format!("?limit=3&cursor={cursor}")), None).await.1;
    assert_eq!((rest["result"].as_array().unwrap().len(), &rest["result_info"]["cursor"]), (2, &json!("")));
    assert_eq!(node.refused("GET", &objects(1, ""), None).await, (503, 10_067));
    assert_eq!(node.refused("GET", &objects(0, "?limit=0"), None).await, (400, 1012));
    let none = path(&format!("durable_objects/namespaces/{}/objects", "0".repeat(32)));
    assert_eq!(node.refused("GET", &none, None).await, (404, 10_066));

    let mut other = bound("Room");
    other["script_name"] = "app".into();
    put(&node, "other", json!({ "bindings": [other] })).await;
    let references = node.ok("GET", &path("scripts/app/references"), None).await;
    assert_eq!(references["durable_objects"][0]["service"], "other");
    assert_eq!(node.refused("DELETE", &path("scripts/app"), None).await, (400, 10_064));
    node.ok("DELETE", &path("scripts/app?force=true"), None).await;
    assert_eq!(node.count::<DurableNamespace>(), 0);
    // Whoever is bound to what is gone gets no new version, by whichever way one is made.
    let content = form(&json!({ "main_module": "index.js" }), &[("index.js", MODULE, b"export default {}")]);
    let (status, envelope) = send(&node, Method::PUT, &path("scripts/other/content"), content).await;
    assert_eq!((status, &envelope["errors"][0]["code"]), (400, &json!(10_061)), "{envelope}");
}

/// What `proxima/durable_objects/homes` shows of slots: class, server and to whom.
async fn homes(node: &Node) -> Vec<(String, String, Value)> {
    let listed = node.ok("GET", "/proxima/durable_objects/homes", None).await;
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let about = |one: &Value| (text(one, "class"), text(one, "server"), one["to"].clone());
    let mut found: Vec<_> = listed.as_array().unwrap().iter().map(about).collect();
    found.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    found
}

#[tokio::test]
async fn operators_hand_slots_over_cancel_that_and_give_up_what_is_lost() {
    let node = Node::start().await;
    let first = migrations(None, "v1", json!([{ "new_sqlite_classes": ["Hall", "Room"] }]));
    put(&node, "app", json!({ "migrations": first })).await;
    let server = Server {
        name: NodeName::parse("fra1").unwrap(),
        pop: PopCode::parse("FRA").unwrap(),
        version: "1".to_owned(),
        addresses: Vec::new(),
        joined_at: Timestamp::from_millis(0),
    };
    node.append(vec![node.context.replica.put(&server)]).await;
    let step = async |step: &str, body: Value| {
        let path = format!("/proxima/durable_objects/{step}");
        node.ok("POST", &path, Some(body)).await
    };
    let all = |server: &str, to: Value| {
        ["Hall", "Room"].map(|class| (class.to_owned(), server.to_owned(), to.clone())).to_vec()
    };
    assert_eq!(homes(&node).await, all("test", Value::Null));

    let over = json!({ "from": "test", "to": "fra1" });
    assert_eq!(step("hand_over", over.clone()).await, json!({ "slots": 2, "accounts": 1 }));
    assert_eq!(homes(&node).await, all("test", json!("fra1")));
    assert_eq!(step("hand_over", over.clone()).await, json!({ "slots": 0, "accounts": 0 }));
    // What migrations change of classes leaves it alone.
    let renamed = json!([{ "renamed_classes": [{ "from": "Hall", "to": "Aula" }] }]);
    put(&node, "app", json!({ "migrations": migrations(Some("v1"), "v2", renamed) })).await;
    assert_eq!(homes(&node).await[0], ("Aula".to_owned(), "test".to_owned(), json!("fra1")));
    assert_eq!(step("cancel", json!({ "from": "test" })).await["slots"], 2);
    assert!(homes(&node).await.iter().all(|(_, server, to)| server == "test" && to.is_null()));

    let nobody = json!({ "from": "test", "to": "fra1", "account": "0".repeat(32) });
    assert_eq!(step("hand_over", nobody).await["slots"], 0);
    let lost = |sure: bool| json!({ "from": "test", "to": "fra1", "lose_what_they_keep": sure });
    let give_up = "/proxima/durable_objects/give_up";
    assert_eq!(node.refused("POST", give_up, Some(lost(false))).await, (400, 1009));
    let nowhere = json!({ "from": "test", "to": "sin1" });
    assert_eq!(node.refused("POST", "/proxima/durable_objects/hand_over", Some(nowhere)).await, (400, 1009));
    assert_eq!(step("give_up", lost(true)).await["slots"], 2);
    assert!(homes(&node).await.iter().all(|(_, server, to)| server == "fra1" && to.is_null()));
    assert_eq!(
        node.refused("POST", "/proxima/durable_objects/hand_over", Some(json!({}))).await,
        (400, 9207)
    );
}

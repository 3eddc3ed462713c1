//! Workers that are tried before they are written, as far as that is not the engine's.

use std::time::Duration;

use futures_util::future::BoxFuture;
use proxima_model::{Worker, WorkerVersion};
use proxima_pipeline::{CheckWorkers, NewWorkerVersion, WorkerCheck, WorkerUnfit};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Node, Options},
    workers::{MODULE, form, metadata, path, send, upload},
};

/// Finds of a version what its main module says: `fails`, `nothing` or `unknown`; whether it has the `secret` that it says, and which
/// classes.
pub(crate) struct AsTold;

impl CheckWorkers for AsTold {
    fn check(&self, new: NewWorkerVersion) -> BoxFuture<'_, WorkerCheck> {
        let main = new.version.modules.iter().find(|module| module.name == new.version.main).unwrap();
        let text = String::from_utf8(new.contents[&main.hash].to_vec()).unwrap();
        let absent = new.classes.into_iter().find(|class| !text.contains(&format!("class {class} ")));
        let unfit = |why| WorkerCheck::Unfit(why);
        let secret = new.secrets.values().next();
        let found = match absent {
            _ if text.contains("fails") => unfit(WorkerUnfit::Fails("Uncaught Error: boom".to_owned())),
            _ if text.contains("nothing") => unfit(WorkerUnfit::HandlesNothing),
            _ if text.contains("unknown") => WorkerCheck::Unknown("it is told to".to_owned()),
            // Whose settings it does not like.
            _ if new.version.compatibility_flags.iter().any(|flag| flag.as_str() == "none") => {
                unfit(WorkerUnfit::Fails("No such compatibility flag: none".to_owned()))
            }
            _ if text.contains("secret") && secret.is_none_or(|secret| secret != "hidden") => {
                unfit(WorkerUnfit::Fails("no secret".to_owned()))
            }
            Some(class) => unfit(WorkerUnfit::Lacks(class)),
            None => WorkerCheck::Fine { took: Duration::from_micros(1_100) },
        };
        Box::pin(std::future::ready(found))
    }

    fn cpu_ms_most(&self) -> u64 {
        1_000
    }
}

async fn node() -> Node {
    Node::with(Options { tries_workers: true, ..Options::default() }).await
}

fn code(text: &str) -> reqwest::multipart::Form {
    form(&metadata(json!({})), &[("index.js", MODULE, text.as_bytes())])
}

fn error(envelope: &Value) -> (u64, &str) {
    let error = &envelope["errors"][0];
    (error["code"].as_u64().unwrap(), error["message"].as_str().unwrap())
}

#[tokio::test]
async fn what_does_not_start_is_refused_and_nothing_of_it_is_written() {
    let node = node().await;
    let (status, envelope) = upload(&node, "app", "fails", json!({})).await;
    assert_eq!((status, error(&envelope)), (400, (10_021, "Uncaught Error: boom")));
    assert_eq!(node.count::<Worker>(), 0);
    let secret = json!({ "bindings": [{ "name": "S", "type": "secret_text", "text": "hidden" }] });
    let (status, envelope) = upload(&node, "app", "fine", secret).await;
    assert_eq!((status, &envelope["result"]["startup_time_ms"]), (200, &json!(2)), "{envelope}");
    let before = node.ok("GET", &path("scripts/app/deployments"), None).await;

    for (method, rest) in [
        (Method::PUT, "scripts/app"),
        (Method::PUT, "scripts/app/content"),
        (Method::POST, "scripts/app/versions"),
    ] {
        for (text, told) in [
            ("fails", (10_021, "Uncaught Error: boom")),
            ("nothing", (10_068, "The uploaded script has no registered event handlers.")),
        ] {
            let (status, envelope) = send(&node, method.clone(), &path(rest), code(text)).await;
            assert_eq!((status, error(&envelope)), (400, told), "{method} {rest}");
        }
    }
    let settings = json!({ "compatibility_flags": ["none"] });
    let (status, envelope) = node.call("PATCH", &path("scripts/app/settings"), Some(settings)).await;
    assert_eq!((status, error(&envelope)), (400, (10_021, "No such compatibility flag: none")));
    assert_eq!(node.ok("GET", &path("scripts/app/deployments"), None).await, before);
    assert_eq!(node.count::<WorkerVersion>(), 1);

    // With secrets, and code, of the version before.
    let (status, envelope) = send(&node, Method::POST, &path("scripts/app/versions"), code("secret")).await;
    assert_eq!((status, &envelope["result"]["startup_time_ms"]), (200, &json!(2)), "{envelope}");
    let (status, envelope) = send(&node, Method::PUT, &path("scripts/app/content"), code("secret 2")).await;
    assert_eq!((status, &envelope["result"]["startup_time_ms"]), (200, &json!(2)), "{envelope}");
    node.ok("PATCH", &path("scripts/app/settings"), Some(json!({ "compatibility_flags": [] }))).await;
    node.ok("PUT", &path("scripts/app/secrets"), Some(json!({ "name": "S", "text": "other" }))).await;
}

#[tokio::test]
async fn what_cannot_be_tried_is_written_and_nothing_said_of_its_start() {
    let node = node().await;
    let (status, envelope) = upload(&node, "app", "unknown", json!({})).await;
    assert_eq!((status, envelope["result"].get("startup_time_ms")), (200, None), "{envelope}");
}

#[tokio::test]
async fn what_was_made_before_is_not_refused_when_it_is_asked_for_again() {
    let node = node().await;
    let ask = async |text: &str| {
        let request = node.request(Method::PUT, &path("scripts/app")).bearer_auth(&node.token);
        let request =
            request.header("idempotency-key", "once").header("content-type", "application/javascript");
        let answer = request.body(text.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, made) = ask("fine").await;
    assert_eq!(status, 200, "{made}");
    let (status, again) = ask("fine").await;
    assert_eq!(
        (status, &again["result"]["deployment_id"]),
        (200, &made["result"]["deployment_id"]),
        "{again}"
    );
    // What it is asked for in the second place is what the key is not for.
    let (status, other) = ask("fails").await;
    assert_eq!((status, error(&other).0), (409, 10_019), "{other}");
    assert_eq!(node.count::<WorkerVersion>(), 1);
}

#[tokio::test]
async fn a_class_that_is_not_exported_is_refused_by_what_made_it_the_workers() {
    let node = node().await;
    let class = |steps: Value, old: Option<&str>, new: &str| json!({ "migrations": { "old_tag": old, "new_tag": new, "steps": [steps] } });
    let new = || class(json!({ "new_sqlite_classes": ["A"] }), None, "v1");
    let (status, envelope) = upload(&node, "app", "fine", new()).await;
    let told = "Cannot apply new-class migration to class 'A' that is not exported by script.";
    assert_eq!((status, error(&envelope)), (400, (10_070, told)));
    let (status, envelope) = upload(&node, "app", "class A {}", new()).await;
    assert_eq!(status, 200, "{envelope}");
    let (status, envelope) = upload(&node, "app", "fine", json!({})).await;
    assert_eq!((status, error(&envelope).0), (400, 10_064), "{envelope}");
    assert!(
        error(&envelope)
            .1
            .starts_with("New version of script does not export class 'A' which is depended on")
    );
    let renamed = || class(json!({ "renamed_classes": [{ "from": "A", "to": "B" }] }), Some("v1"), "v2");
    let (status, envelope) = upload(&node, "app", "class A {}", renamed()).await;
    let told = "Cannot apply rename-class migration to class 'B' that is not exported by script.";
    assert_eq!((status, error(&envelope)), (400, (10_070, told)));
    assert_eq!(upload(&node, "app", "class B {}", renamed()).await.0, 200);
    let deleted = class(json!({ "deleted_classes": ["B"] }), Some("v2"), "v3");
    assert_eq!(upload(&node, "app", "fine", deleted).await.0, 200);
}

//! Workers: deployed as wrangler does it; versions, deployments, secrets and settings.

use proxima_control::FIRST_ACCOUNT;
use proxima_model::{
    Worker, WorkerContent, WorkerDeployment, WorkerSecrets, WorkerTriggers, WorkerVersion, limits,
};
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::harness::{Node, Options};

pub(crate) const MODULE: &str = "application/javascript+module";
pub(crate) const SCRIPT: &str = "application/javascript";

/// A path of the account's.
pub(crate) fn path(rest: &str) -> String {
    format!("/accounts/{FIRST_ACCOUNT}/workers/{rest}")
}

/// A form as wrangler sends it: names of modules, their content types and octets.
pub(crate) fn form(metadata: &Value, modules: &[(&str, &str, &[u8])]) -> Form {
    // As JavaScript's FormData writes names, `/` and all.
    let mut form = Form::new().percent_encode_noop();
    for (name, content_type, octets) in modules {
        let part = Part::bytes(octets.to_vec()).file_name((*name).to_owned()).mime_str(content_type).unwrap();
        form = form.part((*name).to_owned(), part);
    }
    form.text("metadata", metadata.to_string())
}

pub(crate) async fn send(node: &Node, method: Method, path: &str, form: Form) -> (u16, Value) {
    let request = node.request(method, path).bearer_auth(&node.token).header("user-agent", "wrangler/4.86.0");
    let response = request.multipart(form).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Uploads a Worker of one module with these fields beside `main_module`.
pub(crate) async fn upload(node: &Node, name: &str, code: &str, more: Value) -> (u16, Value) {
    let form = form(&metadata(more), &[("index.js", MODULE, code.as_bytes())]);
    send(
        node,
        Method::PUT,
        &path(&format!("scripts/{name}?excludeScript=true&bindings_inherit=strict")),
        form,
    )
    .await
}

pub(crate) fn metadata(more: Value) -> Value {
    let mut metadata = json!({ "main_module": "index.js", "compatibility_date": "2026-11-01" });
    metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    metadata
}

pub(crate) async fn deployed(node: &Node, name: &str) -> Value {
    let (status, envelope) = upload(node, name, "export default {}", json!({})).await;
    assert_eq!(status, 200, "{envelope}");
    envelope["result"].clone()
}

/// Uploads a version, which does not answer yet; its id.
pub(crate) async fn version(node: &Node, name: &str, code: &str, more: Value) -> String {
    let form = form(&metadata(more), &[("index.js", MODULE, code.as_bytes())]);
    let (status, envelope) = send(node, Method::POST, &path(&format!("scripts/{name}/versions")), form).await;
    assert_eq!(status, 200, "{envelope}");
    envelope["result"]["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn refusal(node: &Node, form: Form) -> (u16, u64, String) {
    let (status, envelope) = send(node, Method::PUT, &path("scripts/app"), form).await;
    let error = &envelope["errors"][0];
    (status, error["code"].as_u64().unwrap_or(0), error["message"].as_str().unwrap_or_default().to_owned())
}

pub(crate) async fn bindings(node: &Node, name: &str) -> Value {
    node.ok("GET", &path(&format!("scripts/{name}/settings")), None).await["bindings"].clone()
}

#[tokio::test]
async fn a_worker_is_deployed_for_the_first_time_by_the_calls_that_wrangler_makes() {
    let node = Node::start().await;
    assert_eq!(node.refused("GET", &path("services/app"), None).await, (404, 10_090));
    assert_eq!(node.refused("GET", &path("scripts/app/deployments"), None).await, (404, 10_007));
    assert_eq!(node.refused("GET", &path("scripts/app/settings"), None).await, (404, 10_007));
    let more = json!({
        "bindings": [
            {"name": "GREETING", "type": "plain_text", "text": "hello"},
            {"name": "LIMITS", "type": "json", "json": {"a": [1, null]}},
        ],
        "compatibility_flags": ["nodejs_compat"],
        "observability": {"enabled": true},
    });
    let form = form(
        &metadata(more),
        &[
            ("index.js", MODULE, b"export default { fetch() { return new Response(\"v1\") } }"),
            ("./0123-add.wasm", "application/wasm", b"\0asm\x01\0\0\0"),
            ("a.txt", "text/plain", "ä".as_bytes()),
            ("a.bin", "application/octet-stream", b"\xff\0"),
        ],
    );
    let put = path("scripts/app?excludeScript=true&bindings_inherit=strict");
    let (status, envelope) = send(&node, Method::PUT, &put, form).await;
    assert_eq!(status, 200, "{envelope}");
    let made = &envelope["result"];
    assert_eq!((&made["id"], &made["has_modules"]), (&json!("app"), &json!(true)));
    assert!(made.get("startup_time_ms").is_none(), "nobody has run it: {made}");

    let deployments = node.ok("GET", &path("scripts/app/deployments"), None).await;
    let shares = &deployments["deployments"][0]["versions"];
    assert_eq!(shares[0]["percentage"], 100.0);
    let id = shares[0]["version_id"].as_str().unwrap();
    assert_eq!(made["deployment_id"], id.replace('-', ""));
    let shown = node.ok("GET", &path(&format!("scripts/app/versions/{id}")), None).await;
    assert_eq!((&shown["number"], &shown["metadata"]["source"]), (&json!(1), &json!("wrangler")));
    assert_eq!(shown["resources"]["script"]["etag"], made["etag"]);
    assert_eq!(
        shown["resources"]["bindings"],
        json!([
            {"name": "GREETING", "type": "plain_text", "text": "hello"},
            {"name": "LIMITS", "type": "json", "json": {"a": [1, null]}},
        ])
    );
    let runtime = &shown["resources"]["script_runtime"];
    assert_eq!(runtime["compatibility_date"], "2026-11-01");
    assert_eq!(runtime["compatibility_flags"], json!(["nodejs_compat"]));

    let subdomain = json!({"enabled": false, "previews_enabled": false});
    assert_eq!(node.ok("GET", &path("scripts/app/subdomain"), None).await, subdomain);
    let off = Some(json!({"enabled": false}));
    assert_eq!(node.ok("POST", &path("scripts/app/subdomain"), off).await, subdomain);
    let service = node.ok("GET", &path("services/app"), None).await;
    let script = &service["default_environment"]["script"];
    assert_eq!((&script["tag"], &script["last_deployed_from"]), (&made["tag"], &json!("wrangler")));
    let scripts = node.ok("GET", &path("scripts"), None).await;
    assert_eq!((scripts.as_array().unwrap().len(), &scripts[0]["id"]), (1, &json!("app")));
}

#[tokio::test]
async fn a_worker_that_exists_is_deployed_by_versions_and_rolled_back() {
    let node = Node::start().await;
    deployed(&node, "app").await;
    let first = node.ok("GET", &path("scripts/app/versions"), None).await["items"][0]["id"].clone();
    let said = json!({"annotations": {"workers/message": "second", "workers/tag": "v2"}});
    let second = version(&node, "app", "export default { a: 2 }", said).await;
    let deployments = path("scripts/app/deployments");
    let in_force =
        node.ok("GET", &deployments, None).await["deployments"][0]["versions"][0]["version_id"].clone();
    assert_eq!(in_force, first, "a version that was only uploaded does not answer");

    let deploy = |versions: Value| json!({"strategy": "percentage", "versions": versions, "annotations": {"workers/message": "why"}});
    let split = json!([{"version_id": first, "percentage": 90.5}, {"version_id": second, "percentage": 9.5}]);
    let made = node.ok("POST", &deployments, Some(deploy(split.clone()))).await;
    assert_eq!((&made["versions"], &made["annotations"]["workers/message"]), (&split, &json!("why")));
    let all = json!([{"version_id": second, "percentage": 100}]);
    node.ok("POST", &deployments, Some(deploy(all))).await;
    let back = json!([{"version_id": first, "percentage": 100}]);
    let rolled = node.ok("POST", &deployments, Some(deploy(back))).await;
    let listed = node.ok("GET", &deployments, None).await["deployments"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 4, "the latest and the former ones");
    assert_eq!((&listed[0], &listed[2]["id"]), (&rolled, &made["id"]));
    let one = format!("scripts/app/deployments/{}", made["id"].as_str().unwrap());
    assert_eq!(node.ok("GET", &path(&one), None).await, made);

    let versions = node.ok("GET", &path("scripts/app/versions"), None).await["items"].clone();
    assert_eq!((&versions[0]["id"], &versions[0]["number"]), (&json!(second), &json!(2)), "the latest first");
    assert_eq!(versions[0]["annotations"], json!({"workers/message": "second", "workers/tag": "v2"}));
    assert_eq!(versions[0]["metadata"]["author_id"], node.token.split('_').next().unwrap());

    let unknown = "00000000-0000-4000-8000-000000000000";
    for (versions, refused) in [
        (json!([{"version_id": unknown, "percentage": 100}]), (404, 10_221)),
        (json!([{"version_id": "x", "percentage": 100}]), (404, 10_221)),
        (json!([{"version_id": first, "percentage": 99}]), (400, 10_006)),
        (json!([]), (400, 10_006)),
    ] {
        assert_eq!(
            node.refused("POST", &deployments, Some(deploy(versions.clone()))).await,
            refused,
            "{versions}"
        );
    }
    let none = form(&metadata(json!({})), &[("index.js", MODULE, b"")]);
    let (status, envelope) = send(&node, Method::POST, &path("scripts/none/versions"), none).await;
    assert_eq!((status, &envelope["errors"][0]["code"]), (404, &json!(10_007)), "a version of no Worker");
}

#[tokio::test]
async fn versions_and_deployments_are_bounded_and_those_that_answer_stay() {
    let node = Node::start().await;
    deployed(&node, "app").await;
    let first = node.ok("GET", &path("scripts/app/versions"), None).await["items"][0]["id"].clone();
    for number in 2..=limits::WORKER_VERSIONS_MAX + 3 {
        version(&node, "app", &format!("export default {number}"), json!({})).await;
    }
    let shown = node.ok("GET", &path("scripts/app/versions?deployable=true"), None).await["items"].clone();
    let numbers: Vec<_> =
        shown.as_array().unwrap().iter().map(|version| version["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len(), limits::WORKER_VERSIONS_MAX);
    assert_eq!(
        (numbers[0], numbers[98], numbers[99]),
        (103, 5, 1),
        "the oldest go, but for the one that answers"
    );
    assert_eq!(node.count::<WorkerVersion>(), limits::WORKER_VERSIONS_MAX);
    let deploy = json!({"versions": [{"version_id": first, "percentage": 100}]});
    for _ in 0..limits::WORKER_DEPLOYMENTS_MAX + 2 {
        node.ok("POST", &path("scripts/app/deployments"), Some(deploy.clone())).await;
    }
    assert_eq!(node.count::<WorkerDeployment>(), limits::WORKER_DEPLOYMENTS_MAX);
    node.ok("DELETE", &path("scripts/app"), None).await;
    assert_eq!((node.count::<WorkerVersion>(), node.count::<WorkerContent>()), (0, 0));
}

#[tokio::test]
async fn secrets_are_kept_over_uploads_come_back_with_a_version_and_are_shown_to_nobody() {
    let node = Node::start().await;
    let secrets = path("scripts/app/secrets");
    let put = |text: &str| Some(json!({"name": "TOKEN", "text": text, "type": "secret_text"}));
    assert_eq!(node.refused("PUT", &secrets, put("x")).await, (404, 10_007));
    deployed(&node, "app").await;
    let name = json!({"name": "TOKEN", "type": "secret_text"});
    assert_eq!(node.ok("PUT", &secrets, put("hunter2")).await, name);
    assert_eq!(node.ok("GET", &secrets, None).await, json!([name]));
    assert_eq!(node.ok("GET", &path("scripts/app/secrets/TOKEN"), None).await, name);
    let text_of = |node: &Node| {
        let snapshot = node.context.replica.snapshot().unwrap();
        let worker = snapshot.scan::<Worker>(&[]).next().unwrap().unwrap();
        let deployed = worker.deployment.unwrap().versions.version_at(0);
        let found = snapshot.get::<WorkerSecrets>(&(worker.account, worker.name, deployed)).unwrap();
        found.map(|secrets| secrets.texts.into_values().next().unwrap())
    };
    assert_eq!(text_of(&node).as_deref(), Some("hunter2"), "it answers at once");
    // Without a word about what is kept, secrets are, and variables are not.
    let vars = json!({"bindings": [{"name": "A", "type": "plain_text", "text": "a"}]});
    assert_eq!(upload(&node, "app", "export default 2", vars).await.0, 200);
    assert_eq!(bindings(&node, "app").await.as_array().unwrap().len(), 2);
    assert_eq!(upload(&node, "app", "export default 3", json!({})).await.0, 200);
    assert_eq!(bindings(&node, "app").await, json!([name]));
    assert_eq!(text_of(&node).as_deref(), Some("hunter2"));
    assert!(!node.call("GET", &path("scripts/app/settings"), None).await.1.to_string().contains("hunter2"));
    assert!(!node.call("GET", "/proxima/log", None).await.1.to_string().contains("hunter2"));

    let before = node.ok("GET", &path("scripts/app/versions"), None).await["items"][0]["id"].clone();
    assert_eq!(node.ok("DELETE", &path("scripts/app/secrets/TOKEN"), None).await, Value::Null);
    assert_eq!((node.ok("GET", &secrets, None).await, text_of(&node)), (json!([]), None));
    let back = json!({"versions": [{"version_id": before, "percentage": 100}]});
    node.ok("POST", &path("scripts/app/deployments"), Some(back)).await;
    assert_eq!(text_of(&node).as_deref(), Some("hunter2"), "with its version");
    assert_eq!(
        node.refused("PUT", &secrets, put("y")).await,
        (400, 10_215),
        "the latest is not what answers"
    );
    assert_eq!(node.refused("GET", &path("scripts/app/secrets/OTHER"), None).await, (404, 10_056));
    let long = "x".repeat(limits::WORKER_VARIABLE_OCTETS_MAX + 1);
    assert_eq!(node.refused("PUT", &secrets, put(&long)).await, (400, 10_006));
}

#[tokio::test]
async fn a_version_with_another_secret_inherits_the_rest_as_wrangler_asks_for_it() {
    let node = Node::start().await;
    let vars = json!({"bindings": [{"name": "A", "type": "plain_text", "text": "a"}, {"name": "S", "type": "secret_text", "text": "s"}]});
    assert_eq!(upload(&node, "app", "export default 1", vars).await.0, 200);
    // `wrangler versions secret put`.
    let put = json!({"bindings": [{"name": "A", "type": "inherit"}, {"name": "T", "type": "secret_text", "text": "t"}],
                     "keep_bindings": ["secret_key", "secret_text"]});
    version(&node, "app", "export default 1", put).await;
    let names = |shown: &Value| {
        shown
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&bindings(&node, "app").await), ["A", "T", "S"]);
    // `wrangler versions secret delete`.
    let delete = json!({"bindings": [{"name": "A", "type": "inherit"}, {"name": "T", "type": "inherit"}],
                        "keep_bindings": ["secret_key"]});
    version(&node, "app", "export default 1", delete).await;
    assert_eq!(names(&bindings(&node, "app").await), ["A", "T"]);
    let unknown = form(
        &metadata(json!({"bindings": [{"name": "X", "type": "inherit"}]})),
        &[("index.js", MODULE, b"")],
    );
    assert_eq!(refusal(&node, unknown).await.1, 10_057);
}

#[tokio::test]
async fn the_latest_version_is_changed_by_its_secrets_alone_as_newer_wranglers_do() {
    let node = Node::start().await;
    let (worker, latest) = (path("workers/app"), path("workers/app/versions/latest"));
    let patch = |env: Value| Some(json!({"env": env, "annotations": {"workers/message": "why"}}));
    let secret = |text: &str| json!({"type": "secret_text", "text": text});
    assert_eq!(node.refused("GET", &worker, None).await, (404, 10_007));
    assert_eq!(node.refused("PATCH", &latest, patch(json!({}))).await, (404, 10_007));
    let vars = json!({"bindings": [{"name": "A", "type": "plain_text", "text": "a"}, {"name": "S", "type": "secret_text", "text": "s"}]});
    assert_eq!(upload(&node, "app", "export default 1", vars).await.0, 200);
    let shown = node.ok("GET", &worker, None).await;
    let off = json!({"enabled": false, "previews_enabled": false});
    assert_eq!((&shown["name"], &shown["subdomain"]), (&json!("app"), &off), "{shown}");
    let deployed = node.ok("GET", &path("scripts/app/deployments"), None).await;

    let made = node.ok("PATCH", &latest, patch(json!({"T": secret("t"), "S": null}))).await;
    assert_eq!(made["annotations"], json!({"workers/message": "why", "workers/triggered_by": "secret"}));
    let t = json!({"name": "T", "type": "secret_text"});
    assert_eq!(node.ok("GET", &path("scripts/app/secrets"), None).await, json!([t]));
    assert_eq!(bindings(&node, "app").await.as_array().unwrap().len(), 2, "the variable stays");
    let versions = node.ok("GET", &path("scripts/app/versions"), None).await;
    assert_eq!((&versions["items"][0]["id"], &versions["items"][2]), (&made["id"], &Value::Null));
    assert_eq!(node.ok("GET", &path("scripts/app/deployments"), None).await, deployed, "it is not deployed");
    for (body, refused) in [
        (patch(json!({"OTHER": null})), (404, 10_056)),
        (patch(json!({"A": secret("x")})), (400, 10_006)),
        (patch(json!({"X": {"type": "plain_text", "text": "x"}})), (400, 1107)),
        (Some(json!({"main_module": "other.js"})), (400, 1107)),
    ] {
        assert_eq!(node.refused("PATCH", &latest, body.clone()).await, refused, "{body:?}");
    }
}

#[tokio::test]
async fn settings_are_changed_by_a_version_that_answers_at_once_and_bindings_are_given_whole() {
    let node = Node::start().await;
    let vars = json!({"bindings": [{"name": "A", "type": "plain_text", "text": "a"}, {"name": "S", "type": "secret_text", "text": "s"}]});
    assert_eq!(upload(&node, "app", "export default 1", vars).await.0, 200);
    // `wrangler secret bulk`: what is only named stays as it is.
    let settings = json!({"bindings": [{"type": "plain_text", "name": "A"}, {"type": "secret_text", "name": "S"},
                                       {"type": "secret_text", "name": "T", "text": "t"}]});
    let bulk = Form::new().text("settings", settings.to_string());
    let (status, envelope) = send(&node, Method::PATCH, &path("scripts/app/settings"), bulk).await;
    assert_eq!(status, 200, "{envelope}");
    assert_eq!(envelope["result"]["bindings"][0], json!({"name": "A", "type": "plain_text", "text": "a"}));
    assert_eq!(bindings(&node, "app").await.as_array().unwrap().len(), 3);
    let changed = json!({"compatibility_date": "2026-01-01", "limits": {"cpu_ms": 50, "subrequests": 7}, "tags": ["a"]});
    let shown = node.ok("PATCH", &path("scripts/app/settings"), Some(changed)).await;
    assert_eq!(
        (&shown["compatibility_date"], &shown["limits"], &shown["tags"]),
        (&json!("2026-01-01"), &json!({"cpu_ms": 50, "subrequests": 7}), &json!(["a"]))
    );
    assert_eq!(shown["bindings"].as_array().unwrap().len(), 3);
    let versions = node.ok("GET", &path("scripts/app/versions"), None).await["items"].clone();
    let deployed =
        node.ok("GET", &path("scripts/app/deployments"), None).await["deployments"][0]["versions"][0].clone();
    assert_eq!((versions.as_array().unwrap().len(), &deployed["version_id"]), (3, &versions[0]["id"]));

    let script = json!({"observability": {"enabled": true, "head_sampling_rate": 0.5}, "tags": ["b", "c"]});
    node.ok("PATCH", &path("scripts/app/script-settings"), Some(script)).await;
    let shown = node.ok("GET", &path("scripts/app/script-settings"), None).await;
    assert_eq!(
        (&shown["observability"]["head_sampling_rate"], &shown["tags"]),
        (&json!(0.5), &json!(["b", "c"]))
    );
    for (field, value) in [("tail_consumers", json!([{"service": "x"}])), ("unheard_of", json!(1))] {
        let body = Some(json!({ field: value }));
        assert_eq!(
            node.refused("PATCH", &path("scripts/app/script-settings"), body).await,
            (400, 1107),
            "{field}"
        );
    }
    assert_eq!(node.count::<WorkerVersion>(), 3);
}

#[tokio::test]
async fn cron_triggers_are_put_whole_and_go_with_their_worker() {
    let node = Node::start().await;
    deployed(&node, "app").await;
    let schedules = path("scripts/app/schedules");
    assert_eq!(node.ok("GET", &schedules, None).await, json!({"schedules": []}));
    let put = |crons: &[&str]| {
        let crons: Vec<Value> = crons.iter().map(|cron| json!({ "cron": cron })).collect();
        Some(Value::Array(crons))
    };
    let made = node.ok("PUT", &schedules, put(&["*/5 * * * *", "10 7 * * mon-fri"])).await;
    assert_eq!(made["schedules"][1]["cron"], "10 7 * * mon-fri");
    assert!(
        made["schedules"][0]["created_on"].is_string() && made["schedules"][0]["modified_on"].is_string()
    );
    let changed = node.ok("PUT", &schedules, put(&["0 0 * * *", "*/5 * * * *"])).await;
    assert_eq!(changed["schedules"][1], made["schedules"][0], "it is the one of before");
    assert_eq!(node.ok("GET", &schedules, None).await, changed);
    let many: Vec<String> = (0..51).map(|minute| format!("{minute} * * * *")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (crons, code) in [
        (&["61 * * * *"][..], 10006),
        (&["0 0 31 2 *"], 10006),
        (&["* * * * *", "* * * * *"], 10006),
        (&many, 10037),
    ] {
        assert_eq!(node.refused("PUT", &schedules, put(crons)).await, (400, code), "{crons:?}");
    }
    assert_eq!(node.ok("GET", &schedules, None).await, changed, "what is refused changes nothing");
    assert_eq!(node.refused("PUT", &path("scripts/none/schedules"), put(&[])).await.0, 404);
    assert_eq!(node.count::<WorkerTriggers>(), 1);
    node.ok("DELETE", &path("scripts/app"), None).await;
    assert_eq!(node.count::<WorkerTriggers>(), 0);
}

#[tokio::test]
async fn code_alone_is_put_and_all_else_stays() {
    let node = Node::start().await;
    let vars = json!({"bindings": [{"name": "A", "type": "plain_text", "text": "a"}]});
    assert_eq!(upload(&node, "app", "export default 1", vars).await.0, 200);
    let form = form(&json!({"main_module": "other.js"}), &[("other.js", MODULE, b"export default 2")]);
    let (status, envelope) = send(&node, Method::PUT, &path("scripts/app/content"), form).await;
    assert_eq!(status, 200, "{envelope}");
    assert_eq!(bindings(&node, "app").await, json!([{"name": "A", "type": "plain_text", "text": "a"}]));
    let got = node.request(Method::GET, &path("scripts/app")).bearer_auth(&node.token).send().await.unwrap();
    assert_eq!(got.headers()["cf-entrypoint"], "other.js");
    assert_eq!(got.headers()["etag"].to_str().unwrap().trim_matches('"'), envelope["result"]["etag"]);
}

#[tokio::test]
async fn a_worker_to_which_others_bind_is_deleted_only_by_force() {
    let node = Node::start().await;
    deployed(&node, "back").await;
    let bound = json!({"bindings": [{"name": "BACK", "type": "service", "service": "back", "entrypoint": "Api", "props": {"a": 1}},
                                    {"name": "SELF", "type": "service", "service": "front"}]});
    let (status, envelope) = upload(&node, "front", "export default 1", bound).await;
    assert_eq!(status, 200, "{envelope}");
    let references = node.ok("GET", &path("scripts/back/references"), None).await;
    assert_eq!(references["services"]["incoming"][0]["service"], "front");
    assert_eq!(node.ok("GET", &path("tails/by-consumer/back"), None).await, json!([]));
    assert_eq!(node.refused("DELETE", &path("scripts/back"), None).await, (400, 10_064));
    node.ok("DELETE", &path("scripts/back?force=true"), None).await;
    node.ok("DELETE", &path("scripts/front"), None).await;
    assert_eq!(node.count::<Worker>(), 0);
}

#[tokio::test]
async fn a_worker_that_was_deleted_comes_back_with_its_code_and_secrets() {
    let node = Node::settled(Options::default()).await;
    deployed(&node, "app").await;
    let secret = json!({"name": "TOKEN", "text": "hunter2", "type": "secret_text"});
    node.ok("PUT", &path("scripts/app/secrets"), Some(secret)).await;
    let before = node.context.replica.seq().0;
    let nouns = |node: &Node| {
        (node.count::<WorkerVersion>(), node.count::<WorkerContent>(), node.count::<WorkerSecrets>())
    };
    assert_eq!(nouns(&node), (2, 1, 1));
    node.ok("DELETE", &path("scripts/app"), None).await;
    assert_eq!(nouns(&node), (0, 0, 0));
    node.ok("POST", "/proxima/log/revert", Some(json!({"sequence": before}))).await;
    assert_eq!(nouns(&node), (2, 1, 1));
    let got = node.request(Method::GET, &path("scripts/app")).bearer_auth(&node.token).send().await.unwrap();
    assert!(got.text().await.unwrap().contains("export default {}"));
}

//! Uploads of Workers: what is taken, how it is stored and given back, and what is refused.

use futures_util::future::join_all;
use proxima_control::FIRST_ACCOUNT;
use proxima_model::{
    Worker, WorkerContent, WorkerContentUse, WorkerDeployment, WorkerSecrets, WorkerUsage, WorkerVersion,
    limits,
};
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::{
    harness::{Node, Options},
    workers::{MODULE, SCRIPT, bindings, deployed, form, metadata, path, refusal, send, upload},
};

#[tokio::test]
async fn code_is_given_back_as_it_was_sent() {
    let node = Node::start().await;
    let large: Vec<u8> = (0..253).cycle().take(limits::WORKER_PIECE_OCTETS * 2 + 5).collect();
    let modules: [(&str, &str, &[u8]); 3] = [
        ("index.js", MODULE, b"export default {}"),
        ("big.bin", "application/octet-stream", &large),
        ("e.txt", "text/plain", b""),
    ];
    let (status, envelope) =
        send(&node, Method::PUT, &path("scripts/app"), form(&metadata(json!({})), &modules)).await;
    assert_eq!(status, 200, "{envelope}");
    assert_eq!(node.count::<WorkerContent>(), 1 + 3 + 1, "pieces of a MiB");
    for of in ["scripts/app", "scripts/app/content", "scripts/app/content/v2"] {
        let response = node.request(Method::GET, &path(of)).bearer_auth(&node.token).send().await.unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with("multipart/form-data; boundary="), "{of}");
        assert_eq!(header("cf-entrypoint"), "index.js");
        let body = response.bytes().await.unwrap();
        for (name, content_type, octets) in &modules {
            let part = [
                format!("name=\"{name}\"; filename=\"{name}\"\r\nContent-Type: {content_type}\r\n\r\n")
                    .as_bytes(),
                octets,
                b"\r\n--",
            ]
            .concat();
            assert!(memchr::memmem::find(&body, &part).is_some(), "{of} lacks {name}");
        }
    }
}

#[tokio::test]
async fn a_script_of_service_worker_syntax_is_one_octet_string_and_may_have_blobs() {
    let node = Node::start().await;
    let code = "addEventListener(\"fetch\", (event) => event.respondWith(new Response(TEXT)))";
    let request = node.request(Method::PUT, &path("scripts/plain")).bearer_auth(&node.token);
    let response = request.header("content-type", SCRIPT).body(code).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let got =
        node.request(Method::GET, &path("scripts/plain")).bearer_auth(&node.token).send().await.unwrap();
    assert_eq!(got.headers()["content-type"], SCRIPT);
    assert_eq!(got.text().await.unwrap(), code);

    let metadata = json!({
        "body_part": "index.js",
        "bindings": [
            {"name": "TEXT", "type": "text_blob", "part": "TEXT"},
            {"name": "DATA", "type": "data_blob", "part": "DATA"},
            {"name": "WASM", "type": "wasm_module", "part": "WASM"},
        ],
    });
    let parts: [(&str, &str, &[u8]); 4] = [
        ("index.js", SCRIPT, code.as_bytes()),
        ("TEXT", "text/plain", b"text"),
        ("DATA", "application/octet-stream", b"\0"),
        ("WASM", "application/wasm", b"\0asm"),
    ];
    let (status, envelope) = send(&node, Method::PUT, &path("scripts/app"), form(&metadata, &parts)).await;
    assert_eq!(status, 200, "{envelope}");
    // Blobs are inherited with what they are of.
    let inherit = json!({"body_part": "index.js", "bindings": [{"name": "TEXT", "type": "inherit"}]});
    let again = form(&inherit, &[("index.js", SCRIPT, b"TEXT")]);
    assert_eq!(send(&node, Method::PUT, &path("scripts/app"), again).await.0, 200);
    let shown = bindings(&node, "app").await;
    assert_eq!(shown, json!([{"name": "TEXT", "type": "text_blob", "part": "TEXT"}]));
    let body = node
        .request(Method::GET, &path("scripts/app/content"))
        .bearer_auth(&node.token)
        .send()
        .await
        .unwrap();
    assert!(body.text().await.unwrap().contains("\r\n\r\ntext\r\n"));

    let missing =
        json!({"body_part": "index.js", "bindings": [{"name": "X", "type": "text_blob", "part": "X"}]});
    assert_eq!(refusal(&node, form(&missing, &[("index.js", SCRIPT, b"")])).await.1, 10_006, "no such part");
    let wrong = form(&json!({"body_part": "index.js"}), &[("index.js", MODULE, b"")]);
    assert_eq!(refusal(&node, wrong).await.1, 10_006, "a module is no script");
}

#[tokio::test]
async fn what_does_not_change_is_stored_once_and_goes_with_the_last_version_that_names_it() {
    let node = Node::start().await;
    let library = vec![b'x'; 10_000];
    let put = |name: &'static str, code: &'static str| {
        let modules: [(&str, &str, &[u8]); 2] =
            [("index.js", MODULE, code.as_bytes()), ("lib.txt", "text/plain", &library)];
        let form = form(&metadata(json!({})), &modules);
        let node = &node;
        async move {
            let (status, envelope) = send(node, Method::PUT, &path(&format!("scripts/{name}")), form).await;
            assert_eq!(status, 200, "{envelope}");
        }
    };
    let usage = |node: &Node| {
        node.context.replica.snapshot().unwrap().get::<WorkerUsage>(&FIRST_ACCOUNT).unwrap().unwrap().octets
    };
    put("one", "export default 1").await;
    put("one", "export default 22").await;
    put("two", "export default 1").await;
    assert_eq!(node.count::<WorkerContent>(), 3, "two codes, and the library of all three versions once");
    assert_eq!(usage(&node), 10_000 + 16 + 17);
    node.ok("DELETE", &path("scripts/one"), None).await;
    assert_eq!(node.count::<WorkerContent>(), 2, "what the other Worker needs stays");
    assert_eq!(usage(&node), 10_000 + 16);
    node.ok("DELETE", &path("services/two?force=true"), None).await;
    assert_eq!((node.count::<WorkerContent>(), node.count::<WorkerContentUse>(), usage(&node)), (0, 0, 0));
    assert_eq!((node.count::<Worker>(), node.count::<WorkerVersion>()), (0, 0));
    assert_eq!((node.count::<WorkerDeployment>(), node.count::<WorkerSecrets>()), (0, 0));
    assert_eq!(node.refused("DELETE", &path("scripts/one"), None).await, (404, 10_007));
}

#[tokio::test]
async fn what_is_not_offered_is_refused_by_its_name() {
    let node = Node::start().await;
    for kind in ["d1", "ai", "workflow"] {
        let form =
            form(&metadata(json!({"bindings": [{"name": "X", "type": kind}]})), &[("index.js", MODULE, b"")]);
        let (status, code, message) = refusal(&node, form).await;
        assert_eq!((status, code), (400, 1107), "{kind}");
        assert!(message.contains(kind) && message.contains('X'), "{message}");
    }
    for more in [
        json!({"tail_consumers": [{"service": "x"}]}),
        json!({"limits": {"memory_mb": 1}}),
        json!({"unheard_of": 1}),
        json!({"annotations": {"workers/alias": "x"}}),
        json!({"bindings": [{"name": "X", "type": "service", "service": "app", "environment": "staging"}]}),
    ] {
        let form = form(&metadata(more.clone()), &[("index.js", MODULE, b"")]);
        assert_eq!(refusal(&node, form).await.1, 1107, "{more}");
    }
    let python = form(&json!({"main_module": "index.py"}), &[("index.py", "text/x-python", b"")]);
    assert_eq!(refusal(&node, python).await.1, 1107);
    deployed(&node, "app").await;
    let on = Some(json!({"enabled": true}));
    assert_eq!(node.refused("POST", &path("scripts/app/subdomain"), on).await, (400, 1107));
    assert_eq!(node.refused("GET", &path("subdomain"), None).await, (400, 1107));
    // What asks for nothing is no reason to refuse.
    let nothing = json!({"logpush": false, "tail_consumers": [], "placement": null, "usage_model": "standard", "keep_assets": true,
                         "code_update_strategy": {"mode": "deferred", "max_delay": 300}});
    assert_eq!(upload(&node, "app", "export default 1", nothing).await.0, 200);
}

#[tokio::test]
async fn hints_that_have_no_effect_are_taken_and_it_is_said() {
    let node = Node::with(Options { tries_workers: true, ..Options::default() }).await;
    let told = |envelope: &Value| {
        let messages = envelope["messages"].as_array().unwrap().iter();
        messages
            .map(|message| message["message"].as_str().unwrap().split(':').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for (hints, about) in [
        (json!({"logpush": false, "placement": {}, "limits": {"cpu_ms": 1_000}}), &[][..]),
        (json!({"placement": {"mode": "smart"}}), &["placement"]),
        (
            json!({"logpush": true, "placement": {"mode": "smart"}, "limits": {"cpu_ms": 1_001}}),
            &["placement", "logpush", "limits.cpu_ms"],
        ),
    ] {
        let (status, envelope) = upload(&node, "app", "export default 1", hints.clone()).await;
        assert_eq!(
            (status, told(&envelope)),
            (200, about.iter().map(|&one| one.to_owned()).collect()),
            "{hints}"
        );
        let (status, envelope) = node.call("PATCH", &path("scripts/app/settings"), Some(hints.clone())).await;
        assert_eq!((status, told(&envelope).len()), (200, about.len()), "{hints}: {envelope}");
        let form = form(&metadata(hints.clone()), &[("index.js", MODULE, b"")]);
        let (status, envelope) = send(&node, Method::POST, &path("scripts/app/versions"), form).await;
        assert_eq!((status, told(&envelope).len()), (200, about.len()), "{hints}");
    }
    let settings = node.ok("GET", &path("scripts/app/settings"), None).await;
    assert_eq!((&settings["placement"], &settings["logpush"]), (&json!({}), &json!(false)));
}

#[tokio::test]
async fn flags_that_are_experimental_are_refused_as_elsewhere() {
    let node = Node::start().await;
    let flags = json!({"compatibility_flags": ["nodejs_compat", "experimental"]});
    let (status, code, message) =
        refusal(&node, form(&metadata(flags.clone()), &[("index.js", MODULE, b"")])).await;
    assert_eq!((status, code), (400, 10_021));
    assert!(message.contains("The compatibility flag experimental is experimental"), "{message}");
    deployed(&node, "app").await;
    assert_eq!(node.refused("PATCH", &path("scripts/app/settings"), Some(flags)).await, (400, 10_021));
}

#[tokio::test]
async fn a_version_can_be_told_what_it_is() {
    let node = Node::start().await;
    let binding = json!({"name": "VERSION", "type": "version_metadata"});
    let (status, envelope) =
        upload(&node, "app", "export default 1", json!({"bindings": [binding.clone()]})).await;
    assert_eq!(status, 200, "{envelope}");
    assert_eq!(bindings(&node, "app").await, json!([binding.clone()]));
    let inherited = json!({"bindings": [{"name": "NOW", "type": "inherit", "old_name": "VERSION"}]});
    assert_eq!(upload(&node, "app", "export default 2", inherited).await.0, 200);
    assert_eq!(bindings(&node, "app").await, json!([{"name": "NOW", "type": "version_metadata"}]));
}

#[tokio::test]
async fn bad_uploads_are_refused_and_leave_nothing() {
    let node = Node::start().await;
    let module = |octets: &'static [u8]| ("index.js", MODULE, octets);
    let long = "x".repeat(limits::WORKER_VARIABLE_OCTETS_MAX + 1);
    let text =
        |name: &str, text: &str| json!({"bindings": [{"name": name, "type": "plain_text", "text": text}]});
    let most = "x".repeat(limits::WORKER_VARIABLE_OCTETS_MAX);
    let variable = |number: usize| json!({"name": format!("V{number}"), "type": "plain_text", "text": most});
    let many = json!({"bindings": (0..=(1 << 20) / most.len()).map(variable).collect::<Vec<_>>()});
    for (form, code, why) in [
        (form(&json!({}), &[module(b"")]), 10_006, "no main_module"),
        (
            form(&json!({"main_module": "other.js"}), &[module(b"")]),
            10_006,
            "a main_module that is not there",
        ),
        (
            form(&json!({"main_module": "a.txt"}), &[("a.txt", "text/plain", b"")]),
            10_006,
            "a text as main_module",
        ),
        (form(&json!({"main_module": "index.js", "body_part": "index.js"}), &[module(b"")]), 10_006, "both"),
        (form(&metadata(json!({"compatibility_date": "soon"})), &[module(b"")]), 10_006, "no date"),
        (form(&metadata(json!({"compatibility_date": "9999-01-01"})), &[module(b"")]), 10_006, "the future"),
        (form(&metadata(json!({"compatibility_flags": ["a b"]})), &[module(b"")]), 10_006, "no flag"),
        (form(&metadata(json!({"limits": {"cpu_ms": 0}})), &[module(b"")]), 10_006, "no time"),
        (form(&metadata(json!({"limits": {"subrequests": 0}})), &[module(b"")]), 10_006, "no subrequests"),
        (form(&metadata(many), &[module(b"")]), 10_006, "more than the engine takes"),
        (form(&metadata(text("1a", "")), &[module(b"")]), 10_006, "a binding that code cannot name"),
        (form(&metadata(text("A", &long)), &[module(b"")]), 10_006, "a variable that is too long"),
        (
            form(
                &metadata(json!({"bindings": [{"name": "X", "type": "service", "service": "none"}]})),
                &[module(b"")],
            ),
            10_006,
            "a Worker that is not there",
        ),
        (form(&metadata(json!({"tags": vec!["a"; 9]})), &[module(b"")]), 10_006, "too many tags"),
        (form(&metadata(json!({})), &[module(b"\xff")]), 10_006, "code that is not UTF-8"),
        (Form::new().text("metadata", "{"), 9207, "metadata that is not JSON"),
        (Form::new().part("index.js", Part::text("").mime_str(MODULE).unwrap()), 10_006, "no metadata"),
    ] {
        let (status, found, message) = refusal(&node, form).await;
        assert_eq!((status, found), (400, code), "{why}: {message}");
    }
    let large = vec![b' '; limits::WORKER_OCTETS_MAX + 1];
    let (status, code, _) = refusal(&node, form(&metadata(json!({})), &[("index.js", MODULE, &large)])).await;
    assert_eq!((status, code), (413, 10_027), "a Worker that is too large");
    let larger = vec![b' '; limits::WORKER_OCTETS_MAX + (3 << 20)];
    let (status, code, _) =
        refusal(&node, form(&metadata(json!({})), &[("index.js", MODULE, &larger)])).await;
    assert_eq!((status, code), (413, 10_027), "a body that is too large");
    for name in ["-app", "App", "a.b", &"a".repeat(64)] {
        assert_eq!(upload(&node, name, "", json!({})).await.0, 400, "{name}");
    }
    assert_eq!(node.refused("PUT", &path("scripts/app"), Some(json!({}))).await, (415, 6007));
    assert_eq!((node.count::<Worker>(), node.count::<WorkerContent>()), (0, 0));
}

#[tokio::test]
async fn a_worker_of_the_largest_size_is_stored_and_replaced() {
    let node = Node::start().await;
    for fill in [b'1', b'2'] {
        let code = vec![fill; limits::WORKER_OCTETS_MAX];
        let form = form(&metadata(json!({})), &[("index.js", MODULE, &code)]);
        let (status, envelope) = send(&node, Method::PUT, &path("scripts/app"), form).await;
        assert_eq!(status, 200, "{envelope}");
    }
    assert_eq!(node.count::<WorkerContent>(), 20, "both versions are kept");
}

#[tokio::test]
async fn an_upload_that_is_sent_again_under_its_key_is_made_once() {
    let node = Node::start().await;
    let send = async || {
        let form = form(&metadata(json!({})), &[("index.js", MODULE, b"export default 1")]);
        let request = node.request(Method::PUT, &path("scripts/app")).bearer_auth(&node.token);
        let response = request.header("idempotency-key", "once").multipart(form).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap()["result"].clone())
    };
    let (first, again) = (send().await, send().await);
    assert_eq!(first.0, 200);
    assert_eq!(first, again);
    assert_eq!(node.count::<WorkerVersion>(), 1);
}

/// A Worker of so many modules, each with a content of its own.
fn many(modules: usize, fill: &str) -> Form {
    let mut many = form(&metadata(json!({})), &[("index.js", MODULE, fill.as_bytes())]);
    for number in 1..modules {
        let part = Part::text(format!("{fill} {number}")).file_name("a").mime_str("text/plain").unwrap();
        many = many.part(format!("{number}.txt"), part);
    }
    many
}

#[tokio::test]
async fn a_worker_that_is_more_than_one_append_removes_is_gone_all_the_same() {
    let node = Node::settled(Options::default()).await;
    for fill in ["first", "second"] {
        let (status, envelope) = send(&node, Method::PUT, &path("scripts/app"), many(800, fill)).await;
        assert_eq!(status, 200, "{envelope}");
    }
    assert_eq!(node.count::<WorkerContent>(), 1_600);
    let before = node.context.replica.seq().0;
    node.ok("DELETE", &path("scripts/app"), None).await;
    assert_eq!(node.context.replica.seq().0, before + 2, "in two appends");
    assert_eq!(
        (node.count::<Worker>(), node.count::<WorkerVersion>(), node.count::<WorkerContent>()),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_worker_has_so_many_modules_and_no_more() {
    let node = Node::start().await;
    let (status, envelope) =
        send(&node, Method::PUT, &path("scripts/app"), many(limits::WORKER_MODULES_MAX, "x")).await;
    assert_eq!(status, 200, "{envelope}");
    let (status, code, _) = refusal(&node, many(limits::WORKER_MODULES_MAX + 1, "x")).await;
    assert_eq!((status, code), (413, 10_027));
}

#[tokio::test]
async fn uploads_and_deletions_at_once_count_a_shared_content_right() {
    let node = Node::start().await;
    let names: Vec<String> = (0..6).map(|number| format!("app-{number}")).collect();
    let uploads = names.iter().map(|name| upload(&node, name, "export default 1", json!({})));
    for (status, envelope) in join_all(uploads).await {
        assert_eq!(status, 200, "{envelope}");
    }
    let uses = |node: &Node| {
        let snapshot = node.context.replica.snapshot().unwrap();
        snapshot.scan::<WorkerContentUse>(&[]).map(|found| found.unwrap().versions).collect::<Vec<_>>()
    };
    assert_eq!((uses(&node), node.count::<WorkerContent>()), (vec![6], 1));
    let paths: Vec<String> = names.iter().map(|name| path(&format!("scripts/{name}"))).collect();
    join_all(paths.iter().map(|path| node.ok("DELETE", path, None))).await;
    assert_eq!((uses(&node), node.count::<WorkerContent>(), node.count::<Worker>()), (vec![], 0, 0));
}

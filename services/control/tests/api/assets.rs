//! Static assets: sessions of uploads, files, what versions name of them, and what is swept.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proxima_control::FIRST_ACCOUNT;
use proxima_model::{
    AssetConfig, HtmlHandling, NotFoundHandling, Timestamp, WorkerAsset, WorkerAssetSession, WorkerContent,
    WorkerContentUse, WorkerFirst, WorkerUsage, WorkerVersion, limits,
};
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    harness::{Node, Options},
    workers::{MODULE, form, metadata, path, send},
};

const UPLOAD: &str = "assets/upload?base64=true";

/// Files by their paths.
type Files<'a> = BTreeMap<&'a str, &'a [u8]>;

fn hash(octets: &[u8]) -> String {
    hex::encode(&Sha256::digest(octets)[..16])
}

fn manifest(files: &Files<'_>) -> Value {
    let file = |(path, octets): (&&str, &&[u8])| {
        ((*path).to_owned(), json!({ "hash": hash(octets), "size": octets.len() }))
    };
    json!({ "manifest": files.iter().map(file).collect::<serde_json::Map<_, _>>() })
}

/// Begins a session; its token and the buckets of what is missing.
async fn session(node: &Node, worker: &str, files: &Files<'_>) -> (String, Vec<Vec<String>>) {
    let at = path(&format!("scripts/{worker}/assets-upload-session"));
    let begun = node.ok("POST", &at, Some(manifest(files))).await;
    let buckets = serde_json::from_value(begun["buckets"].clone()).unwrap();
    (begun["jwt"].as_str().unwrap().to_owned(), buckets)
}

/// Uploads files, as wrangler does.
async fn send_files(node: &Node, at: &str, jwt: &str, files: &[(String, Vec<u8>)]) -> (u16, Value) {
    let mut form = Form::new();
    for (hash, octets) in files {
        let part = Part::text(BASE64_STANDARD.encode(octets)).file_name(hash.clone());
        form = form.part(hash.clone(), part.mime_str("text/css; charset=utf-8").unwrap());
    }
    let response =
        node.request(Method::POST, &path(at)).bearer_auth(jwt).multipart(form).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Uploads what is missing; the token with which a version names the files.
async fn complete(node: &Node, worker: &str, files: &Files<'_>) -> String {
    let (jwt, buckets) = session(node, worker, files).await;
    let mut complete = jwt.clone();
    for (index, bucket) in buckets.iter().enumerate() {
        let of_bucket = bucket.iter().map(|wanted| {
            let octets = files.values().find(|octets| hash(octets) == *wanted).unwrap();
            (wanted.clone(), octets.to_vec())
        });
        let (status, envelope) = send_files(node, UPLOAD, &jwt, &of_bucket.collect::<Vec<_>>()).await;
        let is_last = index + 1 == buckets.len();
        assert_eq!(status, if is_last { 201 } else { 202 }, "{envelope}");
        if is_last {
            complete = envelope["result"]["jwt"].as_str().unwrap().to_owned();
        }
    }
    complete
}

/// Uploads a version of assets alone, or with code.
async fn put(node: &Node, worker: &str, metadata: Value, code: bool) -> (u16, Value) {
    let modules: [(&str, &str, &[u8]); 1] = [("index.js", MODULE, b"export default {}")];
    let form = form(&metadata, if code { &modules } else { &[] });
    send(node, Method::PUT, &path(&format!("scripts/{worker}")), form).await
}

fn stored(node: &Node, worker: &str) -> WorkerVersion {
    let versions = node.context.replica.snapshot().unwrap();
    let all = versions.scan::<WorkerVersion>(&[&FIRST_ACCOUNT, &worker]).map(Result::unwrap);
    all.max_by_key(|version| version.number).unwrap()
}

fn usage(node: &Node) -> WorkerUsage {
    node.context.replica.snapshot().unwrap().get(&FIRST_ACCOUNT).unwrap().unwrap()
}

#[tokio::test]
async fn a_site_is_deployed_as_wrangler_does_it_and_again_with_what_changed() {
    let node = Node::start().await;
    let mut files =
        Files::from([("/index.html", &b"<h1>one</h1>"[..]), ("/a.css", b"a {}"), ("/b.css", b"a {}")]);
    let (_, buckets) = session(&node, "site", &files).await;
    assert_eq!(buckets.iter().map(Vec::len).collect::<Vec<_>>(), [2], "two are the same file");
    let jwt = complete(&node, "site", &files).await;
    let config = json!({
        "html_handling": "force-trailing-slash", "not_found_handling": "404-page",
        "_headers": "/*\n  x-a: b", "_redirects": "/x /y",
    });
    let said = json!({ "assets": { "jwt": jwt, "config": config }, "compatibility_date": "2026-11-01" });
    let (status, envelope) = put(&node, "site", said, false).await;
    assert_eq!((status, &envelope["result"]["has_assets"]), (200, &json!(true)), "{envelope}");
    let version = stored(&node, "site");
    let assets = version.assets.clone().unwrap();
    assert!(!version.has_code() && assets.headers.is_some() && assets.redirects.is_some());
    let expected = AssetConfig {
        html_handling: HtmlHandling::ForceTrailingSlash,
        not_found_handling: NotFoundHandling::Page404,
        worker_first: WorkerFirst::Never,
    };
    assert_eq!(assets.config, expected);
    assert_eq!((node.count::<WorkerAsset>(), node.count::<WorkerAssetSession>()), (2, 1));
    let shown = node.ok("GET", &path("scripts"), None).await;
    assert_eq!(shown[0]["has_assets"], true);

    files.insert("/index.html", b"<h1>two</h1>");
    let (_, buckets) = session(&node, "site", &files).await;
    assert_eq!(buckets, [[hash(b"<h1>two</h1>")]], "only what changed");
    let jwt = complete(&node, "site", &files).await;
    let (_, buckets) = session(&node, "site", &files).await;
    assert!(buckets.is_empty(), "all is there: {buckets:?}");
    let form = form(&json!({ "assets": { "jwt": jwt } }), &[]);
    let (status, envelope) = send(&node, Method::POST, &path("scripts/site/versions"), form).await;
    assert_eq!(status, 200, "{envelope}");
    let changed = stored(&node, "site").assets.unwrap();
    assert_ne!(changed.manifest, assets.manifest);
    assert_eq!(changed.config, AssetConfig::default());
}

#[tokio::test]
async fn code_is_bound_to_its_assets_which_later_versions_keep_if_they_say_so() {
    let node = Node::start().await;
    let jwt = complete(&node, "app", &Files::from([("/a.txt", &b"a"[..])])).await;
    let first = json!(["/api/*", "!/api/docs/*"]);
    let with = |config: Value| {
        metadata(json!({
            "assets": { "jwt": jwt, "config": config },
            "bindings": [{ "name": "ASSETS", "type": "assets" }],
        }))
    };
    let (status, envelope) = put(&node, "app", with(json!({ "run_worker_first": first })), true).await;
    assert_eq!(status, 200, "{envelope}");
    let bindings = node.ok("GET", &path("scripts/app/settings"), None).await["bindings"].clone();
    assert_eq!(bindings, json!([{ "name": "ASSETS", "type": "assets" }]));
    let made = stored(&node, "app").assets.unwrap();
    assert!(matches!(made.config.worker_first, WorkerFirst::Paths(_)));

    let secret = json!({ "name": "TOKEN", "text": "x", "type": "secret_text" });
    node.ok("PUT", &path("scripts/app/secrets"), Some(secret)).await;
    assert_eq!(stored(&node, "app").assets.as_ref(), Some(&made), "a secret leaves assets as they are");
    let (status, envelope) = put(&node, "app", metadata(json!({ "keep_assets": true })), true).await;
    assert_eq!(status, 200, "{envelope}");
    assert_eq!(stored(&node, "app").assets.as_ref(), Some(&made));
    let other = json!({ "keep_assets": true, "assets": { "config": { "run_worker_first": true } } });
    assert_eq!(put(&node, "app", metadata(other), true).await.0, 200);
    let kept = stored(&node, "app").assets.unwrap();
    assert_eq!((kept.manifest, &kept.config.worker_first), (made.manifest, &WorkerFirst::Always));
    assert_eq!(put(&node, "app", metadata(json!({})), true).await.0, 200);
    assert_eq!(stored(&node, "app").assets, None, "who does not say so has none");

    for (more, code) in [
        (json!({ "bindings": [{ "name": "ASSETS", "type": "assets" }] }), true),
        (
            json!({ "assets": { "jwt": jwt }, "bindings": [{ "name": "A", "type": "assets" }, { "name": "B", "type": "assets" }] }),
            true,
        ),
        (json!({ "assets": {} }), true),
        (json!({ "assets": { "jwt": jwt, "config": { "run_worker_first": ["api"] } } }), true),
        (json!({ "assets": { "jwt": jwt, "config": { "html_handling": "sometimes" } } }), true),
    ] {
        let (status, envelope) = put(&node, "app", metadata(more.clone()), code).await;
        assert_eq!(status, 400, "{more}: {envelope}");
    }
    let alone = json!({ "assets": { "jwt": jwt, "config": { "run_worker_first": true } } });
    assert_eq!(put(&node, "app", alone, false).await.1["errors"][0]["code"], 10_006, "there is no code");
    let settings = Some(json!({ "assets": { "config": {} } }));
    assert_eq!(node.refused("PATCH", &path("scripts/app/script-settings"), settings).await, (400, 1107));
    let unknown = metadata(json!({ "assets": { "jwt": jwt, "config": { "serve_directly": true } } }));
    assert_eq!(put(&node, "app", unknown, true).await.1["errors"][0]["code"], 1107);
    let long = "#".repeat(limits::WORKER_ASSETS_RULES_OCTETS_MAX + 1);
    let long = metadata(json!({ "assets": { "jwt": jwt, "config": { "_headers": long } } }));
    assert_eq!(put(&node, "app", long, true).await.1["errors"][0]["code"], 10_006);
}

#[tokio::test]
async fn a_manifest_and_files_that_do_not_fit_each_other_are_refused() {
    let node = Node::start().await;
    let at = path("scripts/site/assets-upload-session");
    let file =
        |path: &str, hash: &str, size: u64| json!({ "manifest": { path: { "hash": hash, "size": size } } });
    let good = hash(b"a");
    for (what, body) in [
        ("a path without its slash", file("a", &good, 1)),
        ("a hash that is none", file("/a", "abc", 1)),
        ("a file that is too large", file("/a", &good, limits::WORKER_ASSET_OCTETS_MAX as u64 + 1)),
        (
            "a hash of two lengths",
            json!({ "manifest": { "/a": { "hash": good, "size": 1 }, "/b": { "hash": good, "size": 2 } } }),
        ),
    ] {
        assert_eq!(node.refused("POST", &at, Some(body)).await, (400, 10_006), "{what}");
    }
    let many: serde_json::Map<String, Value> = (0..=limits::WORKER_ASSETS_MAX)
        .map(|index| (format!("/{index}"), json!({ "hash": good, "size": 1 })))
        .collect();
    assert_eq!(node.refused("POST", &at, Some(json!({ "manifest": many }))).await, (400, 10_006));
    assert_eq!(node.count::<WorkerAssetSession>(), 0);

    let (jwt, _) = session(&node, "site", &Files::from([("/a", &b"a"[..]), ("/b", b"b")])).await;
    let send = |at: &'static str, files: Vec<(String, Vec<u8>)>| {
        let (node, jwt) = (&node, jwt.clone());
        async move { send_files(node, at, &jwt, &files).await }
    };
    for (what, files) in [
        ("of another hash", (hash(b"c"), b"c".to_vec())),
        ("of another length", (good.clone(), b"aa".to_vec())),
        ("of no hash", ("metadata".to_owned(), b"a".to_vec())),
    ] {
        let (status, envelope) = send(UPLOAD, vec![files]).await;
        assert_eq!((status, &envelope["errors"][0]["code"]), (400, &json!(10_006)), "{what}: {envelope}");
    }
    assert_eq!(
        send("assets/upload", vec![(good.clone(), b"a".to_vec())]).await.0,
        400,
        "without base64=true"
    );
    assert_eq!(node.count::<WorkerAsset>(), 0);

    let said = json!({ "assets": { "jwt": jwt } });
    assert_eq!(put(&node, "site", said, false).await.1["errors"][0]["code"], 10_006, "nothing is there yet");
    let (status, envelope) = send(UPLOAD, vec![(good, b"a".to_vec())]).await;
    assert_eq!((status, &envelope["result"]["jwt"]), (202, &Value::Null));
}

#[tokio::test]
async fn tokens_of_a_session_are_good_for_it_alone() {
    let node = Node::start().await;
    let files = Files::from([("/a", &b"a"[..])]);
    let (jwt, _) = session(&node, "site", &files).await;
    let a = vec![(hash(b"a"), b"a".to_vec())];
    let plain = node.token.clone();
    assert_eq!(send_files(&node, UPLOAD, &plain, &a).await.0, 400, "the API's own token names no session");
    let forged = format!("{}x", &jwt[..jwt.len() - 1]);
    let (status, envelope) = send_files(&node, UPLOAD, &forged, &a).await;
    assert!(status == 401 || status == 400, "{envelope}");
    let asked = node.request(Method::GET, &path("scripts")).bearer_auth(&jwt).send().await.unwrap();
    assert_eq!(asked.status().as_u16(), 400, "it opens nothing else");

    let complete = complete(&node, "site", &files).await;
    assert_eq!(send_files(&node, UPLOAD, &complete, &a).await.0, 400, "it is complete");
    let said = json!({ "assets": { "jwt": complete } });
    let (status, envelope) = put(&node, "other", said.clone(), false).await;
    assert_eq!(status, 400, "another Worker: {envelope}");
    run_out(&node).await;
    assert_eq!(put(&node, "site", said, false).await.0, 401, "it has run out");
    assert_eq!(send_files(&node, UPLOAD, &jwt, &a).await.0, 401, "it has run out");
}

/// Ends all sessions, and waits until that is seen.
async fn run_out(node: &Node) {
    let sessions = node.context.replica.snapshot().unwrap();
    let sessions = sessions.scan::<WorkerAssetSession>(&[]).map(|session| {
        let past = WorkerAssetSession { until: Timestamp::from_millis(1), ..session.unwrap() };
        node.context.replica.put(&past)
    });
    node.append(sessions.collect()).await;
    let is_gone = |snapshot: &proxima_ledger::Snapshot| {
        snapshot.scan::<WorkerAssetSession>(&[]).next().is_none()
            && !snapshot.scan::<WorkerUsage>(&[]).any(|usage| usage.unwrap().assets_unnamed)
    };
    node.until("the end of all sessions", is_gone).await;
}

#[tokio::test]
async fn files_that_nothing_names_are_swept_and_no_others() {
    let node = Node::start().await;
    let files = Files::from([("/a", &b"a"[..]), ("/b", b"bb")]);
    let jwt = complete(&node, "site", &files).await;
    let (status, envelope) = put(&node, "site", json!({ "assets": { "jwt": jwt } }), false).await;
    assert_eq!(status, 200, "{envelope}");
    let named = usage(&node).octets;
    complete(&node, "site", &Files::from([("/c", &b"ccc"[..]), ("/b", b"bb")])).await;
    assert_eq!(node.count::<WorkerAsset>(), 3);
    run_out(&node).await;
    assert_eq!(node.count::<WorkerAsset>(), 2, "what the version names stays");
    assert_eq!((node.count::<WorkerContent>(), usage(&node).octets), (3, named), "with its manifest");

    // Of a file that broke off, some pieces are there.
    let octets = vec![7; limits::WORKER_PIECE_OCTETS + 1];
    let content = proxima_model::ContentHash::from_bytes(Sha256::digest(&octets).into());
    let broken = WorkerAsset {
        account: FIRST_ACCOUNT,
        hash: hash(&octets).parse().unwrap(),
        content,
        octets: u32::try_from(octets.len()).unwrap(),
        content_type: None,
        is_whole: false,
    };
    let first = WorkerContent::pieces(FIRST_ACCOUNT, content, &octets).next().unwrap();
    let replica = &node.context.replica;
    let noted = WorkerUsage { assets_unnamed: true, ..usage(&node) };
    node.append(vec![replica.put(&broken), replica.put(&first), replica.put(&noted)]).await;
    run_out(&node).await;
    assert_eq!((node.count::<WorkerAsset>(), node.count::<WorkerContent>()), (2, 3));

    node.ok("DELETE", &path("scripts/site"), None).await;
    let is_empty = |snapshot: &proxima_ledger::Snapshot| snapshot.scan::<WorkerAsset>(&[]).next().is_none();
    node.until("the end of all files", is_empty).await;
    let left = (node.count::<WorkerContent>(), node.count::<WorkerContentUse>(), usage(&node).octets);
    assert_eq!(left, (0, 0, 0));
}

#[tokio::test]
async fn a_file_that_is_larger_than_an_append_comes_whole() {
    let node =
        Node::with(Options { control: "activation = \"trust\"".to_owned(), ..Options::default() }).await;
    let large: Vec<u8> = (0..251).cycle().take(9 * limits::WORKER_PIECE_OCTETS + 5).collect();
    let files = Files::from([("/large.bin", &large[..]), ("/small", b"s")]);
    let (_, buckets) = session(&node, "site", &files).await;
    assert_eq!(buckets.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    let jwt = complete(&node, "site", &files).await;
    let (status, envelope) = put(&node, "site", json!({ "assets": { "jwt": jwt } }), false).await;
    assert_eq!(status, 200, "{envelope}");
    let snapshot = node.context.replica.snapshot().unwrap();
    let asset =
        snapshot.get::<WorkerAsset>(&(FIRST_ACCOUNT, hash(&large).parse().unwrap())).unwrap().unwrap();
    assert!(asset.is_whole);
    let pieces = snapshot.scan::<WorkerContent>(&[&FIRST_ACCOUNT, &asset.content]);
    let whole: Vec<u8> = pieces.flat_map(|piece| piece.unwrap().octets).collect();
    assert!(whole == large, "{} octets", whole.len());
}

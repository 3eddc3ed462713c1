//! Keys and values by way of the real binary: stock `wrangler kv`, and a Worker that is bound to a namespace.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    dev::{DEADLINE, Dev},
    origin::Origin,
    process::output,
    r2::account,
    with_site,
    workers::{Project, get},
};

/// The JSON that `wrangler` prints, among what else it says.
fn printed(text: &str) -> Value {
    let at = text.find("[\n").or_else(|| text.find("{\n")).or_else(|| text.find("[]"));
    let from = &text[at.unwrap_or_else(|| panic!("no JSON in {text}"))..];
    serde_json::Deserializer::from_str(from).into_iter().next().unwrap().unwrap()
}

/// The namespaces of the account: their titles and ids.
fn namespaces(dev: &Dev, project: &Project) -> Vec<(String, String)> {
    let listed = printed(&project.wrangler(dev, &["kv", "namespace", "list"]));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(|one| (text(&one["title"]), text(&one["id"]))).collect()
}

/// A new namespace's id.
fn create(dev: &Dev, project: &Project, title: &str) -> String {
    project.wrangler(dev, &["kv", "namespace", "create", title, "--update-config=false"]);
    let found = namespaces(dev, project).into_iter().find(|(known, _)| known == title);
    found.unwrap_or_else(|| panic!("{title} is not there")).1
}

#[test]
fn stock_wrangler_manages_namespaces_keys_and_bulks() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    assert_eq!(namespaces(&dev, &project), []);
    let id = create(&dev, &project, "first");
    let (succeeded, told) =
        project.try_wrangler(&dev, &["kv", "namespace", "create", "first", "--update-config=false"]);
    assert!(!succeeded && told.contains("already exists"), "{told}");
    project.wrangler(&dev, &["kv", "namespace", "rename", "first", "--new-name", "renamed"]);
    assert_eq!(namespaces(&dev, &project), [("renamed".to_owned(), id.clone())]);

    let kv = |args: &[&str]| {
        let mut all = vec!["kv"];
        all.extend(args);
        all.extend(["--namespace-id", &id, "--remote"]);
        project.wrangler(&dev, &all)
    };
    let octets: Vec<u8> = (0..=255).collect();
    project.file("octets", &octets);
    kv(&["key", "put", "a/b ü:%2F", "größe", "--metadata", "{\"m\": [1]}", "--ttl", "600"]);
    kv(&["key", "put", "octets", "--path", "octets"]);
    assert!(kv(&["key", "get", "a/b ü:%2F", "--text"]).contains("größe"));
    let listed = printed(&kv(&["key", "list"]));
    assert_eq!((&listed[0]["name"], &listed[0]["metadata"]), (&json!("a/b ü:%2F"), &json!({ "m": [1] })));
    assert!(listed[0]["expiration"].as_u64().unwrap() > 1_700_000_000, "{listed}");
    assert_eq!(listed[1], json!({ "name": "octets" }));
    let zone = &dev.api("GET", "/zones?name=example.com", None, None).1["result"][0];
    let account = zone["account"]["id"].as_str().unwrap();
    let value = format!("/accounts/{account}/storage/kv/namespaces/{id}/values/octets");
    let url = format!("http://{}/client/v4{value}", dev.api);
    let authorization = format!("authorization: Bearer {}", dev.token());
    let got = dev.data().join("got");
    dev.curl(&["-sS", "-o", got.to_str().unwrap(), "-H", &authorization, &url]);
    assert_eq!(std::fs::read(&got).unwrap(), octets);

    project.file(
        "put.json",
        br#"[{"key": "x1", "value": "one"}, {"key": "x2", "value": "dHdv", "base64": true}]"#,
    );
    project.file("names.json", br#"["x1", "x2", "never"]"#);
    kv(&["bulk", "put", "put.json"]);
    let got = printed(&kv(&["bulk", "get", "names.json"]));
    let of = |name: &str| got[name].get("value").unwrap_or(&got[name]).clone();
    assert_eq!((of("x1"), of("x2")), (json!("one"), json!("two")), "{got}");
    kv(&["bulk", "delete", "names.json", "--force"]);
    kv(&["key", "delete", "octets"]);
    let left = printed(&kv(&["key", "list", "--prefix", "a/"]));
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(printed(&kv(&["key", "list", "--prefix", "x"])), json!([]));
    project.wrangler(&dev, &["kv", "namespace", "delete", "--namespace-id", &id, "-y"]);
    assert_eq!(namespaces(&dev, &project), []);
}

#[test]
fn a_worker_counts_visits_and_shares_its_namespace_with_the_api_over_restarts() {
    let origin = Origin::start();
    let mut dev = with_site(&origin);
    let id = create(&dev, &Project::new(), "visits");
    let project = Project::with(&format!("[[kv_namespaces]]\nbinding = \"VISITS\"\nid = \"{id}\"\n"));
    project.write(
        "export default { async fetch(request, { VISITS }) {
           const visits = Number(await VISITS.get('count') ?? 0) + 1;
           await VISITS.put('count', String(visits), { metadata: { path: new URL(request.url).pathname } });
           const { keys } = await VISITS.list();
           return Response.json([visits, await VISITS.get('from-the-api'), keys.map(({ name }) => name)]);
         } }",
    );
    let deployed = project.wrangler(&dev, &["deploy"]);
    assert!(deployed.contains("VISITS"), "{deployed}");
    let key = |args: &[&str]| {
        let mut all = vec!["kv", "key"];
        all.extend(args);
        all.extend(["--binding", "VISITS", "--remote"]);
        all.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let wrangler = |dev: &Dev, args: &[&str]| {
        let args = key(args);
        project.wrangler(dev, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    wrangler(&dev, &["put", "from-the-api", "hello"]);
    assert_eq!(get(&dev, "/app/one"), r#"[1,"hello",["count","from-the-api"]]"#);
    assert_eq!(get(&dev, "/app/two"), r#"[2,"hello",["count","from-the-api"]]"#, "it sees what it wrote");
    let count = wrangler(&dev, &["get", "count", "--text"]);
    assert!(count.trim_end().ends_with('2'), "{count}");
    let listed = printed(&wrangler(&dev, &["list"]));
    assert_eq!(listed[0], json!({ "name": "count", "metadata": { "path": "/app/two" } }));
    let (succeeded, told) =
        project.try_wrangler(&dev, &["kv", "namespace", "delete", "--namespace-id", &id, "-y"]);
    assert!(!succeeded && told.contains("namespace has associated scripts: app"), "{told}");

    dev.kill();
    dev.start_again();
    let answer = dev.curl_until(&["-sS", &dev.http_url(crate::HOST, "/app/three")], "[3,\"hello\"");
    assert!(answer.contains("count"), "{answer}");
}

#[test]
fn wrangler_deletes_a_worker_with_what_leads_to_it_and_leaves_its_namespace() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let id = create(&dev, &Project::new(), "kept");
    let project = Project::with(&format!("[[kv_namespaces]]\nbinding = \"KEPT\"\nid = \"{id}\"\n"));
    project.write("export default { fetch: () => new Response('the Worker') }");
    project.wrangler(&dev, &["deploy"]);
    assert_eq!(get(&dev, "/app/x"), "the Worker");
    project.wrangler(&dev, &["delete", "--force"]);
    let answer = get(&dev, "/app/x");
    assert!(answer.contains("the page /app/x"), "{answer}");
    assert_eq!(namespaces(&dev, &project).len(), 1);
    project.wrangler(&dev, &["kv", "namespace", "delete", "--namespace-id", &id, "-y"]);
}

#[test]
fn the_shortener_of_the_examples_keeps_its_links_and_exports_them() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::of_example("shortener", |settings| settings);
    // A namespace and a bucket that are not there, wrangler makes.
    let deployed =
        project.wrangler(&dev, &["deploy", "--domain", "go.example.com", "--triggers", "* * * * *"]);
    assert!(deployed.contains("All resources provisioned"), "{deployed}");
    let ask = |args: &[&str], path: &str| {
        let url = dev.http_url("go.example.com", path);
        let mut all = vec!["-sS", "-w", "%{http_code} %{redirect_url}"];
        all.extend(args);
        all.push(&url);
        dev.curl(&all)
    };
    let long = "https://www.example.com/a/long/path?q=a,b";
    assert!(ask(&["--data", long], "/?slug=kept").ends_with("/kept\n201 "));
    assert!(ask(&["--data", long], "/?slug=short").ends_with("/short\n201 "));
    assert_eq!(ask(&[], "/short"), format!("302 {long}"));
    // Its clicks are counted in an object of its own, for which the visitor does not wait.
    crate::cluster::until("\"count\":1}", || (true, ask(&[], "/short/clicks")));
    assert!(ask(&[], "/other/clicks").starts_with("[]"), "another link has others");
    assert!(ask(&[], "/short/clicks/more").ends_with("404 "));
    assert!(ask(&["--data", long], "/?slug=short").starts_with("that slug is taken"));
    assert!(ask(&["--data", "no URL"], "/").ends_with("400 "));
    assert_eq!(ask(&["-X", "DELETE"], "/short"), "204 ");
    assert!(ask(&[], "/short").ends_with("404 "));

    // The next minute comes within one, and it has time to run; at midnight its day is the one that follows.
    let within = Duration::from_secs(60) + DEADLINE;
    let (begun, authorization) = (Instant::now(), format!("authorization: Bearer {}", dev.token()));
    let exported = || {
        let day = output(Command::new("date").args(["-u", "+%F"])).1;
        let path =
            format!("/accounts/{}/r2/buckets/shortener-exports/objects/{}.csv", account(&dev), day.trim());
        let url = format!("http://{}/client/v4{path}", dev.api);
        dev.curl(&["-sS", "-H", &authorization, &url])
    };
    let mut last = exported();
    while last != format!("kept,{long}\n") {
        assert!(begun.elapsed() < within, "no such export: {last}\n{}", dev.log());
        last = exported();
    }
    dev.curl_until(&["-sS", &dev.http_url("go.example.com", "/")], "1 links");
}

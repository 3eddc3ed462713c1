//! Commands of stock `wrangler` that other tests do not run: secrets, versions, deployments, and what is not offered.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{Seek, Write},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    HOST,
    assets::versions,
    dev::{DEADLINE, Dev},
    origin::Origin,
    process::output,
    with_site,
    workers::{Project, get},
};

/// Of a Worker that answers with a word and its two secrets.
fn write(project: &Project, word: &str) {
    project.write(&format!(
        "export default {{ fetch: (request, {{ TOKEN, OTHER }}) => new Response(`{word} ${{TOKEN}} ${{OTHER}}`) }}"
    ));
}

/// What it prints when it reads this from its standard input.
fn reading(project: &Project, dev: &Dev, args: &[&str], input: &str) -> (bool, String) {
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(input.as_bytes()).unwrap();
    file.rewind().unwrap();
    let printed = output(project.command(dev, args).stdin(file));
    dev.until_in_force();
    printed
}

/// The JSON in what it prints.
fn told(project: &Project, dev: &Dev, args: &[&str]) -> Value {
    let text = project.wrangler(dev, args);
    let json = &text[text.find(['[', '{']).unwrap()..=text.rfind([']', '}']).unwrap()];
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn secrets_that_wrangler_puts_are_seen_by_the_next_request_and_stay_until_they_are_deleted() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    write(&project, "first");
    project.wrangler(&dev, &["deploy"]);
    assert_eq!(get(&dev, "/app/x"), "first undefined undefined");

    let (succeeded, text) = reading(&project, &dev, &["secret", "put", "TOKEN"], "one\n");
    assert!(succeeded && text.contains("Uploaded secret TOKEN"), "{text}");
    assert_eq!(get(&dev, "/app/x"), "first one undefined");
    project.file("secrets.json", br#"{ "TOKEN": "two", "OTHER": "also" }"#);
    let text = project.wrangler(&dev, &["secret", "bulk", "secrets.json"]);
    assert!(text.contains("2 secrets successfully uploaded"), "{text}");
    assert_eq!(get(&dev, "/app/x"), "first two also");
    let listed = told(&project, &dev, &["secret", "list"]);
    let names = listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap());
    assert_eq!(names.collect::<BTreeSet<_>>(), BTreeSet::from(["OTHER", "TOKEN"]));
    write(&project, "second");
    project.wrangler(&dev, &["deploy"]);
    assert_eq!(get(&dev, "/app/x"), "second two also", "a deployment keeps them");
    project.wrangler(&dev, &["secret", "delete", "TOKEN"]);
    assert_eq!(get(&dev, "/app/x"), "second undefined also");
}

#[test]
fn a_secret_of_a_version_that_wrangler_does_not_deploy_is_not_seen_until_it_does() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    write(&project, "first");
    project.wrangler(&dev, &["deploy"]);
    let (succeeded, text) = reading(&project, &dev, &["versions", "secret", "put", "TOKEN"], "three");
    assert!(succeeded, "{text}");
    assert_eq!(get(&dev, "/app/x"), "first undefined undefined");
    let (succeeded, text) = reading(&project, &dev, &["secret", "put", "TOKEN"], "four");
    assert!(
        !succeeded && text.contains("the latest version of your Worker isn't currently deployed"),
        "{text}"
    );
    let latest = versions(&project, &dev).pop().unwrap();
    project.wrangler(&dev, &["versions", "deploy", &format!("{latest}@100"), "-y"]);
    assert_eq!(get(&dev, "/app/x"), "first three undefined");
    let text = project.wrangler(&dev, &["versions", "secret", "list"]);
    assert!(text.contains("TOKEN"), "{text}");
}

#[test]
fn versions_that_wrangler_uploads_answer_as_it_deploys_them() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    write(&project, "first");
    project.wrangler(&dev, &["deploy"]);
    write(&project, "second");
    let text = project.wrangler(&dev, &["versions", "upload", "--tag", "v2", "--message", "the other"]);
    let all = versions(&project, &dev);
    let [first, second] = &all[..] else { panic!("{all:?}") };
    assert!(text.contains(second), "{text}");
    let word = || get(&dev, "/app/x").split(' ').next().unwrap().to_owned();
    assert_eq!(word(), "first", "what is uploaded is not deployed");
    let text = project.wrangler(&dev, &["versions", "view", second]);
    assert!(text.contains("v2") && text.contains("the other") && text.contains("GREETING"), "{text}");

    let halves = [format!("{first}@50"), format!("{second}@50")];
    let text = project.wrangler(&dev, &["versions", "deploy", &halves[0], &halves[1], "-y"]);
    assert!(text.contains(&format!("version {first} at 50%")), "{text}");
    let status = told(&project, &dev, &["deployments", "status", "--json"]);
    for version in [first, second] {
        let half = json!({ "version_id": version, "percentage": 50 });
        assert!(status["versions"].as_array().unwrap().contains(&half), "{status}");
    }
    let (begun, mut seen) = (Instant::now(), BTreeSet::new());
    while seen.len() < 2 {
        assert!(begun.elapsed() < DEADLINE, "only {seen:?}");
        seen.insert(word());
    }
    assert!(seen.iter().eq(["first", "second"]), "{seen:?}");

    project.wrangler(&dev, &["versions", "deploy", &format!("{second}@100%"), "-y", "--message", "all"]);
    assert!((0..32).all(|_| word() == "second"));
    let text = project.wrangler(&dev, &["deployments", "status"]);
    assert!(text.contains(second) && text.contains("100%") && !text.contains(first), "{text}");
    let listed = told(&project, &dev, &["deployments", "list", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed}");
    assert!(project.wrangler(&dev, &["versions", "list"]).contains("the other"));
}

#[test]
fn a_version_that_nobody_is_given_is_tried_by_its_id_and_says_which_it_is() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    // With hints, as templates have them.
    let project = Project::of(&format!(
        "name = \"app\"\nmain = \"main.js\"\ncompatibility_date = \"2026-11-01\"\nworkers_dev = false\n\
         preview_urls = false\nlogpush = true\nroutes = [{{ pattern = \"{HOST}/app/*\", zone_name = \"example.com\" }}]\n\
         [placement]\nmode = \"smart\"\n[version_metadata]\nbinding = \"VERSION\"\n"
    ));
    project.write(
        "export default { fetch: (request, { VERSION: { id, tag, timestamp } }) =>
           new Response(`${id} ${tag} ${Date.parse(timestamp) > 0}`) }",
    );
    project.wrangler(&dev, &["deploy"]);
    let first = versions(&project, &dev).pop().unwrap();
    assert_eq!(get(&dev, "/app/x"), format!("{first}  true"));
    project.wrangler(&dev, &["versions", "upload", "--tag", "v2"]);
    let second = versions(&project, &dev).pop().unwrap();
    let shares = [format!("{first}@100"), format!("{second}@0")];
    project.wrangler(&dev, &["versions", "deploy", &shares[0], &shares[1], "-y"]);
    assert_eq!(get(&dev, "/app/x"), format!("{first}  true"));
    let asked = |dictionary: &str| {
        let field = format!("Cloudflare-Workers-Version-Overrides: {dictionary}");
        dev.curl(&["-sS", "-H", &field, &dev.http_url(HOST, "/app/x")])
    };
    assert_eq!(asked(&format!("app=\"{second}\"")), format!("{second} v2 true"));
    assert_eq!(asked(&format!("other=\"{second}\"")), format!("{first}  true"));
}

#[test]
fn wrangler_deploys_triggers_alone_and_says_who_asks() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    write(&project, "here");
    project.wrangler(&dev, &["deploy"]);
    assert!(!get(&dev, "/other/x").contains("here"));
    let settings = format!(
        "name = \"app\"\nmain = \"main.js\"\ncompatibility_date = \"2026-11-01\"\nworkers_dev = false\n\
         preview_urls = false\nroutes = [{{ pattern = \"{HOST}/other/*\", zone_name = \"example.com\" }}]\n"
    );
    project.file("wrangler.toml", settings.as_bytes());
    let text = project.wrangler(&dev, &["triggers", "deploy"]);
    assert!(text.contains(&format!("{HOST}/other/*")), "{text}");
    assert!(get(&dev, "/other/x").starts_with("here "));
    let text = project.wrangler(&dev, &["whoami"]);
    assert!(text.contains("Proxima") && text.contains("API Token"), "{text}");
}

#[test]
fn what_is_not_offered_wrangler_says_by_its_name() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    for (command, product) in [
        ("d1 list", "D1 (Durable Objects have SQL)"),
        ("d1 create things", "D1"),
        ("hyperdrive list", "Hyperdrive"),
        ("vectorize list", "Vectorize"),
        ("pages project list", "Pages"),
        ("r2 bucket lock list things", "locks of buckets"),
    ] {
        let args: Vec<_> = command.split(' ').collect();
        let (succeeded, text) = project.try_wrangler(&dev, &args);
        let expected = format!("this network does not offer {product}");
        assert!(!succeeded && text.contains(&expected) && text.contains("[code: 1107]"), "{command}: {text}");
    }
    write(&project, "here");
    project.wrangler(&dev, &["deploy"]);
    let (succeeded, text) = project.try_wrangler(&dev, &["versions", "upload", "--preview-alias", "x"]);
    assert!(!succeeded && text.contains("--preview-alias) are not offered"), "{text}");
}

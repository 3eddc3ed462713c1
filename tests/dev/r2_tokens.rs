//! Tokens for single buckets by way of the real binary: what their keys may by S3, and what they themselves may by the API.

use std::process::Command;

use serde_json::{Value, json};

use crate::{
    dev::Dev,
    http3::python,
    process::output,
    r2::{account, buckets, keys, make_bucket, object},
};

const READ: &str = "Workers R2 Storage Bucket Item Read";
const WRITE: &str = "Workers R2 Storage Bucket Item Write";

/// A policy that gives what a group says on this.
fn policy(group: &str, resources: Value) -> Value {
    json!({ "effect": "allow", "permission_groups": [{ "name": group }], "resources": resources })
}

/// Makes a token with these policies: the answer's status, the code of its error, and the token's id and value.
fn make(dev: &Dev, policies: &[Value]) -> (String, u64, String, String) {
    let body = json!({ "name": "of buckets", "policies": policies });
    let (status, made) = dev.api("POST", "/user/tokens", Some(&body), None);
    let text = |name: &str| made["result"][name].as_str().unwrap_or_default().to_owned();
    (status, made["errors"][0]["code"].as_u64().unwrap_or_default(), text("id"), text("value"))
}

fn token(dev: &Dev, policies: &[Value]) -> String {
    let (status, code, _, value) = make(dev, policies);
    assert_eq!((status.as_str(), code), ("200", 0), "{policies:?}");
    value
}

/// The resource of a bucket.
fn of(dev: &Dev, bucket: &str) -> Value {
    json!({ format!("com.cloudflare.edge.r2.bucket.{}_{bucket}", account(dev)): "*" })
}

/// A server with the buckets `photos`, `others` and `european`.
fn with_buckets() -> Dev {
    let dev = Dev::start();
    for name in ["photos", "others"] {
        make_bucket(&dev, name);
    }
    let body = json!({ "name": "european" });
    let mut curl = dev.api_command("POST", &buckets(&dev), Some(&body), None);
    let (_, answer) = output(curl.args(["-H", "cf-r2-jurisdiction: eu"]));
    assert!(answer.ends_with("200"), "{answer}");
    dev
}

#[test]
fn keys_for_single_buckets_reach_what_is_in_them_and_nothing_else() {
    let dev = with_buckets();
    let photos = of(&dev, "default_photos");
    let every = json!({ format!("com.cloudflare.api.account.{}", account(&dev)): { "com.cloudflare.edge.r2.bucket.*": "*" } });
    let mover = [
        policy(READ, of(&dev, "default_others")),
        policy(WRITE, photos.clone()),
        policy(WRITE, of(&dev, "eu_european")),
    ];
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients");
    let mut pytest = Command::new(python());
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_s3_tokens.py"]).current_dir(scripts);
    pytest.env("PYTHONDONTWRITEBYTECODE", "1").env("PROXIMA_S3", format!("http://{}", dev.s3));
    for (name, value) in [
        ("OWNER", dev.token()),
        ("WRITER", token(&dev, &[policy(WRITE, photos.clone())])),
        ("READER", token(&dev, &[policy(READ, photos)])),
        ("MOVER", token(&dev, &mover)),
        ("ITEMS", token(&dev, &[policy(WRITE, every)])),
    ] {
        let (key, secret) = keys(&value);
        pytest.env(format!("PROXIMA_S3_{name}"), format!("{key}:{secret}"));
    }
    let (succeeded, text) = output(&mut pytest);
    assert!(succeeded, "{text}\n{}", dev.log());
}

#[test]
fn tokens_for_single_buckets_reach_what_is_in_them_by_the_api_and_nothing_else() {
    let dev = with_buckets();
    let writer =
        token(&dev, &[policy(WRITE, of(&dev, "default_photos")), policy(READ, of(&dev, "eu_european"))]);
    let all = buckets(&dev);
    let ask = |method: &str, path: &str, args: &[&str]| {
        let (_, text) = output(dev.api_command(method, path, None, Some(&writer)).args(args));
        text.rsplit_once('\n').unwrap().1.to_owned()
    };
    for (bucket, field) in [
        ("photos", "cf-r2-jurisdiction: default"),
        ("others", "x-a: b"),
        ("european", "cf-r2-jurisdiction: eu"),
    ] {
        let put = ["-X", "PUT", "--data-binary", "x", "-H", field];
        assert_eq!(object(&dev, &format!("{bucket}/objects/kept"), &put).0, "200", "{bucket}");
    }
    let write = ["--data-binary", "x"];
    for (method, path, args, status) in [
        ("PUT", "photos/objects/a/b", &write[..], "200"),
        ("GET", "photos/objects/a/b", &[], "200"),
        ("GET", "photos/objects/none", &[], "404"),
        ("DELETE", "photos/objects/a/b", &[], "200"),
        ("GET", "european/objects/kept", &["-H", "cf-r2-jurisdiction: eu"], "200"),
        ("PUT", "european/objects/kept", &["-H", "cf-r2-jurisdiction: eu", "--data-binary", "x"], "403"),
        ("DELETE", "european/objects/kept", &["-H", "cf-r2-jurisdiction: eu"], "403"),
        ("GET", "european/objects/kept", &[], "403"),
        ("GET", "photos/objects/kept", &["-H", "cf-r2-jurisdiction: eu"], "403"),
        ("GET", "photos/objects/kept", &["-H", "cf-r2-jurisdiction: moon"], "403"),
        ("GET", "others/objects/kept", &[], "403"),
        ("PUT", "others/objects/kept", &write, "403"),
        ("DELETE", "others/objects/kept", &[], "403"),
        ("GET", "nowhere/objects/kept", &[], "403"),
        ("GET", "photos", &[], "403"),
        ("DELETE", "photos", &[], "403"),
        ("PATCH", "photos", &["-H", "cf-r2-storage-class: Standard"], "403"),
        ("GET", "photos/usage", &[], "403"),
        ("GET", "photos/cors", &[], "403"),
        ("PUT", "photos/lifecycle", &write, "403"),
        ("GET", "photos/domains/custom", &[], "403"),
    ] {
        assert_eq!(ask(method, &format!("{all}/{path}"), args), status, "{method} {path} {args:?}");
    }
    assert_eq!(ask("GET", &all, &[]), "403");
    assert_eq!(
        ask("POST", &all, &["-H", "content-type: application/json", "-d", "{\"name\": \"more\"}"]),
        "403"
    );
    let rules = format!("/accounts/{}/event_notifications/r2/photos/configuration", account(&dev));
    assert_eq!(ask("GET", &rules, &[]), "403");
    assert_eq!(ask("GET", "/user/tokens/verify", &[]), "200");
    assert_eq!(ask("GET", "/user/tokens", &[]), "403");
}

#[test]
fn tokens_for_single_buckets_are_made_shown_and_changed_as_they_were_given() {
    let dev = with_buckets();
    let policies = [policy(WRITE, of(&dev, "default_photos")), policy(READ, of(&dev, "eu_european"))];
    let (_, _, id, value) = make(&dev, &policies);
    let path = format!("/user/tokens/{id}");
    let read = |bucket: &str| {
        let path = format!("{}/{bucket}/objects/none", buckets(&dev));
        dev.api("GET", &path, None, Some(&value)).0
    };
    let shown = dev.api("GET", &path, None, None).1["result"]["policies"].clone();
    for (shown, given) in shown.as_array().unwrap().iter().zip(&policies) {
        assert_eq!(shown["resources"], given["resources"]);
        assert_eq!(shown["permission_groups"][0]["name"], given["permission_groups"][0]["name"]);
    }
    let body = json!({ "name": "again", "policies": shown });
    assert_eq!(dev.api("PUT", &path, Some(&body), None).0, "200");
    assert_eq!((read("photos").as_str(), read("others").as_str()), ("404", "403"));
    let body = json!({ "name": "again", "policies": [policy(READ, of(&dev, "default_others"))] });
    assert_eq!(dev.api("PUT", &path, Some(&body), None).0, "200");
    assert_eq!((read("photos").as_str(), read("others").as_str()), ("403", "404"));

    // Nothing is given on a bucket that is not there, as nothing is on a zone.
    for (wrong, told) in [
        (policy(READ, of(&dev, "default_nowhere")), ("403", 1097)),
        (policy(READ, of(&dev, "default_european")), ("403", 1097)),
        (policy(READ, of(&dev, "eu_photos")), ("403", 1097)),
        (policy("Workers R2 Storage Write", of(&dev, "default_photos")), ("400", 1009)),
        (policy("All", of(&dev, "default_photos")), ("400", 1009)),
        (policy(READ, of(&dev, "photos")), ("400", 1009)),
        (
            policy(READ, json!({ format!("com.cloudflare.api.account.{}", account(&dev)): "*" })),
            ("400", 1009),
        ),
    ] {
        let (status, code, ..) = make(&dev, std::slice::from_ref(&wrong));
        assert_eq!((status.as_str(), code), told, "{wrong}");
    }
    // Whose bucket has gone can still be switched off.
    assert_eq!(dev.api("DELETE", &format!("{}/others", buckets(&dev)), None, None).0, "200");
    let policies = [policy(READ, of(&dev, "default_others"))];
    let body = json!({ "name": "again", "policies": policies, "status": "disabled" });
    assert_eq!(dev.api("PUT", &path, Some(&body), None).0, "200");
    let (_, groups) =
        dev.api("GET", "/user/tokens/permission_groups?scope=com.cloudflare.edge.r2.bucket", None, None);
    let names: Vec<_> = groups["result"].as_array().unwrap().iter().map(|group| &group["name"]).collect();
    assert_eq!(names, [READ, WRITE]);
    let named = "/user/tokens/permission_groups?name=Workers%20R2%20Storage%20Bucket%20Item%20Write";
    let (_, groups) = dev.api("GET", named, None, None);
    assert_eq!(groups["result"][0]["id"], "2efd5506f9c8494dacb1fa10a3e7d5b6", "{groups}");
    assert_eq!(groups["result"].as_array().unwrap().len(), 1);
}

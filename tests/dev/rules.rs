//! Rules of a zone, put by the API and seen by `curl`.

use serde_json::{Value, json};

use crate::{HOST, dev::Dev, origin::Origin, with_site};

fn put_cache_rules(dev: &Dev, rules: &Value) {
    let phase = "rulesets/phases/http_request_cache_settings/entrypoint";
    let path = format!("/zones/{}/{phase}", dev.zone("example.com"));
    let (code, answer) = dev.api("PUT", &path, Some(&json!({ "rules": rules })), None);
    assert_eq!(code, "200", "{answer}");
}

fn rule(description: &str, expression: &str, parameters: Value) -> Value {
    json!({
        "action": "set_cache_settings", "expression": expression, "description": description,
        "action_parameters": parameters,
    })
}

#[test]
fn cache_rules_decide_who_is_answered_from_the_cache_and_a_purge_forgets_what_they_stored() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    put_cache_rules(
        &dev,
        &json!([
            rule("sessions go past", "http.cookie contains \"session=\"", json!({"cache": false})),
            rule(
                "no tracking in keys",
                "http.host eq \"www.example.com\" and starts_with(http.request.uri.path, \"/shop/\")",
                json!({
                    "cache_key": {"custom_key": {"query_string": {"exclude": {"list": ["utm"]}}}},
                    "browser_ttl": {"mode": "override_origin", "default": 60},
                }),
            ),
        ]),
    );
    let url = |path: &str| dev.http_url(HOST, path);
    let session = |path: &str| dev.curl(&["-sSi", "-b", "a=b; session=1", &url(path)]);
    // From when the rules are in force.
    dev.curl_until(&["-sSi", "-b", "session=1", &url("/")], "cf-cache-status: BYPASS");
    for _ in 0..2 {
        assert!(session("/shop/a").contains("a cache rule of the zone says so"));
    }
    let miss = dev.curl(&["-sSi", &url("/shop/a?utm=1")]);
    assert!(miss.contains("cf-cache-status: MISS") && miss.contains("cache-control: max-age=60"), "{miss}");
    let hit = dev.curl_until(&["-sSi", &url("/shop/a?utm=2")], "cf-cache-status: HIT");
    assert!(hit.ends_with("the page /shop/a?utm=1"), "{hit}");
    assert_eq!(origin.requests("/shop/a?utm=2"), 0);

    let told = dev.proxima(&["explain", &format!("http://{HOST}/shop/a?utm=3")]);
    assert!(told.contains("(no tracking in keys) decides cache_key"), "{told}");

    // By a URL that is none of those that were asked for.
    dev.proxima(&["purge", "example.com", &url("/shop/a?utm=9")]);
    let again = dev.curl_until(&["-sSi", &url("/shop/a?utm=4")], "the page /shop/a?utm=4");
    assert!(again.contains("cf-cache-status: MISS"), "{again}");

    dev.set("example.com", "development_mode", "on");
    dev.curl_until(&["-sSi", &url("/shop/a?utm=5")], "the zone is in development mode");
}

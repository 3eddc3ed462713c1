//! Origin rules, certificates and traces.

use serde_json::json;

use crate::harness::Node;

#[tokio::test]
async fn origin_rules_are_put_added_patched_and_deleted() {
    let node = Node::start().await;
    let rulesets = format!("/zones/{}/rulesets", node.zone("example.com").await);
    let entrypoint = format!("{rulesets}/phases/http_request_origin/entrypoint");
    assert_eq!(node.ok("GET", &rulesets, None).await, json!([]));
    assert_eq!(node.refused("GET", &entrypoint, None).await, (404, 10003));
    let rule = json!({"action": "route", "expression": "true", "action_parameters": {"origin": {"host": "10.0.0.1", "port": 8080}}});
    let put = node.ok("PUT", &entrypoint, Some(json!({"rules": [rule]}))).await;
    assert_eq!(put["rules"][0]["action_parameters"], rule["action_parameters"]);
    let id = put["id"].as_str().unwrap();
    let more = json!({"action": "route", "expression": "http.host eq \"www.example.com\"", "action_parameters": {"host_header": "other.example"}, "position": {"index": 1}});
    let added = node.ok("POST", &format!("{rulesets}/{id}/rules"), Some(more)).await;
    assert_eq!(added["rules"][0]["expression"], "http.host eq \"www.example.com\"");
    assert_eq!(added["rules"][1]["id"], put["rules"][0]["id"]);
    let first = format!("{rulesets}/{id}/rules/{}", added["rules"][0]["id"].as_str().unwrap());
    let patched = node.ok("PATCH", &first, Some(json!({"enabled": false}))).await;
    assert_eq!((&patched["rules"][0]["enabled"], &patched["version"]), (&json!(false), &json!("3")));
    let deleted = node.ok("DELETE", &first, None).await;
    assert_eq!(deleted["rules"].as_array().unwrap().len(), 1);
    assert_eq!(node.refused("DELETE", &first, None).await, (404, 10003));
    let wrong = json!({"rules": [rule, {"action": "route", "expression": "ip.src eq 192.0.2.1.1", "action_parameters": {"origin": {"port": 1}}}]});
    let (_, envelope) = node.call("PUT", &entrypoint, Some(wrong)).await;
    assert_eq!(envelope["errors"][0]["source"]["pointer"], "/rules/1/expression");
    assert_eq!(node.ok("GET", &entrypoint, None).await["rules"].as_array().unwrap().len(), 1);
    let firewall = format!("{rulesets}/phases/http_request_firewall_custom/entrypoint");
    assert_eq!(node.refused("PUT", &firewall, Some(json!({"rules": []}))).await, (400, 1107));
}

#[tokio::test]
async fn cache_rules_are_a_ruleset_of_their_own_beside_the_origin_rules() {
    let node = Node::start().await;
    let rulesets = format!("/zones/{}/rulesets", node.zone("example.com").await);
    let phase = |phase: &str| format!("{rulesets}/phases/{phase}/entrypoint");
    let (origin, cache) = (phase("http_request_origin"), phase("http_request_cache_settings"));
    let route =
        json!({"action": "route", "expression": "true", "action_parameters": {"origin": {"port": 8080}}});
    let rule = |expression: &str, parameters: serde_json::Value| {
        json!({
            "action": "set_cache_settings", "expression": expression, "description": "ours",
            "action_parameters": parameters,
        })
    };
    let session = rule("http.cookie contains \"session=\"", json!({"cache": false}));
    let put = node.ok("PUT", &cache, Some(json!({"rules": [session]}))).await;
    let origins = node.ok("PUT", &origin, Some(json!({"rules": [route]}))).await;
    assert_eq!(put["rules"][0]["action_parameters"], json!({"cache": false}));
    assert_eq!((&put["phase"], &put["version"]), (&json!("http_request_cache_settings"), &json!("1")));
    assert_eq!(node.ok("GET", &cache, None).await, put);
    assert_eq!(node.ok("GET", &origin, None).await, origins);
    let listed = node.ok("GET", &rulesets, None).await;
    assert_eq!((&listed[0]["id"], &listed[1]["id"]), (&origins["id"], &put["id"]));
    let of = |ruleset: &serde_json::Value| format!("{rulesets}/{}", ruleset["id"].as_str().unwrap());
    assert_eq!(node.ok("GET", &of(&put), None).await, put);

    let rules = format!("{}/rules", of(&put));
    let longer = rule("ssl", json!({"edge_ttl": {"mode": "override_origin", "default": 60}}));
    let added = node.ok("POST", &rules, Some(longer)).await;
    let second = format!("{rules}/{}", added["rules"][1]["id"].as_str().unwrap());
    let change = json!({"action_parameters": {"browser_ttl": {"mode": "bypass"}}});
    let patched = node.ok("PATCH", &second, Some(change)).await;
    assert_eq!(patched["rules"][1]["action_parameters"], json!({"browser_ttl": {"mode": "bypass"}}));
    assert_eq!(patched["rules"][1]["expression"], "ssl");
    assert_eq!(node.ok("DELETE", &second, None).await["rules"].as_array().unwrap().len(), 1);

    for (rule, code, pointer) in [
        (route, 1107, "/rules/0/action"),
        (
            rule("true", json!({"cache": true, "read_timeout": 9})),
            1107,
            "/rules/0/action_parameters/read_timeout",
        ),
        (rule("true", json!({"cahce": true})), 20120, "/rules/0/action_parameters"),
        (rule("http.hots eq \"a\"", json!({"cache": true})), 20120, "/rules/0/expression"),
    ] {
        let (status, envelope) = node.call("PUT", &cache, Some(json!({"rules": [rule]}))).await;
        let error = &envelope["errors"][0];
        assert_eq!((status, &error["source"]["pointer"]), (400, &json!(pointer)), "{envelope}");
        assert_eq!(error["code"], code, "{envelope}");
    }
    let regexes = rule("http.host ~ \"a\" or http.host ~ \"b\"", json!({"cache": true}));
    assert_eq!(node.call("PUT", &cache, Some(json!({"rules": vec![regexes; 33]}))).await.0, 400);
    assert_eq!(node.ok("GET", &cache, None).await["rules"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn rules_that_were_changed_since_they_were_read_are_not_overwritten() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    let entrypoint = format!("/zones/{zone}/rulesets/phases/http_request_origin/entrypoint");
    let send = async |method: &str, path: &str, condition: (&'static str, String), port: u16| {
        let rule =
            json!({"action": "route", "expression": "true", "action_parameters": {"origin": {"port": port}}});
        let body = if method == "PUT" { json!({"rules": [rule]}) } else { rule };
        let request = node.request(method.parse().unwrap(), path).bearer_auth(&node.token).json(&body);
        let answer = request.header(condition.0, condition.1).send().await.unwrap();
        let status = answer.status().as_u16();
        let envelope: serde_json::Value = answer.json().await.unwrap();
        (status, envelope["errors"][0]["code"].as_u64())
    };
    let tag = async || {
        let answer = node.request(reqwest::Method::GET, &entrypoint).bearer_auth(&node.token).send().await;
        answer.unwrap().headers()["etag"].to_str().unwrap().to_owned()
    };
    let absent = || ("if-none-match", "*".to_owned());
    let refused = (412, Some(10021));
    assert_eq!(send("PUT", &entrypoint, ("if-match", "*".to_owned()), 1).await, refused);
    assert_eq!(send("PUT", &entrypoint, absent(), 1).await.0, 200);
    assert_eq!(send("PUT", &entrypoint, absent(), 2).await, refused, "it is there now");
    let read = tag().await;
    assert_eq!(read, tag().await, "reading changes nothing");
    assert_eq!(send("PUT", &entrypoint, ("if-match", read.clone()), 3).await.0, 200);
    // Whoever read the same is too late, whatever they do.
    let ruleset = node.ok("GET", &entrypoint, None).await;
    let rules = format!("/zones/{zone}/rulesets/{}/rules", ruleset["id"].as_str().unwrap());
    let rule = format!("{rules}/{}", ruleset["rules"][0]["id"].as_str().unwrap());
    for (method, path) in [("PUT", &entrypoint), ("POST", &rules), ("PATCH", &rule), ("DELETE", &rule)] {
        assert_eq!(send(method, path, ("if-match", read.clone()), 4).await, refused, "{method}");
    }
    assert_eq!(node.ok("GET", &entrypoint, None).await, ruleset);
    assert_eq!(send("PATCH", &rule, ("if-match", tag().await), 5).await.0, 200);
    assert_eq!(send("PUT", &entrypoint, ("if-match", "nonsense".to_owned()), 6).await, (400, Some(1009)));
}

#[tokio::test]
async fn a_custom_certificate_is_uploaded_and_its_key_never_shown() {
    let node = Node::start().await;
    let path = format!("/zones/{}/custom_certificates", node.zone("example.com").await);
    let made = rcgen::generate_simple_self_signed(vec!["www.example.com".to_owned()]).unwrap();
    let key = made.signing_key.serialize_pem();
    let body = json!({"certificate": made.cert.pem(), "private_key": key});
    let uploaded = node.ok("POST", &path, Some(body)).await;
    assert_eq!((&uploaded["hosts"], &uploaded["status"]), (&json!(["www.example.com"]), &json!("active")));
    assert!(!uploaded.to_string().contains("PRIVATE"));
    assert_eq!(node.ok("GET", &path, None).await, json!([uploaded]), "the network's own is not among them");
    let one = format!("{path}/{}", uploaded["id"].as_str().unwrap());
    assert_eq!(node.ok("GET", &one, None).await, uploaded);
    node.ok("DELETE", &one, None).await;
    assert_eq!(node.refused("GET", &one, None).await, (404, 1301));
    let wrong = json!({"certificate": made.cert.pem(), "private_key": "x"});
    assert_eq!(node.refused("POST", &path, Some(wrong)).await, (400, 1302));
}

#[tokio::test]
async fn a_trace_is_of_ones_own_zones_only() {
    let node = Node::start().await;
    node.zone("example.com").await;
    let path = format!("/accounts/{}/request-tracer/trace", proxima_control::FIRST_ACCOUNT);
    let traced =
        node.ok("POST", &path, Some(json!({"url": "https://www.example.com/a", "method": "GET"}))).await;
    assert_eq!(
        (&traced["status_code"], &traced["headers"][0]["value"]),
        (&json!(200), &json!("https://www.example.com/a"))
    );
    for url in ["https://www.example.net/", "nonsense", "https://"] {
        assert_eq!(node.refused("POST", &path, Some(json!({"url": url}))).await, (400, 1305), "{url}");
    }
    assert_eq!(
        node.refused("POST", &path, Some(json!({"url": "https://example.com/", "body": {"json": 1}}))).await,
        (400, 1107)
    );
}

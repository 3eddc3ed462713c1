//! Rules: expressions, and the settings of cache rules.

use proxima_model::{CacheSettings, EdgeLifetime, Phase, Rule, RuleAction, RuleExpression};
use serde_json::{Value, json};

#[test]
fn an_expression_is_kept_as_it_was_written_and_refused_with_its_place() {
    for text in ["true", "(http.host  eq \"www.example.com\")", "ip.src in {192.0.2.0/24} and not ssl"] {
        let expression = RuleExpression::parse(text).unwrap();
        assert_eq!(expression.to_string(), text);
        let stored = serde_json::to_value(&expression).unwrap();
        assert_eq!(stored, text);
        assert_eq!(serde_json::from_value::<RuleExpression>(stored).unwrap(), expression);
    }
    let refused = RuleExpression::parse("true and http.hots eq \"x\"").expect_err("no such field");
    assert_eq!(refused.field, "expression");
    assert!(refused.problem.starts_with("line 1, column 10, at `http.hots eq"), "{}", refused.problem);
    assert!(refused.problem.contains("http.host") && !refused.problem.contains(refused.remedy));
    assert!(serde_json::from_value::<RuleExpression>(json!("http.hots")).is_err());
}

#[test]
fn phases_are_found_by_their_names() {
    for phase in Phase::ALL {
        assert_eq!(Phase::by_id(phase.id()), Some(phase));
    }
    assert_eq!(Phase::by_id("http_request_firewall_custom"), None);
}

#[test]
fn origin_rules_that_were_stored_before_there_were_others_are_still_read() {
    let stored = json!({
        "id": "01".repeat(16), "description": "old", "expression": "http.host eq \"a.example\"",
        "host_header": null, "origin": {"host": "10.0.0.1", "port": 8080}, "enabled": true, "last_updated": 1,
    });
    let rule: Rule = serde_json::from_value(stored.clone()).unwrap();
    let RuleAction::Route(route) = &rule.action else { panic!("{rule:?}") };
    assert_eq!((route.origin.port, rule.action.phase()), (Some(8080), Phase::RequestOrigin));
    assert_eq!(serde_json::to_value(&rule).unwrap(), stored);
}

fn lifetimes(edge_ttl: Value) -> impl Fn(u16) -> EdgeLifetime {
    let settings = CacheSettings::parse(&json!({ "edge_ttl": edge_ttl })).unwrap();
    move |status| settings.edge_ttl.as_ref().unwrap().lifetime(status)
}

#[test]
fn an_edge_lifetime_is_that_of_the_status_before_that_of_the_mode() {
    let lifetime = lifetimes(json!({"mode": "override_origin", "default": 60, "status_code_ttl": [
        {"status_code": 404, "value": 5},
        {"status_code_range": {"from": 400, "to": 499}, "value": 0},
        {"status_code_range": {"from": 500}, "value": -1},
    ]}));
    for (status, expected) in [
        (200, EdgeLifetime::Seconds(60)),
        (301, EdgeLifetime::Seconds(60)),
        (302, EdgeLifetime::Origin),
        (404, EdgeLifetime::Seconds(5)),
        (410, EdgeLifetime::Seconds(0)),
        (503, EdgeLifetime::Never),
    ] {
        assert_eq!(lifetime(status), expected, "{status}");
    }
    assert_eq!(lifetimes(json!({"mode": "respect_origin"}))(200), EdgeLifetime::Origin);
    assert_eq!(lifetimes(json!({"mode": "bypass_by_default"}))(200), EdgeLifetime::OriginAlone);
}

#[test]
fn cache_settings_are_shown_as_they_can_be_sent_back() {
    for parameters in [
        json!({"cache": false}),
        json!({"cache": true, "edge_ttl": {"mode": "override_origin", "default": 60, "status_code_ttl": [
            {"status_code": 404, "value": 5}, {"status_code_range": {"to": 299}, "value": 9},
        ]}}),
        json!({"browser_ttl": {"mode": "bypass"}, "serve_stale": {"disable_stale_while_updating": true}}),
        json!({"respect_strong_etags": false, "origin_error_page_passthru": true}),
        json!({"cache_key": {
            "ignore_query_strings_order": true,
            "cache_deception_armor": true,
            "cache_by_device_type": false,
            "custom_key": {
                "query_string": {"include": {"list": ["a", "b"]}},
                "header": {"include": ["accept"], "check_presence": ["x-a"], "contains": {"accept": ["webp"]},
                    "exclude_origin": false},
                "cookie": {"include": ["theme"], "check_presence": ["session"]},
                "user": {"lang": true, "geo": false},
                "host": {"resolved": false},
            },
        }}),
        json!({"cache_key": {"custom_key": {"query_string": {"exclude": {"all": true}}}}}),
    ] {
        let settings = CacheSettings::parse(&parameters).unwrap();
        assert_eq!(serde_json::to_value(&settings).unwrap(), parameters);
        assert_eq!(CacheSettings::not_offered(&parameters), None, "{parameters}");
    }
    for (given, shown) in [(json!("*"), json!({"all": true})), (json!(["a"]), json!({"list": ["a"]}))] {
        let key = |names: &Value| json!({"cache_key": {"custom_key": {"query_string": {"include": names}}}});
        let settings = CacheSettings::parse(&key(&given)).unwrap();
        assert_eq!(serde_json::to_value(&settings).unwrap(), key(&shown));
    }
}

#[test]
fn cache_settings_that_mean_nothing_are_refused() {
    let key = |custom: Value| json!({"cache_key": {"custom_key": custom}});
    for parameters in [
        json!({}),
        json!([]),
        json!({"cache": "yes"}),
        json!({"edge_tll": {"mode": "respect_origin"}}),
        json!({"edge_ttl": {"mode": "override_origin"}}),
        json!({"edge_ttl": {"mode": "override_origin", "default": 31_536_001}}),
        json!({"edge_ttl": {"mode": "override_origin", "default": -1}}),
        json!({"edge_ttl": {"mode": "respect_origin", "default": 60}}),
        json!({"edge_ttl": {"mode": "sometimes"}}),
        json!({"edge_ttl": {"mode": "respect_origin", "status_code_ttl": [{"value": 1}]}}),
        json!({"edge_ttl": {"mode": "respect_origin", "status_code_ttl": [{"status_code": 99, "value": 1}]}}),
        json!({"edge_ttl": {"mode": "respect_origin", "status_code_ttl": [{"status_code": 200, "value": -2}]}}),
        json!({"edge_ttl": {"mode": "respect_origin", "status_code_ttl": [
            {"status_code_range": {"from": 300, "to": 200}, "value": 1}
        ]}}),
        json!({"browser_ttl": {"mode": "override_origin"}}),
        json!({"serve_stale": {}}),
        key(json!({"query_string": {}})),
        key(json!({"query_string": {"include": "*", "exclude": "*"}})),
        key(json!({"query_string": {"include": {"all": false}}})),
        key(json!({"query_string": {"include": ["a"], "all": true}})),
        key(json!({"header": {"include": ["a b"]}})),
        key(json!({"cookie": {"include": [""]}})),
        key(json!({"cookie": {"include": vec!["a"; 101]}})),
    ] {
        let refused = CacheSettings::parse(&parameters).expect_err("refused");
        assert_eq!(refused.field, "action_parameters", "{parameters}");
    }
}

#[test]
fn what_this_cache_cannot_do_is_named() {
    for (parameters, at) in [
        (json!({"cache": true, "cache_reserve": {"eligible": true}}), "/cache_reserve"),
        (json!({"respect_strong_etags": true}), "/respect_strong_etags"),
        (json!({"origin_error_page_passthru": false}), "/origin_error_page_passthru"),
        (json!({"cache_key": {"cache_by_device_type": true}}), "/cache_key/cache_by_device_type"),
        (json!({"cache_key": {"custom_key": {"user": {"geo": true}}}}), "/cache_key/custom_key/user/geo"),
        (
            json!({"cache_key": {"custom_key": {"host": {"resolved": true}}}}),
            "/cache_key/custom_key/host/resolved",
        ),
    ] {
        assert_eq!(CacheSettings::not_offered(&parameters), Some(at), "{parameters}");
    }
}

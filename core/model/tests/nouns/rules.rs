//! Expressions of rules.

use proptest::prelude::*;
use proxima_model::{Phase, RuleExpression, limits};

#[test]
fn the_two_forms_are_parsed_however_they_are_spaced_and_wrapped() {
    for text in ["true", " true ", "(true)", "((true))", "( true )"] {
        assert_eq!(RuleExpression::parse(text).unwrap(), RuleExpression::Always, "{text}");
    }
    for text in [
        "http.host eq \"www.example.com\"",
        "(http.host eq \"www.example.com\")",
        "http.host == \"WWW.example.com\"",
        "http.host  eq   \"www.example.com.\"",
        "http.host==\"www.example.com\"",
    ] {
        let expression = RuleExpression::parse(text).unwrap();
        assert_eq!(expression.to_string(), "http.host eq \"www.example.com\"", "{text}");
        assert!(expression.holds("www.example.com") && !expression.holds("example.com"));
    }
    assert!(RuleExpression::Always.holds("anything"));
}

#[test]
fn what_does_not_exist_yet_is_refused_and_never_taken_for_something_else() {
    let long = format!("http.host eq \"{}\"", "a".repeat(limits::EXPRESSION_OCTETS_MAX));
    for text in [
        "",
        "()",
        "false",
        "TRUE",
        "true and true",
        "not true",
        "http.host",
        "http.host eq",
        "http.host eq www.example.com",
        "http.host ne \"a.example\"",
        "http.host eq \"a.example\" or http.host eq \"b.example\"",
        "http.host eq \"\"",
        "http.host eq \"a b\"",
        "http.hosteq\"a.example\"x",
        "ip.src eq 192.0.2.1",
        "(true",
        "true)",
        &long,
    ] {
        assert_eq!(RuleExpression::parse(text).expect_err(text).field, "expression");
    }
}

#[test]
fn phases_are_found_by_their_names() {
    assert_eq!(Phase::by_id("http_request_origin"), Some(Phase::RequestOrigin));
    assert_eq!(Phase::by_id("http_request_firewall_custom"), None);
}

proptest! {
    #[test]
    fn an_expression_that_is_parsed_is_written_and_parsed_as_the_same(text in "\\PC{0,60}|\\(*(http\\.host (eq|==) \"[a-z.]{1,12}\"|true)\\)*") {
        if let Ok(expression) = RuleExpression::parse(&text) {
            prop_assert_eq!(RuleExpression::parse(&expression.to_string()).unwrap(), expression);
        }
    }
}

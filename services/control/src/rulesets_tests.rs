use super::*;

fn rule(body: Value) -> Result<Rule, ApiError> {
    let body: RuleBody = serde_json::from_value(body).unwrap();
    body.rule(Phase::RequestOrigin, RuleId::from_bytes([1; 16]), None, Timestamp::from_millis(0))
}

#[test]
fn what_is_shown_of_a_rule_can_be_sent_back() {
    for parameters in [
        json!({"origin": {"host": "10.0.0.1", "port": 8080}}),
        json!({"origin": {"port": 8080}}),
        json!({"origin": {"host": "Origin.Example.net"}, "host_header": "other.example.com"}),
        json!({"origin": {"host": "[2001:db8::1]"}}),
    ] {
        let rule_of =
            rule(json!({"action": "route", "expression": "true", "action_parameters": parameters})).unwrap();
        assert_eq!(rule(show_rule(&rule_of, 1)).unwrap(), rule_of, "{parameters}");
    }
}

#[test]
fn rules_that_say_nothing_or_what_is_not_offered_are_refused() {
    let route =
        |parameters: Value| json!({"action": "route", "expression": "true", "action_parameters": parameters});
    for (body, code) in [
        (json!({"expression": "true"}), Code::RuleInvalid),
        (json!({"action": "block", "expression": "true"}), Code::NotOffered),
        (json!({"action": "route", "expression": "true"}), Code::RuleInvalid),
        (route(json!({})), Code::RuleInvalid),
        (route(json!({"origin": {"port": 0}})), Code::RuleInvalid),
        (route(json!({"origin": {"host": "*.example.com"}})), Code::RuleInvalid),
        (route(json!({"origin": {"host": "a b"}})), Code::RuleInvalid),
        (route(json!({"sni": {"value": "x"}})), Code::NotOffered),
        (
            json!({"action": "route", "expression": "ip.src eq \"1.1.1.1\"", "action_parameters": {"origin": {"port": 1}}}),
            Code::RuleInvalid,
        ),
    ] {
        assert_eq!(rule(body.clone()).unwrap_err().code(), code, "{body}");
    }
}

#[test]
fn a_rule_goes_where_its_position_says() {
    let numbered = |number: u8| {
        let body =
            json!({"action": "route", "expression": "true", "action_parameters": {"origin": {"port": 1}}});
        Rule { id: RuleId::from_bytes([number; 16]), ..rule(body).unwrap() }
    };
    let placed = |position: Value| {
        let mut rules = vec![numbered(1), numbered(2)];
        let position: PositionBody = serde_json::from_value(position).unwrap();
        place(&mut rules, numbered(9), Some(&position))
            .map(|()| rules.iter().position(|rule| rule.id == numbered(9).id).unwrap())
    };
    let second = "02".repeat(16);
    assert_eq!(placed(json!({"index": 1})), Ok(0));
    assert_eq!(placed(json!({"index": 99})), Ok(2));
    assert_eq!(placed(json!({"before": second})), Ok(1));
    assert_eq!(placed(json!({"after": second})), Ok(2));
    assert_eq!(placed(json!({"before": ""})), Ok(0));
    assert_eq!(placed(json!({"after": "no"})).unwrap_err().code(), Code::RuleInvalid);
}

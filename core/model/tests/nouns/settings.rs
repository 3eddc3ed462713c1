//! A zone's settings.

use proxima_model::{Setting, StrictTransportSecurity, Timestamp, ZoneSettings};
use serde_json::{Value, json};

fn hsts(on: bool, max_age: u32) -> Value {
    let fields = json!({
        "enabled": on, "max_age": max_age, "include_subdomains": on, "preload": !on, "nosniff": on,
    });
    json!({ "strict_transport_security": fields })
}

#[test]
fn every_setting_takes_its_values_and_shows_them() {
    for (id, values) in [
        ("ssl", vec![json!("off"), json!("flexible"), json!("full"), json!("strict")]),
        ("always_use_https", vec![json!("on"), json!("off")]),
        ("development_mode", vec![json!("on"), json!("off")]),
        ("websockets", vec![json!("on"), json!("off")]),
        ("always_online", vec![json!("on"), json!("off")]),
        ("brotli", vec![json!("on"), json!("off")]),
        ("browser_cache_ttl", vec![json!(0), json!(30), json!(31_536_000)]),
        ("cname_flattening", vec![json!("flatten_all"), json!("flatten_at_root")]),
        ("http3", vec![json!("on"), json!("off")]),
        ("origin_max_http_version", vec![json!("1"), json!("2")]),
        ("min_tls_version", vec![json!("1.2"), json!("1.3")]),
        ("security_header", vec![hsts(true, 31_536_000), hsts(false, 0), hsts(true, 63_072_000)]),
    ] {
        let setting = Setting::by_id(id).unwrap();
        let mut settings = ZoneSettings::default();
        for value in values {
            setting.set(&mut settings, &value).unwrap();
            assert_eq!(setting.value(&settings), value, "{id}");
        }
    }
    assert_eq!(Setting::ALL.len(), 13);
    assert_eq!(Setting::by_id("rocket_loader"), None);
}

#[test]
fn development_mode_lasts_three_hours_from_when_it_was_switched_on() {
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
    let mut settings = ZoneSettings::default();
    assert!(!settings.in_development(at(0)));
    assert_eq!(settings.development_mode_seconds(at(0)), 0);
    settings.set_development_mode(true, at(100));
    assert!(settings.in_development(at(10_899)) && !settings.in_development(at(10_900)));
    assert_eq!(settings.development_mode_seconds(at(101)), 10_799);
    settings.set_development_mode(true, at(200));
    assert!(settings.in_development(at(10_999)), "it lasts anew");
    settings.set_development_mode(false, at(300));
    assert!(!settings.in_development(at(300)));
    assert_eq!(settings.development_mode_seconds(at(310)), -10);
    let old: ZoneSettings = serde_json::from_value(json!({"development_mode": true})).unwrap();
    assert!(old.in_development(at(1)), "what was switched on before it had an end");
}

#[test]
fn values_that_a_setting_does_not_have_are_refused_and_change_nothing() {
    let wrong = [
        json!(null),
        json!(true),
        json!("maybe"),
        json!(29),
        json!(-1),
        json!(31_536_001_u64),
        json!(1.5),
        json!([]),
        json!("1.1"),
        json!({}),
        json!({"strict_transport_security": []}),
        json!({"strict_transport_security": {"enabled": "on"}}),
        json!({"strict_transport_security": {"max_age": 63_072_001}}),
        json!({"strict_transport_security": {"max_age": -1}}),
        json!({"strict_transport_security": {"forever": true}}),
    ];
    for setting in Setting::ALL {
        for value in &wrong {
            let mut settings = ZoneSettings::default();
            assert!(setting.set(&mut settings, value).is_err(), "{} {value}", setting.id());
            assert_eq!(settings, ZoneSettings::default());
        }
    }
    let huge = Value::String("x".repeat(1_000_000));
    let refusal = Setting::Ssl.set(&mut ZoneSettings::default(), &huge).unwrap_err();
    assert!(refusal.to_string().len() < 300, "a refusal does not repeat everything that was given");
}

#[test]
fn settings_of_an_older_version_have_the_defaults_of_what_they_lack() {
    let settings: ZoneSettings = serde_json::from_value(json!({"always_use_https": true})).unwrap();
    assert_eq!(settings, ZoneSettings { always_use_https: true, ..ZoneSettings::default() });
}

#[test]
fn what_a_security_header_does_not_name_stays() {
    let mut settings = ZoneSettings::default();
    assert_eq!(settings.strict_transport_security.field(), None, "nothing is said unless asked for");
    let mut set = |fields: Value| {
        let value = json!({ "strict_transport_security": fields });
        Setting::SecurityHeader.set(&mut settings, &value).unwrap();
        settings.strict_transport_security
    };
    set(json!({"max_age": 300, "include_subdomains": true}));
    let said = set(json!({"enabled": true}));
    let expected = StrictTransportSecurity {
        enabled: true,
        max_age: 300,
        include_subdomains: true,
        ..StrictTransportSecurity::default()
    };
    assert_eq!(said, expected);
    assert_eq!(said.field().as_deref(), Some("max-age=300; includeSubDomains"));
    let said = set(json!({"include_subdomains": false, "preload": true}));
    assert_eq!(said.field().as_deref(), Some("max-age=300; preload"));
}

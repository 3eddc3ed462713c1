//! Domain names and zones' names (RFC 1035, 2.3.4; RFC 1123, 2.1; RFC 4592; RFC 5890; RFC 8552).

use proptest::prelude::*;
use proxima_model::{DnsName, ZoneName};

fn label(octets: usize) -> String {
    "a".repeat(octets)
}

/// A name of this many octets.
fn name_of(octets: usize) -> String {
    let mut name = String::new();
    while name.len() < octets {
        let left = octets - name.len();
        // A label and its dot; what is left must hold a label, too.
        let take = left.min(if left == 65 { 62 } else { 63 });
        name.push_str(&label(take));
        if name.len() < octets {
            name.push('.');
        }
    }
    name
}

#[test]
fn names_are_brought_to_one_form() {
    for (given, form) in [
        ("www.example.com", "www.example.com"),
        ("WWW.Example.COM.", "www.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("_sip._tcp.example.com", "_sip._tcp.example.com"),
        ("*.example.com", "*.example.com"),
        ("*", "*"),
        ("a", "a"),
        ("0.1.2", "0.1.2"),
        (".", "."),
        // RFC 2317, 4.
        ("0/25.2.0.192.in-addr.arpa", "0/25.2.0.192.in-addr.arpa"),
        ("1.128/26.2.0.192.in-addr.arpa.", "1.128/26.2.0.192.in-addr.arpa"),
        ("日本語.例", "xn--wgv71a119e.xn--fsq"),
        ("faß.example", "xn--fa-hia.example"),
    ] {
        assert_eq!(DnsName::parse(given).unwrap().as_str(), form, "{given}");
    }
}

#[test]
fn what_is_no_name_is_refused() {
    for given in [
        "",
        "..",
        "a..b",
        ".a",
        "-a.example",
        "a-.example",
        "a b",
        "a/b",
        "/25",
        "0/",
        "0/25/1",
        "0/x",
        "a\\.b",
        "a;b",
        "a\nb",
        "a\0b",
        "www.*.example",
        "*a.example",
        "a.*",
        "**",
        "xn--a",
        "xn--\u{df}",
        "\u{200b}",
        "a@b",
        "\"a\"",
        "[::1]",
    ] {
        let refusal = DnsName::parse(given).expect_err(given);
        assert_eq!(refusal.field, "name", "{given:?}");
        assert!(!refusal.remedy.is_empty());
    }
}

#[test]
fn labels_and_names_have_their_lengths_and_not_an_octet_more() {
    assert!(DnsName::parse(&label(63)).is_ok());
    assert!(DnsName::parse(&label(64)).is_err());
    assert!(DnsName::parse(&name_of(253)).is_ok());
    assert!(DnsName::parse(&format!("{}.", name_of(253))).is_ok(), "the last dot does not count");
    assert!(DnsName::parse(&name_of(254)).is_err());
    assert!(DnsName::parse(&"ü".repeat(1_000_000)).is_err(), "what is far too long is refused unread");
    // Its ASCII form counts.
    assert!(DnsName::parse(&"ü".repeat(58)).is_err());
}

#[test]
fn a_zone_has_two_labels_of_hosts() {
    for good in ["example.com", "Example.COM.", "a.b.c.d", "bücher.example", "xn--bcher-kva.example", "1.2"]
    {
        ZoneName::parse(good).expect(good);
    }
    for bad in [
        "com",
        ".",
        "",
        "*.example.com",
        "_a.example.com",
        "a_b.example",
        "0/25.2.0.192.in-addr.arpa",
        "example..com",
        "exa mple.com",
    ] {
        ZoneName::parse(bad).expect_err(bad);
    }
}

#[test]
fn records_names_are_taken_from_their_zone() {
    let zone = ZoneName::parse("example.com").unwrap();
    for (given, form) in [
        ("@", "example.com"),
        ("", "example.com"),
        ("www", "www.example.com"),
        ("www.example.com", "www.example.com"),
        ("WWW.EXAMPLE.COM.", "www.example.com"),
        ("*.sub", "*.sub.example.com"),
        ("notexample.com", "notexample.com.example.com"),
        ("example.com.example.com", "example.com.example.com"),
        ("ü", "xn--tda.example.com"),
    ] {
        assert_eq!(zone.record_name(given).unwrap().as_str(), form, "{given}");
    }
    for bad in ["www.example.net.", "com.", "a..b", &label(64), &name_of(250)] {
        zone.record_name(bad).expect_err(bad);
    }
}

#[test]
fn a_name_is_within_a_zone_at_the_border_of_a_label() {
    let zone = ZoneName::parse("example.com").unwrap();
    let within = |name: &str| DnsName::parse(name).unwrap().is_within(&zone);
    assert!(within("example.com") && within("a.b.example.com") && within("*.example.com"));
    assert!(!within("notexample.com") && !within("com") && !within("example.com.net") && !within("."));
}

#[test]
fn parents_end_at_the_top() {
    let parent = |name: &str| DnsName::parse(name).unwrap().parent().map(str::to_owned);
    assert_eq!(parent("a.b.c").as_deref(), Some("b.c"));
    assert_eq!(parent("c"), None);
    assert_eq!(parent("."), None);
}

proptest! {
    #[test]
    fn any_text_is_a_name_in_its_one_form_or_is_refused(text in "\\PC{0,80}|[-a-zA-Z0-9._*]{0,300}") {
        if let Ok(name) = DnsName::parse(&text) {
            prop_assert_eq!(DnsName::parse(name.as_str()).unwrap(), name.clone());
            prop_assert!(name.as_str().len() <= 253 && name.as_str().is_ascii());
            prop_assert_eq!(name.as_str().to_ascii_lowercase(), name.as_str());
            prop_assert!(name.as_str() == "." || name.as_str().split('.').all(|label| (1..=63).contains(&label.len())));
        }
    }

    #[test]
    fn a_records_name_is_always_within_its_zone(text in "\\PC{0,40}|[-a-z0-9._*@]{0,260}") {
        let zone = ZoneName::parse("example.com").unwrap();
        if let Ok(name) = zone.record_name(&text) {
            prop_assert!(name.is_within(&zone));
        }
    }

    #[test]
    fn a_name_that_is_read_back_is_checked_again(text in "\\PC{0,40}") {
        let json = serde_json::Value::String(text.clone());
        prop_assert_eq!(serde_json::from_value::<DnsName>(json.clone()).ok(), DnsName::parse(&text).ok());
        prop_assert_eq!(serde_json::from_value::<ZoneName>(json).ok(), ZoneName::parse(&text).ok());
    }
}

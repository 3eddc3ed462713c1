//! Purges, and what they name.

use proptest::prelude::*;
use proxima_model::{CacheTag, DnsName, Purge, PurgeId, PurgeWhat, Timestamp, UrlPrefix, ZoneId, limits};
use serde_json::json;

#[test]
fn tags_are_printable_and_case_does_not_matter() {
    for (given, expected) in [("a", "a"), ("Product-7", "product-7"), ("!\"#$%&'()*+-./:;<=>?@[]^_`{|}~", "")]
    {
        let tag = CacheTag::parse(given).unwrap();
        assert_eq!(tag.as_str(), if expected.is_empty() { given } else { expected });
    }
    let longest = "a".repeat(limits::CACHE_TAG_OCTETS_MAX);
    assert_eq!(CacheTag::parse(&longest).unwrap().as_str(), longest);
    let too_long = format!("{longest}a");
    for bad in ["", " ", "a b", " a", "a ", "a,b", "a\tb", "a\nb", "a\0", "a\u{7f}", "ä", "日本", &too_long]
    {
        assert_eq!(CacheTag::parse(bad).expect_err(bad).field, "tags", "{bad:?}");
        assert!(!CacheTag::is_valid(bad.as_bytes()), "{bad:?}");
    }
}

#[test]
fn prefixes_are_a_host_in_its_one_form_and_a_path_as_given() {
    for (given, host, path) in [
        ("www.example.com", "www.example.com", ""),
        ("WWW.Example.com./Foo", "www.example.com", "/Foo"),
        ("www.example.com/", "www.example.com", "/"),
        ("bücher.example/a%20b/", "xn--bcher-kva.example", "/a%20b/"),
        ("a.example//b", "a.example", "//b"),
    ] {
        let prefix = UrlPrefix::parse(given).unwrap();
        assert_eq!((prefix.host().as_str(), prefix.path()), (host, path), "{given}");
        assert_eq!(UrlPrefix::parse(&String::from(prefix.clone())).unwrap(), prefix);
    }
    let deepest = format!("a.example{}", "/a".repeat(limits::URL_PREFIX_SEPARATORS_MAX));
    UrlPrefix::parse(&deepest).unwrap();
    let (too_deep, too_long) = (format!("{deepest}/"), format!("a.example/{}", "a".repeat(2_048)));
    for bad in [
        "",
        "/foo",
        "https://www.example.com/foo",
        "//www.example.com/foo",
        "www.example.com/foo?a=b",
        "www.example.com/foo#bar",
        "www.example.com?a",
        "www.example.com:8080/foo",
        "*.example.com/foo",
        "user@example.com/foo",
        "www.example.com/a b",
        "www.example.com/ä",
        "www..example.com/foo",
        &too_deep,
        &too_long,
    ] {
        assert_eq!(UrlPrefix::parse(bad).expect_err(bad).field, "prefixes", "{bad:?}");
    }
}

/// What lies in logs stays readable: these are the values as they are written.
#[test]
fn purges_are_read_as_logs_have_them() {
    let ids = ("01".repeat(16), "02".repeat(16));
    let names = |names: &[&str]| names.iter().map(|name| DnsName::parse(name).unwrap()).collect();
    for (what, stored) in [
        (PurgeWhat::Everything, json!("everything")),
        (PurgeWhat::Files(vec!["http://a.example/".to_owned()]), json!({"files": ["http://a.example/"]})),
        (PurgeWhat::Hosts(names(&["a.example"])), json!({"hosts": ["a.example"]})),
        (
            PurgeWhat::Prefixes(vec![UrlPrefix::parse("a.example/b").unwrap()]),
            json!({"prefixes": ["a.example/b"]}),
        ),
        (PurgeWhat::Tags(vec![CacheTag::parse("T").unwrap()]), json!({"tags": ["t"]})),
    ] {
        let (id, zone) = (PurgeId::from_bytes([1; 16]), ZoneId::from_bytes([2; 16]));
        let purge = Purge { id, zone, what, at: Timestamp::from_millis(0) };
        let value = json!({"id": ids.0, "zone": ids.1, "what": stored, "at": serde_json::to_value(purge.at).unwrap()});
        assert_eq!(serde_json::to_value(&purge).unwrap(), value);
        assert_eq!(serde_json::from_value::<Purge>(value).unwrap(), purge);
    }
    for bad in
        [json!({"tags": ["a b"]}), json!({"prefixes": ["http://a.example"]}), json!({"hosts": ["a b"]})]
    {
        serde_json::from_value::<PurgeWhat>(bad.clone()).expect_err(&bad.to_string());
    }
}

proptest! {
    #[test]
    fn what_is_parsed_is_parsed_again_to_the_same(text in ".{0,60}") {
        if let Ok(prefix) = UrlPrefix::parse(&text) {
            prop_assert_eq!(UrlPrefix::parse(&String::from(prefix.clone())).unwrap(), prefix);
        }
        if let Ok(tag) = CacheTag::parse(&text) {
            prop_assert_eq!(CacheTag::parse(tag.as_str()).unwrap(), tag);
        }
    }
}

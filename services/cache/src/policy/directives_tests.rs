use super::*;

fn response(lines: &[&'static str]) -> ResponseDirectives {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(header::CACHE_CONTROL, HeaderValue::from_static(line));
    }
    ResponseDirectives::read(&headers)
}

fn targeted(targeted: &'static str, plain: &'static str) -> ResponseDirectives {
    let mut headers = HeaderMap::new();
    headers.insert("cdn-cache-control", HeaderValue::from_static(targeted));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(plain));
    ResponseDirectives::read(&headers)
}

#[test]
fn max_age_is_read_as_rfc_9111_4_2_1_says() {
    for (line, expected) in [
        ("max-age=3600", Some(3600)),
        ("MaX-AgE=3600", Some(3600)),
        ("max-age=\"3600\"", Some(3600)),
        ("max-age=003600", Some(3600)),
        ("max-age=2147483647", Some(2_147_483_647)),
        ("max-age=99999999999", Some(DELTA_SECONDS_MAX)),
        ("max-age=99999999999999999999999999", Some(DELTA_SECONDS_MAX)),
        ("foobar, max-age=3600", Some(3600)),
        ("extension=\"max-age=3600\", max-age=1", Some(1)),
        ("max-age=1, extension=\"max-age=3600\"", Some(1)),
        ("extension=\"a\\\", max-age=3600\", max-age=1", Some(1)),
        ("max-age=0", Some(0)),
        ("max-age=-7200", Some(0)),
        ("max-age=3600.0", Some(0)),
        ("max-age='3600'", Some(0)),
        ("max-age=a100", Some(0)),
        ("max-age=100a", Some(0)),
        ("max-age =100", Some(0)),
        ("max-age= 100", Some(0)),
        ("max-age", Some(0)),
        ("max-age=", Some(0)),
        ("max-age=\"100", Some(0)),
        ("max-age=\"100\"x", Some(0)),
        ("max-age=1800, max-age=1", Some(1800)),
        ("max-age=1, max-age=1800", Some(1)),
        ("extension=\"max-age=3600", None),
        ("x-max-age=3600", None),
        ("", None),
        (",,, ,", None),
    ] {
        assert_eq!(response(&[line]).max_age, expected, "{line}");
    }
    assert_eq!(response(&["max-age=7", "max-age=9"]).max_age, Some(7));
    assert_eq!(response(&["max-age=7", "s-maxage=9"]).s_maxage, Some(9));
}

#[test]
fn flags_are_read_in_any_case_and_whatever_their_argument() {
    let all = response(&["nO-StOrE=x, PUBLIC,must-revalidate", "proxy-revalidate , must-understand"]);
    assert!(all.no_store && all.public && all.must_revalidate && all.proxy_revalidate && all.must_understand);
    assert_eq!(response(&["no-stores, xno-store"]), ResponseDirectives::default());
}

#[test]
fn qualified_forms_name_fields_and_anything_else_is_the_whole() {
    let fields = |names: &[&'static str]| {
        Scope::Fields(names.iter().map(|name| HeaderName::from_static(name)).collect())
    };
    for (line, expected) in [
        ("private", Scope::Whole),
        ("private=\"Set-Cookie\"", fields(&["set-cookie"])),
        ("private=\"a, b\"", fields(&["a", "b"])),
        ("private=\"a\", private=\"b\"", fields(&["a", "b"])),
        ("private=\"a\", private", Scope::Whole),
        ("private, private=\"a\"", Scope::Whole),
        ("private=a", Scope::Whole),
        ("private=\"\"", Scope::Whole),
        ("private=\"a b\"", Scope::Whole),
        ("private=\"a", Scope::Whole),
        ("public", Scope::Absent),
    ] {
        assert_eq!(response(&[line]).private, expected, "{line}");
    }
}

#[test]
fn stale_allowances_are_seconds() {
    let found = response(&["max-age=1, stale-while-revalidate=30, stale-if-error=\"60\""]);
    assert_eq!((found.stale_while_revalidate, found.stale_if_error), (Some(30), Some(60)));
    assert_eq!(response(&["stale-if-error=x"]).stale_if_error, Some(0));
}

#[test]
fn a_valid_targeted_field_silences_cache_control() {
    let found = targeted("max-age=10000", "no-store");
    assert_eq!((found.origin, found.max_age, found.no_store), (Origin::Targeted, Some(10_000), false));
    assert!(targeted("no-store", "max-age=10000").no_store);
    assert_eq!(targeted("private", "max-age=1").private, Scope::Whole);
    assert_eq!(targeted("private=\"a\"", "max-age=1").private.fields().len(), 1);
    assert_eq!(targeted("max-age=99999999999", "").max_age, Some(DELTA_SECONDS_MAX));
    assert_eq!(targeted("max-age=-1", "max-age=9").max_age, Some(0));
    assert_eq!(targeted("max-age=1, max-age=2", "").max_age, Some(2));
    assert_eq!(targeted("max-age=5;x=y, ext=tok", "").max_age, Some(5));
}

#[test]
fn an_invalid_or_empty_targeted_field_is_ignored() {
    for line in [
        "max-age=10000, &&&&&",
        "max-age=\"10000\"",
        "",
        "MaX-aGe=10",
        "max-age =10",
        "no-store=?0",
        "unknown",
    ] {
        let found = targeted(line, "no-store");
        assert_eq!((found.origin, found.no_store), (Origin::CacheControl, true), "{line}");
    }
}

#[test]
fn the_networks_own_field_goes_before_the_common_one() {
    let mut headers = HeaderMap::new();
    headers.insert("cdn-cache-control", HeaderValue::from_static("max-age=1"));
    headers.insert("cloudflare-cdn-cache-control", HeaderValue::from_static("max-age=2"));
    assert_eq!(ResponseDirectives::read(&headers).max_age, Some(2));
}

#[test]
fn requests_ask_in_six_ways() {
    let mut headers = HeaderMap::new();
    let line = "max-age=1, min-fresh=2, max-stale=3, no-cache, no-store, only-if-cached";
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(line));
    let all = RequestDirectives {
        max_age: Some(1),
        min_fresh: Some(2),
        max_stale: Some(3),
        no_cache: true,
        no_store: true,
        only_if_cached: true,
    };
    assert_eq!(RequestDirectives::read(&headers), all);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-stale, min-fresh=x, max-age=x"));
    let some = RequestDirectives {
        max_age: Some(0),
        max_stale: Some(DELTA_SECONDS_MAX),
        ..RequestDirectives::default()
    };
    assert_eq!(RequestDirectives::read(&headers), some);
}

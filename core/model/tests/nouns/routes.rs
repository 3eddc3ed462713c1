//! Patterns of routes: which there are, which URLs they match, and which of several wins.

use proptest::prelude::*;
use proxima_model::{
    RoutePattern,
    RouteScheme::{self, Http, Https},
    ZoneName, limits,
};

fn pattern(text: &str) -> RoutePattern {
    RoutePattern::parse(text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"))
}

fn matches(text: &str, url: &str) -> bool {
    let (scheme, rest) = url.split_once("://").unwrap();
    let scheme = if scheme == "https" { Https } else { Http };
    let (host, target) = rest.split_at(rest.find('/').unwrap());
    pattern(text).matches(scheme, host, target)
}

#[test]
fn patterns_match_as_the_v4_documentation_says() {
    for (text, yes, no) in [
        // Without a path it is `/`, and nothing else.
        (
            "example.com",
            &["http://example.com/", "https://example.com/"][..],
            &["https://example.com/a", "https://example.com/?a", "https://www.example.com/"][..],
        ),
        ("example.com/", &["http://example.com/"], &["https://example.com/?a"]),
        (
            "https://*.example.com/images/*",
            &["https://www.example.com/images/", "https://a.b.example.com/images/x?y"],
            &[
                "http://www.example.com/images/",
                "https://example.com/images/",
                "https://www.example.com/images",
            ],
        ),
        ("HTTP://example.com/*", &["http://example.com/a"], &["https://example.com/a"]),
        (
            "*example.com/*",
            &["https://example.com/", "https://www.example.com/path", "https://myexample.com/"],
            &["https://example.org/"],
        ),
        (
            "*.example.com/*",
            &["https://www.example.com/path"],
            &["https://example.com/", "https://myexample.com/"],
        ),
        (
            "*.example.com/",
            &["https://www.example.com/", "http://www.example.com/"],
            &["https://www.example.com/?a"],
        ),
        (
            "example.com/path*",
            &[
                "https://example.com/path",
                "https://example.com/path2",
                "https://example.com/path/readme.txt",
                "https://example.com/path?a=b",
            ],
            &["https://example.com/pat"],
        ),
        (
            "example.com/images/cat.png",
            &["https://example.com/images/cat.png"],
            &["https://example.com/images/cat.png?foo=bar", "https://example.com/Images/cat.png"],
        ),
        ("EXAMPLE.com/Images/*", &["https://example.com/Images/a"], &["https://example.com/images/a"]),
        ("bücher.example/*", &["https://xn--bcher-kva.example/"], &["https://example.com/"]),
        (
            "*foo.example.com/*",
            &["https://foo.example.com/", "https://a.foo.example.com/", "https://barfoo.example.com/"],
            &["https://oo.example.com/"],
        ),
    ] {
        yes.iter().for_each(|url| assert!(matches(text, url), "{text} does not match {url}"));
        no.iter().for_each(|url| assert!(!matches(text, url), "{text} matches {url}"));
    }
}

#[test]
fn what_is_no_pattern_is_refused() {
    let longest = format!("example.com/{}", "a".repeat(limits::ROUTE_PATTERN_OCTETS_MAX - 12));
    pattern(&longest);
    for bad in [
        "",
        "*",
        "/*",
        "*/*",
        "com/*",
        "*.com/*",
        "example.com/*.jpg",
        "example.com/a*b*",
        "example.com/**",
        "example.com/?foo=*",
        "https://example.com/?anything",
        "example.com?a",
        "example.com/#a",
        "http*://example.com/*",
        "ftp://example.com/*",
        "://example.com/",
        "www.*.example.com/*",
        "**example.com/*",
        "*.*.example.com/*",
        "example.com:8443/*",
        "user@example.com/*",
        ".example.com/*",
        "example..com/*",
        "exa mple.com/*",
        "example.com/a b",
        "example.com/ä",
        "example.com/a\n",
        &format!("{longest}a"),
    ] {
        assert_eq!(RoutePattern::parse(bad).expect_err(bad).field, "pattern", "{bad:?}");
    }
}

#[test]
fn a_pattern_lies_in_the_zone_that_its_host_names() {
    let zone = ZoneName::parse("example.com").unwrap();
    for inside in ["example.com", "*example.com/*", "*.example.com/*", "a.b.example.com/x", "*a.example.com/"]
    {
        assert!(pattern(inside).is_within(&zone), "{inside}");
    }
    for outside in
        ["example.org", "myexample.com/*", "*.myexample.com/*", "example.com.evil.org/*", "*.org.com/"]
    {
        assert!(!pattern(outside).is_within(&zone), "{outside}");
    }
}

#[test]
fn the_most_specific_pattern_wins() {
    // Each before those after it, of those that match the same URL.
    for order in [
        &["www.example.com/*", "*.example.com/*", "*example.com/*"][..],
        &["example.com/hello/world", "example.com/hello/*", "example.com/hello*", "example.com/*"],
        // A host weighs more than a path.
        &["a.example.com/*", "*.example.com/a"],
        &["*.example.com/*", "*example.com/a/b/c"],
        &["https://example.com/a*", "example.com/a*", "https://example.com/*", "example.com/*"],
        &["example.com/a", "example.com/a*"],
    ] {
        for pair in order.windows(2) {
            let [more, less] = pair else { unreachable!("they are pairs") };
            assert!(pattern(more).specificity() > pattern(less).specificity(), "{more} before {less}");
        }
    }
}

#[test]
fn patterns_that_match_the_same_are_known_however_they_are_written() {
    for (one, other) in [
        ("example.com", "EXAMPLE.com/"),
        ("HTTPS://example.com/a", "https://Example.Com/a"),
        ("*.bücher.example/*", "*.xn--bcher-kva.example/*"),
    ] {
        assert!(pattern(one).is_same_as(&pattern(other)), "{one} {other}");
    }
    for (one, other) in [
        ("example.com/a", "example.com/A"),
        ("example.com/*", "*example.com/*"),
        ("*example.com/*", "*.example.com/*"),
        ("example.com/a", "example.com/a*"),
        ("https://example.com/a", "example.com/a"),
        ("https://example.com/a", "http://example.com/a"),
    ] {
        assert!(!pattern(one).is_same_as(&pattern(other)), "{one} {other}");
    }
    assert_eq!(pattern("EXAMPLE.com").as_str(), "example.com");
    assert_eq!(pattern("HTTPS://*.Example.com./a*").as_str(), "https://*.example.com/a*");
}

fn some_pattern() -> impl Strategy<Value = String> {
    ("(https?://)?", r"\*?\.?", "(a\\.|aa\\.)?", "e\\.co", "(/[ab/]{0,3}\\*?)?")
        .prop_map(|(scheme, star, sub, zone, path)| format!("{scheme}{star}{sub}{zone}{path}"))
}

proptest! {
    #[test]
    fn what_is_parsed_is_parsed_again_to_the_same(text in "\\PC{0,40}|(https?://)?\\*?[a-z.]{0,20}/[a-z/*?]{0,10}") {
        if let Ok(parsed) = RoutePattern::parse(&text) {
            prop_assert_eq!(RoutePattern::parse(parsed.as_str()).unwrap(), parsed);
        }
    }

    #[test]
    fn of_patterns_that_match_a_url_none_are_as_specific_unless_they_are_the_same(
        one in some_pattern(),
        other in some_pattern(),
        host in "(a\\.|aa\\.)?e\\.co",
        target in "/[ab/]{0,3}",
        tls in any::<bool>(),
    ) {
        let scheme: RouteScheme = if tls { Https } else { Http };
        if let (Ok(one), Ok(other)) = (RoutePattern::parse(&one), RoutePattern::parse(&other))
            && one.matches(scheme, &host, &target)
            && other.matches(scheme, &host, &target)
        {
            prop_assert_eq!(one.specificity() == other.specificity(), one.is_same_as(&other), "{} {}", one, other);
        }
    }
}

use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;
use proxima_model::Timestamp;

use super::*;
use crate::policy::{directives::ResponseDirectives, freshness::Exchanged};

fn stored(directives: &str) -> Freshness {
    let mut headers = HeaderMap::new();
    headers.insert("cache-control", HeaderValue::from_str(directives).expect("a value"));
    let when = Exchanged { requested_at: Timestamp::from_millis(0), received_at: Timestamp::from_millis(0) };
    Freshness::of(StatusCode::OK, &headers, &ResponseDirectives::read(&headers), when)
}

fn asked(directives: &str) -> RequestDirectives {
    let mut headers = HeaderMap::new();
    headers.insert("cache-control", HeaderValue::from_str(directives).expect("a value"));
    RequestDirectives::read(&headers)
}

#[test]
fn requests_narrow_what_may_be_reused() {
    for (response, age, request, expected) in [
        ("max-age=100", 10, "", Reuse::Fresh),
        ("max-age=100", 10, "max-age=0", Reuse::Validate(Why::Client)),
        ("max-age=100", 0, "max-age=0", Reuse::Validate(Why::Client)),
        ("max-age=100", 10, "max-age=9", Reuse::Validate(Why::Client)),
        ("max-age=100", 10, "max-age=10", Reuse::Fresh),
        ("max-age=100", 10, "min-fresh=90", Reuse::Fresh),
        ("max-age=100", 10, "min-fresh=91", Reuse::Validate(Why::Client)),
        ("max-age=100", 10, "no-cache", Reuse::Validate(Why::Client)),
        ("max-age=100", 100, "", Reuse::Validate(Why::Stale)),
        ("max-age=100", 150, "max-stale=50", Reuse::StaleByRequest),
        ("max-age=100", 151, "max-stale=50", Reuse::Validate(Why::Stale)),
        ("max-age=100", 151, "max-stale", Reuse::StaleByRequest),
        ("max-age=100, must-revalidate", 151, "max-stale", Reuse::Validate(Why::Stale)),
        ("max-age=100, proxy-revalidate", 151, "max-stale", Reuse::Validate(Why::Stale)),
        ("s-maxage=100", 151, "max-stale", Reuse::Validate(Why::Stale)),
        ("no-cache, max-age=100", 1, "max-stale", Reuse::Validate(Why::NoCache)),
        ("max-age=100, stale-while-revalidate=50", 150, "", Reuse::StaleWhileRevalidate),
        ("max-age=100, stale-while-revalidate=50", 151, "", Reuse::Validate(Why::Stale)),
        ("max-age=100, stale-while-revalidate=50", 150, "min-fresh=1", Reuse::Validate(Why::Stale)),
    ] {
        let found = decide(&stored(response), Duration::from_secs(age), &asked(request));
        assert_eq!(found, expected, "{response} / {age} s / {request}");
    }
}

/// Directives put together at random: every one that bears on staleness, with small numbers.
fn directives() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        (0..50_u32).prop_map(|n| format!("max-age={n}")),
        (0..50_u32).prop_map(|n| format!("s-maxage={n}")),
        (0..50_u32).prop_map(|n| format!("stale-while-revalidate={n}")),
        (0..50_u32).prop_map(|n| format!("stale-if-error={n}")),
        (0..50_u32).prop_map(|n| format!("max-stale={n}")),
        (0..50_u32).prop_map(|n| format!("min-fresh={n}")),
        Just("must-revalidate".to_owned()),
        Just("proxy-revalidate".to_owned()),
        Just("no-cache".to_owned()),
        Just("max-stale".to_owned()),
    ];
    prop::collection::vec(one, 0..5).prop_map(|all| all.join(", "))
}

proptest! {
    #[test]
    fn what_is_stale_never_becomes_fresh_again(response in directives(), one in 0..200_u64, more in 0..200_u64) {
        let freshness = stored(&response);
        let none = RequestDirectives::default();
        let (early, late) = (Duration::from_secs(one), Duration::from_secs(one + more));
        let fresh = |at| decide(&freshness, at, &none) == Reuse::Fresh;
        prop_assert!(fresh(early) || !fresh(late));
        prop_assert!(freshness.stale_if_error(early, true) || !freshness.stale_if_error(late, true));
        prop_assert!(freshness.stale_while_revalidate(early) || !freshness.stale_while_revalidate(late));
    }

    #[test]
    fn nothing_stale_is_served_without_leave(response in directives(), request in directives(), at in 0..200_u64) {
        let (said, wanted) = (response.clone(), asked(&request));
        let freshness = stored(&response);
        let resident = Duration::from_secs(at);
        let has = |name: &str| said.split(", ").any(|one| one.split('=').next() == Some(name));
        let strict = has("must-revalidate") || has("proxy-revalidate") || has("no-cache");
        match decide(&freshness, resident, &wanted) {
            Reuse::Fresh => prop_assert!(matches!(freshness.remaining(resident), Remaining::Fresh(_))),
            Reuse::StaleByRequest => prop_assert!(wanted.max_stale.is_some() && !strict && !has("s-maxage")),
            Reuse::StaleWhileRevalidate => prop_assert!(has("stale-while-revalidate") && !strict),
            Reuse::Validate(_) => {}
        }
    }

    #[test]
    fn no_octets_upset_a_parser(octets in prop::collection::vec(any::<u8>(), 0..64)) {
        let Ok(value) = HeaderValue::from_bytes(&octets) else { return Ok(()) };
        let names = ["cache-control", "cdn-cache-control", "vary", "range", "if-range", "if-none-match", "expires",
            "date", "age", "last-modified", "etag", "accept-encoding", "connection", "if-modified-since", "location"];
        let headers: HeaderMap = names
            .into_iter()
            .map(|name| (http::HeaderName::from_static(name), value.clone()))
            .collect();
        crate::policy::exercise(&headers);
    }

    #[test]
    fn no_likely_text_upsets_a_parser(text in "[a-z0-9=\",;:/*. \\\\-]{0,48}") {
        let value = HeaderValue::from_str(&text).expect("printable");
        let names = ["cache-control", "cdn-cache-control", "vary", "range", "if-range", "if-none-match", "expires",
            "date", "age", "last-modified", "etag", "accept-language", "connection", "if-modified-since", "location"];
        let headers: HeaderMap = names
            .into_iter()
            .map(|name| (http::HeaderName::from_static(name), value.clone()))
            .collect();
        crate::policy::exercise(&headers);
    }
}

use http::HeaderValue;
use proxima_model::Timestamp;

use std::time::Duration;

use super::*;
use crate::policy::freshness::Remaining;

type Fields<'a> = &'a [(&'static str, &'static str)];

fn map(fields: Fields<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

fn verdict(method: &Method, request: Fields<'_>, status: u16, response: Fields<'_>) -> Verdict {
    with_answer(method, request, status, response, judge)
}

fn with_answer<T>(
    method: &Method,
    request: Fields<'_>,
    status: u16,
    response: Fields<'_>,
    judged: impl FnOnce(Answered<'_>) -> T,
) -> T {
    let at = Timestamp::from_millis(784_111_777_000);
    judged(Answered {
        wishes: Wishes::default(),
        method,
        request: &map(request),
        status: StatusCode::from_u16(status).expect("a status"),
        response: &map(response),
        when: Exchanged { requested_at: at, received_at: at },
        share_cookies: true,
    })
}

fn refused(method: &Method, request: Fields<'_>, status: u16, response: Fields<'_>) -> Option<Refusal> {
    match verdict(method, request, status, response) {
        Verdict::Store(_) => None,
        Verdict::Refuse(refusal) => Some(refusal),
    }
}

const FRESH: (&str, &str) = ("cache-control", "max-age=60");
const MODIFIED: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 07:49:37 GMT");

#[test]
fn any_final_status_with_a_lifetime_is_stored() {
    for status in [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599] {
        assert_eq!(refused(&Method::GET, &[], status, &[FRESH]), None, "{status}");
    }
    assert_eq!(refused(&Method::GET, &[], 101, &[FRESH]), Some(Refusal::NotFinal));
    assert_eq!(refused(&Method::GET, &[], 206, &[FRESH]), Some(Refusal::Partial));
    assert_eq!(refused(&Method::GET, &[], 304, &[FRESH]), Some(Refusal::NotModified));
}

#[test]
fn only_some_statuses_are_stored_on_a_validator_alone() {
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        assert_eq!(refused(&Method::GET, &[], status, &[MODIFIED]), None, "{status}");
    }
    for status in [201, 202, 302, 403, 500, 502, 503, 504, 599] {
        assert_eq!(refused(&Method::GET, &[], status, &[MODIFIED]), Some(Refusal::NothingSays), "{status}");
    }
    assert_eq!(refused(&Method::GET, &[], 599, &[MODIFIED, ("cache-control", "public")]), None);
}

#[test]
fn methods_other_than_get_are_not_stored() {
    for method in [Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
        assert_eq!(refused(&method, &[], 200, &[FRESH]), Some(Refusal::Method), "{method}");
    }
}

#[test]
fn what_the_origin_or_the_client_forbids_is_not_stored() {
    let rows: &[(&'static str, Option<Refusal>)] = &[
        ("no-store", Some(Refusal::NoStore)),
        ("no-store, max-age=60", Some(Refusal::NoStore)),
        ("private, max-age=60", Some(Refusal::Private)),
        ("private=\"x\", max-age=60", None),
        ("no-store, must-understand, max-age=60", None),
        ("no-cache", Some(Refusal::NothingSays)),
        ("no-cache, max-age=60", Some(Refusal::Expired)),
        ("max-age=0", Some(Refusal::Expired)),
        ("max-age=0, stale-while-revalidate=60", None),
        ("public", Some(Refusal::NothingSays)),
    ];
    for (directives, expected) in rows {
        assert_eq!(
            refused(&Method::GET, &[], 200, &[("cache-control", directives)]),
            *expected,
            "{directives}"
        );
    }
    assert_eq!(
        refused(&Method::GET, &[], 599, &[("cache-control", "max-age=60, no-store, must-understand")]),
        Some(Refusal::NotUnderstood)
    );
    assert_eq!(
        refused(&Method::GET, &[("cache-control", "no-store")], 200, &[FRESH]),
        Some(Refusal::RequestNoStore)
    );
    assert_eq!(refused(&Method::GET, &[], 200, &[]), Some(Refusal::NothingSays));
}

#[test]
fn a_validator_is_worth_storing_what_is_never_fresh() {
    for directives in ["no-cache", "max-age=0", "no-cache, max-age=60"] {
        let fields = [("cache-control", directives), ("etag", "\"1\"")];
        assert_eq!(refused(&Method::GET, &[], 200, &fields), None, "{directives}");
    }
}

#[test]
fn authorized_answers_are_shared_only_where_the_origin_says_so() {
    let authorized = [("authorization", "Basic eA==")];
    for (directives, expected) in [
        ("max-age=60", Some(Refusal::Authorization)),
        ("max-age=60, public", None),
        ("max-age=60, must-revalidate", None),
        ("s-maxage=60", None),
    ] {
        let found = refused(&Method::GET, &authorized, 200, &[("cache-control", directives)]);
        assert_eq!(found, expected, "{directives}");
    }
}

#[test]
fn an_answer_with_a_cookie_is_stored_only_with_a_lifetime_of_its_origin_or_without_the_cookie() {
    let cookie = ("set-cookie", "a=b");
    assert_eq!(refused(&Method::GET, &[], 200, &[FRESH, cookie]), None);
    let strict = |answered: Answered<'_>| judge(Answered { share_cookies: false, ..answered });
    let refusal = with_answer(&Method::GET, &[], 200, &[FRESH, cookie], strict);
    assert_eq!(refusal, Verdict::Refuse(Refusal::SetCookie));
    let tag = ("etag", "\"1\"");
    for control in ["max-age=0", "no-cache, max-age=60", "public"] {
        let fields = [("cache-control", control), cookie, tag, MODIFIED];
        assert_eq!(refused(&Method::GET, &[], 200, &fields), Some(Refusal::SetCookie), "{control}");
    }
    let past = [("expires", "Thu, 19 Nov 1981 08:52:00 GMT"), cookie, tag];
    assert_eq!(refused(&Method::GET, &[], 200, &past), Some(Refusal::SetCookie));
    let fields = [("cache-control", "max-age=60, no-cache=\"Set-Cookie\""), cookie];
    match with_answer(&Method::GET, &[], 200, &fields, strict) {
        Verdict::Store(storable) => assert_eq!(storable.left_out, [header::SET_COOKIE]),
        Verdict::Refuse(refusal) => panic!("{refusal}"),
    }
}

#[test]
fn a_part_is_stored_for_requests_of_the_same_part() {
    let range = [("range", "bytes=0-1")];
    let part = [FRESH, ("content-range", "bytes 0-1/10")];
    match verdict(&Method::GET, &range, 206, &part) {
        Verdict::Store(storable) => assert!(storable.vary.is_of_a_part()),
        Verdict::Refuse(refusal) => panic!("{refusal}"),
    }
    for (request, response) in [
        (&[][..], &part[..]),
        (&[("range", "bytes=0-1,3-4")], &part),
        (&range, &[FRESH, ("content-type", "multipart/byteranges; boundary=x")]),
        (&range, &[FRESH, ("content-range", "bytes 1-0/10")]),
    ] {
        assert_eq!(refused(&Method::GET, request, 206, response), Some(Refusal::Partial), "{response:?}");
    }
}

#[test]
fn an_answer_to_post_is_stored_only_if_it_is_what_a_get_would_bring() {
    let target = Uri::from_static("http://example.test/a");
    let posted = |method: &Method, status, fields: Fields<'_>| {
        let verdict = with_answer(method, &[], status, fields, |answered| judge_posted(answered, &target));
        matches!(verdict, Verdict::Store(_))
    };
    let here = ("content-location", "/a");
    assert!(posted(&Method::POST, 200, &[FRESH, here]));
    assert!(posted(&Method::POST, 201, &[FRESH, ("content-location", "http://example.test/a")]));
    assert!(!posted(&Method::PUT, 200, &[FRESH, here]));
    assert!(!posted(&Method::POST, 400, &[FRESH, here]));
    assert!(!posted(&Method::POST, 200, &[FRESH]));
    assert!(!posted(&Method::POST, 200, &[FRESH, ("content-location", "/b")]));
    assert!(!posted(&Method::POST, 200, &[FRESH, ("content-location", "http://other.test/a")]));
    assert!(!posted(&Method::POST, 200, &[MODIFIED, here]), "a guess is no lifetime");
    assert!(!posted(&Method::POST, 200, &[("cache-control", "max-age=60, private"), here]));
}

#[test]
fn vary_star_is_not_stored() {
    assert_eq!(refused(&Method::GET, &[], 200, &[FRESH, ("vary", "foo, *")]), Some(Refusal::Vary));
}

#[test]
fn a_targeted_field_decides_alone() {
    let stored = [("cdn-cache-control", "max-age=60"), ("cache-control", "no-store")];
    assert_eq!(refused(&Method::GET, &[], 200, &stored), None);
    let private = [("cdn-cache-control", "private"), ("cache-control", "max-age=60")];
    assert_eq!(refused(&Method::GET, &[], 200, &private), Some(Refusal::Private));
}

fn wished(lifetime: EdgeLifetime, request: Fields<'_>, response: Fields<'_>) -> Verdict {
    let wishes = Wishes { lifetime, never_while_updating: true, armored: None };
    with_answer(&Method::GET, request, 200, response, |answered| judge(Answered { wishes, ..answered }))
}

#[test]
fn a_lifetime_of_the_owners_stands_above_what_the_origin_says_and_leaves_the_cookie_out() {
    for response in [
        &[][..],
        &[("cache-control", "no-store")],
        &[("cache-control", "private, no-cache, max-age=0"), ("set-cookie", "a=b")],
        &[("cache-control", "max-age=10, stale-while-revalidate=9"), ("age", "5")],
        &[("expires", "0")],
    ] {
        let Verdict::Store(storable) = wished(EdgeLifetime::Seconds(60), &[], response) else {
            panic!("{response:?} is refused");
        };
        let Storable { freshness, left_out, .. } = storable;
        assert_eq!(freshness.source, Source::Rule);
        assert_eq!(
            freshness.remaining(Duration::ZERO),
            Remaining::Fresh(Duration::from_secs(60)),
            "{response:?}"
        );
        assert!(!freshness.always_validate() && !freshness.stale_while_revalidate(Duration::from_secs(61)));
        assert_eq!(left_out, [header::SET_COOKIE]);
    }
}

#[test]
fn what_was_made_for_one_client_is_not_stored_whatever_the_owner_wishes() {
    let owners = EdgeLifetime::Seconds(60);
    for (request, response, refusal) in [
        (&[("authorization", "Basic eDp5")][..], &[FRESH][..], Refusal::Authorization),
        (&[("cache-control", "no-store")], &[FRESH], Refusal::RequestNoStore),
        (&[], &[FRESH, ("vary", "*")], Refusal::Vary),
    ] {
        assert_eq!(wished(owners, request, response), Verdict::Refuse(refusal));
    }
    let allowed = [("cache-control", "public")];
    assert!(matches!(wished(owners, &[("authorization", "Basic eDp5")], &allowed), Verdict::Store(_)));
}

#[test]
fn wishes_of_less_are_met_too() {
    assert_eq!(wished(EdgeLifetime::Never, &[], &[FRESH]), Verdict::Refuse(Refusal::ByRule));
    assert_eq!(wished(EdgeLifetime::OriginAlone, &[], &[MODIFIED]), Verdict::Refuse(Refusal::NoLifetime));
    assert!(matches!(wished(EdgeLifetime::OriginAlone, &[], &[FRESH]), Verdict::Store(_)));
    // Confirmed on every use: that takes something to confirm it by.
    assert_eq!(wished(EdgeLifetime::Seconds(0), &[], &[FRESH]), Verdict::Refuse(Refusal::Expired));
    let Verdict::Store(storable) = wished(EdgeLifetime::Seconds(0), &[], &[FRESH, MODIFIED]) else {
        panic!("refused");
    };
    assert!(storable.freshness.always_validate());
    let Verdict::Store(stale) =
        wished(EdgeLifetime::Origin, &[], &[("cache-control", "max-age=1, stale-while-revalidate=60")])
    else {
        panic!("refused");
    };
    assert!(!stale.freshness.stale_while_revalidate(Duration::from_secs(2)));
}

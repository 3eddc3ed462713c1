use http::HeaderValue;
use proxima_model::Timestamp;

use super::*;

type Fields<'a> = &'a [(&'static str, &'static str)];

fn map(fields: Fields<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

fn verdict(method: &Method, request: Fields<'_>, status: u16, response: Fields<'_>) -> Verdict {
    let at = Timestamp::from_millis(784_111_777_000);
    judge(Answered {
        method,
        request: &map(request),
        status: StatusCode::from_u16(status).expect("a status"),
        response: &map(response),
        when: Exchanged { requested_at: at, received_at: at },
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
fn an_answer_with_a_cookie_is_stored_only_without_it() {
    let cookie = ("set-cookie", "a=b");
    assert_eq!(refused(&Method::GET, &[], 200, &[FRESH, cookie]), Some(Refusal::SetCookie));
    let fields = [("cache-control", "max-age=60, no-cache=\"Set-Cookie\""), cookie];
    match verdict(&Method::GET, &[], 200, &fields) {
        Verdict::Store(storable) => assert_eq!(storable.left_out, [header::SET_COOKIE]),
        Verdict::Refuse(refusal) => panic!("{refusal}"),
    }
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

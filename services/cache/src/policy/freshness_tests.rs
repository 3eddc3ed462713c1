use http::{HeaderName, HeaderValue};

use super::*;

/// 1994-11-06T08:49:37Z, as [`NOW_DATE`].
const NOW: Timestamp = Timestamp::from_millis(784_111_777_000);
const NOW_DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const HOUR_AGO: &str = "Sun, 06 Nov 1994 07:49:37 GMT";
const HOUR_AHEAD: &str = "Sun, 06 Nov 1994 09:49:37 GMT";
const YEAR_AGO: &str = "Sat, 06 Nov 1993 08:49:37 GMT";

type Fields = &'static [(&'static str, &'static str)];

fn freshness(status: u16, fields: Fields) -> Freshness {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let said = ResponseDirectives::read(&headers);
    let when = Exchanged { requested_at: NOW, received_at: NOW };
    Freshness::of(StatusCode::from_u16(status).expect("a status"), &headers, &said, when)
}

#[test]
fn the_lifetime_comes_from_the_first_that_speaks() {
    let rows: &[(u16, Fields, u64, Source)] = &[
        (200, &[("cache-control", "max-age=10, s-maxage=20")], 20, Source::SMaxAge),
        (200, &[("cache-control", "s-maxage=5"), ("cache-control", "max-age=10")], 5, Source::SMaxAge),
        (200, &[("cache-control", "max-age=10"), ("expires", HOUR_AGO)], 10, Source::MaxAge),
        (200, &[("cache-control", "max-age=10"), ("expires", "0")], 10, Source::MaxAge),
        (200, &[("cache-control", "max-age=0"), ("expires", HOUR_AHEAD)], 0, Source::MaxAge),
        (200, &[("cdn-cache-control", "max-age=7"), ("cache-control", "max-age=10")], 7, Source::Targeted),
        (200, &[("cdn-cache-control", "public"), ("expires", HOUR_AHEAD)], 0, Source::Nothing),
        (200, &[("expires", HOUR_AHEAD), ("date", NOW_DATE)], 3600, Source::Expires),
        (200, &[("expires", NOW_DATE), ("date", NOW_DATE)], 0, Source::Expires),
        (200, &[("expires", HOUR_AGO), ("date", NOW_DATE)], 0, Source::Expires),
        (200, &[("expires", HOUR_AHEAD), ("date", HOUR_AGO)], 7200, Source::Expires),
        (200, &[("expires", HOUR_AHEAD), ("date", "nonsense")], 3600, Source::Expires),
        (200, &[("expires", HOUR_AHEAD)], 3600, Source::Expires),
        (200, &[("expires", "0"), ("last-modified", HOUR_AGO)], 0, Source::Expires),
        (200, &[("last-modified", HOUR_AGO), ("date", NOW_DATE)], 360, Source::Heuristic),
        (200, &[("last-modified", YEAR_AGO)], HEURISTIC_SECONDS_MAX, Source::Heuristic),
        (200, &[("last-modified", HOUR_AHEAD)], 0, Source::Heuristic),
        (200, &[("last-modified", "nonsense")], 0, Source::Nothing),
        (404, &[("last-modified", HOUR_AGO)], 360, Source::Heuristic),
        (403, &[("last-modified", HOUR_AGO)], 0, Source::Nothing),
        (599, &[("last-modified", HOUR_AGO)], 0, Source::Nothing),
        (599, &[("last-modified", HOUR_AGO), ("cache-control", "public")], 360, Source::Heuristic),
        (200, &[], 0, Source::Nothing),
    ];
    for (status, fields, seconds, source) in rows {
        let found = freshness(*status, fields);
        assert_eq!((found.lifetime_seconds, found.source), (*seconds, *source), "{status} {fields:?}");
    }
}

#[test]
fn the_initial_age_is_the_larger_of_what_date_and_age_say() {
    let rows: &[(Fields, u64)] = &[
        (&[], 0),
        (&[("date", NOW_DATE)], 0),
        (&[("date", HOUR_AGO)], 3600),
        (&[("date", HOUR_AHEAD)], 0),
        (&[("date", "nonsense")], 0),
        (&[("age", "7200")], 7200),
        (&[("age", "7200"), ("date", HOUR_AGO)], 7200),
        (&[("age", "60"), ("date", HOUR_AGO)], 3600),
        (&[("age", "abc")], 0),
        (&[("age", "-7200")], 0),
        (&[("age", "7200.0")], 0),
        (&[("age", "2147483649")], 2_147_483_648),
        (&[("age", "7200, 0")], 7200),
        (&[("age", "0, 7200")], 0),
        (&[("age", "7200"), ("age", "0")], 7200),
        (&[("age", "0"), ("age", "7200")], 0),
    ];
    for (fields, seconds) in rows {
        let age = freshness(200, fields).age(Duration::ZERO);
        assert_eq!(age, Duration::from_secs(*seconds), "{fields:?}");
    }
}

#[test]
fn the_time_of_the_journey_counts_as_age() {
    let headers = HeaderMap::new();
    let later = Timestamp::from_millis(NOW.as_millis() + 1_500);
    let when = Exchanged { requested_at: NOW, received_at: later };
    let found = Freshness::of(StatusCode::OK, &headers, &ResponseDirectives::default(), when);
    assert_eq!(found.age(Duration::from_secs(2)), Duration::from_millis(3_500));
    // A wall clock that was set back in between: no journey is shorter than nothing.
    let when = Exchanged { requested_at: later, received_at: NOW };
    let found = Freshness::of(StatusCode::OK, &headers, &ResponseDirectives::default(), when);
    assert_eq!(found.age(Duration::ZERO), Duration::ZERO);
}

#[test]
fn a_response_is_fresh_until_its_age_reaches_its_lifetime() {
    let found = freshness(200, &[("cache-control", "max-age=10"), ("age", "4")]);
    assert_eq!(found.remaining(Duration::ZERO), Remaining::Fresh(Duration::from_secs(6)));
    assert_eq!(found.remaining(Duration::from_secs(6)), Remaining::Stale(Duration::ZERO));
    assert_eq!(found.remaining(Duration::from_secs(9)), Remaining::Stale(Duration::from_secs(3)));
}

#[test]
fn stale_use_needs_leave_and_revalidate_directives_take_it_away() {
    let rows: &[(&'static str, bool, bool, bool, bool)] = &[
        // directive, by the client, while revalidating, on error, on error of an always-online zone
        ("max-age=1", true, false, false, true),
        ("max-age=1, stale-while-revalidate=60", true, true, false, true),
        ("max-age=1, stale-if-error=60", true, false, true, true),
        ("max-age=1, stale-if-error=0", true, false, false, false),
        ("s-maxage=1", false, false, false, false),
        ("s-maxage=1, stale-while-revalidate=60", false, true, false, false),
        ("s-maxage=1, stale-if-error=60", false, false, true, true),
        (
            "max-age=1, must-revalidate, stale-while-revalidate=60, stale-if-error=60",
            false,
            false,
            false,
            false,
        ),
        (
            "max-age=1, proxy-revalidate, stale-while-revalidate=60, stale-if-error=60",
            false,
            false,
            false,
            false,
        ),
        ("no-cache, stale-while-revalidate=60, stale-if-error=60", false, false, false, false),
    ];
    for (directives, request, revalidate, error, online) in rows {
        let mut headers = HeaderMap::new();
        headers.insert("cache-control", HeaderValue::from_static(directives));
        let said = ResponseDirectives::read(&headers);
        let when = Exchanged { requested_at: NOW, received_at: NOW };
        let found = Freshness::of(StatusCode::OK, &headers, &said, when);
        let at = Duration::from_secs(30);
        assert_eq!(found.stale_by_request(), *request, "{directives}");
        assert_eq!(found.stale_while_revalidate(at), *revalidate, "{directives}");
        assert_eq!(found.stale_if_error(at, false), *error, "{directives}");
        assert_eq!(found.stale_if_error(at, true), *online, "{directives}");
        assert!(!found.stale_while_revalidate(Duration::from_secs(3600)), "{directives}");
    }
}

#[test]
fn something_that_can_never_be_used_alone_is_known_as_such() {
    for (directives, usable) in [
        ("max-age=1", true),
        ("max-age=0", false),
        ("max-age=0, stale-while-revalidate=1", true),
        ("max-age=0, stale-if-error=1", true),
        ("no-cache, max-age=10", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("cache-control", HeaderValue::from_static(directives));
        let said = ResponseDirectives::read(&headers);
        let when = Exchanged { requested_at: NOW, received_at: NOW };
        assert_eq!(
            Freshness::of(StatusCode::OK, &headers, &said, when).ever_usable(),
            usable,
            "{directives}"
        );
    }
}

#[test]
fn a_lifetime_of_a_rule_does_not_begin_anew_with_every_cache() {
    let at = Timestamp::from_millis(1_000_000_000);
    let headers = HeaderMap::new();
    let said = ResponseDirectives::read(&headers);
    let when = Exchanged { requested_at: at, received_at: at };
    let first = Freshness::of(StatusCode::OK, &headers, &said, when).overridden(3_600);
    assert_eq!(first.left_by_rule(Duration::from_secs(600)), Some(3_000));
    // It arrives with an age of ten minutes, and the rule holds there, too.
    let arrived = Freshness::of(StatusCode::OK, &headers, &said, when).older_by(Duration::from_secs(600));
    let second = arrived.overridden(3_600).with_at_most(Some(3_000));
    assert_eq!(second.left_by_rule(Duration::ZERO), Some(3_000));
    assert_eq!(arrived.left_by_rule(Duration::ZERO), None);
}

//! Why something was not stored: `Cache-Status` and the trace, which `proxima explain` prints, both say it.

use proxima_model::ZoneSettings;

use super::harness::*;
use crate::config::CacheConfig;

/// What is asked, what the origin answers, and the words that both must have.
type Case = (&'static str, Fields<'static>, (u16, Fields<'static>), &'static str);

async fn told(settings: ZoneSettings, (method, request, (status, answer), why): Case) {
    let world = World::with(CacheConfig::default(), settings);
    let client = world.send(method.parse().expect("a method"), "/a", request);
    world.call().await.answer(status, answer, "");
    let read = client.await.expect("no panic").read().await;
    let said = read.field("cache-status").unwrap_or_default();
    let in_field = match why {
        // RFC 9211 has a word for this one.
        "only GET and HEAD" => said == "proxima; fwd=method",
        _ => said.contains("; detail=") && said.contains(why),
    };
    assert!(in_field, "{why:?} is not in {said:?}");
    assert!(read.trace.iter().any(|entry| entry.contains(why)), "{why:?} is not in {:?}", read.trace);
    assert!(!said.contains("stored;") && !said.ends_with("stored"), "{said:?}");
}

#[tokio::test]
async fn whatever_keeps_an_answer_from_being_stored_is_told() {
    const FRESH: (&str, &str) = ("cache-control", "max-age=60");
    let cases: [Case; 12] = [
        ("DELETE", &[], (200, &[FRESH]), "only GET and HEAD"),
        ("GET", &[("authorization", "Basic eA==")], (200, &[FRESH]), "the request was authorized"),
        ("GET", &[], (200, &[FRESH, ("set-cookie", "a=b")]), "Set-Cookie"),
        ("GET", &[], (200, &[("cache-control", "no-store")]), "no-store"),
        ("GET", &[("cache-control", "no-store")], (200, &[FRESH]), "the client asked for no-store"),
        ("GET", &[], (200, &[("cache-control", "private")]), "private"),
        ("GET", &[], (200, &[FRESH, ("vary", "*")]), "Vary: *"),
        ("GET", &[], (200, &[]), "no lifetime and no validator"),
        ("GET", &[], (200, &[("cache-control", "max-age=0")]), "already stale, and no validator"),
        ("GET", &[("range", "bytes=0-1")], (206, &[FRESH]), "partial content"),
        ("GET", &[("if-match", "\"a\"")], (200, &[FRESH]), "only the origin can judge If-Match"),
        ("GET", &[("x-forwarded-host", "b.example")], (200, &[FRESH]), "x-forwarded-host"),
    ];
    for case in cases {
        told(ZoneSettings::default(), case).await;
    }
    let development = ZoneSettings { development_mode: true, ..ZoneSettings::default() };
    told(development, ("GET", &[], (200, &[FRESH]), "development mode")).await;
}

#[tokio::test]
async fn what_is_too_large_is_told() {
    let world = World::new();
    let client = world.get("/a", &[]);
    let _sender = world.call().await.stream(&[("cache-control", "max-age=60")], Some(1 << 40));
    let answer = client.await.expect("no panic");
    let said = answer.response.headers["cache-status"].to_str().expect("text");
    assert_eq!(said, "proxima; fwd=uri-miss; detail=\"larger than an object may be\"");
    assert!(answer.trace.iter().any(|entry| entry.contains("larger than an object may be")));
}

#[tokio::test]
async fn what_is_stored_says_so_and_for_how_long() {
    let world = World::new();
    let read = world.fetch("/a", &[], &[("cache-control", "max-age=60")], "text").await;
    assert_eq!(read.field("cache-status"), Some("proxima; fwd=uri-miss; stored"));
    assert!(
        read.trace.iter().any(|entry| entry.contains("storing") && entry.contains("60")),
        "{:?}",
        read.trace
    );
    let hit = world.from_cache("/a", &[]).await;
    assert!(hit.trace.iter().any(|entry| entry.contains("HIT: hit; age 0 s of 60")), "{:?}", hit.trace);
}

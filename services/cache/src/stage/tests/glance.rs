//! Hits that are answered at a glance: as by the long way, or not at all.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use http::Method;
use proxima_compression::{Coding, encoder::Effort};
use proxima_model::ZoneSettings;
use proxima_pipeline::{Glance, Http1Form};
use serde_json::json;
use tokio::time::Instant;

use super::{super::*, harness::*};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");
/// A text that is worth being encoded.
const TEXT: &str = include_str!("glance.rs");

/// An answer's fields, each with its lines in order; what frames it is the listener's.
type Lines = BTreeMap<String, Vec<String>>;

impl World {
    /// What a glance at a GET gives: the answer's head, and its body.
    fn glance(&self, target: &str, accept_encoding: Option<&str>) -> Option<(String, Bytes)> {
        let exchange = self.exchange(Method::GET, target, &[]);
        let mut glance = Glance {
            client: &exchange.client,
            form: &Http1Form,
            scheme: exchange.request.scheme,
            host: HOST,
            port: None,
            target,
            accept_encoding: accept_encoding.map(str::as_bytes),
            ray: &exchange.ray,
            received: Instant::now(),
            site: exchange.site.clone(),
        };
        let mut out = BytesMut::new();
        let glanced = self.pipeline.glance(&mut glance, &mut out)?;
        assert_eq!(glanced.cache, proxima_pipeline::cache_status(Some(b"hit")));
        Some((String::from_utf8(out.to_vec()).expect("text"), glanced.body))
    }

    /// Both ways, for the same request; the short one must not give up.
    async fn both(self: &Arc<Self>, target: &str, accept_encoding: Option<&'static str>) {
        let fields: Vec<_> = accept_encoding.map(|value| ("accept-encoding", value)).into_iter().collect();
        let long = self.from_cache(target, &fields).await;
        let counted = self.metrics.requests(CacheStatus::Hit);
        let (head, body) = self.glance(target, accept_encoding).expect("a plain hit");
        assert_eq!(self.metrics.requests(CacheStatus::Hit), counted + 1);
        let (status, mut lines) = read(&head);
        assert_eq!(status, format!("HTTP/1.1 {} OK", long.status));
        assert_eq!(lines.remove("content-length"), Some(vec![body.len().to_string()]));
        assert_eq!(&body, long.body.as_ref().expect("whole"), "{target} {accept_encoding:?}");
        let mut expected = Lines::new();
        for (name, value) in long.headers.iter().filter(|(name, _)| *name != "content-length") {
            let value = String::from_utf8(value.as_bytes().to_vec()).expect("text");
            expected.entry(name.to_string()).or_default().push(value);
        }
        assert_eq!(lines, expected, "{target} {accept_encoding:?}");
    }
}

/// The status line, and the fields.
fn read(head: &str) -> (&str, Lines) {
    let mut rows = head.strip_suffix("\r\n\r\n").expect("an empty line at the end").split("\r\n");
    let status = rows.next().expect("a status line");
    let mut lines = Lines::new();
    for (name, value) in rows.map(|row| row.split_once(": ").expect("a field line")) {
        lines.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    (status, lines)
}

#[tokio::test(start_paused = true)]
async fn a_plain_hit_is_answered_alike_at_a_glance_and_by_the_long_way() {
    let stored: &[Fields<'_>] = &[
        &[FRESH],
        &[FRESH, ("content-type", "text/plain"), ("etag", "\"1\""), ("accept-ranges", "bytes")],
        &[FRESH, ("server", "origin"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("cf-ray", "theirs")],
        &[FRESH, ("alt-svc", "clear"), ("strict-transport-security", "max-age=1"), ("age", "7")],
        &[FRESH, ("cache-status", "theirs; hit"), ("cf-cache-status", "MISS"), ("x-a", "1"), ("x-a", "2")],
        &[
            ("cloudflare-cdn-cache-control", "max-age=60"),
            ("cache-control", "no-store"),
            ("cache-tag", "a,b"),
        ],
        &[("cdn-cache-control", "max-age=60"), ("cache-control", "private, max-age=1")],
        &[FRESH, ("content-type", "text/html"), ("content-encoding", "gzip")],
        &[
            ("cache-control", "max-age=60, no-transform"),
            ("content-type", "text/css"),
            ("link", "<a>; rel=x"),
        ],
    ];
    for settings in [
        ZoneSettings::default(),
        ZoneSettings { brotli: false, ..ZoneSettings::default() },
        ZoneSettings { browser_cache_ttl: 30, ..ZoneSettings::default() },
    ] {
        let world = World::with(CacheConfig::default(), settings.clone());
        for (number, fields) in stored.iter().enumerate() {
            for (kind, content) in [("text", TEXT), ("short", "short"), ("empty", "")] {
                let target = format!("/{number}/{kind}?q={number}");
                world.fetch(&target, &[], fields, content).await;
                for accepted in [None, Some("gzip, deflate, br, zstd"), Some("br"), Some("identity")] {
                    tokio::time::advance(Duration::from_millis(70)).await;
                    world.both(&target, accepted).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn what_browsers_are_told_is_lengthened_by_the_long_way_alone() {
    let settings = ZoneSettings { browser_cache_ttl: 600, ..ZoneSettings::default() };
    let world = World::with(CacheConfig::default(), settings);
    for (target, said, plain) in [
        ("/short", "max-age=60", false),
        ("/long", "max-age=6000", true),
        ("/shared", "s-maxage=60", false),
        ("/forbidden", "s-maxage=60, private=\"x-a\"", true),
    ] {
        world.fetch(target, &[], &[("cache-control", said)], "content").await;
        assert_eq!(world.from_cache(target, &[]).await.cache_status(), "HIT");
        assert_eq!(world.glance(target, None).is_some(), plain, "{target}");
        if plain {
            world.both(target, None).await;
        }
    }
}

#[tokio::test]
async fn an_encoded_form_is_answered_once_it_is_made_and_counted() {
    let world = World::new();
    world.fetch("/a", &[], &[FRESH, ("content-type", "text/css"), ("etag", "\"1\"")], TEXT).await;
    for coding in Coding::ALL {
        let name = coding.name();
        assert!(world.glance("/a", Some(name)).is_none(), "{name} is not made yet");
        while world.glance("/a", Some(name)).is_none() {
            world.from_cache("/a", &[("accept-encoding", name)]).await;
        }
        world.both("/a", Some(name)).await;
        let answers = || world.compressor.metrics().of(coding, Effort::Stored).answers.get();
        let before = answers();
        world.glance("/a", Some(name));
        assert_eq!(answers(), before + 1);
    }
    world.both("/a", None).await;
}

#[tokio::test]
async fn the_head_that_is_kept_counts_in_what_is_stored() {
    let world = World::new();
    world.fetch("/a", &[], &[FRESH], "content").await;
    let before = world.stage.store().octets();
    let (head, _) = world.glance("/a", None).expect("a plain hit");
    let taken = world.stage.store().octets() - before;
    assert!(taken > head.len() as u64 / 2 && taken < 1_024, "{taken}");
    world.glance("/a", None);
    assert_eq!(world.stage.store().octets(), before + taken, "it is made once");
}

#[tokio::test(start_paused = true)]
async fn whatever_is_no_plain_hit_is_left_to_the_long_way() {
    let world = World::new();
    assert!(world.glance("/nothing", None).is_none());
    world.fetch("/vary", &[], &[FRESH, ("vary", "accept-language")], "content").await;
    world.fetch("/no-cache", &[], &[("cache-control", "no-cache"), ("etag", "\"1\"")], "content").await;
    for target in ["/vary", "/no-cache"] {
        assert!(world.glance(target, None).is_none(), "{target}");
    }
    let client = world.get("/404", &[]);
    world.call().await.answer(404, &[FRESH], "nothing");
    client.await.expect("no panic").read().await;
    settle().await;
    assert_eq!(world.from_cache("/404", &[]).await.status, 404);
    assert!(world.glance("/404", None).is_none());
    // As it grows old.
    world.fetch("/a", &[], &[("cache-control", "max-age=60, stale-while-revalidate=60")], "content").await;
    assert!(world.glance("/a?", None).is_none() && world.glance("/a", None).is_some());
    tokio::time::advance(Duration::from_millis(59_999)).await;
    assert!(world.glance("/a", None).expect("a plain hit").0.contains("age: 59\r\n"));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(world.glance("/a", None).is_none(), "it is stale");
    assert_eq!(world.metrics.requests(CacheStatus::Hit), 3, "what was left counts once");
}

#[tokio::test]
async fn what_was_purged_is_not_answered_and_what_was_not_is_after_the_long_way_has_looked() {
    let world = World::new();
    for target in ["/a", "/b"] {
        world.fetch(target, &[], &[FRESH, ("cache-tag", "t")], "content").await;
        world.both(target, None).await;
    }
    world.stage.store().purge_names(world.zone(), &[tag("other")]);
    assert!(world.glance("/a", None).is_none(), "it has to be compared with the mark");
    world.both("/a", None).await;
    world.stage.forget(&world.key("/a"));
    assert!(world.glance("/a", None).is_none());
    world.both("/b", None).await;
    world.stage.store().purge_names(world.zone(), &[tag("t")]);
    assert!(world.glance("/b", None).is_none());
    assert_eq!(world.fetch("/b", &[], &[FRESH], "new").await.cache_status(), "MISS");
    world.stage.store().purge_zone(world.zone());
    assert!(world.glance("/b", None).is_none());
}

#[tokio::test]
async fn zones_with_cache_rules_or_in_development_go_the_long_way() {
    let rule = ("http.host ne \"\"", json!({"browser_ttl": {"mode": "override_origin", "default": 7}}));
    let world = World::with_rules(&[rule]);
    world.fetch("/a", &[], &[FRESH], "content").await;
    assert_eq!(world.from_cache("/a", &[]).await.field("cache-control"), Some("max-age=7"));
    assert!(world.glance("/a", None).is_none());
    let settings = ZoneSettings { development_mode: true, ..ZoneSettings::default() };
    let world = World::with(CacheConfig::default(), settings);
    world.fetch("/a", &[], &[FRESH], "content").await;
    assert!(world.glance("/a", None).is_none());
}

#[tokio::test]
async fn what_the_disk_wants_or_has_alone_goes_the_long_way_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::on_disk(folder.path()).await;
    world.fetch("/a", &[], &[FRESH], "content").await;
    assert!(world.glance("/a", None).is_none(), "its first hit offers it to the disk");
    world.both("/a", None).await;
    world.leave_only_the_disk().await;
    assert!(world.glance("/a", None).is_none());
    world.both("/a", None).await;
}

#[test]
fn a_request_that_has_a_field_of_any_meaning_is_not_looked_at() {
    let world = World::new();
    for name in ["If-None-Match", "range", "Cache-Control", "x-forwarded-host", "X-HTTP-Method-Override"] {
        assert!(world.pipeline.heeds(name.as_bytes()), "{name}");
    }
    for name in ["user-agent", "accept", "cookie", "accept-encoding", "x-forwarded-for"] {
        assert!(!world.pipeline.heeds(name.as_bytes()), "{name}");
    }
}

//! Stored objects in the coding that a client wants.

use bytes::Bytes;
use proxima_compression::{
    Coding,
    encoder::{Effort, decode},
};
use proxima_model::ZoneSettings;

use super::{super::*, harness::*};

/// A text that is worth it.
const PAGE: &str = include_str!("encoded.rs");
const FIELDS: Fields<'_> = &[
    ("cache-control", "max-age=60"),
    ("content-type", "text/plain"),
    ("etag", "\"1\""),
    ("accept-ranges", "bytes"),
    ("vary", "x-other"),
];

impl World {
    /// A hit for a client that accepts this.
    async fn accepting(self: &Arc<Self>, codings: &'static str) -> Read {
        let read = self.from_cache("/a", &[("accept-encoding", codings)]).await;
        settle().await;
        read
    }

    fn encoded_octets(&self, coding: Coding) -> u64 {
        self.compressor.metrics().of(coding, Effort::Stored).read.get()
    }
}

fn decoded(read: &Read, coding: Coding) -> Vec<u8> {
    assert_eq!((read.cache_status(), read.field("content-encoding")), ("HIT", Some(coding.name())));
    decode(coding, read.body.as_ref().expect("whole")).expect("encoded")
}

fn as_it_was(read: &Read) {
    assert_eq!((read.field("content-encoding"), read.field("etag")), (None, Some("\"1\"")));
    assert_eq!((read.text(), read.field("accept-ranges")), (PAGE, Some("bytes")));
}

#[tokio::test]
async fn a_stored_object_is_encoded_once_for_all_who_want_that_coding() {
    let world = World::new();
    world.fetch("/a", &[], FIELDS, PAGE).await;
    let plain = world.stage.store().octets();
    let mut forms = 0;
    for coding in Coding::ALL {
        let first = world.accepting(coding.name()).await;
        assert_eq!(decoded(&first, coding), PAGE.as_bytes());
        assert!(first.says("compression: "), "{:?}", first.trace);
        let second = world.accepting(coding.name()).await;
        assert_eq!(decoded(&second, coding), PAGE.as_bytes());
        let octets = second.body.as_ref().expect("whole").len() as u64;
        assert_eq!(second.field("content-length"), Some(octets.to_string().as_str()));
        assert_eq!((second.field("etag"), second.field("accept-ranges")), (Some("W/\"1\""), None));
        assert_eq!(second.field("vary"), Some("x-other, Accept-Encoding"));
        assert_eq!(world.encoded_octets(coding), PAGE.len() as u64, "once");
        forms += octets;
        assert_eq!(world.stage.store().octets(), plain + forms, "it counts in what is stored");
    }
    as_it_was(&world.from_cache("/a", &[]).await);
}

#[tokio::test]
async fn whoever_comes_while_it_is_being_encoded_waits_for_the_same_form() {
    let world = World::new();
    world.fetch("/a", &[], FIELDS, PAGE).await;
    let clients: Vec<_> = (0..5).map(|_| world.get("/a", &[("accept-encoding", "gzip")])).collect();
    for client in clients {
        let read = client.await.expect("no panic").read().await;
        assert_eq!(decoded(&read, Coding::Gzip), PAGE.as_bytes());
    }
    assert_eq!(world.encoded_octets(Coding::Gzip), PAGE.len() as u64);
}

#[tokio::test]
async fn who_does_not_want_it_gets_it_as_it_is() {
    let world = World::new();
    world.fetch("/a", &[], FIELDS, PAGE).await;
    let requests: [Fields<'_>; 4] = [
        &[],
        &[("accept-encoding", "gzip;q=0")],
        &[("accept-encoding", "deflate")],
        &[("accept-encoding", "gzip"), ("cache-control", "no-transform")],
    ];
    for request in requests {
        let read = world.from_cache("/a", request).await;
        as_it_was(&read);
        assert_eq!(read.field("vary"), Some("x-other, Accept-Encoding"), "another might get another form");
    }
}

#[tokio::test]
async fn conditions_ranges_and_heads_of_an_encoded_object() {
    let world = World::new();
    world.fetch("/a", &[], FIELDS, PAGE).await;
    let head = || world.send(Method::HEAD, "/a", &[("accept-encoding", "br")]);
    let before = head().await.expect("no panic").read().await;
    assert_eq!((before.field("content-encoding"), before.field("content-length")), (Some("br"), None));
    assert_eq!(world.encoded_octets(Coding::Br), 0, "nobody wants the content");
    let encoded = world.accepting("br").await;
    let length = encoded.body.as_ref().expect("whole").len().to_string();
    let after = head().await.expect("no panic").read().await;
    assert_eq!((after.field("content-length"), after.text()), (Some(length.as_str()), ""));
    assert_eq!(after.field("etag"), Some("W/\"1\""));

    let known = [("accept-encoding", "br"), ("if-none-match", "W/\"1\"")];
    let not_modified = world.from_cache("/a", &known).await;
    assert_eq!((not_modified.status, not_modified.text()), (304, ""));
    let part = world.from_cache("/a", &[("accept-encoding", "br"), ("range", "bytes=0-2")]).await;
    assert_eq!((part.status, part.text(), part.field("content-encoding")), (206, &PAGE[..3], None));
    assert_eq!(part.field("etag"), Some("\"1\""));
    // Weak tags hold no parts together (RFC 9110, 13.1.5): the whole.
    let guarded = [("accept-encoding", "br"), ("range", "bytes=0-2"), ("if-range", "W/\"1\"")];
    assert_eq!(decoded(&world.from_cache("/a", &guarded).await, Coding::Br), PAGE.as_bytes());
}

#[tokio::test]
async fn what_cannot_be_encoded_or_is_not_worth_it_is_settled_when_it_is_stored() {
    let world = World::new();
    let others: [(Fields<'_>, &'static str); 5] = [
        (&[("cache-control", "max-age=60"), ("content-type", "image/png")], PAGE),
        (&[("cache-control", "max-age=60"), ("content-type", "text/event-stream")], PAGE),
        (&[("cache-control", "max-age=60, no-transform"), ("content-type", "text/plain")], PAGE),
        (
            &[
                ("cache-control", "max-age=60"),
                ("content-type", "text/plain"),
                ("content-encoding", "deflate"),
            ],
            PAGE,
        ),
        (&[("cache-control", "max-age=60"), ("content-type", "text/plain")], "short"),
    ];
    for (index, (fields, body)) in others.into_iter().enumerate() {
        let target = format!("/{index}");
        world.fetch(&target, &[], fields, body).await;
        let read = world.from_cache(&target, &[("accept-encoding", "br, gzip, zstd")]).await;
        assert_eq!((read.cache_status(), read.text(), read.field("vary")), ("HIT", body, None), "{index}");
    }
}

#[tokio::test]
async fn a_zone_without_brotli_gets_the_next_coding() {
    let settings = ZoneSettings { brotli: false, ..ZoneSettings::default() };
    let world = World::with(CacheConfig::default(), settings);
    world.fetch("/a", &[], FIELDS, PAGE).await;
    assert_eq!(decoded(&world.accepting("br, gzip").await, Coding::Gzip), PAGE.as_bytes());
    as_it_was(&world.accepting("br").await);
}

#[tokio::test]
async fn a_confirmed_object_keeps_its_forms_until_its_origin_forbids_them() {
    let world = World::new();
    let stale = [("cache-control", "max-age=0"), ("content-type", "text/plain"), ("etag", "\"1\"")];
    world.fetch("/a", &[], &stale, PAGE).await;
    let confirm = async |fields: Fields<'_>| {
        let client = world.get("/a", &[("accept-encoding", "gzip")]);
        world.call().await.answer(304, fields, "");
        let read = client.await.expect("no panic").read().await;
        settle().await;
        read
    };
    for _ in 0..2 {
        let read = confirm(&[("cache-control", "max-age=0")]).await;
        assert_eq!(decode(Coding::Gzip, read.body.as_ref().expect("whole")).expect("gzip"), PAGE.as_bytes());
    }
    assert_eq!(world.encoded_octets(Coding::Gzip), PAGE.len() as u64, "once");
    let forbidden = confirm(&[("cache-control", "max-age=60, no-transform")]).await;
    assert_eq!((forbidden.text(), forbidden.field("content-encoding")), (PAGE, None));
}

#[tokio::test]
async fn what_is_still_being_fetched_is_left_to_the_stage_before() {
    let world = World::new();
    let client = world.get("/a", &[("accept-encoding", "gzip")]);
    let mut sender = world.call().await.stream(FIELDS, None);
    let answer = client.await.expect("no panic");
    assert!(!answer.response.coding_settled);
    sender.send(Bytes::from_static(PAGE.as_bytes())).await.expect("read");
    sender.finish().await;
    assert_eq!(answer.read().await.text(), PAGE);
    settle().await;
    assert_eq!(decoded(&world.accepting("gzip").await, Coding::Gzip), PAGE.as_bytes());
}

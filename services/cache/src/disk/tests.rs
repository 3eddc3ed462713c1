mod bounds;

use std::path::Path;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use proxima_chassis::SimulatedClock;
use proxima_model::{CacheTag, Timestamp};
use proxima_pipeline::Body;
use tokio::time::Instant;

use super::{
    metrics::Read,
    record::{self, BLOCK_OCTETS, Footer, Head},
    *,
};
use crate::{
    config::CacheConfig,
    content::Content,
    marks::Tags,
    metrics::Metrics,
    policy::{
        directives::ResponseDirectives,
        freshness::{Exchanged, Freshness},
        vary::Vary,
    },
    store::{Heads, Store},
};

/// Some wall clock.
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

struct World {
    store: Store,
    metrics: Metrics,
    clock: Arc<SimulatedClock>,
}

fn zone() -> ZoneId {
    ZoneId::from_bytes([9; 16])
}

fn key(path: &str) -> PrimaryKey {
    PrimaryKey::of_url(zone(), &format!("http://a.test{path}")).expect("absolute")
}

fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
    all.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn beginning(seq: u64, purges: Vec<Missed>) -> Beginning {
    Beginning { seq, purges: Some(purges) }
}

impl World {
    /// A store that has opened the folder.
    async fn open(folder: &Path, beginning: Beginning) -> Self {
        let world = Self::start(folder, NOW, 0);
        world.disk().begin(beginning);
        world.disk().settle().await;
        world
    }

    fn start(folder: &Path, now: Timestamp, octets: u64) -> Self {
        Self::start_while(folder, now, octets, Box::new(|| Some(0)))
    }

    fn start_while(folder: &Path, now: Timestamp, octets: u64, log_seen: LogSeen) -> Self {
        let disk_bytes_max = octets.max(DISK_BYTES_MIN);
        let config = CacheConfig { disk_bytes_max, ..CacheConfig::default() };
        let (metrics, clock) =
            (Metrics::register(&mut Registry::default()), Arc::new(SimulatedClock::new(now)));
        let store = Store::with_disk(&config, folder.to_owned(), clock.clone(), &metrics, log_seen);
        let store = store.expect("a folder");
        Self { store, metrics, clock }
    }

    fn disk(&self) -> &Disk {
        self.store.disk().expect("with a disk")
    }

    fn object(&self, path: &str, response: &HeaderMap, request: &HeaderMap, content: &[u8]) -> Arc<Object> {
        let mut headers = response.clone();
        let tags = Tags::take(&mut headers).unwrap_or_default();
        let now = self.clock.now();
        let when = Exchanged { requested_at: now, received_at: now };
        let vary = Vary::read(&headers).expect("names");
        let content = Content::of(&Bytes::copy_from_slice(content), self.disk().0.budget.clone());
        Arc::new(Object {
            status: StatusCode::OK,
            speaks_to_us: false,
            freshness: Freshness::of(StatusCode::OK, &headers, &ResponseDirectives::read(&headers), when),
            headers,
            variant: vary.variant(request),
            vary,
            received: Instant::now(),
            received_at: now,
            birth: self.store.begin(key(path).zone()),
            tags,
            content,
            forms: None,
            heads: Heads::default(),
            failed: 0.into(),
            on_disk: crate::store::NOT_OFFERED.into(),
        })
    }

    /// Stores what is worth being written.
    fn put_with(&self, path: &str, response: &HeaderMap, request: &HeaderMap, content: &[u8]) {
        let object = self.object(path, response, request, content);
        self.store.insert(&key(path), request, object.clone());
        self.store.used(&key(path), &object);
    }

    fn put(&self, path: &str, content: &[u8]) {
        self.put_with(path, &fields(&[("cache-control", "max-age=600")]), &HeaderMap::new(), content);
    }

    /// What a request gets that finds nothing in memory.
    async fn get_with(&self, path: &str, request: &HeaderMap) -> Option<Arc<Object>> {
        self.disk().settle().await;
        self.store.evict_all();
        let key = key(path);
        let location = self.disk().look_up(&key, request)?;
        let loaded = match self.disk().load_at_once(&key, location) {
            Loaded::WouldWait => self.disk().load(&key, location).await,
            loaded => loaded,
        };
        let Loaded::Here(object) = loaded else { return None };
        self.store.take_in(&key, request, location, object)
    }

    async fn get(&self, path: &str) -> Option<Vec<u8>> {
        let object = self.get_with(path, &HeaderMap::new()).await?;
        read(object.content.body(0, None).expect("whole")).await
    }

    async fn close(self) {
        self.disk().close().await;
    }
}

async fn read(mut body: Body) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(frame) = body.next_frame().await {
        all.extend_from_slice(&frame.ok()?.into_data().ok()?);
    }
    Some(all)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Content that differs in each of its octets' places.
fn content(octets: usize) -> Vec<u8> {
    (0..octets).map(|n| u8::try_from((n * 31 + n / 251) % 256).expect("a rest")).collect()
}

#[tokio::test]
async fn what_was_written_comes_back_with_its_fields_and_its_age() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    let mut response = fields(&[("cache-control", "max-age=600, stale-if-error=60"), ("etag", "\"a\"")]);
    response.append("x", HeaderValue::from_bytes(b"a\t\xe9").expect("octets that a field may have"));
    response.append("x", HeaderValue::from_static("again"));
    world.put_with("/a", &response, &HeaderMap::new(), b"content");
    assert!(world.get("/b").await.is_none());
    world.disk().settle().await;
    world.clock.set(Timestamp::from_millis(NOW.as_millis() + 100_000));
    let object = world.get_with("/a", &HeaderMap::new()).await.expect("on the disk");
    assert_eq!(object.headers, response);
    assert_eq!(object.freshness.age(object.resident()).as_secs(), 100);
    assert_eq!(object.freshness.lifetime_seconds, 600);
    assert_eq!(read(object.content.body(3, Some(5)).expect("whole")).await.as_deref(), Some(&b"te"[..]));
    world.close().await;

    let again = World::open(folder.path(), beginning(1, vec![])).await;
    assert_eq!(again.get("/a").await.as_deref(), Some(&b"content"[..]));
}

#[tokio::test]
async fn what_is_asked_for_once_is_not_written() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    let store = |path: &str| {
        let object =
            world.object(path, &fields(&[("cache-control", "max-age=600")]), &HeaderMap::new(), b"x");
        world.store.insert(&key(path), &HeaderMap::new(), object);
    };
    store("/once");
    store("/twice");
    world.store.evict_all();
    store("/twice");
    assert!(world.get("/once").await.is_none());
    assert!(world.get("/twice").await.is_some());
    assert_eq!(world.metrics.disk.writes.get(), 1);
    // What cannot be used for long is not, either.
    let fleeting = fields(&[("cache-control", "max-age=5")]);
    world.put_with("/fleeting", &fleeting, &HeaderMap::new(), b"x");
    assert!(world.get("/fleeting").await.is_none());
}

#[tokio::test]
async fn variants_are_kept_apart() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    let response = fields(&[("cache-control", "max-age=600"), ("vary", "x-kind")]);
    let (one, other) = (fields(&[("x-kind", "1")]), fields(&[("x-kind", "2")]));
    world.put_with("/v", &response, &one, b"one");
    world.put_with("/v", &response, &other, b"other");
    for (request, expected) in
        [(&one, Some(&b"one"[..])), (&other, Some(b"other")), (&HeaderMap::new(), None)]
    {
        let object = world.get_with("/v", request).await;
        let read = match object {
            Some(object) => read(object.content.body(0, None).expect("whole")).await,
            None => None,
        };
        assert_eq!(read.as_deref(), expected);
    }
    world.store.forget(&key("/v"));
    assert!(world.get_with("/v", &one).await.is_none());
    assert!(world.get_with("/v", &other).await.is_none());
}

#[tokio::test]
async fn large_content_stays_on_the_disk_and_is_read_in_parts() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    let large = content(3 * 1_024 * 1_024 + 77);
    world.put("/large", &large);
    let object = world.get_with("/large", &HeaderMap::new()).await.expect("on the disk");
    assert!(object.content.pieces().is_none() && object.content.octets_in_memory() == 0);
    for (first, end) in [(0, large.len()), (1, 2), (BLOCK_OCTETS - 1, BLOCK_OCTETS + 1), (999_999, 2_222_222)]
    {
        let body = object.content.body(first as u64, Some(end as u64)).expect("whole");
        assert_eq!(body.length(), Some((end - first) as u64));
        assert!(read(body).await.as_deref() == Some(&large[first..end]), "{first}..{end}");
    }
}

/// Changes one octet of the only segment.
fn damage(folder: &Path, find: &[u8]) {
    let segment = std::fs::read_dir(folder).expect("a folder").filter_map(Result::ok);
    let path = segment
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some() && path.extension() == Some("seg".as_ref()))
        .expect("a segment");
    let mut octets = std::fs::read(&path).expect("a file");
    let at = octets.windows(find.len()).position(|window| window == find).expect("in it");
    octets[at] ^= 1;
    // In place: the store has it open.
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a file");
    std::os::unix::fs::FileExt::write_all_at(&file, &octets[at..=at], at as u64).expect("written");
}

#[tokio::test]
async fn a_corrupt_object_is_a_miss() {
    for damaged in [&b"the content"[..], b"http://a.test/a", b"max-age"] {
        let folder = folder();
        let world = World::open(folder.path(), beginning(1, vec![])).await;
        world.put("/a", b"the content");
        world.disk().settle().await;
        damage(folder.path(), damaged);
        assert!(world.get("/a").await.is_none());
        assert_eq!(world.metrics.disk.reads(Read::Corrupt), 1);
        assert!(world.disk().look_up(&key("/a"), &HeaderMap::new()).is_none(), "forgotten");
    }
}

#[tokio::test]
async fn large_content_that_is_corrupt_breaks_off_before_the_damage_and_is_forgotten() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    let mut large = content(2 << 20);
    large[1_500_000..1_500_010].copy_from_slice(b"to damage!");
    world.put("/a", &large);
    world.disk().settle().await;
    let object = world.get_with("/a", &HeaderMap::new()).await.expect("its beginning is whole");
    damage(folder.path(), b"to damage!");
    let mut body = object.content.body(0, None).expect("whole");
    let mut got = 0;
    let error = loop {
        match body.next_frame().await.expect("it is not whole") {
            Ok(frame) => got += frame.into_data().expect("data").len(),
            Err(error) => break error,
        }
    };
    assert_eq!(error, proxima_pipeline::BodyError::Aborted);
    assert!(got < 1_500_000);
    assert!(world.store.find(&key("/a"), &HeaderMap::new()).object.is_none(), "nobody else gets it");
}

#[tokio::test]
async fn what_was_purged_stays_purged() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    let tagged = fields(&[("cache-control", "max-age=600"), ("cache-tag", "news")]);
    world.put_with("/tagged", &tagged, &HeaderMap::new(), b"x");
    for path in ["/url", "/stays", "/posted"] {
        world.put(path, b"x");
    }
    world.disk().settle().await;
    world.store.purge_names(zone(), &[Mark::tag(&CacheTag::parse("news").expect("a tag"))]);
    world.store.purge_url(&key("/url"));
    world.store.forget(&key("/url"));
    world.store.forget(&key("/posted"));
    for path in ["/tagged", "/url", "/posted"] {
        assert!(world.get(path).await.is_none(), "{path}");
    }
    world.close().await;
    let again = World::open(folder.path(), beginning(1, vec![])).await;
    for path in ["/tagged", "/url", "/posted"] {
        assert!(again.get(path).await.is_none(), "{path}");
    }
    assert!(again.get("/stays").await.is_some());
    // What is fetched anew is not hidden by the marks of before.
    again.put_with("/tagged", &tagged, &HeaderMap::new(), b"new");
    again.put("/url", b"new");
    for path in ["/tagged", "/url"] {
        assert_eq!(again.get(path).await.as_deref(), Some(&b"new"[..]), "{path}");
    }
}

#[tokio::test]
async fn a_purge_that_no_marks_were_written_of_is_found_in_the_logs_state() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(7, vec![])).await;
    let tagged = fields(&[("cache-control", "max-age=600"), ("cache-tag", "news")]);
    world.put_with("/tagged", &tagged, &HeaderMap::new(), b"x");
    world.put("/url", b"x");
    world.put("/stays", b"x");
    world.disk().settle().await;
    // Marks of it are in memory only when the power goes.
    world.store.purge_names(zone(), &[Mark::tag(&CacheTag::parse("news").expect("a tag"))]);
    world.disk().applied(8);
    world.disk().die().await;
    let purges = vec![
        Missed {
            made_by: 8,
            zone: zone(),
            names: Some(vec![Mark::tag(&CacheTag::parse("news").expect("a tag"))]),
        },
        Missed { made_by: 9, zone: zone(), names: Some(Mark::url(&key("/url")).to_vec()) },
        // Before the marks were written: carried out already.
        Missed { made_by: 7, zone: zone(), names: None },
    ];
    let again = World::open(folder.path(), beginning(9, purges)).await;
    assert!(again.get("/tagged").await.is_none());
    assert!(again.get("/url").await.is_none());
    assert!(again.get("/stays").await.is_some(), "walked, since its segment was not sealed");
}

#[tokio::test]
async fn a_disk_of_which_purges_may_be_unknown_starts_empty() {
    let day = 86_400_000;
    for (later, beginning) in [
        (day, beginning(1, vec![])),
        (-day, beginning(1, vec![])),
        (0, beginning(0, vec![])),
        (0, Beginning { seq: 1, purges: None }),
    ] {
        let folder = folder();
        let world = World::open(folder.path(), self::beginning(1, vec![])).await;
        world.put("/a", b"x");
        world.close().await;
        let again = World::start(folder.path(), Timestamp::from_millis(NOW.as_millis() + later), 0);
        again.disk().begin(beginning);
        assert!(again.get("/a").await.is_none());
        again.put("/a", b"new");
        assert!(again.get("/a").await.is_some());
    }
}

#[tokio::test]
async fn marks_that_are_damaged_are_not_believed() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    world.put("/a", b"x");
    world.close().await;
    let path = folder.path().join("marks");
    let mut octets = std::fs::read(&path).expect("marks");
    octets[3] ^= 1;
    std::fs::write(&path, octets).expect("written");
    assert!(World::open(folder.path(), beginning(1, vec![])).await.get("/a").await.is_none());
}

#[tokio::test]
async fn what_was_replaced_does_not_come_back() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    world.put("/a", b"old");
    world.disk().settle().await;
    // Not worth being written itself.
    let fleeting = fields(&[("cache-control", "max-age=1")]);
    world.put_with("/a", &fleeting, &HeaderMap::new(), b"new");
    assert!(world.get("/a").await.is_none());
    world.disk().die().await;
    assert!(World::open(folder.path(), beginning(1, vec![])).await.get("/a").await.is_none());
}

#[tokio::test]
async fn a_record_that_was_not_wholly_written_is_left_out() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    world.put("/a", b"first");
    world.put("/b", &content(5_000));
    world.disk().settle().await;
    world.disk().die().await;
    let path = folder.path().join("00000000.seg");
    let octets = std::fs::read(&path).expect("a segment");
    std::fs::write(&path, &octets[..octets.len() - 1]).expect("cut");
    let again = World::open(folder.path(), beginning(1, vec![])).await;
    assert_eq!(again.get("/a").await.as_deref(), Some(&b"first"[..]));
    assert!(again.get("/b").await.is_none());
    again.put("/b", b"second");
    again.close().await;
    let third = World::open(folder.path(), beginning(1, vec![])).await;
    assert_eq!(third.get("/a").await.as_deref(), Some(&b"first"[..]));
    assert_eq!(third.get("/b").await.as_deref(), Some(&b"second"[..]));
}

proptest! {
    #[test]
    fn nothing_that_is_read_is_believed(octets in prop::collection::vec(any::<u8>(), 0..400), at in 0..400_usize, bit in 0..8_u32) {
        record::exercise(&octets);
        let (_, mut forgets) = Head::forgetting(5, Some(6));
        prop_assert!(Head::read(&forgets).is_ok_and(|head| head.verify(&forgets).is_ok()));
        let place = at % 36;
        forgets[place] ^= 1 << bit;
        prop_assert!(Head::read(&forgets).is_err() || Head::read(&forgets).is_ok_and(|head| head.verify(&forgets).is_err()));
        let mut footer = Footer::default().write();
        prop_assert!(Footer::read(&footer, 0).is_ok());
        let place = at % footer.len();
        footer[place] ^= 1 << bit;
        prop_assert!(Footer::read(&footer, 0).is_err());
        record::exercise(&footer);
    }
}

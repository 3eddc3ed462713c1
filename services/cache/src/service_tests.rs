use http::HeaderMap;
use prometheus_client::registry::Registry;
use proxima_chassis::SystemClock;
use proxima_ledger::{Append, Change, EmbeddedLog, IdempotencyKey, Log as _, ReplicaOptions, Sealer, Seq};
use proxima_model::{CacheTag, DnsName, Timestamp, UrlPrefix};
use tempfile::TempDir;

use super::*;
use crate::store::tests::{get, put};

/// A cache over a log of its own.
struct World {
    log: EmbeddedLog,
    service: CacheService,
    seen: Seq,
    appended: u32,
    _folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let (sealer, _) = Sealer::generate();
        let log = EmbeddedLog::open(folder.path(), sealer, ReplicaOptions::default()).expect("a log");
        let metrics = Metrics::register(&mut Registry::default());
        let config = CacheConfig::default();
        let store = Arc::new(Store::new(&config, &metrics));
        let compressor = Compressor::new(proxima_compression::Metrics::register(&mut Registry::default()));
        let stage = CacheStage::new(store, config, Arc::new(SystemClock), metrics.clone(), compressor);
        Self {
            log,
            service: CacheService::over(stage, metrics),
            seen: Seq::ZERO,
            appended: 0,
            _folder: folder,
        }
    }

    async fn append(&mut self, changes: Vec<Change>) {
        self.appended += 1;
        let append = Append {
            changes,
            preconditions: Vec::new(),
            idempotency_key: IdempotencyKey(self.appended.to_string()),
            fingerprint: None,
            author: "node/test".to_owned(),
        };
        self.log.append(append).await.expect("taken");
    }

    async fn purge(&mut self, number: u8, zone: u8, what: PurgeWhat) -> (ZoneId, PurgeId) {
        let (id, zone) = (PurgeId::from_bytes([number; 16]), ZoneId::from_bytes([zone; 16]));
        let purge = Purge { id, zone, what, at: Timestamp::from_millis(0) };
        let change = self.log.replica().put(&purge);
        self.append(vec![change]).await;
        (zone, id)
    }

    /// What a node does when its replica has come on.
    fn put_in_force(&mut self) {
        let snapshot = self.log.replica().snapshot().expect("a state");
        let changed = self.log.replica().changes_since(self.seen);
        self.service.prepare(&snapshot, &changed).expect("prepared").commit();
        self.seen = snapshot.seq();
    }

    async fn holds(&self, zone: u8, url: &str) -> bool {
        get(self.service.stage.store(), &key(zone, url), &HeaderMap::new()).await.is_some()
    }

    fn fill(&self) {
        for (zone, url) in ALL {
            put(self.service.stage.store(), &key(zone, url), "", &HeaderMap::new(), b"content");
        }
    }

    async fn held(&self) -> Vec<(u8, &'static str)> {
        let mut held = Vec::new();
        for (zone, url) in ALL {
            if self.holds(zone, url).await {
                held.push((zone, url));
            }
        }
        held
    }
}

const ALL: [(u8, &str); 3] = [(1, "http://a.test/x"), (1, "http://a.test/y"), (2, "http://b.test/x")];

fn key(zone: u8, url: &str) -> PrimaryKey {
    PrimaryKey::of_url(ZoneId::from_bytes([zone; 16]), url).expect("absolute")
}

/// A world in which one state is in force already, so that what follows is a change.
async fn begun() -> World {
    let mut world = World::new();
    world.purge(99, 99, PurgeWhat::Everything).await;
    world.put_in_force();
    world.fill();
    world
}

#[tokio::test]
async fn a_purge_of_urls_forgets_those_of_its_zone() {
    let mut world = begun().await;
    let urls = vec!["http://A.test:80/x#top".to_owned(), "http://b.test/x".to_owned(), "no url".to_owned()];
    world.purge(1, 1, PurgeWhat::Files(urls)).await;
    world.put_in_force();
    assert_eq!(world.held().await, [ALL[1], ALL[2]]);
}

#[tokio::test]
async fn a_purge_of_everything_forgets_its_zone() {
    let mut world = begun().await;
    world.purge(1, 1, PurgeWhat::Everything).await;
    world.put_in_force();
    assert_eq!(world.held().await, [ALL[2]]);
    assert_eq!(world.service.metrics.purges(PurgeKind::Everything), 2);
}

#[tokio::test]
async fn a_purge_of_a_host_or_a_prefix_forgets_what_lies_beneath_in_its_zone() {
    let host = DnsName::parse("A.test").expect("a host");
    let prefix = |text| PurgeWhat::Prefixes(vec![UrlPrefix::parse(text).expect("a prefix")]);
    for (what, kind, held) in [
        (PurgeWhat::Hosts(vec![host]), PurgeKind::Hosts, &ALL[2..]),
        (prefix("a.test/y"), PurgeKind::Prefixes, &[ALL[0], ALL[2]]),
        (prefix("b.test/x"), PurgeKind::Prefixes, &ALL),
    ] {
        let mut world = begun().await;
        world.purge(1, 1, what).await;
        world.put_in_force();
        assert_eq!(world.held().await, held);
        assert_eq!(world.service.metrics.purges(kind), 1);
        world.fill();
        assert_eq!(world.held().await, ALL, "what is fetched afterwards is stored");
    }
}

#[tokio::test]
async fn a_purge_of_a_tag_that_nothing_has_forgets_nothing_and_one_that_was_missed_its_zone() {
    let mut world = begun().await;
    let what = PurgeWhat::Tags(vec![CacheTag::parse("tag").expect("a tag")]);
    world.purge(1, 1, what.clone()).await;
    world.put_in_force();
    assert_eq!(world.held().await, ALL);
    assert_eq!(world.service.metrics.purges(PurgeKind::Tags), 1);
    let id = world.purge(2, 1, what).await;
    world.append(vec![Change::delete::<Purge>(&id)]).await;
    world.put_in_force();
    assert_eq!(world.held().await, [ALL[2]]);
    assert_eq!(world.service.metrics.purges(PurgeKind::Missed), 1);
}

#[tokio::test]
async fn what_was_prepared_and_not_put_in_force_forgets_nothing() {
    let mut world = begun().await;
    world.purge(1, 1, PurgeWhat::Everything).await;
    let snapshot = world.log.replica().snapshot().expect("a state");
    let changed = world.log.replica().changes_since(world.seen);
    drop(world.service.prepare(&snapshot, &changed).expect("prepared"));
    assert_eq!(world.held().await, ALL);
}

#[tokio::test]
async fn the_removal_of_an_old_purge_forgets_nothing_and_that_of_an_unseen_one_its_zone() {
    let mut world = begun().await;
    let id = world.purge(1, 2, PurgeWhat::Everything).await;
    world.put_in_force();
    world.fill();
    world.append(vec![Change::delete::<Purge>(&id)]).await;
    world.put_in_force();
    assert_eq!(world.held().await, ALL);
    // Made and removed while this server was away: nobody knows what it said.
    let id = world.purge(2, 1, PurgeWhat::Files(vec!["http://a.test/x".to_owned()])).await;
    world.append(vec![Change::delete::<Purge>(&id)]).await;
    world.put_in_force();
    assert_eq!(world.held().await, [ALL[2]]);
}

#[tokio::test]
async fn a_state_in_which_anything_may_have_changed_forgets_everything() {
    let mut world = begun().await;
    let snapshot = world.log.replica().snapshot().expect("a state");
    world.service.prepare(&snapshot, &ChangeSet::everything(snapshot.seq())).expect("prepared").commit();
    assert_eq!(world.held().await, []);
    world.fill();
    world.put_in_force();
    assert_eq!(world.held().await, ALL);
}

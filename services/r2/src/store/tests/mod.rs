//! The store, by what its users see of it and by what lies on the disk, or in the engine.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use proxima_chassis::SimulatedClock;
use proxima_model::{AccountId, BucketName, BucketTag, NodeName, StorageClass};
use proxima_pipeline::{
    Body, BodyError, ChecksumAlgorithm, Expected, ObjectAbout, ObjectConditions, ObjectCopy, ObjectDelete,
    ObjectFields, ObjectGet, ObjectKey, ObjectListing, ObjectPut, ObjectRange, PartChosen, Span, Tags,
    UploadBegin, UploadComplete, UploadId,
};

use super::*;

mod crash;
mod delivering;
mod disk;
mod engine;
mod engine_server;
mod known;
mod lifecycle;
mod listing;
mod objects;
mod outbox;
mod upkeep;
mod uploads;

use engine_server::TestEngine;

/// A test of what holds wherever larger octets lie.
macro_rules! wherever_octets_lie {
    ($(async fn $name:ident($fixture:ident: Fixture) $body:block)*) => {$(
        mod $name {
            use super::*;

            async fn test($fixture: Fixture) $body

            #[tokio::test]
            async fn in_files() {
                test(Fixture::new()).await;
            }

            // With threads of its own for the engine, since tests wait for it on theirs.
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_an_engine() {
                test(Fixture::in_an_engine().await).await;
            }
        }
    )*};
}
use wherever_octets_lie;

/// More than a row takes.
const LARGE: usize = 300_000;

struct Fixture {
    folder: tempfile::TempDir,
    clock: Arc<SimulatedClock>,
    there: Arc<AtomicBool>,
    store: Store,
    bucket: Bucket,
    /// Where larger octets lie, if that is not in files.
    engine: Option<TestEngine>,
}

fn bucket() -> Bucket {
    Bucket {
        account: AccountId::from_bytes([1; 16]),
        name: BucketName::parse("bucket").unwrap(),
        tag: BucketTag::from_bytes([2; 16]),
        created_at: Timestamp::from_millis(0),
        home: NodeName::parse("a").unwrap(),
        location: None,
        jurisdiction: None,
        storage_class: StorageClass::Standard,
        cors: None,
        lifecycle: None,
        notifications: None,
        domains: std::collections::BTreeSet::new(),
    }
}

/// Octets of the index: such a one has 512 notifications, and 64 of one queue.
const INDEX_OCTETS: usize = 64 << 20;

fn bounds(free_octets_min: u64) -> Bounds {
    Bounds { index_octets_max: INDEX_OCTETS, free_octets_min }
}

fn open_with(
    folder: &Path,
    bounds: Bounds,
    clock: Arc<SimulatedClock>,
    there: Arc<AtomicBool>,
    engine: Option<&TestEngine>,
) -> Result<Store, ObjectError> {
    let metrics = Metrics::register(&mut Registry::default());
    let presence = move |bucket: &Bucket| match there.load(Ordering::Relaxed) {
        true => Presence::There(Known::of(bucket)),
        false => Presence::Gone,
    };
    let settings = engine.map(TestEngine::settings);
    Store::open(folder, bounds, clock, Arc::new(presence), metrics, settings.as_ref())
}

impl Fixture {
    fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap(), 0, None)
    }

    /// With an engine of its own.
    async fn in_an_engine() -> Self {
        Self::within(tempfile::tempdir().unwrap(), 0, Some(TestEngine::start().await))
    }

    /// Below this folder, of whose disk so much is left free.
    fn on(disk: &Path, free_octets_min: u64) -> Self {
        Self::within(tempfile::tempdir_in(disk).unwrap(), free_octets_min, None)
    }

    fn within(folder: tempfile::TempDir, free_octets_min: u64, engine: Option<TestEngine>) -> Self {
        let clock = Arc::new(SimulatedClock::new(Timestamp::from_millis(1_000_000)));
        let there = Arc::new(AtomicBool::new(true));
        let store =
            open_with(folder.path(), bounds(free_octets_min), clock.clone(), there.clone(), engine.as_ref());
        Self { folder, clock, there, store: store.unwrap(), bucket: bucket(), engine }
    }

    /// As if the process had been killed and started anew. What lies on the disk is all that is left.
    fn restart(self) -> Self {
        let Self { folder, clock, there, store, bucket, engine } = self;
        store.close_wholly();
        let store =
            open_with(folder.path(), bounds(0), clock.clone(), there.clone(), engine.as_ref()).unwrap();
        Self { folder, clock, there, store, bucket, engine }
    }

    /// Lets so many seconds pass.
    fn later(&self, seconds: i64) {
        self.clock.set(self.clock.now().plus_seconds(seconds));
    }

    async fn put(&self, text: &str, body: impl Into<Bytes>) -> Result<ObjectAbout, ObjectError> {
        self.store.put(&self.bucket, &key(text), ObjectPut::default(), Body::full(body.into())).await
    }

    async fn read(&self, text: &str, range: Option<ObjectRange>) -> Result<Bytes, ObjectError> {
        let get = ObjectGet { range, ..ObjectGet::default() };
        let read = self.store.get(&self.bucket, &key(text), get).await?;
        Ok(read.body.collect(usize::MAX).await?)
    }

    async fn list(&self, asked: ObjectListing) -> (Vec<String>, Vec<String>, Option<String>) {
        let page = self.store.list(&self.bucket, asked).await.unwrap();
        let keys = page.objects.into_iter().map(|(key, _)| key.as_str().to_owned()).collect();
        (keys, page.prefixes, page.next)
    }

    /// The same files, as another process has them, on a disk that has so much room.
    fn blobs(&self, free: impl Fn() -> u64 + Send + Sync + 'static) -> Blobs {
        let space = Space::with(Arc::new(move || Ok(free())), 0);
        Blobs::open(&self.folder.path().join("blobs"), space, None).unwrap()
    }

    /// The file in which an object of one piece lies.
    async fn file(&self, text: &str) -> std::path::PathBuf {
        let row = self.store.find(&self.bucket, &key(text)).await.unwrap();
        let [rows::Piece { at: rows::Place::Blob(blob), .. }] = row.pieces[..] else { panic!("it is large") };
        self.store.blobs.path_of(blob)
    }

    /// The log names this bucket, and the replica lacks nothing.
    fn living(&self) -> Living {
        let mut living = Living::new(true);
        living.add(self.bucket.clone(), None);
        living
    }

    /// Nobody changes any rules.
    fn unchanged() -> HasRules {
        Arc::new(|_: &Ruled| true)
    }

    /// Blobs, those that are being written among them.
    fn files(&self) -> usize {
        self.store.blobs.settle();
        let in_engine = self.engine.as_ref().map_or(0, TestEngine::blobs);
        files(self.folder.path()) + in_engine
    }
}

fn files(folder: &Path) -> usize {
    let folders = fs::read_dir(folder.join("blobs")).unwrap().map(|entry| entry.unwrap());
    let folders = folders.filter(|entry| entry.file_name() != "processes");
    folders.map(|entry| fs::read_dir(entry.path()).unwrap().count()).sum()
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn octets(count: usize, seed: u8) -> Vec<u8> {
    (0..count).map(|at| u8::try_from(at % 251).unwrap() ^ seed).collect()
}

fn one_of(tag: &str) -> Option<Tags> {
    Some(Tags::OneOf(vec![tag.to_owned()]))
}

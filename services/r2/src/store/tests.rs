//! The store, by what its users see of it and by what lies on the disk.

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
    ObjectGet, ObjectKey, ObjectListing, ObjectPut, ObjectRange, PartChosen, Tags, UploadBegin,
    UploadComplete, UploadId,
};

use super::*;

/// More than a row takes.
const LARGE: usize = 300_000;

struct Fixture {
    folder: tempfile::TempDir,
    clock: Arc<SimulatedClock>,
    there: Arc<AtomicBool>,
    store: Store,
    bucket: Bucket,
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
    }
}

fn open(folder: &Path, clock: Arc<SimulatedClock>, there: Arc<AtomicBool>) -> Store {
    let bounds = Bounds { index_octets_max: 64 << 20, free_octets_min: 0 };
    let metrics = Metrics::register(&mut Registry::default());
    let is_there = Arc::new(move |_: &Bucket| there.load(Ordering::Relaxed));
    Store::open(folder, bounds, clock, is_there, metrics).unwrap()
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SimulatedClock::new(Timestamp::from_millis(1_000_000)));
        let there = Arc::new(AtomicBool::new(true));
        let store = open(folder.path(), clock.clone(), there.clone());
        Self { folder, clock, there, store, bucket: bucket() }
    }

    /// As if the process had been killed and started anew. What lies on the disk is all that is left.
    fn restart(self) -> Self {
        let Self { folder, clock, there, store, bucket } = self;
        let closing = store.index.closing();
        drop(store);
        closing.wait();
        let store = open(folder.path(), clock.clone(), there.clone());
        Self { folder, clock, there, store, bucket }
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

    /// The same files, as another process has them, or one that must leave so much of the disk free.
    fn blobs(&self, free_octets_min: u64) -> Blobs {
        Blobs::open(&self.folder.path().join("blobs"), free_octets_min).unwrap()
    }

    /// Files of octets, those that are being written among them.
    fn files(&self) -> usize {
        let blobs = self.folder.path().join("blobs");
        let folders = fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap());
        let folders = folders.filter(|entry| entry.file_name() != "processes");
        folders.map(|entry| fs::read_dir(entry.path()).unwrap().count()).sum()
    }
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

#[tokio::test]
async fn what_is_put_is_read_whole_and_in_parts_also_after_a_restart() {
    let mut fixture = Fixture::new();
    for (name, count) in
        [("empty", 0), ("small", 100), ("row", 16 << 10), ("file", (16 << 10) + 1), ("large", LARGE)]
    {
        let about = fixture.put(name, octets(count, 1)).await.unwrap();
        assert_eq!(about.octets, count as u64);
    }
    assert_eq!(fixture.files(), 2, "what is small lies in its row");
    for _ in 0..2 {
        for (name, count) in [("empty", 0), ("small", 100), ("file", (16 << 10) + 1), ("large", LARGE)] {
            assert_eq!(fixture.read(name, None).await.unwrap(), octets(count, 1), "{name}");
        }
        let all = octets(LARGE, 1);
        let last = LARGE as u64 - 1;
        for (range, expected) in [
            (ObjectRange::From(0, Some(0)), &all[..1]),
            (ObjectRange::From(250_000, Some(270_000)), &all[250_000..=270_000]),
            (ObjectRange::From(last, None), &all[LARGE - 1..]),
            (ObjectRange::From(10, Some(u64::MAX)), &all[10..]),
            (ObjectRange::Last(7), &all[LARGE - 7..]),
            (ObjectRange::Last(u64::MAX), &all[..]),
            (ObjectRange::Part(1), &all[..]),
        ] {
            assert_eq!(fixture.read("large", Some(range)).await.unwrap(), expected, "{range:?}");
        }
        for range in [ObjectRange::From(last + 1, None), ObjectRange::From(9, Some(8)), ObjectRange::Last(0)]
        {
            let refused = fixture.read("large", Some(range)).await;
            assert_eq!(refused, Err(ObjectError::InvalidRange(LARGE as u64)), "{range:?}");
        }
        assert_eq!(fixture.read("other", None).await, Err(ObjectError::NoSuchKey));
        fixture = fixture.restart();
    }
}

#[tokio::test]
async fn of_many_who_create_a_key_at_once_one_does() {
    let fixture = Fixture::new();
    let conditions = ObjectConditions { if_none_match: Some(Tags::Any), ..ObjectConditions::default() };
    let puts = (0..16).map(|at| {
        let (store, bucket, conditions) = (fixture.store.clone(), fixture.bucket.clone(), conditions.clone());
        tokio::spawn(async move {
            let put = ObjectPut { conditions, ..ObjectPut::default() };
            store.put(&bucket, &key("k"), put, Body::full(octets(LARGE, at))).await
        })
    });
    let mut done = Vec::new();
    for (at, put) in puts.collect::<Vec<_>>().into_iter().enumerate() {
        match put.await.unwrap() {
            Ok(about) => done.push((at, about.etag)),
            Err(error) => assert_eq!(error, ObjectError::PreconditionFailed),
        }
    }
    let [(winner, etag)] = &done[..] else { panic!("{done:?}") };
    assert_eq!(fixture.read("k", None).await.unwrap(), octets(LARGE, u8::try_from(*winner).unwrap()));
    assert_eq!(fixture.files(), 1, "what the others sent is gone");

    let put = |tag: &str, seed| {
        let conditions = ObjectConditions { if_match: one_of(tag), ..ObjectConditions::default() };
        let put = ObjectPut { conditions, ..ObjectPut::default() };
        let store = &fixture.store;
        let bucket = &fixture.bucket;
        async move { store.put(bucket, &key("k"), put, Body::full(octets(10, seed))).await }
    };
    let replaced = put(etag, 3).await.unwrap();
    assert_eq!(put(etag, 4).await, Err(ObjectError::PreconditionFailed));
    assert_eq!(fixture.read("k", None).await.unwrap(), octets(10, 3));
    assert!(put(&replaced.etag, 5).await.is_ok());
}

#[tokio::test]
async fn what_does_not_come_whole_or_is_not_what_it_says_is_not_seen() {
    let fixture = Fixture::new();
    fixture.put("k", octets(LARGE, 1)).await.unwrap();
    let put = |expected: Expected, body: Body| {
        let put = ObjectPut { expected, ..ObjectPut::default() };
        let (store, bucket) = (&fixture.store, &fixture.bucket);
        async move { store.put(bucket, &key("k"), put, body).await }
    };
    let (mut sender, body) = Body::channel(1, None);
    let broken = async {
        for _ in 0..4 {
            sender.send(octets(100_000, 2).into()).await.unwrap();
        }
        sender.fail(BodyError::Aborted).await;
    };
    let (refused, ()) = tokio::join!(put(Expected::default(), body), broken);
    assert!(matches!(refused, Err(ObjectError::Body(_))), "{refused:?}");
    let wrong = |expected| put(expected, Body::full(octets(LARGE, 2)));
    let md5 = wrong(Expected { md5: Some([0; 16]), ..Expected::default() }).await;
    assert_eq!(md5, Err(ObjectError::BadDigest("Content-MD5".to_owned())));
    let length = wrong(Expected { octets: Some(LARGE as u64 + 1), ..Expected::default() }).await;
    assert!(matches!(length, Err(ObjectError::Body(_))));
    for algorithm in ChecksumAlgorithm::ALL {
        let value = Some(vec![0; algorithm.octets()]);
        let refused = wrong(Expected { checksum: Some((algorithm, value)), ..Expected::default() }).await;
        assert_eq!(refused, Err(ObjectError::BadDigest(algorithm.field().to_owned())));
    }
    let too_large = wrong(Expected { octets: Some((5 << 30) + 1), ..Expected::default() }).await;
    assert_eq!(too_large, Err(ObjectError::TooLarge));
    assert_eq!(fixture.read("k", None).await.unwrap(), octets(LARGE, 1));
    assert_eq!(fixture.files(), 1, "nothing is left of them");
}

#[tokio::test]
async fn a_checksum_behind_the_body_is_looked_at() {
    let fixture = Fixture::new();
    for (value, is_right) in [("y/Q5Jg==", true), ("AAAAAA==", false), ("?", false)] {
        let (mut sender, body) = Body::channel(4, None);
        sender.send(Bytes::from_static(b"123456789")).await.unwrap();
        let trailers = http::HeaderMap::from_iter([(
            http::HeaderName::from_static("x-amz-checksum-crc32"),
            value.parse().unwrap(),
        )]);
        sender.send_trailers(trailers).await.unwrap();
        sender.finish().await;
        let expected = Expected { checksum: Some((ChecksumAlgorithm::Crc32, None)), ..Expected::default() };
        let put = ObjectPut { expected, ..ObjectPut::default() };
        let put = fixture.store.put(&fixture.bucket, &key("k"), put, body).await;
        assert_eq!(put.is_ok(), is_right, "{value}: {put:?}");
    }
}

#[tokio::test]
async fn who_reads_ends_whatever_becomes_of_the_key_and_then_its_file_goes() {
    let fixture = Fixture::new();
    fixture.put("k", octets(4 * LARGE, 1)).await.unwrap();
    let read = fixture.store.get(&fixture.bucket, &key("k"), ObjectGet::default()).await.unwrap();
    fixture.put("k", octets(LARGE, 2)).await.unwrap();
    let gone = ObjectDelete { key: key("k"), conditions: ObjectConditions::default() };
    assert_eq!(fixture.store.delete(&fixture.bucket, vec![gone]).await, Ok(vec![Ok(())]));
    fixture.store.collect().await.unwrap();
    assert_eq!(fixture.files(), 2, "too early");
    fixture.later(301);
    fixture.store.collect().await.unwrap();
    assert_eq!(fixture.files(), 1, "it is being read");
    assert_eq!(read.body.collect(usize::MAX).await.unwrap(), octets(4 * LARGE, 1));
    fixture.store.collect().await.unwrap();
    assert_eq!(fixture.files(), 0);
    assert_eq!(fixture.store.content(&fixture.bucket).await, Ok(BucketContent::default()));
}

#[tokio::test]
async fn what_a_crash_left_goes_and_what_is_being_written_stays() {
    let mut fixture = Fixture::new();
    fixture.put("k", octets(LARGE, 1)).await.unwrap();
    // A crash after the file was whole, and before its row was.
    let mut whole = fixture.store.blobs.create().unwrap();
    whole.write(b"x").unwrap();
    let mut whole = whole.finish().unwrap();
    whole.named();
    drop(whole);
    // And one while another was written.
    let mut half = fixture.store.blobs.create().unwrap();
    half.write(b"x").unwrap();
    std::mem::forget(half);
    assert_eq!(fixture.files(), 3);
    assert_eq!(fixture.store.remove_strays().await, Ok(1), "the half one may still become whole");
    // The next process of a graceful restart beside this one: it does not take for a stray what this one writes.
    let next = Store { blobs: fixture.blobs(0), ..fixture.store.clone() };
    assert_eq!(next.remove_strays().await, Ok(0));
    drop(next);
    assert_eq!(fixture.files(), 2);
    assert_eq!(fixture.read("k", None).await.unwrap(), octets(LARGE, 1));
    // The process has ended: nobody holds its lock.
    let processes = fixture.folder.path().join("blobs/processes");
    for entry in fs::read_dir(&processes).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fixture = fixture.restart();
    assert_eq!(fixture.store.remove_strays().await, Ok(1));
    assert_eq!(fixture.read("k", None).await.unwrap(), octets(LARGE, 1));
    assert_eq!(fixture.store.remove_strays().await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn rot_is_found_and_is_not_passed_on() {
    let fixture = Fixture::new();
    fixture.put("good", octets(LARGE, 1)).await.unwrap();
    fixture.put("rotten", octets(LARGE, 2)).await.unwrap();
    fixture.store.scrub().await.unwrap();
    assert_eq!((fixture.store.metrics.rotten.get(), fixture.store.metrics.scrubbed.get()), (0, 2));
    let row = fixture.store.find(&fixture.bucket, &key("rotten")).await.unwrap();
    let [rows::Piece { at: rows::Place::Blob(blob), .. }] = row.pieces[..] else { panic!("it is large") };
    let path = fixture.store.blobs.path_of(blob);
    let mut changed = fs::read(&path).unwrap();
    changed[1_000] ^= 1;
    fs::write(&path, changed).unwrap();
    fixture.store.scrub().await.unwrap();
    assert_eq!(fixture.store.metrics.rotten.get(), 1);
    let read = fixture.read("rotten", None).await;
    assert!(matches!(read, Err(ObjectError::Body(_))), "its end is not sent");
    assert_eq!(fixture.read("good", None).await.unwrap(), octets(LARGE, 1));
}

#[tokio::test]
async fn keys_are_listed_in_the_order_of_their_octets_and_by_pages() {
    let fixture = Fixture::new();
    let long = "x".repeat(1_024);
    let names = [
        "a",
        "a/",
        "a/b",
        "a/b/c",
        "a/c",
        "ab",
        "b/1",
        "b/2",
        "é",
        "日本",
        "..",
        "../../etc/passwd",
        "/",
        "//",
        &long,
    ];
    for name in names {
        fixture.put(name, "x").await.unwrap();
    }
    let mut sorted = names.map(str::to_owned).to_vec();
    sorted.sort();
    let all = ObjectListing { limit: 1_000, ..ObjectListing::default() };
    assert_eq!(fixture.list(all.clone()).await, (sorted.clone(), Vec::new(), None));
    for limit in 1..=names.len() {
        for delimiter in [None, Some("/".to_owned())] {
            let whole = fixture.list(ObjectListing { delimiter: delimiter.clone(), ..all.clone() }).await;
            let (mut keys, mut prefixes, mut after) = (Vec::new(), Vec::new(), None);
            loop {
                let asked =
                    ObjectListing { prefix: String::new(), delimiter: delimiter.clone(), after, limit };
                let (some, several, next) = fixture.list(asked).await;
                assert!(some.len() + several.len() <= limit);
                keys.extend(some);
                prefixes.extend(several);
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!((&keys, &prefixes), (&whole.0, &whole.1), "{limit} {delimiter:?}");
        }
    }
    let below = ObjectListing { prefix: "a/".to_owned(), delimiter: Some("/".to_owned()), ..all.clone() };
    let expected = (["a/", "a/b", "a/c"].map(str::to_owned).to_vec(), vec!["a/b/".to_owned()], None);
    assert_eq!(fixture.list(below).await, expected);
    let behind = ObjectListing { after: Some("b/".repeat(2_000)), ..all.clone() };
    assert!(fixture.list(behind).await.0.iter().all(|key| key.as_str() > "b/b"));
    let nothing = ObjectListing { prefix: "y".repeat(5_000), ..all };
    assert_eq!(fixture.list(nothing).await, (Vec::new(), Vec::new(), None));
    assert_eq!(ObjectKey::new("x".repeat(1_025)), Err(ObjectError::KeyTooLong));
}

async fn part(fixture: &Fixture, upload: UploadId, number: u16, body: Vec<u8>) -> PartChosen {
    let which = (&fixture.bucket, &key("k"), upload, number);
    let about = fixture.store.put_part(which, Expected::default(), Body::full(body)).await.unwrap();
    PartChosen { number, etag: about.etag(), checksum: None }
}

#[tokio::test]
async fn an_upload_becomes_one_object_of_the_chosen_parts() {
    let fixture = Fixture::new();
    let (store, bucket, key) = (&fixture.store, &fixture.bucket, key("k"));
    let upload = store.begin_upload(bucket, &key, UploadBegin::default()).await.unwrap();
    let least = 5 << 20;
    let first = part(&fixture, upload, 3, octets(least, 1)).await;
    let small = part(&fixture, upload, 5, octets(100, 2)).await;
    let unused = part(&fixture, upload, 7, octets(LARGE, 3)).await;
    let replaced = part(&fixture, upload, 9, octets(LARGE, 4)).await;
    let last = part(&fixture, upload, 9, octets(LARGE, 5)).await;
    assert_eq!(fixture.read("k", None).await, Err(ObjectError::NoSuchKey));
    let complete = |parts: &[&PartChosen]| {
        let parts = parts.iter().map(|part| (*part).clone()).collect();
        store.complete_upload(bucket, &key, upload, UploadComplete { parts, ..UploadComplete::default() })
    };
    let wrong = PartChosen { etag: "0".repeat(32), ..first.clone() };
    for (parts, refused) in [
        (&[&last, &first][..], ObjectError::InvalidPartOrder),
        (&[&first, &first], ObjectError::InvalidPartOrder),
        (&[&wrong], ObjectError::InvalidPart),
        (&[&first, &replaced], ObjectError::InvalidPart),
        (&[&first, &small, &last], ObjectError::PartTooSmall),
    ] {
        assert_eq!(complete(parts).await, Err(refused));
    }
    let about = complete(&[&first, &last]).await.unwrap();
    assert_eq!((about.octets, about.parts), ((least + LARGE) as u64, Some(2)));
    assert!(about.etag.ends_with("-2"), "{}", about.etag);
    assert_eq!(complete(&[&first, &last]).await, Ok(about.clone()), "asked again, it is answered again");
    let all = [octets(least, 1), octets(LARGE, 5)].concat();
    let crc = about.checksum.unwrap().value;
    assert_eq!(crc, hashing::checksum(ChecksumAlgorithm::Crc64Nvme, &all));
    assert_eq!(fixture.read("k", None).await.unwrap(), all);
    let across = ObjectRange::From(least as u64 - 5, Some(least as u64 + 4));
    assert_eq!(fixture.read("k", Some(across)).await.unwrap(), &all[least - 5..least + 5]);
    assert_eq!(fixture.read("k", Some(ObjectRange::Part(9))).await.unwrap(), octets(LARGE, 5));
    assert_eq!(fixture.read("k", Some(ObjectRange::Part(2))).await, Err(ObjectError::InvalidPart));
    let _ = unused;
    fixture.later(301);
    store.collect().await.unwrap();
    assert_eq!(fixture.files(), 2, "parts that were not chosen are gone");
    let late = store.put_part((bucket, &key, upload, 1), Expected::default(), Body::full("x")).await;
    assert_eq!(late, Err(ObjectError::NoSuchUpload));
}

#[tokio::test]
async fn an_upload_that_is_aborted_or_too_old_leaves_nothing() {
    let fixture = Fixture::new();
    let (store, bucket, key) = (&fixture.store, &fixture.bucket, key("k"));
    let aborted = store.begin_upload(bucket, &key, UploadBegin::default()).await.unwrap();
    let old = store.begin_upload(bucket, &key, UploadBegin::default()).await.unwrap();
    for upload in [aborted, old] {
        part(&fixture, upload, 1, octets(LARGE, 1)).await;
    }
    assert_eq!(store.abort_upload(bucket, &key, aborted).await, Ok(()));
    assert_eq!(store.abort_upload(bucket, &key, aborted).await, Err(ObjectError::NoSuchUpload));
    fixture.later(7 * 86_400);
    store.end_uploads().await.unwrap();
    assert_eq!(store.abort_upload(bucket, &key, old).await, Err(ObjectError::NoSuchUpload));
    fixture.later(301);
    store.collect().await.unwrap();
    assert_eq!(fixture.files(), 0);
}

#[tokio::test]
async fn a_copy_lives_on_without_its_original() {
    let fixture = Fixture::new();
    let (store, bucket) = (&fixture.store, &fixture.bucket);
    let original = fixture.put("from", octets(LARGE, 1)).await.unwrap();
    let copy = store.copy((bucket, &key("from")), (bucket, &key("to")), ObjectCopy::default()).await.unwrap();
    assert_eq!(copy.etag, original.etag);
    let gone = ObjectDelete { key: key("from"), conditions: ObjectConditions::default() };
    store.delete(bucket, vec![gone]).await.unwrap();
    fixture.later(301);
    store.collect().await.unwrap();
    assert_eq!(fixture.files(), 1);
    assert_eq!(fixture.read("to", None).await.unwrap(), octets(LARGE, 1));
    let missing = store.copy((bucket, &key("from")), (bucket, &key("to")), ObjectCopy::default()).await;
    assert_eq!(missing, Err(ObjectError::NoSuchKey));
}

#[tokio::test]
async fn nothing_is_written_to_a_bucket_that_is_being_deleted_or_is_gone() {
    let fixture = Fixture::new();
    let (store, bucket) = (&fixture.store, &fixture.bucket);
    fixture.put("k", "x").await.unwrap();
    assert_eq!(store.close(bucket).await, Err(ObjectError::BucketNotEmpty));
    let gone = ObjectDelete { key: key("k"), conditions: ObjectConditions::default() };
    store.delete(bucket, vec![gone]).await.unwrap();
    // Somebody writes while it is deleted: either is refused, never both done.
    let (mut sender, body) = Body::channel(1, None);
    let key_written = key("k");
    let writing = store.put(bucket, &key_written, ObjectPut::default(), body);
    let deleting = async {
        sender.send(Bytes::from_static(b"x")).await.unwrap();
        store.close(bucket).await.unwrap();
        sender.finish().await;
    };
    let (written, ()) = tokio::join!(writing, deleting);
    assert_eq!(written, Err(ObjectError::NoSuchBucket));
    assert_eq!(fixture.put("k", "x").await, Err(ObjectError::NoSuchBucket));
    let begun = store.begin_upload(bucket, &key("k"), UploadBegin::default()).await;
    assert_eq!(begun, Err(ObjectError::NoSuchBucket));
    store.reopen(bucket).await.unwrap();
    assert!(fixture.put("k", "x").await.is_ok());
    fixture.there.store(false, Ordering::Relaxed);
    assert_eq!(fixture.put("k", "x").await, Err(ObjectError::NoSuchBucket));
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_what_is_there() {
    let fixture = Fixture::new();
    fixture.put("k", octets(LARGE, 1)).await.unwrap();
    let full = Store { blobs: fixture.blobs(u64::MAX), ..fixture.store.clone() };
    let put = full.put(&fixture.bucket, &key("k"), ObjectPut::default(), Body::full(octets(LARGE, 2))).await;
    assert!(matches!(put, Err(ObjectError::Full(_))), "{put:?}");
    assert_eq!(fixture.read("k", None).await.unwrap(), octets(LARGE, 1));
}

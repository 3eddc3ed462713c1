//! Objects: put, read, copied, deleted.

use super::*;

wherever_octets_lie! {
    async fn what_is_put_is_read_whole_and_in_parts_also_after_a_restart(fixture: Fixture) {
        let mut fixture = fixture;
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
}

#[tokio::test]
async fn an_object_is_kept_as_its_bucket_said_when_it_came() {
    let mut fixture = Fixture::new();
    fixture.put("before", "octets").await.unwrap();
    let begin = UploadBegin::default();
    let upload = fixture.store.begin_upload(&fixture.bucket, &key("upload"), begin).await.unwrap();
    fixture.bucket.storage_class = StorageClass::InfrequentAccess;
    fixture.put("after", "octets").await.unwrap();
    let (store, bucket) = (&fixture.store, &fixture.bucket);
    let part = (bucket, &key("upload"), upload, 1);
    let part = store.put_part(part, Expected::default(), Body::full("octets")).await.unwrap();
    let chosen = PartChosen { number: 1, etag: part.etag(), checksum: None };
    let complete = UploadComplete { parts: vec![chosen], ..UploadComplete::default() };
    store.complete_upload(bucket, &key("upload"), upload, complete).await.unwrap();
    for (to, fields) in [("copy", None), ("copy with other fields", Some(ObjectFields::default()))] {
        let copy = ObjectCopy { fields, ..ObjectCopy::default() };
        store.copy((bucket, &key("before")), (bucket, &key(to)), copy).await.unwrap();
    }
    let class = Some(StorageClass::Standard);
    let copy = ObjectCopy { storage_class: class, ..ObjectCopy::default() };
    store.copy((bucket, &key("after")), (bucket, &key("copy as it was said")), copy).await.unwrap();
    for (name, class) in [
        ("before", StorageClass::Standard),
        ("after", StorageClass::InfrequentAccess),
        ("copy as it was said", StorageClass::Standard),
        ("upload", StorageClass::Standard),
        ("copy", StorageClass::InfrequentAccess),
        ("copy with other fields", StorageClass::InfrequentAccess),
    ] {
        let (about, _) = store.head(bucket, &key(name), ObjectGet::default()).await.unwrap();
        assert_eq!(about.fields.class_in(bucket), class, "{name}");
    }
}

#[tokio::test]
async fn the_only_part_of_an_object_of_nothing_has_no_range() {
    let fixture = Fixture::new();
    for (name, octets, expected) in [("empty", "", None), ("one", "x", Some(Span { start: 0, octets: 1 }))] {
        fixture.put(name, octets).await.unwrap();
        let get = || ObjectGet { range: Some(ObjectRange::Part(1)), ..ObjectGet::default() };
        let (_, span) = fixture.store.head(&fixture.bucket, &key(name), get()).await.unwrap();
        assert_eq!(span, expected, "{name}");
        let read = fixture.store.get(&fixture.bucket, &key(name), get()).await.unwrap();
        assert_eq!((read.span, read.body.collect(9).await.unwrap()), (expected, Bytes::from(octets)));
    }
}

#[tokio::test]
async fn a_head_needs_no_more_of_a_row_than_it_tells() {
    let fixture = Fixture::new();
    fixture.put("k", "octets").await.unwrap();
    let tag = fixture.bucket.tag;
    let damage = fixture.store.index.change(move |db, txn| {
        let lies = rows::object_key(tag, &key("k"));
        let mut row = db.objects.get(txn, &lies).map_err(index::failed)?.unwrap().to_vec();
        *row.last_mut().unwrap() ^= 1;
        db.objects.put(txn, &lies, &row).map_err(index::failed)
    });
    damage.await.unwrap();
    let head = |range| {
        let get = ObjectGet { range, ..ObjectGet::default() };
        async { fixture.store.head(&fixture.bucket, &key("k"), get).await.map(|(about, _)| about.octets) }
    };
    assert_eq!(head(None).await, Ok(6));
    assert_eq!(head(Some(ObjectRange::From(1, None))).await, Ok(6));
    assert!(head(Some(ObjectRange::Part(1))).await.is_err(), "where a part lies is in the other half");
}

wherever_octets_lie! {
    async fn a_copy_is_made_of_what_was_there_when_it_began_however_long_its_checksum_takes(fixture: Fixture) {
        let (store, bucket) = (&fixture.store, &fixture.bucket);
        let upload = store.begin_upload(bucket, &key("k"), UploadBegin::default()).await.unwrap();
        let mut parts = Vec::new();
        for number in 1..=2 {
            let body = Body::full(octets(5 << 20, u8::try_from(number).unwrap()));
            let part = (bucket, &key("k"), upload, number);
            let about = store.put_part(part, Default::default(), body).await.unwrap();
            parts.push(PartChosen { number, etag: about.etag(), checksum: None });
        }
        let complete = UploadComplete { parts, ..UploadComplete::default() };
        store.complete_upload(bucket, &key("k"), upload, complete).await.unwrap();
        let copying = {
            let (store, bucket) = (store.clone(), bucket.clone());
            tokio::spawn(async move {
                let copy = ObjectCopy { checksum: Some(ChecksumAlgorithm::Sha256), ..ObjectCopy::default() };
                store.copy((&bucket, &key("k")), (&bucket, &key("copy")), copy).await
            })
        };
        while !store.blobs.is_any_read() && !copying.is_finished() {
            tokio::task::yield_now().await;
        }
        // What the original had goes as soon as it is not read, piece by piece.
        let all = vec![ObjectDelete { key: key("k"), conditions: ObjectConditions::default() }];
        store.delete(bucket, all).await.unwrap();
        fixture.later(GARBAGE_KEPT_SECONDS + 1);
        while !copying.is_finished() {
            store.collect().await.unwrap();
        }
        let copied = copying.await.unwrap().unwrap();
        let whole = [octets(5 << 20, 1), octets(5 << 20, 2)].concat();
        assert_eq!(copied.checksum.unwrap().value, hashing::checksum(ChecksumAlgorithm::Sha256, &whole));
        assert_eq!(fixture.read("copy", None).await.unwrap(), whole);
    }
}

wherever_octets_lie! {
    async fn of_many_who_create_a_key_at_once_one_does(fixture: Fixture) {
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
}

wherever_octets_lie! {
    async fn what_does_not_come_whole_or_is_not_what_it_says_is_not_seen(fixture: Fixture) {
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

wherever_octets_lie! {
    async fn a_copy_lives_on_without_its_original(fixture: Fixture) {
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
}

#[tokio::test]
async fn nothing_is_written_to_a_bucket_that_is_being_deleted_or_is_gone() {
    let fixture = Fixture::new();
    let (store, bucket) = (&fixture.store, &fixture.bucket);
    fixture.put("k", "x").await.unwrap();
    assert_eq!(store.close(bucket).await.err(), Some(ObjectError::BucketNotEmpty));
    let gone = ObjectDelete { key: key("k"), conditions: ObjectConditions::default() };
    store.delete(bucket, vec![gone]).await.unwrap();
    // Somebody writes while it is deleted: either is refused, never both done.
    let (mut sender, body) = Body::channel(1, None);
    let key_written = key("k");
    let writing = store.put(bucket, &key_written, ObjectPut::default(), body);
    let deleting = async {
        sender.send(Bytes::from_static(b"x")).await.unwrap();
        let mark = store.close(bucket).await.unwrap();
        sender.finish().await;
        mark
    };
    let (written, mark) = tokio::join!(writing, deleting);
    assert_eq!(written, Err(ObjectError::NoSuchBucket));
    assert_eq!(fixture.put("k", "x").await, Err(ObjectError::NoSuchBucket));
    let begun = store.begin_upload(bucket, &key("k"), UploadBegin::default()).await;
    assert_eq!(begun, Err(ObjectError::NoSuchBucket));
    assert_eq!(store.lift(bucket.tag, &mark).await, Ok(true));
    assert!(fixture.put("k", "x").await.is_ok());
    fixture.there.store(false, Ordering::Relaxed);
    assert_eq!(fixture.put("k", "x").await, Err(ObjectError::NoSuchBucket));
}

/// An object of so many pieces, which has no octets.
pub(super) fn of_pieces(pieces: usize) -> rows::ObjectRow {
    let about = ObjectAbout {
        octets: 0,
        etag: String::new(),
        version: [0; 16],
        modified: Timestamp::from_millis(0),
        fields: Default::default(),
        checksum: None,
        parts: None,
    };
    let piece = |_| rows::Piece { at: rows::Place::Blob(rows::BlobId(rand::random())), octets: 0, crc: 0 };
    rows::ObjectRow { about, pieces: (0..pieces).map(piece).collect(), parts: Vec::new() }
}

#[tokio::test]
async fn a_deletion_of_many_keys_is_as_many_changes_as_its_work_takes() {
    let fixture = Fixture::new();
    let names: Vec<String> = (0..6).map(|at| at.to_string()).collect();
    for (at, name) in names.iter().enumerate() {
        let (tag, name, row) = (fixture.bucket.tag, key(name), of_pieces(1_500 * (at % 2)));
        let put = fixture
            .store
            .index
            .change(move |db, txn| change::put_object(db, txn, (tag, &name), (&row, None)));
        put.await.unwrap();
    }
    let before = fixture.store.index.transactions();
    let all =
        names.iter().map(|name| ObjectDelete { key: key(name), conditions: ObjectConditions::default() });
    let deleted = fixture.store.delete(&fixture.bucket, all.collect()).await.unwrap();
    assert_eq!(deleted, vec![Ok(()); 6]);
    assert_eq!(fixture.store.index.transactions() - before, 2, "those of 1,500 files are two at once");
    assert_eq!(fixture.store.content(&fixture.bucket).await, Ok(BucketContent::default()));
}

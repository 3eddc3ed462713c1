//! What is done behind everybody's back.

use super::*;

wherever_octets_lie! {
    async fn who_reads_ends_whatever_becomes_of_the_key_and_then_its_file_goes(fixture: Fixture) {
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
    let next = Store { blobs: fixture.blobs(|| u64::MAX), ..fixture.store.clone() };
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
    let path = fixture.file("rotten").await;
    let mut changed = fs::read(&path).unwrap();
    changed[1_000] ^= 1;
    fs::write(&path, changed).unwrap();
    fixture.store.scrub().await.unwrap();
    assert_eq!(fixture.store.metrics.rotten.get(), 1);
    let read = fixture.read("rotten", None).await;
    assert!(matches!(read, Err(ObjectError::Body(_))), "its end is not sent");
    // Nor is it passed on to who reads a part of it, unless that is elsewhere.
    for (first, last, is_whole) in [(1_000, 1_000, false), (0, 5, false), (70_000, 299_999, true)] {
        let read = fixture.read("rotten", Some(ObjectRange::From(first, Some(last)))).await;
        assert_eq!(read.is_ok(), is_whole, "{first} to {last}");
    }
    assert_eq!(fixture.read("good", None).await.unwrap(), octets(LARGE, 1));
}

#[tokio::test]
async fn what_cannot_be_removed_holds_up_nothing_else_and_is_counted() {
    let fixture = Fixture::new();
    for name in ["a", "b", "c"] {
        fixture.put(name, octets(LARGE, 1)).await.unwrap();
    }
    let obstacle = fixture.file("b").await;
    let all =
        ["a", "b", "c"].map(|name| ObjectDelete { key: key(name), conditions: ObjectConditions::default() });
    fixture.store.delete(&fixture.bucket, all.to_vec()).await.unwrap();
    // A folder in the place of a file is not removed as one, whoever tries.
    fs::remove_file(&obstacle).unwrap();
    fs::create_dir(&obstacle).unwrap();
    fixture.later(301);
    for round in 1..=2 {
        fixture.store.collect().await.unwrap();
        assert_eq!((fixture.files(), fixture.store.metrics.obstacles.get()), (1, round));
    }
    fs::remove_dir(&obstacle).unwrap();
    fixture.store.collect().await.unwrap();
    assert_eq!((fixture.files(), fixture.store.metrics.obstacles.get()), (0, 2));
}

#[tokio::test]
async fn a_damaged_row_keeps_no_upload_from_being_ended() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let begin =
        async |name| store.begin_upload(&fixture.bucket, &key(name), UploadBegin::default()).await.unwrap();
    let (damaged, old) = (begin("a").await, begin("b").await);
    let tag = fixture.bucket.tag;
    let damage = store.index.change(move |db, txn| {
        db.uploads.put(txn, &rows::upload_key(tag, "a", damaged), b"?").map_err(index::failed)?;
        db.completed.put(txn, &damaged.0, b"?").map_err(index::failed)?;
        db.garbage.put(txn, b"\0", b"").map_err(index::failed)
    });
    damage.await.unwrap();
    fixture.later(7 * 86_400);
    store.end_uploads(&fixture.living(), &Fixture::unchanged()).await.unwrap();
    store.collect().await.unwrap();
    assert_eq!(store.abort_upload(&fixture.bucket, &key("b"), old).await, Err(ObjectError::NoSuchUpload));
    assert_eq!(store.metrics.obstacles.get(), 3);
}

#[tokio::test]
async fn damaged_rows_keep_nothing_else_of_a_bucket_that_is_gone_and_no_other_upload() {
    let fixture = Fixture::new();
    let (store, tag) = (&fixture.store, fixture.bucket.tag);
    let begin =
        async |name| store.begin_upload(&fixture.bucket, &key(name), UploadBegin::default()).await.unwrap();
    let (damaged, whole) = (begin("a").await, begin("b").await);
    fixture.put("k", octets(LARGE, 1)).await.unwrap();
    let damage = store.index.change(move |db, txn| {
        let part = [&damaged.0[..], &1_u16.to_be_bytes()].concat();
        db.parts.put(txn, &part, b"?").map_err(index::failed)
    });
    damage.await.unwrap();
    let gone = Living::new(true);
    store.sweep_gone(&gone, Arc::new(|_| true)).await.unwrap();
    fixture.later(7 * 86_400);
    store.sweep_gone(&gone, Arc::new(|_| true)).await.unwrap();
    let left = store.index.read(move |db, txn| {
        let uploads = db.uploads.prefix_iter(txn, tag.as_bytes()).map_err(index::failed)?;
        let uploads: Vec<_> = uploads.map(|found| rows::of_upload_key(found.unwrap().0).unwrap().1).collect();
        Ok((uploads, db.objects.len(txn).map_err(index::failed)?))
    });
    assert_eq!(left.await.unwrap(), (vec![damaged], 0), "{whole:?} has ended");
    assert_eq!((store.metrics.obstacles.get(), store.metrics.expired.get()), (1, 2));
    let whole = begin("z").await;
    fixture.later(7 * 86_400);
    store.end_uploads(&fixture.living(), &Fixture::unchanged()).await.unwrap();
    let aborted = store.abort_upload(&fixture.bucket, &key("z"), whole).await;
    assert_eq!(aborted, Err(ObjectError::NoSuchUpload));
    assert_eq!(store.metrics.obstacles.get(), 2);
}

//! Uploads in parts.

use super::*;

async fn part(fixture: &Fixture, upload: UploadId, number: u16, body: Vec<u8>) -> PartChosen {
    let which = (&fixture.bucket, &key("k"), upload, number);
    let about = fixture.store.put_part(which, Expected::default(), Body::full(body)).await.unwrap();
    PartChosen { number, etag: about.etag(), checksum: None }
}

wherever_octets_lie! {
    async fn an_upload_becomes_one_object_of_the_chosen_parts(fixture: Fixture) {
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
}

wherever_octets_lie! {
    async fn an_upload_that_is_aborted_or_too_old_leaves_nothing(fixture: Fixture) {
        let (store, bucket, key) = (&fixture.store, &fixture.bucket, key("k"));
        let aborted = store.begin_upload(bucket, &key, UploadBegin::default()).await.unwrap();
        let old = store.begin_upload(bucket, &key, UploadBegin::default()).await.unwrap();
        for upload in [aborted, old] {
            part(&fixture, upload, 1, octets(LARGE, 1)).await;
        }
        assert_eq!(store.abort_upload(bucket, &key, aborted).await, Ok(()));
        assert_eq!(store.abort_upload(bucket, &key, aborted).await, Err(ObjectError::NoSuchUpload));
        fixture.later(7 * 86_400);
        store.end_uploads(&fixture.living(), &Fixture::unchanged()).await.unwrap();
        assert_eq!(store.abort_upload(bucket, &key, old).await, Err(ObjectError::NoSuchUpload));
        fixture.later(301);
        store.collect().await.unwrap();
        assert_eq!(fixture.files(), 0);
    }
}

//! Objects of buckets whose home is another server.

use http::HeaderMap;
use proxima_pipeline::{
    ChecksumAlgorithm, Expected, ObjectConditions, ObjectCopy, ObjectDelete, ObjectFields, ObjectListing,
    PartChosen, Span, Tags, UploadBegin, UploadComplete, UploadListing,
};

use serde_json::json;

use super::*;

fn if_match(etag: &str) -> ObjectConditions {
    ObjectConditions { if_match: Some(Tags::OneOf(vec![etag.to_owned()])), ..ObjectConditions::default() }
}

fn if_none_match(etag: &str) -> ObjectConditions {
    let if_none_match = Some(Tags::OneOf(vec![etag.to_owned()]));
    ObjectConditions { if_none_match, ..ObjectConditions::default() }
}

#[tokio::test]
async fn what_is_put_by_one_server_is_read_listed_and_deleted_by_all() {
    let world = World::new().await;
    let bucket = world.bucket("a", "bucket").await;
    let put = world.put("b", &bucket, "large", large()).await.unwrap();
    world.put("c", &bucket, "small", "few octets").await.unwrap();
    for server in ["a", "b", "c"] {
        assert_eq!(world.get(server, &bucket, "large", None).await, Ok(large()), "{server}");
        assert_eq!(world.get(server, &bucket, "small", None).await, Ok("few octets".into()), "{server}");
        let range = Some(ObjectRange::From(300_000, Some(300_009)));
        let part = world.get(server, &bucket, "large", range).await.unwrap();
        assert_eq!(part, large().slice(300_000..300_010), "{server}");
        let get = ObjectGet { range: Some(ObjectRange::Last(4)), ..ObjectGet::default() };
        let (about, span) = world.at(server).head(&bucket, &key("large"), get).await.unwrap();
        assert_eq!(
            (about, span),
            (put.clone(), Some(Span { start: LARGE as u64 - 4, octets: 4 })),
            "{server}"
        );
        let asked = ObjectListing { limit: 10, ..ObjectListing::default() };
        let page = world.at(server).list(&bucket, asked).await.unwrap();
        let keys: Vec<_> = page.objects.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["large", "small"], "{server}");
        let content = world.at(server).content(&bucket).await.unwrap();
        assert_eq!((content.objects, content.octets), (2, LARGE as u64 + 10), "{server}");
    }
    let delete = |text, conditions| ObjectDelete { key: key(text), conditions };
    let keys = vec![delete("small", if_match("another")), delete("large", ObjectConditions::default())];
    let outcomes = world.at("c").delete(&bucket, keys).await.unwrap();
    assert_eq!(outcomes, [Err(ObjectError::PreconditionFailed), Ok(())]);
    assert_eq!(world.get("a", &bucket, "large", None).await, Err(ObjectError::NoSuchKey));
}

#[tokio::test]
async fn conditions_and_faults_of_what_is_asked_come_back_as_they_are() {
    let world = World::new().await;
    let bucket = world.bucket("a", "bucket").await;
    let about = world.put("b", &bucket, "key", "octets").await.unwrap();
    let (b, the_key) = (world.at("b"), key("key"));
    let get = |conditions, range| b.get(&bucket, &the_key, ObjectGet { conditions, range });
    let known = get(if_none_match(&about.etag), None).await.unwrap_err();
    assert_eq!(known, ObjectError::NotModified(Box::new(about.clone())));
    assert_eq!(get(if_match("other"), None).await.unwrap_err(), ObjectError::PreconditionFailed);
    let beyond = Some(ObjectRange::From(6, None));
    assert_eq!(get(ObjectConditions::default(), beyond).await.unwrap_err(), ObjectError::InvalidRange(6));

    let put = |put: ObjectPut| b.put(&bucket, &the_key, put, Body::full("others"));
    let there = ObjectConditions { if_none_match: Some(Tags::Any), ..ObjectConditions::default() };
    let refused = put(ObjectPut { conditions: there, ..ObjectPut::default() }).await;
    assert_eq!(refused, Err(ObjectError::PreconditionFailed));
    let expected = Expected { md5: Some([7; 16]), ..Expected::default() };
    let refused = put(ObjectPut { expected, ..ObjectPut::default() }).await;
    assert_eq!(refused, Err(ObjectError::BadDigest("Content-MD5".to_owned())));
    let expected = Expected { octets: Some(7), ..Expected::default() };
    let refused = put(ObjectPut { expected, ..ObjectPut::default() }).await.unwrap_err();
    assert!(matches!(refused, ObjectError::Body(_)), "{refused}");
    let metadata = vec![("long".to_owned(), "x".repeat(8_192))];
    let fields = ObjectFields { metadata, ..ObjectFields::default() };
    let refused = put(ObjectPut { fields, ..ObjectPut::default() }).await;
    assert_eq!(refused, Err(ObjectError::MetadataTooLarge));
    assert_eq!(world.get("a", &bucket, "key", None).await, Ok("octets".into()), "nothing of it was done");
}

/// A body with the checksum behind it.
fn with_checksum(octets: &'static str, value: &'static str) -> Body {
    let (mut sender, body) = Body::channel(4, None);
    tokio::spawn(async move {
        sender.send(octets.into()).await.unwrap();
        let field = ChecksumAlgorithm::Crc32.field();
        let trailers = HeaderMap::from_iter([(field.parse().unwrap(), value.parse().unwrap())]);
        sender.send_trailers(trailers).await.unwrap();
        sender.finish().await;
    });
    body
}

#[tokio::test]
async fn checksums_that_come_behind_a_body_are_compared_at_the_home() {
    let world = World::new().await;
    let (bucket, the_key) = (world.bucket("a", "bucket").await, key("key"));
    let put = |body| {
        let checksum = Some((ChecksumAlgorithm::Crc32, None));
        let expected = Expected { checksum, ..Expected::default() };
        world.at("b").put(&bucket, &the_key, ObjectPut { expected, ..ObjectPut::default() }, body)
    };
    let wrong = put(with_checksum("123456789", "AAAAAA==")).await;
    assert_eq!(wrong, Err(ObjectError::BadDigest("x-amz-checksum-crc32".to_owned())));
    let about = put(with_checksum("123456789", "y/Q5Jg==")).await.unwrap();
    assert_eq!(about.checksum.unwrap().value, [0xcb, 0xf4, 0x39, 0x26]);
    assert_eq!(world.get("c", &bucket, "key", None).await, Ok("123456789".into()));
}

#[tokio::test]
async fn an_upload_is_begun_filled_and_completed_by_different_servers() {
    let world = World::new().await;
    let (bucket, other) = (world.bucket("a", "bucket").await, world.bucket("b", "other").await);
    let part: Bytes = vec![b'p'; 5 << 20].into();
    world.put("c", &other, "original", "0123456789").await.unwrap();
    let target = key("whole");
    let upload = world.at("b").begin_upload(&bucket, &target, UploadBegin::default()).await.unwrap();
    let octets = Expected { octets: Some(part.len() as u64), ..Expected::default() };
    let first = world.at("c").put_part(&bucket, &target, (upload, 1), octets, Body::full(part.clone()));
    let first = first.await.unwrap();
    // Of another home, and by a server that is neither's.
    let (range, original) = (Some(ObjectRange::From(2, Some(5))), key("original"));
    let what = (range, ObjectConditions::default());
    let second = world.at("c").copy_part((&other, &original), what, (&bucket, &target), (upload, 2));
    let second = second.await.unwrap();
    assert_eq!(second.octets, 4);
    let page = world.at("b").parts(&bucket, &target, upload, (0, 10)).await.unwrap();
    assert_eq!(page.parts, [first.clone(), second.clone()]);
    let asked = UploadListing { limit: 10, ..UploadListing::default() };
    let uploads = world.at("c").uploads(&bucket, asked).await.unwrap().uploads;
    assert_eq!(uploads.iter().map(|about| about.id).collect::<Vec<_>>(), [upload]);

    let chosen = |part: &proxima_pipeline::PartAbout| PartChosen {
        number: part.number,
        etag: part.etag(),
        checksum: None,
    };
    let complete = |parts| {
        world.at("c").complete_upload(
            &bucket,
            &target,
            upload,
            UploadComplete { parts, ..UploadComplete::default() },
        )
    };
    let wrong = complete(vec![chosen(&second), chosen(&first)]).await;
    assert_eq!(wrong, Err(ObjectError::InvalidPartOrder));
    let about = complete(vec![chosen(&first), chosen(&second)]).await.unwrap();
    assert_eq!(complete(vec![chosen(&first), chosen(&second)]).await, Ok(about.clone()), "asked again");
    let read = world.get("b", &bucket, "whole", Some(ObjectRange::Part(2))).await;
    assert_eq!(read, Ok("2345".into()));

    let upload = world.at("b").begin_upload(&bucket, &target, UploadBegin::default()).await.unwrap();
    world.at("c").abort_upload(&bucket, &target, upload).await.unwrap();
    let gone = world.at("b").abort_upload(&bucket, &target, upload).await;
    assert_eq!(gone, Err(ObjectError::NoSuchUpload));
}

#[tokio::test]
async fn copies_go_between_any_two_buckets_under_the_conditions_of_both() {
    let world = World::new().await;
    let (a, b) = (world.bucket("a", "of-a").await, world.bucket("b", "of-b").await);
    let original = world.put("c", &a, "key", large()).await.unwrap();
    let (from, to) = (key("key"), key("copy"));
    for (server, target) in [("a", &b), ("b", &b), ("c", &b), ("b", &a)] {
        let at = world.at(server);
        let copied = at.copy((&a, &from), (target, &to), ObjectCopy::default()).await.unwrap();
        assert_eq!((&copied.etag, &copied.checksum), (&original.etag, &original.checksum), "{server}");
        assert_eq!(world.get("c", target, "copy", None).await, Ok(large()), "{server}");
        let known = ObjectCopy { source: if_none_match(&original.etag), ..ObjectCopy::default() };
        let refused = at.copy((&a, &from), (target, &to), known).await;
        assert_eq!(refused, Err(ObjectError::PreconditionFailed), "{server}");
        let conditions = ObjectConditions { if_none_match: Some(Tags::Any), ..ObjectConditions::default() };
        let new_alone = ObjectCopy { conditions, ..ObjectCopy::default() };
        let refused = at.copy((&a, &from), (target, &to), new_alone).await;
        assert_eq!(refused, Err(ObjectError::PreconditionFailed), "{server}");
        let nothing = at.copy((&a, &key("nothing")), (target, &to), ObjectCopy::default()).await;
        assert_eq!(nothing, Err(ObjectError::NoSuchKey), "{server}");
        let fields = ObjectFields { content_type: Some("text/plain".to_owned()), ..ObjectFields::default() };
        let checksum = Some(ChecksumAlgorithm::Sha256);
        let other = ObjectCopy { fields: Some(fields.clone()), checksum, ..ObjectCopy::default() };
        let copied = at.copy((&a, &from), (target, &to), other).await.unwrap();
        let kept = ObjectFields { storage_class: Some(target.storage_class), ..fields };
        assert_eq!(copied.fields, kept, "{server}");
        assert_eq!(copied.checksum.unwrap().algorithm, ChecksumAlgorithm::Sha256, "{server}");
        let class = StorageClass::InfrequentAccess;
        let infrequent = || ObjectCopy { storage_class: Some(class), ..ObjectCopy::default() };
        let copied = at.copy((&a, &from), (target, &to), infrequent()).await.unwrap();
        let kept = ObjectFields { storage_class: Some(class), ..original.fields.clone() };
        assert_eq!((copied.fields, copied.etag), (kept, original.etag.clone()), "{server}");
        // A copy of that one, of which nothing is said, is kept as its bucket says.
        let copied = at.copy((target, &to), (&a, &key("back")), ObjectCopy::default()).await.unwrap();
        assert_eq!(copied.fields.storage_class, Some(a.storage_class), "{server}");
    }
}

#[tokio::test]
async fn a_copy_from_another_home_is_told_as_one_by_the_rules_that_the_log_has_now() {
    let world = World::new().await;
    let (from, to) = (world.bucket("a", "from").await, world.bucket("b", "there").await);
    let queue = proxima_model::QueueId::from_bytes([7; 16]);
    let rules = json!({ "queues": [{ "queueId": queue, "rules": [{ "ruleId": "r", "createdAt": 0, "prefix": "",
        "suffix": "", "actions": ["CopyObject", "PutObject"] }] }] });
    let ruled = Bucket { notifications: Some(rules), ..to.clone() };
    append(&world.log, world.log.replica().put(&ruled)).await;
    world.put("c", &from, "k", "octets").await.unwrap();
    world.put("c", &to, "other", "octets").await.unwrap();
    // Who asks has an older noun of it.
    let (source, copy) = (key("k"), key("l"));
    world.at("c").copy((&from, &source), (&to, &copy), ObjectCopy::default()).await.unwrap();
    let batch = world.at("b").local.store.batch(queue).await.unwrap();
    let messages = batch.messages.iter().map(|message| serde_json::from_slice(&message.body).unwrap());
    let messages: Vec<serde_json::Value> = messages.collect();
    assert_eq!((&messages[0]["action"], &messages[1]["action"]), (&json!("PutObject"), &json!("CopyObject")));
    assert_eq!(messages[0].get("copySource"), None);
    assert_eq!(messages[1]["copySource"], json!({ "bucket": "from", "object": "k" }));
    assert_eq!(world.at("a").local.store.notifications().await, Ok(0));
}

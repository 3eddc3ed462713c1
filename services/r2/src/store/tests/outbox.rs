//! What queues are to be told, in the transaction of what happened.

use proxima_model::QueueId;
use proxima_pipeline::{Lifecycle, NewNotificationRule, Notifications};
use serde_json::{Value, json};

use super::*;

pub(super) const QUEUE: QueueId = QueueId::from_bytes([7; 16]);
/// See [`INDEX_OCTETS`].
const OF_QUEUE_MAX: usize = 64;

/// The bucket, with rules for these queues.
pub(super) fn told(queues: &[(QueueId, Value)]) -> Bucket {
    let mut all = Notifications::default();
    for (queue, rules) in queues {
        let rules: Vec<NewNotificationRule> = serde_json::from_value(rules.clone()).unwrap();
        all.add(*queue, rules, Timestamp::from_millis(0), || "r".to_owned()).unwrap();
    }
    Bucket { notifications: all.to_value(), ..bucket() }
}

/// A queue that is told of everything.
pub(super) fn everything() -> Value {
    json!([{ "actions": ["PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject", "LifecycleDeletion"] }])
}

/// What waits for a queue, as much as it takes at once.
pub(super) async fn waiting(store: &Store, queue: QueueId) -> Vec<Value> {
    let batch = store.batch(queue).await.unwrap();
    batch.messages.iter().map(|message| serde_json::from_slice(&message.body).unwrap()).collect()
}

fn keys(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["object"]["key"].as_str().unwrap()).collect()
}

fn fixture(queues: &[(QueueId, Value)]) -> Fixture {
    Fixture { bucket: told(queues), ..Fixture::new() }
}

#[tokio::test]
async fn what_happens_to_objects_is_told_as_r2_tells_it() {
    let mut fixture = fixture(&[(QUEUE, everything())]);
    let about = fixture.put("a", "octets").await.unwrap();
    let from = (&fixture.bucket, &key("a"));
    let copied = fixture.store.copy(from, (&fixture.bucket, &key("b")), ObjectCopy::default()).await.unwrap();
    let upload =
        fixture.store.begin_upload(&fixture.bucket, &key("c"), UploadBegin::default()).await.unwrap();
    let part = (&fixture.bucket, &key("c"), upload, 1);
    let part = fixture.store.put_part(part, Expected::default(), Body::full("part")).await.unwrap();
    let chosen = PartChosen { number: 1, etag: part.etag(), checksum: None };
    let complete = UploadComplete { parts: vec![chosen], ..UploadComplete::default() };
    let uploaded =
        fixture.store.complete_upload(&fixture.bucket, &key("c"), upload, complete.clone()).await.unwrap();
    // Asked again, it is answered again, and nothing has happened.
    fixture.store.complete_upload(&fixture.bucket, &key("c"), upload, complete).await.unwrap();
    let delete = |text| ObjectDelete { key: key(text), conditions: ObjectConditions::default() };
    let deletes = vec![delete("b"), delete("nothing"), delete("b")];
    fixture.store.delete(&fixture.bucket, deletes).await.unwrap();
    let age = json!({ "condition": { "type": "Age", "maxAge": 60 } });
    let rules = json!({ "rules": [{ "id": "1", "enabled": true, "conditions": { "prefix": "a" },
                                    "deleteObjectsTransition": age }] });
    let mut living = Living::new(true);
    living.add(fixture.bucket.clone(), Some(Lifecycle::parse(rules).unwrap()));
    fixture.clock.set(Timestamp::from_millis(1_060_007));
    fixture.store.expire(&living, &Fixture::unchanged()).await.unwrap();

    let (then, account) = ("1970-01-01T00:16:40.000Z", "01".repeat(16));
    let common = |action: &str, object: Value, at: &str| json!({ "account": account, "action": action, "bucket": "bucket", "object": object, "eventTime": at });
    let mut copy = common("CopyObject", json!({ "key": "b", "size": 6, "eTag": copied.etag }), then);
    copy["copySource"] = json!({ "bucket": "bucket", "object": "a" });
    let expected = [
        common("PutObject", json!({ "key": "a", "size": 6, "eTag": about.etag }), then),
        copy,
        common("CompleteMultipartUpload", json!({ "key": "c", "size": 4, "eTag": uploaded.etag }), then),
        common("DeleteObject", json!({ "key": "b" }), then),
        common("LifecycleDeletion", json!({ "key": "a" }), "1970-01-01T00:17:40.007Z"),
    ];
    assert_eq!(waiting(&fixture.store, QUEUE).await, expected);

    // They outlive the process; what the queue has does not come back.
    fixture = fixture.restart();
    assert_eq!(waiting(&fixture.store, QUEUE).await, expected);
    let batch = fixture.store.batch(QUEUE).await.unwrap();
    fixture = fixture.restart();
    assert_eq!(waiting(&fixture.store, QUEUE).await, expected, "it was sent, perhaps, and is sent again");
    fixture.store.remove_batch(batch).await.unwrap();
    fixture = fixture.restart();
    assert_eq!(fixture.store.notifications().await, Ok(0));
}

#[tokio::test]
async fn what_is_refused_or_no_rule_covers_is_told_nobody() {
    let other = QueueId::from_bytes([8; 16]);
    let images = json!([{ "prefix": "img/", "suffix": ".png", "actions": ["PutObject"] }]);
    let gone = json!([{ "actions": ["DeleteObject"] }]);
    let fixture = fixture(&[(QUEUE, images), (other, gone)]);
    for name in ["img/a.jpg", "a.png", "img/a.png"] {
        fixture.put(name, "x").await.unwrap();
    }
    let conditions = ObjectConditions { if_none_match: Some(Tags::Any), ..ObjectConditions::default() };
    let put = ObjectPut { conditions, ..ObjectPut::default() };
    let refused = fixture.store.put(&fixture.bucket, &key("img/a.png"), put, Body::full("y")).await;
    assert_eq!(refused, Err(ObjectError::PreconditionFailed));
    let expected = Expected { octets: Some(9), ..Expected::default() };
    let put = ObjectPut { expected, ..ObjectPut::default() };
    let broken = fixture.store.put(&fixture.bucket, &key("img/b.png"), put, Body::full("y")).await;
    assert!(broken.is_err());
    assert_eq!(keys(&waiting(&fixture.store, QUEUE).await), ["img/a.png"]);
    assert!(waiting(&fixture.store, other).await.is_empty());
    // Whoever changes the rules is heeded at once: they are those of the replica when it happens.
    let silent = Fixture { bucket: bucket(), ..fixture };
    silent.put("img/c.png", "x").await.unwrap();
    assert_eq!(silent.store.notifications().await, Ok(1));
}

#[tokio::test]
async fn a_queue_that_takes_nothing_costs_its_own_oldest_and_no_object() {
    let other = QueueId::from_bytes([8; 16]);
    let few = json!([{ "prefix": "3", "actions": ["PutObject"] }]);
    let fixture = fixture(&[(QUEUE, everything()), (other, few)]);
    for at in 0..OF_QUEUE_MAX + 5 {
        fixture.put(&at.to_string(), "x").await.unwrap();
    }
    let messages = waiting(&fixture.store, QUEUE).await;
    let expected: Vec<_> = (5..OF_QUEUE_MAX + 5).map(|at| at.to_string()).collect();
    assert_eq!(keys(&messages), expected);
    let of_other = waiting(&fixture.store, other).await;
    assert_eq!(of_other.len(), 11, "3, and 30 to 39");
    assert_eq!((fixture.store.metrics.notifications_dropped.get(), fixture.store.take_overflowed()), (5, 5));
    assert_eq!(fixture.store.content(&fixture.bucket).await.unwrap().objects, OF_QUEUE_MAX as u64 + 5);
}

#[tokio::test]
async fn all_notifications_together_have_a_bound_which_costs_the_queues_for_which_most_wait() {
    // As many as fill the outbox, and one that comes when it is full.
    let queues: Vec<_> = (0..8).map(|at| (QueueId::from_bytes([at; 16]), everything())).collect();
    let last = (QueueId::from_bytes([8; 16]), json!([{ "prefix": "z", "actions": ["PutObject"] }]));
    let fixture = fixture(&[queues, vec![last]].concat());
    for at in 0..OF_QUEUE_MAX {
        fixture.put(&at.to_string(), "x").await.unwrap();
    }
    assert_eq!((fixture.store.notifications().await, fixture.store.take_overflowed()), (Ok(512), 0));
    fixture.put("z", "x").await.unwrap();
    assert_eq!((fixture.store.notifications().await, fixture.store.take_overflowed()), (Ok(512), 9));
    assert_eq!(keys(&waiting(&fixture.store, QueueId::from_bytes([8; 16])).await), ["z"]);
    // Each of the others has lost its oldest for its own newest, and one another one.
    let mut lost = 0;
    for at in 0..8 {
        let waits = waiting(&fixture.store, QueueId::from_bytes([at; 16])).await;
        lost += OF_QUEUE_MAX - waits.len();
        let oldest = (1 + OF_QUEUE_MAX - waits.len()).to_string();
        assert_eq!(waits[0]["object"]["key"].as_str(), Some(&*oldest));
    }
    assert_eq!(lost, 1);
    // It has no place at the cost of queues for which as little waits.
    for at in 0..2 * OF_QUEUE_MAX {
        fixture.put(&format!("z{at}"), "x").await.unwrap();
    }
    assert_eq!(fixture.store.notifications().await, Ok(512));
    assert!(waiting(&fixture.store, QueueId::from_bytes([8; 16])).await.len() >= 512 / 9);
}

#[tokio::test]
async fn a_batch_is_what_a_queue_takes_at_once_and_queues_take_turns() {
    let [one, two, three] = [1, 2, 3].map(|at| QueueId::from_bytes([at; 16]));
    let fixture = fixture(&[(one, everything()), (two, everything()), (three, everything())]);
    // Every octet becomes two, and of a copy two keys are told.
    let long = |name: &str| key(&format!("{name}{}", "\"".repeat(1_020)));
    let (store, bucket, from) = (&fixture.store, &fixture.bucket, long("from"));
    fixture.put(from.as_str(), "x").await.unwrap();
    for at in 0..OF_QUEUE_MAX {
        let to = long(&at.to_string());
        store.copy((bucket, &from), (bucket, &to), ObjectCopy::default()).await.unwrap();
    }
    let batch = fixture.store.batch(one).await.unwrap();
    assert_eq!(batch.len(), batch.messages.len() as u64);
    assert!(batch.len() < OF_QUEUE_MAX as u64);
    proxima_pipeline::check_queue_messages(&batch.messages).expect("it is taken");
    fixture.store.remove_batch(batch).await.unwrap();
    let rest = fixture.store.batch(one).await.unwrap();
    // What another process has removed, and something else come in its place, stays.
    let rows = rest.len();
    fixture.store.remove_batch(fixture.store.batch(one).await.unwrap()).await.unwrap();
    assert_eq!(fixture.store.batch(one).await.unwrap().len(), 0, "{rows} were the last");
    fixture.put("new", "x").await.unwrap();
    fixture.store.remove_batch(rest).await.unwrap();
    assert_eq!(keys(&waiting(&fixture.store, one).await), ["new"]);

    let queues = async |but: &[QueueId], after, count| {
        fixture.store.queues_waiting(but.iter().copied().collect(), after, count).await.unwrap()
    };
    assert_eq!(queues(&[], None, 9).await, [one, two, three]);
    assert_eq!(queues(&[], Some(two), 9).await, [three, one, two]);
    assert_eq!(queues(&[one], Some(two), 9).await, [three, two]);
    assert_eq!(queues(&[], Some(three), 2).await, [one, two]);
    let end = QueueId::from_bytes([0xff; 16]);
    assert_eq!(queues(&[], Some(end), 1).await, [one]);
}

#[tokio::test]
async fn what_nobody_was_told_of_a_bucket_that_is_gone_for_long_goes_with_it() {
    let fixture = fixture(&[(QUEUE, everything())]);
    fixture.put("a", "x").await.unwrap();
    let mut other = fixture.bucket.clone();
    other.tag = BucketTag::from_bytes([3; 16]);
    fixture.store.put(&other, &key("b"), ObjectPut::default(), Body::full("y")).await.unwrap();
    let mut living = Living::new(true);
    living.add(other, None);
    let gone = Arc::new(|tag| tag == bucket().tag);
    fixture.store.sweep_gone(&living, gone.clone()).await.unwrap();
    fixture.later(7 * 86_400);
    assert_eq!(fixture.store.notifications().await, Ok(2), "they are told as long as that");
    fixture.store.sweep_gone(&living, gone).await.unwrap();
    assert_eq!(keys(&waiting(&fixture.store, QUEUE).await), ["b"]);
    assert_eq!(fixture.store.metrics.notifications_dropped.get(), 1);
}

//! Rules by which objects and uploads go by themselves.

use std::sync::atomic::AtomicUsize;

use proxima_pipeline::Lifecycle;
use serde_json::{Value, json};

use super::{objects::of_pieces, *};

const DAY_SECONDS: i64 = 86_400;

fn age(days: i64) -> Value {
    json!({ "condition": { "type": "Age", "maxAge": days * DAY_SECONDS } })
}

impl Fixture {
    /// The bucket has these rules.
    fn with_rules(&self, rules: Value) -> Living {
        let mut living = Living::new(true);
        living.add(self.bucket.clone(), Some(Lifecycle::parse(json!({ "rules": rules })).unwrap()));
        living
    }

    async fn keys(&self) -> Vec<String> {
        self.list(ObjectListing { limit: 1_000, ..ObjectListing::default() }).await.0
    }
}

#[tokio::test]
async fn objects_of_an_age_go_below_their_prefix_and_nothing_else_does() {
    let fixture = Fixture::new();
    let names = ["a", "logs", "logs/1", "logs/2", "logs0", "z"];
    for name in names {
        fixture.put(name, octets(LARGE, 1)).await.unwrap();
    }
    let rules = fixture.with_rules(json!([
        { "id": "1", "enabled": true, "conditions": { "prefix": "logs/" }, "deleteObjectsTransition": age(30) },
        { "id": "2", "enabled": false, "conditions": { "prefix": "a" }, "deleteObjectsTransition": age(1) },
        { "id": "3", "enabled": true, "conditions": { "prefix": "z" }, "abortMultipartUploadsTransition": age(1),
          "storageClassTransitions": [{ "condition": { "type": "Age", "maxAge": 1 }, "storageClass": "InfrequentAccess" }] },
    ]));
    fixture.later(30 * DAY_SECONDS - 1);
    fixture.put("logs/2", octets(LARGE, 2)).await.unwrap();
    fixture.store.expire(&rules, &Fixture::unchanged()).await.unwrap();
    assert_eq!(fixture.keys().await, names, "a second too early");
    fixture.later(1);
    fixture.store.expire(&rules, &Fixture::unchanged()).await.unwrap();
    assert_eq!(fixture.keys().await, ["a", "logs", "logs/2", "logs0", "z"]);
    assert_eq!(fixture.store.metrics.expired.get(), 1);
    fixture.later(301);
    fixture.store.collect().await.unwrap();
    assert_eq!(fixture.files(), 5, "and its octets");
    let content = fixture.store.content(&fixture.bucket).await.unwrap();
    assert_eq!((content.objects, content.octets), (5, 5 * LARGE as u64));
}

#[tokio::test]
async fn more_objects_than_are_looked_at_at_once_go_at_a_point_in_time() {
    let fixture = Fixture::new();
    let put = fixture.store.index.change(|db, txn| {
        for at in 0..1_200 {
            let row = of_pieces(0);
            change::put_object(db, txn, (bucket().tag, &key(&format!("{at:04}"))), (&row, None))?;
        }
        Ok(())
    });
    put.await.unwrap();
    let at = |date: &str| {
        let ends = json!({ "condition": { "type": "Date", "date": date } });
        fixture.with_rules(json!([{ "id": "1", "enabled": true, "deleteObjectsTransition": ends }]))
    };
    fixture.store.expire(&at("1970-01-01T00:16:41Z"), &Fixture::unchanged()).await.unwrap();
    assert_eq!(fixture.keys().await.len(), 1_000, "a page of them");
    fixture.store.expire(&at("1970-01-01T00:16:40Z"), &Fixture::unchanged()).await.unwrap();
    assert!(fixture.keys().await.is_empty());
    assert_eq!(fixture.store.content(&fixture.bucket).await, Ok(BucketContent::default()));
}

#[tokio::test]
async fn a_rule_that_is_withdrawn_while_it_is_carried_out_ends_nothing_more() {
    let fixture = Fixture::new();
    let put = fixture.store.index.change(|db, txn| {
        for at in 0..1_200 {
            let row = of_pieces(0);
            change::put_object(db, txn, (bucket().tag, &key(&format!("{at:04}"))), (&row, None))?;
        }
        Ok(())
    });
    put.await.unwrap();
    let upload =
        fixture.store.begin_upload(&fixture.bucket, &key("u"), UploadBegin::default()).await.unwrap();
    let rules = fixture.with_rules(json!([{ "id": "1", "enabled": true,
        "deleteObjectsTransition": age(1), "abortMultipartUploadsTransition": age(1) }]));
    fixture.later(DAY_SECONDS + 1);
    // When the first batch is looked at and ended it is in force, and from then on no more.
    let asked = AtomicUsize::new(0);
    let withdrawn: HasRules = Arc::new(move |ruled: &Ruled| {
        assert_eq!(ruled.id(), (bucket().account, bucket().name));
        asked.fetch_add(1, Ordering::Relaxed) < 2
    });
    fixture.store.expire(&rules, &withdrawn).await.unwrap();
    let content = fixture.store.content(&fixture.bucket).await.unwrap();
    assert_eq!(content.objects, 700);
    fixture.store.end_uploads(&rules, &withdrawn).await.unwrap();
    assert!(fixture.store.abort_upload(&fixture.bucket, &key("u"), upload).await.is_ok());
    assert_eq!(fixture.store.metrics.expired.get(), 500);
}

#[tokio::test]
async fn uploads_end_as_rules_say_and_after_a_week_where_there_are_none() {
    let fixture = Fixture::new();
    let (store, bucket) = (&fixture.store, &fixture.bucket);
    let short = json!([{ "id": "1", "enabled": true, "conditions": { "prefix": "a" },
                         "abortMultipartUploadsTransition": age(1) }]);
    for (rules, after_days, left) in [
        (Some(short.clone()), 1, vec!["b"]),
        (Some(short), 30, vec!["b"]),
        (Some(json!([])), 30, vec!["a", "b"]),
        (None, 6, vec!["a", "b"]),
        (None, 7, vec![]),
    ] {
        let mut uploads = Vec::new();
        for name in ["a", "b"] {
            uploads
                .push((name, store.begin_upload(bucket, &key(name), UploadBegin::default()).await.unwrap()));
        }
        fixture.later(after_days * DAY_SECONDS);
        let living = rules.clone().map_or_else(|| fixture.living(), |rules| fixture.with_rules(rules));
        store.end_uploads(&living, &Fixture::unchanged()).await.unwrap();
        let mut there = Vec::new();
        for (name, upload) in uploads {
            if store.abort_upload(bucket, &key(name), upload).await.is_ok() {
                there.push(name);
            }
        }
        assert_eq!(there, left, "{rules:?} after {after_days} days");
    }
}

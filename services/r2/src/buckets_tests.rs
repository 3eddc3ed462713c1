//! A bucket's life, step by step, with a log that fails between any two of them.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::{FutureExt as _, future::BoxFuture, stream::BoxStream};
use prometheus_client::registry::Registry;
use proxima_chassis::SimulatedClock;
use proxima_ledger::{Answers, Appended, AskError, EmbeddedLog, FollowError, ReplicaOptions, Sealer, Update};
use proxima_model::{StorageClass, Timestamp};
use proxima_pipeline::{Body, ObjectAbout, ObjectGet, ObjectKey, ObjectPut};
use tokio::sync::Mutex;

use super::*;
use crate::{metrics::Metrics, store::Bounds};

/// Longer than an attempt's mark is left alone.
const LATER_SECONDS: i64 = 61;
const WEEK_SECONDS: i64 = 7 * 86_400;

/// What a log does with an append that deletes a bucket, or that is a fence, instead of taking it.
enum Fate {
    /// Takes it.
    Take,
    /// Refuses it.
    Refuse(AppendError),
    /// Takes it, and the answer is lost.
    LoseAnswer,
    /// Is away: it never gets there.
    LoseAppend,
    /// It is on its way for long, and gets there when somebody [lets it](Faulty::arrive).
    Delay,
    /// Does this first.
    After(BoxFuture<'static, ()>),
}

/// A log that does so with what comes next, in order, and takes all else.
struct Faulty {
    log: EmbeddedLog,
    fates: Mutex<VecDeque<Fate>>,
    delayed: Mutex<Vec<Append>>,
}

impl Faulty {
    async fn meet(&self, fates: impl IntoIterator<Item = Fate>) {
        *self.fates.lock().await = fates.into_iter().collect();
    }

    /// What was on its way gets there.
    async fn arrive(&self) -> Vec<Result<Appended, AppendError>> {
        let mut outcomes = Vec::new();
        for append in self.delayed.lock().await.drain(..) {
            outcomes.push(self.log.append(append).await);
        }
        outcomes
    }
}

#[async_trait::async_trait]
impl Log for Faulty {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let away = || AppendError::Unreachable {
            log: "127.0.0.1:1".parse().unwrap(),
            waited: Duration::ZERO,
            reason: "on purpose".to_owned(),
        };
        let fate = self.fates.lock().await.pop_front().unwrap_or(Fate::Take);
        match fate {
            Fate::Take => {}
            Fate::Refuse(error) => return Err(error),
            Fate::LoseAnswer => {
                self.log.append(append).await?;
                return Err(away());
            }
            Fate::LoseAppend => return Err(away()),
            Fate::Delay => {
                self.delayed.lock().await.push(append);
                return Err(away());
            }
            Fate::After(first) => first.await,
        }
        self.log.append(append).await
    }

    async fn subscribe(
        &self,
        from: Seq,
    ) -> Result<BoxStream<'static, Result<Update, FollowError>>, FollowError> {
        self.log.subscribe(from).await
    }

    fn last(&self) -> Seq {
        self.log.last()
    }

    async fn ask(&self, topic: &'static str, question: Vec<u8>) -> Result<Vec<u8>, AskError> {
        self.log.ask(topic, question).await
    }

    fn seat(&self, topic: &'static str, answers: Arc<dyn Answers>) -> bool {
        self.log.seat(topic, answers)
    }
}

struct Fixture {
    folder: tempfile::TempDir,
    clock: Arc<SimulatedClock>,
    log: Arc<Faulty>,
    /// Whether the replica is known to lack nothing.
    caught_up: Arc<AtomicBool>,
    buckets: Buckets,
    store: Store,
    bucket: Bucket,
}

fn open(folder: &tempfile::TempDir, clock: &Arc<SimulatedClock>, buckets: &Buckets) -> Store {
    let bounds = Bounds { index_octets_max: 16 << 20, free_octets_min: 0 };
    let metrics = Metrics::register(&mut Registry::default());
    let presence = buckets.presence();
    Store::open(&folder.path().join("r2"), bounds, clock.clone(), presence, metrics, None).unwrap()
}

const ACCOUNT: [u8; 16] = [1; 16];

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SimulatedClock::new(Timestamp::from_millis(1_000_000)));
        let options = ReplicaOptions { map_octets: 64 << 20, ..ReplicaOptions::default() };
        let log = EmbeddedLog::open(&folder.path().join("ledger"), Sealer::generate().0, options).unwrap();
        let replica = log.replica().clone();
        let log = Arc::new(Faulty { log, fates: Mutex::default(), delayed: Mutex::default() });
        let caught_up = Arc::new(AtomicBool::new(true));
        let of_node = caught_up.clone();
        let known = move || of_node.load(Ordering::Relaxed);
        let buckets = Buckets {
            replica,
            log: log.clone(),
            clock: clock.clone(),
            me: NodeName::parse("a").unwrap(),
            has_caught_up: Arc::new(known.clone()),
            lacks_nothing: Arc::new(known),
        };
        let account = AccountId::from_bytes(ACCOUNT);
        let account = Account { id: account, name: "one".to_owned(), created_at: Timestamp::from_millis(0) };
        let change = buckets.replica.put(&account);
        buckets.append(vec![change], Vec::new(), "test".to_owned()).await.unwrap();
        let store = open(&folder, &clock, &buckets);
        let bucket = create(&buckets).await;
        Self { folder, clock, log, caught_up, buckets, store, bucket }
    }

    /// As if the process had been killed and started anew: what lies on the disk is all that is left.
    fn restart(&mut self) {
        let other = tempfile::tempdir().unwrap();
        let store = std::mem::replace(&mut self.store, open(&other, &self.clock, &self.buckets));
        store.close_wholly();
        self.store = open(&self.folder, &self.clock, &self.buckets);
    }

    fn later(&self, seconds: i64) {
        self.clock.set(self.clock.now().plus_seconds(seconds));
    }

    async fn delete(&self) -> Result<(), ObjectError> {
        self.buckets.delete(&self.store, &self.bucket, "test".to_owned()).await
    }

    async fn put(&self) -> Result<ObjectAbout, ObjectError> {
        put(&self.store, &self.bucket).await
    }

    async fn read(&self) -> Result<ObjectAbout, ObjectError> {
        self.store.head(&self.bucket, &key(), ObjectGet::default()).await.map(|(about, _)| about)
    }

    fn is_in_log(&self) -> bool {
        let state = self.buckets.replica.snapshot().unwrap();
        state.get::<Bucket>(&id(&self.bucket)).unwrap().is_some_and(|found| found.tag == self.bucket.tag)
    }

    /// What upkeep does about marks, when they are old enough.
    async fn settle(&self) {
        self.later(LATER_SECONDS);
        self.buckets.settle(&self.store).await.unwrap();
    }

    async fn sweep_gone(&self) {
        let living = self.buckets.living().await.unwrap();
        self.store.sweep_gone(&living, self.buckets.gone()).await.unwrap();
    }

    /// The log is reverted to before the bucket was made, or to when it was there.
    async fn revert(&self, is_there: bool) {
        let change = match is_there {
            true => self.buckets.replica.put(&self.bucket),
            false => Change::delete::<Bucket>(&id(&self.bucket)),
        };
        assert!(self.buckets.append(vec![change], Vec::new(), "test".to_owned()).await.unwrap());
    }
}

fn key() -> ObjectKey {
    ObjectKey::new("k").unwrap()
}

async fn put(store: &Store, bucket: &Bucket) -> Result<ObjectAbout, ObjectError> {
    store.put(bucket, &key(), ObjectPut::default(), Body::full("x")).await
}

async fn create(buckets: &Buckets) -> Bucket {
    let new = NewBucket {
        account: AccountId::from_bytes(ACCOUNT),
        name: BucketName::parse("bucket").unwrap(),
        location: None,
        jurisdiction: None,
        storage_class: StorageClass::Standard,
    };
    buckets.create(new, buckets.me.clone(), "test".to_owned()).await.unwrap()
}

#[tokio::test]
async fn a_bucket_that_is_not_empty_is_not_deleted_and_an_empty_one_is() {
    let fixture = Fixture::new().await;
    fixture.put().await.unwrap();
    assert_eq!(fixture.delete().await, Err(ObjectError::BucketNotEmpty));
    assert!(fixture.put().await.is_ok(), "it is open as before");
    let all = vec![proxima_pipeline::ObjectDelete { key: key(), conditions: Default::default() }];
    fixture.store.delete(&fixture.bucket, all).await.unwrap();
    assert_eq!(fixture.delete().await, Ok(()));
    assert!(!fixture.is_in_log());
    assert_eq!(fixture.put().await.err(), Some(ObjectError::NoSuchBucket));
    assert_eq!(fixture.delete().await, Err(ObjectError::NoSuchBucket));
}

#[tokio::test]
async fn a_deletion_that_the_log_refuses_leaves_the_bucket_open() {
    let fixture = Fixture::new().await;
    for error in [AppendError::Full("full".to_owned()), AppendError::Busy, AppendError::Closed] {
        fixture.log.meet([Fate::Refuse(error)]).await;
        assert!(fixture.delete().await.is_err());
        assert!(fixture.is_in_log());
        let (about, all) = (fixture.put().await.unwrap(), fixture.read().await.unwrap());
        assert_eq!(about, all);
        let all = vec![proxima_pipeline::ObjectDelete { key: key(), conditions: Default::default() }];
        fixture.store.delete(&fixture.bucket, all).await.unwrap();
    }
}

#[tokio::test]
async fn a_deletion_that_gives_up_leaves_the_bucket_open() {
    let failed = || Precondition::Absent(Account::key_of(&AccountId::from_bytes(ACCOUNT)));
    let lost = || Fate::Refuse(AppendError::Precondition { failed: failed(), found: None });
    // Others come between each time; or once, and then the log is away.
    for (fates, told) in [
        (std::iter::repeat_with(lost).take(ATTEMPTS_MAX).collect::<Vec<_>>(), ObjectError::Busy),
        (vec![lost(), Fate::Refuse(AppendError::Closed)], ObjectError::Broken("the log is stopping".into())),
    ] {
        let fixture = Fixture::new().await;
        fixture.log.meet(fates).await;
        assert_eq!(fixture.delete().await, Err(told));
        assert!(fixture.is_in_log() && fixture.put().await.is_ok());
    }
}

#[tokio::test]
async fn a_rule_counts_as_unchanged_as_long_as_the_log_says_the_same() {
    let fixture = Fixture::new().await;
    let days = |days: u32| {
        let rule = serde_json::json!({ "id": "1", "enabled": true, "deleteObjectsTransition":
            { "condition": { "type": "Age", "maxAge": days * 86_400 } } });
        Some(serde_json::json!({ "rules": [rule] }))
    };
    let set = async |rules: Option<serde_json::Value>| {
        let set = move |bucket: &mut Bucket| bucket.lifecycle.clone_from(&rules);
        fixture.buckets.set(&fixture.bucket, "test".to_owned(), set).await.unwrap();
    };
    set(days(1)).await;
    let living = fixture.buckets.living().await.unwrap();
    let still = living.still(fixture.bucket.tag, &fixture.buckets.unchanged());
    for (rules, is_unchanged) in [(days(1), true), (days(2), false), (None, false), (days(1), true)] {
        set(rules.clone()).await;
        assert_eq!(still(), is_unchanged, "{rules:?}");
    }
    assert_eq!(fixture.delete().await, Ok(()));
    assert!(!still(), "another bucket of this name has rules of its own");
}

#[tokio::test]
async fn a_deletion_whose_answer_is_lost_was_one() {
    let fixture = Fixture::new().await;
    fixture.log.meet([Fate::LoseAnswer]).await;
    assert!(matches!(fixture.delete().await, Err(ObjectError::Unreachable(_))));
    fixture.settle().await;
    assert!(!fixture.is_in_log());
    assert_eq!(fixture.put().await.err(), Some(ObjectError::NoSuchBucket));
}

#[tokio::test]
async fn a_deletion_that_arrives_late_takes_nothing_that_was_written_meanwhile() {
    let fixture = Fixture::new().await;
    fixture.log.meet([Fate::Delay]).await;
    assert!(matches!(fixture.delete().await, Err(ObjectError::Unreachable(_))));
    fixture.settle().await;
    fixture.put().await.unwrap();
    let late = fixture.log.arrive().await;
    assert!(matches!(late[..], [Err(AppendError::Precondition { .. })]), "{late:?}");
    assert!(fixture.is_in_log() && fixture.read().await.is_ok());
}

#[tokio::test]
async fn while_the_log_is_away_a_closed_bucket_stays_closed_however_long_that_is() {
    let fixture = Fixture::new().await;
    fixture.log.meet([Fate::Delay, Fate::LoseAppend]).await;
    assert!(matches!(fixture.delete().await, Err(ObjectError::Unreachable(_))));
    fixture.later(30 * 86_400);
    fixture.log.meet([Fate::LoseAppend]).await;
    fixture.settle().await;
    assert_eq!(fixture.put().await.err(), Some(ObjectError::NoSuchBucket), "the deletion may still arrive");
    // And so it does.
    assert!(fixture.log.arrive().await.iter().all(Result::is_ok));
    fixture.settle().await;
    assert!(!fixture.is_in_log());
    assert_eq!(fixture.put().await.err(), Some(ObjectError::NoSuchBucket));
}

#[tokio::test]
async fn a_fence_whose_answer_is_lost_is_put_up_again() {
    let fixture = Fixture::new().await;
    fixture.log.meet([Fate::LoseAppend, Fate::LoseAnswer]).await;
    assert!(fixture.delete().await.is_err());
    assert_eq!(fixture.put().await.err(), Some(ObjectError::NoSuchBucket));
    fixture.buckets.settle(&fixture.store).await.unwrap();
    assert_eq!(fixture.put().await.err(), Some(ObjectError::NoSuchBucket), "the attempt may be under way");
    fixture.settle().await;
    assert!(fixture.put().await.is_ok());
}

#[tokio::test]
async fn of_two_attempts_none_opens_what_the_other_one_has_closed() {
    let fixture = Fixture::new().await;
    let (store, tag) = (&fixture.store, fixture.bucket.tag);
    let first = store.close(&fixture.bucket).await.unwrap();
    let second = store.close(&fixture.bucket).await.unwrap();
    assert_eq!(fixture.buckets.reopen(store, tag, &first).await, Ok(false));
    assert_eq!(fixture.put().await.err(), Some(ObjectError::NoSuchBucket));
    assert_eq!(fixture.buckets.reopen(store, tag, &second).await, Ok(true));
    assert!(fixture.put().await.is_ok());
    assert_eq!(fixture.buckets.reopen(store, tag, &second).await, Ok(false));
}

#[tokio::test]
async fn an_attempt_that_a_fence_overtakes_begins_anew_and_looks_again_whether_the_bucket_is_empty() {
    for writes in [true, false] {
        let fixture = Fixture::new().await;
        let (store, buckets, bucket) =
            (fixture.store.clone(), fixture.buckets.clone(), fixture.bucket.clone());
        fixture.later(-LATER_SECONDS);
        let clock = fixture.clock.clone();
        let overtaking = async move {
            clock.set(clock.now().plus_seconds(LATER_SECONDS));
            buckets.settle(&store).await.unwrap();
            if writes {
                put(&store, &bucket).await.unwrap();
            }
        };
        fixture.log.meet([Fate::After(overtaking.boxed())]).await;
        let expected = if writes { Err(ObjectError::BucketNotEmpty) } else { Ok(()) };
        assert_eq!(fixture.delete().await, expected);
        assert_eq!((fixture.is_in_log(), fixture.read().await.is_ok()), (writes, writes));
    }
}

#[tokio::test]
async fn a_crash_between_any_two_steps_loses_nothing_and_is_seen_to() {
    // Closed, and the log was not asked.
    let mut fixture = Fixture::new().await;
    fixture.store.close(&fixture.bucket).await.unwrap();
    fixture.restart();
    assert_eq!(fixture.put().await.err(), Some(ObjectError::NoSuchBucket), "closed is closed");
    fixture.settle().await;
    assert!(fixture.put().await.is_ok());
    // Closed, the log has taken it, and the home did not hear of it.
    let mut fixture = Fixture::new().await;
    fixture.store.close(&fixture.bucket).await.unwrap();
    fixture.revert(false).await;
    fixture.restart();
    fixture.settle().await;
    assert_eq!(fixture.put().await.err(), Some(ObjectError::NoSuchBucket));
    // The fence is up, and the mark is not lifted.
    let mut fixture = Fixture::new().await;
    fixture.store.close(&fixture.bucket).await.unwrap();
    fixture.revert(true).await;
    fixture.restart();
    fixture.settle().await;
    assert!(fixture.put().await.is_ok());
    // The mark is lifted, and what was written is there.
    fixture.restart();
    fixture.settle().await;
    assert!(fixture.read().await.is_ok());
}

#[tokio::test]
async fn a_deletion_that_is_reverted_in_the_log_opens_the_bucket_again() {
    let fixture = Fixture::new().await;
    fixture.delete().await.unwrap();
    fixture.revert(true).await;
    assert_eq!(fixture.put().await.err(), Some(ObjectError::NoSuchBucket), "not before the fence");
    fixture.settle().await;
    assert!(fixture.put().await.is_ok());
    fixture.later(2 * WEEK_SECONDS);
    fixture.sweep_gone().await;
    assert!(fixture.read().await.is_ok());
}

#[tokio::test]
async fn a_bucket_that_is_made_anew_has_nothing_of_the_former_one() {
    let mut fixture = Fixture::new().await;
    let upload = fixture.store.begin_upload(&fixture.bucket, &key(), Default::default()).await.unwrap();
    fixture.delete().await.unwrap();
    let former = std::mem::replace(&mut fixture.bucket, create(&fixture.buckets).await);
    assert!(fixture.put().await.is_ok(), "it is open");
    let of_former = put(&fixture.store, &former).await;
    assert_eq!(of_former.err(), Some(ObjectError::NoSuchBucket));
    let deleted = fixture.buckets.delete(&fixture.store, &former, "test".to_owned()).await;
    assert_eq!(deleted, Err(ObjectError::NoSuchBucket));
    let aborted = fixture.store.abort_upload(&fixture.bucket, &key(), upload).await;
    assert_eq!(aborted, Err(ObjectError::NoSuchUpload));
    fixture.settle().await;
    fixture.sweep_gone().await;
    fixture.later(WEEK_SECONDS);
    fixture.sweep_gone().await;
    assert!(fixture.read().await.is_ok());
    assert_eq!(fixture.store.abort_upload(&former, &key(), upload).await, Err(ObjectError::NoSuchUpload));
}

#[tokio::test]
async fn a_replica_that_lacks_something_says_of_no_bucket_that_it_is_gone() {
    let fixture = Fixture::new().await;
    fixture.put().await.unwrap();
    // As if it were older than the bucket.
    fixture.revert(false).await;
    fixture.caught_up.store(false, Ordering::Relaxed);
    assert_eq!(fixture.put().await.err(), Some(ObjectError::Busy), "it may be there: ask again");
    for _ in 0..2 {
        fixture.sweep_gone().await;
        fixture.later(WEEK_SECONDS);
    }
    fixture.revert(true).await;
    fixture.caught_up.store(true, Ordering::Relaxed);
    fixture.sweep_gone().await;
    assert!(fixture.read().await.is_ok());
}

#[tokio::test]
async fn what_a_bucket_had_that_is_gone_stays_for_a_week_without_a_break() {
    let fixture = Fixture::new().await;
    fixture.put().await.unwrap();
    fixture.revert(false).await;
    assert_eq!(fixture.put().await.err(), Some(ObjectError::NoSuchBucket));
    fixture.sweep_gone().await;
    fixture.later(WEEK_SECONDS - 1);
    fixture.sweep_gone().await;
    // It is there again for a moment: the week begins anew.
    fixture.revert(true).await;
    fixture.sweep_gone().await;
    assert!(fixture.put().await.is_ok());
    fixture.revert(false).await;
    fixture.later(1);
    fixture.sweep_gone().await;
    fixture.later(WEEK_SECONDS - 1);
    fixture.sweep_gone().await;
    assert!(fixture.read().await.is_ok());
    fixture.later(1);
    fixture.sweep_gone().await;
    assert_eq!(fixture.read().await.err(), Some(ObjectError::NoSuchKey));
    assert_eq!(fixture.store.content(&fixture.bucket).await, Ok(Default::default()));
}

#[tokio::test]
async fn a_bucket_that_comes_back_while_it_is_swept_keeps_all_it_has() {
    let fixture = Fixture::new().await;
    fixture.put().await.unwrap();
    let begun =
        fixture.store.begin_upload(&fixture.bucket, &key(), proxima_pipeline::UploadBegin::default()).await;
    fixture.revert(false).await;
    fixture.sweep_gone().await;
    fixture.later(WEEK_SECONDS);
    // As it was when the sweep began.
    let living = fixture.buckets.living().await.unwrap();
    fixture.revert(true).await;
    assert!(fixture.put().await.is_ok());
    fixture.store.sweep_gone(&living, fixture.buckets.gone()).await.unwrap();
    assert!(fixture.read().await.is_ok());
    let aborted = fixture.store.abort_upload(&fixture.bucket, &key(), begun.unwrap()).await;
    assert_eq!(aborted, Ok(()));
}

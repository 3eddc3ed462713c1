//! Buckets, which are nouns of the log: made and deleted by appends that say what was decided upon.
//!
//! A bucket is deleted in three steps, so that nothing that was acknowledged goes with it:
//!
//! ```text
//! its home finds it empty and closes it ─▶ the log says that it is gone ─▶ every replica says so
//!    (one transaction: whoever writes comes before, and it is not empty, or after, and is refused)
//! ```
//!
//! It stays closed for far longer than the log and the home's replica take ([`CLOSED_SECONDS`](crate::store::CLOSED_SECONDS)).

use std::{sync::Arc, time::Duration};

use proxima_chassis::Clock;
use proxima_ledger::{
    Append, AppendError, Change, IdempotencyKey, Log, Precondition, Replica, Seq, Snapshot,
};
use proxima_model::{
    Account, AccountId, Bucket, BucketName, BucketTag, BucketUsage, Entity, NodeName,
    limits::BUCKETS_PER_ACCOUNT_MAX,
};
use proxima_pipeline::{NewBucket, ObjectError};

/// How often a change is decided anew when another one came between: with each, one other has succeeded.
const ATTEMPTS_MAX: usize = 8;
/// How long an answer waits until this server's own replica shows the change.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// The buckets of the network.
#[derive(Clone)]
pub(crate) struct Buckets {
    pub(crate) replica: Replica,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) me: NodeName,
}

/// What is to be appended, and what it makes.
type Decided<T> = Result<(Vec<Change>, Vec<Precondition>, T), ObjectError>;

fn unreadable(error: impl std::fmt::Display) -> ObjectError {
    ObjectError::Broken(format!("reading the replica: {error}"))
}

impl Buckets {
    /// Reads from one state of the replica.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Snapshot) -> Result<T, ObjectError> + Send + 'static,
    ) -> Result<T, ObjectError> {
        let replica = self.replica.clone();
        let reading = tokio::task::spawn_blocking(move || read(&replica.snapshot().map_err(unreadable)?));
        reading.await.unwrap_or_else(|panic| Err(ObjectError::Broken(panic.to_string())))
    }

    /// Whether this very bucket is there.
    pub(crate) fn is_there(replica: &Replica, bucket: &Bucket) -> bool {
        let found = replica.snapshot().and_then(|state| state.get::<Bucket>(&id(bucket)));
        found.is_ok_and(|found| found.is_some_and(|found| found.tag == bucket.tag))
    }

    /// The bucket of this name.
    pub(crate) async fn find(&self, account: AccountId, name: BucketName) -> Result<Bucket, ObjectError> {
        let found = self.read(move |state| state.get::<Bucket>(&(account, name)).map_err(unreadable)).await?;
        found.ok_or(ObjectError::NoSuchBucket)
    }

    /// All buckets of an account, by their names.
    pub(crate) async fn all(&self, account: AccountId) -> Result<Vec<Bucket>, ObjectError> {
        self.read(move |state| {
            state.scan::<Bucket>(&[&account]).collect::<Result<Vec<_>, _>>().map_err(unreadable)
        })
        .await
    }

    /// Makes a bucket.
    pub(crate) async fn create(&self, new: NewBucket, author: String) -> Result<Bucket, ObjectError> {
        let bucket = Bucket {
            account: new.account,
            name: new.name,
            tag: BucketTag::from_bytes(rand::random()),
            created_at: self.clock.now(),
            home: self.me.clone(),
            location: new.location,
            jurisdiction: new.jurisdiction,
            storage_class: new.storage_class,
            cors: None,
            lifecycle: None,
        };
        let replica = self.replica.clone();
        self.change(author, move |state| {
            let there = state.get::<Bucket>(&id(&bucket)).map_err(unreadable)?;
            if there.is_some() {
                return Err(ObjectError::BucketExists);
            }
            let (mut usage, condition) = usage(state, bucket.account)?;
            if usage.buckets >= BUCKETS_PER_ACCOUNT_MAX {
                return Err(ObjectError::TooManyBuckets);
            }
            usage.buckets += 1;
            let changes = vec![replica.put(&bucket), replica.put(&usage)];
            let account = Precondition::Present(Account::key_of(&bucket.account));
            Ok((changes, vec![Precondition::Absent(bucket.key()), condition, account], bucket.clone()))
        })
        .await
    }

    /// Deletes a bucket that its home has closed.
    pub(crate) async fn delete(&self, bucket: &Bucket, author: String) -> Result<(), ObjectError> {
        let (bucket, replica) = (bucket.clone(), self.replica.clone());
        self.change(author, move |state| {
            let found = state.get_with_revision::<Bucket>(&id(&bucket)).map_err(unreadable)?;
            let found = found.filter(|(found, _)| found.tag == bucket.tag);
            let (_, revision) = found.ok_or(ObjectError::NoSuchBucket)?;
            let (mut usage, condition) = usage(state, bucket.account)?;
            usage.buckets = usage.buckets.saturating_sub(1);
            let changes = vec![Change::delete::<Bucket>(&id(&bucket)), replica.put(&usage)];
            Ok((changes, vec![Precondition::Revision(bucket.key(), revision), condition], ()))
        })
        .await
    }

    /// Changes what its owner has set of a bucket.
    pub(crate) async fn set(
        &self,
        bucket: &Bucket,
        author: String,
        set: impl Fn(&mut Bucket) + Send + Sync + 'static,
    ) -> Result<(), ObjectError> {
        let (bucket, replica) = (bucket.clone(), self.replica.clone());
        self.change(author, move |state| {
            let found = state.get_with_revision::<Bucket>(&id(&bucket)).map_err(unreadable)?;
            let found = found.filter(|(found, _)| found.tag == bucket.tag);
            let (mut bucket, revision) = found.ok_or(ObjectError::NoSuchBucket)?;
            set(&mut bucket);
            Ok((vec![replica.put(&bucket)], vec![Precondition::Revision(bucket.key(), revision)], ()))
        })
        .await
    }

    /// Decides and appends, anew if another change came between.
    async fn change<T: Send + 'static>(
        &self,
        author: String,
        decide: impl Fn(&Snapshot) -> Decided<T> + Send + Sync + 'static,
    ) -> Result<T, ObjectError> {
        let decide = Arc::new(decide);
        for _ in 0..ATTEMPTS_MAX {
            let deciding = decide.clone();
            let (changes, preconditions, made) = self.read(move |state| deciding(state)).await?;
            let idempotency_key = IdempotencyKey(hex::encode(rand::random::<[u8; 32]>()));
            let author = author.clone();
            let append = Append { changes, preconditions, idempotency_key, fingerprint: None, author };
            match self.log.append(append).await {
                Ok(appended) => {
                    self.replica.wait_for(appended.seq, SEEN_WITHIN).await;
                    return Ok(made);
                }
                Err(AppendError::Precondition { found, .. }) => {
                    // What came between may not be here yet; without it the same would be decided again.
                    let newer = found.unwrap_or_else(|| self.log.last());
                    self.replica.wait_for(newer, SEEN_WITHIN).await;
                }
                Err(error @ (AppendError::Unreachable { .. } | AppendError::NotTheLog)) => {
                    return Err(ObjectError::Unreachable(error.to_string()));
                }
                Err(AppendError::Full(what)) => return Err(ObjectError::Full(what)),
                Err(AppendError::Busy) => return Err(ObjectError::Busy),
                Err(error) => return Err(ObjectError::Broken(error.to_string())),
            }
        }
        Err(ObjectError::Busy)
    }
}

fn id(bucket: &Bucket) -> (AccountId, BucketName) {
    (bucket.account, bucket.name.clone())
}

/// How many buckets an account has, and that nobody has counted otherwise meanwhile.
fn usage(state: &Snapshot, account: AccountId) -> Result<(BucketUsage, Precondition), ObjectError> {
    let found: Option<(BucketUsage, Seq)> =
        state.get_with_revision::<BucketUsage>(&account).map_err(unreadable)?;
    let key = BucketUsage::key_of(&account);
    Ok(match found {
        Some((usage, revision)) => (usage, Precondition::Revision(key, revision)),
        None => (BucketUsage { account, buckets: 0 }, Precondition::Absent(key)),
    })
}

//! Buckets, which are nouns of the log: made and deleted by appends that say what was decided upon.
//!
//! A bucket's life, by what the log has of it and whether its home has closed it, in its index:
//!
//! | | its noun in the log | mark at its home | writes | how it goes on |
//! |---|---|---|---|---|
//! | open | there | none | taken | an attempt to delete it finds it empty: closed |
//! | closed | there | an attempt's | refused | the log takes the deletion: deleted; or does not, and a fence does: open |
//! | deleted | not there | an attempt's | refused | after a week its remains are swept, and the mark; if the log is reverted: closed |
//! | orphaned | not there | none | refused | by a revert of the log to before it was made. After a week it is swept; if that is reverted: open |
//!
//! An attempt to delete does three things, in this order: it reads the noun's revision, closes the bucket (one transaction: whoever
//! writes comes before, and it is not empty, or after, and is refused), and asks the log to delete that very revision. What the log
//! answers may get lost, or the process may be killed at any point; then the bucket is closed, and it is not known whether the
//! deletion was taken, nor whether it may still be. So a mark never lapses, and is lifted by a *fence* alone: the noun is put into the
//! log anew, as it is, which gives it a revision that no attempt had read before. Invariants:
//!
//! 1. **Nothing is written to a bucket that a deletion under way may still delete.** When a mark is lifted, all deletions that were
//!    asked for under it name a revision before the fence, and are refused from there on.
//! 2. **Nobody lifts another one's mark.** Each attempt has one of its own, also each repetition, which takes the former one's place;
//!    lifted is only the very mark that was there before the fence was.
//! 3. **Nothing is swept that may be somebody's.** A bucket counts as gone when a replica that lacks nothing does not name it, and is
//!    swept when that has been so for a week ([`crate::store`]). A replica that lacks something says nothing.
//! 4. **No bucket is deleted that is read at custom domains.** They have records of their zones, and are removed first; each is named
//!    by the bucket's noun, so that one that is attached meanwhile gives it another revision.
//! 5. **A bucket that is made anew is another one**: its objects lie under its tag, and names and revisions are compared with it.
//!
//! An attempt that fails puts up the fence itself; what it cannot, or what a crash left, is seen to by [`Buckets::settle`].

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proxima_chassis::Clock;
use proxima_ledger::{
    Append, AppendError, Change, IdempotencyKey, Log, Precondition, ReadError, Replica, Seq, Snapshot,
};
use proxima_model::{
    Account, AccountId, Bucket, BucketDomain, BucketName, BucketTag, BucketUsage, DnsName, Entity, NodeName,
    Queue, ZoneId, limits::BUCKETS_PER_ACCOUNT_MAX,
};
use proxima_pipeline::{Lifecycle, NewBucket, ObjectError};

use crate::{
    deliver::QueueIsGone,
    store::{HasRules, IsGone, Living, Mark, Obstacles, Presence, PresenceOf, Remembered, Ruled, Store},
};

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
    /// [`NodeContext::has_caught_up`](proxima_chassis::NodeContext::has_caught_up).
    pub(crate) has_caught_up: Arc<dyn Fn() -> bool + Send + Sync>,
    /// [`NodeContext::lacks_nothing`](proxima_chassis::NodeContext::lacks_nothing), which is asked before a state is read.
    pub(crate) lacks_nothing: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Who puts up a fence that nobody asked for.
const UPKEEP: &str = "node/r2";

/// What is to be appended, and what it makes.
type Decided<T> = Result<(Vec<Change>, Vec<Precondition>, T), ObjectError>;

pub(crate) fn unreadable(error: impl std::fmt::Display) -> ObjectError {
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

    /// Says of a bucket whether it is there.
    pub(crate) fn presence(&self) -> Arc<PresenceOf> {
        let (buckets, remembered) = (self.clone(), Remembered::default());
        Arc::new(move |bucket: &Bucket| {
            let lacks_nothing = (buckets.lacks_nothing)();
            let found = buckets.replica.snapshot().and_then(|state| remembered.find(&state, bucket));
            match found {
                Ok(Some(known)) => Presence::There(known),
                Ok(None) if lacks_nothing => Presence::Gone,
                _ => Presence::Unknown,
            }
        })
    }

    /// Says of a queue whether the log does not name it, of an account that it is said to be of.
    pub(crate) fn queue_gone(&self) -> QueueIsGone {
        let buckets = self.clone();
        Arc::new(move |account, queue| {
            let lacks_nothing = (buckets.lacks_nothing)();
            let found = buckets.replica.snapshot().and_then(|state| state.get::<Queue>(&(account, queue)));
            lacks_nothing && found.is_ok_and(|found| found.is_none())
        })
    }

    /// Says of a bucket whether no name is its own: by all buckets, since whose it was is not kept.
    pub(crate) fn gone(&self) -> IsGone {
        let buckets = self.clone();
        // Of the state that was looked through last.
        let named = Mutex::new(None::<(Seq, HashSet<BucketTag>)>);
        Arc::new(move |tag| {
            let lacks_nothing = (buckets.lacks_nothing)();
            let named = |state: &Snapshot| {
                let mut named = named.lock().unwrap_or_else(PoisonError::into_inner);
                if named.as_ref().is_none_or(|(seq, _)| *seq != state.seq()) {
                    let tags = state.scan::<Bucket>(&[]).map(|bucket| bucket.map(|bucket| bucket.tag));
                    *named = Some((state.seq(), tags.collect::<Result<_, _>>()?));
                }
                Ok::<_, ReadError>(named.as_ref().is_some_and(|(_, tags)| tags.contains(&tag)))
            };
            lacks_nothing && buckets.replica.snapshot().and_then(|state| named(&state)).is_ok_and(|is| !is)
        })
    }

    /// The buckets that the log names.
    pub(crate) async fn living(&self) -> Result<Living, ObjectError> {
        let (lacks_nothing, me) = ((self.has_caught_up)(), self.me.clone());
        self.read(move |state| {
            let mut living = Living::new(lacks_nothing);
            for bucket in state.scan::<Bucket>(&[]) {
                let bucket = bucket.map_err(unreadable)?;
                let rules = rules(&bucket, &me);
                living.add(bucket, rules);
            }
            Ok(living)
        })
        .await
    }

    /// Says of a bucket whether the rules of its noun are still the same.
    pub(crate) fn unchanged(&self) -> HasRules {
        let buckets = self.clone();
        Arc::new(move |ruled: &Ruled| {
            let found = buckets.replica.snapshot().and_then(|state| state.get::<Bucket>(&ruled.id()));
            found.ok().flatten().is_some_and(|found| ruled.is(&found, rules(&found, &buckets.me).as_ref()))
        })
    }

    /// The bucket of this name.
    pub(crate) async fn find(&self, account: AccountId, name: BucketName) -> Result<Bucket, ObjectError> {
        let found = self.read(move |state| state.get::<Bucket>(&(account, name)).map_err(unreadable)).await?;
        found.ok_or(ObjectError::NoSuchBucket)
    }

    /// Where a public host leads, and the bucket of that name, as the replica has both now.
    pub(crate) async fn led_to(
        &self,
        zone: ZoneId,
        host: DnsName,
    ) -> Result<Option<(BucketDomain, Option<Bucket>)>, ObjectError> {
        self.read(move |state| {
            let Some(domain) = state.get::<BucketDomain>(&(zone, host)).map_err(unreadable)? else {
                return Ok(None);
            };
            let bucket = state.get::<Bucket>(&(domain.account, domain.bucket.clone())).map_err(unreadable)?;
            Ok(Some((domain, bucket)))
        })
        .await
    }

    /// All buckets of an account, by their names.
    pub(crate) async fn all(&self, account: AccountId) -> Result<Vec<Bucket>, ObjectError> {
        self.read(move |state| {
            state.scan::<Bucket>(&[&account]).collect::<Result<Vec<_>, _>>().map_err(unreadable)
        })
        .await
    }

    /// Makes a bucket that has this server as its home.
    pub(crate) async fn create(
        &self,
        new: NewBucket,
        home: NodeName,
        author: String,
    ) -> Result<Bucket, ObjectError> {
        let bucket = Bucket {
            account: new.account,
            name: new.name,
            tag: BucketTag::from_bytes(rand::random()),
            created_at: self.clock.now(),
            home,
            location: new.location,
            jurisdiction: new.jurisdiction,
            storage_class: new.storage_class,
            cors: None,
            lifecycle: None,
            notifications: None,
            domains: BTreeSet::new(),
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

    /// Deletes a bucket, if its home's store finds it empty.
    pub(crate) async fn delete(
        &self,
        store: &Store,
        bucket: &Bucket,
        author: String,
    ) -> Result<(), ObjectError> {
        let mut mark = None;
        let deleted = self.try_to_delete(store, bucket, author, &mut mark).await;
        // However it failed: also where nobody knows whether it has reached the log, or will.
        if let (Err(_), Some(mark)) = (&deleted, &mark) {
            self.reopen(store, bucket.tag, mark).await.ok();
        }
        deleted
    }

    /// Deletes a bucket, or leaves the mark by which it is closed since, if any.
    async fn try_to_delete(
        &self,
        store: &Store,
        bucket: &Bucket,
        author: String,
        mark: &mut Option<Mark>,
    ) -> Result<(), ObjectError> {
        for _ in 0..ATTEMPTS_MAX {
            let (of_read, replica) = (bucket.clone(), self.replica.clone());
            // In this order: what is deleted is a revision from before it was closed.
            let (changes, preconditions) =
                self.read(move |state| deletion(state, &replica, &of_read)).await?;
            *mark = Some(store.close(bucket).await?);
            if self.append(changes, preconditions, author.clone()).await? {
                return Ok(());
            }
        }
        Err(ObjectError::Busy)
    }

    /// Opens a bucket again that is still there, if this mark is what closes it; whether it does any more.
    pub(crate) async fn reopen(
        &self,
        store: &Store,
        tag: BucketTag,
        mark: &Mark,
    ) -> Result<bool, ObjectError> {
        let (id, replica) = ((mark.account, mark.name.clone()), self.replica.clone());
        let fence = self.change(UPKEEP.to_owned(), move |state| {
            let (bucket, revision) = with_revision(state, &id, tag)?;
            Ok((vec![replica.put(&bucket)], vec![Precondition::Revision(bucket.key(), revision)], ()))
        });
        match fence.await {
            Ok(()) => store.lift(tag, mark).await,
            // It was deleted after all, or this replica does not know it yet.
            Err(ObjectError::NoSuchBucket) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens buckets again that were closed by attempts to delete them which came to nothing, or left open what they came to.
    pub(crate) async fn settle(&self, store: &Store) -> Result<(), ObjectError> {
        let (mut after, mut obstacles) = (None, Obstacles::default());
        loop {
            let (abandoned, last) = store.abandoned(after, &mut obstacles).await?;
            for (tag, mark) in abandoned {
                if let Err(error) = self.reopen(store, tag, &mark).await {
                    obstacles.met(|| format!("the closed bucket {}: {error}", mark.name));
                }
            }
            let Some(last) = last else { break };
            after = Some(last);
        }
        store.tell("opening buckets that were not deleted", obstacles);
        Ok(())
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
            let (mut bucket, revision) = with_revision(state, &id(&bucket), bucket.tag)?;
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
            if self.append(changes, preconditions, author.clone()).await? {
                return Ok(made);
            }
        }
        Err(ObjectError::Busy)
    }

    /// Appends, and waits until it is seen here; `false` if another change came between, which is seen here, too.
    async fn append(
        &self,
        changes: Vec<Change>,
        preconditions: Vec<Precondition>,
        author: String,
    ) -> Result<bool, ObjectError> {
        let idempotency_key = IdempotencyKey(hex::encode(rand::random::<[u8; 32]>()));
        let append = Append { changes, preconditions, idempotency_key, fingerprint: None, author };
        match self.log.append(append).await {
            Ok(appended) => {
                self.replica.wait_for(appended.seq, SEEN_WITHIN).await;
                Ok(true)
            }
            Err(AppendError::Precondition { found, .. }) => {
                // What came between may not be here yet; without it the same would be decided again.
                let newer = found.unwrap_or_else(|| self.log.last());
                self.replica.wait_for(newer, SEEN_WITHIN).await;
                Ok(false)
            }
            Err(error @ (AppendError::Unreachable { .. } | AppendError::NotTheLog)) => {
                Err(ObjectError::Unreachable(error.to_string()))
            }
            Err(AppendError::Full(what)) => Err(ObjectError::Full(what)),
            Err(AppendError::Busy) => Err(ObjectError::Busy),
            Err(error) => Err(ObjectError::Broken(error.to_string())),
        }
    }
}

/// This very bucket, and the revision that it has.
fn with_revision(
    state: &Snapshot,
    id: &(AccountId, BucketName),
    tag: BucketTag,
) -> Result<(Bucket, Seq), ObjectError> {
    let found = state.get_with_revision::<Bucket>(id).map_err(unreadable)?;
    found.filter(|(found, _)| found.tag == tag).ok_or(ObjectError::NoSuchBucket)
}

/// What deletes a bucket as it is now.
fn deletion(
    state: &Snapshot,
    replica: &Replica,
    bucket: &Bucket,
) -> Result<(Vec<Change>, Vec<Precondition>), ObjectError> {
    let (bucket, revision) = with_revision(state, &id(bucket), bucket.tag)?;
    // Those of a zone that was deleted went with it. One that is attached meanwhile gives the bucket another revision.
    for domain in &bucket.domains {
        let found = state.get::<BucketDomain>(domain).map_err(unreadable)?;
        if found.is_some_and(|found| found.tag == bucket.tag) {
            return Err(ObjectError::BucketHasDomains);
        }
    }
    let (mut usage, condition) = usage(state, bucket.account)?;
    usage.buckets = usage.buckets.saturating_sub(1);
    let changes = vec![Change::delete::<Bucket>(&id(&bucket)), replica.put(&usage)];
    Ok((changes, vec![Precondition::Revision(bucket.key(), revision), condition]))
}

/// What its owner has said of what goes by itself, if that is for this server to carry out.
fn rules(bucket: &Bucket, me: &NodeName) -> Option<Lifecycle> {
    let rules = bucket.lifecycle.as_ref().filter(|_| bucket.home == *me);
    rules.map(|rules| Lifecycle::kept(Some(rules)))
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

#[cfg(test)]
#[path = "buckets_tests.rs"]
mod tests;

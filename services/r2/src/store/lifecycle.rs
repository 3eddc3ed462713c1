//! What of a bucket's objects and uploads goes by itself, as its [rules](Lifecycle) say. Its home carries them out, once an hour; of
//! an object that is replaced meanwhile nothing goes, and nothing more once its owner has changed the rules. Storage classes are words here, and no rule changes them.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use heed::RoTxn;
use proxima_model::{AccountId, Bucket, BucketName, BucketTag, Timestamp};
use proxima_pipeline::{Lifecycle, LifecycleRule, ObjectAbout, ObjectAction, ObjectError, ObjectKey};

use super::{
    ROWS_OF_CHANGE_MAX, Store, change,
    index::{Databases, failed},
    outbox::Event,
    rows,
    sweep::{BATCH, Obstacles},
};

/// The buckets that the log names, as a replica has it.
#[derive(Debug)]
pub(crate) struct Living {
    /// With what goes by itself in those that have rules of their own.
    named: HashMap<BucketTag, Arc<Ruled>>,
    /// In all others, and in those that are not named.
    otherwise: Lifecycle,
    lacks_nothing: bool,
}

impl Living {
    /// None yet; whether the replica lacks nothing, so that what it does not name is gone.
    pub(crate) fn new(lacks_nothing: bool) -> Self {
        Self { named: HashMap::new(), otherwise: Lifecycle::default(), lacks_nothing }
    }

    /// The log names this one, with these rules.
    pub(crate) fn add(&mut self, bucket: Bucket, rules: Option<Lifecycle>) {
        self.named.insert(bucket.tag, Arc::new(Ruled { bucket, rules }));
    }

    /// Whether what is not named is gone.
    pub(super) const fn lacks_nothing(&self) -> bool {
        self.lacks_nothing
    }

    /// Whether what was said of a bucket when they were looked through still is; what is gone has nobody who could change it.
    pub(crate) fn still(
        &self,
        tag: BucketTag,
        has_rules: &HasRules,
    ) -> impl Fn() -> bool + Clone + Send + 'static {
        let (ruled, has_rules) = (self.named.get(&tag).cloned(), has_rules.clone());
        move || ruled.as_ref().is_none_or(|ruled| has_rules(ruled))
    }

    /// Whether the log names this one.
    pub(super) fn names(&self, tag: BucketTag) -> bool {
        self.named.contains_key(&tag)
    }

    /// Whether an upload is to be ended that was begun then.
    pub(super) fn ends_upload(&self, tag: BucketTag, key: &str, begun: Timestamp, now: Timestamp) -> bool {
        let rules = self.named.get(&tag).and_then(|ruled| ruled.rules.as_ref()).unwrap_or(&self.otherwise);
        let ends = |rule: &LifecycleRule| {
            let ends = rule.abort_multipart_uploads_transition.as_ref();
            ends.is_some_and(|ends| ends.condition.holds(begun, now))
        };
        in_force(rules).any(|rule| key.starts_with(&rule.conditions.prefix) && ends(rule))
    }
}

/// A bucket, and what was said of what goes by itself in it when it was looked at.
#[derive(Debug)]
pub(crate) struct Ruled {
    bucket: Bucket,
    rules: Option<Lifecycle>,
}

impl Ruled {
    /// Under what the replica has it.
    pub(crate) fn id(&self) -> (AccountId, BucketName) {
        (self.bucket.account, self.bucket.name.clone())
    }

    /// Whether it is this bucket, with these rules.
    pub(crate) fn is(&self, bucket: &Bucket, rules: Option<&Lifecycle>) -> bool {
        self.bucket.tag == bucket.tag && self.rules.as_ref() == rules
    }
}

/// Says of a bucket whether it has these rules at this moment.
pub(crate) type HasRules = Arc<dyn Fn(&Ruled) -> bool + Send + Sync>;

fn in_force(rules: &Lifecycle) -> impl Iterator<Item = &LifecycleRule> {
    rules.rules.iter().filter(|rule| rule.enabled)
}

/// Objects that are to be ended, each in this version.
type Ended = Vec<(ObjectKey, [u8; 16])>;

impl Store {
    /// Ends objects whose buckets' rules say so, and still do as each batch of them is looked at and ended.
    pub(crate) async fn expire(&self, living: &Living, has_rules: &HasRules) -> Result<(), ObjectError> {
        let (now, mut obstacles) = (self.now(), Obstacles::default());
        for (tag, ruled) in &living.named {
            for rule in ruled.rules.iter().flat_map(in_force) {
                let Some(ends) = rule.delete_objects_transition.clone() else { continue };
                let ends =
                    move |_: &ObjectKey, about: &ObjectAbout| ends.condition.holds(about.modified, now);
                let of = (*tag, rule.conditions.prefix.as_str(), Some(&ruled.bucket));
                self.end_objects(of, ends, living.still(*tag, has_rules), &mut obstacles).await?;
            }
        }
        self.tell("ending objects by rules", obstacles);
        Ok(())
    }

    /// Ends those objects of a bucket whose keys begin so, and of which `ends` says it, as long as they still `may` be ended when
    /// some of them are looked at, and when that is carried out. If the bucket is given, its queues are told.
    pub(super) async fn end_objects(
        &self,
        (tag, prefix, told): (BucketTag, &str, Option<&Bucket>),
        ends: impl Fn(&ObjectKey, &ObjectAbout) -> bool + Clone + Send + 'static,
        may: impl Fn() -> bool + Clone + Send + 'static,
        obstacles: &mut Obstacles,
    ) -> Result<(), ObjectError> {
        let all = [tag.as_bytes(), prefix.as_bytes()].concat();
        let mut after = None;
        loop {
            let (all, ends, still) = (all.clone(), ends.clone(), may.clone());
            let found = self.index.read(move |db, txn| match still() {
                true => walk(db, txn, (&all, after.as_deref()), ends),
                false => Ok(Walked::default()),
            });
            let found = found.await?;
            let damaged = found.damaged + self.end_versions((tag, told), found.ended, may.clone()).await?;
            for _ in 0..damaged {
                obstacles.met(|| format!("the row of an object of the bucket {tag} is damaged"));
            }
            let Some(last) = found.last else { return Ok(()) };
            after = Some(last);
        }
    }

    /// Ends these, but for those that were replaced meanwhile: so many at once as one change may. How many are damaged.
    async fn end_versions(
        &self,
        (tag, told): (BucketTag, Option<&Bucket>),
        ended: Ended,
        may: impl Fn() -> bool + Clone + Send + 'static,
    ) -> Result<usize, ObjectError> {
        let (now, mut left, mut damaged) = (self.now(), VecDeque::from(ended), 0);
        while !left.is_empty() {
            let (may, store, told) = (may.clone(), self.clone(), told.cloned());
            let some = self.index.change(move |db, txn| {
                let (mut rows, mut ended, mut damaged) = (0, 0, 0);
                if !may() {
                    return Ok((0, 0, VecDeque::new(), None));
                }
                let mut recorder = told.map(|bucket| store.recorder(&bucket));
                while rows < ROWS_OF_CHANGE_MAX
                    && let Some((key, version)) = left.pop_front()
                {
                    rows += 1;
                    // All that is decoded, before anything is written.
                    let read = change::object(db, txn, tag, &key);
                    let read = read.and_then(|row| change::content(db, txn, tag).map(|_| row));
                    let Ok(there) = read else {
                        damaged += 1;
                        continue;
                    };
                    if let Some(row) = there.filter(|row| row.about.version == version) {
                        rows += row.pieces.len();
                        ended += 1;
                        change::delete_object(db, txn, (tag, &key), &row, now)?;
                        if let Some(recorder) = &mut recorder {
                            let action = ObjectAction::LifecycleDeletion;
                            let event = Event { key: &key, action, about: None, source: None, at: now };
                            recorder.record(db, txn, &event)?;
                        }
                    }
                }
                Ok((ended, damaged, left, recorder))
            });
            let (ended, met, _recorder);
            (ended, met, left, _recorder) = some.await?;
            damaged += met;
            self.metrics.expired.inc_by(ended);
        }
        Ok(damaged)
    }
}

/// Some rows of a bucket.
#[derive(Default)]
struct Walked {
    ended: Ended,
    damaged: usize,
    /// Where it goes on; nothing at the end.
    last: Option<Vec<u8>>,
}

fn walk(
    db: &Databases,
    txn: &RoTxn<'_>,
    (all, after): (&[u8], Option<&[u8]>),
    ends: impl Fn(&ObjectKey, &ObjectAbout) -> bool,
) -> Result<Walked, ObjectError> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let range = (after.map_or(Included(all), Excluded), Unbounded);
    let mut walked = Walked::default();
    for found in db.objects.range(txn, &range).map_err(failed)?.take(BATCH) {
        let (lies, row) = found.map_err(failed)?;
        if !lies.starts_with(all) {
            walked.last = None;
            break;
        }
        let read = rows::of_object_key(lies).and_then(|key| Ok((key, rows::decode_about(lies, row)?)));
        match read {
            Ok((key, about)) if ends(&key, &about) => walked.ended.push((key, about.version)),
            Ok(_) => {}
            Err(_) => walked.damaged += 1,
        }
        walked.last = Some(lies.to_vec());
    }
    Ok(walked)
}

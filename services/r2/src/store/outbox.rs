//! What queues are to be told of objects, until they have it.
//!
//! ```text
//!  put, copied, completed, deleted, expired ─▶ index: the object's row, and a notification for each queue whose rules match
//!                                                        │  one transaction
//!                  deliver.rs ─ batch ─▶ Queues ─ it has it ─▶ sent: removed
//! ```
//!
//! A notification lies here since the very transaction that changed its object, and goes when its queue has it: each is told at least
//! once, whatever ends in between. Those of a queue have numbers in the order of what happened.
//!
//! **No object is refused for a queue that takes nothing.** All of them together take a fraction of the index at the worst
//! ([`SHARE_OF_INDEX`]), and those of one queue a fraction of that ([`SHARE_OF_QUEUE`]), so that one that is away for long takes no
//! other queue's place. Beyond its own bound a queue's oldest goes untold; where all are too many, the oldest of one for which more
//! waits, so that queues that are away cost themselves what they keep. Both are counted and logged.

use std::{
    collections::HashSet,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use heed::{RoTxn, RwTxn};
use proxima_model::{
    AccountId, Bucket, BucketName, BucketTag, QueueId, Timestamp,
    limits::{QUEUE_SEND_MESSAGES_MAX, QUEUE_SEND_OCTETS_MAX},
};
use proxima_pipeline::{ObjectAbout, ObjectAction, ObjectError, ObjectKey, QueueContentType, QueueMessage};
use serde_json::json;
use tokio::sync::Notify;

use super::{
    Known, Presence, Store,
    change::put,
    index::{Databases, failed},
    rows::{ID_OCTETS, NotificationRow, decode},
    sweep::Obstacles,
};
use crate::metrics::Metrics;

/// Which part of the index all notifications take at the worst.
const SHARE_OF_INDEX: usize = 8;
/// Which part of all notifications those of one queue may be.
const SHARE_OF_QUEUE: u64 = 8;
/// Queues that are looked at, where all are too many, for one for which more waits: a few reads of the index, for each event then.
const LOOKED_AT: usize = 16;
/// Octets of a notification at the worst: of two of the longest keys, every octet of which JSON writes as six.
const NOTIFICATION_OCTETS_MAX: usize = 16 << 10;

/// The outbox, but for its rows.
#[derive(Clone)]
pub(super) struct Outbox {
    added: Arc<Notify>,
    all_max: u64,
    of_queue_max: u64,
    /// Notifications for which there was no place since this was last told.
    overflowed: Arc<AtomicU64>,
    metrics: Metrics,
}

impl Outbox {
    /// The outbox of an index of so many octets.
    pub(super) fn new(index_octets_max: usize, metrics: Metrics) -> Self {
        let all_max = (index_octets_max / SHARE_OF_INDEX / NOTIFICATION_OCTETS_MAX).max(1) as u64;
        let of_queue_max = (all_max / SHARE_OF_QUEUE).max(1);
        Self { added: Arc::default(), all_max, of_queue_max, overflowed: Arc::default(), metrics }
    }
}

/// What happened to an object.
pub(super) struct Event<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) action: ObjectAction,
    /// What it is now, if it is there.
    pub(super) about: Option<&'a ObjectAbout>,
    /// What it is a copy of.
    pub(super) source: Option<&'a (BucketName, ObjectKey)>,
    pub(super) at: Timestamp,
}

impl Event<'_> {
    /// As [R2 tells it](https://developers.cloudflare.com/r2/buckets/event-notifications/#message-format).
    fn message(&self, bucket: &Known) -> String {
        let mut object = json!({ "key": self.key.as_str() });
        if let Some(about) = self.about {
            object["size"] = about.octets.into();
            object["eTag"] = about.etag.as_str().into();
        }
        let at = jiff::Timestamp::from_millisecond(self.at.as_millis()).unwrap_or_default();
        let mut message = json!({
            "account": bucket.account.to_string(),
            "action": self.action.as_str(),
            "bucket": bucket.name.as_str(),
            "object": object,
            "eventTime": format!("{at:.3}"),
        });
        if let Some((bucket, key)) = self.source {
            message["copySource"] = json!({ "bucket": bucket.as_str(), "object": key.as_str() });
        }
        message.to_string()
    }
}

/// Notes what happens to objects of a bucket, within a change. It is returned by the change, so that it is dropped when that is
/// durable, and whoever delivers looks then: also if the caller has gone.
pub(super) struct Recorder {
    bucket: Arc<Known>,
    outbox: Outbox,
    has_added: bool,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.has_added {
            self.outbox.added.notify_one();
        }
    }
}

impl Recorder {
    /// Puts an event into the outbox for each queue whose rules match it.
    pub(super) fn record(
        &mut self,
        db: &Databases,
        txn: &mut RwTxn<'_>,
        event: &Event<'_>,
    ) -> Result<(), ObjectError> {
        let mut row = None;
        for queue in self.bucket.notifications.notified(event.key.as_str(), event.action) {
            let Some(number) = self.outbox.make_room(db, txn, queue)? else { continue };
            let row = row.get_or_insert_with(|| NotificationRow {
                account: *self.bucket.account.as_bytes(),
                bucket: *self.bucket.tag.as_bytes(),
                message: event.message(&self.bucket),
            });
            put(&db.outbox, txn, &lies(queue, number), row)?;
            self.has_added = true;
        }
        Ok(())
    }
}

impl Outbox {
    /// The number of a queue's next notification, if there is a place for it.
    fn make_room(
        &self,
        db: &Databases,
        txn: &mut RwTxn<'_>,
        queue: QueueId,
    ) -> Result<Option<u64>, ObjectError> {
        let numbers = ends(db, txn, queue)?;
        let waiting = numbers.map_or(0, |(first, last)| last - first + 1);
        let number = numbers.map_or(0, |(_, last)| last + 1);
        let is_full = waiting >= self.of_queue_max;
        if !is_full && db.outbox.len(txn).map_err(failed)? < self.all_max {
            return Ok(Some(number));
        }
        self.overflowed.fetch_add(1, Ordering::Relaxed);
        self.metrics.notifications_dropped.inc();
        let longer = if is_full { None } else { longer(db, txn, queue, waiting)? };
        let Some(oldest) = longer.or(numbers.map(|(first, _)| lies(queue, first))) else { return Ok(None) };
        db.outbox.delete(txn, &oldest).map_err(failed)?;
        Ok(Some(number))
    }
}

/// Some of what waits for a queue, as much as it takes at once.
#[derive(Default)]
pub(crate) struct Batch {
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whose the queue is.
    pub(crate) account: Option<AccountId>,
    /// What can be read of it.
    pub(crate) messages: Vec<QueueMessage>,
}

impl Batch {
    /// How many notifications it is.
    pub(crate) fn len(&self) -> u64 {
        self.rows.len() as u64
    }
}

impl Store {
    /// Who notes what happens to objects of a bucket that is as the replica has it now, or had it a moment ago.
    pub(super) fn recorder(&self, bucket: &Bucket) -> Recorder {
        self.recorder_of(match (self.presence)(bucket) {
            Presence::There(known) => known,
            Presence::Gone | Presence::Unknown => Known::of(bucket),
        })
    }

    /// The same, of what is known of it.
    pub(super) fn recorder_of(&self, bucket: Arc<Known>) -> Recorder {
        Recorder { bucket, outbox: self.outbox.clone(), has_added: false }
    }

    /// Waits until something was added since this was last asked.
    pub(crate) async fn notifications_added(&self) {
        self.outbox.added.notified().await;
    }

    /// How many notifications had no place since this was last asked.
    pub(crate) fn take_overflowed(&self) -> u64 {
        self.outbox.overflowed.swap(0, Ordering::Relaxed)
    }

    /// How many notifications wait.
    pub(crate) async fn notifications(&self) -> Result<u64, ObjectError> {
        self.index.read(|db, txn| db.outbox.len(txn).map_err(failed)).await
    }

    /// Queues for which something waits, but for these: so many at the most, those after `after` first.
    pub(crate) async fn queues_waiting(
        &self,
        but: HashSet<QueueId>,
        after: Option<QueueId>,
        count: usize,
    ) -> Result<Vec<QueueId>, ObjectError> {
        let start = after.and_then(next);
        self.index
            .read(move |db, txn| {
                let mut found = Vec::new();
                for queue in queues_from(db, txn, start) {
                    if found.len() >= count {
                        break;
                    }
                    found.extend(Some(queue?).filter(|queue| !but.contains(queue)));
                }
                Ok(found)
            })
            .await
    }

    /// Some of what waits for a queue, its oldest first.
    pub(crate) async fn batch(&self, queue: QueueId) -> Result<Batch, ObjectError> {
        self.index.read(move |db, txn| batch(db, txn, queue)).await
    }

    /// Removes what was sent, or is to be sent no more.
    pub(crate) async fn remove_batch(&self, batch: Batch) -> Result<(), ObjectError> {
        self.remove_rows(batch.rows, || true).await.map(drop)
    }

    /// Removes these, if they `may` be removed when that is carried out; how many were there.
    async fn remove_rows(
        &self,
        rows: Vec<(Vec<u8>, Vec<u8>)>,
        may: impl Fn() -> bool + Send + 'static,
    ) -> Result<u64, ObjectError> {
        let removed = self.index.change(move |db, txn| {
            let mut removed = 0;
            for (key, row) in &rows {
                // Another process of a graceful restart may have removed it, and something else have its number by now.
                if may() && db.outbox.get(txn, key).map_err(failed)? == Some(&row[..]) {
                    removed += u64::from(db.outbox.delete(txn, key).map_err(failed)?);
                }
            }
            Ok(removed)
        });
        removed.await
    }

    /// Removes what nobody was told of objects of a bucket, as long as it `may` be.
    pub(super) async fn remove_notifications_of(
        &self,
        tag: BucketTag,
        may: impl Fn() -> bool + Clone + Send + 'static,
        obstacles: &mut Obstacles,
    ) -> Result<(), ObjectError> {
        let mut after = Vec::new();
        loop {
            let found = self.rows(after, |db| db.outbox).await?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            after = last.clone();
            let mut rows = Vec::new();
            for (key, row) in found {
                match decode::<NotificationRow>(&key, &row) {
                    Ok(read) if read.bucket == *tag.as_bytes() => rows.push((key, row)),
                    Ok(_) => {}
                    Err(_) => obstacles.met(|| "a notification is damaged".to_owned()),
                }
            }
            if !rows.is_empty() {
                let removed = self.remove_rows(rows, may.clone()).await?;
                self.metrics.notifications_dropped.inc_by(removed);
            }
        }
    }
}

/// Where a notification lies.
fn lies(queue: QueueId, number: u64) -> [u8; ID_OCTETS + 8] {
    let mut lies = [0; ID_OCTETS + 8];
    lies[..ID_OCTETS].copy_from_slice(queue.as_bytes());
    lies[ID_OCTETS..].copy_from_slice(&number.to_be_bytes());
    lies
}

/// Where a queue may lie behind this one.
fn next(queue: QueueId) -> Option<[u8; ID_OCTETS]> {
    u128::from_be_bytes(*queue.as_bytes()).checked_add(1).map(u128::to_be_bytes)
}

/// The first queue from an id on for which something waits.
fn queue_from(
    db: &Databases,
    txn: &RoTxn<'_>,
    from: [u8; ID_OCTETS],
) -> Result<Option<QueueId>, ObjectError> {
    let found = db.outbox.get_greater_than_or_equal_to(txn, &from).map_err(failed)?;
    let queue = found.and_then(|(key, _)| key.first_chunk::<ID_OCTETS>());
    Ok(queue.map(|queue| QueueId::from_bytes(*queue)))
}

/// The queues for which something waits: from there to the end, and then from the beginning to there.
fn queues_from<'a>(
    db: &'a Databases,
    txn: &'a RoTxn<'_>,
    start: Option<[u8; ID_OCTETS]>,
) -> impl Iterator<Item = Result<QueueId, ObjectError>> + 'a {
    let mut ways = [(start, None), (Some([0; ID_OCTETS]), start)].into_iter();
    let mut way = ways.next();
    std::iter::from_fn(move || {
        while let Some((from, to)) = way {
            let found = from.map_or(Ok(None), |at| queue_from(db, txn, at)).transpose();
            let ends = |queue: &QueueId| to.is_some_and(|to| *queue.as_bytes() >= to);
            match found.filter(|found| !found.as_ref().is_ok_and(ends)) {
                Some(found) => {
                    way = found.as_ref().ok().map(|queue| (next(*queue), to));
                    return Some(found);
                }
                None => way = ways.next(),
            }
        }
        None
    })
}

/// The oldest notification of a queue for which more waits than for this one: of the next few, that for which most does.
fn longer(
    db: &Databases,
    txn: &RoTxn<'_>,
    than: QueueId,
    waiting: u64,
) -> Result<Option<[u8; ID_OCTETS + 8]>, ObjectError> {
    let (mut oldest, mut most) = (None, waiting);
    for queue in queues_from(db, txn, next(than)).take(LOOKED_AT) {
        let queue = queue?;
        if let Some((first, last)) = ends(db, txn, queue)?
            && last - first + 1 > most
        {
            (oldest, most) = (Some(lies(queue, first)), last - first + 1);
        }
    }
    Ok(oldest)
}

/// The numbers of a queue's first notification and of its last.
fn ends(db: &Databases, txn: &RoTxn<'_>, queue: QueueId) -> Result<Option<(u64, u64)>, ObjectError> {
    let number = |found: Option<(&[u8], &[u8])>| {
        let key = found.map(|(key, _)| key).filter(|key| key.starts_with(queue.as_bytes()))?;
        key.last_chunk::<8>().map(|number| u64::from_be_bytes(*number))
    };
    let first = db.outbox.get_greater_than_or_equal_to(txn, &lies(queue, 0)).map_err(failed)?;
    let last = db.outbox.get_lower_than_or_equal_to(txn, &lies(queue, u64::MAX)).map_err(failed)?;
    Ok(number(first).zip(number(last)))
}

fn batch(db: &Databases, txn: &RoTxn<'_>, queue: QueueId) -> Result<Batch, ObjectError> {
    let (mut batch, mut octets) = (Batch::default(), 0);
    let range = (Bound::Included(&queue.as_bytes()[..]), Bound::Unbounded);
    for found in db.outbox.range(txn, &range).map_err(failed)?.take(QUEUE_SEND_MESSAGES_MAX) {
        let (key, row) = found.map_err(failed)?;
        if !key.starts_with(queue.as_bytes()) {
            break;
        }
        // One that is damaged goes with the others.
        if let Ok(NotificationRow { account, message, .. }) = decode::<NotificationRow>(key, row) {
            octets += message.len();
            if octets > QUEUE_SEND_OCTETS_MAX {
                break;
            }
            batch.account = Some(AccountId::from_bytes(account));
            let (content_type, body) = (QueueContentType::Json, message.into_bytes().into());
            batch.messages.push(QueueMessage { content_type, body, delay_seconds: None });
        }
        batch.rows.push((key.to_vec(), row.to_vec()));
    }
    Ok(batch)
}

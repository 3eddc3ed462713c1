//! What each change of an object needs of its bucket, read once for each time that the bucket changes, and not for each object: on the
//! thread that writes, all others wait for it.

use std::sync::Arc;

use proxima_ledger::{ReadError, Seq, Snapshot};
use proxima_model::{AccountId, Bucket, BucketName, BucketTag, Entity};
use proxima_pipeline::Notifications;
use quick_cache::sync::Cache;

/// Buckets that are remembered. One with as many rules as may be, of the longest keys, takes some 200 KiB.
const REMEMBERED_MAX: usize = 256;

/// Whose a bucket is, and who is told of what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) account: AccountId,
    pub(crate) name: BucketName,
    pub(crate) tag: BucketTag,
    pub(crate) notifications: Notifications,
}

impl Known {
    pub(crate) fn of(bucket: &Bucket) -> Arc<Self> {
        let notifications = Notifications::kept(bucket.notifications.as_ref());
        Arc::new(Self { account: bucket.account, name: bucket.name.clone(), tag: bucket.tag, notifications })
    }
}

/// What was read of buckets, and in which revision.
pub(crate) struct Remembered(Cache<BucketTag, (Seq, Arc<Known>)>);

impl Default for Remembered {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED_MAX))
    }
}

impl Remembered {
    /// This very bucket, as it is in a state.
    pub(crate) fn find(&self, state: &Snapshot, bucket: &Bucket) -> Result<Option<Arc<Known>>, ReadError> {
        let revision = state.revision(&bucket.key())?;
        if let (Some(revision), Some((of, known))) = (revision, self.0.get(&bucket.tag))
            && of == revision
        {
            return Ok(Some(known));
        }
        let found = state.get_with_revision::<Bucket>(&(bucket.account, bucket.name.clone()))?;
        let found = found.filter(|(found, _)| found.tag == bucket.tag);
        Ok(found.map(|(found, revision)| {
            let known = Known::of(&found);
            self.0.insert(known.tag, (revision, Arc::clone(&known)));
            known
        }))
    }
}

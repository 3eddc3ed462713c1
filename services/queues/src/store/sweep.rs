//! Upkeep: messages that are too old, and those of queues that are gone. Each replica does it by itself, from what the log says.
//! Bounded: each call does so many messages at most, in one transaction, and says how many.

use std::ops::Bound::{Excluded, Unbounded};

use proxima_model::QueueId;

use super::{Store, StoreError};
use crate::message::MessageId;

/// Messages of one transaction.
pub(crate) const SWEPT_AT_ONCE: usize = 1_000;

impl Store {
    /// Messages of a queue that were sent before this one go; all, if none is given.
    pub(crate) fn sweep(&self, queue: QueueId, before: Option<MessageId>) -> Result<usize, StoreError> {
        // Most of the time there is nothing, and nothing to wait for.
        let sent = (Unbounded, before.map_or(Unbounded, Excluded));
        let found = self.ids(&*self.env.read_txn()?, queue, sent, SWEPT_AT_ONCE)?;
        if found.is_empty() {
            return Ok(0);
        }
        let mut txn = self.env.write_txn()?;
        for id in &found {
            self.remove(&mut txn, queue, *id)?;
        }
        txn.commit()?;
        Ok(found.len())
    }
}

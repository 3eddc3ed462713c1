//! Following a replica: the entries after a cursor, then those to come.
//!
//! A follower costs its upstream no queue: it is woken by the watched sequence number and reads what it lacks from the
//! log, as much at a time as is bounded. A slow one reads later, or is dropped by whoever writes to it.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{StreamExt as _, stream::BoxStream};
use tokio::{sync::watch, time::Instant};

use crate::{
    Entry, FollowError, ReadError, Replica, Seq, Update, codec,
    limits::{HEARTBEAT_INTERVAL, TAIL_ENTRIES_MAX, TAIL_OCTETS},
};

/// A cursor on a replica's log.
pub(crate) struct Tail {
    replica: Replica,
    applied: watch::Receiver<Seq>,
    cursor: Seq,
    heartbeat_due: Instant,
}

/// What comes next.
pub(crate) enum Next {
    /// Encodings of entries, in order and without a gap; never empty.
    Entries(Vec<Vec<u8>>),
    /// Nothing new; the last entry here is this one.
    Heartbeat(Seq),
}

impl Tail {
    /// The entries after `from`. Refused if they are not kept.
    pub(crate) fn new(replica: Replica, from: Seq) -> Result<Self, FollowError> {
        let applied = replica.watch();
        crate::history::within(&replica.head()?, from)?;
        Ok(Self { replica, applied, cursor: from, heartbeat_due: Instant::now() })
    }

    /// Waits for entries, or until a heartbeat is due. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Next, FollowError> {
        loop {
            let last = *self.applied.borrow_and_update();
            // Also amid many entries: only a heartbeat tells how far the log is.
            if Instant::now() >= self.heartbeat_due {
                self.heartbeat_due = Instant::now() + HEARTBEAT_INTERVAL;
                // A damaged replica has no business saying that all is well.
                self.replica.store()?;
                return Ok(Next::Heartbeat(last));
            }
            if last > self.cursor {
                let entries = self.replica.tail(self.cursor, TAIL_ENTRIES_MAX, TAIL_OCTETS)?;
                if !entries.is_empty() {
                    self.cursor = Seq(self.cursor.0 + entries.len() as u64);
                    return Ok(Next::Entries(entries));
                }
            }
            // The sender lives in the replica that is held here, so a change is all that can come of it.
            tokio::select! {
                _ = self.applied.changed() => {}
                () = tokio::time::sleep_until(self.heartbeat_due) => {}
            }
        }
    }
}

/// The entries after `from` and those to come, decoded.
pub(crate) fn follow(
    replica: Replica,
    from: Seq,
) -> Result<BoxStream<'static, Result<Update, FollowError>>, FollowError> {
    let tail = Tail::new(replica, from)?;
    let state = (tail, VecDeque::new(), false);
    let stream = futures_util::stream::unfold(state, |(mut tail, mut ready, failed)| async move {
        if failed {
            return None;
        }
        loop {
            if let Some(entry) = ready.pop_front() {
                return Some((Ok(Update::Entry(entry)), (tail, ready, false)));
            }
            match tail.next().await.and_then(decode) {
                Ok(Decoded::Entries(entries)) => ready.extend(entries),
                Ok(Decoded::Heartbeat(last)) => {
                    return Some((Ok(Update::Heartbeat(last)), (tail, ready, false)));
                }
                Err(error) => return Some((Err(error), (tail, ready, true))),
            }
        }
    });
    Ok(stream.boxed())
}

enum Decoded {
    Entries(Vec<Arc<Entry>>),
    Heartbeat(Seq),
}

fn decode(next: Next) -> Result<Decoded, FollowError> {
    match next {
        Next::Heartbeat(last) => Ok(Decoded::Heartbeat(last)),
        Next::Entries(entries) => {
            let decoded = entries.iter().map(|octets| codec::decode_entry(octets).map(Arc::new)).collect();
            let decoded: Result<Vec<_>, _> = decoded;
            decoded.map(Decoded::Entries).map_err(|error| {
                FollowError::Read(ReadError::Corrupt(format!("an entry cannot be read: {error}")))
            })
        }
    }
}

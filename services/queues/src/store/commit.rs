//! Writing: what has come in one moment is written by one transaction, and is on the disk when it returns.

use std::{
    collections::HashSet,
    ops::Bound::{Excluded, Unbounded},
};

use heed::RwTxn;
use proxima_model::{NodeName, QueueId, Timestamp};
use proxima_pipeline::QueueBacklog;
use proxima_store::{Commit, FileUse, Outcome, StoreId};

use super::{
    SIXTEENTHS_FOR_MESSAGES, SIXTEENTHS_FOR_STATES, Store, StoreError,
    outbox::{TellingAll, Told},
};
use crate::{
    message::{Lease, Message, MessageId, State},
    wire::{Counts, Numbered, Operation},
};

/// What is to be written, whole or not at all. Where another server has the queue too, it is to be told.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// Messages of clients.
    Put(Put),
    /// What became of messages.
    Settle { queue: QueueId, settles: Vec<Settle>, other: Option<NodeName> },
    /// Messages that are due are taken until a time.
    Lease { queue: QueueId, count: usize, until_ms: i64, other: Option<NodeName> },
    /// So many messages go that were sent before.
    Purge { queue: QueueId, before: MessageId, count: usize, other: Option<NodeName> },
    /// So many messages are told anew to another server that has the queue too, from one on; it has been told all then, if there are
    /// fewer.
    TellAnew { queue: QueueId, other: NodeName, after: Option<MessageId>, count: usize },
    /// What another server has done.
    Take { from: NodeName, store: StoreId, operations: Vec<Numbered> },
    /// What another server was told, up to a number, it has done.
    Confirmed { server: NodeName, up_to: u64 },
    /// Another server is there, with this store: if it is not the one that it had, it has nothing of what it was told.
    Met { server: NodeName, store: StoreId },
    /// Another server did not take all that it was told of these queues.
    Untaken { server: NodeName, queues: HashSet<QueueId> },
}

/// See [`Job::Put`].
#[derive(Clone, Debug)]
pub(crate) struct Put {
    pub(crate) queue: QueueId,
    pub(crate) messages: Vec<Message>,
    pub(crate) other: Option<NodeName>,
    /// Octets that the queue may have.
    pub(crate) octets_max: u64,
}

/// What takes room.
#[derive(Clone, Copy)]
enum Taking {
    /// Messages of so many octets.
    Messages(u64),
    /// How messages stand.
    States,
}

/// What is to become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settle {
    pub(crate) lease: Lease,
    pub(crate) change: Change,
}

impl Settle {
    /// A message is to go, however often it was delivered.
    pub(crate) const fn gone(id: MessageId) -> Self {
        Self { lease: Lease { id, attempts: u32::MAX }, change: Change::Delete }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Delete,
    Again(State),
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// What waits in the queue then, of [`Job::Put`] and [`Job::Lease`].
    pub(crate) backlog: QueueBacklog,
    /// The last number under which the other server is told of it, if it is.
    pub(crate) number: Option<u64>,
    /// Of [`Job::Settle`].
    pub(crate) counts: Counts,
    /// Of [`Job::Settle`]: the places of those whose leases had run out.
    pub(crate) stale: Vec<usize>,
    /// Of [`Job::TellAnew`]: the last message.
    pub(crate) last: Option<MessageId>,
    /// Of [`Job::Lease`].
    pub(crate) leased: Vec<Message>,
    /// Messages that are written, or gone, by this.
    pub(crate) messages: usize,
    /// Whether something was left out for want of room: messages of [`Job::Take`], and of [`Job::Settle`] that messages are to be
    /// delivered again.
    pub(crate) lacked_room: bool,
    /// Of [`Job::Take`]: the queues that have changed.
    pub(crate) queues: HashSet<QueueId>,
}

impl Commit for Store {
    type Job = Job;
    type Done = Done;
    type Error = StoreError;

    fn try_commit(&self, jobs: &[Job], now: Timestamp) -> Result<Vec<Outcome<Self>>, StoreError> {
        self.write_all(jobs, now).map_err(|error| self.explain(error))
    }
}

impl Store {
    fn write_all(&self, jobs: &[Job], now: Timestamp) -> Result<Vec<Outcome<Self>>, StoreError> {
        let mut txn = self.env.write_txn()?;
        let done = jobs.iter().map(|job| self.perform(&mut txn, job, now)).collect::<Result<_, _>>()?;
        txn.commit()?;
        Ok(done)
    }

    fn perform(&self, txn: &mut RwTxn<'_>, job: &Job, now: Timestamp) -> Result<Outcome<Self>, StoreError> {
        if let Some(refusal) = self.refusal(txn, job)? {
            return Ok(Err(refusal));
        }
        let done = match job {
            Job::Put(put) => self.put_all(txn, put)?,
            Job::Settle { queue, settles, other } => self.settle(txn, *queue, settles, other.as_ref())?,
            Job::Lease { queue, count, until_ms, other } => {
                let mut done = Done::default();
                for mut message in self.ready_in(txn, *queue, now, *count, &HashSet::new())? {
                    let attempts = message.state.attempts.saturating_add(1);
                    message.state = State { due_ms: *until_ms, attempts };
                    self.change(txn, *queue, message.id, message.state)?;
                    done.number = self.tell(txn, other.as_ref(), Told::Change(*queue, message.id))?;
                    done.leased.push(message);
                }
                done.backlog = self.backlog_in(txn, *queue)?;
                done
            }
            Job::Purge { queue, before, count, other } => {
                let mut done = Done::default();
                for id in self.ids(txn, *queue, (Unbounded, Excluded(*before)), *count)? {
                    self.remove(txn, *queue, id)?;
                    done.messages += 1;
                    done.number = self.tell(txn, other.as_ref(), Told::Delete(*queue, id))?;
                }
                done
            }
            Job::TellAnew { queue, other, after, count } => {
                self.tell_anew(txn, (*queue, other), *after, *count)?
            }
            Job::Take { from, store, operations } => self.take(txn, (from, *store), operations)?,
            Job::Met { server, store } => {
                self.met(txn, server, *store)?;
                Done::default()
            }
            Job::Untaken { server, queues } => {
                self.note_untold(txn, server, Some(queues))?;
                Done::default()
            }
            Job::Confirmed { server, up_to } => {
                self.forget_told(txn, server, *up_to)?;
                Done::default()
            }
        };
        Ok(Ok(done))
    }

    /// Why a job is not begun: for want of room, if it takes some. What gives room is always begun.
    fn refusal(&self, txn: &RwTxn<'_>, job: &Job) -> Result<Option<StoreError>, StoreError> {
        match job {
            Job::Put(put) => {
                let octets: u64 = put.messages.iter().map(|message| message.body.len() as u64).sum();
                let octets_max = put.octets_max;
                if self.totals_in(txn, put.queue)?.octets.saturating_add(octets) > octets_max {
                    let problem =
                        format!("the queue has {octets_max} octets that wait already, as many as may be");
                    return Ok(Some(StoreError::Full(problem)));
                }
                self.lack_of_room(txn, Taking::Messages(octets))
            }
            Job::Lease { .. } | Job::TellAnew { .. } => self.lack_of_room(txn, Taking::States),
            Job::Settle { .. }
            | Job::Purge { .. }
            | Job::Take { .. }
            | Job::Confirmed { .. }
            | Job::Met { .. }
            | Job::Untaken { .. } => Ok(None),
        }
    }

    fn put_all(&self, txn: &mut RwTxn<'_>, put: &Put) -> Result<Done, StoreError> {
        let Put { queue, messages, other, .. } = put;
        let mut done = Done { messages: messages.len(), ..Done::default() };
        for message in messages {
            self.put(txn, *queue, message, other.as_ref())?;
            done.number = self.tell(txn, other.as_ref(), Told::Put(*queue, message.id))?;
        }
        done.backlog = self.backlog_in(txn, *queue)?;
        Ok(done)
    }

    /// What is of a lease that has run out, since somebody else got the message meanwhile, is not done.
    fn settle(
        &self,
        txn: &mut RwTxn<'_>,
        queue: QueueId,
        settles: &[Settle],
        other: Option<&NodeName>,
    ) -> Result<Done, StoreError> {
        let mut done = Done::default();
        // What goes gives room for what stays.
        let goes = |(_, settle): &(usize, &Settle)| settle.change == Change::Delete;
        let settles = || settles.iter().enumerate();
        for (place, Settle { lease, change }) in
            settles().filter(goes).chain(settles().filter(|it| !goes(it)))
        {
            let row = self.row(txn, queue, lease.id)?;
            if row.is_none_or(|row| row.state.attempts > lease.attempts) {
                done.counts.stale += 1;
                done.stale.push(place);
                continue;
            }
            let told = match change {
                Change::Delete => {
                    self.remove(txn, queue, lease.id)?;
                    done.counts.acked += 1;
                    Told::Delete(queue, lease.id)
                }
                Change::Again(_) if self.lack_of_room(txn, Taking::States)?.is_some() => {
                    done.lacked_room = true;
                    continue;
                }
                Change::Again(state) => {
                    self.change(txn, queue, lease.id, *state)?;
                    done.counts.retried += 1;
                    Told::Change(queue, lease.id)
                }
            };
            done.number = self.tell(txn, other, told)?;
        }
        Ok(done)
    }

    fn take(
        &self,
        txn: &mut RwTxn<'_>,
        (from, store): (&NodeName, StoreId),
        operations: &[Numbered],
    ) -> Result<Done, StoreError> {
        let (mut taken, mut done) = (self.met(txn, from, store)?, Done::default());
        let mut lacked = self.lacked(txn, from, store)?;
        for Numbered { number, operation } in operations {
            // It has come before, and who told it may not have heard that there was no room.
            if *number <= taken {
                done.lacked_room |= *number <= lacked;
                continue;
            }
            taken = *number;
            match operation {
                Operation::Put(queue, message) => {
                    let octets = message.body.len() as u64;
                    if self.lack_of_room(txn, Taking::Messages(octets))?.is_some() {
                        (done.lacked_room, lacked) = (true, *number);
                        continue;
                    }
                    self.put(txn, QueueId::from_bytes(*queue), message, Some(from))?;
                    done.queues.insert(QueueId::from_bytes(*queue));
                }
                Operation::Change(queue, id, state) => {
                    self.change(txn, QueueId::from_bytes(*queue), *id, *state)?;
                }
                Operation::Delete(queue, id) => {
                    self.remove(txn, QueueId::from_bytes(*queue), *id)?;
                }
            }
            done.messages += 1;
        }
        self.note_taken(txn, from, store, (taken, lacked))?;
        Ok(done)
    }

    /// Tells another server of so many messages; of all, if there are fewer.
    fn tell_anew(
        &self,
        txn: &mut RwTxn<'_>,
        (queue, other): (QueueId, &NodeName),
        after: Option<MessageId>,
        count: usize,
    ) -> Result<Done, StoreError> {
        if after.is_none() {
            self.note_telling(txn, queue, other, TellingAll::Begun)?;
        }
        let ids = self.ids(txn, queue, (after.map_or(Unbounded, Excluded), Unbounded), count)?;
        let mut done = Done { messages: ids.len(), last: ids.last().copied(), ..Done::default() };
        for id in &ids {
            done.number = self.tell(txn, Some(other), Told::Put(queue, *id))?;
        }
        if ids.len() < count {
            self.note_telling(txn, queue, other, TellingAll::Ended)?;
        }
        Ok(done)
    }

    /// What is said where this has no room beside what there is, in the map or on the disk; nothing where it has.
    fn lack_of_room(&self, txn: &RwTxn<'_>, taking: Taking) -> Result<Option<StoreError>, StoreError> {
        let (octets, sixteenths) = match taking {
            Taking::Messages(octets) => (octets, SIXTEENTHS_FOR_MESSAGES),
            Taking::States => (0, SIXTEENTHS_FOR_STATES),
        };
        let (used, max) = (self.used(txn)?, self.octets_max / 16 * sixteenths);
        if used.saturating_add(usize::try_from(octets).unwrap_or(usize::MAX)) > max {
            let problem =
                format!("{used} of {max} octets are used; [queues] store_bytes_max says how many may be");
            return Ok(Some(StoreError::Full(problem)));
        }
        let of = FileUse { file: self.env.real_disk_size()?, used: used as u64 };
        let on_disk = match taking {
            Taking::Messages(octets) => self.space.check_growth(octets, of),
            Taking::States => self.space.check_small_growth(of),
        };
        Ok(on_disk.err().map(StoreError::from))
    }
}

//! What this server has of queues: one LMDB environment.
//!
//! | database | key | value |
//! |---|---|---|
//! | `states` | queue, message | when it is due, how often it was delivered, its length |
//! | `bodies` | queue, message | what its octets are, and they |
//! | `due` | queue, a time, message | nothing: messages in the order in which they are delivered |
//! | `totals` | queue | how many messages it has, their octets, and which other server has been told, or is being told, of all of them |
//! | `outbox` | another server, a number | what that one is to do after this one (`outbox.rs`) |
//! | `meta` | `id`, `next/SERVER`, `taken/SERVER` | the name of this store; the numbers that are given next, and that were taken last |
//!
//! Invariants:
//! * **Whole or not at all:** a message, its place in the order, the total and what the other replica is to be told are written by
//!   one transaction, which is on the disk when it returns. Of several jobs of one moment one is made (`commit.rs`).
//! * **What one store has told another is done there once and in order,** however often it comes.
//! * **Two processes may have it open:** on a graceful restart the next one begins before the former ends. Nothing of what a
//!   transaction decides by is kept in memory.
//!
//! Limits: octets ([`QueuesConfig::store_bytes_max`](crate::QueuesConfig)), of which an eighth is for what is not a message, and half of
//! that for what gives room, and for what LMDB copies; what is left of the disk ([`Space`]); rows of one transaction of upkeep; readers.

mod commit;
mod outbox;
mod sweep;

use std::{collections::HashSet, fs, io::Write as _, ops::Bound, path::Path};

use bytes::Bytes as Octets;
use heed::{Env, RoTxn, RwTxn, WithoutTls};
use proxima_model::{NodeName, QueueId, Timestamp, limits};
use proxima_pipeline::{QueueBacklog, QueueContentType, QueueError};
use proxima_store::{Db, Durability, Fault, Space, StoreId, used};

pub(crate) use self::commit::{Change, Done, Job, Put, Settle};
use crate::message::{Message, MessageId, State};

/// What may be used of the map by messages, in sixteenths.
const SIXTEENTHS_FOR_MESSAGES: usize = 14;
/// What may be used before no lease is given, and nothing is delivered again by a date of its own: while the other replica is away each
/// of these stays to be told. The rest is for what is done with, which must be possible where nothing else is since it gives room, and
/// for what LMDB copies of pages that others still read.
const SIXTEENTHS_FOR_STATES: usize = 15;
/// Octets of a queue's id.
const QUEUE_OCTETS: usize = 16;

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// Nothing more can be kept.
    #[error("{0}")]
    Full(String),
    /// It cannot be read or written.
    #[error("{0}")]
    Broken(String),
    /// What lies there is not what was written.
    #[error("what lies in the store of queues is damaged: {0}")]
    Damaged(&'static str),
    /// Too much is under way.
    #[error("too much is under way")]
    Busy,
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full(text) => Self::Full(text),
            Fault::Busy => Self::Busy,
            Fault::Broken(text) => Self::Broken(text),
        }
    }
}

impl From<heed::Error> for StoreError {
    fn from(error: heed::Error) -> Self {
        Fault::from(error).into()
    }
}

impl From<StoreError> for QueueError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(text) => Self::Full(text),
            StoreError::Broken(text) => Self::Broken(text),
            StoreError::Damaged(_) => Self::Broken(error.to_string()),
            StoreError::Busy => Self::Busy,
        }
    }
}

/// An open store.
pub(crate) struct Store {
    env: Env<WithoutTls>,
    states: Db,
    bodies: Db,
    due: Db,
    totals: Db,
    outbox: Db,
    meta: Db,
    octets_max: usize,
    space: Space,
    id: StoreId,
}

impl Store {
    /// Opens the store in this folder, or makes one.
    pub(crate) fn open(path: &Path, octets_max: u64, space: Space) -> Result<Self, StoreError> {
        fs::create_dir_all(path).map_err(Fault::from)?;
        let octets_max = usize::try_from(octets_max).unwrap_or(usize::MAX);
        let names = ["states", "bodies", "due", "totals", "outbox", "meta"];
        let (env, databases) =
            proxima_store::open(path, octets_max, Durability::Kept, names).map_err(Fault::from)?;
        let [states, bodies, due, totals, outbox, meta] = databases;
        let id = StoreId::settle(&env, meta)?.ok_or_else(|| damaged("its name"))?;
        Ok(Self { env, states, bodies, due, totals, outbox, meta, octets_max, space, id })
    }

    /// The name of this store, which it got when it was made.
    pub(crate) const fn id(&self) -> StoreId {
        self.id
    }

    /// Octets that are in use.
    pub(crate) fn octets(&self) -> Result<usize, StoreError> {
        Ok(self.used(&*self.env.read_txn()?)?)
    }

    /// Room on its disk.
    pub(crate) const fn space(&self) -> &Space {
        &self.space
    }

    /// What a transaction means that failed.
    pub(crate) fn explain(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Broken(text) => self.space.explain(Fault::Broken(text)).into(),
            error => error,
        }
    }

    fn used(&self, txn: &RoTxn<'_>) -> heed::Result<usize> {
        let Self { states, bodies, due, totals, outbox, .. } = self;
        let all = [states, bodies, due, totals, outbox];
        used(txn, all)
    }

    /// What waits in a queue.
    pub(crate) fn backlog(&self, queue: QueueId) -> Result<QueueBacklog, StoreError> {
        let txn = self.env.read_txn()?;
        self.backlog_in(&txn, queue)
    }

    fn backlog_in(&self, txn: &RoTxn<'_>, queue: QueueId) -> Result<QueueBacklog, StoreError> {
        let Totals { messages, octets, .. } = self.totals_in(txn, queue)?;
        let first = self.states.prefix_iter(txn, queue.as_bytes())?.next().transpose()?;
        let oldest = first.map(|(key, _)| id_of(key)).transpose()?;
        Ok(QueueBacklog { messages, octets, oldest: oldest.map(MessageId::sent_at) })
    }

    /// The messages that are due, the earliest first: so many at the most, and no more octets than may be, but for the first. Not
    /// those that are under way.
    pub(crate) fn ready(
        &self,
        queue: QueueId,
        now: Timestamp,
        count: usize,
        except: &HashSet<MessageId>,
    ) -> Result<Vec<Message>, StoreError> {
        self.ready_in(&*self.env.read_txn()?, queue, now, count, except)
    }

    fn ready_in(
        &self,
        txn: &RoTxn<'_>,
        queue: QueueId,
        now: Timestamp,
        count: usize,
        except: &HashSet<MessageId>,
    ) -> Result<Vec<Message>, StoreError> {
        let (mut found, mut octets) = (Vec::new(), 0);
        for entry in self.due.prefix_iter(txn, queue.as_bytes())? {
            let (due_ms, id) = due_of(entry?.0)?;
            if found.len() >= count || due_ms > now.as_millis() {
                break;
            }
            if except.contains(&id) {
                continue;
            }
            let message = self.message(txn, queue, id)?.ok_or_else(|| damaged("what is due is not there"))?;
            octets += message.body.len();
            if octets > proxima_pipeline::QUEUE_BATCH_OCTETS_MAX && !found.is_empty() {
                break;
            }
            found.push(message);
        }
        Ok(found)
    }

    /// Those of the messages that come next which were delivered more often than so.
    pub(crate) fn exhausted(
        &self,
        queue: QueueId,
        now: Timestamp,
        count: usize,
        attempts_max: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let txn = self.env.read_txn()?;
        let (mut found, mut octets) = (Vec::new(), 0);
        for entry in self.due.prefix_iter(&txn, queue.as_bytes())?.take(count) {
            let (due_ms, id) = due_of(entry?.0)?;
            if due_ms > now.as_millis() || octets > proxima_pipeline::QUEUE_BATCH_OCTETS_MAX {
                break;
            }
            let row = self.row(&txn, queue, id)?.ok_or_else(|| damaged("what is due is not there"))?;
            if row.state.attempts > attempts_max {
                octets += row.octets as usize;
                found.extend(self.message(&txn, queue, id)?);
            }
        }
        Ok(found)
    }

    /// When the first message is due that is not under way, if there is one.
    pub(crate) fn next_due(
        &self,
        queue: QueueId,
        except: &HashSet<MessageId>,
    ) -> Result<Option<i64>, StoreError> {
        let txn = self.env.read_txn()?;
        for entry in self.due.prefix_iter(&txn, queue.as_bytes())? {
            let (due_ms, id) = due_of(entry?.0)?;
            if !except.contains(&id) {
                return Ok(Some(due_ms));
            }
        }
        Ok(None)
    }

    /// The queues that have messages here.
    pub(crate) fn queues(&self) -> Result<Vec<QueueId>, StoreError> {
        let txn = self.env.read_txn()?;
        let read = |entry: heed::Result<(&[u8], &[u8])>| {
            let id: [u8; QUEUE_OCTETS] = entry?.0.try_into().map_err(|_| damaged("a total"))?;
            Ok(QueueId::from_bytes(id))
        };
        self.totals.iter(&txn)?.map(read).collect()
    }

    /// How many messages lie here.
    pub(crate) fn messages(&self) -> Result<u64, StoreError> {
        let txn = self.env.read_txn()?;
        Ok(self.states.len(&txn)?)
    }

    fn totals_in(&self, txn: &RoTxn<'_>, queue: QueueId) -> Result<Totals, StoreError> {
        self.totals.get(txn, queue.as_bytes())?.map_or(Ok(Totals::default()), Totals::read)
    }

    fn row(&self, txn: &RoTxn<'_>, queue: QueueId, id: MessageId) -> Result<Option<Row>, StoreError> {
        self.states.get(txn, &key(queue, id))?.map(Row::read).transpose()
    }

    /// A message as it is stored.
    fn message(&self, txn: &RoTxn<'_>, queue: QueueId, id: MessageId) -> Result<Option<Message>, StoreError> {
        let Some(row) = self.row(txn, queue, id)? else { return Ok(None) };
        let body = self.bodies.get(txn, &key(queue, id))?.ok_or_else(|| damaged("a message without body"))?;
        let (kind, body) = body.split_first().ok_or_else(|| damaged("a body"))?;
        if body.len() != row.octets as usize {
            return Err(damaged("a body's end"));
        }
        let content_type = content_type(*kind)?;
        Ok(Some(Message { id, state: row.state, content_type, body: Octets::copy_from_slice(body) }))
    }

    /// Puts a message, or what has become of one.
    fn put(
        &self,
        txn: &mut RwTxn<'_>,
        queue: QueueId,
        message: &Message,
        other: Option<&NodeName>,
    ) -> Result<(), StoreError> {
        self.remove(txn, queue, message.id)?;
        let octets = u32::try_from(message.body.len()).expect("a message has at most 128,000 octets");
        let row = Row { state: message.state, octets };
        self.states.put(txn, &key(queue, message.id), &row.write())?;
        let kind = kind_of(message.content_type);
        self.bodies.put_reserved(txn, &key(queue, message.id), message.body.len() + 1, |body| {
            body.write_all(&[kind])?;
            body.write_all(&message.body)
        })?;
        self.due.put(txn, &due_key(queue, message.state.due_ms, message.id), &[])?;
        let mut totals = self.totals_in(txn, queue)?;
        if totals.messages == 0 {
            totals.other = other.map_or_else(Vec::new, |other| other.as_str().into());
        }
        totals.messages += 1;
        totals.octets += u64::from(octets);
        Ok(self.totals.put(txn, queue.as_bytes(), &totals.write())?)
    }

    /// Changes how a message stands; whether it is there.
    fn change(
        &self,
        txn: &mut RwTxn<'_>,
        queue: QueueId,
        id: MessageId,
        state: State,
    ) -> Result<bool, StoreError> {
        let Some(row) = self.row(txn, queue, id)? else { return Ok(false) };
        self.due.delete(txn, &due_key(queue, row.state.due_ms, id))?;
        self.due.put(txn, &due_key(queue, state.due_ms, id), &[])?;
        self.states.put(txn, &key(queue, id), &Row { state, ..row }.write())?;
        Ok(true)
    }

    /// Takes a message away; whether it was there.
    fn remove(&self, txn: &mut RwTxn<'_>, queue: QueueId, id: MessageId) -> Result<bool, StoreError> {
        let Some(row) = self.row(txn, queue, id)? else { return Ok(false) };
        self.due.delete(txn, &due_key(queue, row.state.due_ms, id))?;
        self.bodies.delete(txn, &key(queue, id))?;
        self.states.delete(txn, &key(queue, id))?;
        let mut totals = self.totals_in(txn, queue)?;
        totals.messages = totals.messages.saturating_sub(1);
        totals.octets = totals.octets.saturating_sub(row.octets.into());
        if totals.messages == 0 {
            self.totals.delete(txn, queue.as_bytes())?;
        } else {
            self.totals.put(txn, queue.as_bytes(), &totals.write())?;
        }
        Ok(true)
    }

    /// Whether another server has been told of all messages of a queue.
    pub(crate) fn is_told(&self, queue: QueueId, other: &NodeName) -> Result<bool, StoreError> {
        let totals = self.totals_in(&*self.env.read_txn()?, queue)?;
        Ok(totals.messages == 0 || totals.other == other.as_str().as_bytes())
    }

    /// The oldest messages of a queue, as many as may be sent at once.
    pub(crate) fn oldest(&self, queue: QueueId) -> Result<Vec<Message>, StoreError> {
        let txn = self.env.read_txn()?;
        let (mut found, mut octets) = (Vec::new(), 0);
        let all = (Bound::Unbounded, Bound::Unbounded);
        for id in self.ids(&txn, queue, all, limits::QUEUE_SEND_MESSAGES_MAX)? {
            let message = self.message(&txn, queue, id)?.ok_or_else(|| damaged("a state without message"))?;
            octets += message.body.len();
            if octets > limits::QUEUE_SEND_OCTETS_MAX && !found.is_empty() {
                break;
            }
            found.push(message);
        }
        Ok(found)
    }

    /// The ids of messages of a queue from one to another, the oldest first.
    fn ids(
        &self,
        txn: &RoTxn<'_>,
        queue: QueueId,
        (begin, end): (Bound<MessageId>, Bound<MessageId>),
        count: usize,
    ) -> Result<Vec<MessageId>, StoreError> {
        let key_of = |bound: Bound<MessageId>, otherwise: u8| match bound {
            Bound::Unbounded => Bound::Included(key(queue, MessageId::from_octets([otherwise; 16]))),
            bound => bound.map(|id| key(queue, id)),
        };
        let (begin, end) = (key_of(begin, 0), key_of(end, 0xFF));
        let bounds = (begin.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
        self.states.range(txn, &bounds)?.take(count).map(|entry| id_of(entry?.0)).collect()
    }
}

/// What is written of a message beside its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    state: State,
    octets: u32,
}

impl Row {
    fn read(octets: &[u8]) -> Result<Self, StoreError> {
        let (due_ms, rest) = octets.split_first_chunk().ok_or_else(|| damaged("a state"))?;
        let (attempts, rest) = rest.split_first_chunk().ok_or_else(|| damaged("a state"))?;
        let octets = u32::from_be_bytes(rest.try_into().map_err(|_| damaged("a state"))?);
        if octets as usize > limits::QUEUE_MESSAGE_OCTETS_MAX {
            return Err(damaged("a message's length"));
        }
        let state = State { due_ms: i64::from_be_bytes(*due_ms), attempts: u32::from_be_bytes(*attempts) };
        Ok(Self { state, octets })
    }

    fn write(&self) -> Vec<u8> {
        let State { due_ms, attempts } = self.state;
        [&due_ms.to_be_bytes()[..], &attempts.to_be_bytes(), &self.octets.to_be_bytes()].concat()
    }
}

/// What a queue has.
#[derive(Clone, Debug, Default)]
struct Totals {
    messages: u64,
    octets: u64,
    /// The name of the other server that has been told of all of them, or is to be; before it a sign while they are told anew.
    other: Vec<u8>,
}

impl Totals {
    fn read(octets: &[u8]) -> Result<Self, StoreError> {
        let (messages, rest) = octets.split_first_chunk().ok_or_else(|| damaged("a total"))?;
        let (octets, other) = rest.split_first_chunk().ok_or_else(|| damaged("a total"))?;
        let [messages, octets] = [messages, octets].map(|number| u64::from_be_bytes(*number));
        Ok(Self { messages, octets, other: other.to_vec() })
    }

    fn write(&self) -> Vec<u8> {
        [&self.messages.to_be_bytes()[..], &self.octets.to_be_bytes(), &self.other].concat()
    }
}

fn key(queue: QueueId, id: MessageId) -> Vec<u8> {
    [&queue.as_bytes()[..], id.octets()].concat()
}

fn id_of(key: &[u8]) -> Result<MessageId, StoreError> {
    let id = key.get(QUEUE_OCTETS..).and_then(|id| id.try_into().ok());
    id.map(MessageId::from_octets).ok_or_else(|| damaged("a message's key"))
}

fn due_key(queue: QueueId, due_ms: i64, id: MessageId) -> Vec<u8> {
    let due = u64::try_from(due_ms).unwrap_or_default().to_be_bytes();
    [&queue.as_bytes()[..], &due, id.octets()].concat()
}

fn due_of(key: &[u8]) -> Result<(i64, MessageId), StoreError> {
    let rest = key.get(QUEUE_OCTETS..).ok_or_else(|| damaged("what is due"))?;
    let (due, id) = rest.split_first_chunk().ok_or_else(|| damaged("what is due"))?;
    let id = id.try_into().map_err(|_| damaged("what is due"))?;
    Ok((i64::try_from(u64::from_be_bytes(*due)).unwrap_or(i64::MAX), MessageId::from_octets(id)))
}

const fn kind_of(content_type: QueueContentType) -> u8 {
    match content_type {
        QueueContentType::Json => 0,
        QueueContentType::Text => 1,
        QueueContentType::Bytes => 2,
        QueueContentType::V8 => 3,
    }
}

const fn content_type(kind: u8) -> Result<QueueContentType, StoreError> {
    Ok(match kind {
        0 => QueueContentType::Json,
        1 => QueueContentType::Text,
        2 => QueueContentType::Bytes,
        3 => QueueContentType::V8,
        _ => return Err(damaged("a content type")),
    })
}

const fn damaged(what: &'static str) -> StoreError {
    StoreError::Damaged(what)
}

#[cfg(test)]
mod tests;

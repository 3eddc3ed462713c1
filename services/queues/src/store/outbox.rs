//! What another server is still to do after this one: in the order in which it was done here, each under a number of its own.
//!
//! What lies there names messages, and has none: one that is gone when it is told is passed over, since its deletion follows. A
//! number is taken once: who is told goes by the last that it has taken, of this store.

use std::{
    collections::HashSet,
    iter,
    ops::Bound::{Excluded, Included, Unbounded},
};

use heed::{RoTxn, RwTxn};
use proxima_model::{NodeName, QueueId};
use proxima_store::StoreId;

use super::{Store, StoreError, Totals, damaged};
use crate::{
    message::MessageId,
    wire::{Numbered, OPERATIONS_MAX, OPERATIONS_OCTETS_MAX, Operation},
};

/// Ends a server's name in a key. No name has it.
const END: u8 = 0;
/// Before a server's name: it is being told of all messages of a queue. No name has it.
const TELLING: u8 = b'+';

/// How far it is with telling a server of all messages of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TellingAll {
    Begun,
    /// All are told. It does not count if it was found meanwhile that the server has not taken them ([`Store::note_untold`]).
    Ended,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Put(QueueId, MessageId),
    Change(QueueId, MessageId),
    Delete(QueueId, MessageId),
}

impl Told {
    fn write(self) -> Vec<u8> {
        let (kind, queue, id) = match self {
            Self::Put(queue, id) => (0, queue, id),
            Self::Change(queue, id) => (1, queue, id),
            Self::Delete(queue, id) => (2, queue, id),
        };
        [&[kind][..], queue.as_bytes(), id.octets()].concat()
    }

    fn read(octets: &[u8]) -> Option<Self> {
        let (kind, rest) = octets.split_first()?;
        let (queue, id) = rest.split_first_chunk()?;
        let (queue, id) = (QueueId::from_bytes(*queue), MessageId::from_octets(id.try_into().ok()?));
        match kind {
            0 => Some(Self::Put(queue, id)),
            1 => Some(Self::Change(queue, id)),
            2 => Some(Self::Delete(queue, id)),
            _ => None,
        }
    }
}

impl Store {
    /// What a server is to be told behind a number, and the number up to which it is told with that; none if there is nothing.
    pub(crate) fn to_tell(
        &self,
        server: &NodeName,
        after: u64,
    ) -> Result<Option<(Vec<Numbered>, u64)>, StoreError> {
        let txn = self.env.read_txn()?;
        let (mut operations, mut octets, mut up_to) = (Vec::new(), 0, None);
        let [begin, end] = [after, u64::MAX].map(|number| key(server, number));
        let bounds = (Excluded(&begin[..]), Included(&end[..]));
        for entry in self.outbox.range(&txn, &bounds)?.take(OPERATIONS_MAX) {
            let (key, told) = entry?;
            let number = number(key)?;
            let operation = match Told::read(told).ok_or_else(|| damaged("what is to be told"))? {
                Told::Put(queue, id) => {
                    let message = self.message(&txn, queue, id)?;
                    message.map(|message| Operation::Put(*queue.as_bytes(), message))
                }
                Told::Change(queue, id) => {
                    let row = self.row(&txn, queue, id)?;
                    row.map(|row| Operation::Change(*queue.as_bytes(), id, row.state))
                }
                Told::Delete(queue, id) => Some(Operation::Delete(*queue.as_bytes(), id)),
            };
            if let Some(Operation::Put(_, message)) = &operation {
                octets += message.body.len();
                if octets > OPERATIONS_OCTETS_MAX && !operations.is_empty() {
                    break;
                }
            }
            up_to = Some(number);
            operations.extend(operation.map(|operation| Numbered { number, operation }));
        }
        // What is not there any more was told by another process, which has this store open, too.
        let last = self.next(&txn, server)?.saturating_sub(1);
        let up_to = up_to.or_else(|| (last > after).then_some(last));
        Ok(up_to.map(|up_to| (operations, up_to)))
    }

    /// The last number that there is for a server, and how many wait.
    pub(crate) fn untold(&self, server: &NodeName) -> Result<(u64, u64), StoreError> {
        let txn = self.env.read_txn()?;
        let entries = self.outbox.prefix_iter(&txn, &prefix(server))?;
        let first = entries.move_between_keys().next().transpose()?;
        let Some((key, _)) = first else { return Ok((0, 0)) };
        let (first, last) = (number(key)?, self.next(&txn, server)?.saturating_sub(1));
        // Numbers have no gaps.
        Ok((last, (last + 1).saturating_sub(first)))
    }

    /// The last number that was taken of a server's store; none if it is not known to have this one.
    pub(crate) fn taken(&self, server: &NodeName, store: StoreId) -> Result<Option<u64>, StoreError> {
        let met = self.last_met(&*self.env.read_txn()?, server)?;
        Ok(met.filter(|(of, _)| *of == store).map(|(_, number)| number))
    }

    /// The last number of a server's store for which there was no room here; 0 if there always was.
    pub(super) fn lacked(
        &self,
        txn: &RoTxn<'_>,
        server: &NodeName,
        store: StoreId,
    ) -> Result<u64, StoreError> {
        let met = self.read_taken(txn, server)?.filter(|(of, ..)| *of == store);
        Ok(met.map_or(0, |(_, _, lacked)| lacked))
    }

    /// The store that a server had when it was met last, and the last number that was taken of that.
    fn last_met(&self, txn: &RoTxn<'_>, server: &NodeName) -> Result<Option<(StoreId, u64)>, StoreError> {
        Ok(self.read_taken(txn, server)?.map(|(of, taken, _)| (of, taken)))
    }

    /// The same, and the last number for which there was no room.
    fn read_taken(
        &self,
        txn: &RoTxn<'_>,
        server: &NodeName,
    ) -> Result<Option<(StoreId, u64, u64)>, StoreError> {
        let Some(value) = self.meta.get(txn, &taken_key(server))? else { return Ok(None) };
        let read = || {
            let (of, numbers) = value.split_first_chunk()?;
            let (taken, lacked) = numbers.split_first_chunk()?;
            let lacked = u64::from_be_bytes(lacked.try_into().ok()?);
            Some((StoreId::from_octets(*of), u64::from_be_bytes(*taken), lacked))
        };
        read().map(Some).ok_or_else(|| damaged("what was taken"))
    }

    /// A server has this store; the last number that was taken of it. If it had another one, that is lost with all that it was
    /// told: it is told anew.
    pub(super) fn met(
        &self,
        txn: &mut RwTxn<'_>,
        server: &NodeName,
        store: StoreId,
    ) -> Result<u64, StoreError> {
        let before = self.last_met(txn, server)?;
        if let Some((_, taken)) = before.filter(|(of, _)| *of == store) {
            return Ok(taken);
        }
        self.note_taken(txn, server, store, (0, 0))?;
        if before.is_some() {
            tracing::warn!(%server, "a server has lost its messages of queues; it is given what is here");
            self.note_untold(txn, server, None)?;
        }
        // Numbers of another store mean nothing.
        Ok(0)
    }

    /// A server has not all messages of these queues, or of all that it was told of.
    pub(super) fn note_untold(
        &self,
        txn: &mut RwTxn<'_>,
        server: &NodeName,
        queues: Option<&HashSet<QueueId>>,
    ) -> Result<(), StoreError> {
        let mut untold = Vec::new();
        for entry in self.totals.iter(txn)? {
            let (key, totals) = entry?;
            let totals = Totals::read(totals)?;
            let queue = key.try_into().map(QueueId::from_bytes).map_err(|_| damaged("a queue's key"))?;
            let is_meant = queues.is_none_or(|queues| queues.contains(&queue));
            let other = totals.other.strip_prefix(&[TELLING]).unwrap_or(&totals.other);
            if is_meant && other == server.as_str().as_bytes() {
                untold.push((queue, Totals { other: Vec::new(), ..totals }));
            }
        }
        for (queue, totals) in untold {
            self.totals.put(txn, queue.as_bytes(), &totals.write())?;
        }
        Ok(())
    }

    /// Notes how far it is with telling a server of all messages of a queue.
    pub(super) fn note_telling(
        &self,
        txn: &mut RwTxn<'_>,
        queue: QueueId,
        server: &NodeName,
        telling: TellingAll,
    ) -> Result<(), StoreError> {
        let mut totals = self.totals_in(txn, queue)?;
        let begun = [&[TELLING][..], server.as_str().as_bytes()].concat();
        if totals.messages == 0 || telling == TellingAll::Ended && totals.other != begun {
            return Ok(());
        }
        totals.other = match telling {
            TellingAll::Begun => begun,
            TellingAll::Ended => server.as_str().into(),
        };
        Ok(self.totals.put(txn, queue.as_bytes(), &totals.write())?)
    }

    /// Forgets what servers are to be told that are none of these, in bounds.
    pub(crate) fn forget_others(&self, servers: &[NodeName]) -> Result<(), StoreError> {
        // Most of the time there is nothing, and nothing to wait for.
        let gone = self.of_others(&*self.env.read_txn()?, servers)?;
        if gone.is_empty() {
            return Ok(());
        }
        let mut txn = self.env.write_txn()?;
        for key in &gone {
            self.outbox.delete(&mut txn, key)?;
        }
        Ok(txn.commit()?)
    }

    /// The keys of what is to be told to none of these servers. What these are to be told may be much, and is not looked at: only
    /// what lies before, between and behind it.
    fn of_others(&self, txn: &RoTxn<'_>, servers: &[NodeName]) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut known: Vec<_> =
            servers.iter().map(|server| (prefix(server), key(server, u64::MAX))).collect();
        known.sort_unstable();
        let begins = iter::once(Unbounded).chain(known.iter().map(|(_, last)| Excluded(&last[..])));
        let ends = known.iter().map(|(first, _)| Excluded(&first[..])).chain([Unbounded]);
        let mut found = Vec::new();
        for between in begins.zip(ends) {
            let left = super::sweep::SWEPT_AT_ONCE - found.len();
            for entry in self.outbox.range(txn, &between)?.take(left) {
                found.push(entry?.0.to_vec());
            }
        }
        Ok(found)
    }

    /// Notes what a server is to be told, if there is one; under which number.
    pub(super) fn tell(
        &self,
        txn: &mut RwTxn<'_>,
        server: Option<&NodeName>,
        told: Told,
    ) -> Result<Option<u64>, StoreError> {
        let Some(server) = server else { return Ok(None) };
        let number = self.next(txn, server)?;
        self.outbox.put(txn, &key(server, number), &told.write())?;
        self.meta.put(txn, &next_key(server), &(number + 1).to_be_bytes())?;
        Ok(Some(number))
    }

    pub(super) fn forget_told(
        &self,
        txn: &mut RwTxn<'_>,
        server: &NodeName,
        up_to: u64,
    ) -> Result<(), StoreError> {
        let [begin, end] = [0, up_to].map(|number| key(server, number));
        self.outbox.delete_range(txn, &(Included(&begin[..]), Included(&end[..])))?;
        Ok(())
    }

    pub(super) fn note_taken(
        &self,
        txn: &mut RwTxn<'_>,
        server: &NodeName,
        store: StoreId,
        (taken, lacked): (u64, u64),
    ) -> Result<(), StoreError> {
        let taken = [&store.as_octets()[..], &taken.to_be_bytes(), &lacked.to_be_bytes()].concat();
        Ok(self.meta.put(txn, &taken_key(server), &taken)?)
    }

    fn next(&self, txn: &RoTxn<'_>, server: &NodeName) -> Result<u64, StoreError> {
        let Some(next) = self.meta.get(txn, &next_key(server))? else { return Ok(1) };
        next.try_into().map(u64::from_be_bytes).map_err(|_| damaged("the next number"))
    }
}

fn prefix(server: &NodeName) -> Vec<u8> {
    [server.as_str().as_bytes(), &[END]].concat()
}

fn key(server: &NodeName, number: u64) -> Vec<u8> {
    [&prefix(server)[..], &number.to_be_bytes()].concat()
}

fn number(key: &[u8]) -> Result<u64, StoreError> {
    key.last_chunk().map(|number| u64::from_be_bytes(*number)).ok_or_else(|| damaged("what is to be told"))
}

fn next_key(server: &NodeName) -> Vec<u8> {
    [b"next/", server.as_str().as_bytes()].concat()
}

fn taken_key(server: &NodeName) -> Vec<u8> {
    [b"taken/", server.as_str().as_bytes()].concat()
}

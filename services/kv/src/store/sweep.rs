//! Upkeep: what has run out, deletions that nobody needs to be told any more, and what lies there of namespaces that are gone.
//! Bounded: each call does so many rows at most, in one transaction, and says whether there is more.

use std::sync::PoisonError;

use heed::{RoTxn, RwTxn};
use proxima_model::{KvKey, KvNamespaceId, Timestamp};

use super::{Store, StoreError, commit::Ledger, damaged, feed::Number, index::NAMESPACE_OCTETS, row::Row};

/// How long it is remembered that a key has nothing any more, in milliseconds: a week. A server that comes back after a longer
/// absence could bring back what was deleted meanwhile.
pub(crate) const DELETIONS_KEPT_MS: i64 = 7 * 24 * 3_600 * 1_000;
/// How long the values of a namespace are kept that the log does not name, in milliseconds: an hour. It may have been made a
/// moment ago, and the deletion of one may be reverted.
pub(crate) const NAMELESS_KEPT_MS: i64 = 3_600 * 1_000;
/// How long it is remembered that a namespace was swept, in milliseconds: as long as another server may be away and come back with
/// what it has of it.
const SWEPT_KEPT_MS: i64 = DELETIONS_KEPT_MS;
/// Rows of one transaction.
pub(crate) const SWEPT_AT_ONCE: usize = 1_000;

/// Under which key it is written when something is to be done about a row.
pub(super) fn due(row: &Row<'_>, number: Number) -> Option<Vec<u8>> {
    let at_ms = match &row.value {
        Some(about) => about.expires_ms?,
        None => row.gone_ms.saturating_add(DELETIONS_KEPT_MS),
    };
    Some([u64::try_from(at_ms).unwrap_or_default().to_be_bytes(), number.octets()].concat())
}

/// Whether it need not be remembered any more that something is gone since then.
pub(super) fn is_forgotten(gone_ms: i64, now: Timestamp) -> bool {
    gone_ms.saturating_add(DELETIONS_KEPT_MS) <= now.as_millis()
}

impl Store {
    /// What is due at this time: values that have run out become deletions, deletions that are old enough go. How many.
    pub(crate) fn sweep_due(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut txn = self.env.write_txn()?;
        let now_ms = u64::try_from(now.as_millis()).unwrap_or_default();
        let mut found = Vec::new();
        for entry in self.due.iter(&txn)?.take(SWEPT_AT_ONCE) {
            let (key, _) = entry?;
            // An entry that is cut short is due, whenever: it goes.
            if key.first_chunk().is_some_and(|at_ms| u64::from_be_bytes(*at_ms) > now_ms) {
                break;
            }
            found.push(key.to_vec());
        }
        let mut ledger = self.ledger(&txn)?;
        for entry in &found {
            match self.whole(&txn, entry) {
                Ok(number) => self.end(&mut txn, &mut ledger, number)?,
                // It would stop all upkeep at this place for ever.
                Err(error @ StoreError::Damaged(_)) => {
                    tracing::warn!(%error, "what was to be done about a row is forgotten");
                    self.due.delete(&mut txn, entry)?;
                }
                Err(error) => return Err(error),
            }
        }
        if !found.is_empty() {
            self.keep(&mut txn, &ledger)?;
            txn.commit()?;
        }
        Ok(found.len())
    }

    /// The number of the row that an entry of what is due speaks of, if that can be read with all that belongs to it: before
    /// anything of it is changed.
    fn whole(&self, txn: &RoTxn<'_>, entry: &[u8]) -> Result<Number, StoreError> {
        let (_, number) = entry.split_first_chunk::<8>().ok_or_else(|| damaged("what is due"))?;
        let number = Number(u64::from_be_bytes(number.try_into().map_err(|_| damaged("what is due"))?));
        let row = Row::read(self.row_octets(txn, number)?)?;
        let key = KvKey::parse(row.key).map_err(|_| damaged("a key"))?;
        for index in [&self.keys, &self.gone] {
            index.find(txn, (row.namespace(), &key))?;
        }
        Ok(number)
    }

    /// A row whose time has come.
    fn end(&self, txn: &mut RwTxn<'_>, ledger: &mut Ledger, number: Number) -> Result<(), StoreError> {
        let octets = self.row_octets(txn, number)?.to_vec();
        let row = Row::read(&octets)?;
        let Some(expires_ms) = row.value.and_then(|about| about.expires_ms) else {
            return self.remove(txn, number);
        };
        // As every server that has it does, so that none brings it back to another, nor what was there before it.
        let key = KvKey::parse(row.key).map_err(|_| damaged("a key"))?;
        let at = (row.namespace(), &key);
        self.remove(txn, number)?;
        let gone = Row { value: None, gone_ms: expires_ms, short: &[], ..row };
        self.rows.put(txn, &number.octets(), &gone.write()?)?;
        if let Some(due) = due(&gone, number) {
            self.due.put(txn, &due, &[])?;
        }
        self.gone.put(txn, at, number, &mut ledger.next)
    }

    /// Takes note of which namespaces with values are not among those that the log names, and sweeps one that has not been
    /// for long. How many rows were swept.
    pub(crate) fn sweep_nameless(
        &self,
        is_named: impl Fn(KvNamespaceId) -> bool,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let txn = self.env.read_txn()?;
        let there = self.namespaces(&txn)?;
        drop(txn);
        let Some(namespace) = self.over(&there, &is_named, now) else { return Ok(0) };
        let mut txn = self.env.write_txn()?;
        // Who writes looks whether it is named before: what was written before this transaction shows by that.
        if is_named(namespace) {
            return Ok(0);
        }
        let swept = self.sweep_namespace(&mut txn, namespace)?;
        self.swept.put(&mut txn, namespace.as_bytes(), &now.as_millis().to_be_bytes())?;
        txn.commit()?;
        Ok(swept)
    }

    /// Whether one that was swept is named again: its deletion was reverted, or this server was cut off from the log for longer
    /// than that. Others may have it still, and tell nothing that they have told: it is forgotten what was taken over from them.
    /// Not as soon as it is swept: it would be taken over again from who sweeps it a moment later, and by that one from here,
    /// and never be gone.
    pub(crate) fn revive(
        &self,
        is_named: impl Fn(KvNamespaceId) -> bool,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (mut over, mut is_back) = (Vec::new(), false);
        let txn = self.env.read_txn()?;
        for entry in self.swept.iter(&txn)? {
            let (id, at_ms) = entry?;
            let (id, at_ms) =
                id.first_chunk().zip(at_ms.first_chunk()).ok_or_else(|| damaged("what was swept"))?;
            let is_named = is_named(KvNamespaceId::from_bytes(*id));
            let is_old = i64::from_be_bytes(*at_ms).saturating_add(SWEPT_KEPT_MS) <= now.as_millis();
            if is_named || is_old {
                over.push(*id);
                is_back |= is_named;
            }
        }
        drop(txn);
        if over.is_empty() {
            return Ok(false);
        }
        let mut txn = self.env.write_txn()?;
        for id in over {
            self.swept.delete(&mut txn, &id)?;
        }
        if is_back {
            self.cursors.clear(&mut txn)?;
        }
        txn.commit()?;
        Ok(is_back)
    }

    /// One that has not been among them for long. This process counts by itself: while a server was away, a deletion may have
    /// been reverted of which its replica of the log does not know yet.
    fn over(
        &self,
        there: &[KvNamespaceId],
        is_named: impl Fn(KvNamespaceId) -> bool,
        now: Timestamp,
    ) -> Option<KvNamespaceId> {
        let nameless: Vec<_> = there.iter().filter(|namespace| !is_named(**namespace)).collect();
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        absent.retain(|namespace, _| nameless.binary_search(&namespace).is_ok());
        for namespace in nameless {
            absent.entry(*namespace).or_insert(now);
        }
        let is_over =
            |since: &Timestamp| now.as_millis().saturating_sub(since.as_millis()) >= NAMELESS_KEPT_MS;
        absent.iter().find(|(_, since)| is_over(since)).map(|(namespace, _)| *namespace)
    }

    fn sweep_namespace(&self, txn: &mut RwTxn<'_>, namespace: KvNamespaceId) -> Result<usize, StoreError> {
        let mut rows = Vec::new();
        for index in [&self.keys, &self.gone] {
            let left = SWEPT_AT_ONCE - rows.len();
            for found in index.scan(txn, namespace, &[], None)?.take(left) {
                rows.push(found?);
            }
        }
        for number in &rows {
            self.remove(txn, *number)?;
        }
        Ok(rows.len())
    }

    /// The namespaces with rows. Each costs two look-ups, however much is in it.
    fn namespaces(&self, txn: &RoTxn<'_>) -> Result<Vec<KvNamespaceId>, StoreError> {
        let mut all = Vec::new();
        let mut from = [0; NAMESPACE_OCTETS];
        loop {
            let found = [&self.keys, &self.gone].map(|index| index.namespace_from(txn, from));
            let [keys, gone] = found;
            let Some(namespace) = keys?.into_iter().chain(gone?).min() else { return Ok(all) };
            all.push(namespace);
            let Some(next) = u128::from_be_bytes(*namespace.as_bytes()).checked_add(1) else {
                return Ok(all);
            };
            from = next.to_be_bytes();
        }
    }
}

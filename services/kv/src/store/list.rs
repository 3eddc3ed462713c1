//! Keys in the order of their octets.

use proxima_model::{KvKey, KvNamespaceId, Timestamp};
use proxima_pipeline::{KvListed, KvListing, KvPage};

use super::{Store, StoreError, damaged, row::Row};

/// Keys of one page; what the v4 API gives at most.
pub(crate) const PAGE_KEYS_MAX: usize = 1_000;

impl Store {
    /// The keys of a namespace that are asked for, as they are at this time.
    pub(crate) fn list(
        &self,
        namespace: KvNamespaceId,
        asked: &KvListing,
        now: Timestamp,
    ) -> Result<KvPage, StoreError> {
        let (txn, limit) = (self.env.read_txn()?, asked.limit.min(PAGE_KEYS_MAX));
        let after = asked.after.as_ref().map(|key| key.as_str().as_bytes());
        let mut page = KvPage::default();
        for found in self.keys.scan(&txn, namespace, asked.prefix.as_bytes(), after)? {
            let row = Row::read(self.row_octets(&txn, found?)?)?;
            let Some(about) = row.value.filter(|about| !about.has_run_out(now)) else { continue };
            if page.keys.len() >= limit {
                page.has_more = true;
                break;
            }
            page.keys.push(KvListed {
                key: KvKey::parse(row.key).map_err(|_| damaged("a key"))?,
                metadata: about.metadata.map(Into::into),
                expires: about.expires(),
            });
        }
        Ok(page)
    }
}

//! Keys in the order of their octets.

use proxima_model::{KvKey, KvNamespaceId, Timestamp};
use proxima_pipeline::{KvListed, KvListing, KvPage};

use super::{LOOKED_AT_MAX, Store, StoreError, damaged, row::Row};

/// Keys of one page; what the v4 API gives at most.
pub(crate) const PAGE_KEYS_MAX: usize = 1_000;

/// What one look into the store gives of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Page(KvPage),
    /// No key yet, in as many rows as are looked at in one go: what has run out lies there until it is swept. It goes on behind
    /// this key.
    NoneUpTo(KvKey),
}

impl Store {
    /// The keys of a namespace that are asked for, as they are at this time. Fewer than that, where they lie among many that have
    /// run out.
    pub(crate) fn list(
        &self,
        namespace: KvNamespaceId,
        asked: &KvListing,
        now: Timestamp,
    ) -> Result<Part, StoreError> {
        let (txn, limit) = (self.env.read_txn()?, asked.limit.min(PAGE_KEYS_MAX));
        let after = asked.after.as_ref().map(|key| key.as_str().as_bytes());
        let mut page = KvPage::default();
        // A page without keys has no last one behind which the next could begin.
        if limit == 0 {
            return Ok(Part::Page(page));
        }
        let found = self.keys.scan(&txn, namespace, asked.prefix.as_bytes(), after)?;
        for (looked_at, number) in (1..).zip(found) {
            let row = Row::read(self.row_octets(&txn, number?)?)?;
            let key = || KvKey::parse(row.key).map_err(|_| damaged("a key"));
            let about = row.value.filter(|about| !about.has_run_out(now));
            if page.keys.len() >= limit && about.is_some() {
                page.has_more = true;
                break;
            }
            if let Some(about) = about {
                page.keys.push(KvListed {
                    key: key()?,
                    metadata: about.metadata.map(Into::into),
                    expires: about.expires(),
                });
            }
            if looked_at >= LOOKED_AT_MAX {
                if page.keys.is_empty() {
                    return Ok(Part::NoneUpTo(key()?));
                }
                page.has_more = true;
                break;
            }
        }
        Ok(Part::Page(page))
    }
}

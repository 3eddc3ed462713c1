//! Contents that are written with the version that needs them first, and deleted with the one that needs them last.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proxima_model::{
    AccountId, ContentHash, WorkerContent, WorkerContentUse, WorkerModule, WorkerUsage, WorkerVersion,
    limits as model_limits,
};

use crate::{
    api::write::Draft,
    error::{ApiError, Code},
};

/// How many versions more, or fewer, will need each content.
pub(super) struct Contents {
    account: AccountId,
    changes: BTreeMap<ContentHash, Change>,
}

#[derive(Default)]
struct Change {
    octets: u32,
    versions: i64,
}

impl Contents {
    /// Of this account, and none yet.
    pub(super) const fn of(account: AccountId) -> Self {
        Self { account, changes: BTreeMap::new() }
    }

    /// A version comes.
    pub(super) fn gain(&mut self, version: &WorkerVersion) {
        self.count(&version.modules, 1);
    }

    /// A version goes.
    pub(super) fn lose(&mut self, version: &WorkerVersion) {
        self.count(&version.modules, -1);
    }

    fn count(&mut self, modules: &[WorkerModule], versions: i64) {
        // A version needs a content once, however many of its modules have it.
        let each: BTreeSet<_> = modules.iter().map(|module| (module.hash, module.octets)).collect();
        for (hash, octets) in each {
            let change = self.changes.entry(hash).or_default();
            change.octets = octets;
            change.versions += versions;
        }
    }

    /// Writes what follows: pieces of what nobody needed, from `given`; the removal of what nobody needs any more.
    pub(super) fn write(
        self,
        draft: &mut Draft<'_>,
        given: &BTreeMap<ContentHash, Bytes>,
    ) -> Result<(), ApiError> {
        let account = self.account;
        let former = draft.read::<WorkerUsage>(&account)?.map_or(0, |usage| usage.octets);
        let mut octets = former;
        for (hash, change) in self.changes.into_iter().filter(|(_, change)| change.versions != 0) {
            let known = draft.read::<WorkerContentUse>(&(account, hash))?;
            let before = known.as_ref().map_or(0, |known| i64::from(known.versions));
            let after = u32::try_from(before + change.versions).unwrap_or(0);
            if known.is_none() && after > 0 {
                let content = given.get(&hash).ok_or_else(gone)?;
                WorkerContent::pieces(account, hash, content).for_each(|piece| draft.put(&piece));
                octets += u64::from(change.octets);
            }
            if after > 0 {
                draft.put(&WorkerContentUse { account, hash, octets: change.octets, versions: after });
            } else if known.is_some() {
                draft.delete::<WorkerContentUse>(&(account, hash));
                for piece in 0..WorkerContent::count(change.octets as usize) {
                    draft.delete::<WorkerContent>(&(account, hash, piece));
                }
                octets = octets.saturating_sub(u64::from(change.octets));
            }
        }
        if octets > former.max(model_limits::WORKER_OCTETS_PER_ACCOUNT_MAX) {
            let message = format!(
                "the Workers of an account have at most {} octets in all, and with this they would have {octets}: delete \
                 some that are not needed any more",
                model_limits::WORKER_OCTETS_PER_ACCOUNT_MAX
            );
            return Err(ApiError::new(Code::WorkerQuota, message));
        }
        draft.put(&WorkerUsage { account, octets });
        Ok(())
    }
}

/// A version names what is not there: the log breaks its promise.
fn gone() -> ApiError {
    tracing::error!("a content that a version of a Worker names is not in the log");
    ApiError::new(Code::Internal, "the content of a module is lost; upload it again")
}

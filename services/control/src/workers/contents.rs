//! Contents that are written with the version that needs them first, and deleted with the one that needs them last.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proxima_model::{
    AccountId, ContentHash, ContentRef, Entity, WorkerContent, WorkerContentUse, WorkerUsage, WorkerVersion,
    limits as model_limits,
};

use crate::{
    api::write::Draft,
    error::{ApiError, Code},
};

/// How many versions, assets and sessions more, or fewer, will need each content.
pub(super) struct Contents {
    account: AccountId,
    changes: BTreeMap<ContentHash, Change>,
    /// Whether assets may be without a name from now on, if that is to be said.
    assets_unnamed: Option<bool>,
}

#[derive(Default)]
struct Change {
    octets: u32,
    users: i64,
}

impl Contents {
    /// Of this account, and none yet.
    pub(super) const fn of(account: AccountId) -> Self {
        Self { account, changes: BTreeMap::new(), assets_unnamed: None }
    }

    /// A version comes.
    pub(super) fn gain(&mut self, version: &WorkerVersion) {
        self.count(version, 1);
    }

    /// A version goes.
    pub(super) fn lose(&mut self, version: &WorkerVersion) {
        self.count(version, -1);
        if version.assets.is_some() {
            self.unnamed();
        }
    }

    /// An asset or a session comes.
    pub(super) fn gain_one(&mut self, content: ContentRef) {
        self.count_one(content, 1);
    }

    /// An asset or a session goes.
    pub(super) fn lose_one(&mut self, content: ContentRef) {
        self.count_one(content, -1);
    }

    /// Whether more will need it.
    pub(super) fn gains(&self, content: ContentHash) -> bool {
        self.changes.get(&content).is_some_and(|change| change.users > 0)
    }

    /// There may be assets that nothing names.
    pub(super) const fn unnamed(&mut self) {
        self.assets_unnamed = Some(true);
    }

    /// There are none.
    pub(super) const fn swept(&mut self) {
        self.assets_unnamed = Some(false);
    }

    fn count(&mut self, version: &WorkerVersion, users: i64) {
        // A version needs a content once, however many of its modules have it.
        let each: BTreeSet<_> = version.contents().collect();
        each.into_iter().for_each(|content| self.count_one(content, users));
    }

    fn count_one(&mut self, ContentRef { hash, octets }: ContentRef, users: i64) {
        let change = self.changes.entry(hash).or_default();
        change.octets = octets;
        change.users += users;
    }

    /// Writes what follows: pieces of what nobody needed, from `given`; the removal of what nobody needs any more.
    pub(super) fn write(
        self,
        draft: &mut Draft<'_>,
        given: &BTreeMap<ContentHash, Bytes>,
    ) -> Result<(), ApiError> {
        let account = self.account;
        let usage = draft.read::<WorkerUsage>(&account)?;
        let former = usage.as_ref().map_or(0, |usage| usage.octets);
        let assets_unnamed =
            self.assets_unnamed.unwrap_or_else(|| usage.is_some_and(|usage| usage.assets_unnamed));
        let mut octets = former;
        for (hash, change) in self.changes.into_iter().filter(|(_, change)| change.users != 0) {
            let known = draft.read::<WorkerContentUse>(&(account, hash))?;
            let before = known.as_ref().map_or(0, |known| i64::from(known.versions));
            let after = u32::try_from(before + change.users).unwrap_or(0);
            if known.is_none() && after > 0 {
                let content = given.get(&hash).ok_or_else(gone)?;
                for piece in WorkerContent::pieces(account, hash, content) {
                    // Of an asset that came in several appends, some are there.
                    if draft.snapshot.revision(&piece.key())?.is_none() {
                        draft.put(&piece);
                    }
                }
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
        draft.put(&WorkerUsage { account, octets, assets_unnamed });
        Ok(())
    }
}

/// A version names what is not there: the log breaks its promise.
fn gone() -> ApiError {
    tracing::error!("a content that a version of a Worker names is not in the log");
    ApiError::new(Code::Internal, "the content of a module is lost; upload it again")
}

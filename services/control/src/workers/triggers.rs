//! Where Workers are reached and when they run by themselves, while that is changed: what a Worker's deletion finds its routes and
//! custom domains by.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use proxima_model::{
    AccountId, Worker, WorkerDomain, WorkerName, WorkerRoute, WorkerTriggers, limits as model_limits,
};

use super::domains::DomainEdit;
use crate::{
    api::write::Draft,
    error::{ApiError, Code},
};

/// The triggers of some Workers of an account.
pub(super) struct Triggers {
    account: AccountId,
    /// As they were, and as they will be.
    all: BTreeMap<WorkerName, (Option<WorkerTriggers>, WorkerTriggers)>,
}

impl Triggers {
    /// Of this account.
    pub(super) const fn of(account: AccountId) -> Self {
        Self { account, all: BTreeMap::new() }
    }

    /// Those of a Worker.
    pub(super) fn get(
        &mut self,
        draft: &mut Draft<'_>,
        worker: &WorkerName,
    ) -> Result<&mut WorkerTriggers, ApiError> {
        let found = match self.all.entry(worker.clone()) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => {
                let former = draft.read::<WorkerTriggers>(&(self.account, worker.clone()))?;
                let now = former.clone().unwrap_or_else(|| WorkerTriggers {
                    account: self.account,
                    worker: worker.clone(),
                    routes: BTreeSet::new(),
                    domains: BTreeSet::new(),
                    crons: Vec::new(),
                });
                place.insert((former, now))
            }
        };
        Ok(&mut found.1)
    }

    /// Writes what changed.
    pub(super) fn save(self, draft: &mut Draft<'_>) -> Result<(), ApiError> {
        for (former, now) in self.all.into_values() {
            if now.routes.len() > model_limits::WORKER_ROUTES_MAX {
                let message = format!("a Worker has at most {} routes", model_limits::WORKER_ROUTES_MAX);
                return Err(ApiError::new(Code::WorkerQuota, message));
            }
            let is_empty = now.routes.is_empty() && now.domains.is_empty() && now.crons.is_empty();
            match former {
                Some(former) if is_empty => {
                    draft.delete::<WorkerTriggers>(&(former.account, former.worker));
                }
                None if is_empty => {}
                Some(former) if former == now => {}
                _ => draft.put(&now),
            }
        }
        Ok(())
    }
}

/// Removes all routes, custom domains and cron triggers of a Worker.
pub(super) fn remove_all(draft: &mut Draft<'_>, worker: &Worker) -> Result<(), ApiError> {
    let mut edit = DomainEdit::of(worker.account);
    let found = edit.triggers.get(draft, &worker.name)?;
    found.crons.clear();
    let (routes, domains) = (std::mem::take(&mut found.routes), found.domains.clone());
    for key in routes {
        // One of a zone that was deleted is gone.
        if draft.snapshot.get::<WorkerRoute>(&key)?.is_some() {
            draft.delete::<WorkerRoute>(&key);
        }
    }
    for id in domains {
        match draft.snapshot.get::<WorkerDomain>(&(worker.account, id))? {
            Some(domain) => edit.detach(draft, &domain)?,
            None => {
                edit.triggers.get(draft, &worker.name)?.domains.remove(&id);
            }
        }
    }
    edit.save(draft)
}

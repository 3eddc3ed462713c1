//! `DELETE workers/scripts/:script_name`, with its versions, routes and custom domains.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_ledger::Snapshot;
use proxima_model::{
    Account, AccountId, BindingName, BindingValue, Worker, WorkerBinding, WorkerContent, WorkerDeployment,
    WorkerName, WorkerVersion, WorkerVersionId,
};
use serde_json::Value;

use super::{change, contents::Contents, durable, named, triggers};
use crate::{
    api::{
        Api,
        envelope::Answer,
        page::Query,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    limits,
};

/// `DELETE workers/scripts/:script_name` and `workers/services/:script_name`; refused while others bind to it, unless
/// `force=true`.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(query): Extension<Arc<Query>>,
    Path((_, name)): Path<(String, String)>,
    mut author: Author,
) -> Result<Answer, ApiError> {
    let (name, force) = (named(&name)?, query.flag("force")?.unwrap_or(false));
    let mut goes_on = false;
    loop {
        let (account, name) = (account.clone(), name.clone());
        let written =
            api.write(&author, move |draft| remove(draft, &account, &name, (force, goes_on))).await?;
        if written.answer {
            return Ok(Answer::new(Value::Null).at(written.seq));
        }
        author = author.going_on();
        goes_on = true;
    }
}

/// Removes a Worker as far as one append goes; whether all of it is gone. With the first append it answers nothing any more.
fn remove(
    draft: &mut Draft<'_>,
    account: &Account,
    name: &WorkerName,
    (force, goes_on): (bool, bool),
) -> Result<bool, ApiError> {
    let key = (account.id, name.clone());
    if draft.is_repeat || goes_on {
        // Nothing is left of it; or it was made anew meanwhile, which is another one, and deployed.
        let found = draft.snapshot.get::<Worker>(&key)?;
        let is_gone = found.is_none_or(|worker| worker.deployment.is_some());
        if is_gone || draft.is_repeat {
            return Ok(is_gone);
        }
    }
    let mut worker = change::read(draft, account, name)?;
    if !force && let Some((other, binding)) = bound_to(draft.snapshot, &worker)?.into_iter().next() {
        let message = format!(
            "the Worker {other} binds to it as {binding}: take that away first, or delete it with force=true"
        );
        return Err(ApiError::new(Code::WorkerInUse, message));
    }
    let classes: Vec<_> =
        durable::of_worker(draft.snapshot, &worker)?.into_iter().map(|class| class.id).collect();
    let bound = durable::bound_to(draft.snapshot, account.id, &worker.name, &classes)?;
    if !force && let Some((other, binding, _)) = bound.first() {
        let message = format!(
            "the Worker {other} binds to its Durable Objects as {binding}: take that away first, or delete it with force=true"
        );
        return Err(ApiError::new(Code::WorkerInUse, message));
    }
    durable::remove_all(draft, &worker)?;
    triggers::remove_all(draft, &worker)?;
    worker.deployment = None;
    for id in std::mem::take(&mut worker.former_deployments) {
        draft.delete::<WorkerDeployment>(&(account.id, name.clone(), id));
    }
    let (mut uses, mut room) = (Contents::of(account.id), limits::WORKER_DELETES_PER_APPEND);
    for id in worker.versions.clone() {
        let needed = needed(draft.snapshot, &worker, id)?;
        if needed > room {
            break;
        }
        room -= needed;
        change::drop_version(draft, &mut worker, id, &mut uses)?;
    }
    uses.write(draft, &BTreeMap::new())?;
    let is_gone = worker.versions.is_empty();
    if is_gone {
        draft.delete::<Worker>(&key);
    } else {
        worker.modified_at = draft.now;
        draft.put(&worker);
    }
    Ok(is_gone)
}

/// How many changes it takes at the most to drop a version: itself, its secrets, and all that it is made of.
fn needed(snapshot: &Snapshot, worker: &Worker, id: WorkerVersionId) -> Result<usize, ApiError> {
    let version = snapshot.get::<WorkerVersion>(&(worker.account, worker.name.clone(), id))?;
    let contents = version.iter().flat_map(WorkerVersion::contents);
    let of_content = |octets: u32| 1 + usize::from(WorkerContent::count(octets as usize));
    Ok(2 + contents.map(|content| of_content(content.octets)).sum::<usize>())
}

/// The versions of a Worker that answer; of one that was never deployed, the latest.
pub(crate) fn in_force(snapshot: &Snapshot, worker: &Worker) -> Result<Vec<WorkerVersion>, ApiError> {
    let ids: Vec<WorkerVersionId> = match &worker.deployment {
        Some(deployment) => deployment.versions.as_slice().iter().map(|share| share.version).collect(),
        None => worker.versions.last().copied().into_iter().collect(),
    };
    ids.into_iter().map(|id| change::version(snapshot, worker, id)).collect()
}

/// Calls this with each binding of the account's Workers in the versions that answer ([`in_force`]).
pub(crate) fn each_binding(
    snapshot: &Snapshot,
    account: AccountId,
    mut each: impl FnMut(&WorkerName, WorkerBinding),
) -> Result<(), ApiError> {
    for worker in snapshot.scan::<Worker>(&[&account]) {
        let worker = worker?;
        for version in in_force(snapshot, &worker)? {
            version.bindings.into_iter().for_each(|binding| each(&worker.name, binding));
        }
    }
    Ok(())
}

/// The Workers to which one binds, by the names of the bindings.
pub(super) fn bindings_of(
    snapshot: &Snapshot,
    worker: &Worker,
) -> Result<BTreeMap<BindingName, WorkerName>, ApiError> {
    let versions = in_force(snapshot, worker)?;
    let bindings = versions.into_iter().flat_map(|version| version.bindings);
    let services = bindings.filter_map(|binding| match binding.value {
        BindingValue::Service { worker, .. } => Some((binding.name, worker)),
        _ => None,
    });
    Ok(services.collect())
}

/// The other Workers of the account that bind to one, and as what.
pub(super) fn bound_to(
    snapshot: &Snapshot,
    worker: &Worker,
) -> Result<BTreeSet<(WorkerName, BindingName)>, ApiError> {
    let mut bound = BTreeSet::new();
    each_binding(snapshot, worker.account, |other, WorkerBinding { name, value }| {
        let is_to_it =
            matches!(&value, BindingValue::Service { worker: service, .. } if *service == worker.name);
        if is_to_it && *other != worker.name {
            bound.insert((other.clone(), name));
        }
    })?;
    Ok(bound)
}

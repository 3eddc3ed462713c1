//! Classes of Durable Objects: which of them there are, as migrations leave it, and which a version binds to.
//!
//! ```text
//!  upload ─ migrations ─▶ Classes::migrate ─▶ DurableNamespace, made, renamed, moved or deleted; Worker.migration_tag
//!     └──── bindings {class_name, script_name} ─▶ Classes::id ─▶ BindingValue::DurableObjects(the namespace's id)
//! ```
//!
//! What objects keep lies under their namespace's id: a rename, or another Worker that takes a class over, changes nothing of it. Where
//! a new namespace's objects lie is written with it ([`DurableObjects::homes`]), and changed by an operator alone ([`homes`]).

pub(crate) mod homes;
mod migrations;
pub(crate) mod namespaces;

use std::{collections::BTreeSet, sync::Arc};

use proxima_ledger::{Precondition, Snapshot};
use proxima_model::{
    Account, AccountId, BindingName, BindingValue, DurableClass, DurableNamespace, DurableNamespaceId,
    DurableUsage, Entity, Worker, WorkerBinding, WorkerName, excerpt, limits as model_limits,
};
use proxima_pipeline::DurableObjects;
use serde_json::Value;

use super::{delete::each_binding, invalid};
use crate::{
    api::{Api, write::Draft},
    error::{ApiError, Code},
};

pub(super) use migrations::Migrations;

/// A class that a binding names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) class: DurableClass,
    /// The Worker that exports it; the one that is bound without.
    pub(super) worker: Option<WorkerName>,
}

impl Named {
    pub(super) fn read(class: &str, worker: Option<&str>) -> Result<Self, ApiError> {
        let class = DurableClass::parse(class).map_err(|problem| invalid(&problem))?;
        let worker = worker.filter(|name| !name.is_empty()).map(WorkerName::parse).transpose();
        Ok(Self { class, worker: worker.map_err(|problem| invalid(&problem))? })
    }
}

/// A class that a Worker is to export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) class: DurableClass,
    /// By which migration it becomes the Worker's, if it is not yet.
    pub(super) migration: Option<&'static str>,
}

/// Who knows where objects are.
pub(super) fn port(api: &Api) -> Option<Arc<dyn DurableObjects>> {
    api.durable_objects.get().cloned()
}

/// The namespaces of an account, as a write leaves them.
pub(super) struct Classes {
    account: AccountId,
    all: Vec<DurableNamespace>,
    /// Those that the write makes.
    new: BTreeSet<DurableNamespaceId>,
}

impl Classes {
    /// As they are.
    pub(super) fn of(snapshot: &Snapshot, account: AccountId) -> Result<Self, ApiError> {
        let all = snapshot.scan::<DurableNamespace>(&[&account]).collect::<Result<_, _>>()?;
        Ok(Self { account, all, new: BTreeSet::new() })
    }

    fn find(&self, worker: &WorkerName, class: &DurableClass) -> Option<&DurableNamespace> {
        self.all.iter().find(|known| known.worker == *worker && known.class == *class)
    }

    /// The classes that a Worker is to export when all is as a write leaves it; `before` is what it was.
    pub(super) fn owed(&self, before: &Snapshot, worker: &WorkerName) -> Result<Vec<Owed>, ApiError> {
        let owed = self.all.iter().filter(|known| known.worker == *worker).map(|known| {
            let migration = match before.get::<DurableNamespace>(&(self.account, known.id))? {
                None => Some("new-class"),
                Some(former) if former.worker != *worker => Some("transfer-class"),
                Some(former) if former.class != known.class => Some("rename-class"),
                Some(_) => None,
            };
            Ok(Owed { class: known.class.clone(), migration })
        });
        owed.collect()
    }

    /// The namespace of a class that `worker` binds to.
    pub(super) fn id(
        &self,
        worker: &WorkerName,
        binding: &BindingName,
        named: &Named,
    ) -> Result<DurableNamespaceId, ApiError> {
        let of = named.worker.as_ref().unwrap_or(worker);
        self.find(of, &named.class).map(|found| found.id).ok_or_else(|| {
            let class = &named.class;
            let message = format!(
                "bindings: {binding}: Cannot create binding for class '{class}' of {of} because it is not currently configured \
                 to implement Durable Objects. Did you forget to include migrations that create it?"
            );
            ApiError::new(Code::DurableClassUnknown, message)
        })
    }

    /// Whether all namespaces that are bound to are there, and stay so until it is written.
    pub(super) fn check(&self, draft: &mut Draft<'_>, bindings: &[WorkerBinding]) -> Result<(), ApiError> {
        for WorkerBinding { name, value } in bindings {
            let BindingValue::DurableObjects(id) = value else { continue };
            if !self.all.iter().any(|known| known.id == *id) {
                let message = format!(
                    "bindings: {name}: there is no namespace of Durable Objects {id}: its class was deleted"
                );
                return Err(ApiError::new(Code::DurableClassUnknown, message));
            }
            if !self.new.contains(id) {
                draft.require(Precondition::Present(DurableNamespace::key_of(&(self.account, *id))));
            }
        }
        Ok(())
    }
}

/// Writes the namespace with the names by which tools know it: its class, and its Worker where that is another one.
pub(super) fn name_bindings(
    snapshot: &Snapshot,
    worker: (AccountId, &WorkerName),
    shown: &mut Value,
) -> Result<(), ApiError> {
    for binding in shown.as_array_mut().into_iter().flatten() {
        if binding["type"] != "durable_object_namespace" {
            continue;
        }
        let Some(Ok(id)) = binding["namespace_id"].as_str().map(str::parse) else { continue };
        if let Some(found) = snapshot.get::<DurableNamespace>(&(worker.0, id))? {
            binding["class_name"] = found.class.as_str().into();
            if found.worker != *worker.1 {
                binding["script_name"] = found.worker.as_str().into();
            }
        }
    }
    Ok(())
}

/// The other Workers of the account that bind to one of these namespaces, and as what.
pub(super) fn bound_to(
    snapshot: &Snapshot,
    account: AccountId,
    but: &WorkerName,
    namespaces: &[DurableNamespaceId],
) -> Result<Vec<(WorkerName, BindingName, DurableNamespaceId)>, ApiError> {
    let mut bound = Vec::new();
    if namespaces.is_empty() {
        return Ok(bound);
    }
    each_binding(snapshot, account, |other, WorkerBinding { name, value }| match value {
        BindingValue::DurableObjects(id) if namespaces.contains(&id) && other != but => {
            bound.push((other.clone(), name, id));
        }
        _ => {}
    })?;
    Ok(bound)
}

/// The namespaces of a Worker.
pub(super) fn of_worker(snapshot: &Snapshot, worker: &Worker) -> Result<Vec<DurableNamespace>, ApiError> {
    let all = Classes::of(snapshot, worker.account)?.all;
    Ok(all.into_iter().filter(|known| known.worker == worker.name).collect())
}

/// Deletes the namespaces of a Worker that is deleted.
pub(super) fn remove_all(draft: &mut Draft<'_>, worker: &Worker) -> Result<(), ApiError> {
    let gone = of_worker(draft.snapshot, worker)?;
    if gone.is_empty() {
        return Ok(());
    }
    let usage = draft.read::<DurableUsage>(&worker.account)?;
    for namespace in &gone {
        draft.delete::<DurableNamespace>(&(worker.account, namespace.id));
    }
    let namespaces = usage.map_or(0, |usage| usage.namespaces).saturating_sub(gone.len());
    draft.put(&DurableUsage { account: worker.account, namespaces });
    Ok(())
}

fn refuse(message: String) -> ApiError {
    ApiError::new(Code::DurableMigration, message)
}

fn quota() -> ApiError {
    let most = model_limits::DURABLE_NAMESPACES_PER_ACCOUNT_MAX;
    refuse(format!("an account has at most {most} classes of Durable Objects"))
}

fn unknown_namespace(id: &str) -> ApiError {
    let message = format!("there is no namespace of Durable Objects {}", excerpt(id));
    ApiError::new(Code::DurableNamespaceNotFound, message)
}

/// The namespace of this id.
fn find(snapshot: &Snapshot, account: &Account, id: &str) -> Result<DurableNamespace, ApiError> {
    let parsed = id.parse().map_err(|_| unknown_namespace(id))?;
    snapshot.get::<DurableNamespace>(&(account.id, parsed))?.ok_or_else(|| unknown_namespace(id))
}

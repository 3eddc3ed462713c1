//! Migrations: how classes come to be, and go. They come with an upload, and are done with it or not at all.

use std::collections::BTreeMap;

use proxima_model::{
    DurableClass, DurableNamespace, DurableNamespaceId, DurableUsage, Worker, WorkerName,
    limits as model_limits,
};
use proxima_pipeline::DurableObjects;
use serde::Deserialize;

use super::{Classes, bound_to, quota, refuse};
use crate::{
    api::write::Draft,
    error::{ApiError, Code},
    workers::invalid,
};

/// Steps of one upload: a Worker's whole history of them.
const STEPS_MAX: usize = 100;

/// Migrations, as they are given: from one tag to another, in steps, or as the one step that there is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::workers) struct Migrations {
    old_tag: Option<String>,
    new_tag: Option<String>,
    steps: Vec<Step>,
    new_classes: Vec<String>,
    new_sqlite_classes: Vec<String>,
    renamed_classes: Vec<Renamed>,
    deleted_classes: Vec<String>,
    transferred_classes: Vec<Transferred>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Step {
    new_classes: Vec<String>,
    new_sqlite_classes: Vec<String>,
    renamed_classes: Vec<Renamed>,
    deleted_classes: Vec<String>,
    transferred_classes: Vec<Transferred>,
}

#[derive(Clone, Debug, Deserialize)]
struct Renamed {
    from: String,
    to: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Transferred {
    from: String,
    from_script: String,
    to: String,
}

impl Migrations {
    /// Bounded, before anything is done.
    pub(in crate::workers) fn check(&self) -> Result<(), ApiError> {
        let most = model_limits::WORKER_MIGRATION_TAG_OCTETS_MAX;
        if [&self.old_tag, &self.new_tag].into_iter().flatten().any(|tag| tag.len() > most) {
            return Err(refuse(format!("migrations: a tag has at most {most} octets")));
        }
        if self.steps.len() > STEPS_MAX {
            return Err(refuse(format!("migrations: give at most {STEPS_MAX} steps")));
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = Step> {
        let alone = Step {
            new_classes: self.new_classes.clone(),
            new_sqlite_classes: self.new_sqlite_classes.clone(),
            renamed_classes: self.renamed_classes.clone(),
            deleted_classes: self.deleted_classes.clone(),
            transferred_classes: self.transferred_classes.clone(),
        };
        self.steps.clone().into_iter().chain([alone])
    }
}

impl Classes {
    /// Does what migrations say for a Worker that is put later. What is deleted must not be bound to by other Workers.
    pub(in crate::workers) fn migrate(
        &mut self,
        draft: &mut Draft<'_>,
        worker: &mut Worker,
        migrations: &Migrations,
        port: Option<&dyn DurableObjects>,
    ) -> Result<(), ApiError> {
        let given = migrations.old_tag.as_deref().filter(|tag| !tag.is_empty());
        if given != worker.migration_tag.as_deref() {
            let tag = worker.migration_tag.as_deref().unwrap_or_default();
            let message = format!("Actor migration tag precondition failed; expected tag '{tag}'.");
            return Err(ApiError::new(Code::DurableTag, message));
        }
        draft.read::<DurableUsage>(&self.account)?;
        let before = self.all.clone();
        for step in migrations.all() {
            self.step(draft, worker, &step, port)?;
        }
        if self.all.len() > model_limits::DURABLE_NAMESPACES_PER_ACCOUNT_MAX {
            return Err(quota());
        }
        self.write(draft, worker, &before)?;
        worker.migration_tag = migrations.new_tag.clone().filter(|tag| !tag.is_empty());
        Ok(())
    }

    fn step(
        &mut self,
        draft: &mut Draft<'_>,
        worker: &Worker,
        step: &Step,
        port: Option<&dyn DurableObjects>,
    ) -> Result<(), ApiError> {
        let parse = |name: &String| DurableClass::parse(name).map_err(|problem| invalid(&problem));
        for (classes, has_sql) in [(&step.new_classes, false), (&step.new_sqlite_classes, true)] {
            for name in classes {
                self.make(draft, worker, parse(name)?, has_sql, port)?;
            }
        }
        for Renamed { from, to } in &step.renamed_classes {
            self.take(worker, (&worker.name, &parse(from)?), parse(to)?, "rename-class")?;
        }
        for Transferred { from, from_script, to } in &step.transferred_classes {
            let other = WorkerName::parse(from_script).map_err(|problem| invalid(&problem))?;
            self.take(worker, (&other, &parse(from)?), parse(to)?, "transfer-class")?;
        }
        for name in &step.deleted_classes {
            let class = parse(name)?;
            let found = self
                .find(&worker.name, &class)
                .ok_or_else(|| absent("delete-class", &worker.name, &class))?;
            let id = found.id;
            self.all.retain(|known| known.id != id);
        }
        Ok(())
    }

    fn make(
        &mut self,
        draft: &mut Draft<'_>,
        worker: &Worker,
        class: DurableClass,
        has_sql: bool,
        port: Option<&dyn DurableObjects>,
    ) -> Result<(), ApiError> {
        if let Some(found) = self.find(&worker.name, &class) {
            // The log went back to before its Worker was there, and its objects stayed: they are its objects again.
            if worker.versions.is_empty() && found.has_sql == has_sql && !self.new.contains(&found.id) {
                return Ok(());
            }
            return Err(refuse(format!(
                "Cannot apply new-class migration to class '{class}' that is already depended on by existing Durable Objects"
            )));
        }
        let absent = || ApiError::new(Code::NotOffered, "this server has no Durable Objects");
        let id = DurableNamespaceId::from_bytes(draft.id());
        let homes = port.ok_or_else(absent)?.homes(id);
        let namespace = DurableNamespace {
            account: self.account,
            id,
            worker: worker.name.clone(),
            class,
            has_sql,
            homes,
            handed: BTreeMap::new(),
            created_at: draft.now,
        };
        self.all.push(namespace);
        self.new.insert(id);
        Ok(())
    }

    /// Gives a class of a Worker's to this one, by another name.
    fn take(
        &mut self,
        worker: &Worker,
        from: (&WorkerName, &DurableClass),
        to: DurableClass,
        migration: &str,
    ) -> Result<(), ApiError> {
        if self.find(&worker.name, &to).is_some() {
            return Err(refuse(format!(
                "Cannot apply {migration} migration: class '{to}' is already depended on by existing Durable Objects"
            )));
        }
        let found = self.all.iter_mut().find(|known| known.worker == *from.0 && known.class == *from.1);
        let found = found.ok_or_else(|| absent(migration, from.0, from.1))?;
        found.worker = worker.name.clone();
        found.class = to;
        Ok(())
    }

    /// Writes what has become different.
    fn write(
        &self,
        draft: &mut Draft<'_>,
        worker: &Worker,
        before: &[DurableNamespace],
    ) -> Result<(), ApiError> {
        let is_kept = |known: &&DurableNamespace| self.all.iter().any(|kept| kept.id == known.id);
        let gone: Vec<_> = before.iter().filter(|known| !is_kept(known)).map(|known| known.id).collect();
        let bound = bound_to(draft.snapshot, self.account, &worker.name, &gone)?;
        if let Some((other, binding, _)) = bound.first() {
            let message = format!(
                "Cannot apply delete-class migration: the Worker {other} binds to the class as {binding}; take that away first"
            );
            return Err(ApiError::new(Code::WorkerInUse, message));
        }
        for id in gone {
            draft.delete::<DurableNamespace>(&(self.account, id));
        }
        for namespace in self.all.iter().filter(|namespace| !before.contains(namespace)) {
            draft.put(namespace);
        }
        draft.put(&DurableUsage { account: self.account, namespaces: self.all.len() });
        Ok(())
    }
}

fn absent(migration: &str, worker: &WorkerName, class: &DurableClass) -> ApiError {
    refuse(format!(
        "Cannot apply {migration} migration to class '{class}' of {worker}: there are no Durable Objects of it"
    ))
}

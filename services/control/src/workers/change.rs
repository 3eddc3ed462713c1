//! Changes of a Worker: versions that are added and dropped, and deployments.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proxima_ledger::{Precondition, Snapshot};
use proxima_model::{
    Account, BindingName, BindingValue, Bucket, CompatibilityDate, CompatibilityFlag, ContentHash,
    Deployment, DeploymentId, Entity, KvNamespace, ModuleName, Queue, VersionShares, Worker,
    WorkerAnnotations, WorkerAssets, WorkerBinding, WorkerContent, WorkerDeployment, WorkerFirst,
    WorkerModule, WorkerName, WorkerSecrets, WorkerSyntax, WorkerTag, WorkerVersion, WorkerVersionId,
    limits as model_limits,
};

use super::{
    bindings::{Bindings, unknown_bucket, unknown_namespace, unknown_queue},
    contents::Contents,
    durable::Classes,
    metadata::VersionLimits,
};
use crate::{
    api::write::Draft,
    error::{ApiError, Code},
    queues,
};

/// Who changes a Worker, and with which tool.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    /// As the log names authors.
    pub(super) author: String,
    pub(super) source: &'static str,
}

/// Octets of values that the engine hands to a Worker: a version with more would never start.
const VALUES_OCTETS_MAX: usize = 1 << 20;

/// What a version will be.
#[derive(Debug)]
pub(super) struct NewVersion {
    pub(super) id: WorkerVersionId,
    pub(super) annotations: WorkerAnnotations,
    pub(super) syntax: WorkerSyntax,
    pub(super) main: ModuleName,
    pub(super) compatibility_date: CompatibilityDate,
    pub(super) compatibility_flags: Vec<CompatibilityFlag>,
    pub(super) bindings: Vec<WorkerBinding>,
    pub(super) secrets: BTreeMap<BindingName, String>,
    pub(super) modules: Vec<WorkerModule>,
    pub(super) limits: VersionLimits,
    pub(super) assets: Option<WorkerAssets>,
}

impl NewVersion {
    /// As a version that is there, of which something is about to be changed; a version's annotations are its own.
    pub(super) fn like(former: &Latest, id: WorkerVersionId) -> Self {
        let version = former.version.clone();
        Self {
            id,
            annotations: WorkerAnnotations::default(),
            syntax: version.syntax,
            main: version.main,
            compatibility_date: version.compatibility_date,
            compatibility_flags: version.compatibility_flags,
            bindings: version.bindings,
            secrets: former.secrets.clone(),
            modules: version.modules,
            limits: VersionLimits {
                cpu_ms_max: version.cpu_ms_max,
                subrequests_max: version.subrequests_max,
            },
            assets: version.assets,
        }
    }

    /// With other bindings, and the modules that those bring along.
    pub(super) fn bound(&mut self, bindings: Bindings) {
        for module in bindings.modules {
            if !self.modules.iter().any(|known| known.name == module.name) {
                self.modules.push(module);
            }
        }
        self.bindings = bindings.all;
        self.secrets = bindings.secrets;
    }
}

/// The latest version of a Worker, with its secrets.
#[derive(Debug)]
pub(super) struct Latest {
    pub(super) version: WorkerVersion,
    pub(super) secrets: BTreeMap<BindingName, String>,
}

/// The Worker of this name.
pub(super) fn find(snapshot: &Snapshot, account: &Account, name: &WorkerName) -> Result<Worker, ApiError> {
    snapshot.get::<Worker>(&(account.id, name.clone()))?.ok_or_else(|| unknown(name))
}

/// The Worker of this name, to be changed.
pub(super) fn read(draft: &mut Draft<'_>, account: &Account, name: &WorkerName) -> Result<Worker, ApiError> {
    draft.read::<Worker>(&(account.id, name.clone()))?.ok_or_else(|| unknown(name))
}

/// A Worker without versions, not written yet; it is about to get one.
pub(super) fn make(
    draft: &mut Draft<'_>,
    account: &Account,
    name: &WorkerName,
    tag: WorkerTag,
) -> Result<Worker, ApiError> {
    draft.require(Precondition::Present(Account::key_of(&account.id)));
    let limit = model_limits::WORKERS_PER_ACCOUNT_MAX;
    if draft.snapshot.has_more_than::<Worker>(&[&account.id], limit - 1)? {
        let message = format!("an account has at most {limit} Workers");
        return Err(ApiError::new(Code::WorkerQuota, message));
    }
    Ok(Worker {
        account: account.id,
        name: name.clone(),
        tag,
        created_at: draft.now,
        modified_at: draft.now,
        subdomain_enabled: false,
        previews_enabled: false,
        tags: Vec::new(),
        observability: None,
        deployment: None,
        versions: Vec::new(),
        former_deployments: Vec::new(),
        next_number: 1,
        migration_tag: None,
    })
}

/// A version of a Worker.
pub(super) fn version(
    snapshot: &Snapshot,
    worker: &Worker,
    id: WorkerVersionId,
) -> Result<WorkerVersion, ApiError> {
    let found = snapshot.get::<WorkerVersion>(&(worker.account, worker.name.clone(), id))?;
    found.ok_or_else(|| unknown_version(&id.to_string()))
}

/// The latest version of a Worker; of one that is about to be made, none.
pub(super) fn latest_version(
    snapshot: &Snapshot,
    worker: &Worker,
) -> Result<Option<WorkerVersion>, ApiError> {
    worker.versions.last().map(|id| version(snapshot, worker, *id)).transpose()
}

/// The latest version of a Worker with its secrets: what another one is made of.
pub(super) fn latest(snapshot: &Snapshot, worker: &Worker) -> Result<Option<Latest>, ApiError> {
    let Some(version) = latest_version(snapshot, worker)? else { return Ok(None) };
    let secrets = snapshot.get::<WorkerSecrets>(&(worker.account, worker.name.clone(), version.id))?;
    Ok(Some(Latest { version, secrets: secrets.map(|secrets| secrets.texts).unwrap_or_default() }))
}

/// Adds a version. `contents`: what of its modules may be new to the account; `classes`: the namespaces of Durable Objects as this
/// write leaves them. The Worker is not put yet.
pub(super) fn add(
    draft: &mut Draft<'_>,
    worker: &mut Worker,
    new: NewVersion,
    (contents, classes): (&BTreeMap<ContentHash, Bytes>, &Classes),
    maker: &Maker,
) -> Result<WorkerVersion, ApiError> {
    check(draft, worker, &new)?;
    classes.check(draft, &new.bindings)?;
    let mut uses = Contents::of(worker.account);
    while worker.versions.len() >= model_limits::WORKER_VERSIONS_MAX {
        let oldest = droppable(draft.snapshot, worker)?;
        drop_version(draft, worker, oldest, &mut uses)?;
    }
    let version = WorkerVersion {
        account: worker.account,
        worker: worker.name.clone(),
        id: new.id,
        number: worker.next_number,
        created_at: draft.now,
        author: maker.author.clone(),
        source: maker.source.to_owned(),
        annotations: new.annotations,
        syntax: new.syntax,
        main: new.main,
        compatibility_date: new.compatibility_date,
        compatibility_flags: new.compatibility_flags,
        bindings: new.bindings,
        modules: new.modules,
        cpu_ms_max: new.limits.cpu_ms_max,
        subrequests_max: new.limits.subrequests_max,
        assets: new.assets,
    };
    uses.gain(&version);
    uses.write(draft, contents)?;
    draft.put(&version);
    if !new.secrets.is_empty() {
        let (account, name) = (worker.account, worker.name.clone());
        draft.put(&WorkerSecrets { account, worker: name, version: version.id, texts: new.secrets });
    }
    worker.versions.push(version.id);
    worker.next_number += 1;
    worker.modified_at = draft.now;
    Ok(version)
}

/// What is not seen of a version's parts alone.
fn check(draft: &mut Draft<'_>, worker: &Worker, new: &NewVersion) -> Result<(), ApiError> {
    let snapshot = draft.snapshot;
    let refuse = |message: String| Err(ApiError::new(Code::WorkerInvalid, message));
    if new.modules.len() > model_limits::WORKER_MODULES_MAX {
        return refuse(format!("a Worker has at most {} modules", model_limits::WORKER_MODULES_MAX));
    }
    let octets: usize = new.modules.iter().map(|module| module.octets as usize).sum();
    if octets > model_limits::WORKER_OCTETS_MAX {
        let most = model_limits::WORKER_OCTETS_MAX;
        return Err(ApiError::new(
            Code::WorkerTooLarge,
            format!("the modules have {octets} octets, more than {most}"),
        ));
    }
    let octets = octets_of_values(new);
    if octets > VALUES_OCTETS_MAX {
        let most = VALUES_OCTETS_MAX;
        return refuse(format!("bindings: their values have {octets} octets together, more than {most}"));
    }
    let bindings = Bindings { all: new.bindings.clone(), ..Bindings::default() };
    bindings.check(new.syntax, &new.modules)?;
    check_assets(new)?;
    for (name, service) in bindings.services() {
        // A Worker may bind to itself, also in its first version.
        let is_there = *service == worker.name
            || snapshot.revision(&Worker::key_of(&(worker.account, service.clone())))?.is_some();
        if !is_there {
            return refuse(format!(
                "bindings: {name} is the Worker {service}, and the account has none of this name"
            ));
        }
    }
    for (name, namespace) in bindings.namespaces() {
        let key = KvNamespace::key_of(&(worker.account, namespace));
        if snapshot.revision(&key)?.is_none() {
            return Err(unknown_namespace(name, &namespace.to_string()));
        }
        draft.require(Precondition::Present(key));
    }
    for (name, bucket, jurisdiction) in bindings.buckets() {
        let id = (worker.account, bucket.clone());
        let found = snapshot.get::<Bucket>(&id)?.filter(|found| found.jurisdiction == jurisdiction);
        if found.is_none() {
            return Err(unknown_bucket(name, bucket));
        }
        draft.require(Precondition::Present(Bucket::key_of(&id)));
    }
    for (name, queue) in bindings.queues() {
        let found = queues::find_named(snapshot, worker.account, queue)?;
        let found = found.ok_or_else(|| unknown_queue(name, queue))?;
        draft.require(Precondition::Present(Queue::key_of(&(found.account, found.id))));
    }
    Ok(())
}

/// How much of the engine's memory the values of a version's variables and secrets take at least: a letter of a text an octet, and of
/// JSON, which it has parsed, half of one.
fn octets_of_values(new: &NewVersion) -> usize {
    let of_binding = |binding: &WorkerBinding| match &binding.value {
        BindingValue::PlainText(text) => text.chars().count(),
        BindingValue::Json(value) => value.to_string().chars().count() / 2,
        _ => 0,
    };
    let secrets = new.secrets.values().map(|text| text.chars().count());
    new.bindings.iter().map(of_binding).chain(secrets).sum()
}

/// Assets and code, of which a version has one at least.
fn check_assets(new: &NewVersion) -> Result<(), ApiError> {
    let has_code = !new.modules.is_empty();
    let first = new.assets.as_ref().map(|assets| &assets.config.worker_first);
    let bound = new.bindings.iter().filter(|binding| binding.value == BindingValue::Assets).count();
    let problem = match (first, bound) {
        (None, 0) if !has_code => {
            "main_module: it is missing: name the part where the code begins, or give assets"
        }
        (None, 1..) => "Cannot use an assets binding without assets",
        (_, 2..) => "bindings: a version has one binding to its assets at most",
        (Some(_), 1) if !has_code => "bindings: there is no code that could use the assets",
        (Some(first), _) if !has_code && *first != WorkerFirst::Never => {
            "run_worker_first: there is no code that could be asked"
        }
        _ => return Ok(()),
    };
    Err(ApiError::new(Code::WorkerInvalid, problem))
}

/// The oldest version that no deployment names which is kept.
fn droppable(snapshot: &Snapshot, worker: &Worker) -> Result<WorkerVersionId, ApiError> {
    let mut named: BTreeSet<WorkerVersionId> = BTreeSet::new();
    let former = former_deployments(snapshot, worker)?;
    for deployment in worker.deployment.iter().chain(&former) {
        named.extend(deployment.versions.as_slice().iter().map(|share| share.version));
    }
    let found = worker.versions.iter().find(|version| !named.contains(version));
    Ok(*found.expect("fewer versions are named by deployments than are kept; a test shows it"))
}

/// The former deployments of a Worker that are kept, the oldest first.
pub(super) fn former_deployments(snapshot: &Snapshot, worker: &Worker) -> Result<Vec<Deployment>, ApiError> {
    let mut found = Vec::with_capacity(worker.former_deployments.len());
    for id in &worker.former_deployments {
        let former = snapshot.get::<WorkerDeployment>(&(worker.account, worker.name.clone(), *id))?;
        found.extend(former.map(|former| former.deployment));
    }
    Ok(found)
}

/// Drops a version, with its secrets.
pub(super) fn drop_version(
    draft: &mut Draft<'_>,
    worker: &mut Worker,
    id: WorkerVersionId,
    uses: &mut Contents,
) -> Result<(), ApiError> {
    let key = (worker.account, worker.name.clone(), id);
    if let Some(version) = draft.snapshot.get::<WorkerVersion>(&key)? {
        uses.lose(&version);
        draft.delete::<WorkerVersion>(&key);
    }
    if draft.snapshot.revision(&WorkerSecrets::key_of(&key))?.is_some() {
        draft.delete::<WorkerSecrets>(&key);
    }
    worker.versions.retain(|version| *version != id);
    Ok(())
}

/// Has these versions answer from now on. The Worker is not put yet.
pub(super) fn deploy(
    draft: &mut Draft<'_>,
    worker: &mut Worker,
    id: DeploymentId,
    versions: VersionShares,
    annotations: WorkerAnnotations,
    maker: &Maker,
) -> Result<Deployment, ApiError> {
    if let Some(named) = versions.as_slice().iter().find(|share| !worker.versions.contains(&share.version)) {
        return Err(unknown_version(&named.version.to_string()));
    }
    if let Some(former) = worker.deployment.take() {
        let (account, name) = (worker.account, worker.name.clone());
        worker.former_deployments.push(former.id);
        draft.put(&WorkerDeployment { account, worker: name, deployment: former });
    }
    while worker.former_deployments.len() > model_limits::WORKER_DEPLOYMENTS_MAX {
        let oldest = worker.former_deployments.remove(0);
        draft.delete::<WorkerDeployment>(&(worker.account, worker.name.clone(), oldest));
    }
    let deployment = Deployment {
        id,
        created_at: draft.now,
        author: maker.author.clone(),
        source: maker.source.to_owned(),
        annotations,
        versions,
    };
    worker.deployment = Some(deployment.clone());
    worker.modified_at = draft.now;
    Ok(deployment)
}

/// The octets of a module.
pub(super) fn octets(
    snapshot: &Snapshot,
    worker: &Worker,
    module: &WorkerModule,
) -> Result<Vec<u8>, ApiError> {
    let pieces = snapshot.scan::<WorkerContent>(&[&worker.account, &module.hash]);
    if let Some(octets) = WorkerContent::join(module.into(), pieces)? {
        return Ok(octets);
    }
    tracing::error!(worker = %worker.name, hash = %module.hash, "a content of a Worker is not whole");
    Err(ApiError::new(
        Code::Internal,
        format!("the content of the module {} is lost; upload it again", module.name),
    ))
}

pub(super) fn unknown(name: &WorkerName) -> ApiError {
    ApiError::new(Code::WorkerNotFound, format!("This Worker does not exist on your account: {name}"))
}

pub(super) fn unknown_version(id: &str) -> ApiError {
    ApiError::new(Code::WorkerVersionNotFound, format!("the Worker has no version {id:.80}"))
}

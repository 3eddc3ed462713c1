//! An upload with all that is said of it: what a version is made from.

use std::collections::BTreeMap;

use axum::extract::Request;
use bytes::Bytes;
use proxima_model::{
    BindingName, BindingValue, CompatibilityDate, CompatibilityFlag, ContentHash, DurableNamespaceId,
    ModuleKind, ModuleName, Timestamp, Worker, WorkerAnnotations, WorkerModule, WorkerSyntax,
    WorkerVersionId,
};
use proxima_pipeline::DurableObjects;
use serde_json::{Map, Value};

use super::{
    assets::Assets,
    bindings::{self, BindingBody, Bindings, Former},
    change::{self, Latest, NewVersion, unknown_version},
    durable::{Classes, Migrations, Named},
    form::{Form, Modules},
    metadata::{self, Metadata, VersionLimits},
};
use crate::{
    api::{body::Given, write::Draft},
    error::{ApiError, Code},
};

/// What is kept of the version before unless it is said otherwise: secrets, which nobody uploads again.
const KEPT: [&str; 1] = ["secret_text"];

/// An upload, checked as far as it can be without the Worker that it is of.
#[derive(Debug)]
pub(super) struct Upload {
    syntax: WorkerSyntax,
    main: ModuleName,
    compatibility_date: CompatibilityDate,
    compatibility_flags: Vec<CompatibilityFlag>,
    bindings: Vec<BindingBody>,
    keep: Vec<String>,
    limits: VersionLimits,
    modules: Modules,
    assets: Assets,
    observability: Option<Option<Map<String, Value>>>,
    tags: Option<Vec<String>>,
    migrations: Option<Migrations>,
    without_effect: Vec<&'static str>,
    pub(super) annotations: WorkerAnnotations,
}

impl Upload {
    /// Reads one.
    pub(super) async fn receive(request: Request, now: Timestamp) -> Result<Self, ApiError> {
        let form = Form::receive(request).await?;
        let metadata = form.metadata::<Metadata>()?;
        let modules = form.modules().await?;
        let metadata = match metadata {
            Some(metadata) => metadata,
            None if modules.rows.iter().any(|module| module.name.as_str() == super::SCRIPT_ALONE) => {
                Metadata::of_script(super::SCRIPT_ALONE)
            }
            None => {
                return Err(ApiError::new(
                    Code::WorkerInvalid,
                    "metadata: it is missing: say what the parts are",
                )
                .at("/metadata"));
            }
        };
        Self::of(metadata, modules, now)
    }

    fn of(mut metadata: Metadata, mut modules: Modules, now: Timestamp) -> Result<Self, ApiError> {
        metadata.check()?;
        let keep_assets = metadata.keep_assets.unwrap_or(false);
        let assets = Assets::read(metadata.assets.take(), keep_assets, |hash, octets| {
            modules.contents.insert(hash, octets);
        })?;
        let is_assets_alone = modules.rows.is_empty() && assets.may_be() && !metadata.has_main();
        let (syntax, main) = if is_assets_alone {
            (WorkerSyntax::Modules, ModuleName::parse(super::SCRIPT_ALONE).expect("it is one"))
        } else {
            metadata.main(&modules.rows)?
        };
        let observability = match std::mem::take(&mut metadata.observability) {
            Given::Absent => None,
            Given::Null => Some(None),
            Given::Value(given) => {
                metadata::observability(&given)?;
                Some(Some(given))
            }
        };
        if let Some(tags) = &metadata.tags {
            metadata::tags(tags)?;
        }
        Ok(Self {
            syntax,
            main,
            compatibility_date: metadata.compatibility_date(now)?.unwrap_or_else(CompatibilityDate::oldest),
            compatibility_flags: metadata.compatibility_flags()?.unwrap_or_default(),
            limits: metadata.limits()?.unwrap_or_default(),
            annotations: metadata.annotations()?,
            bindings: metadata.bindings.take().unwrap_or_default(),
            keep: metadata.keep_bindings.take().unwrap_or_else(|| KEPT.map(str::to_owned).into()),
            modules,
            assets,
            observability,
            tags: metadata.tags.take(),
            migrations: metadata.migrations.take(),
            without_effect: metadata.without_effect(),
        })
    }

    /// The octets of its modules, and of rules for its assets.
    pub(super) const fn contents(&self) -> &BTreeMap<ContentHash, Bytes> {
        &self.modules.contents
    }

    /// What is to be told of what it asks for in vain: of hints, and of more time of a processor than this server gives any invocation.
    pub(super) fn in_vain(&self, cpu_ms_most: Option<u64>) -> Vec<String> {
        let hints = self.without_effect.iter().map(|&told| told.to_owned());
        hints.chain(metadata::cpu_in_vain(self.limits, cpu_ms_most)).collect()
    }

    /// Does the migrations that it brings.
    pub(super) fn migrate(
        &self,
        draft: &mut Draft<'_>,
        worker: &mut Worker,
        classes: &mut Classes,
        port: Option<&dyn DurableObjects>,
    ) -> Result<(), ApiError> {
        let Some(migrations) = &self.migrations else { return Ok(()) };
        classes.migrate(draft, worker, migrations, port)
    }

    /// Refuses migrations, where nothing is deployed.
    pub(super) fn check_without_migrations(&self) -> Result<(), ApiError> {
        if self.migrations.is_none() {
            return Ok(());
        }
        let message =
            "migrations: they are done when a version is deployed as it is uploaded (wrangler deploy)";
        Err(ApiError::new(Code::DurableMigration, message).at("/migrations"))
    }

    /// The version that it makes after this one; `classes` are those that it may bind to.
    fn version(
        &self,
        former: Option<&Latest>,
        id: WorkerVersionId,
        classes: impl Fn(&BindingName, &Named) -> Result<DurableNamespaceId, ApiError>,
    ) -> Result<NewVersion, ApiError> {
        let former = former.map(|latest| Former {
            bindings: &latest.version.bindings,
            modules: &latest.version.modules,
            secrets: &latest.secrets,
        });
        let bindings = Bindings::read(&self.bindings, &self.keep, former)?.resolved(classes)?;
        let mut new = NewVersion {
            id,
            annotations: self.annotations.clone(),
            syntax: self.syntax,
            main: self.main.clone(),
            compatibility_date: self.compatibility_date.clone(),
            compatibility_flags: self.compatibility_flags.clone(),
            bindings: Vec::new(),
            secrets: BTreeMap::new(),
            modules: self.modules.rows.clone(),
            limits: self.limits,
            assets: None,
        };
        new.bound(bindings);
        Ok(new)
    }

    /// The version that it makes of this Worker, with its assets.
    pub(super) fn version_of(
        &self,
        draft: &mut Draft<'_>,
        worker: &Worker,
        id: WorkerVersionId,
        classes: &Classes,
    ) -> Result<NewVersion, ApiError> {
        let former = change::latest(draft.snapshot, worker)?;
        let named = |name: &BindingName, named: &Named| classes.id(&worker.name, name, named);
        let mut new = self.version(former.as_ref(), id, named)?;
        new.assets = self.assets.choose(draft, worker, former.as_ref())?;
        Ok(new)
    }

    /// Sets what it says of all of a Worker's versions.
    pub(super) fn apply(&self, worker: &mut Worker) {
        if let Some(observability) = &self.observability {
            worker.observability.clone_from(observability);
        }
        if let Some(tags) = &self.tags {
            worker.tags.clone_from(tags);
        }
    }
}

/// The id of a version.
pub(super) fn id_of(text: &str) -> Result<WorkerVersionId, ApiError> {
    text.parse().map_err(|_| unknown_version(text))
}

/// Reads octets as what is said of an upload of one module, for fuzz targets: what a version's bindings are shown as makes
/// the same bindings.
pub(crate) fn exercise(octets: &[u8], now: Timestamp) {
    let Some(metadata) = crate::exercise::parsed::<Metadata>(octets) else { return };
    let row = |name: &str, kind| WorkerModule {
        name: name.parse().expect("it is one"),
        kind,
        octets: 0,
        hash: ContentHash::from_bytes([0; 32]),
    };
    let rows = vec![row("index.js", ModuleKind::EsModule), row(super::SCRIPT_ALONE, ModuleKind::CommonJs)];
    let Ok(upload) = Upload::of(metadata, Modules { rows, ..Modules::default() }, now) else { return };
    let id = WorkerVersionId::from_random([0; 16]);
    let namespace = |_: &BindingName, _: &Named| Ok(DurableNamespaceId::from_bytes([0; 16]));
    let Ok(made) = upload.version(None, id, namespace) else { return };
    assert!(made.bindings.iter().all(|binding| {
        made.secrets.contains_key(&binding.name) == (binding.value == BindingValue::SecretText)
    }));
    let shown: Vec<_> = made.bindings.iter().map(bindings::show).collect();
    let again: Vec<BindingBody> = serde_json::from_value(Value::Array(shown)).expect("it was written by us");
    let former = Former { bindings: &made.bindings, modules: &made.modules, secrets: &made.secrets };
    let again = Bindings::read(&again, &[], Some(former)).expect("what is shown can be given");
    assert_eq!((&again.all, &again.secrets), (&made.bindings, &made.secrets));
}

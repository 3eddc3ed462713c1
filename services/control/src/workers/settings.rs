//! `workers/scripts/:script_name/settings`, of the latest version and of all of them, and `script-settings`, of all alone.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    extract::{FromRequest, Path, Request, State},
};
use proxima_model::{Account, BindingName, Worker, WorkerName, WorkerVersion};
use serde_json::{Map, Value};

use super::{
    bindings::{Bindings, Former},
    change::{self, NewVersion},
    check::{self, Made},
    durable::Classes,
    form::{Form, SETTINGS},
    maker,
    metadata::{self, Metadata, VersionLimits},
    named, read_of,
    scripts::Ids,
    secrets, show,
};
use crate::{
    api::{
        Api,
        body::{Given, JsonBody, content_type},
        envelope::Answer,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
};

/// `GET settings`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    read_of(&api, account, &name, move |snapshot, worker| {
        let latest = change::latest_version(snapshot, worker)?;
        show::settings(snapshot, worker, latest.as_ref())
    })
    .await
}

/// `PATCH settings`: what is of versions makes one, which answers at once; bindings are given whole.
pub(crate) async fn patch(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    request: Request,
) -> Result<Answer, ApiError> {
    let (name, maker) = (named(&name)?, maker(&author, request.headers()));
    let given = Arc::new(receive(request).await?);
    given.check_without_assets()?;
    let settings = ScriptSettings::of(&given)?;
    let changes = VersionChanges {
        date: given.compatibility_date(api.now())?,
        flags: given.compatibility_flags()?,
        limits: given.limits()?,
        annotations: given.annotations()?,
    };
    let makes_one = given.bindings.is_some() || !changes.is_empty();
    let mut in_vain: Vec<_> = given.without_effect().into_iter().map(str::to_owned).collect();
    in_vain.extend(changes.limits.and_then(|limits| metadata::cpu_in_vain(limits, check::cpu_ms_most(&api))));
    let decide = Arc::new(move |draft: &mut Draft<'_>| -> Result<Changed, ApiError> {
        let ids = Ids::draw(draft);
        if draft.is_repeat {
            let worker = change::find(draft.snapshot, &account, &name)?;
            let latest = change::latest_version(draft.snapshot, &worker)?;
            return Ok((worker, latest, BTreeMap::new()));
        }
        let mut worker = change::read(draft, &account, &name)?;
        settings.apply(&mut worker);
        let (version, secrets) = if makes_one {
            let (snapshot, owner) = (draft.snapshot, name.clone());
            let (made, secrets) = secrets::replace(draft, &mut worker, &ids, &maker, |new| {
                if given.bindings.is_some() {
                    rebind(new, &given, &Classes::of(snapshot, account.id)?, &owner)?;
                }
                changes.apply(new);
                Ok(())
            })?;
            (Some(made), secrets)
        } else {
            worker.modified_at = draft.now;
            (change::latest_version(draft.snapshot, &worker)?, BTreeMap::new())
        };
        draft.put(&worker);
        Ok((worker, version, secrets))
    });
    if makes_one {
        let decide = Arc::clone(&decide);
        let made = Arc::new(move |draft: &mut Draft<'_>| {
            let (worker, version, secrets) = decide(draft)?;
            let version = version.ok_or_else(|| change::unknown(&worker.name))?;
            let owed = Classes::of(draft.snapshot, worker.account)?.owed(draft.snapshot, &worker.name)?;
            Ok(Made { worker, version, secrets, owed })
        });
        check::start(&api, &author, BTreeMap::new(), &made).await?;
    }
    let answer = api.change(&author, move |draft| {
        let (worker, version, _) = decide(draft)?;
        show::settings(draft.snapshot, &worker, version.as_ref())
    });
    Ok(answer.await?.messages(in_vain))
}

/// A Worker, its latest version, and the secrets of that if it is new.
type Changed = (Worker, Option<WorkerVersion>, BTreeMap<BindingName, String>);

/// What is given of a version, but for its bindings.
struct VersionChanges {
    date: Option<proxima_model::CompatibilityDate>,
    flags: Option<Vec<proxima_model::CompatibilityFlag>>,
    limits: Option<VersionLimits>,
    annotations: proxima_model::WorkerAnnotations,
}

impl VersionChanges {
    const fn is_empty(&self) -> bool {
        self.date.is_none() && self.flags.is_none() && self.limits.is_none()
    }

    fn apply(&self, new: &mut NewVersion) {
        new.annotations.clone_from(&self.annotations);
        if let Some(date) = &self.date {
            new.compatibility_date.clone_from(date);
        }
        if let Some(flags) = &self.flags {
            new.compatibility_flags.clone_from(flags);
        }
        if let Some(limits) = self.limits {
            new.limits = limits;
        }
    }
}

/// Gives a version like its former the bindings that are listed, and no others: those that are only named stay as they are.
fn rebind(
    new: &mut NewVersion,
    given: &Metadata,
    classes: &Classes,
    worker: &WorkerName,
) -> Result<(), ApiError> {
    let listed = given.bindings.as_deref().unwrap_or_default();
    let keep = given.keep_bindings.as_deref().unwrap_or_default();
    let (bindings, modules) = (new.bindings.clone(), &new.modules);
    let bindings =
        Bindings::read(listed, keep, Some(Former { bindings: &bindings, modules, secrets: &new.secrets }))?;
    new.bound(bindings.resolved(|name, named| classes.id(worker, name, named))?);
    Ok(())
}

/// Settings, in a form as wrangler sends them, or as JSON.
async fn receive(request: Request) -> Result<Metadata, ApiError> {
    if content_type(&request) != "multipart/form-data" {
        return Ok(JsonBody::from_request(request, &()).await?.0);
    }
    let form = Form::receive(request).await?;
    form.metadata()?.ok_or_else(|| {
        ApiError::new(Code::WorkerInvalid, format!("{SETTINGS}: the form has no part of this name"))
    })
}

/// What is set of all of a Worker's versions.
#[derive(Debug, Default)]
struct ScriptSettings {
    observability: Option<Option<Map<String, Value>>>,
    tags: Option<Vec<String>>,
}

impl ScriptSettings {
    fn of(given: &Metadata) -> Result<Self, ApiError> {
        let observability = match &given.observability {
            Given::Absent => None,
            Given::Null => Some(None),
            Given::Value(given) => Some(Some(given.clone())),
        };
        let settings = Self { observability, tags: given.tags.clone() };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), ApiError> {
        if let Some(Some(observability)) = &self.observability {
            metadata::observability(observability)?;
        }
        self.tags.as_deref().map_or(Ok(()), metadata::tags)
    }

    fn apply(&self, worker: &mut Worker) {
        if let Some(observability) = &self.observability {
            worker.observability.clone_from(observability);
        }
        if let Some(tags) = &self.tags {
            worker.tags.clone_from(tags);
        }
    }
}

/// `GET script-settings`.
pub(crate) async fn get_script(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    read_of(&api, account, &name, |_, worker| Ok(show::script_settings(worker))).await
}

/// `PATCH script-settings`.
pub(crate) async fn patch_script(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    JsonBody(given): JsonBody<Metadata>,
) -> Result<Answer, ApiError> {
    let name = named(&name)?;
    given.check_without_assets()?;
    let (settings, in_vain) = (ScriptSettings::of(&given)?, given.without_effect());
    let answer = api.change(&author, move |draft| {
        if draft.is_repeat {
            return Ok(show::script_settings(&change::find(draft.snapshot, &account, &name)?));
        }
        let mut worker = change::read(draft, &account, &name)?;
        let before = worker.clone();
        settings.apply(&mut worker);
        if worker != before {
            worker.modified_at = draft.now;
            draft.put(&worker);
        }
        Ok(show::script_settings(&worker))
    });
    Ok(answer.await?.messages(in_vain))
}

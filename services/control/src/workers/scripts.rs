//! `workers/scripts`, and `workers/services`, which are the same.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use proxima_model::{
    Account, DeploymentId, VersionShares, Worker, WorkerAnnotations, WorkerModule, WorkerName, WorkerSyntax,
    WorkerTag, WorkerVersion, WorkerVersionId,
};
use serde_json::{Value, json};

use super::{
    change,
    check::{self, Made},
    durable::{self, Classes},
    form,
    form::Form,
    maker,
    metadata::Metadata,
    named, read_of, show,
    upload::{Upload, id_of},
};
use crate::{
    api::{
        Api,
        envelope::{Answer, SEQ_HEADER},
        page::Query,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
};

/// Which part of a form is where the code begins.
const ENTRYPOINT: HeaderName = HeaderName::from_static("cf-entrypoint");

/// `GET workers/scripts`.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let mut shown = Vec::new();
        for worker in snapshot.scan::<Worker>(&[&account.id]) {
            let worker = worker?;
            let latest = change::latest_version(snapshot, &worker)?;
            shown.push(show::script(&worker, latest.as_ref()));
        }
        Ok(Answer::new(Value::Array(shown)).at(snapshot.seq()))
    })
    .await
}

/// `PUT workers/scripts/:script_name`: a version, which answers at once.
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    request: Request,
) -> Result<Answer, ApiError> {
    let (name, maker) = (named(&name)?, maker(&author, request.headers()));
    let upload = Arc::new(Upload::receive(request, api.now()).await?);
    let port = durable::port(&api);
    let (came, in_vain) = (upload.contents().clone(), upload.in_vain(check::cpu_ms_most(&api)));
    let decide = Arc::new(move |draft: &mut Draft<'_>| {
        let ids = Ids::draw(draft);
        let key = (account.id, name.clone(), ids.version);
        if draft.is_repeat {
            let version = draft.made::<WorkerVersion>(&key)?;
            return Ok(Made::before(change::find(draft.snapshot, &account, &name)?, version));
        }
        let mut worker = match draft.read::<Worker>(&(account.id, name.clone()))? {
            Some(worker) => worker,
            None => change::make(draft, &account, &name, ids.tag)?,
        };
        let mut classes = Classes::of(draft.snapshot, account.id)?;
        upload.migrate(draft, &mut worker, &mut classes, port.as_deref())?;
        let owed = classes.owed(draft.snapshot, &name)?;
        let new = upload.version_of(draft, &worker, ids.version, &classes)?;
        let secrets = new.secrets.clone();
        upload.apply(&mut worker);
        let version = change::add(draft, &mut worker, new, (upload.contents(), &classes), &maker)?;
        let (shares, said) = (VersionShares::one(version.id), upload.annotations.clone());
        change::deploy(draft, &mut worker, ids.deployment, shares, said, &maker)?;
        draft.put(&worker);
        Ok(Made { worker, version, secrets, owed })
    });
    let took = check::start(&api, &author, came, &decide).await?;
    let answer = api.change(&author, move |draft| Ok(uploaded(&decide(draft)?, took))).await?;
    Ok(answer.messages(in_vain))
}

/// What a write of a Worker may draw, in one order, so that a repetition finds it.
pub(super) struct Ids {
    tag: WorkerTag,
    pub(super) version: WorkerVersionId,
    pub(super) deployment: DeploymentId,
}

impl Ids {
    pub(super) fn draw(draft: &mut Draft<'_>) -> Self {
        Self {
            tag: WorkerTag::from_bytes(draft.id()),
            version: WorkerVersionId::from_random(draft.id()),
            deployment: DeploymentId::from_random(draft.id()),
        }
    }
}

fn uploaded(Made { worker, version, .. }: &Made, took: Option<Duration>) -> Value {
    let mut shown = show::script(worker, Some(version));
    // What clients take it for: the version, without hyphens.
    shown["deployment_id"] = version.id.to_string().replace('-', "").into();
    check::tell(&mut shown, took);
    shown
}

/// `PUT workers/scripts/:script_name/content`: the code anew, and all else as it is.
pub(crate) async fn put_content(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    request: Request,
) -> Result<Answer, ApiError> {
    let (name, maker) = (named(&name)?, maker(&author, request.headers()));
    let (module, script) = mains(request.headers());
    let form = Form::receive(request).await?;
    let mut metadata: Metadata = form.metadata()?.unwrap_or_default();
    metadata.main_module = metadata.main_module.or(module);
    metadata.body_part = metadata.body_part.or(script);
    metadata.check_without_assets()?;
    let modules = Arc::new(form.modules().await?);
    let (syntax, main) = metadata.main(&modules.rows)?;
    let came = modules.contents.clone();
    let decide = Arc::new(move |draft: &mut Draft<'_>| {
        let ids = Ids::draw(draft);
        if draft.is_repeat {
            let version = draft.made::<WorkerVersion>(&(account.id, name.clone(), ids.version))?;
            return Ok(Made::before(change::find(draft.snapshot, &account, &name)?, version));
        }
        let mut worker = change::read(draft, &account, &name)?;
        let former = change::latest(draft.snapshot, &worker)?.ok_or_else(|| change::unknown(&name))?;
        let mut new = change::NewVersion::like(&former, ids.version);
        let blobs = std::mem::replace(&mut new.modules, modules.rows.clone());
        keep_blobs(&mut new, &blobs);
        (new.syntax, new.main) = (syntax, main.clone());
        let secrets = new.secrets.clone();
        let classes = Classes::of(draft.snapshot, account.id)?;
        let owed = classes.owed(draft.snapshot, &name)?;
        let version = change::add(draft, &mut worker, new, (&modules.contents, &classes), &maker)?;
        let shares = VersionShares::one(version.id);
        change::deploy(draft, &mut worker, ids.deployment, shares, WorkerAnnotations::default(), &maker)?;
        draft.put(&worker);
        Ok(Made { worker, version, secrets, owed })
    });
    let took = check::start(&api, &author, came, &decide).await?;
    api.change(&author, move |draft| Ok(uploaded(&decide(draft)?, took))).await
}

/// Where code of modules, or a script, begins, as header fields name it.
fn mains(headers: &HeaderMap) -> (Option<String>, Option<String>) {
    let named = |field| headers.get(field)?.to_str().ok().map(str::to_owned);
    (named("cf-worker-main-module-part"), named("cf-worker-body-part"))
}

/// Modules of before that bindings are of, and that did not come anew.
fn keep_blobs(new: &mut change::NewVersion, before: &[WorkerModule]) {
    use proxima_model::BindingValue::{DataBlob, TextBlob, WasmModule};
    for binding in &new.bindings {
        if let TextBlob(part) | DataBlob(part) | WasmModule(part) = &binding.value
            && !new.modules.iter().any(|module| module.name == *part)
        {
            new.modules.extend(before.iter().find(|module| module.name == *part).cloned());
        }
    }
}

/// `GET workers/scripts/:script_name`: its code. That of modules is a form.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    code(&api, account, &name, None, false).await
}

/// `GET workers/scripts/:script_name/content/v2`: its code, of a version if one is named, always as a form.
pub(crate) async fn content(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(query): Extension<Arc<Query>>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let version = query.get("version").map(id_of).transpose()?;
    code(&api, account, &name, version, true).await
}

async fn code(
    api: &Arc<Api>,
    account: Account,
    name: &str,
    version: Option<WorkerVersionId>,
    always_form: bool,
) -> Result<Response, ApiError> {
    let name = named(name)?;
    let boundary = hex::encode(rand::random::<[u8; 16]>());
    api.read(move |snapshot| {
        let worker = change::find(snapshot, &account, &name)?;
        let id = version.or_else(|| worker.versions.last().copied());
        let version = change::version(snapshot, &worker, id.ok_or_else(|| change::unknown(&name))?)?;
        let modules =
            version.modules.iter().map(|module| Ok((module, change::octets(snapshot, &worker, module)?)));
        let modules = modules.collect::<Result<Vec<_>, ApiError>>()?;
        let is_script = version.syntax == WorkerSyntax::ServiceWorker && !always_form;
        let (content_type, octets) = match modules
            .into_iter()
            .partition::<Vec<_>, _>(|(module, _)| is_script && module.name == version.main)
        {
            (mut script, _) if !script.is_empty() => {
                ("application/javascript".to_owned(), script.swap_remove(0).1)
            }
            (_, modules) => form::write(&boundary, modules.into_iter()),
        };
        let mut response = octets.into_response();
        let headers = response.headers_mut();
        let text = |text: &str| HeaderValue::from_str(text).ok();
        let fields = [
            (header::CONTENT_TYPE, text(&content_type)),
            (header::ETAG, text(&format!("\"{}\"", show::etag(&version)))),
            (HeaderName::from_static(SEQ_HEADER), Some(HeaderValue::from(snapshot.seq().0))),
            // A name of a module that no header can hold is not told; it is in the form.
            (ENTRYPOINT, text(version.main.as_str())),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        Ok(response)
    })
    .await
}

/// `GET workers/services/:script_name`.
pub(crate) async fn service(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let unknown = |name: &str| {
        let message = format!("This Worker does not exist on your account: {name:.80}");
        ApiError::new(Code::ServiceNotFound, message)
    };
    api.read(move |snapshot| {
        let found = WorkerName::parse(&name).ok();
        let worker = match found {
            Some(name) => snapshot.get::<Worker>(&(account.id, name))?,
            None => None,
        };
        let worker = worker.ok_or_else(|| unknown(&name))?;
        let latest = change::latest_version(snapshot, &worker)?;
        let shown = show::service(&worker, latest.as_ref());
        Ok(Answer::new(shown).at(snapshot.seq()))
    })
    .await
}

/// `GET workers/scripts/:script_name/references`: which Workers bind to it, and to which it does.
pub(crate) async fn references(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    read_of(&api, account, &name, move |snapshot, worker| {
        let row = |binding: &str, service: &str| {
            json!({ "name": binding, "service": service, "environment": super::ENVIRONMENT })
        };
        let incoming = super::delete::bound_to(snapshot, worker)?;
        let classes: Vec<_> =
            durable::of_worker(snapshot, worker)?.into_iter().map(|class| class.id).collect();
        let bound = durable::bound_to(snapshot, worker.account, &worker.name, &classes)?;
        let outgoing = super::delete::bindings_of(snapshot, worker)?;
        let shown = json!({
            "services": {
                "incoming": incoming.iter().map(|(from, name)| row(name.as_str(), from.as_str())).collect::<Vec<_>>(),
                "outgoing": outgoing.iter().map(|(name, to)| row(name.as_str(), to.as_str())).collect::<Vec<_>>(),
            },
            "durable_objects": bound.iter().map(|(from, name, id)| {
                let mut shown = row(name.as_str(), from.as_str());
                shown["durable_object_namespace_id"] = id.to_string().into();
                shown
            }).collect::<Vec<_>>(),
            "dispatch_outbounds": [],
        });
        Ok(shown)
    })
    .await
}

/// `GET workers/tails/by-consumer/:script_name`: there are none, and wrangler asks before it deletes.
pub(crate) async fn tail_producers() -> Answer {
    Answer::new(Value::Array(Vec::new()))
}

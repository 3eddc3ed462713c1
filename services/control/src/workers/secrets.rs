//! `workers/scripts/:script_name/secrets`. Each change is a version, like the latest but for its secrets, which answers at
//! once. Nobody is shown what a secret is.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
};
use proxima_model::{
    Account, BindingName, BindingValue, VersionShares, Worker, WorkerAnnotations, WorkerBinding, WorkerName,
    WorkerVersion, limits as model_limits,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    bindings,
    change::{self, Maker, NewVersion},
    durable::Classes,
    invalid, maker, named, read_of,
    scripts::Ids,
};
use crate::{
    api::{
        Api,
        body::JsonBody,
        envelope::Answer,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
};

/// A secret to put.
#[derive(Deserialize)]
pub(crate) struct SecretBody {
    name: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

/// `GET secrets`: their names.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    read_of(&api, account, &name, move |snapshot, worker| {
        let latest = change::latest_version(snapshot, worker)?;
        let names = latest.iter().flat_map(WorkerVersion::secrets).map(show);
        Ok(names.collect())
    })
    .await
}

/// `GET secrets/:secret_name`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name, secret)): Path<(String, String, String)>,
) -> Result<Answer, ApiError> {
    read_of(&api, account, &name, move |snapshot, worker| {
        let latest = change::latest_version(snapshot, worker)?;
        let mut names = latest.iter().flat_map(WorkerVersion::secrets);
        let found = names.find(|known| known.as_str() == secret).ok_or_else(|| unknown(&secret))?;
        Ok(show(found))
    })
    .await
}

/// `PUT secrets`.
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    headers: HeaderMap,
    JsonBody(body): JsonBody<SecretBody>,
) -> Result<Answer, ApiError> {
    let (name, maker) = (named(&name)?, maker(&author, &headers));
    let secret = BindingName::parse(&body.name).map_err(|problem| invalid(&problem).at("/name"))?;
    let text = body.checked()?;
    let shown = show(&secret);
    let change = move |new: &mut NewVersion| {
        set(new, &secret, &text)?;
        new.annotations.triggered_by = Some("secret".to_owned());
        Ok(())
    };
    write(&api, (account, name), &author, maker, shown, change).await
}

/// Sets one of them, and binds it if it is new.
fn set(new: &mut NewVersion, secret: &BindingName, text: &str) -> Result<(), ApiError> {
    match new.bindings.iter().find(|binding| binding.name == *secret) {
        None => {
            let value = BindingValue::SecretText;
            new.bindings.push(WorkerBinding { name: secret.clone(), value });
        }
        Some(binding) if binding.value == BindingValue::SecretText => {}
        Some(binding) => {
            let message = format!("name: {secret} is a {} already", bindings::kind(&binding.value));
            return Err(ApiError::new(Code::WorkerInvalid, message).at("/name"));
        }
    }
    if new.bindings.len() > model_limits::WORKER_BINDINGS_MAX {
        let message = format!("a version has at most {} bindings", model_limits::WORKER_BINDINGS_MAX);
        return Err(ApiError::new(Code::WorkerInvalid, message));
    }
    new.secrets.insert(secret.clone(), text.to_owned());
    Ok(())
}

/// Secrets to set, and to delete.
#[derive(Deserialize)]
pub(crate) struct SecretsBody {
    secrets: BTreeMap<String, Option<SecretBody>>,
    #[serde(default)]
    version_tags: BTreeMap<String, Value>,
}

/// `PATCH secrets-bulk`: one version for all of them; what is null is deleted.
pub(crate) async fn put_many(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    headers: HeaderMap,
    JsonBody(body): JsonBody<SecretsBody>,
) -> Result<Answer, ApiError> {
    let (name, maker) = (named(&name)?, maker(&author, &headers));
    if !body.version_tags.is_empty() {
        let message = "version_tags: tags of versions are not offered yet";
        return Err(ApiError::new(Code::NotOffered, message).at("/version_tags"));
    }
    let mut secrets = Vec::new();
    for (key, secret) in body.secrets {
        let at = |problem: ApiError| problem.at("/secrets");
        if secret.as_ref().is_some_and(|secret| secret.name != key) {
            let message = format!("secrets: {key:.80} is called otherwise by its name");
            return Err(at(ApiError::new(Code::WorkerInvalid, message)));
        }
        let key = BindingName::parse(&key).map_err(|problem| at(invalid(&problem)))?;
        secrets.push((key, secret.map(SecretBody::checked).transpose().map_err(at)?));
    }
    let set_ones = secrets.iter().filter(|(_, text)| text.is_some());
    let shown: Value =
        set_ones.map(|(name, _)| (name.to_string(), show(name))).collect::<serde_json::Map<_, _>>().into();
    let change = move |new: &mut NewVersion| {
        set_all(new, &secrets)?;
        new.annotations.triggered_by = Some("secret".to_owned());
        Ok(())
    };
    write(&api, (account, name), &author, maker, shown, change).await
}

/// Sets those that have a text, and deletes the others.
pub(super) fn set_all(
    new: &mut NewVersion,
    secrets: &[(BindingName, Option<String>)],
) -> Result<(), ApiError> {
    // What is deleted makes room.
    for (secret, _) in secrets.iter().filter(|(_, text)| text.is_none()) {
        remove(new, secret)?;
    }
    secrets.iter().try_for_each(|(secret, text)| text.as_ref().map_or(Ok(()), |text| set(new, secret, text)))
}

/// Deletes one of them.
fn remove(new: &mut NewVersion, secret: &BindingName) -> Result<(), ApiError> {
    new.secrets.remove(secret).ok_or_else(|| unknown(secret.as_str()))?;
    new.bindings.retain(|binding| binding.name != *secret);
    Ok(())
}

impl SecretBody {
    fn checked(self) -> Result<String, ApiError> {
        checked(self.kind.as_deref(), self.text)
    }
}

/// What a secret of this type is.
pub(super) fn checked(kind: Option<&str>, text: Option<String>) -> Result<String, ApiError> {
    if kind.is_some_and(|kind| kind != "secret_text") {
        let message = "type: only secret_text is offered yet";
        return Err(ApiError::new(Code::NotOffered, message).at("/type"));
    }
    let text = text.ok_or_else(|| {
        ApiError::new(Code::WorkerInvalid, "text: it is missing: give what the secret is").at("/text")
    })?;
    if text.len() > model_limits::WORKER_VARIABLE_OCTETS_MAX {
        let most = model_limits::WORKER_VARIABLE_OCTETS_MAX;
        let message = format!("text: it has more than {most} octets");
        return Err(ApiError::new(Code::WorkerInvalid, message).at("/text"));
    }
    Ok(text)
}

/// `DELETE secrets/:secret_name`.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name, secret)): Path<(String, String, String)>,
    author: Author,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let (name, maker) = (named(&name)?, maker(&author, &headers));
    let secret = BindingName::parse(&secret).map_err(|_| unknown(&secret))?;
    let change = move |new: &mut NewVersion| {
        remove(new, &secret)?;
        new.annotations.triggered_by = Some("secret".to_owned());
        Ok(())
    };
    write(&api, (account, name), &author, maker, Value::Null, change).await
}

async fn write(
    api: &Arc<Api>,
    (account, name): (Account, WorkerName),
    author: &Author,
    maker: Maker,
    answer: Value,
    change: impl Fn(&mut NewVersion) -> Result<(), ApiError> + Send + Sync + 'static,
) -> Result<Answer, ApiError> {
    api.change(author, move |draft| {
        let ids = Ids::draw(draft);
        if !draft.is_repeat {
            let mut worker = change::read(draft, &account, &name)?;
            replace(draft, &mut worker, &ids, &maker, &change)?;
            draft.put(&worker);
        }
        Ok(answer.clone())
    })
    .await
}

/// Adds a version like the latest, with something changed, and has it answer at once. The latest must be what answers: else
/// code would come to answer that nobody deployed. The version comes with its secrets; the Worker is not put yet.
pub(super) fn replace(
    draft: &mut Draft<'_>,
    worker: &mut Worker,
    ids: &Ids,
    maker: &Maker,
    change: impl FnOnce(&mut NewVersion) -> Result<(), ApiError>,
) -> Result<(WorkerVersion, BTreeMap<BindingName, String>), ApiError> {
    let latest = change::latest(draft.snapshot, worker)?.ok_or_else(|| change::unknown(&worker.name))?;
    let answers = worker.deployment.as_ref().map(|deployment| &deployment.versions);
    if answers != Some(&VersionShares::one(latest.version.id)) {
        return Err(ApiError::new(
            Code::VersionNotDeployed,
            "the latest version of this Worker is not the one that answers all requests: deploy it first, or make a version with this change (wrangler versions secret put)",
        ));
    }
    let mut new = NewVersion::like(&latest, ids.version);
    change(&mut new)?;
    let secrets = new.secrets.clone();
    let classes = Classes::of(draft.snapshot, worker.account)?;
    let version = change::add(draft, worker, new, (&BTreeMap::new(), &classes), maker)?;
    let (shares, said) = (VersionShares::one(version.id), WorkerAnnotations::default());
    change::deploy(draft, worker, ids.deployment, shares, said, maker)?;
    Ok((version, secrets))
}

fn show(name: &BindingName) -> Value {
    json!({ "name": name.as_str(), "type": "secret_text" })
}

fn unknown(name: &str) -> ApiError {
    ApiError::new(Code::SecretNotFound, format!("the Worker has no secret {name:.80}"))
}

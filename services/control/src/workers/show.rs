//! Workers, versions and deployments as v4 shows them. Of what only the engine can tell (handlers, start-up time) nothing is said: it is
//! not kept.

use proxima_ledger::Snapshot;
use proxima_model::{
    ApiToken, Deployment, TokenId, VersionShares, Worker, WorkerAnnotations, WorkerSyntax, WorkerVersion,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{ENVIRONMENT, bindings, durable};
use crate::{api::envelope::time, error::ApiError};

/// How usage is billed elsewhere; clients expect one.
const USAGE_MODEL: &str = "standard";

/// What changes whenever a version's code does.
pub(super) fn etag(version: &WorkerVersion) -> String {
    let mut hash = Sha256::new();
    for module in &version.modules {
        hash.update(module.name.as_str().len().to_be_bytes());
        hash.update(module.name.as_str());
        hash.update(module.hash.as_bytes());
    }
    hash.update(version.main.as_str());
    hex::encode(hash.finalize())
}

/// A Worker in a list, or after an upload; `version` is its latest.
pub(super) fn script(worker: &Worker, version: Option<&WorkerVersion>) -> Value {
    let mut shown = json!({
        "id": worker.name.as_str(),
        "tag": worker.tag.to_string(),
        "tags": worker.tags,
        "created_on": time(worker.created_at),
        "modified_on": time(worker.modified_at),
        "usage_model": USAGE_MODEL,
        "has_assets": version.is_some_and(|version| version.assets.is_some()),
        "logpush": false,
        "tail_consumers": null,
    });
    if let Some(version) = version {
        shown["etag"] = etag(version).into();
        shown["has_modules"] = (version.syntax == WorkerSyntax::Modules).into();
        shown["compatibility_date"] = version.compatibility_date.as_str().into();
        shown["compatibility_flags"] = flags(version);
        shown["last_deployed_from"] = version.source.as_str().into();
    }
    if let Some(tag) = &worker.migration_tag {
        shown["migration_tag"] = tag.as_str().into();
    }
    if let Some(deployment) = &worker.deployment {
        shown["last_deployed_from"] = deployment.source.as_str().into();
    }
    shown
}

/// A Worker as services are shown, of which there was one for each of several environments once.
pub(super) fn service(worker: &Worker, version: Option<&WorkerVersion>) -> Value {
    let environment = json!({
        "environment": ENVIRONMENT,
        "created_on": time(worker.created_at),
        "modified_on": time(worker.modified_at),
        "script": script(worker, version),
    });
    json!({
        "id": worker.name.as_str(),
        "created_on": time(worker.created_at),
        "modified_on": time(worker.modified_at),
        "usage_model": USAGE_MODEL,
        "environments": [environment],
        "default_environment": environment,
    })
}

/// A version, whole or for a list.
pub(super) fn version(snapshot: &Snapshot, version: &WorkerVersion, whole: bool) -> Result<Value, ApiError> {
    let (id, name) = author(snapshot, &version.author)?;
    let mut shown = json!({
        "id": version.id.to_string(),
        "number": version.number,
        "metadata": {
            "created_on": time(version.created_at),
            "modified_on": time(version.created_at),
            "source": version.source,
            "author_id": id,
            "author_email": name,
            "hasPreview": false,
            "has_preview": false,
        },
        "annotations": annotations(&version.annotations),
    });
    if whole {
        shown["resources"] = json!({
            "bindings": version.bindings.iter().map(bindings::show).collect::<Vec<_>>(),
            "script": { "etag": etag(version), "last_deployed_from": version.source },
            "script_runtime": {
                "compatibility_date": version.compatibility_date.as_str(),
                "compatibility_flags": flags(version),
                "usage_model": USAGE_MODEL,
                "limits": limits(version),
            },
        });
        let of = (version.account, &version.worker);
        durable::name_bindings(snapshot, of, &mut shown["resources"]["bindings"])?;
    }
    Ok(shown)
}

/// A deployment.
pub(super) fn deployment(snapshot: &Snapshot, deployment: &Deployment) -> Result<Value, ApiError> {
    let (id, name) = author(snapshot, &deployment.author)?;
    Ok(json!({
        "id": deployment.id.to_string(),
        "created_on": time(deployment.created_at),
        "source": deployment.source,
        "strategy": "percentage",
        "author_id": id,
        "author_email": name,
        "annotations": annotations(&deployment.annotations),
        "versions": shares(&deployment.versions),
    }))
}

fn shares(versions: &VersionShares) -> Vec<Value> {
    let share = |share: &proxima_model::VersionShare| {
        json!({
            "version_id": share.version.to_string(),
            "percentage": f64::from(share.hundredths) / 100.0,
        })
    };
    versions.as_slice().iter().map(share).collect()
}

/// What is set of a Worker, of each version and of them all.
pub(super) fn settings(
    snapshot: &Snapshot,
    worker: &Worker,
    version: Option<&WorkerVersion>,
) -> Result<Value, ApiError> {
    let mut shown = script_settings(worker);
    if let Some(version) = version {
        shown["bindings"] = version.bindings.iter().map(bindings::show).collect();
        durable::name_bindings(snapshot, (worker.account, &worker.name), &mut shown["bindings"])?;
        shown["compatibility_date"] = version.compatibility_date.as_str().into();
        shown["compatibility_flags"] = flags(version);
        shown["usage_model"] = USAGE_MODEL.into();
        shown["limits"] = limits(version);
        shown["placement"] = json!({});
        shown["annotations"] = annotations(&version.annotations);
    }
    if let Some(tag) = &worker.migration_tag {
        shown["migration_tag"] = tag.as_str().into();
    }
    Ok(shown)
}

/// What is set of all of a Worker's versions.
pub(super) fn script_settings(worker: &Worker) -> Value {
    json!({
        "logpush": false,
        "observability": worker.observability,
        "tags": worker.tags,
        "tail_consumers": null,
    })
}

fn flags(version: &WorkerVersion) -> Value {
    version.compatibility_flags.iter().map(|flag| flag.as_str()).collect()
}

fn limits(version: &WorkerVersion) -> Value {
    let limits = [("cpu_ms", version.cpu_ms_max), ("subrequests", version.subrequests_max)];
    let given = limits.into_iter().filter_map(|(name, given)| Some((name.to_owned(), json!(given?))));
    Value::Object(given.collect())
}

fn annotations(given: &WorkerAnnotations) -> Value {
    let named = [
        ("workers/message", &given.message),
        ("workers/tag", &given.tag),
        ("workers/triggered_by", &given.triggered_by),
    ];
    let shown = named.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text.clone()?.into())));
    Value::Object(shown.collect::<Map<_, _>>())
}

/// The id and the name of the token that made something: nobody here has an e-mail address. Of one that is gone, its id.
fn author<'a>(snapshot: &Snapshot, author: &'a str) -> Result<(&'a str, String), ApiError> {
    let id = author.strip_prefix("token/").unwrap_or(author);
    let token = match id.parse::<TokenId>() {
        Ok(id) => snapshot.get::<ApiToken>(&id)?,
        Err(_) => None,
    };
    Ok((id, token.map_or_else(|| id.to_owned(), |token| token.name)))
}

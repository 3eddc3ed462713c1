//! What there is of workers.dev, which there is not: what clients ask about it before they go on, and how they are told.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_model::{Account, Worker};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{change, named, read_of};
use crate::{
    api::{Api, body::JsonBody, envelope::Answer, write::Author},
    error::{ApiError, Code},
};

/// Whether a Worker is to be at a name of the network's own.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SubdomainBody {
    enabled: Option<bool>,
    previews_enabled: Option<bool>,
}

/// `GET workers/subdomain`: the account's part of the network's own domain.
pub(crate) async fn account() -> ApiError {
    not_offered("workers.dev")
}

/// `GET workers/scripts/:script_name/subdomain`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    read_of(&api, account, &name, |_, worker| Ok(show(worker))).await
}

/// `POST workers/scripts/:script_name/subdomain`.
pub(crate) async fn post(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    JsonBody(body): JsonBody<SubdomainBody>,
) -> Result<Answer, ApiError> {
    if body.enabled == Some(true) {
        return Err(not_offered("workers_dev"));
    }
    if body.previews_enabled == Some(true) {
        return Err(not_offered("preview_urls"));
    }
    switch_off(api, account, &name, author).await
}

/// `DELETE workers/scripts/:script_name/subdomain`.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
) -> Result<Answer, ApiError> {
    switch_off(api, account, &name, author).await
}

async fn switch_off(api: Arc<Api>, account: Account, name: &str, author: Author) -> Result<Answer, ApiError> {
    let name = named(name)?;
    api.change(&author, move |draft| {
        let mut worker = change::read(draft, &account, &name)?;
        if !draft.is_repeat && (worker.subdomain_enabled || worker.previews_enabled) {
            (worker.subdomain_enabled, worker.previews_enabled) = (false, false);
            draft.put(&worker);
        }
        Ok(show(&worker))
    })
    .await
}

pub(super) fn show(worker: &Worker) -> Value {
    json!({ "enabled": worker.subdomain_enabled, "previews_enabled": worker.previews_enabled })
}

fn not_offered(what: &str) -> ApiError {
    let message = format!(
        "{what}: this network has no domain of its own for Workers: give the Worker routes or a custom domain, and set workers_dev = false"
    );
    ApiError::new(Code::NotOffered, message)
}

//! Namespaces.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_ledger::{Precondition, Snapshot};
use proxima_model::{
    Account, BindingValue, Entity, KvNamespace, KvNamespaceId, KvUsage, limits as model_limits,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find;
use crate::{
    api::{
        Api,
        body::JsonBody,
        envelope::Answer,
        page::Query,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    limits, workers,
};

/// What a namespace is to be called.
#[derive(Debug, Deserialize)]
pub(crate) struct NamespaceBody {
    #[serde(default)]
    title: String,
    #[serde(default)]
    jurisdiction: Option<String>,
}

impl NamespaceBody {
    fn title(self) -> Result<String, ApiError> {
        if self.jurisdiction.is_some() {
            let message = "jurisdiction: namespaces of one are not offered yet";
            return Err(ApiError::new(Code::NotOffered, message).at("/jurisdiction"));
        }
        KvNamespace::check_title(&self.title)
            .map_err(|invalid| ApiError::invalid(Code::KvTitleInvalid, &invalid))?;
        Ok(self.title)
    }
}

/// `GET namespaces`, by id or title.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let page = query.page(limits::KV_NAMESPACES_PER_PAGE, limits::OTHERS_PER_PAGE_MAX)?;
    let by_title = query.choice("order", &["id", "title"])? == Some("title");
    let descending = query.descending()?;
    api.read(move |snapshot| {
        let mut all = of_account(snapshot, &account)?;
        if by_title {
            all.sort_by(|a, b| a.title.cmp(&b.title));
        }
        if descending {
            all.reverse();
        }
        let (all, info) = page.cut(all);
        Ok(Answer::page((all.iter().map(show).collect(), info)).at(snapshot.seq()))
    })
    .await
}

/// `GET namespaces/:namespace_id`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| Ok(Answer::new(show(&find(snapshot, &account, &id)?)).at(snapshot.seq()))).await
}

/// `POST namespaces`.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    author: Author,
    JsonBody(body): JsonBody<NamespaceBody>,
) -> Result<Answer, ApiError> {
    let title = body.title()?;
    api.change(&author, move |draft| {
        let id = KvNamespaceId::from_bytes(draft.id());
        if draft.is_repeat {
            return Ok(show(&draft.made::<KvNamespace>(&(account.id, id))?));
        }
        draft.require(Precondition::Present(Account::key_of(&account.id)));
        let others = alone(draft, &account)?;
        let limit = model_limits::KV_NAMESPACES_PER_ACCOUNT_MAX;
        if others.len() >= limit {
            return Err(ApiError::new(Code::KvQuota, format!("an account has at most {limit} namespaces")));
        }
        free(&others, None, &title)?;
        let namespace = KvNamespace { account: account.id, id, title: title.clone(), created_at: draft.now };
        draft.put(&namespace);
        draft.put(&KvUsage { account: account.id, namespaces: others.len() + 1 });
        Ok(show(&namespace))
    })
    .await
}

/// `PUT namespaces/:namespace_id`: another title.
pub(crate) async fn rename(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
    author: Author,
    JsonBody(body): JsonBody<NamespaceBody>,
) -> Result<Answer, ApiError> {
    let title = body.title()?;
    api.change(&author, move |draft| {
        let mut namespace = find(draft.snapshot, &account, &id)?;
        if draft.is_repeat || namespace.title == title {
            return Ok(show(&namespace));
        }
        let all = alone(draft, &account)?;
        free(&all, Some(namespace.id), &title)?;
        namespace.title.clone_from(&title);
        draft.put(&namespace);
        draft.put(&KvUsage { account: account.id, namespaces: all.len() });
        Ok(show(&namespace))
    })
    .await
}

/// `DELETE namespaces/:namespace_id`, with all that is in it; refused while Workers are bound to it.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
    author: Author,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        if draft.is_repeat {
            return Ok(Value::Null);
        }
        let namespace = find(draft.snapshot, &account, &id)?;
        let all = alone(draft, &account)?;
        let bound = bound_to(draft.snapshot, &account, namespace.id)?;
        if !bound.is_empty() {
            let message = format!("namespace has associated scripts: {}", bound.join(", "));
            return Err(ApiError::new(Code::KvInUse, message));
        }
        draft.delete::<KvNamespace>(&(account.id, namespace.id));
        draft.put(&KvUsage { account: account.id, namespaces: all.len().saturating_sub(1) });
        Ok(Value::Null)
    })
    .await
}

/// The namespaces of an account, by their ids.
fn of_account(snapshot: &Snapshot, account: &Account) -> Result<Vec<KvNamespace>, ApiError> {
    Ok(snapshot.scan::<KvNamespace>(&[&account.id]).collect::<Result<_, _>>()?)
}

/// The same, while nobody else makes, renames or deletes one.
fn alone(draft: &mut Draft<'_>, account: &Account) -> Result<Vec<KvNamespace>, ApiError> {
    draft.read::<KvUsage>(&account.id)?;
    of_account(draft.snapshot, account)
}

/// Whether no other namespace has this title.
fn free(all: &[KvNamespace], own: Option<KvNamespaceId>, title: &str) -> Result<(), ApiError> {
    if all.iter().any(|other| other.title == title && Some(other.id) != own) {
        let message = "a namespace with this account ID and title already exists";
        return Err(ApiError::new(Code::KvTitleTaken, message));
    }
    Ok(())
}

/// The Workers that are bound to a namespace in a version that answers.
fn bound_to(snapshot: &Snapshot, account: &Account, id: KvNamespaceId) -> Result<Vec<String>, ApiError> {
    let mut bound = Vec::new();
    workers::delete::each_binding(snapshot, account.id, |worker, binding| {
        if binding.value == BindingValue::KvNamespace(id) {
            bound.push(worker.to_string());
        }
    })?;
    bound.dedup();
    Ok(bound)
}

/// A namespace as v4 shows it.
fn show(namespace: &KvNamespace) -> Value {
    json!({
        "id": namespace.id.to_string(),
        "title": namespace.title,
        "supports_url_encoding": true,
    })
}

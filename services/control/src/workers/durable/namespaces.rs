//! `workers/durable_objects/namespaces`: which there are, and the objects of each.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_model::{Account, DurableNamespace, DurableObjectId};
use proxima_pipeline::{DURABLE_LISTED_MAX, DurableAbout, DurableError};
use serde_json::{Value, json};

use super::{Classes, find, port};
use crate::{
    api::{Api, envelope::Answer, page::Query},
    error::{ApiError, Code},
    limits,
};

/// Objects of a page, unless it is said how many.
const OBJECTS_PER_PAGE: u64 = 1_000;

impl From<DurableError> for ApiError {
    fn from(error: DurableError) -> Self {
        Self::new(Code::DurableUnavailable, error.to_string())
    }
}

/// `GET namespaces`.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let page = query.page(limits::DURABLE_NAMESPACES_PER_PAGE, limits::OTHERS_PER_PAGE_MAX)?;
    api.read(move |snapshot| {
        let (all, info) = page.cut(Classes::of(snapshot, account.id)?.all);
        Ok(Answer::page((all.iter().map(show).collect(), info)).at(snapshot.seq()))
    })
    .await
}

fn show(namespace: &DurableNamespace) -> Value {
    json!({
        "id": namespace.id.to_string(),
        "name": format!("{}_{}", namespace.worker, namespace.class),
        "script": namespace.worker.as_str(),
        "class": namespace.class.as_str(),
        "use_sqlite": namespace.has_sql,
    })
}

/// `GET namespaces/:id/objects`: by their ids; a cursor is the id of the last that was shown.
pub(crate) async fn objects(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(query): Extension<Arc<Query>>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let limit = query.number("limit")?.unwrap_or(OBJECTS_PER_PAGE);
    let limit = usize::try_from(limit).ok().filter(|limit| (1..=DURABLE_LISTED_MAX).contains(limit));
    let limit = limit
        .ok_or_else(|| ApiError::new(Code::QueryInvalid, format!("limit: give 1 to {DURABLE_LISTED_MAX}")))?;
    let cursor = query.get("cursor").map(str::parse::<DurableObjectId>).transpose();
    let cursor = cursor.map_err(|_| ApiError::new(Code::QueryInvalid, "cursor: it is none of this list"))?;
    let namespace = api.read(move |snapshot| find(snapshot, &account, &id)).await?;
    let port =
        port(&api).ok_or_else(|| ApiError::new(Code::NotOffered, "this server has no Durable Objects"))?;
    let found = port.list(&namespace, cursor, limit).await?;
    // Fewer than there was room for: there are no others.
    let next = if found.len() < limit { None } else { found.last().map(|about| about.id.to_string()) };
    let show = |DurableAbout { id, has_stored_data }: &DurableAbout| json!({ "id": id.to_string(), "hasStoredData": has_stored_data });
    Ok(Answer::new(found.iter().map(show).collect()).cursor(found.len(), next))
}

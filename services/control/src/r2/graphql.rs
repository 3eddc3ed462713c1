//! The one question of v4's GraphQL that is answered: how much is in a bucket, which wrangler asks nowhere else.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use proxima_model::{Account, AccountId, Permission};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{find_in, jurisdiction_of, objects};
use crate::{
    api::{
        Api,
        access::{Caller, On},
        body::JsonBody,
        envelope::time,
    },
    error::{ApiError, Code},
};

/// The dataset that is asked for.
const DATASET: &str = "r2StorageAdaptiveGroups";

/// A question.
#[derive(Debug, Deserialize)]
pub(crate) struct Question {
    query: String,
    #[serde(default)]
    variables: Variables,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Variables {
    account_tag: String,
    filter: Filter,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Filter {
    bucket_name: String,
}

/// `POST graphql`.
pub(crate) async fn post(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    JsonBody(question): JsonBody<Question>,
) -> Result<Json<Value>, ApiError> {
    if !question.query.contains(DATASET) {
        return Err(ApiError::new(Code::NotOffered, format!("of GraphQL, only {DATASET} is offered")));
    }
    let Variables { account_tag, filter } = question.variables;
    let nobody = || ApiError::no_object(&format!("/accounts/{account_tag:.64}"));
    let id: AccountId = account_tag.parse().map_err(|_| nobody())?;
    if !caller.may(Permission::R2Read, On::Account(id)) {
        return Err(nobody());
    }
    let account = api.read(move |snapshot| Ok(snapshot.get::<Account>(&id)?)).await?.ok_or_else(nobody)?;
    // With its jurisdiction before it, where it has one.
    let (jurisdiction, name) = match filter.bucket_name.split_once('_') {
        Some((jurisdiction, name)) => (jurisdiction_of(jurisdiction)?, name),
        None => (None, filter.bucket_name.as_str()),
    };
    let bucket = find_in(&api, &account, name, jurisdiction).await?;
    let content = objects(&api)?.content(&bucket).await?;
    let group = json!({
        "max": { "objectCount": content.objects, "payloadSize": content.octets, "metadataSize": 0 },
        "dimensions": { "datetime": time(api.now()) },
    });
    Ok(Json(json!({
        "data": { "viewer": { "accounts": [{ DATASET: [group] }] } },
        "errors": null,
    })))
}

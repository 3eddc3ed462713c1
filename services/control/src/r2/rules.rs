//! `r2/buckets/:bucket_name/cors` and `…/lifecycle`: what its owner sets of a bucket.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Request, State},
    http::HeaderMap,
};
use proxima_model::Account;
use proxima_pipeline::{CorsPolicy, Lifecycle};
use serde_json::Value;

use super::{change, find};
use crate::{
    api::{Api, body, envelope::Answer, write::Author},
    error::{ApiError, Code},
    limits,
};

/// The body of a request: of any content type, as where buckets are made.
pub(super) async fn given(request: Request) -> Result<Value, ApiError> {
    body::parse(&body::read(request, limits::JSON_BODY_OCTETS_MAX).await?)
}

/// `GET …/cors`.
pub(crate) async fn cors(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    let none = || ApiError::new(Code::BucketCorsAbsent, "this bucket has no rules for other sites (CORS)");
    Ok(Answer::new(bucket.cors.ok_or_else(none)?).at(api.replica.seq()))
}

/// `PUT …/cors`: in the place of those that it has.
pub(crate) async fn put_cors(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    request: Request,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, request.headers()).await?;
    let policy = CorsPolicy::parse(given(request).await?)?.to_value();
    change(&api, &author, bucket, move |_, bucket| {
        bucket.cors = Some(policy.clone());
        Ok(())
    })
    .await
}

/// `DELETE …/cors`.
pub(crate) async fn delete_cors(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    change(&api, &author, bucket, |_, bucket| {
        bucket.cors = None;
        Ok(())
    })
    .await
}

/// `GET …/lifecycle`: what is in force, which is something where its owner has said nothing.
pub(crate) async fn lifecycle(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    let rules = Lifecycle::kept(bucket.lifecycle.as_ref()).to_value();
    Ok(Answer::new(rules).at(api.replica.seq()))
}

/// `PUT …/lifecycle`: in the place of those that are in force.
pub(crate) async fn put_lifecycle(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    request: Request,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, request.headers()).await?;
    let rules = Lifecycle::parse(given(request).await?)?.to_value();
    change(&api, &author, bucket, move |_, bucket| {
        bucket.lifecycle = Some(rules.clone());
        Ok(())
    })
    .await
}

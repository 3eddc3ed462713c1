//! Keys and their values, one at a time.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Request, State},
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use proxima_model::{Account, KvKey, Timestamp, limits as model_limits};
use proxima_pipeline::{KV_LIST_MAX, KvListed, KvListing, KvPair, KvRead, KvValue, kv_expires};
use serde_json::{Value, json};

use super::{Values, invalid, key, metadata as checked_metadata, room, too_large};
use crate::{
    api::{
        Api,
        body::{self, content_type, read},
        envelope::Answer,
        page::Query,
    },
    error::{ApiError, Code},
    limits,
};

/// The field that tells from when a value is gone, in seconds since the epoch.
const EXPIRATION: HeaderName = HeaderName::from_static("expiration");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// `GET keys`.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(query): Extension<Arc<Query>>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let limit =
        query.number("limit")?.map_or(KV_LIST_MAX, |given| usize::try_from(given).unwrap_or(usize::MAX));
    if !(limits::KV_LIST_MIN..=KV_LIST_MAX).contains(&limit) {
        let message = format!("limit: give {} to {KV_LIST_MAX}", limits::KV_LIST_MIN);
        return Err(ApiError::new(Code::KvLimitInvalid, message));
    }
    let prefix = query.get("prefix").unwrap_or_default().to_owned();
    let asked = KvListing::page(prefix, query.get("cursor"), limit);
    let asked = asked.map_err(|refusal| ApiError::new(Code::QueryInvalid, refusal.to_string()))?;
    let values = Values::of(&api, account, id).await?;
    let page = values.port.list(values.namespace, asked).await?;
    let shown = page.keys.iter().map(show).collect::<Vec<_>>();
    Ok(Answer::new(Value::Array(shown)).cursor(page.keys.len(), page.cursor()))
}

fn show(listed: &KvListed) -> Value {
    let mut shown = json!({ "name": listed.key.as_str() });
    if let Some(at) = listed.expires {
        shown["expiration"] = at.as_seconds().into();
    }
    if let Some(metadata) = &listed.metadata {
        shown["metadata"] = parsed(metadata);
    }
    shown
}

/// What is said of a value: JSON, as it was checked when it came.
pub(super) fn parsed(metadata: &str) -> Value {
    serde_json::from_str(metadata).unwrap_or_default()
}

/// `GET values/:key_name`: its octets.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id, name)): Path<(String, String, String)>,
) -> Result<Response, ApiError> {
    let found = find(&api, account, id, &name).await?;
    let mut response = found.value.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, OCTETS);
    if let Some(at) = found.expires {
        response.headers_mut().insert(EXPIRATION, HeaderValue::from(at.as_seconds()));
    }
    Ok(response)
}

/// `GET metadata/:key_name`.
pub(crate) async fn metadata(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id, name)): Path<(String, String, String)>,
) -> Result<Answer, ApiError> {
    let found = find(&api, account, id, &name).await?;
    Ok(Answer::new(found.metadata.as_deref().map(parsed).unwrap_or_default()))
}

async fn find(api: &Arc<Api>, account: Account, id: String, name: &str) -> Result<KvValue, ApiError> {
    let key = key(name)?;
    let values = Values::of(api, account, id).await?;
    let found = values.port.get(values.namespace, &key, KvRead::Latest).await?;
    found.ok_or_else(|| ApiError::new(Code::KvKeyNotFound, "get: 'key not found'"))
}

/// `PUT values/:key_name`: the body is the value, or a form has it, with what is said of it.
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(query): Extension<Arc<Query>>,
    Path((_, id, name)): Path<(String, String, String)>,
    request: Request,
) -> Result<Answer, ApiError> {
    let key = key(&name)?;
    let expires = expires(&query, api.now())?;
    let values = Values::of(&api, account, id).await?;
    let _room = room(&api, &request, limits::KV_FORM_OCTETS_MAX)?;
    let (value, metadata) = match content_type(&request).as_str() {
        "multipart/form-data" => form(request).await?,
        _ => (read(request, model_limits::KV_VALUE_OCTETS_MAX).await.map_err(too_large)?, None),
    };
    let pair = KvPair { key, value: KvValue { value, metadata, expires } };
    values.port.put(values.namespace, vec![pair]).await?;
    Ok(Answer::new(json!({})))
}

/// From when what is put is gone, as the query says.
fn expires(query: &Query, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
    let number = |name: &str| {
        let given = query.number(name)?;
        Ok::<_, ApiError>(given.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX)))
    };
    kv_expires(number("expiration")?, number("expiration_ttl")?, now).map_err(invalid)
}

/// A value with what is said of it.
async fn form(request: Request) -> Result<(Bytes, Option<Box<str>>), ApiError> {
    let mut form = body::form(request, limits::KV_FORM_OCTETS_MAX).await.map_err(too_large)?;
    let (mut value, mut metadata) = (None, None);
    while let Some(field) = form.next_field().await.map_err(body::broken_form)? {
        let name = field.name().unwrap_or_default().to_owned();
        let octets = field.bytes().await.map_err(body::broken_form)?;
        match name.as_str() {
            "value" => value = Some(octets),
            "metadata" if octets.is_empty() => {}
            "metadata" => {
                let text = std::str::from_utf8(&octets);
                let text =
                    text.map_err(|_| ApiError::new(Code::KvValueInvalid, "metadata: it is not UTF-8"))?;
                metadata = Some(checked_metadata(text)?);
            }
            other => {
                let message = format!("the form has a part {other:.80}; give `value` and `metadata`");
                return Err(ApiError::new(Code::KvValueInvalid, message));
            }
        }
    }
    let value = value.ok_or_else(|| ApiError::new(Code::KvValueInvalid, "value: the form has none"))?;
    if value.len() > model_limits::KV_VALUE_OCTETS_MAX {
        return Err(ApiError::new(Code::KvTooLarge, oversized(value.len())));
    }
    Ok((value, metadata))
}

/// What is said of a value that is too large.
pub(super) fn oversized(octets: usize) -> String {
    format!("Value length of {octets} exceeds limit of {}.", model_limits::KV_VALUE_OCTETS_MAX)
}

/// `DELETE values/:key_name`; that a key has nothing is no fault.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id, name)): Path<(String, String, String)>,
) -> Result<Answer, ApiError> {
    let key: KvKey = key(&name)?;
    let values = Values::of(&api, account, id).await?;
    values.port.delete(values.namespace, vec![key]).await?;
    Ok(Answer::new(json!({})))
}

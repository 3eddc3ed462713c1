//! `r2/buckets/:bucket_name/objects/:key`: an object as it is, without an envelope.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use http_body::Body as _;
use proxima_chassis::Place;
use proxima_model::{Account, AccountId, StorageClass};
use proxima_pipeline::{
    Body, Expected, ObjectConditions, ObjectDelete, ObjectFields, ObjectGet, ObjectKey, ObjectPut,
    read_http_date,
};
use serde_json::json;

use super::{find, objects};
use crate::{
    api::{Api, envelope::Answer, turn::Turn},
    error::{ApiError, Code},
};

/// The field that says how an object is kept.
pub(super) const STORAGE_CLASS: &str = "cf-r2-storage-class";

/// How something is to be kept.
pub(super) fn storage_class(headers: &HeaderMap) -> Result<Option<StorageClass>, ApiError> {
    let Some(given) = headers.get(STORAGE_CLASS) else { return Ok(None) };
    let parsed = StorageClass::parse(given.to_str().unwrap_or_default());
    parsed.map(Some).map_err(|error| ApiError::new(Code::ObjectInvalid, error.to_string()))
}

fn fields(headers: &HeaderMap) -> Result<ObjectFields, ApiError> {
    let invalid = |what: String| ApiError::new(Code::ObjectInvalid, what);
    let field = |name: HeaderName| {
        let value = headers.get(&name).map(HeaderValue::to_str).transpose();
        value.map(|value| value.map(str::to_owned)).map_err(|_| invalid(format!("{name}: give ASCII")))
    };
    let expires = field(header::EXPIRES)?
        .map(|text| read_http_date(&text).ok_or_else(|| invalid("Expires: give a date".to_owned())));
    Ok(ObjectFields {
        content_type: field(header::CONTENT_TYPE)?,
        cache_control: field(header::CACHE_CONTROL)?,
        content_disposition: field(header::CONTENT_DISPOSITION)?,
        content_encoding: field(header::CONTENT_ENCODING)?,
        content_language: field(header::CONTENT_LANGUAGE)?,
        expires: expires.transpose()?,
        metadata: Vec::new(),
        storage_class: storage_class(headers)?,
    })
}

/// A place among objects that are sent or received, instead of the one that the request has had so far.
fn place(api: &Api, account: &Account, turn: &Turn) -> Result<Place<AccountId>, ApiError> {
    let place = api.objects_under_way.take_for(account.id);
    let place =
        place.ok_or_else(|| ApiError::new(Code::Busy, "too many objects at a time; ask again, or use S3"))?;
    turn.over();
    Ok(place)
}

/// `GET`: its octets.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(turn): Extension<Turn>,
    Path((_, name, key)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    let place = place(&api, &account, &turn)?;
    let read = objects(&api)?.get(&bucket, &ObjectKey::new(key)?, ObjectGet::default()).await?;
    let mut head = read.about.head();
    head.insert(header::CONTENT_LENGTH, read.about.octets.into());
    let mut response = Response::new(axum::body::Body::new(read.body.holding(place)));
    *response.headers_mut() = head;
    Ok(response)
}

/// `PUT`, if what it replaces is as the request says.
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(turn): Extension<Turn>,
    Path((_, name, key)): Path<(String, String, String)>,
    request: Request,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, request.headers()).await?;
    let _place = place(&api, &account, &turn)?;
    let (key, fields) = (ObjectKey::new(key)?, fields(request.headers())?);
    let conditions = ObjectConditions::of_write(request.headers(), &ObjectConditions::FIELDS)?;
    let body = request.into_body();
    let expected = Expected { octets: body.size_hint().exact(), ..Expected::default() };
    let put = ObjectPut { fields, conditions, expected, ..ObjectPut::default() };
    let about = objects(&api)?.put(&bucket, &key, put, Body::received(body)).await?;
    Ok(Answer::new(json!({
        "key": key.as_str(),
        "etag": about.etag,
        "version": hex::encode(about.version),
        "size": about.octets.to_string(),
        "uploaded": crate::api::envelope::time(about.modified),
    })))
}

/// `DELETE`: what has nothing is deleted, too.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name, key)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    let key = ObjectKey::new(key)?;
    let deleted = json!({ "key": key.as_str() });
    let delete = ObjectDelete { key, conditions: ObjectConditions::default() };
    for outcome in objects(&api)?.delete(&bucket, vec![delete]).await? {
        outcome?;
    }
    Ok(Answer::new(deleted))
}

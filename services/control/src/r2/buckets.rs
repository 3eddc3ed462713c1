//! `r2/buckets`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Request, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use proxima_model::{Account, Bucket, BucketName, LocationHint, StorageClass};
use proxima_pipeline::NewBucket;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{find, jurisdiction, named, objects, same};
use crate::{
    api::{
        Api, body,
        envelope::{Answer, time},
        page::Query,
        write::Author,
    },
    error::{ApiError, Code},
    limits,
};

/// Buckets of a page unless asked; what the v4 API shows.
const PER_PAGE: usize = 20;
/// Buckets of a page at the most; what the v4 API shows.
const PER_PAGE_MAX: usize = 1_000;

/// What a bucket is made of.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewBody {
    name: String,
    location_hint: Option<String>,
    storage_class: Option<String>,
}

fn show(bucket: &Bucket) -> Value {
    json!({
        "name": bucket.name.as_str(),
        "creation_date": time(bucket.created_at),
        "location": bucket.location.map(LocationHint::as_str),
        "jurisdiction": bucket.jurisdiction.map_or("default", |jurisdiction| jurisdiction.as_str()),
        "storage_class": bucket.storage_class.as_str(),
    })
}

/// `GET r2/buckets`: a page in the order of names, with the cursor of the next.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(query): Extension<Arc<Query>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let jurisdiction = jurisdiction(&headers)?;
    let per_page =
        query.number("per_page")?.map_or(PER_PAGE, |given| usize::try_from(given).unwrap_or(usize::MAX));
    if !(1..=PER_PAGE_MAX).contains(&per_page) {
        return Err(ApiError::new(Code::QueryInvalid, format!("per_page: give 1 to {PER_PAGE_MAX}")));
    }
    let descending = query.choice("direction", &["asc", "desc"])? == Some("desc");
    let contains = query.get("name_contains").unwrap_or_default().to_owned();
    let cursor = query.get("cursor").or(query.get("start_after")).filter(|cursor| !cursor.is_empty());
    let cursor = cursor.map(named).transpose()?;
    let (page, next, seq) = api
        .read(move |snapshot| {
            let is_next = |name: &BucketName| match &cursor {
                Some(cursor) => {
                    if descending {
                        name < cursor
                    } else {
                        name > cursor
                    }
                }
                None => true,
            };
            let mut all = snapshot.scan::<Bucket>(&[&account.id]).collect::<Result<Vec<_>, _>>()?;
            all.retain(|bucket| {
                bucket.jurisdiction == jurisdiction
                    && bucket.name.as_str().contains(&contains)
                    && is_next(&bucket.name)
            });
            if descending {
                all.reverse();
            }
            let has_more = all.len() > per_page;
            all.truncate(per_page);
            let next = all.last().filter(|_| has_more).map(|bucket| bucket.name.as_str().to_owned());
            Ok((all.iter().map(show).collect::<Vec<_>>(), next, snapshot.seq()))
        })
        .await?;
    let info = json!({ "cursor": next.unwrap_or_default(), "per_page": per_page });
    let answer = json!({
        "success": true, "errors": [], "messages": [], "result": { "buckets": page }, "result_info": info,
    });
    let mut response = axum::Json(answer).into_response();
    response.headers_mut().insert(crate::api::envelope::SEQ_HEADER, seq.0.into());
    Ok(response)
}

/// `POST r2/buckets`.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    author: Author,
    request: Request,
) -> Result<Answer, ApiError> {
    let headers = request.headers().clone();
    // Of any content type: wrangler gives none, for which its engine says that it is text.
    let body: NewBody = body::parse(&body::read(request, limits::JSON_BODY_OCTETS_MAX).await?)?;
    let invalid = |error: proxima_model::Invalid| ApiError::new(Code::ObjectInvalid, error.to_string());
    let hint = body.location_hint.map(|hint| LocationHint::parse(&hint.to_ascii_lowercase()));
    let class = body.storage_class.map(|class| StorageClass::parse(&class));
    let new = NewBucket {
        account: account.id,
        name: named(&body.name)?,
        location: hint.transpose().map_err(invalid)?,
        jurisdiction: jurisdiction(&headers)?,
        storage_class: class.transpose().map_err(invalid)?.unwrap_or(StorageClass::Standard),
    };
    let bucket = objects(&api)?.create_bucket(new, author.name().to_owned()).await?;
    Ok(Answer::new(show(&bucket)).at(api.replica.seq()))
}

/// `GET r2/buckets/:bucket_name`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    Ok(Answer::new(show(&bucket)).at(api.replica.seq()))
}

/// `PATCH r2/buckets/:bucket_name`: how objects that come from now on are kept, as a field says.
pub(crate) async fn patch(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    let class = objects::storage_class(&headers)?.ok_or_else(|| {
        ApiError::new(
            Code::ObjectInvalid,
            format!("{}: give one; nothing else can be changed", objects::STORAGE_CLASS),
        )
    })?;
    api.change(&author, move |draft| {
        let mut bucket = same(draft, &bucket)?;
        if !draft.is_repeat {
            bucket.storage_class = class;
            draft.put(&bucket);
        }
        Ok(show(&bucket))
    })
    .await
}

/// `DELETE r2/buckets/:bucket_name`: it must be empty.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    objects(&api)?.delete_bucket(&bucket, author.name().to_owned()).await?;
    Ok(Answer::new(json!({})).at(api.replica.seq()))
}

/// `GET r2/buckets/:bucket_name/usage`: how much is in it.
pub(crate) async fn usage(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    let content = objects(&api)?.content(&bucket).await?;
    // As strings, as R2 has them.
    let shown = json!({
        "end": time(api.now()),
        "payloadSize": content.octets.to_string(),
        "metadataSize": "0",
        "objectCount": content.objects.to_string(),
    });
    Ok(Answer::new(shown))
}

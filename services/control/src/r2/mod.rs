//! Buckets and objects, in R2's shapes: what they are is known to who has them, behind [`Objects`].

pub(crate) mod buckets;
pub(crate) mod domains;
pub(crate) mod graphql;
pub(crate) mod notifications;
pub(crate) mod objects;
pub(crate) mod rules;

use std::sync::Arc;

use proxima_model::{Account, Bucket, BucketName, Jurisdiction};
use proxima_pipeline::{ObjectError, Objects};
use serde_json::json;

use crate::{
    api::{
        Api,
        envelope::Answer,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
};

/// The field in which clients say in which jurisdiction a bucket is.
const JURISDICTION: &str = "cf-r2-jurisdiction";

/// Who has the objects.
fn objects(api: &Api) -> Result<&Arc<dyn Objects>, ApiError> {
    api.objects.get().ok_or_else(|| ApiError::new(Code::ObjectsUnavailable, "this server has no objects"))
}

/// A bucket's name in a path.
fn named(text: &str) -> Result<BucketName, ApiError> {
    BucketName::parse(text).map_err(|error| ApiError::new(Code::BucketNameInvalid, error.to_string()))
}

/// The jurisdiction that a request is about; without one, that of no bucket that has one.
pub(crate) fn jurisdiction(headers: &http::HeaderMap) -> Result<Option<Jurisdiction>, ApiError> {
    let Some(given) = headers.get(JURISDICTION) else { return Ok(None) };
    jurisdiction_of(given.to_str().unwrap_or_default())
}

/// The jurisdiction that a word stands for.
fn jurisdiction_of(word: &str) -> Result<Option<Jurisdiction>, ApiError> {
    if word == "default" {
        return Ok(None);
    }
    let parsed = Jurisdiction::parse(word);
    parsed.map(Some).map_err(|error| ApiError::new(Code::ObjectInvalid, error.to_string()))
}

/// This very bucket as it is now; nothing may change it meanwhile.
fn same(draft: &mut Draft<'_>, bucket: &Bucket) -> Result<Bucket, ApiError> {
    let found = draft.read::<Bucket>(&(bucket.account, bucket.name.clone()))?;
    found.filter(|found| found.tag == bucket.tag).ok_or_else(|| ObjectError::NoSuchBucket.into())
}

/// Changes this very bucket; a request that comes again changes nothing.
async fn change(
    api: &Arc<Api>,
    author: &Author,
    bucket: Bucket,
    change: impl Fn(&mut Draft<'_>, &mut Bucket) -> Result<(), ApiError> + Send + Sync + 'static,
) -> Result<Answer, ApiError> {
    api.change(author, move |draft| {
        if !draft.is_repeat {
            let mut bucket = same(draft, &bucket)?;
            change(draft, &mut bucket)?;
            draft.put(&bucket);
        }
        Ok(json!({}))
    })
    .await
}

/// The account's bucket of this name.
async fn find(
    api: &Arc<Api>,
    account: &Account,
    name: &str,
    headers: &http::HeaderMap,
) -> Result<Bucket, ApiError> {
    find_in(api, account, name, jurisdiction(headers)?).await
}

/// The account's bucket of this name, if it has this jurisdiction.
async fn find_in(
    api: &Arc<Api>,
    account: &Account,
    name: &str,
    jurisdiction: Option<Jurisdiction>,
) -> Result<Bucket, ApiError> {
    let id = (account.id, named(name)?);
    let found = api.read(move |snapshot| Ok(snapshot.get::<Bucket>(&id)?)).await?;
    found.filter(|bucket| bucket.jurisdiction == jurisdiction).ok_or_else(|| ObjectError::NoSuchBucket.into())
}

impl From<ObjectError> for ApiError {
    fn from(error: ObjectError) -> Self {
        let code = match &error {
            ObjectError::NoSuchBucket => Code::BucketNotFound,
            ObjectError::BucketExists => Code::BucketExists,
            ObjectError::TooManyBuckets => Code::BucketQuota,
            ObjectError::BucketNotEmpty | ObjectError::BucketHasDomains => Code::BucketNotEmpty,
            ObjectError::NoSuchKey => Code::ObjectNotFound,
            ObjectError::PreconditionFailed => Code::ObjectConditionFailed,
            ObjectError::KeyTooLong => Code::ObjectKeyInvalid,
            ObjectError::MetadataTooLarge => Code::ObjectMetadataTooLarge,
            ObjectError::TooLarge => Code::ObjectTooLarge,
            ObjectError::Full(_) => Code::ObjectsFull,
            ObjectError::Busy => Code::Busy,
            ObjectError::Unreachable(_) => Code::ObjectsUnavailable,
            ObjectError::Broken(what) => {
                tracing::error!(what, "objects cannot be read or written");
                let told = "objects cannot be read or written; it has been logged";
                return Self::new(Code::ObjectsUnavailable, told);
            }
            // Whoever asks is to blame: for rules that are none, for a body that broke off, and for what only S3 can ask.
            ObjectError::NoSuchUpload
            | ObjectError::NotModified(_)
            | ObjectError::InvalidRange(_)
            | ObjectError::InvalidPart
            | ObjectError::InvalidPartOrder
            | ObjectError::PartTooSmall
            | ObjectError::BadDigest(_)
            | ObjectError::Invalid(_)
            | ObjectError::Body(_) => Code::ObjectInvalid,
        };
        Self::new(code, error.to_string())
    }
}

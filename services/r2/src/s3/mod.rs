//! S3, as `s3s` speaks it: this is what it asks.

mod admit;
mod again;
mod answers;
mod attributes;
mod auth;
mod buckets;
mod chunks;
mod conditions;
mod convert;
pub(crate) mod cors;
pub(crate) mod error;
mod hoisted;
mod hosts;
mod lists;
mod noted;
mod objects;
mod operations;
mod pacing;
pub(crate) mod server;
mod settings;
mod shapes;
pub(crate) mod tls;
mod uploads;
mod xml;

use std::sync::Arc;

use proxima_model::{Bucket, BucketName};
use proxima_pipeline::{ObjectError, Objects};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result};

use self::{auth::Caller, error::s3_error};
pub(crate) use self::{
    cors::{Owners, OwnersChanged},
    hosts::{Hosts, name_of},
};
use crate::buckets::Buckets;

/// What stands between S3 and the objects. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) buckets: Buckets,
    pub(crate) owners: Owners,
}

impl Front {
    /// Who asks: it was looked up when the request was admitted.
    fn caller<T>(request: &S3Request<T>) -> S3Result<Caller> {
        let caller = request.extensions.get::<Caller>().cloned();
        caller.ok_or_else(|| S3Error::with_message(S3ErrorCode::AccessDenied, "sign the request"))
    }

    /// The bucket of this name of whoever asks.
    async fn bucket<T>(&self, request: &S3Request<T>, name: &str) -> S3Result<Bucket> {
        let caller = Self::caller(request)?;
        let name = BucketName::parse(name).map_err(|_| s3_error(ObjectError::NoSuchBucket))?;
        // It was looked up for what a page of another site is told of it.
        if let Some(bucket) = caller.looked_up.as_deref().filter(|bucket| bucket.name == name) {
            return Ok(bucket.clone());
        }
        self.buckets.find(caller.account, name).await.map_err(s3_error)
    }
}

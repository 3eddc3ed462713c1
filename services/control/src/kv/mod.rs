//! `accounts/:account_id/storage/kv/namespaces`: keys and values, as stock wrangler and the SDKs read and write them.
//!
//! ```text
//!  namespaces ─▶ KvNamespace, and KvUsage of its account, in one append
//!  values, keys, bulk ─▶ is the namespace the account's? (replica) ─▶ KeyValue (port of the pipeline)
//! ```
//!
//! Invariants:
//! * **A namespace is asked for by its account alone**: each operation looks it up in the replica, and the port is asked for none
//!   that is not there.
//! * **What is acknowledged is read**: the API reads where a value was written ([`KvRead::Latest`]), never from a cache.
//! * Titles are one of their account: whoever makes, renames or deletes a namespace puts [`KvUsage`] too, so that two of them are
//!   never decided at the same time.
//!
//! Values are no part of the log: neither `proxima log revert` nor an `Idempotency-Key` knows of them, and writing one twice is
//! writing it once.
//!
//! [`KvRead::Latest`]: proxima_pipeline::KvRead::Latest
//! [`KvUsage`]: proxima_model::KvUsage

pub(crate) mod bulk;
pub(crate) mod namespaces;
pub(crate) mod values;

use std::sync::Arc;

use axum::{extract::Request, http::header};
use proxima_ledger::Snapshot;
use proxima_model::{Account, KvKey, KvNamespace, KvNamespaceId, limits as model_limits};
use proxima_pipeline::{KeyValue, KvError, KvInvalid};
use tokio::sync::SemaphorePermit;

use crate::{
    api::Api,
    error::{ApiError, Code},
    limits,
};

impl From<KvError> for ApiError {
    fn from(error: KvError) -> Self {
        let code = match error {
            KvError::Busy => Code::Busy,
            KvError::Full(_) => Code::KvFull,
            KvError::Unreachable(_) | KvError::Broken(_) => Code::KvUnavailable,
        };
        Self::new(code, error.to_string())
    }
}

/// The namespace of this id, if it is the account's.
fn find(snapshot: &Snapshot, account: &Account, id: &str) -> Result<KvNamespace, ApiError> {
    let unknown = || ApiError::new(Code::KvNamespaceNotFound, format!("namespace not found: {id:.80}"));
    let id: KvNamespaceId = id.parse().map_err(|_| unknown())?;
    snapshot.get::<KvNamespace>(&(account.id, id))?.ok_or_else(unknown)
}

/// The keys and values of an account's namespace.
struct Values {
    port: Arc<dyn KeyValue>,
    namespace: KvNamespaceId,
}

impl Values {
    async fn of(api: &Arc<Api>, account: Account, id: String) -> Result<Self, ApiError> {
        let found = api.read(move |snapshot| find(snapshot, &account, &id)).await?;
        let port = api.key_values.get().cloned();
        let port = port.ok_or_else(|| ApiError::new(Code::KvAbsent, "this server has no keys and values"))?;
        Ok(Self { port, namespace: found.id })
    }
}

/// A key in a path or body.
fn key(text: &str) -> Result<KvKey, ApiError> {
    let longest = model_limits::KV_KEY_OCTETS_MAX;
    if text.len() > longest {
        let message =
            format!("UTF-8 encoded length of {} exceeds key length limit of {longest}.", text.len());
        return Err(ApiError::new(Code::KvKeyTooLong, message));
    }
    KvKey::parse(text).map_err(|invalid| ApiError::invalid(Code::KvKeyInvalid, &invalid))
}

/// What is said of a value, as JSON that was given.
fn metadata(text: &str) -> Result<Box<str>, ApiError> {
    if text.len() > model_limits::KV_METADATA_OCTETS_MAX {
        let (octets, most) = (text.len(), model_limits::KV_METADATA_OCTETS_MAX);
        let message = format!("Metadata length of {octets} exceeds limit of {most}.");
        return Err(ApiError::new(Code::KvTooLarge, message));
    }
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return Err(ApiError::new(Code::KvValueInvalid, "metadata: it is not JSON").at("/metadata"));
    }
    Ok(text.into())
}

fn invalid(KvInvalid(problem): KvInvalid) -> ApiError {
    ApiError::new(Code::KvValueInvalid, problem)
}

/// Room for a body of at most so many octets, until it is dropped.
pub(crate) fn room<'a>(
    api: &'a Api,
    request: &Request,
    octets_max: usize,
) -> Result<SemaphorePermit<'a>, ApiError> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<usize>().ok()).unwrap_or(octets_max);
    let octets = u32::try_from(announced.min(octets_max + limits::DISCARDED_OCTETS_MAX)).unwrap_or(u32::MAX);
    api.uploads.try_acquire_many(octets).map_err(|_| {
        ApiError::new(Code::Busy, "too many values are being uploaded here; ask again in a moment")
    })
}

/// A body that is longer than a value, or many of them, may be.
fn too_large(refusal: ApiError) -> ApiError {
    if refusal.code() != Code::TooLong {
        return refusal;
    }
    ApiError::new(Code::KvTooLarge, refusal.to_string())
}

//! Many keys and values at a time.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Request, State},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use proxima_model::{Account, KvKey, Timestamp, limits as model_limits};
use proxima_pipeline::{KV_READ_MANY_MAX, KvManyError, KvPair, KvRead, KvValue, kv_expires, kv_read_many};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    Values, invalid, key, metadata, room, too_large,
    values::{oversized, parsed},
};
use crate::{
    api::{
        Api, blocking,
        body::{JsonBody, parse, read},
        envelope::Answer,
    },
    error::{ApiError, Code},
    limits,
};

/// A pair to write.
#[derive(Debug, Deserialize)]
struct PairBody {
    key: String,
    value: String,
    #[serde(default)]
    base64: bool,
    #[serde(default)]
    metadata: Option<Value>,
    #[serde(default)]
    expiration: Option<i64>,
    #[serde(default)]
    expiration_ttl: Option<i64>,
}

impl PairBody {
    fn pair(self, now: Timestamp) -> Result<KvPair, ApiError> {
        let key = key(&self.key)?;
        let value = if self.base64 {
            let decoded = BASE64_STANDARD.decode(&self.value);
            Bytes::from(decoded.map_err(|_| ApiError::new(Code::KvValueInvalid, "value: it is not Base64"))?)
        } else {
            Bytes::from(self.value)
        };
        if value.len() > model_limits::KV_VALUE_OCTETS_MAX {
            return Err(ApiError::new(Code::KvTooLarge, oversized(value.len())));
        }
        let metadata = self.metadata.filter(|given| !given.is_null());
        let metadata = metadata.map(|given| metadata_of(&given)).transpose()?;
        let expires = kv_expires(self.expiration, self.expiration_ttl, now).map_err(invalid)?;
        Ok(KvPair { key, value: KvValue { value, metadata, expires } })
    }
}

fn metadata_of(given: &Value) -> Result<Box<str>, ApiError> {
    metadata(&given.to_string())
}

/// `PUT bulk`: of two values of one key the later one stays.
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
    request: Request,
) -> Result<Answer, ApiError> {
    let values = Values::of(&api, account, id).await?;
    let _room = room(&api, &request, limits::KV_BULK_OCTETS_MAX)?;
    let given: Vec<PairBody> = receive(request, limits::KV_BULK_OCTETS_MAX).await?;
    let (now, count) = (api.now(), given.len());
    // Megabytes take a while.
    let pairs = blocking(move || {
        let pairs = given.into_iter().enumerate();
        pairs.map(|(at, pair)| pair.pair(now).map_err(|refusal| refusal.at(format!("/{at}")))).collect()
    });
    values.port.put(values.namespace, pairs.await?).await?;
    Ok(Answer::new(done(count)))
}

/// `POST bulk/delete` and `DELETE bulk`; keys that have nothing are no fault.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
    request: Request,
) -> Result<Answer, ApiError> {
    let values = Values::of(&api, account, id).await?;
    let _room = room(&api, &request, limits::KV_BULK_DELETE_OCTETS_MAX)?;
    let given: Vec<String> = receive(request, limits::KV_BULK_DELETE_OCTETS_MAX).await?;
    let keys = keys(&given, "")?;
    let count = keys.len();
    values.port.delete(values.namespace, keys).await?;
    Ok(Answer::new(done(count)))
}

/// A list of at most [`limits::KV_BULK_KEYS_MAX`] things.
async fn receive<T: DeserializeOwned + Send + 'static>(
    request: Request,
    octets_max: usize,
) -> Result<Vec<T>, ApiError> {
    let octets = read(request, octets_max).await.map_err(too_large)?;
    let given: Vec<T> = blocking(move || parse(&octets)).await?;
    if given.len() > limits::KV_BULK_KEYS_MAX {
        let message =
            format!("{} keys are given; one request has at most {}", given.len(), limits::KV_BULK_KEYS_MAX);
        return Err(ApiError::new(Code::KvTooLarge, message));
    }
    Ok(given)
}

/// `below` says where in the body they are.
fn keys(given: &[String], below: &str) -> Result<Vec<KvKey>, ApiError> {
    let given = given.iter().enumerate();
    given.map(|(at, text)| key(text).map_err(|refusal| refusal.at(format!("{below}/{at}")))).collect()
}

/// All of them, since a write is whole or refused.
fn done(count: usize) -> Value {
    json!({ "successful_key_count": count, "unsuccessful_keys": [] })
}

/// Which keys are to be read, and as what.
#[derive(Debug, Deserialize)]
pub(crate) struct GetBody {
    keys: Vec<String>,
    #[serde(default, rename = "type")]
    kind: Kind,
    #[serde(default, rename = "withMetadata")]
    with_metadata: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Text,
    Json,
}

/// `POST bulk/get`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
    JsonBody(body): JsonBody<GetBody>,
) -> Result<Answer, ApiError> {
    if !(1..=KV_READ_MANY_MAX).contains(&body.keys.len()) {
        let message = format!("keys: give 1 to {KV_READ_MANY_MAX} of them");
        return Err(ApiError::new(Code::KvLimitInvalid, message).at("/keys"));
    }
    let keys = keys(&body.keys, "/keys")?;
    let values = Values::of(&api, account, id).await?;
    let found = kv_read_many(&*values.port, values.namespace, &keys, KvRead::Latest).await;
    let found = found.map_err(|error| match error {
        KvManyError::TooLarge => ApiError::new(Code::KvTooLarge, error.to_string()),
        KvManyError::Failed(error) => error.into(),
    })?;
    let shown = keys.iter().zip(found).map(|(key, found)| {
        let shown = found.map(|found| show(&found, body.kind, body.with_metadata)).transpose()?;
        Ok((key.as_str().to_owned(), shown.unwrap_or_default()))
    });
    let shown = shown.collect::<Result<Map<_, _>, ApiError>>()?;
    Ok(Answer::new(json!({ "values": shown })))
}

fn show(found: &KvValue, kind: Kind, with_metadata: bool) -> Result<Value, ApiError> {
    let value = match kind {
        Kind::Text => String::from_utf8_lossy(&found.value).into(),
        Kind::Json => serde_json::from_slice(&found.value).map_err(|_| {
            let message = "At least one of the requested keys corresponds to a non-json value";
            ApiError::new(Code::KvValueInvalid, message)
        })?,
    };
    if !with_metadata {
        return Ok(value);
    }
    let mut shown =
        json!({ "value": value, "metadata": found.metadata.as_deref().map(parsed).unwrap_or_default() });
    if let Some(at) = found.expires {
        shown["expiration"] = at.as_seconds().into();
    }
    Ok(shown)
}

//! The port by which Workers and the API reach keys and values: who has them knows nothing of code, nor of v4.
//!
//! Whose a namespace is, and whether it is there, is for who asks to look up in the replica; a namespace that is in no replica is
//! empty, and takes nothing.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use proxima_model::{KvKey, KvNamespaceId, Timestamp};

/// Keys and values of all namespaces.
pub trait KeyValue: Send + Sync + 'static {
    /// What a key has, if it has something that has not run out. `how` says whether what another server has written less than a
    /// minute ago may be missed.
    fn get<'a>(
        &'a self,
        namespace: KvNamespaceId,
        key: &'a KvKey,
        how: KvRead,
    ) -> BoxFuture<'a, Result<Option<KvValue>, KvError>>;

    /// Writes these, one after another; each is durable when this is ready. Of two writes of one key the later one stays.
    fn put(&self, namespace: KvNamespaceId, pairs: Vec<KvPair>) -> BoxFuture<'_, Result<(), KvError>>;

    /// Deletes what these keys have; keys that have nothing are no fault.
    fn delete(&self, namespace: KvNamespaceId, keys: Vec<KvKey>) -> BoxFuture<'_, Result<(), KvError>>;

    /// Keys in the order of their octets, as who has them knows them.
    fn list(&self, namespace: KvNamespaceId, asked: KvListing) -> BoxFuture<'_, Result<KvPage, KvError>>;
}

/// How a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvRead {
    /// From where it was written: what was acknowledged is seen.
    Latest,
    /// Also from what this server, or its PoP, read within this time. That a key has nothing is remembered, too.
    Cached(Duration),
}

/// A value with what is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvValue {
    /// The value: at most [`KV_VALUE_OCTETS_MAX`](proxima_model::limits::KV_VALUE_OCTETS_MAX).
    pub value: Bytes,
    /// JSON; at most [`KV_METADATA_OCTETS_MAX`](proxima_model::limits::KV_METADATA_OCTETS_MAX).
    pub metadata: Option<Box<str>>,
    /// From when it is gone.
    pub expires: Option<Timestamp>,
}

/// A key and what it is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvPair {
    /// The key.
    pub key: KvKey,
    /// What it is to have.
    pub value: KvValue,
}

/// Which keys are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvListing {
    /// How they begin.
    pub prefix: String,
    /// The keys after this one: the last of the page before.
    pub after: Option<KvKey>,
    /// How many; at most 1,000.
    pub limit: usize,
}

/// Some keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvPage {
    /// The keys.
    pub keys: Vec<KvListed>,
    /// Whether there are more after the last one.
    pub has_more: bool,
}

/// A key as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvListed {
    /// The key.
    pub key: KvKey,
    /// See [`KvValue::metadata`].
    pub metadata: Option<Box<str>>,
    /// See [`KvValue::expires`].
    pub expires: Option<Timestamp>,
}

/// Why keys and values cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// No server that has the namespace was reached. A write may have been done, or not.
    #[error("no server that has this namespace can be reached: {0}")]
    Unreachable(String),
    /// Too much is under way.
    #[error("too much is under way; try again in a moment")]
    Busy,
    /// Nothing more can be kept: the disk, or what may be used of it, is full.
    #[error("nothing more can be kept here: {0}")]
    Full(String),
    /// What lies on the disk cannot be read or written.
    #[error("keys and values cannot be read or written: {0}")]
    Broken(String),
}

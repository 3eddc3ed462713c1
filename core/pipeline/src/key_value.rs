//! The port by which Workers and the API reach keys and values: who has them knows nothing of code, nor of v4.
//!
//! Whose a namespace is, and whether it is there, is for who asks to look up in the replica; a namespace that is in no replica is
//! empty, and takes nothing.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use proxima_model::{KvKey, KvNamespaceId, Timestamp, limits};

/// Keys that are listed at once unless fewer are asked for, and at the most; what the v4 API lists.
pub const KV_LIST_MAX: usize = 1_000;
/// Keys that are read at once at the most; what the v4 API takes.
pub const KV_READ_MANY_MAX: usize = 100;
/// Octets of what is read at once, in all; what the v4 API gives.
pub const KV_READ_MANY_OCTETS_MAX: usize = limits::KV_VALUE_OCTETS_MAX;
/// Of those keys, how many are under way at a time: hides the way to another server, and leaves room for who else asks.
const READS_AT_ONCE: usize = 8;

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

/// What is asked for cannot be so; in words for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KvInvalid(pub String);

/// From when a value is gone that is to be kept until a second since the epoch, or for some seconds from now on; the latter
/// counts where both are given.
///
/// # Errors
/// Which of them is too soon.
pub fn kv_expires(
    expiration: Option<i64>,
    expiration_ttl: Option<i64>,
    now: Timestamp,
) -> Result<Option<Timestamp>, KvInvalid> {
    const LEAST: i64 = limits::KV_TTL_SECONDS_MIN.cast_signed();
    let soonest = now.as_seconds().saturating_add(LEAST);
    let at = match (expiration, expiration_ttl) {
        (_, Some(seconds)) if seconds < LEAST => {
            let problem =
                format!("Invalid expiration_ttl of {seconds}. Expiration TTL must be at least {LEAST}.");
            return Err(KvInvalid(problem));
        }
        (Some(at), None) if at < soonest => {
            let remedy = format!("Expiration times must be at least {LEAST} seconds in the future.");
            return Err(KvInvalid(format!("Invalid expiration of {at}. {remedy}")));
        }
        (_, Some(seconds)) => now.as_seconds().saturating_add(seconds),
        (Some(at), None) => at,
        (None, None) => return Ok(None),
    };
    Ok(Some(Timestamp::from_millis(at.saturating_mul(1_000))))
}

impl KvListing {
    /// The page that a cursor of [`KvPage::cursor`] leads to; the first one without.
    ///
    /// # Errors
    /// A cursor that is none, or of keys that begin otherwise.
    pub fn page(prefix: String, cursor: Option<&str>, limit: usize) -> Result<Self, KvInvalid> {
        let parse = |cursor: &str| {
            let octets = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
            let key = KvKey::parse(std::str::from_utf8(&octets).ok()?).ok()?;
            key.as_str().starts_with(&prefix).then_some(key)
        };
        let after = match cursor.filter(|cursor| !cursor.is_empty()) {
            None => None,
            Some(cursor) => Some(parse(cursor).ok_or_else(|| {
                KvInvalid("Invalid cursor. Give one of a page of keys that begin the same.".to_owned())
            })?),
        };
        Ok(Self { prefix, after, limit })
    }
}

impl KvPage {
    /// What leads to the next page, if there is more. Opaque to whoever gets it.
    pub fn cursor(&self) -> Option<String> {
        let last = self.keys.last().filter(|_| self.has_more)?;
        Some(BASE64_URL_SAFE_NO_PAD.encode(last.key.as_str()))
    }
}

/// Why many keys cannot be read at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvManyError {
    /// Their values have more than [`KV_READ_MANY_OCTETS_MAX`] octets.
    #[error("the values have more than {KV_READ_MANY_OCTETS_MAX} octets in all")]
    TooLarge,
    /// One of them cannot be read.
    #[error(transparent)]
    Failed(#[from] KvError),
}

/// Reads many keys; what they have, in their order.
///
/// # Errors
/// See [`KvManyError`].
pub fn kv_read_many<'a>(
    values: &'a dyn KeyValue,
    namespace: KvNamespaceId,
    keys: &'a [KvKey],
    how: KvRead,
) -> BoxFuture<'a, Result<Vec<Option<KvValue>>, KvManyError>> {
    let reads: Vec<_> = keys.iter().map(|key| values.get(namespace, key, how)).collect();
    Box::pin(async move {
        let mut reads = stream::iter(reads).buffered(READS_AT_ONCE);
        let (mut found, mut octets) = (Vec::new(), 0);
        while let Some(read) = reads.next().await {
            let read = read?;
            octets += read.as_ref().map_or(0, |value| value.value.len());
            if octets > KV_READ_MANY_OCTETS_MAX {
                return Err(KvManyError::TooLarge);
            }
            found.push(read);
        }
        Ok(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_runs_out_when_it_was_said_but_not_within_a_minute() {
        let now = Timestamp::from_millis(1_000_500);
        let at = |expiration, ttl| kv_expires(expiration, ttl, now).map(|at| at.map(Timestamp::as_millis));
        assert_eq!(at(None, None), Ok(None));
        assert_eq!(at(None, Some(60)), Ok(Some(1_060_000)));
        assert_eq!(at(Some(1_060), None), Ok(Some(1_060_000)));
        assert_eq!(at(Some(1), Some(61)), Ok(Some(1_061_000)), "the time to live counts");
        for (expiration, ttl) in
            [(None, Some(59)), (None, Some(-1)), (Some(1_059), None), (Some(2_000), Some(0))]
        {
            let refusal = at(expiration, ttl).unwrap_err().to_string();
            assert!(refusal.starts_with("Invalid expiration"), "{refusal}");
        }
        assert!(at(Some(i64::MAX), None).unwrap() > Some(1_000_500));
    }

    #[test]
    fn a_cursor_leads_behind_the_last_key_of_its_page_and_nowhere_else() {
        let key = KvKey::parse("a/\u{e9}").unwrap();
        let listed = KvListed { key: key.clone(), metadata: None, expires: None };
        let page = KvPage { keys: vec![listed], has_more: true };
        let cursor = page.cursor().unwrap();
        let next = |prefix: &str, cursor| KvListing::page(prefix.to_owned(), cursor, 10);
        assert_eq!(next("a/", Some(&cursor)).unwrap().after, Some(key));
        assert_eq!(next("a/", Some("")).unwrap().after, None);
        for (prefix, cursor) in [("b", cursor.as_str()), ("", "!"), ("", "_w"), ("", "Li4")] {
            assert!(next(prefix, Some(cursor)).is_err(), "{prefix} {cursor}");
        }
        assert_eq!(KvPage { has_more: false, ..page }.cursor(), None);
    }
}

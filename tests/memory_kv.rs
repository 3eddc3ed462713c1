//! Keys and values in memory: what tests of those who reach them by the port run against.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{FutureExt as _, future::BoxFuture};
use proxima_model::{KvKey, KvNamespaceId};
use proxima_pipeline::{KeyValue, KvError, KvListed, KvListing, KvPage, KvPair, KvRead, KvValue};

type Values = BTreeMap<(KvNamespaceId, KvKey), KvValue>;

/// See the module. Nothing in it runs out by itself.
#[derive(Default)]
pub(crate) struct MemoryKv {
    values: Mutex<Values>,
    /// How it was read, each time.
    pub(crate) reads: Mutex<Vec<KvRead>>,
    /// Whether nothing of it can be reached.
    pub(crate) is_away: AtomicBool,
}

impl MemoryKv {
    fn reach(&self) -> Result<MutexGuard<'_, Values>, KvError> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(KvError::Unreachable("it is away".to_owned()));
        }
        Ok(self.values.lock().unwrap())
    }
}

impl KeyValue for MemoryKv {
    fn get<'a>(
        &'a self,
        namespace: KvNamespaceId,
        key: &'a KvKey,
        how: KvRead,
    ) -> BoxFuture<'a, Result<Option<KvValue>, KvError>> {
        self.reads.lock().unwrap().push(how);
        let found = self.reach().map(|values| values.get(&(namespace, key.clone())).cloned());
        async move { found }.boxed()
    }

    fn put(&self, namespace: KvNamespaceId, pairs: Vec<KvPair>) -> BoxFuture<'_, Result<(), KvError>> {
        let put = self.reach().map(|mut values| {
            values.extend(pairs.into_iter().map(|pair| ((namespace, pair.key), pair.value)));
        });
        async move { put }.boxed()
    }

    fn delete(&self, namespace: KvNamespaceId, keys: Vec<KvKey>) -> BoxFuture<'_, Result<(), KvError>> {
        let deleted = self.reach().map(|mut values| {
            for key in keys {
                values.remove(&(namespace, key));
            }
        });
        async move { deleted }.boxed()
    }

    fn list(&self, namespace: KvNamespaceId, asked: KvListing) -> BoxFuture<'_, Result<KvPage, KvError>> {
        let page = self.reach().map(|values| {
            let matching = values.iter().filter(|((of, key), _)| {
                let after = asked.after.as_ref().is_none_or(|after| key > after);
                *of == namespace && key.as_str().starts_with(&asked.prefix) && after
            });
            let mut keys: Vec<_> = matching
                .take(asked.limit + 1)
                .map(|((_, key), value)| KvListed {
                    key: key.clone(),
                    metadata: value.metadata.clone(),
                    expires: value.expires,
                })
                .collect();
            let has_more = keys.len() > asked.limit;
            keys.truncate(asked.limit);
            KvPage { keys, has_more }
        });
        async move { page }.boxed()
    }
}

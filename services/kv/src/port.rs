//! The port by which Workers and the API come.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use proxima_model::{KvKey, KvNamespaceId, limits};
use proxima_pipeline::{KeyValue, KvError, KvListing, KvPage, KvPair, KvRead, KvValue};

use crate::{
    kv::{Kv, Writes},
    store::PAGE_KEYS_MAX,
    wire::{ITEMS_MAX, VALUES_OCTETS_MAX},
};

/// See the module.
pub(crate) struct Port(pub(crate) Arc<Kv>);

impl KeyValue for Port {
    fn get<'a>(
        &'a self,
        namespace: KvNamespaceId,
        key: &'a KvKey,
        how: KvRead,
    ) -> BoxFuture<'a, Result<Option<KvValue>, KvError>> {
        Box::pin(async move {
            let _place = Kv::place(&self.0.clients)?;
            self.0.read((namespace, key.clone()), how).await
        })
    }

    fn put(&self, namespace: KvNamespaceId, pairs: Vec<KvPair>) -> BoxFuture<'_, Result<(), KvError>> {
        let writes = pairs.into_iter().map(|KvPair { key, value }| (key, Some(value))).collect();
        Box::pin(self.write(namespace, writes))
    }

    fn delete(&self, namespace: KvNamespaceId, keys: Vec<KvKey>) -> BoxFuture<'_, Result<(), KvError>> {
        Box::pin(self.write(namespace, keys.into_iter().map(|key| (key, None)).collect()))
    }

    fn list(&self, namespace: KvNamespaceId, asked: KvListing) -> BoxFuture<'_, Result<KvPage, KvError>> {
        Box::pin(async move {
            let _place = Kv::place(&self.0.clients)?;
            let limit = asked.limit.min(PAGE_KEYS_MAX);
            self.0.counted(self.0.list(namespace, KvListing { limit, ..asked }).await)
        })
    }
}

impl Port {
    /// Writes these one after another, as many in one message as may be.
    async fn write(&self, namespace: KvNamespaceId, writes: Writes) -> Result<(), KvError> {
        let _place = Kv::place(&self.0.clients)?;
        for part in parts(writes)? {
            self.0.counted(self.0.write(namespace, part).await)?;
        }
        Ok(())
    }
}

/// Cuts writes into what one message takes.
fn parts(writes: Writes) -> Result<Vec<Writes>, KvError> {
    let (mut parts, mut octets) = (Vec::<Writes>::new(), 0);
    for (key, value) in writes {
        let length = value.as_ref().map_or(0, |value| value.value.len());
        let metadata = value.as_ref().and_then(|value| value.metadata.as_ref()).map_or(0, |text| text.len());
        if length > limits::KV_VALUE_OCTETS_MAX || metadata > limits::KV_METADATA_OCTETS_MAX {
            return Err(KvError::Full(
                "a value has more than 25 MiB, or its metadata more than 1 KiB".to_owned(),
            ));
        }
        octets += length;
        match parts.last_mut() {
            Some(part) if part.len() < ITEMS_MAX && octets <= VALUES_OCTETS_MAX => part.push((key, value)),
            _ => {
                octets = length;
                parts.push(vec![(key, value)]);
            }
        }
    }
    Ok(parts)
}

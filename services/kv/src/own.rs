//! This server's store, for those who may not wait for a disk ([`proxima_store::Own`]).

use std::{ops::Deref, sync::Arc};

use proxima_chassis::Clock;
use proxima_model::{KvKey, KvNamespaceId};
use proxima_pipeline::{KvListing, KvPage, KvValue};

use crate::{
    room::{Room, Taken},
    store::{Part, Store, StoreError},
};

/// Looks into the store for one listing, as long as they find no key: about as many rows as are swept between two sweeps.
const LOOKS_MAX: usize = 4;

/// The store, with room for what is read of it.
pub(crate) struct Own {
    store: proxima_store::Own<Store>,
    room: Room,
}

impl Deref for Own {
    type Target = proxima_store::Own<Store>;

    fn deref(&self) -> &Self::Target {
        &self.store
    }
}

impl Own {
    /// Over a store, or in place of one that could not be opened.
    pub(crate) fn new(store: Result<Store, StoreError>, clock: Arc<dyn Clock>, room: Room) -> Self {
        Self { store: proxima_store::Own::new(store, clock), room }
    }

    /// Why there is no store, if so.
    pub(crate) fn fault(&self) -> Option<&StoreError> {
        self.store.store().err()
    }

    /// Why values are refused for want of room on the disk, if so.
    pub(crate) fn shortage(&self) -> Option<String> {
        self.store.store().ok()?.space().shortage()
    }

    /// What a key has, and the room that it takes.
    pub(crate) async fn get(
        &self,
        namespace: KvNamespaceId,
        key: KvKey,
    ) -> Result<Option<(KvValue, Taken)>, StoreError> {
        let room = self.room.clone();
        self.read(move |store, now| store.get((namespace, &key), now, &room)).await
    }

    /// Keys.
    pub(crate) async fn list(
        &self,
        namespace: KvNamespaceId,
        mut asked: KvListing,
    ) -> Result<KvPage, StoreError> {
        for _ in 0..LOOKS_MAX {
            let looked_for = asked.clone();
            match self.read(move |store, now| store.list(namespace, &looked_for, now)).await? {
                Part::Page(page) => return Ok(page),
                Part::NoneUpTo(key) => asked.after = Some(key),
            }
        }
        // The sweep has not come as far yet.
        Err(StoreError::Busy)
    }
}

//! A blob while it is written: pieces are put as they become whole, one after the other.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use proxima_chassis::Place;
use proxima_model::AccountId;
use proxima_pipeline::ObjectError;
use tokio::sync::OwnedSemaphorePermit;

use super::{Engine, frames::Framer, name};
use crate::store::{
    blobs::{Blobs, Pending},
    rows::Blob,
};

/// How long an upload waits for a place: who waits longer is told to come again.
const PLACE_WAIT: Duration = Duration::from_secs(5);

/// A blob that is being written. It goes with this, unless it was finished.
pub(in crate::store) struct Writing {
    engine: Engine,
    pending: Pending,
    framer: Framer,
    /// Pieces that are to be put.
    whole: VecDeque<Bytes>,
    /// How many pieces there are already.
    put: u64,
    /// As many have one as have memory; of one account not all of them.
    _places: (OwnedSemaphorePermit, Place<AccountId>),
}

impl Writing {
    /// Begins a blob, if the engine is there and has a place.
    pub(in crate::store) async fn begin(
        engine: &Engine,
        blobs: &Blobs,
        account: AccountId,
    ) -> Result<Self, ObjectError> {
        engine.check()?;
        let of_account = engine.0.of_accounts.take_for(account).ok_or(ObjectError::Busy)?;
        let place = tokio::time::timeout(PLACE_WAIT, engine.0.places.clone().acquire_owned()).await;
        let place = place.map_err(|_| ObjectError::Busy)?.expect("it is never closed");
        let pending = blobs.pending(Blob::Engine);
        let (framer, whole) = (Framer::default(), VecDeque::new());
        Ok(Self { engine: engine.clone(), pending, framer, whole, put: 0, _places: (place, of_account) })
    }

    /// Adds octets, which takes no longer than their checksums do.
    pub(in crate::store) fn write(&mut self, octets: &[u8]) {
        self.framer.update(octets, &mut self.whole);
    }

    /// Puts what has become whole.
    pub(in crate::store) async fn pass_on(&mut self) -> Result<(), ObjectError> {
        while let Some(piece) = self.whole.pop_front() {
            self.engine.put(&name(self.pending.blob().id(), self.put), piece).await?;
            self.put += 1;
        }
        Ok(())
    }

    /// All is written: when this is ready, the engine has acknowledged it.
    pub(in crate::store) async fn finish(mut self) -> Result<Pending, ObjectError> {
        self.whole.extend(std::mem::take(&mut self.framer).finish());
        self.pass_on().await?;
        Ok(self.pending)
    }
}

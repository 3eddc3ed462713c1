//! A request's place among those that are worked on.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

/// A request's place among those that are worked on, until its answer is there. Who goes on at a client's pace gives it back before,
/// for a place among its like. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Turn(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Turn {
    pub(crate) fn of(place: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(Mutex::new(Some(place))))
    }

    /// Gives the place back.
    pub(crate) fn over(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

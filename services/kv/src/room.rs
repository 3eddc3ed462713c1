//! The memory that values under way may take, all together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Octets of values that are read, written, sent and received at one time: ten of the largest, or very many small ones. What
/// comes beyond is told to try again.
pub(crate) const ROOM_OCTETS: usize = 256 << 20;
/// Room is given by so many octets: a permit is a number of 32 bits, and who asks for a byte costs more than that.
const STEP_OCTETS: usize = 1_024;

/// See the module.
#[derive(Clone)]
pub(crate) struct Room(Arc<Semaphore>);

/// A part of it, until it is dropped.
pub(crate) type Taken = OwnedSemaphorePermit;

impl Room {
    pub(crate) fn new(octets: usize) -> Self {
        Self(Arc::new(Semaphore::new(octets / STEP_OCTETS)))
    }

    /// Room for so many octets, if there is.
    pub(crate) fn take(&self, octets: usize) -> Option<Taken> {
        let steps = u32::try_from(octets / STEP_OCTETS + 1).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(steps).ok()
    }
}

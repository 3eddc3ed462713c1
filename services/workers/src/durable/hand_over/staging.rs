//! Who writes what lies here of a slot: what comes of it, its files in their place, and what is removed. One at a time, and each slot
//! for itself.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

use super::SlotOf;
use crate::durable::blocking;

/// Those of all slots.
#[derive(Default)]
pub(super) struct Staging(Mutex<HashMap<SlotOf, Arc<tokio::sync::Mutex<()>>>>);

/// Held by who writes.
pub(super) struct Alone(OwnedMutexGuard<()>);

impl Staging {
    /// Waits until nobody else writes what lies here of a slot.
    pub(super) async fn alone(&self, slot: &SlotOf) -> Alone {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(slot.clone()).or_default())
        };
        Alone(lock.lock_owned().await)
    }
}

impl Alone {
    /// Has a thread write this. Who comes next waits until that has ended, also if nobody waits for this any more: a server that asks
    /// for the same again may have gone in the middle.
    pub(super) async fn write<T: Send + 'static>(
        self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let Self(alone) = self;
        blocking(move || {
            let written = work();
            drop(alone);
            written
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use proxima_model::{DurableNamespaceId, NodeName};

    use super::*;

    #[tokio::test]
    async fn a_slot_is_written_by_one_at_a_time_to_the_end_and_no_other_slot_waits_for_it() {
        let slot = |name| (DurableNamespaceId::from_bytes([1; 16]), NodeName::parse(name).expect("a name"));
        let (one, other, staging) = (slot("ams1"), slot("fra1"), Staging::default());
        let (end, ends) = mpsc::channel::<()>();
        let (begin, begins) = tokio::sync::oneshot::channel();
        let write = staging.alone(&one).await.write(move || {
            begin.send(()).ok();
            ends.recv().map_err(io::Error::other)
        });
        let write = tokio::spawn(write);
        begins.await.expect("it begins");
        // Who wanted it written goes.
        write.abort();
        assert!(write.await.is_err_and(|error| error.is_cancelled()));
        staging.alone(&other).await.write(|| Ok(())).await.expect("nobody else writes it");
        let again = staging.alone(&one);
        tokio::pin!(again);
        tokio::select! {
            biased;
            _ = &mut again => panic!("it is being written"),
            () = tokio::task::yield_now() => {}
        }
        end.send(()).expect("it goes on");
        drop(again.await);
        assert_eq!(staging.0.lock().expect("no panic").len(), 1, "those that nobody has are forgotten");
    }
}

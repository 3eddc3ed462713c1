//! Interim answers (RFC 9110, 15.2) on their way from the origin to the client, beside the exchange that waits for the
//! final one.
//!
//! The listener puts one end into the exchange and takes from the other while the pipeline runs; whoever hears the
//! origin puts in. An exchange without one, as most of ours towards an origin are, passes nothing on.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool, atomic::Ordering},
    task::Context,
};

use futures_util::task::AtomicWaker;
use http::{HeaderMap, StatusCode};

/// Interim answers that lie between origin and client; more are dropped, which costs the client a hint. Origins send
/// one or two.
const PENDING_MAX: usize = 8;

/// One interim answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interim {
    /// The status: 1xx, but neither 100 nor 101, which concern one connection.
    pub status: StatusCode,
    /// The fields, without those of a connection.
    pub headers: HeaderMap,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether there is anything to take: on nearly every exchange there is not, and nobody locks.
    any: AtomicBool,
    pending: Mutex<VecDeque<Interim>>,
    listener: AtomicWaker,
}

/// The interim answers of one exchange. Cheap to clone; every clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Interims(Arc<Shared>);

impl Interims {
    /// Passes one on, if it is for the client and there is room.
    pub fn put(&self, interim: Interim) {
        let for_the_client = interim.status.is_informational()
            && interim.status != StatusCode::CONTINUE
            && interim.status != StatusCode::SWITCHING_PROTOCOLS;
        let mut pending = self.lock();
        if for_the_client && pending.len() < PENDING_MAX {
            pending.push_back(interim);
            self.0.any.store(true, Ordering::Release);
            drop(pending);
            self.0.listener.wake();
        }
    }

    /// The next one, if it is here; else whoever polls is woken when one comes.
    pub fn poll_take(&self, context: &Context<'_>) -> Option<Interim> {
        self.0.listener.register(context.waker());
        self.take()
    }

    /// The next one, if it is here.
    pub fn take(&self) -> Option<Interim> {
        if !self.0.any.load(Ordering::Acquire) {
            return None;
        }
        let mut pending = self.lock();
        let next = pending.pop_front();
        self.0.any.store(!pending.is_empty(), Ordering::Release);
        next
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Interim>> {
        // Nothing that holds the lock can panic halfway through a change.
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker_ref;

    use super::*;

    fn interim(status: u16) -> Interim {
        Interim { status: StatusCode::from_u16(status).expect("a status"), headers: HeaderMap::new() }
    }

    #[test]
    fn interim_answers_come_in_their_order_and_only_those_that_are_for_the_client() {
        let interims = Interims::default();
        assert_eq!(interims.take(), None);
        for status in [102, 100, 101, 200, 103] {
            interims.put(interim(status));
        }
        let context = Context::from_waker(noop_waker_ref());
        assert_eq!(interims.poll_take(&context), Some(interim(102)));
        assert_eq!(interims.take(), Some(interim(103)));
        assert_eq!(interims.poll_take(&context), None);
    }

    #[test]
    fn an_origin_that_sends_hints_without_end_fills_no_memory() {
        let interims = Interims::default();
        (0..100).for_each(|_| interims.put(interim(103)));
        assert_eq!(std::iter::from_fn(|| interims.take()).count(), PENDING_MAX);
    }
}

//! Between the streams of a connection and the connection: who has to be looked at.

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// What all streams of a connection share: of which of them there is something to look at, and how much of theirs waits
/// and has gone out.
#[derive(Default)]
pub(super) struct Hub {
    told: Mutex<Told>,
    /// Octets of content that wait.
    pub(super) queued: AtomicUsize,
    /// Octets that the connection has taken.
    pub(super) moved: AtomicU64,
    /// Answers whose exchanges are over, and which are not yet written.
    pub(super) left: AtomicUsize,
}

#[derive(Default)]
struct Told {
    streams: Vec<u32>,
    /// Whom to wake; nobody while the connection is looking.
    waker: Option<Waker>,
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to look at of this stream.
    pub(super) fn tell(&self, stream: u32) {
        let mut told = self.lock();
        told.streams.push(stream);
        let waker = told.waker.take();
        drop(told);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether nothing was told since the last time.
    pub(super) fn is_quiet(&self) -> bool {
        self.lock().streams.is_empty()
    }

    /// What was told since the last time, and nobody is woken for what follows.
    pub(super) fn take(&self, into: &mut Vec<u32>) {
        let mut told = self.lock();
        told.waker = None;
        into.append(&mut told.streams);
    }

    /// Has the connection woken from now on; false if there is something to look at already.
    pub(super) fn listen(&self, context: &Context<'_>) -> bool {
        let mut told = self.lock();
        if told.streams.is_empty() {
            told.waker = Some(context.waker().clone());
        }
        told.streams.is_empty()
    }
}

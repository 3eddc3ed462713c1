//! How slowly a client may send a request's body.
//!
//! Most bodies go one way, and octets enough must come of them in time: who sends them singly gets no more time for it.
//! A call of gRPC goes both ways, for as long as it is wanted: a watch whose client has said all that it wants to say, or
//! one that sends a few octets now and then. There any movement counts, in either direction, and what is measured is the
//! silence, as on a connection that was switched to another protocol: here and on the origin's side (`origin/config.rs`),
//! for as long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::HeaderMap;
use proxima_chassis::Deadline;
use tokio::time::Instant;

use super::{BODY_PROGRESS_BYTES_MIN, Timeouts};
use crate::origin::is_grpc;

/// What has come of one body, and until when more must.
pub(super) struct Pace {
    idle: Duration,
    /// Octets that buy more time.
    enough: usize,
    fresh: usize,
    deadline: Deadline,
    /// Octets of the answer that were written, where they count, and how many there were when that was last looked at.
    answer: Option<(Arc<AtomicU64>, u64)>,
}

impl Pace {
    /// That of a request with these fields, the octets of whose answer are counted in `sent`.
    pub(super) fn of(headers: &HeaderMap, timeouts: &Timeouts, sent: &Arc<AtomicU64>) -> Self {
        let (idle, enough, answer) = match is_grpc(headers) {
            true => (timeouts.upgrade_idle, 1, Some((Arc::clone(sent), 0))),
            false => (timeouts.body_idle, BODY_PROGRESS_BYTES_MIN, None),
        };
        Self { idle, enough, fresh: 0, deadline: Deadline::default(), answer }
    }

    /// So many octets came.
    pub(super) const fn came(&mut self, octets: usize) {
        self.fresh = self.fresh.saturating_add(octets);
    }

    /// It was not the client who was slow: its time begins anew.
    pub(super) fn held_back(&mut self) {
        self.deadline.clear();
    }

    /// Ready when too little has come for too long. To be asked while nothing comes.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.fresh >= self.enough || !self.deadline.is_set() {
                self.fresh = 0;
                self.deadline.set(Instant::now() + self.idle);
            }
            ready!(self.deadline.poll(context));
            let Some((sent, before)) = &mut self.answer else { return Poll::Ready(()) };
            let now = sent.load(Ordering::Relaxed);
            if std::mem::replace(before, now) == now {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn pace(kind: &'static str) -> (Pace, Arc<AtomicU64>) {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        let sent = Arc::default();
        (Pace::of(&headers, &Timeouts::DEFAULT, &sent), sent)
    }

    /// Seconds until it is over.
    async fn over(pace: &mut Pace) -> u64 {
        let begun = Instant::now();
        poll_fn(|context| pace.poll_over(context)).await;
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn octets_enough_must_come_in_time() {
        let (mut pace, sent) = pace("text/plain");
        pace.came(BODY_PROGRESS_BYTES_MIN - 1);
        sent.store(1_000_000, Ordering::Relaxed);
        assert_eq!(over(&mut pace).await, Timeouts::DEFAULT.body_idle.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_of_grpc_lasts_as_long_as_its_answer_moves_and_ends_with_the_silence() {
        let (mut pace, sent) = pace("application/grpc");
        let idle = Timeouts::DEFAULT.upgrade_idle.as_secs();
        sent.store(1, Ordering::Relaxed);
        assert_eq!(over(&mut pace).await, 2 * idle, "once more for what moved meanwhile");
        pace.came(1);
        assert_eq!(over(&mut pace).await, idle);
    }
}

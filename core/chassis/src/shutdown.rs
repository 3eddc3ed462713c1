//! How a node ends: withdraw, drain, stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Tells services what it is time for. Cheap to clone; every clone hears the same.
#[derive(Clone, Debug)]
pub struct Shutdown {
    withdraw: CancellationToken,
    drain: CancellationToken,
    stop: CancellationToken,
    drain_within: Duration,
    arrivals: Arrivals,
}

/// When something came last: somebody new, whom the network still sends here; an octet on a connection. Cheap to clone; all
/// clones are one.
///
/// What comes before anybody waits is not noted: it could not change how long he waits, and noting has a cost.
#[derive(Clone, Debug, Default)]
pub struct Arrivals(Arc<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// Since when somebody has waited.
    begun: OnceLock<Instant>,
    /// Milliseconds since then.
    last_ms: AtomicU64,
}

impl Arrivals {
    /// Something has come.
    pub fn note(&self) {
        if let Some(begun) = self.0.begun.get() {
            let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.0.last_ms.store(elapsed_ms, Ordering::Relaxed);
        }
    }

    /// Waits until nothing has come for as long as `quiet`, counted from now at the earliest.
    pub async fn until_none(&self, quiet: Duration) {
        let begun = *self.0.begun.get_or_init(Instant::now);
        let mut until = Instant::now() + quiet;
        while Instant::now() < until {
            tokio::time::sleep_until(until).await;
            let last = begun + Duration::from_millis(self.0.last_ms.load(Ordering::Relaxed));
            until = until.max(last + quiet);
        }
    }
}

impl Shutdown {
    /// A node that has not begun to end. Draining may take `drain_within`.
    pub fn new(drain_within: Duration) -> Self {
        Self {
            withdraw: CancellationToken::new(),
            drain: CancellationToken::new(),
            stop: CancellationToken::new(),
            drain_within,
            arrivals: Arrivals::default(),
        }
    }

    /// Where services note who comes.
    pub const fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// Until no new users may be sent here: time to withdraw announcements.
    pub async fn withdrawing(&self) {
        self.withdraw.cancelled().await;
    }

    /// Until nothing new may be begun: time to stop accepting and to end what was begun, within
    /// [`Shutdown::drain_within`].
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Until everything must end at once.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Whether announcements are to be withdrawn.
    pub fn is_withdrawing(&self) -> bool {
        self.withdraw.is_cancelled()
    }

    /// How long draining may take.
    pub const fn drain_within(&self) -> Duration {
        self.drain_within
    }

    /// A token that is cancelled when draining begins.
    pub fn drain_token(&self) -> CancellationToken {
        self.drain.clone()
    }

    /// A token that is cancelled when everything must end at once, for libraries that take one.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Begins to withdraw.
    pub fn begin_withdraw(&self) {
        self.withdraw.cancel();
    }

    /// Begins to drain.
    pub fn begin_drain(&self) {
        self.drain.cancel();
    }

    /// Ends everything.
    pub fn begin_stop(&self) {
        self.withdraw.cancel();
        self.drain.cancel();
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(500);
    const AT_MOST: Duration = Duration::from_secs(5);

    /// How long one waits while somebody new comes every `pace`, `times` times.
    async fn waited(times: u32, pace: Duration) -> Duration {
        let arrivals = Arrivals::default();
        arrivals.note();
        let coming = arrivals.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval_at(Instant::now() + pace, pace);
            for _ in 0..times {
                ticks.tick().await;
                coming.note();
            }
        });
        let begun = Instant::now();
        tokio::time::timeout(AT_MOST, arrivals.until_none(QUIET)).await.ok();
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn one_waits_until_nobody_comes_any_more_but_not_for_ever() {
        let pace = Duration::from_millis(300);
        assert_eq!(waited(0, pace).await.as_millis(), 500);
        assert_eq!(waited(4, pace).await.as_millis(), 1_700);
        assert_eq!(waited(1_000, pace).await.as_millis(), 5_000);
        // Who comes after a silence has another server.
        assert_eq!(waited(4, Duration::from_millis(600)).await.as_millis(), 500);
    }
}

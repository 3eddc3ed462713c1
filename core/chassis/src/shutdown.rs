//! How a node ends: withdraw, drain, stop.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Tells services what it is time for. Cheap to clone; every clone hears the same.
#[derive(Clone, Debug)]
pub struct Shutdown {
    withdraw: CancellationToken,
    drain: CancellationToken,
    stop: CancellationToken,
    drain_within: Duration,
}

impl Shutdown {
    /// A node that has not begun to end. Draining may take `drain_within`.
    pub fn new(drain_within: Duration) -> Self {
        Self {
            withdraw: CancellationToken::new(),
            drain: CancellationToken::new(),
            stop: CancellationToken::new(),
            drain_within,
        }
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

//! What is tried again, and how often.

use std::time::Duration;

use opendal::Error;

/// How often something is tried that failed in a way that may pass: a connection that the engine closed, above all.
const ATTEMPTS_MAX: u32 = 3;
/// How long is waited before it is tried again.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);

/// How often something has failed.
#[derive(Default)]
pub(super) struct Attempts(u32);

impl Attempts {
    /// Whether it is to be tried again: ready when that is so.
    pub(super) async fn again(&mut self, error: &Error) -> bool {
        self.0 += 1;
        let is_tried = error.is_temporary() && self.0 < ATTEMPTS_MAX;
        if is_tried {
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
        is_tried
    }
}

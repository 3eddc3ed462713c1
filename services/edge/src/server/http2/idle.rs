//! Frames that bring nothing: how many a client may send before it is taken for an attack.
//!
//! PING, SETTINGS, empty DATA, priorities, resets of what is over and what is unknown cost the client next to nothing, and
//! us a little each. They are counted while no request begins and no content moves. An update of a window brings something
//! where there was something written for it to open the window for: once for the stream and once for the connection, and
//! perhaps long after it was written. Beyond that it brings nothing, too (CVE-2019-9511 and the like).

use std::time::Duration;

use tokio::time::Instant;

use crate::http2::{Broken, Code};

/// Such frames in [`IDLE_FRAMES`].
pub(super) const IDLE_FRAMES_MAX: u32 = 1024;
const IDLE_FRAMES: Duration = Duration::from_secs(60);
/// Octets written for which a client may open a window: some clients do as often as they read.
const WINDOW_UPDATE_BYTES: usize = 1024;
/// The most updates that a client may have left.
const WINDOW_UPDATES_DUE_MAX: usize = 64 * 1024;

/// What a client has sent of them lately.
pub(super) struct IdleFrames {
    count: u32,
    since: Instant,
    window_updates_due: usize,
}

impl IdleFrames {
    pub(super) fn new() -> Self {
        Self { count: 0, since: Instant::now(), window_updates_due: 0 }
    }

    /// A request has begun, or content has come.
    pub(super) const fn moved(&mut self) {
        self.count = 0;
    }

    /// So many octets of answers are about to be written.
    pub(super) fn wrote(&mut self, octets: usize) {
        if octets > 0 {
            self.count = 0;
            let due = self.window_updates_due + 2 * (1 + octets / WINDOW_UPDATE_BYTES);
            self.window_updates_due = due.min(WINDOW_UPDATES_DUE_MAX);
        }
    }

    /// A window was opened.
    ///
    /// # Errors
    /// As [`Self::came`], where nothing was written for which it could be.
    pub(super) fn window_opened(&mut self) -> Result<(), Broken> {
        match self.window_updates_due.checked_sub(1) {
            Some(left) => self.window_updates_due = left,
            None => self.came()?,
        }
        Ok(())
    }

    /// One more of them came.
    ///
    /// # Errors
    /// It is one too many.
    pub(super) fn came(&mut self) -> Result<(), Broken> {
        if self.count == 0 {
            self.since = Instant::now();
        }
        self.count += 1;
        if self.count <= IDLE_FRAMES_MAX {
            return Ok(());
        }
        if self.since.elapsed() < IDLE_FRAMES {
            return Err(Broken::Connection(Code::ENHANCE_YOUR_CALM));
        }
        self.count = 0;
        Ok(())
    }
}

//! For how long strays are passed on after an announcement. Pure: time is handed in.

use std::time::Instant;

/// A window that later announcements extend, and that stays open while connections are active.
#[derive(Debug)]
pub(super) struct Window {
    until: Instant,
    over: bool,
}

impl Window {
    pub(super) const fn new(until: Instant) -> Self {
        Self { until, over: false }
    }

    /// Until when it is open at least.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    /// Keeps it open until then; false if it is over, and a new one is needed.
    pub(super) fn extend(&mut self, until: Instant) -> bool {
        self.until = self.until.max(until);
        !self.over
    }

    /// Whether it is over, with so many connections active: then for good.
    pub(super) fn close(&mut self, now: Instant, active: usize) -> bool {
        self.over |= now >= self.until && active == 0;
        self.over
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_window_is_open_for_its_time_and_while_connections_are_active() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut window = Window::new(now + second);
        assert!(!window.close(now, 0));
        assert!(window.extend(now + second * 3));
        assert!(window.extend(now + second * 2), "never shortened");
        assert_eq!(window.until(), now + second * 3);
        assert!(!window.close(now + second * 2, 0));
        assert!(!window.close(now + second * 3, 1));
        assert!(window.close(now + second * 4, 0));
        assert!(!window.extend(now + second * 9), "over for good");
        assert!(window.close(now + second * 5, 1));
    }
}

//! What the node's beats say: announce after steady health, withdraw at the first sign of illness. Pure.

use std::time::{Duration, Instant};

use crate::deadman::Beat;

/// Between two beats.
pub(crate) const BEAT_EVERY: Duration = Duration::from_millis(50);
/// How long health must be unbroken before a server that was withdrawn is announced again.
pub const STEADY_FOR: Duration = Duration::from_millis(500);

/// Turns health into beats.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Heart {
    /// Never announced: the first time needs no steadiness, since nothing can flap yet.
    #[default]
    Fresh,
    /// Announced, and healthy since.
    Announced,
    /// Was announced, and cannot serve now.
    Ill,
    /// Was ill, and is healthy since then.
    Recovering(Instant),
}

impl Heart {
    /// The beat for this moment.
    pub(crate) fn beat(&mut self, can_serve: bool, now: Instant) -> Beat {
        *self = match (*self, can_serve) {
            (Self::Fresh, false) => Self::Fresh,
            (_, false) => Self::Ill,
            (Self::Fresh | Self::Announced, true) => Self::Announced,
            (Self::Ill, true) => Self::Recovering(now),
            (Self::Recovering(since), true) if now.saturating_duration_since(since) >= STEADY_FOR => {
                Self::Announced
            }
            (recovering @ Self::Recovering(_), true) => recovering,
        };
        match self {
            Self::Announced => Beat::Announce,
            Self::Fresh | Self::Ill | Self::Recovering(_) => Beat::Withdraw,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_announcement_is_at_once_and_later_ones_wait_for_steady_health() {
        let start = Instant::now();
        let mut heart = Heart::default();
        assert_eq!(heart.beat(false, start), Beat::Withdraw);
        assert_eq!(heart.beat(true, start), Beat::Announce);
        assert_eq!(heart.beat(true, start + BEAT_EVERY), Beat::Announce);
        assert_eq!(heart.beat(false, start + BEAT_EVERY * 2), Beat::Withdraw);
        let well = start + BEAT_EVERY * 3;
        assert_eq!(heart.beat(true, well), Beat::Withdraw);
        assert_eq!(heart.beat(true, well + STEADY_FOR / 2), Beat::Withdraw);
        assert_eq!(heart.beat(true, well + STEADY_FOR), Beat::Announce);
        assert_eq!(heart.beat(true, well + STEADY_FOR + BEAT_EVERY), Beat::Announce);
    }
}

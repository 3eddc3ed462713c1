//! What the node's beats say: announce after steady health, withdraw at the first sign of illness. Pure.

use std::time::{Duration, Instant};

use crate::deadman::Beat;

/// Between two beats.
pub(crate) const BEAT_EVERY: Duration = Duration::from_millis(50);
/// How long health must be unbroken before a server that was withdrawn is announced again.
pub const STEADY_FOR: Duration = Duration::from_millis(500);

/// Turns health into beats.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heart {
    /// Took over from a former process, which beats until this one can serve: nothing is said before.
    TakingOver,
    /// Announced, and healthy since.
    Announced,
    /// Cannot serve.
    Ill,
    /// Healthy since then.
    Recovering(Instant),
}

impl Heart {
    /// The heart of a process that starts. One that did not take over is ill until it has shown steady health, also the
    /// first time: a node that crashes and is started again and again must not flap.
    pub(crate) const fn new(took_over: bool) -> Self {
        if took_over { Self::TakingOver } else { Self::Ill }
    }

    /// Whether users may be here already: announced, or about to go on where a former process was.
    pub(crate) const fn is_announced(self) -> bool {
        matches!(self, Self::TakingOver | Self::Announced)
    }

    /// The beat for this moment, if one is to be sent.
    pub(crate) fn beat(&mut self, can_serve: bool, now: Instant) -> Option<Beat> {
        *self = match (*self, can_serve) {
            (Self::TakingOver, false) => Self::TakingOver,
            (_, false) => Self::Ill,
            (Self::TakingOver | Self::Announced, true) => Self::Announced,
            (Self::Ill, true) => Self::Recovering(now),
            (Self::Recovering(since), true) if now.saturating_duration_since(since) >= STEADY_FOR => {
                Self::Announced
            }
            (recovering @ Self::Recovering(_), true) => recovering,
        };
        match self {
            Self::TakingOver => None,
            Self::Announced => Some(Beat::Announce),
            Self::Ill | Self::Recovering(_) => Some(Beat::Withdraw),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_waits_for_steady_health_and_a_withdrawal_for_nothing() {
        let start = Instant::now();
        let mut heart = Heart::new(false);
        assert_eq!(heart.beat(false, start), Some(Beat::Withdraw));
        assert_eq!(heart.beat(true, start), Some(Beat::Withdraw));
        assert_eq!(heart.beat(true, start + STEADY_FOR / 2), Some(Beat::Withdraw));
        let steady = start + STEADY_FOR;
        assert_eq!(heart.beat(true, steady), Some(Beat::Announce));
        assert_eq!(heart.beat(true, steady + BEAT_EVERY), Some(Beat::Announce));
        assert_eq!(heart.beat(false, steady + BEAT_EVERY * 2), Some(Beat::Withdraw));
        let well = steady + BEAT_EVERY * 3;
        assert_eq!(heart.beat(true, well), Some(Beat::Withdraw));
        assert_eq!(heart.beat(true, well + STEADY_FOR), Some(Beat::Announce));
    }

    #[test]
    fn a_process_that_takes_over_says_nothing_until_it_can_serve_and_then_goes_on() {
        let start = Instant::now();
        let mut heart = Heart::new(true);
        assert_eq!(heart.beat(false, start), None);
        assert_eq!(heart.beat(true, start + BEAT_EVERY), Some(Beat::Announce));
        assert_eq!(heart.beat(false, start + BEAT_EVERY * 2), Some(Beat::Withdraw));
    }
}

//! The dead man's switch: what to tell BIRD, given the beats that came. Pure: time is handed in.

use std::time::{Duration, Instant};

/// What the node says with each beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// This server can serve.
    Announce,
    /// It is about to go: users are to be sent elsewhere where there is an elsewhere.
    Leave,
    /// This server must not get new users.
    Withdraw,
}

impl Beat {
    /// The octet on the pipe.
    pub(crate) const fn octet(self) -> u8 {
        match self {
            Self::Announce => b'A',
            Self::Leave => b'L',
            Self::Withdraw => b'W',
        }
    }

    /// The beat of this octet.
    pub(crate) const fn of(octet: u8) -> Option<Self> {
        match octet {
            b'A' => Some(Self::Announce),
            b'L' => Some(Self::Leave),
            b'W' => Some(Self::Withdraw),
            _ => None,
        }
    }
}

/// The switch.
#[derive(Debug)]
pub(crate) struct Deadman {
    silence_max: Duration,
    last: Option<(Instant, Beat)>,
}

impl Deadman {
    /// A switch that trips after `silence_max` without a beat.
    pub(crate) const fn new(silence_max: Duration) -> Self {
        Self { silence_max, last: None }
    }

    /// A beat came.
    pub(crate) fn beat(&mut self, beat: Beat, now: Instant) {
        self.last = Some((now, beat));
    }

    /// What is to be said of the prefixes now.
    pub(crate) fn says(&self, now: Instant) -> Beat {
        match self.last {
            Some((at, beat)) if now.saturating_duration_since(at) < self.silence_max => beat,
            _ => Beat::Withdraw,
        }
    }

    /// When the answer may change by itself; `None` if only a beat can change it.
    pub(crate) fn trips_in(&self, now: Instant) -> Option<Duration> {
        let (at, _) = self.last.filter(|_| self.says(now) != Beat::Withdraw)?;
        Some((at + self.silence_max).saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_millis(600);

    #[test]
    fn nothing_is_announced_before_the_first_beat() {
        assert_eq!(Deadman::new(SILENCE).says(Instant::now()), Beat::Withdraw);
    }

    #[test]
    fn silence_trips_the_switch_and_a_beat_sets_it_again() {
        let start = Instant::now();
        let mut deadman = Deadman::new(SILENCE);
        for (beat, start) in [(Beat::Announce, start), (Beat::Leave, start + SILENCE * 2)] {
            deadman.beat(beat, start);
            assert_eq!(deadman.says(start + SILENCE / 2), beat);
            assert_eq!(deadman.trips_in(start + SILENCE / 2), Some(SILENCE / 2));
            assert_eq!(deadman.says(start + SILENCE), Beat::Withdraw);
            assert_eq!(deadman.trips_in(start + SILENCE), None);
        }
    }

    #[test]
    fn a_beat_that_says_withdraw_withdraws_at_once() {
        let start = Instant::now();
        let mut deadman = Deadman::new(SILENCE);
        deadman.beat(Beat::Announce, start);
        deadman.beat(Beat::Withdraw, start);
        assert_eq!(deadman.says(start), Beat::Withdraw);
        assert_eq!(deadman.trips_in(start), None);
    }
}

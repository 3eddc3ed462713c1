//! What who looks is told of events that were dropped: pure. It is asked once a second, so that a flood brings no flood of notices.

use proxima_model::Timestamp;
use serde_json::{Value, json};

/// After so many seconds without a loss it is over.
const QUIET_SECONDS: u32 = 5;

/// How it stands.
#[derive(Debug, Default)]
pub(super) struct Overload {
    /// Not told yet.
    dropped: u64,
    /// Since when nothing was lost, if it was told that something is.
    quiet_seconds: Option<u32>,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Dropped(u64),
    Over,
}

impl Overload {
    /// So many events were lost.
    pub(super) const fn dropped(&mut self, count: u64) {
        self.dropped = self.dropped.saturating_add(count);
    }

    /// A second has passed.
    pub(super) fn second(&mut self) -> Option<Notice> {
        if self.dropped > 0 {
            self.quiet_seconds = Some(0);
            return Some(Notice::Dropped(std::mem::take(&mut self.dropped)));
        }
        let quiet = self.quiet_seconds.as_mut()?;
        *quiet += 1;
        if *quiet < QUIET_SECONDS {
            return None;
        }
        self.quiet_seconds = None;
        Some(Notice::Over)
    }
}

impl Notice {
    /// As v4 has it among events.
    pub(super) fn show(self, worker: &str, now: Timestamp) -> Value {
        let (kind, message) = match self {
            Self::Dropped(count) => (
                "overload",
                format!(
                    "{count} events were dropped, since more come than are read: filters make fewer of them."
                ),
            ),
            Self::Over => ("overload-stop", "No events are dropped any more.".to_owned()),
        };
        json!({
            "outcome": "ok",
            "scriptName": worker,
            "exceptions": [],
            "logs": [],
            "eventTimestamp": now.as_millis(),
            "event": { "type": kind, "message": message },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_once_a_second_and_when_there_are_none_for_a_while() {
        let mut overload = Overload::default();
        assert_eq!(overload.second(), None);
        overload.dropped(2);
        overload.dropped(3);
        assert_eq!(overload.second(), Some(Notice::Dropped(5)));
        for _ in 1..QUIET_SECONDS {
            assert_eq!(overload.second(), None);
        }
        overload.dropped(1);
        assert_eq!(overload.second(), Some(Notice::Dropped(1)), "it was not over yet");
        let seconds: Vec<_> = (0..=QUIET_SECONDS).map(|_| overload.second()).collect();
        assert_eq!(seconds.iter().flatten().collect::<Vec<_>>(), [&Notice::Over]);
        assert_eq!(seconds[usize::try_from(QUIET_SECONDS).unwrap() - 1], Some(Notice::Over));
    }

    #[test]
    fn a_notice_has_what_wrangler_prints() {
        let shown = Notice::Dropped(7).show("app", Timestamp::from_millis(1));
        assert_eq!(shown["event"]["type"], "overload");
        assert!(shown["event"]["message"].as_str().unwrap().starts_with("7 events"), "{shown}");
        assert_eq!((&shown["logs"], &shown["exceptions"]), (&json!([]), &json!([])));
    }
}

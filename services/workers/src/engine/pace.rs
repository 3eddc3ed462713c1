//! How much of what customers can have said is logged.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::ChildStderr,
};

/// Lines that are logged in [`LINES_WITHIN`]; of more their number is.
const LINES_MAX: u32 = 20;
/// See [`LINES_MAX`].
const LINES_WITHIN: Duration = Duration::from_secs(10);
/// Octets of a line of the engine's that are logged.
const LINE_OCTETS_MAX: u64 = 1_024;

/// Counts lines of one kind.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Instant,
    told: u32,
    untold: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { since: Instant::now(), told: 0, untold: 0 }
    }
}

impl Pace {
    /// Whether the next line may be logged; logs how many were not, when the time for them is over.
    pub(crate) fn may_tell(&mut self) -> bool {
        let (may, untold) = self.take(Instant::now());
        if let Some(lines) = untold {
            tracing::info!(lines, "more was said of Workers than is logged");
        }
        may
    }

    fn take(&mut self, now: Instant) -> (bool, Option<u64>) {
        let mut untold = None;
        if now.duration_since(self.since) > LINES_WITHIN {
            untold = Some(self.untold).filter(|untold| *untold > 0);
            *self = Self { since: now, told: 0, untold: 0 };
        }
        if self.told < LINES_MAX {
            self.told += 1;
            return (true, untold);
        }
        self.untold += 1;
        (false, untold)
    }
}

/// Logs what a process says, as far as that is not too much; a line that is too long as several.
pub(crate) async fn log(stderr: ChildStderr) {
    let (mut stderr, mut line, mut pace) = (BufReader::new(stderr), Vec::new(), Pace::default());
    loop {
        line.clear();
        match (&mut stderr).take(LINE_OCTETS_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) if pace.may_tell() => {
                tracing::info!(line = %String::from_utf8_lossy(&line).trim_end(), "the engine says");
            }
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_told_in_a_while_and_then_how_many_were_not() {
        let mut pace = Pace::default();
        let start = pace.since;
        for _ in 0..LINES_MAX {
            assert_eq!(pace.take(start), (true, None));
        }
        assert_eq!(pace.take(start), (false, None));
        assert_eq!(pace.take(start + LINES_WITHIN), (false, None));
        let later = start + LINES_WITHIN + Duration::from_millis(1);
        assert_eq!(pace.take(later), (true, Some(2)));
        assert_eq!(pace.take(later + 2 * LINES_WITHIN), (true, None));
    }
}

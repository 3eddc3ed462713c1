//! What each of the invocations in a process has had of a processor. Pure, but for the kernel's clock.
//!
//! The engine does not tell. The kernel tells what a process has had, with all its threads, and the node knows when invocations begin
//! and end in it. What the process has had from one of these moments to the next is shared by those that were in flight meanwhile:
//!
//! ```text
//!  the process's clock  0 ms ──── 4 ms ──────── 10 ms ─── 12 ms
//!  in flight                  A          A, B          B
//!  `Spent::each`        0 ─────── 4 ─────────── 7 ─────── 9         A has had 7 − 0, B 9 − 4
//! ```
//!
//! That is exact for who is alone, and an estimate for who is not: one that only waits bears its part of what its neighbours compute.
//! A WebSocket, which may wait for hours, is in flight only from when it is told something until something comes of it.
//! What a process does while none is in flight is charged to nobody: as the node sees it an invocation has ended with its answer, so
//! what it puts off until later (`waitUntil`) is nobody's, or its neighbours'. The first one in a process has its start.

use std::time::Duration;

use nix::{time::ClockId, unistd::Pid};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spent {
    /// Where the clock stood when it was last looked at.
    clock: Option<Duration>,
    /// What one would have had that has been in flight all the time.
    each: Duration,
    in_flight: u32,
}

/// What one invocation has had, which begins as one that is not in flight.
#[derive(Debug, Default)]
pub(super) struct Part {
    had: Duration,
    /// While it is in flight: what [`Spent::each`] was when that began.
    since: Option<Duration>,
}

impl Spent {
    /// The clock stands so. One that cannot be read stands still, and one that was read before the last look does.
    pub(super) fn look(&mut self, clock: Option<Duration>) {
        if let (Some(now), Some(before), 1..) = (clock, self.clock, self.in_flight) {
            self.each += now.saturating_sub(before) / self.in_flight;
        }
        self.clock = self.clock.max(clock);
    }

    /// One is in flight from now on.
    pub(super) fn begin(&mut self, part: &mut Part, clock: Option<Duration>) {
        self.look(clock);
        if part.since.is_none() {
            part.since = Some(self.each);
            self.in_flight += 1;
        }
    }

    /// One is not in flight any more.
    pub(super) fn end(&mut self, part: &mut Part, clock: Option<Duration>) {
        self.look(clock);
        part.had = self.had(part);
        if part.since.take().is_some() {
            self.in_flight -= 1;
        }
    }

    /// What one has had until the clock was last looked at.
    pub(super) fn had(&self, part: &Part) -> Duration {
        part.had + part.since.map_or(Duration::ZERO, |since| self.each - since)
    }
}

/// The kernel's clock of what a process has had of processors, with all its threads (clock_getcpuclockid(3)).
#[derive(Clone, Copy, Debug)]
pub(super) struct CpuClock(ClockId);

impl CpuClock {
    /// That of a process, if there is one of this id.
    pub(super) fn of(process: u32) -> Option<Self> {
        ClockId::pid_cpu_clock_id(Pid::from_raw(process.try_into().ok()?)).ok().map(Self)
    }

    /// Where it stands; `None` once the process is gone.
    pub(super) fn now(self) -> Option<Duration> {
        self.0.now().ok().map(Duration::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a clock of milliseconds stands.
    fn ms(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    fn begun(spent: &mut Spent, clock: Option<Duration>) -> Part {
        let mut part = Part::default();
        spent.begin(&mut part, clock);
        part
    }

    fn ended(spent: &mut Spent, mut part: Part, clock: Option<Duration>) -> Duration {
        spent.end(&mut part, clock);
        spent.had(&part)
    }

    #[test]
    fn who_is_alone_has_had_it_all_and_what_nobody_is_there_for_is_charged_to_nobody() {
        let mut spent = Spent::default();
        let part = begun(&mut spent, ms(100));
        assert_eq!(Some(ended(&mut spent, part, ms(103))), ms(3), "and not what was before");
        let part = begun(&mut spent, ms(150));
        assert_eq!(Some(ended(&mut spent, part, ms(150))), ms(0), "it has waited");
    }

    #[test]
    fn those_that_are_in_flight_share_what_is_had_meanwhile_and_all_is_charged_once() {
        let mut spent = Spent::default();
        let a = begun(&mut spent, ms(0));
        let b = begun(&mut spent, ms(4));
        let a = ended(&mut spent, a, ms(10));
        let c = begun(&mut spent, ms(12));
        let d = begun(&mut spent, ms(12));
        let b = ended(&mut spent, b, ms(18));
        let c = ended(&mut spent, c, ms(20));
        let d = ended(&mut spent, d, ms(25));
        assert_eq!([a, b, c, d].map(Some), [ms(4 + 3), ms(3 + 2 + 2), ms(2 + 1), ms(2 + 1 + 5)]);
        assert_eq!(Some(a + b + c + d), ms(25));
        assert_eq!(spent.in_flight, 0);
    }

    #[test]
    fn one_that_rests_bears_nothing_and_goes_on_with_what_it_has_had() {
        let mut spent = Spent::default();
        let (mut socket, other) = (begun(&mut spent, ms(0)), begun(&mut spent, ms(0)));
        spent.end(&mut socket, ms(2));
        spent.end(&mut socket, ms(10));
        assert_eq!((Some(spent.had(&socket)), Some(spent.had(&other))), (ms(1), ms(9)));
        spent.begin(&mut socket, ms(10));
        spent.begin(&mut socket, ms(14));
        spent.look(ms(16));
        assert_eq!((Some(spent.had(&socket)), Some(spent.had(&other))), (ms(4), ms(12)));
        assert_eq!(Some(ended(&mut spent, other, ms(16))), ms(12));
        assert_eq!(Some(ended(&mut spent, socket, ms(17))), ms(5));
    }

    #[test]
    fn a_clock_that_cannot_be_read_or_was_read_late_charges_nothing_twice() {
        let mut spent = Spent::default();
        let part = begun(&mut spent, None);
        let mut had = |clock: Option<Duration>| {
            spent.look(clock);
            Some(spent.had(&part))
        };
        assert_eq!(had(ms(500)), ms(0), "it is not known since when");
        assert_eq!(had(ms(510)), ms(10));
        assert_eq!(had(ms(505)), ms(10), "somebody else has looked meanwhile");
        assert_eq!(had(None), ms(10));
        assert_eq!(had(ms(512)), ms(12));
    }

    #[test]
    fn the_clock_of_a_process_goes_while_it_computes() {
        let clock = CpuClock::of(std::process::id()).expect("this process is there");
        let begun = clock.now().expect("it can be read");
        while clock.now().expect("it can be read") == begun {
            std::hint::spin_loop();
        }
        assert!(CpuClock::of(u32::MAX).is_none());
    }
}

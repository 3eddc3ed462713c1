//! What a process takes, and when it is too much.

use std::{fs, time::Duration};

/// Ticks of the kernel's clock for programs in a second: the same on all machines that this is built for.
const TICKS_PER_SECOND: u64 = 100;
/// The fields of `/proc/PID/stat` after the name, which may have spaces: time in user mode, and in the kernel (proc(5)).
const USER_TIME: usize = 11;
const KERNEL_TIME: usize = 12;

/// How much a process may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of a processor, while nothing comes out of it.
    pub(crate) cpu: Duration,
    /// Of memory, in octets.
    pub(crate) memory: u64,
}

/// A process at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Whether it has requests.
    pub(crate) at_work: bool,
    /// How often something came out of it.
    pub(crate) progress: u64,
    /// What its main thread, on which all Workers run, has had of a processor.
    pub(crate) cpu: Duration,
    /// Octets of memory.
    pub(crate) memory: u64,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Fine,
    /// It is to be replaced by another process, when it has ended what it has begun.
    Full,
    /// Nothing has come out of it for a part of the time after which it spins.
    Silent,
    Spins,
    TooLarge,
}

/// Looks at one process again and again.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Since when nothing came out of it: how often something had, and what it had had of a processor.
    silent: Option<(u64, Duration)>,
}

/// The part of [`Limits::cpu`] after which nobody else is sent to a process: most code takes less, and its neighbours do not
/// wait for long.
const SILENT_PART: u32 = 8;

impl Watch {
    /// Pure. That a Worker waits costs it nothing; that the machine is busy with others does not either.
    pub(crate) fn look(&mut self, sight: Sight, limits: &Limits) -> Finding {
        if sight.memory > limits.memory {
            return Finding::TooLarge;
        }
        match self.silent {
            Some((progress, since)) if sight.at_work && progress == sight.progress => {
                let taken = sight.cpu.saturating_sub(since);
                if taken >= limits.cpu {
                    return Finding::Spins;
                }
                if taken >= limits.cpu / SILENT_PART {
                    return Finding::Silent;
                }
            }
            _ => self.silent = sight.at_work.then_some((sight.progress, sight.cpu)),
        }
        // What was loaded stays: of many Workers and versions that were asked for once, too.
        if sight.memory > limits.memory / 4 * 3 { Finding::Full } else { Finding::Fine }
    }
}

/// What the main thread of a process has had of a processor; `None` once it is gone.
pub(crate) fn cpu(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/task/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks(USER_TIME)? + ticks(KERNEL_TIME)?) * 1_000 / TICKS_PER_SECOND))
}

/// The same, more exactly where the kernel tells it (`/proc/PID/schedstat`, `Documentation/scheduler/sched-stats.rst`).
pub(crate) fn ran(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/task/{process}/schedstat")).ok();
    let nanoseconds = stat.and_then(|stat| stat.split(' ').next()?.parse().ok());
    nanoseconds.map(Duration::from_nanos).or_else(|| cpu(process))
}

/// Octets of memory that a process has of its own.
pub(crate) fn memory(process: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let mut pages = statm.split(' ').skip(1).map(|field| field.parse::<u64>().ok());
    let (resident, shared) = (pages.next()??, pages.next()??);
    Some(resident.saturating_sub(shared) * page_octets())
}

fn page_octets() -> u64 {
    let known = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    known.and_then(|octets| u64::try_from(octets).ok()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { cpu: Duration::from_millis(100), memory: 1_000 };

    fn sight(at_work: bool, progress: u64, cpu_ms: u64, memory: u64) -> Sight {
        Sight { at_work, progress, cpu: Duration::from_millis(cpu_ms), memory }
    }

    #[test]
    fn a_process_spins_that_uses_its_time_up_while_nothing_comes_out_of_it() {
        for (sights, expected) in [
            (vec![sight(true, 0, 50, 1), sight(true, 0, 62, 1)], Finding::Fine),
            (vec![sight(true, 0, 50, 1), sight(true, 0, 63, 1)], Finding::Silent),
            (vec![sight(true, 0, 50, 1), sight(true, 0, 149, 1)], Finding::Silent),
            (vec![sight(true, 0, 50, 1), sight(true, 0, 149, 1), sight(true, 0, 150, 1)], Finding::Spins),
            (vec![sight(true, 0, 50, 1), sight(true, 1, 500, 1), sight(true, 1, 512, 1)], Finding::Fine),
            (vec![sight(true, 0, 50, 1), sight(false, 0, 500, 1), sight(true, 0, 900, 1)], Finding::Fine),
            (vec![sight(true, 0, 0, 750)], Finding::Fine),
            (vec![sight(true, 0, 0, 751)], Finding::Full),
            (vec![sight(false, 0, 0, 1_001)], Finding::TooLarge),
        ] {
            let mut watch = Watch::default();
            let findings: Vec<_> = sights.iter().map(|sight| watch.look(*sight, &LIMITS)).collect();
            assert_eq!(findings.last(), Some(&expected), "{sights:?}");
        }
    }

    #[test]
    fn a_process_is_measured_as_the_kernel_tells_it() {
        let own = std::process::id();
        assert!(memory(own).is_some_and(|octets| octets > 0));
        assert!(cpu(own).is_some() && ran(own).is_some_and(|ran| !ran.is_zero()));
        assert_eq!((cpu(u32::MAX), ran(u32::MAX), memory(u32::MAX)), (None, None, None));
    }
}

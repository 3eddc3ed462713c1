//! Why a process ended, or is to end; and whether that was a Worker's doing.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

use nix::sys::signal::Signal;
use proxima_pipeline::Exceeded;

use crate::metrics::End;

/// See the module.
#[derive(Debug)]
pub(crate) enum Why {
    Exited(Option<ExitStatus>),
    Unneeded,
    Cpu,
    Memory,
}

impl Why {
    /// As it is counted.
    pub(crate) const fn end(&self) -> End {
        match self {
            Self::Exited(_) => End::Exited,
            Self::Unneeded => End::Unneeded,
            Self::Cpu => End::Cpu,
            Self::Memory => End::Memory,
        }
    }

    /// What a Worker did, if it was one's doing. Workers have a process end by a signal: V8 without memory aborts. By SIGKILL
    /// operators do, and kernels without memory; with a status it is its own doing.
    pub(crate) fn exceeded(&self) -> Option<Exceeded> {
        match self {
            Self::Cpu => Some(Exceeded::Cpu),
            Self::Memory => Some(Exceeded::Memory),
            Self::Exited(status) => status
                .as_ref()
                .and_then(ExitStatus::signal)
                .filter(|signal| *signal != Signal::SIGKILL as i32)
                .map(|_| Exceeded::Process),
            Self::Unneeded => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_ended_by_a_signal_of_its_own_was_ended_by_a_worker() {
        let exited = |status: i32| Why::Exited(Some(ExitStatus::from_raw(status)));
        for (why, expected) in [
            (Why::Cpu, Some(Exceeded::Cpu)),
            (Why::Memory, Some(Exceeded::Memory)),
            (exited(Signal::SIGABRT as i32), Some(Exceeded::Process)),
            (exited(Signal::SIGSYS as i32), Some(Exceeded::Process)),
            (exited(Signal::SIGKILL as i32), None),
            (exited(1 << 8), None),
            (Why::Exited(None), None),
            (Why::Unneeded, None),
        ] {
            assert_eq!(why.exceeded(), expected, "{why:?}");
        }
    }
}

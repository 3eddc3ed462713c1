//! What can go wrong in the lab; every message says what was being done, to what, and what to do next.

use std::io;
use std::path::PathBuf;

use crate::topology::TopologyError;

/// An error of the lab.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The topology file has mistakes; all of them are listed.
    #[error(transparent)]
    Topology(#[from] TopologyError),

    /// The lab's name cannot be part of the names of namespaces.
    #[error("`{0}` is no name for a lab: use 1 to 12 of a-z, 0-9 and `-`, beginning with a letter")]
    LabName(String),

    /// The lab makes namespaces, which only root may.
    #[error("the lab makes network namespaces and TUN devices: run it as root")]
    NotRoot,

    /// A program that the lab runs is not installed.
    #[error("`{program}` is missing: apt-get install {package}")]
    ProgramMissing {
        /// The program's name.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },

    /// There is a lab of this name, running or left over.
    #[error("the lab `{0}` is up already: `proxima lab down --name {0}` first, or choose another --name")]
    AlreadyUp(String),

    /// No lab of this name runs.
    #[error("no lab `{name}` runs ({state_dir} has no control socket that answers): `proxima lab up` first")]
    NotUp {
        /// The lab's name.
        name: String,
        /// Where its state was looked for.
        state_dir: PathBuf,
    },

    /// Several labs run, and none was named.
    #[error("several labs run: {running}; say which with --name")]
    WhichLab {
        /// The names of those that run.
        running: String,
    },

    /// The topology has no host of this name.
    #[error("the lab has no {wanted} `{name}`; it has: {known}")]
    UnknownName {
        /// What was looked for: "host", "server", "PoP" …
        wanted: &'static str,
        /// The name that was given.
        name: String,
        /// The names that would have done.
        known: String,
    },

    /// No link joins these two hosts.
    #[error("no link joins `{from}` and `{to}`; links: {known}")]
    UnknownLink {
        /// One end.
        from: String,
        /// The other end.
        to: String,
        /// The links that there are.
        known: String,
    },

    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, to what.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },

    /// A program that the lab ran failed.
    #[error("{program} failed ({status}):\n{output}")]
    ProgramFailed {
        /// The program with its arguments.
        program: String,
        /// How it ended.
        status: String,
        /// What it printed, shortened to its end.
        output: String,
    },

    /// A program that should serve ended or did not come up in time.
    #[error("`{program}` on {host} {what}; the end of {log}:\n{tail}")]
    NotReady {
        /// The host whose program it is.
        host: String,
        /// The program.
        program: String,
        /// What happened instead.
        what: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// BIRD answered a command with an error, or not at all.
    #[error("BIRD of {host}, command `{command}`: {answer}")]
    Bird {
        /// The router.
        host: String,
        /// The command sent.
        command: String,
        /// The answer.
        answer: String,
    },

    /// A fault was injected but shows no effect.
    #[error("the fault `{fault}` took no effect: {seen}")]
    NoEffect {
        /// The fault.
        fault: String,
        /// What was observed.
        seen: String,
    },

    /// The fault cannot be done here.
    #[error("`{fault}` is not possible: {why}")]
    FaultImpossible {
        /// The fault.
        fault: String,
        /// The reason and what to do instead.
        why: String,
    },

    /// A zone cannot be delegated to Proxima.
    #[error("{zone} cannot be delegated to Proxima: {why}")]
    NotDelegated {
        /// The zone.
        zone: String,
        /// The reason and what to do.
        why: String,
    },

    /// The daemon answered that it could not do what it was asked.
    #[error("{0}")]
    Daemon(String),

    /// Something read from disk or from the daemon has not the shape it must have.
    #[error("{what} cannot be read: {why}")]
    Malformed {
        /// The thing.
        what: String,
        /// What is wrong.
        why: String,
    },
}

/// `Result` of the lab.
pub type Result<T, E = LabError> = std::result::Result<T, E>;

/// Adds to an I/O error what was being done.
pub(crate) trait Doing<T> {
    /// `doing` reads like "reading /etc/hosts".
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| LabError::Io { doing: doing(), source: error.into() })
    }
}

//! What stands around each process of the engine: customers' code that broke out of V8 finds itself here.
//!
//! ```text
//!  node ── posix_spawn ─▶ this program again, with a Plan ─▶ exec ─▶ workerd, in the cage
//!                         one thread: control group ▸ namespaces ▸ root file system ▸ user, capabilities ▸ dies with the node
//!                                     ▸ filter
//! ```
//!
//! The walls are put up by this program, started once more for each process: what unshare(2) and mount(2) need cannot be done
//! between fork and exec of a program with threads, and starting so copies no page table of the node's.
//!
//! Invariants:
//! * **No way out but the node's sockets**: an own network namespace without any interface that is up, and no sockets but
//!   Unix ones; the folder of the run is all that leads anywhere, and there the node knows who asks (`answering.rs`).
//! * **Nothing to read but what the engine needs**, nothing to write but what [`Plan::keeps`] names.
//! * **All or nothing**: a wall that cannot be put up ends the start. What a machine does not allow is found out once, when
//!   the node starts ([`Plan::trial`]), never while it runs.
//!
//! Why so, and what it does not hold: `docs/decisions/0018-cage.md`.

mod enter;
mod filter;
mod needs;
mod privileges;
mod root;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use self::enter::enter;
pub(crate) use self::needs::Needs;

/// Where the folder of the run is, in the cage.
const RUN_FOLDER: &str = "/run";

/// How this program is started to put up a cage: `program arguments… PLAN`.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// A program that hands its last argument to [`enter`] while it has one thread.
    pub program: PathBuf,
    /// What comes before the plan.
    pub arguments: Vec<OsString>,
}

/// A process that is to be started: written by the node, read by the launcher.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The node: with it the process ends.
    pub(crate) parent: u32,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Where it runs: the folder that its settings name sockets in.
    pub(crate) folder: PathBuf,
    /// By how much it gives way to all others (nice(2)).
    pub(crate) nice: i32,
    /// Puts up everything and ends well instead of running the program.
    pub(crate) trial: bool,
    /// The filter of system calls (seccomp(2)).
    pub(crate) filter: bool,
    pub(crate) walls: Option<Walls>,
    /// What it keeps on the disk, if anything.
    pub(crate) keeps: Option<Keeps>,
    /// The control group that bounds it, if the machine has any (cgroups(7)).
    pub(crate) group: Option<PathBuf>,
}

/// Namespaces, and what is in them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Walls {
    /// An empty folder, on which the root file system is made; only the process sees it.
    pub(crate) root: PathBuf,
    pub(crate) needs: Needs,
    /// The user and group it becomes; `None` where the node may not choose, and a user namespace of its own takes all rights
    /// from it.
    pub(crate) user: Option<u32>,
}

/// What a process keeps on the disk: nothing but this may it write.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Keeps {
    pub(crate) folder: Writable,
    /// A file that it locks for as long as it is there (flock(2)).
    pub(crate) lock: PathBuf,
    /// Octets of a file that it writes: what would be longer fails, as on a full disk.
    pub(crate) file_octets_max: u64,
}

/// A folder that a process may write, and where it is in the cage. No program in it can be run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Writable {
    pub(crate) outside: PathBuf,
    pub(crate) inside: PathBuf,
}

/// Why a process is not in its cage.
#[derive(Debug, thiserror::Error)]
pub enum CageError {
    /// What it was told is no plan.
    #[error("the plan cannot be read: {0}")]
    Plan(#[from] serde_json::Error),
    /// A step was refused.
    #[error("{doing}: {source}")]
    Step {
        /// Which one.
        doing: String,
        /// Why.
        source: io::Error,
    },
    /// The filter cannot be made or put into force.
    #[error("the filter of system calls: {0}")]
    Filter(String),
    /// The node has ended meanwhile.
    #[error("the node is gone")]
    Orphaned,
}

/// Says of what fails what was being done.
trait Doing<T> {
    fn doing(self, what: &str) -> Result<T, CageError>;

    fn doing_with(self, what: &str, path: &Path) -> Result<T, CageError>
    where
        Self: Sized,
    {
        self.doing(&format!("{what} {}", path.display()))
    }
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: &str) -> Result<T, CageError> {
        self.map_err(|error| CageError::Step { doing: what.to_owned(), source: error.into() })
    }
}

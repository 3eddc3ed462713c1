//! What of the engine fails that an operator can do something about.

use std::{io, path::PathBuf};

use proxima_chassis::ConfigError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum WorkersError {
    /// `[workers]` is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The folder for sockets and configuration cannot be made.
    #[error("workers: making {path}: {source}; the node must be able to write its data folder")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A process cannot be isolated.
    #[error(
        "workers: isolating {program}: {problem}; see docs/operating/workers.md, or run customers' code with less by \
         [workers] isolation = \"available\""
    )]
    Isolation {
        /// The program.
        program: PathBuf,
        /// Why not.
        problem: String,
    },
    /// The control group that is configured cannot be used.
    #[error(
        "workers: the control group {path}: {problem}; see docs/operating/workers.md, or leave [workers] cgroup out"
    )]
    Group {
        /// The group.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A process cannot be started.
    #[error("workers: starting {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A process that was started does not listen in time: its code or its settings are such.
    #[error("workers: a process was started, and does not listen")]
    DoesNotListen,
}

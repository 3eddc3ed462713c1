//! The faults that can be injected, and what is reported of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A fault, or the end of one. Links are named by their two ends; a PoP's code stands for its router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "kebab-case", tag = "fault")]
pub enum Fault {
    /// SIGKILL a server's node.
    Kill {
        /// The server.
        server: String,
    },
    /// SIGSTOP a server's node: it holds its connections and answers nothing.
    Stop {
        /// The server.
        server: String,
    },
    /// SIGCONT a stopped node.
    Continue {
        /// The server.
        server: String,
    },
    /// Start a server's node again; if it runs, SIGTERM it first and let it drain.
    Restart {
        /// The server.
        server: String,
    },
    /// A server becomes a silent black hole: its link stays up and drops everything in both directions.
    Silence {
        /// The server.
        server: String,
    },
    /// End the silence of a server.
    Unsilence {
        /// The server.
        server: String,
    },
    /// Silence the server that keeps the log.
    SilenceLog,
    /// End the silence of the server that keeps the log.
    UnsilenceLog,
    /// SIGKILL all nodes of a PoP.
    KillPop {
        /// The PoP's code.
        pop: String,
    },
    /// Start all nodes of a PoP again.
    RestartPop {
        /// The PoP's code.
        pop: String,
    },
    /// SIGKILL the BIRD of a router.
    KillRouter {
        /// A PoP's code, or the name of a router.
        router: String,
    },
    /// Start the BIRD of a router again.
    RestartRouter {
        /// A PoP's code, or the name of a router.
        router: String,
    },
    /// Cut a link: both ends see that the carrier is gone. (For a silent cut: lose … 100.)
    Cut {
        /// One end.
        from: String,
        /// The other end.
        to: String,
    },
    /// Heal a link: no cut, and delay, jitter and loss as in the topology.
    Heal {
        /// One end.
        from: String,
        /// The other end.
        to: String,
    },
    /// Give a link another delay.
    Slow {
        /// One end.
        from: String,
        /// The other end.
        to: String,
        /// One-way delay in milliseconds.
        delay_ms: f64,
        /// Up to this many milliseconds more, evenly distributed.
        #[arg(long, default_value_t = 0.0)]
        #[serde(default)]
        jitter_ms: f64,
    },
    /// Let a link lose packets, in each direction.
    Lose {
        /// One end.
        from: String,
        /// The other end.
        to: String,
        /// Percentage of packets lost.
        percent: f64,
    },
}

/// A fault that took effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultReport {
    /// The fault, as one would say it.
    pub fault: String,
    /// What was seen that shows its effect.
    pub effect: String,
    /// From the command to the seen effect.
    pub took_ms: f64,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { server } => write!(out, "kill {server}"),
            Self::Stop { server } => write!(out, "stop {server}"),
            Self::Continue { server } => write!(out, "continue {server}"),
            Self::Restart { server } => write!(out, "restart {server}"),
            Self::Silence { server } => write!(out, "silence {server}"),
            Self::Unsilence { server } => write!(out, "unsilence {server}"),
            Self::SilenceLog => write!(out, "silence-log"),
            Self::UnsilenceLog => write!(out, "unsilence-log"),
            Self::KillPop { pop } => write!(out, "kill-pop {pop}"),
            Self::RestartPop { pop } => write!(out, "restart-pop {pop}"),
            Self::KillRouter { router } => write!(out, "kill-router {router}"),
            Self::RestartRouter { router } => write!(out, "restart-router {router}"),
            Self::Cut { from, to } => write!(out, "cut {from} {to}"),
            Self::Heal { from, to } => write!(out, "heal {from} {to}"),
            Self::Slow { from, to, delay_ms, jitter_ms } => {
                write!(out, "slow {from} {to} {delay_ms} --jitter-ms {jitter_ms}")
            }
            Self::Lose { from, to, percent } => write!(out, "lose {from} {to} {percent}"),
        }
    }
}

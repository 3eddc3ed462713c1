//! The lab: an internet on one machine, running the real binary.
//!
//! ```text
//! topology.toml ──Topology──> Plan ──> namespaces, wires, delay lines        (network, delay)
//!                               ├────> BIRD on every router                  (bird)
//!                               ├────> nginx on every origin                 (nginx)
//!                               ├────> root, TLDs, sites on knot, nsd, bind; unbound on clients   (names)
//!                               └────> node.toml, `proxima node` on servers  (node, identity)
//!
//!   client ~~delay~~ transit AS ~~delay~~ PoP router ══ server 1   ~~ TUN, delay line in user space
//!                       ~~delay~~                    ══ server 2   ══ veth
//!                    transit AS ~~ …
//! ```
//!
//! [`Lab`] is the interface for programs (the guided tour, scenario tests), [`LabArgs`] and [`run`] the command line.
//! A daemon, started by `lab up`, owns a lab's links and processes; `status`, `fault` and `down` ask it through a socket.
//!
//! Invariants
//! - Whatever a lab starts lies in its namespaces, named `px-<lab>.<host>`, or under its state folder: `lab down` finds
//!   all of it, also when the daemon was killed. Labs of different names share nothing.
//! - When the daemon dies, its links and children die with it.
//! - A link never reorders; equal topologies (with their seed) and equal traffic lose the same packets.
//! - A fault that showed no effect is an error.
//!
//! Limits: `HOSTS_MAX` hosts, `LINKS_MAX` links, one router per transit network and PoP; per link direction
//! `IN_FLIGHT_PACKETS_MAX` and `IN_FLIGHT_BYTES_MAX`. Logs grow in the state folder until `lab down`. Needs root, iproute2,
//! BIRD 2, nftables and nginx; and what the topology's name servers and resolvers run.

mod bird;
mod cli;
mod client;
mod control;
mod daemon;
pub mod delay;
mod error;
mod fault;
mod identity;
mod names;
mod netns;
mod network;
mod nginx;
mod node;
pub mod plan;
mod probe;
mod process;
pub mod state;
pub mod status;
mod teardown;
pub mod topology;
pub mod traffic;

pub use cli::{LabArgs, run};
pub use client::{Lab, UpOptions, workerd_in};
pub use error::{LabError, Result};
pub use fault::{Fault, FaultReport};
pub use names::AnswerTimes;
pub use plan::Plan;
pub use process::ProcessState;
pub use status::Status;
pub use topology::Topology;

//! `proxima`: one server of the network, and the command line to it.
//!
//! ```text
//!  proxima node --config node.toml ┐
//!  proxima dev                     ┴─▶ chassis::run_node ─▶ services.rs: the one list ─▶ serve until told to end
//!  proxima ca …                    ──▶ the cluster's authority and the nodes' certificates
//!  proxima zones | dns | purge | log | objects | explain ──▶ the API of any server, for people
//!  proxima log restore             ──▶ the log made new from the servers' replicas, on its stopped node
//!  proxima lab … , tour            ──▶ an internet on this machine, and a walk through it
//! ```
//!
//! Invariant: every role is this one program; what differs between servers is configuration and data.

mod ca;
mod client;
mod dev;
mod node;
mod root_keys;
mod services;
mod tour;
mod watchdog;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A server allocates and frees from many threads all day: this allocator costs a miss less CPU than the C library's
/// (`cargo xtask bench http`), and gives memory back after a burst.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An anycast cloud in one program.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one server on loopback, without root, with everything on.
    Dev(dev::DevArgs),
    /// Run one server of a network.
    Node(node::NodeArgs),
    /// Make the cluster's authority, and issue identities to nodes.
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// List, add and remove zones, and change their settings and origins, through the API.
    Zones(client::zones::ZonesArgs),
    /// List, add, change, remove, import and export DNS records through the API.
    Dns(client::records::DnsArgs),
    /// Remove a zone's contents from every server's cache.
    Purge(client::purge::PurgeArgs),
    /// List what was changed and bring back what was before, through the API; restore a lost log.
    Log(client::log::LogArgs),
    /// Which servers have Durable Objects, and how others come to have them.
    Objects(client::objects::ObjectsArgs),
    /// Tell what each stage decides about a request, and why.
    Explain(client::explain::ExplainArgs),
    /// Show the root's keys that a node's resolver trusts, or is on its way to (RFC 5011).
    RootKeys(root_keys::RootKeysArgs),
    /// An internet on this machine: PoPs, routers, delayed links, faults.
    Lab(proxima_lab::LabArgs),
    /// Start the lab and walk through it.
    Tour(tour::TourArgs),
    /// The process that withdraws a server's announcements when its node dies; started by the node.
    #[command(hide = true)]
    Watchdog(watchdog::WatchdogArgs),
    /// Becomes a process of the engine of Workers, in its cage; started by the node.
    #[command(hide = true)]
    WorkersCage {
        /// What is to be run, and how.
        plan: String,
    },
}

fn main() -> ExitCode {
    // First, before an upgrade can put another file in this one's place. Where it fails, whoever needs it says so.
    proxima_chassis::program().ok();
    // The allocator asks for huge pages, of which each thread touches some and uses little: an idle server would hold twice
    // as much, and serves a hit no faster for it. Where it fails, that is all.
    nix::sys::prctl::set_thp_disable(true).ok();
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Dev(args) => dev::run(args),
        Command::Node(args) => node::run(&args),
        Command::Ca(command) => ca::run(command),
        Command::Zones(args) => client::run(client::zones::run(args)),
        Command::Dns(args) => client::run(client::records::run(args)),
        Command::Purge(args) => client::run(client::purge::run(args)),
        Command::Log(args) => client::run(client::log::run(args)),
        Command::Objects(args) => client::run(client::objects::run(args)),
        Command::Explain(args) => client::run(client::explain::run(args)),
        Command::RootKeys(args) => root_keys::run(args),
        Command::Lab(args) => proxima_lab::run(args),
        Command::Tour(args) => tour::run(args),
        Command::Watchdog(args) => watchdog::run(args),
        Command::WorkersCage { plan } => {
            proxima_workers::enter(&plan).map(|never| match never {}).map_err(Into::into)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("proxima: {error:#}");
        ExitCode::FAILURE
    })
}

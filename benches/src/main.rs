//! Side-by-side benchmarks: Proxima and its peers, in one run, on the same cores, under the same load.
//!
//! ```text
//! cargo xtask bench NAME ──► proxima-bench NAME ──► one module per benchmark ──► Report ──► table, NAME.json
//! ```
//!
//! Invariants: nothing is asserted about time, since what a machine can do is not a property of the code; that the
//! subjects did the work that they are measured by (answers are complete, a miss reached the origin, a hit did not) is
//! checked, and a run in which they did not is an error. All load goes to loopback, bounded in count and time, and all
//! that was started is ended.
//!
//! Limits: two cores at least, Linux; the peers come from packages (`xtask/packages.toml`).

mod api;
mod dev;
mod dns;
mod dnsperf;
mod http;
mod kv;
mod ledger;
mod load;
mod process;
mod r2;
mod report;
mod resolver;
mod sigv4;
mod statistics;
mod trust;
mod workers;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

/// Measures Proxima against its peers.
#[derive(Parser)]
#[command(name = "proxima-bench")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// The proxy on misses and hits, against nginx, varnish, haproxy, trafficserver and caddy.
    Http(http::Options),
    /// How long hits take at half of the peak, while a fifth of the requests are misses of 1 MiB.
    Mixed(http::mixed::Options),
    /// Hits of ten times as much as memory may hold.
    Disk(http::disk::Options),
    /// What a kept connection by TLS that does nothing holds of memory.
    Connections(http::connections::Options),
    /// What answering a query costs, against knot, nsd, bind and pdns.
    Dns(dns::Options),
    /// What resolving a name costs, against unbound, knot-resolver, pdns-recursor and bind.
    Resolver(resolver::Options),
    /// Workers, against the bare engine; their first requests, their memory, their neighbours.
    Workers(workers::Options),
    /// Keys and values: read by a Worker, written with fsync, and when other regions see it.
    Kv(kv::Options),
    /// Objects by S3, against garage and seaweedfs.
    R2(r2::Options),
    /// A million zones in one replica: start, memory, warm and cold lookups.
    Ledger(ledger::Options),
    /// One phase of `ledger`.
    #[command(hide = true)]
    LedgerPhase(ledger::PhaseOptions),
    /// A load of our own.
    #[command(hide = true)]
    Load(load::Options),
}

/// A load so long is a soak, which is another test.
const SECONDS_MAX: u64 = 60;
const ROUNDS_MAX: u32 = 20;

/// How benchmarks of many cases are made.
#[derive(clap::Args)]
struct Trials {
    /// How long each load lasts.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
    /// How often each case is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX)))]
    rounds: u32,
    /// Measure only the cases whose names begin so.
    #[arg(long, default_value = "")]
    case: String,
}

/// What every benchmark is told.
#[derive(clap::Args)]
struct Place {
    /// The binary to measure.
    #[arg(long)]
    proxima: PathBuf,
    /// The folder for NAME.json.
    #[arg(long)]
    results: PathBuf,
}

fn main() -> ExitCode {
    match run(Arguments::parse().bench) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runnable processes, averaged over a minute, above which somebody else is at work.
const LOAD_QUIET_MAX: f64 = 0.5;

/// Who shares the cores changes what is measured: even processor time, as fewer requests are served per wake-up.
fn warn_if_busy() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|load| load.parse::<f64>().ok());
    if let Some(load) = load.filter(|load| *load > LOAD_QUIET_MAX) {
        eprintln!(
            "warning: the machine is busy (load average {load}); what is measured now is not worth much"
        );
    }
}

/// The subject and the load need a core each.
fn check_cores() -> Result<()> {
    let cores = std::thread::available_parallelism().context("counting the cores")?.get();
    ensure!(
        cores > process::LOAD_CORE,
        "the subject and the load need a core each, and this machine has {cores} in all"
    );
    Ok(())
}

fn run(bench: Bench) -> Result<()> {
    if !matches!(bench, Bench::LedgerPhase(_) | Bench::Load(_)) {
        warn_if_busy();
    }
    let (report, place) = match &bench {
        Bench::Http(options) => (http::run(options)?, &options.place),
        Bench::Mixed(options) => (http::mixed::run(options)?, &options.place),
        Bench::Disk(options) => (http::disk::run(options)?, &options.place),
        Bench::Connections(options) => (http::connections::run(options)?, &options.place),
        Bench::Dns(options) => (dns::run(options)?, &options.place),
        Bench::Resolver(options) => (resolver::run(options)?, &options.place),
        Bench::Workers(options) => (workers::run(options)?, &options.place),
        Bench::Kv(options) => (kv::run(options)?, &options.place),
        Bench::R2(options) => (r2::run(options)?, &options.place),
        Bench::Ledger(options) => (ledger::run(options)?, &options.place),
        Bench::LedgerPhase(options) => return ledger::run_phase(options),
        Bench::Load(options) => return load::run(options),
    };
    print!("{}", report.table());
    let path = report.write(&place.results)?;
    println!("\nwritten to {}", path.display());
    Ok(())
}

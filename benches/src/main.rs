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

mod http;
mod ledger;
mod process;
mod report;
mod statistics;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
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
    /// The proxy on a miss and on a hit, against nginx and varnish.
    Http(http::Options),
    /// A million zones in one replica: start, memory, warm and cold lookups.
    Ledger(ledger::Options),
    /// One phase of `ledger`.
    #[command(hide = true)]
    LedgerPhase(ledger::PhaseOptions),
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

fn run(bench: Bench) -> Result<()> {
    if !matches!(bench, Bench::LedgerPhase(_)) {
        warn_if_busy();
    }
    let (report, place) = match &bench {
        Bench::Http(options) => (http::run(options)?, &options.place),
        Bench::Ledger(options) => (ledger::run(options)?, &options.place),
        Bench::LedgerPhase(options) => return ledger::run_phase(options),
    };
    print!("{}", report.table());
    let path = report.write(&place.results)?;
    println!("\nwritten to {}", path.display());
    Ok(())
}

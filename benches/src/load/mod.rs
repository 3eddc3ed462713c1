//! Our own load, where no packaged program makes it: HTTP/3, a steady rate, first requests, signed requests, and connections
//! that do nothing.
//!
//! ```text
//! proxima-bench http │ mixed │ workers │ … ──► proxima-bench load KIND (pinned to the load's core) ──► RESULT line
//! ```
//!
//! A program of its own, so that it has its core and its own processor time. Invariants: an answer counts only if it is
//! 200 and whole; whatever else comes is a failure, and a load with failures is no measurement.

mod each;
mod far;
pub(crate) mod http1;
mod http3;
mod idle;
mod keys;
mod listing;
mod paced;
mod steady;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

pub(crate) use idle::Idle;

use crate::process;
use crate::statistics::percentile;

/// What a program of this folder is told.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// Requests over one connection of HTTP/3.
    Http3(http3::Options),
    /// Hits and misses over HTTP/1.1, at a rate or as fast as they are answered.
    Steady(steady::Options),
    /// Each of many hosts asked once.
    Each(each::Options),
    /// One page asked for at a rate.
    Paced(paced::Options),
    /// Values under many keys, written or read as fast as they are answered.
    Keys(keys::Options),
    /// A bucket listed to its end.
    Listing(listing::Options),
    /// Connections that are kept and do nothing.
    Idle(idle::Options),
}

/// Where requests go.
#[derive(Args, Clone)]
pub(crate) struct Target {
    #[arg(long)]
    pub(crate) address: SocketAddr,
    #[arg(long)]
    pub(crate) host: String,
}

/// Makes one load.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.kind {
        Kind::Http3(options) => println!("{}", http3::run(options)?.line()),
        Kind::Steady(options) => println!("{}", steady::run(options)?.line()),
        Kind::Each(options) => println!("{}", each::run(options)?.line()),
        Kind::Paced(options) => println!("{}", paced::run(options)?.line()),
        Kind::Keys(options) => println!("{}", keys::run(options)?.line()),
        Kind::Listing(options) => println!("{}", listing::run(options)?.line()),
        Kind::Idle(options) => idle::run(options)?,
    }
    Ok(())
}

/// What came of a load.
#[derive(Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Load {
    pub(crate) fn new(requests: u64, errors: u64, took: Duration, latencies_us: &mut [f64]) -> Self {
        Self {
            requests,
            errors,
            seconds: took.as_secs_f64(),
            p50_us: percentile(latencies_us, 0.5),
            p99_us: percentile(latencies_us, 0.99),
        }
    }

    fn line(&self) -> String {
        let Self { requests, errors, seconds, p50_us, p99_us } = self;
        format!("RESULT {requests} {errors} {:.0} {p50_us:.1} {p99_us:.1}", seconds * 1e6)
    }

    /// Reads the line `RESULT requests errors µs p50 p99` of what a program printed, ours or wrk with its script.
    pub(crate) fn parse(printed: &str) -> Option<Self> {
        let line = printed.lines().find_map(|line| line.strip_prefix("RESULT "))?;
        let mut fields = line.split(' ');
        let (requests, errors) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let mut next = || fields.next()?.parse::<f64>().ok();
        let (duration_us, p50_us, p99_us) = (next()?, next()?, next()?);
        Some(Self { requests, errors, seconds: duration_us / 1e6, p50_us, p99_us })
    }
}

/// `proxima-bench load KIND`, to be given what it needs.
pub(crate) fn program(kind: &str, address: SocketAddr, host: &str) -> Result<Command> {
    let own = std::env::current_exe().context("asking for our own name")?;
    let mut command = Command::new(own);
    command.args(["load", kind, "--address", &address.to_string(), "--host", host]);
    Ok(command)
}

/// Runs a program that prints what came of its load.
pub(crate) fn output(core: usize, command: &Command) -> Result<Load> {
    let printed = process::output(core, command)?;
    let name = Path::new(command.get_program()).display();
    Load::parse(&printed).with_context(|| format!("{name} printed no result: {printed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_as_it_is_written_and_as_wrk_writes_it() {
        let load = Load { requests: 120_000, errors: 3, seconds: 2.0, p50_us: 97.0, p99_us: 1230.0 };
        assert_eq!(Load::parse(&load.line()).as_ref(), Some(&load));
        let wrk = "Running 2s test\nRESULT 120000 3 2000000 97.000000 1230.000000\n";
        assert_eq!(Load::parse(wrk), Some(load));
        assert_eq!(Load::parse("unable to connect"), None);
    }
}

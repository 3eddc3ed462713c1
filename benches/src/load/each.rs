//! Each of many hosts asked once, one after the other, over one kept connection of HTTP/1.1.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use super::{Load, Target, http1::Connection};

/// Longer waits are a server that has died.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// A file with a host in each line, instead of the one that is named.
    #[arg(long)]
    hosts: PathBuf,
}

pub(super) fn run(options: &Options) -> Result<Load> {
    let hosts = fs::read_to_string(&options.hosts)
        .with_context(|| format!("reading the list {}", options.hosts.display()))?;
    let mut connection = Connection::open(options.target.address, TIMEOUT)?;
    let begun = Instant::now();
    let mut latencies_us = Vec::new();
    for host in hosts.lines() {
        let asked = Instant::now();
        connection.get(host, "/").with_context(|| format!("asking {host}"))?;
        latencies_us.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    Ok(Load::new(latencies_us.len() as u64, 0, begun.elapsed(), &mut latencies_us))
}

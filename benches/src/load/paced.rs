//! One page asked for at a rate, over kept connections of HTTP/1.1.
//!
//! Each connection is a thread with a time-table of its own. A request's latency counts from the time at which it was due,
//! as in [`super::steady`].

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use super::{Load, Target, http1::Connection};

/// Connections, whose requests are evenly apart from each other's.
const CONNECTIONS: u32 = 16;
/// Longer waits are a server that has died.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// What is asked for.
    #[arg(long, default_value = "/")]
    path: String,
    /// Requests per second.
    #[arg(long)]
    rate: f64,
    #[arg(long)]
    seconds: u64,
}

pub(super) fn run(options: &Options) -> Result<Load> {
    let begun = Instant::now();
    let end = Duration::from_secs(options.seconds);
    let mut latencies_us = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..CONNECTIONS).map(|number| scope.spawn(move || ask(options, number, begun, end))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Vec<f64>>>| thread.join().expect("no panics");
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?
    .concat();
    Ok(Load::new(latencies_us.len() as u64, 0, begun.elapsed(), &mut latencies_us))
}

/// The latencies of one connection.
fn ask(options: &Options, number: u32, begun: Instant, end: Duration) -> Result<Vec<f64>> {
    let mut connection = Connection::open(options.target.address, TIMEOUT)?;
    let mut latencies_us = Vec::new();
    for round in 0.. {
        let due = due(number, round, options.rate);
        if due >= end {
            break;
        }
        thread::sleep(due.saturating_sub(begun.elapsed()));
        connection.get(&options.target.host, &options.path)?;
        latencies_us.push(begun.elapsed().saturating_sub(due).as_secs_f64() * 1e6);
    }
    Ok(latencies_us)
}

/// When a connection's request of this round is due.
fn due(number: u32, round: u32, rate: f64) -> Duration {
    let every = Duration::from_secs_f64(f64::from(CONNECTIONS) / rate);
    every * number / CONNECTIONS + every * round
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_turns_and_keep_the_rate_together() {
        let within = Duration::from_secs(1);
        let of = |number| (0..).take_while(|round| due(number, *round, 800.0) < within).count();
        assert_eq!((0..CONNECTIONS).map(of).sum::<usize>(), 800);
        assert!(due(0, 0, 800.0) < due(1, 0, 800.0) && due(CONNECTIONS - 1, 0, 800.0) < due(0, 1, 800.0));
    }
}

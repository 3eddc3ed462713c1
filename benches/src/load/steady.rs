//! Hits and misses over HTTP/1.1 in clear: at a rate, to see how long hits take while misses go on beside them, or as fast
//! as they are answered, to see which rate that can be.
//!
//! Each connection is a thread with a time-table of its own. A request's latency counts from the time at which it was due,
//! not from when it could be sent: else a server that stalls would also stall the questions that would show it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use super::{Load, Target, http1::Connection};

/// Connections that ask for hits.
const HIT_CONNECTIONS: u32 = 16;
/// Connections that ask for misses; each is busy for long.
const MISS_CONNECTIONS: u32 = 8;
/// Of so many requests one is a miss.
const MISS_EVERY: u32 = 5;
/// Longer waits are a server that has died.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// What is in the cache.
    #[arg(long)]
    hit: String,
    /// What is not, with a query that nobody used before.
    #[arg(long)]
    miss: String,
    /// Makes the misses of this run its own.
    #[arg(long)]
    seed: String,
    /// Requests per second, of which a fifth are misses. None: each connection asks as soon as it is answered.
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long)]
    seconds: u64,
}

/// The latencies are those of the hits alone; the requests are all of them.
pub(super) fn run(options: &Options) -> Result<Load> {
    let begun = Instant::now();
    let end = begun + Duration::from_secs(options.seconds);
    let asked = thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..HIT_CONNECTIONS + MISS_CONNECTIONS {
            let asker = Asker { options, number, begun, end };
            threads.push(scope.spawn(move || asker.run()));
        }
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Asked>>| thread.join().expect("no panics");
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let mut latencies_us: Vec<f64> = asked.iter().flat_map(|asked| &asked.hits_us).copied().collect();
    let requests = asked.iter().map(|asked| asked.hits_us.len() as u64 + asked.misses).sum();
    Ok(Load::new(requests, 0, begun.elapsed(), &mut latencies_us))
}

/// What one connection had answered.
#[derive(Default)]
struct Asked {
    hits_us: Vec<f64>,
    misses: u64,
}

struct Asker<'a> {
    options: &'a Options,
    number: u32,
    begun: Instant,
    end: Instant,
}

impl Asker<'_> {
    fn run(&self) -> Result<Asked> {
        let mut connection = Connection::open(self.options.target.address, TIMEOUT)?;
        let mut asked = Asked::default();
        let table = self.options.rate.map(|rate| TimeTable::of(self.number, rate));
        for round in 0.. {
            let due = match &table {
                Some(table) => self.begun + table.due(round),
                None => Instant::now(),
            };
            if due >= self.end || Instant::now() >= self.end {
                break;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if self.is_miss(round) {
                let path = format!("{}?{}-{}-{round}", self.options.miss, self.options.seed, self.number);
                connection.get(&self.options.target.host, &path)?;
                asked.misses += 1;
            } else {
                connection.get(&self.options.target.host, &self.options.hit)?;
                asked.hits_us.push(due.elapsed().as_secs_f64() * 1e6);
            }
        }
        Ok(asked)
    }

    /// At a rate, connections are for one or the other, so that a hit never waits for a miss of its own connection. As
    /// fast as may be, each asks for both: else misses would be as many as a server likes.
    fn is_miss(&self, round: u32) -> bool {
        match self.options.rate {
            Some(_) => self.number >= HIT_CONNECTIONS,
            None => (round + self.number).is_multiple_of(MISS_EVERY),
        }
    }
}

/// When the requests of one connection are due.
struct TimeTable {
    first: Duration,
    every: Duration,
}

impl TimeTable {
    /// Connections of a kind are evenly apart from each other.
    fn of(number: u32, rate: f64) -> Self {
        let misses = rate / f64::from(MISS_EVERY);
        let (number, connections, rate) = match number.checked_sub(HIT_CONNECTIONS) {
            None => (number, HIT_CONNECTIONS, rate - misses),
            Some(number) => (number, MISS_CONNECTIONS, misses),
        };
        let every = Duration::from_secs_f64(f64::from(connections) / rate);
        Self { first: every * number / connections, every }
    }

    fn due(&self, round: u32) -> Duration {
        self.first + self.every * round
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_rate_are_misses_and_connections_take_turns() {
        let within = Duration::from_secs(1);
        let count = |connections: std::ops::Range<u32>| -> usize {
            let table = |number| TimeTable::of(number, 1_000.0);
            connections
                .map(|number| (0..).take_while(|round| table(number).due(*round) < within).count())
                .sum()
        };
        assert_eq!(count(0..HIT_CONNECTIONS), 800);
        assert_eq!(count(HIT_CONNECTIONS..HIT_CONNECTIONS + MISS_CONNECTIONS), 200);
        let first = |number| TimeTable::of(number, 1_000.0).due(0);
        assert!(first(0) < first(1) && first(HIT_CONNECTIONS - 1) < TimeTable::of(0, 1_000.0).due(1));
    }
}

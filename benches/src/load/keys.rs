//! Values written or read under many keys, as fast as they are answered, over kept connections of HTTP/1.1: of the API by its
//! token, or of S3 by signatures.
//!
//! Each connection is a thread that asks for the next key when it has been answered. No two bodies are alike, and none can be
//! compressed: a server that keeps equal or compressible octets once, or in less, must not look as if it wrote them.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use super::{Load, Target, http1::Connection};
use crate::sigv4::{Asked, Keys, now};

/// Longer waits are a server that has died; of a hundred MiB on a slow disk none is.
const TIMEOUT: Duration = Duration::from_secs(120);
/// In each so many octets of a body there is a number that no other body has: pieces in which servers keep objects are as long or
/// longer.
const UNLIKE_EVERY: usize = 64 << 10;

/// What is done with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    Put,
    Get,
}

/// Who asks: the API's token, or the two keys of S3.
#[derive(Args, Clone, Debug)]
pub(crate) struct Authority {
    #[arg(long)]
    bearer: Option<String>,
    #[arg(long, requires = "secret_key")]
    access_key: Option<String>,
    #[arg(long)]
    secret_key: Option<String>,
}

impl Authority {
    /// The lines of a head that say it.
    pub(super) fn fields(&self, asked: &Asked<'_>) -> Result<String> {
        if let Some(token) = &self.bearer {
            return Ok(format!("Authorization: Bearer {token}\r\n"));
        }
        let keys = self.access_key.clone().zip(self.secret_key.clone());
        let (access, secret) = keys.context("neither a token nor keys were given")?;
        Ok(Keys { access, secret }.fields(asked, now()?))
    }
}

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    authority: Authority,
    #[arg(long)]
    what: What,
    /// What a path has before the number of a key.
    #[arg(long)]
    prefix: String,
    /// Octets of each value.
    #[arg(long)]
    octets: usize,
    /// How many keys there are: they are asked for one after the other, again and again.
    #[arg(long)]
    keys: u64,
    #[arg(long)]
    connections: u32,
    /// No request is begun after so long.
    #[arg(long)]
    seconds: u64,
    /// No more requests than so many.
    #[arg(long, default_value_t = u64::MAX)]
    requests: u64,
}

pub(super) fn run(options: &Options) -> Result<Load> {
    ensure!(options.keys > 0 && options.connections > 0, "there are keys and connections to be measured");
    let run = now()?.as_millis().unsigned_abs();
    // Before time is taken: large bodies take a while to make.
    let connections = (0..options.connections).map(|number| {
        let body = match options.what {
            What::Put => noise(options.octets, run ^ u64::from(number)),
            What::Get => Vec::new(),
        };
        Ok((Connection::open(options.target.address, TIMEOUT)?, body))
    });
    let connections = connections.collect::<Result<Vec<_>>>()?;
    let next = AtomicU64::new(0);
    let asker = Asker { options, begun: Instant::now(), next: &next, run };
    let mut latencies_us = thread::scope(|scope| {
        let threads: Vec<_> = connections
            .into_iter()
            .map(|(connection, body)| {
                let asker = &asker;
                scope.spawn(move || asker.run(connection, body))
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Vec<f64>>>| thread.join().expect("no panics");
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?
    .concat();
    Ok(Load::new(latencies_us.len() as u64, 0, asker.begun.elapsed(), &mut latencies_us))
}

/// What all connections have in common.
struct Asker<'a> {
    options: &'a Options,
    begun: Instant,
    next: &'a AtomicU64,
    /// Makes the bodies of this run its own.
    run: u64,
}

impl Asker<'_> {
    /// The latencies of one connection.
    fn run(&self, mut connection: Connection<TcpStream>, mut body: Vec<u8>) -> Result<Vec<f64>> {
        let Options { target, authority, what, prefix, octets, keys, .. } = self.options;
        let end = Duration::from_secs(self.options.seconds);
        let mut latencies_us = Vec::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.options.requests || self.begun.elapsed() >= end {
                return Ok(latencies_us);
            }
            make_unlike(&mut body, self.run.wrapping_add(number));
            let path = format!("{prefix}{}", number % keys);
            let (method, length) = match what {
                What::Put => ("PUT", format!("Content-Length: {octets}\r\n")),
                What::Get => ("GET", String::new()),
            };
            let asked = Asked { method, host: &target.host, path: &path, query: "" };
            let fields = authority.fields(&asked)?;
            let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{fields}{length}\r\n", target.host);
            let sent = Instant::now();
            let came = connection.exchange(&head, &body, None).with_context(|| format!("{method} {path}"))?;
            latencies_us.push(sent.elapsed().as_secs_f64() * 1e6);
            ensure!(*what == What::Put || came == *octets, "{path} has {came} octets instead of {octets}");
        }
    }
}

/// Octets that no compression makes less (xorshift64, Marsaglia 2003).
fn noise(octets: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut made = Vec::with_capacity(octets + 8);
    while made.len() < octets {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        made.extend_from_slice(&state.to_le_bytes());
    }
    made.truncate(octets);
    made
}

/// Makes every piece of a body another one than it was.
fn make_unlike(body: &mut [u8], number: u64) {
    for piece in body.chunks_mut(UNLIKE_EVERY) {
        let most = piece.len().min(8);
        piece[..most].copy_from_slice(&number.to_le_bytes()[..most]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_piece_of_a_body_is_like_that_of_another_one_nor_the_same_octet_again_and_again() {
        let mut body = noise(3 * UNLIKE_EVERY + 5, 1);
        let before = body.clone();
        make_unlike(&mut body, 7);
        let pieces = |octets: &[u8]| octets.chunks(UNLIKE_EVERY).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert!(pieces(&before).iter().zip(&pieces(&body)).all(|(one, other)| one != other));
        let ones: u32 = before.iter().map(|octet| octet.count_ones()).sum();
        let half = f64::from(ones) / (before.len() as f64 * 8.0);
        assert!((0.49..0.51).contains(&half), "{half}");
        assert_eq!(noise(0, 1), [] as [u8; 0]);
    }
}

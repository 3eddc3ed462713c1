//! Each of many hosts asked once, one after the other: over one kept connection of HTTP/1.1, or each over a connection by TLS of
//! its own, in whose handshake it was named; from some milliseconds away, if wished.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{Load, Target, far, http1::Connection};
use crate::trust::client_config;

/// Longer waits are a server that has died.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// A file with a host in each line, instead of the one that is named.
    #[arg(long)]
    hosts: PathBuf,
    /// Each by TLS: what is measured begins when the handshake is over.
    #[arg(long)]
    tls: bool,
    /// How far the server is then, in milliseconds one way.
    #[arg(long, default_value_t = 0, requires = "tls")]
    away_ms: u64,
    /// How long after one of these connections the next one begins, at the earliest, in milliseconds.
    #[arg(long, default_value_t = 0, requires = "tls")]
    every_ms: u64,
}

pub(super) fn run(options: &Options) -> Result<Load> {
    let hosts = fs::read_to_string(&options.hosts)
        .with_context(|| format!("reading the list {}", options.hosts.display()))?;
    let begun = Instant::now();
    let mut latencies_us = Vec::new();
    let mut measure = |host: &str, get: &mut dyn FnMut() -> Result<()>| {
        let asked = Instant::now();
        get().with_context(|| format!("asking {host}"))?;
        latencies_us.push(asked.elapsed().as_secs_f64() * 1e6);
        Ok::<_, anyhow::Error>(())
    };
    if options.tls {
        let config = Arc::new(client_config(&["http/1.1"])?);
        let mut due = Instant::now();
        for host in hosts.lines() {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due = Instant::now() + Duration::from_millis(options.every_ms);
            let mut connection = Connection::new(handshake(&config, options, host)?);
            measure(host, &mut || connection.get(host, "/"))?;
        }
    } else {
        let mut connection = Connection::open(options.target.address, TIMEOUT)?;
        for host in hosts.lines() {
            measure(host, &mut || connection.get(host, "/"))?;
        }
    }
    Ok(Load::new(latencies_us.len() as u64, 0, begun.elapsed(), &mut latencies_us))
}

/// A connection whose handshake is over.
fn handshake(
    config: &Arc<ClientConfig>,
    options: &Options,
    host: &str,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let address = options.target.address;
    let stream = match options.away_ms {
        0 => TcpStream::connect(address),
        away => far::connect(address, Duration::from_millis(away)),
    };
    let mut stream = stream.with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true).context("setting TCP_NODELAY")?;
    stream.set_read_timeout(Some(TIMEOUT)).context("setting a timeout")?;
    let name = ServerName::try_from(host.to_owned()).context("the host is no name")?;
    let mut session = ClientConnection::new(Arc::clone(config), name).context("beginning TLS")?;
    while session.is_handshaking() || session.wants_write() {
        session.complete_io(&mut stream).with_context(|| format!("the handshake of {host}"))?;
    }
    Ok(StreamOwned::new(session, stream))
}

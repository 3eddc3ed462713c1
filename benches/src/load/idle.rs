//! Connections by TLS that have asked once, are kept, and do nothing: what a server holds for each of them can be seen.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::http1::Connection;
use super::{Target, program};
use crate::process::pinned;
use crate::trust::client_config;

/// What is printed once all of them have been answered.
const READY: &str = "READY";
/// Longer waits are a server that has died.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    #[arg(long)]
    path: String,
    #[arg(long)]
    connections: usize,
}

/// Opens them, says so, and keeps them until its input ends.
pub(super) fn run(options: &Options) -> Result<()> {
    let tls = Arc::new(client_config(&["http/1.1"])?);
    let name = ServerName::try_from(options.target.host.clone()).context("the host is no name")?;
    let mut kept = Vec::new();
    for number in 0..options.connections {
        let stream = TcpStream::connect(options.target.address)
            .with_context(|| format!("connecting after {number} connections"))?;
        stream.set_read_timeout(Some(TIMEOUT)).context("setting a timeout")?;
        let session = ClientConnection::new(Arc::clone(&tls), name.clone()).context("beginning TLS")?;
        let mut connection = Connection::new(StreamOwned::new(session, stream));
        connection
            .get(&options.target.host, &options.path)
            .with_context(|| format!("asking after {number} connections"))?;
        kept.push(connection);
    }
    println!("{READY}");
    std::io::stdin().read_to_end(&mut Vec::new()).context("waiting for the end of input")?;
    Ok(())
}

/// Such a program, which has opened all its connections; ended when dropped.
pub(crate) struct Idle {
    child: Child,
    /// Ends it, once closed.
    _stdin: Option<ChildStdin>,
}

impl Idle {
    pub(crate) fn open(core: usize, target: &Target, path: &str, connections: usize) -> Result<Self> {
        let mut command = program("idle", target.address, &target.host)?;
        command.args(["--path", path, "--connections", &connections.to_string()]);
        let mut child = pinned(core, &command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the connections")?;
        let stdin = child.stdin.take();
        let printed = child.stdout.take().map(first_line).context("its output was asked for")?;
        let idle = Self { child, _stdin: stdin };
        ensure!(printed?.trim() == READY, "the connections could not be opened");
        Ok(idle)
    }
}

fn first_line(stdout: ChildStdout) -> Result<String> {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).context("reading what the connections say")?;
    Ok(line)
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

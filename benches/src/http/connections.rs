//! `connections`: what a server holds of memory for a connection by TLS that is kept and does nothing.
//!
//! Each connection has been answered once, so that what the first request needs is counted if it is kept. Counted is
//! memory of the process alone: the kernel's is the same for all.

use anyhow::{Result, ensure};

use super::subjects::{Room, Subject};
use super::{HOST, LOAD_CORE, Origin};
use crate::Place;
use crate::load::{Idle, Target};
use crate::report::{PROXIMA, Report};

const PATH: &str = "/store/1k.css";
/// More would meet the limit of descriptors of a usual shell.
const CONNECTIONS_MAX: u64 = 8_000;
/// Opened and closed before: what is kept for ever after the first connections belongs to none of them.
const WARM: usize = 200;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) place: Place,
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    connections: u64,
    /// Measure only these.
    #[arg(long, value_delimiter = ',', default_values_t = [PROXIMA, "nginx", "haproxy"].map(str::to_owned))]
    subjects: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let origin = Origin::start(folder.path())?;
    let mut report = Report::new("connections");
    for name in &options.subjects {
        let subject = Subject::start(name, &options.place.proxima, &origin, folder.path(), Room::MEMORY)?;
        let Some(address) = subject.tls else {
            eprintln!("{name} left out: it speaks no TLS");
            continue;
        };
        let target = Target { address, host: HOST.to_owned() };
        let connections = usize::try_from(options.connections)?;
        drop(Idle::open(LOAD_CORE, &target, PATH, WARM)?);
        let before = subject.server.memory_mib("RssAnon")?;
        let _idle = Idle::open(LOAD_CORE, &target, PATH, connections)?;
        let after = subject.server.memory_mib("RssAnon")?;
        ensure!(after > before, "{name} holds nothing for its connections: {before} MiB, then {after}");
        let each = (after - before) * 1024.0 / options.connections as f64;
        report.add("idle-tls", subject.name, "kib_per_connection", each);
    }
    Ok(report)
}

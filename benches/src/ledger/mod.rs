//! `ledger`: a million zones on one server: how fast it starts, what it holds in memory, how long a lookup takes.
//!
//! ```text
//! load      a new log is filled with zones, as the API would fill it
//!   │ page cache emptied of its file
//!   ▼
//! disk      a fresh process opens it and asks for zones that nobody asked for before: each compiled from disk
//!   │ file read once
//!   ▼
//! memory    another fresh process does the same with the file in the page cache; then asks for the same few again,
//!           compiled already (warm)
//! ```
//!
//! Each phase is a process of its own, so that its memory is its own. There is no peer: what is compared with is the
//! table of figures in the documentation.

pub(crate) mod phases;
pub(crate) mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::Place;
use crate::report::{PROXIMA, Report};

/// More than one server is meant to hold.
pub(crate) const ZONES_MAX: u64 = 10_000_000;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) place: Place,
    /// How many zones the replica holds.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=ZONES_MAX))]
    zones: u64,
}

/// One phase, in a process of its own.
#[derive(clap::Args)]
pub(crate) struct PhaseOptions {
    phase: Phase,
    #[arg(long)]
    zones: u64,
    #[arg(long)]
    folder: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Phase {
    Load,
    Disk,
    Memory,
}

/// What a phase measured, by metric.
pub(crate) type Measured = BTreeMap<String, f64>;

/// Runs the phases one after the other.
pub(crate) fn run(options: &Options) -> Result<Report> {
    // Beside the results and not in /tmp, which may be memory: a file there has no disk to be cold on.
    fs::create_dir_all(&options.place.results).context("making the folder for the results")?;
    let folder = tempfile::tempdir_in(&options.place.results).context("making a folder for the replica")?;
    let mut report = Report::new("ledger");
    for phase in [Phase::Load, Phase::Disk, Phase::Memory] {
        let name = match phase {
            Phase::Load => "load",
            Phase::Disk => "disk",
            Phase::Memory => "memory",
        };
        match phase {
            Phase::Load => {}
            Phase::Disk => for_each_file(folder.path(), &forget)?,
            Phase::Memory => for_each_file(folder.path(), &remember)?,
        }
        eprintln!("{name} ...");
        for (metric, value) in in_process(name, options.zones, folder.path())? {
            report.add(name, PROXIMA, &metric, value);
        }
    }
    Ok(report)
}

fn in_process(phase: &str, zones: u64, folder: &Path) -> Result<Measured> {
    let own = std::env::current_exe().context("finding our own binary")?;
    let mut command = Command::new(own);
    command.args(["ledger-phase", phase, "--zones", &zones.to_string(), "--folder"]).arg(folder);
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("starting a phase")?;
    ensure!(output.status.success(), "the phase `{phase}` failed: {}", output.status);
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("reading what the phase `{phase}` measured"))
}

/// The inside of a phase: prints what it measured as JSON.
pub(crate) fn run_phase(options: &PhaseOptions) -> Result<()> {
    let measured = match options.phase {
        Phase::Load => phases::load(&options.folder, options.zones)?,
        Phase::Disk => phases::serve(&options.folder, options.zones)?,
        Phase::Memory => phases::serve_and_repeat(&options.folder, options.zones)?,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

fn for_each_file(folder: &Path, work: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading the folder {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            for_each_file(&path, work)?;
        } else {
            work(&path).with_context(|| format!("reading {}", path.display()))?;
        }
    }
    Ok(())
}

/// Empties the page cache of the file.
fn forget(path: &Path) -> Result<()> {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    let file = fs::File::open(path)?;
    // Only clean pages are forgotten.
    file.sync_all()?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    Ok(())
}

/// Fills the page cache with the file.
fn remember(path: &Path) -> Result<()> {
    std::io::copy(&mut fs::File::open(path)?, &mut std::io::sink())?;
    Ok(())
}

//! Objects by S3: written, read and listed, against Garage and SeaweedFS on the same core and the same disk, where all sync what
//! they acknowledge; and against SeaweedFS as it comes, which syncs nothing.
//!
//! ```text
//!   core 1                      core 0
//! ┌──────────────┐   ┌─────────────────────────────────────────────────┐
//! │ load keys    │──►│ proxima │ garage │ seaweedfs: one at a time      │── the folder of results
//! │ load listing │   └─────────────────────────────────────────────────┘
//! └──────────────┘
//! ```
//!
//! Requests are signed, bodies are not, and no two bodies are alike. `load_core_busy` is how much of its core the load took: what
//! is near 1 measures the load, and not the subject.

mod subjects;

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::load::{self, Load};
use crate::process::{self, LOAD_CORE};
use crate::report::{Metric, PROXIMA, Report};
use crate::{Place, Trials};
use subjects::{BUCKET, GARAGE, SEAWEEDFS, SEAWEEDFS_UNSYNCED, Subject};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// What is written and read: by name, with its octets, connections at a time, and how many keys there are.
const SIZES: [Size; 3] = [
    Size { name: "4k", octets: 4 * KIB, connections: 16, keys: 1_000 },
    Size { name: "1m", octets: MIB, connections: 8, keys: 100 },
    Size { name: "100m", octets: 100 * MIB, connections: 2, keys: 4 },
];
/// Octets of an object that is only there to be listed.
const LISTED_OCTETS: usize = 16;
/// Writers of those: both servers sync for many at once.
const FILLERS: u32 = 16;
/// They have as long as it takes, on a disk that syncs a hundred times a second.
const FILL_SECONDS: u64 = 3_600;
/// More than one bucket is meant to have in a benchmark.
const OBJECTS_MAX: u64 = 1_000_000;

struct Size {
    name: &'static str,
    octets: usize,
    connections: u32,
    keys: u64,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    trials: Trials,
    /// A peer, as its package installs it.
    #[arg(long, default_value = "garage")]
    garage: std::path::PathBuf,
    /// A peer, which the Python packages bring.
    #[arg(long, env = "PROXIMA_WEED", default_value = "weed")]
    seaweedfs: std::path::PathBuf,
    /// How many objects are listed.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=OBJECTS_MAX))]
    listed: u64,
    /// Measure only these, by name.
    #[arg(long, value_delimiter = ',')]
    subjects: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    crate::check_cores()?;
    // All of them on the disk where the results are: /tmp may be memory.
    fs::create_dir_all(&options.place.results).context("making the folder of results")?;
    let folder = tempfile::tempdir_in(&options.place.results).context("making a folder for the servers")?;
    let wanted = |name: &str| options.subjects.is_empty() || options.subjects.iter().any(|one| one == name);
    let mut report = Report::new("r2");
    let all = [PROXIMA, GARAGE, SEAWEEDFS, SEAWEEDFS_UNSYNCED];
    for name in all.into_iter().filter(|name| wanted(name)) {
        let home = folder.path().join(name);
        fs::create_dir_all(&home).context("making a server's folder")?;
        let subject = match name {
            PROXIMA => subjects::proxima(&options.place.proxima, &home)?,
            GARAGE => subjects::garage(&options.garage, &home)?,
            _ => subjects::seaweedfs(&options.seaweedfs, &home, name)?,
        };
        objects(options, &subject, &mut report)?;
        listing(options, &subject, &mut report)?;
        drop(subject);
        // The next one has the disk to itself, and room on it.
        fs::remove_dir_all(&home).context("removing what was written")?;
    }
    Ok(report)
}

/// What one load of a subject came to.
struct Round {
    load: Load,
    octets: f64,
    subject_cpu_us: f64,
    load_busy: f64,
}

const METRICS: [Metric<Round>; 6] = [
    ("requests_per_second", |round| round.load.requests as f64 / round.load.seconds),
    ("mib_per_second", |round| round.octets / MIB as f64 / round.load.seconds),
    ("latency_p50_us", |round| round.load.p50_us),
    ("latency_p99_us", |round| round.load.p99_us),
    ("cpu_us_per_request", |round| round.subject_cpu_us / round.load.requests as f64),
    ("load_core_busy", |round| round.load_busy),
];

/// Writes and reads objects of each size.
fn objects(options: &Options, subject: &Subject, report: &mut Report) -> Result<()> {
    for size in &SIZES {
        let (put, get) = (format!("put-{}", size.name), format!("get-{}", size.name));
        let cases = [(put, "put"), (get, "get")];
        if !cases.iter().any(|(case, _)| case.starts_with(&options.trials.case)) {
            continue;
        }
        // All keys are there before they are read, and are written over.
        keys(subject, size, "put", FILL_SECONDS, size.keys)?;
        for (case, what) in cases.iter().filter(|(case, _)| case.starts_with(&options.trials.case)) {
            let rounds = (0..options.trials.rounds)
                .map(|_| keys(subject, size, what, options.trials.seconds, u64::MAX))
                .collect::<Result<Vec<_>>>()?;
            tell(case, subject, &rounds);
            report.add_medians(case, subject.name, &rounds, &METRICS);
        }
    }
    Ok(())
}

/// Writes objects, and lists all of them.
fn listing(options: &Options, subject: &Subject, report: &mut Report) -> Result<()> {
    let case = format!("list-{}", options.listed);
    if !case.starts_with(&options.trials.case) {
        return Ok(());
    }
    let bucket = "listed";
    subject.make_bucket(bucket)?;
    let mut fill = load::program("keys", subject.address, &subject.host())?;
    fill.args(["--what", "put", "--prefix", &format!("/{bucket}/a/key/of/a/file-")]);
    fill.args(["--octets", &LISTED_OCTETS.to_string(), "--keys", &options.listed.to_string()]);
    fill.args(["--connections", &FILLERS.to_string(), "--seconds", &FILL_SECONDS.to_string()]);
    fill.args(["--requests", &options.listed.to_string()]).args(subject.authority());
    let filled = load::output(LOAD_CORE, &fill)?;
    ensure!(filled.requests == options.listed, "{} of the objects were written", filled.requests);
    let list = || {
        measured(subject, 0.0, || {
            let mut list = load::program("listing", subject.address, &subject.host())?;
            list.args(["--bucket", bucket, "--objects", &options.listed.to_string(), "--rounds", "1"]);
            load::output(LOAD_CORE, list.args(subject.authority()))
        })
    };
    let rounds = (0..options.trials.rounds).map(|_| list()).collect::<Result<Vec<_>>>()?;
    tell(&case, subject, &rounds);
    let metrics: [Metric<Round>; 4] = [
        ("seconds", |round| round.load.seconds),
        ("page_p50_us", |round| round.load.p50_us),
        ("page_p99_us", |round| round.load.p99_us),
        ("load_core_busy", |round| round.load_busy),
    ];
    report.add_medians(&case, subject.name, &rounds, &metrics);
    Ok(())
}

/// One load on the keys of a size.
fn keys(subject: &Subject, size: &Size, what: &str, seconds: u64, requests: u64) -> Result<Round> {
    let mut program = load::program("keys", subject.address, &subject.host())?;
    program.args(["--what", what, "--prefix", &format!("/{BUCKET}/{}-", size.name)]);
    program.args(["--octets", &size.octets.to_string(), "--keys", &size.keys.to_string()]);
    program.args(["--connections", &size.connections.to_string(), "--seconds", &seconds.to_string()]);
    program.args(["--requests", &requests.to_string()]).args(subject.authority());
    measured(subject, size.octets as f64, || load::output(LOAD_CORE, &program))
        .with_context(|| format!("{what} of {} objects of {}", size.name, subject.name))
}

/// What a load, each of whose requests carries so many octets, costs a subject.
fn measured(subject: &Subject, octets_each: f64, load: impl FnOnce() -> Result<Load>) -> Result<Round> {
    let (cpu, own, begun) = (subject.server.cpu()?, process::waited_for_cpu()?, Instant::now());
    let load = load()?;
    let busy = (process::waited_for_cpu()? - own).as_secs_f64() / begun.elapsed().as_secs_f64();
    ensure!(load.errors == 0 && load.requests > 0, "{} of {} requests failed", load.errors, load.requests);
    Ok(Round {
        octets: load.requests as f64 * octets_each,
        subject_cpu_us: (subject.server.cpu()? - cpu).as_secs_f64() * 1e6,
        load_busy: busy,
        load,
    })
}

fn tell(case: &str, subject: &Subject, rounds: &[Round]) {
    for Round { load, load_busy, .. } in rounds {
        let per_second = load.requests as f64 / load.seconds;
        eprintln!("{case:<18} {:<18} {per_second:>9.1}/s, the load's core {load_busy:.2} busy", subject.name);
    }
}

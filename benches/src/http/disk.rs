//! `disk`: hits of ten times as much as the cache's memory may hold, in no order, so that nine in ten come from the disk.
//!
//! The kernel may keep what the disk has in its own memory, for each subject alike: measured is what a server spends on
//! getting it from there, not the disk.

use anyhow::{Context, Result, ensure};

use super::generator::{Generator, Target, Urls};
use super::subjects::{Room, Subject};
use super::{HOST, LOAD_CORE, Origin, Round, observe, summarize};
use crate::Place;
use crate::process;
use crate::report::{PROXIMA, Report};

const ROOM: Room = Room { memory_mib: 64, disk_mib: 2048 };
const PATH: &str = "/store/100k.css";
/// Of 100 KiB each: ten times the memory.
const OBJECTS: u32 = 6_554;
/// How often each is asked for before it counts: a cache may want to see an object twice before it writes it down.
const PASSES: u32 = 3;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) place: Place,
    /// How long each load lasts.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=crate::SECONDS_MAX))]
    seconds: u64,
    /// How often it is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::ROUNDS_MAX)))]
    rounds: u32,
    /// Measure only these.
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [PROXIMA, "nginx", "trafficserver"].map(str::to_owned)
    )]
    subjects: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let origin = Origin::start(folder.path())?;
    let mut report = Report::new("disk");
    let mut subjects = Vec::new();
    for name in &options.subjects {
        let subject = Subject::start(name, &options.place.proxima, &origin, folder.path(), ROOM)?;
        for _ in 0..PASSES {
            fill(&subject)?;
        }
        subjects.push((subject, Vec::new()));
    }
    for _ in 0..options.rounds {
        for (subject, measured) in &mut subjects {
            let round = measure(subject, &origin, options.seconds)
                .with_context(|| format!("measuring {}", subject.name))?;
            eprintln!("{:<14} {}", subject.name, round.shown());
            measured.push(round);
        }
    }
    for (subject, measured) in &subjects {
        summarize(&mut report, "hit-100k-disk", subject, measured);
    }
    Ok(report)
}

/// Asks for each object once.
fn fill(subject: &Subject) -> Result<()> {
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--output", "/dev/null"]);
    curl.arg("--header").arg(format!("host: {HOST}"));
    curl.arg(format!("http://{}{PATH}?[1-{OBJECTS}]", subject.clear));
    process::output(LOAD_CORE, &curl).with_context(|| format!("filling {}", subject.name))?;
    Ok(())
}

fn measure(subject: &Subject, origin: &Origin, seconds: u64) -> Result<Round> {
    let target = Target { address: subject.clear, path: PATH, urls: Urls::Any(OBJECTS) };
    let trial = Generator::Wrk.trial(&target)?;
    let (round, reached) = observe(subject, origin, || Generator::Wrk.run(&target, seconds, &trial))?;
    let load = &round.load;
    ensure!(load.errors == 0 && load.requests > 0, "{} of {} requests failed", load.errors, load.requests);
    ensure!(reached < load.requests / 100 + 10, "{reached} of {} hits reached the origin", load.requests);
    Ok(round)
}

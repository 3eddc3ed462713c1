//! `mixed`: how long hits of 1 KiB take at half of the rate that a server can reach, while a fifth of the requests are
//! misses of 1 MiB, which it stores.
//!
//! All subjects get the same rate: half of the least of their peaks.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};

use super::generator::seed;
use super::subjects::{Room, Subject};
use super::{HOST, LOAD_CORE, Origin, Round, observe};
use crate::Place;
use crate::load;
use crate::report::{Metric, PROXIMA, Report};

const HIT: &str = "/store/1k.css";
const MISS: &str = "/store/1m.css";

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) place: Place,
    /// How long each load lasts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=crate::SECONDS_MAX))]
    seconds: u64,
    /// How often it is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::ROUNDS_MAX)))]
    rounds: u32,
    /// Measure only these.
    #[arg(long, value_delimiter = ',', default_values_t = [PROXIMA, "nginx"].map(str::to_owned))]
    subjects: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let origin = Origin::start(folder.path())?;
    let mut report = Report::new("mixed");
    let mut subjects = Vec::new();
    for name in &options.subjects {
        let subject = Subject::start(name, &options.place.proxima, &origin, folder.path(), Room::MEMORY)?;
        // The first fills what is filled once.
        steady(&subject, &origin, None, 1)?;
        let Round { load, .. } = steady(&subject, &origin, None, options.seconds)?;
        let peak = load.requests as f64 / load.seconds;
        report.add("peak", subject.name, "requests_per_second", peak);
        subjects.push((subject, peak));
    }
    let least = subjects.iter().map(|(_, peak)| *peak).reduce(f64::min).context("no subject is named")?;
    let rate = (least / 2.0).round();
    let mut measured: HashMap<&str, Vec<Round>> = HashMap::new();
    for _ in 0..options.rounds {
        for (subject, _) in &subjects {
            let round = steady(subject, &origin, Some(rate), options.seconds)?;
            let load = &round.load;
            eprintln!("{:<14} {rate}/s: p50 {:.0} µs, p99 {:.0} µs", subject.name, load.p50_us, load.p99_us);
            measured.entry(subject.name).or_default().push(round);
        }
    }
    for (subject, _) in &subjects {
        let metrics: [Metric<Round>; 4] = [
            ("requests_per_second", |round| round.load.requests as f64 / round.load.seconds),
            ("hit_p50_us", |round| round.load.p50_us),
            ("hit_p99_us", |round| round.load.p99_us),
            ("cpu_us_per_request", |round| round.cpu_us_per_request),
        ];
        report.add_medians("half-of-peak", subject.name, &measured[subject.name], &metrics);
    }
    Ok(report)
}

/// Makes the load, at a rate or as fast as may be.
fn steady(subject: &Subject, origin: &Origin, rate: Option<f64>, seconds: u64) -> Result<Round> {
    let mut program = load::program("steady", subject.clear, HOST)?;
    program.args(["--hit", HIT, "--miss", MISS, "--seed", &seed()?, "--seconds", &seconds.to_string()]);
    if let Some(rate) = rate {
        program.args(["--rate", &rate.to_string()]);
    }
    let (round, reached) = observe(subject, origin, || load::output(LOAD_CORE, &program))?;
    let load = &round.load;
    let misses = load.requests / 5;
    ensure!(
        reached.abs_diff(misses) < misses / 10 + 50,
        "of {} requests to {}, {reached} reached the origin, and not a fifth",
        load.requests,
        subject.name
    );
    Ok(round)
}

//! What the proxy costs, against its peers: `http` on misses and hits of many kinds, [`mixed`] on both at once, [`disk`]
//! on more than memory holds, [`connections`] on clients that do nothing.
//!
//! `http`: what the proxy costs, on a miss and on a hit, against nginx, varnish, haproxy, trafficserver and caddy.
//!
//! ```text
//!   core 1                 core 0                    core 1
//! ┌────────────┐   ┌──────────────────────┐   ┌────────────────┐
//! │ wrk, h2load│──►│ proxima │ nginx │ …  │──►│ nginx (origin) │    all on loopback
//! └────────────┘   └──────────────────────┘   └────────────────┘
//! ```
//!
//! One subject is under load at a time, in turns, each case in several rounds of which the median counts. A miss asks for
//! a URL that nobody asked for before, so that no subject can collapse two of them; the origin's own count of requests
//! shows that a miss reached it and a hit did not. Processor time is that of the subject alone, all its processes.

pub(crate) mod connections;
pub(crate) mod disk;
pub(crate) mod generator;
pub(crate) mod mixed;
mod origin;
mod subjects;

use anyhow::{Context, Result, bail};

use crate::load::Load;
use crate::process::{LOAD_CORE, SUBJECT_CORE, Server};
use crate::report::{Metric, Report};
use crate::{Place, Trials};
use generator::{Generator, Target, Urls};
use origin::Origin;
use subjects::{Room, Subject};

/// The name under which every subject serves the origin.
pub(crate) const HOST: &str = "bench.example";

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    trials: Trials,
    /// Measure only these, for instance `nginx,varnish`.
    #[arg(long, value_delimiter = ',', default_values_t = subjects::NAMES.map(str::to_owned))]
    subjects: Vec<String>,
}

/// One kind of request.
struct Case {
    name: &'static str,
    path: &'static str,
    generator: Generator,
    reaches: Reaches,
}

/// How far a request must get for the case to be what it says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reaches {
    Origin,
    Cache,
}

const CASES: &[Case] = &[
    miss("miss-1k", "/miss/1k.css", Generator::Wrk),
    miss("miss-100k", "/miss/100k.css", Generator::Wrk),
    miss("miss-1k-stored", "/store/1k.css", Generator::Wrk),
    miss("miss-1k-tls-h2", "/miss/1k.css", Generator::H2load),
    hit("hit-1k", "/store/1k.css", Generator::Wrk),
    hit("hit-16k", "/store/16k.css", Generator::Wrk),
    hit("hit-100k", "/store/100k.css", Generator::Wrk),
    hit("hit-10m", "/store/10m.css", Generator::Wrk),
    hit("hit-1k-tls-h1", "/store/1k.css", Generator::H1Tls),
    hit("hit-16k-tls-h1", "/store/16k.css", Generator::H1Tls),
    hit("hit-100k-tls-h1", "/store/100k.css", Generator::H1Tls),
    hit("hit-10m-tls-h1", "/store/10m.css", Generator::H1Tls),
    hit("hit-1k-tls-h2", "/store/1k.css", Generator::H2load),
    hit("hit-16k-tls-h2", "/store/16k.css", Generator::H2load),
    hit("hit-100k-tls-h2", "/store/100k.css", Generator::H2load),
    hit("hit-10m-tls-h2", "/store/10m.css", Generator::H2load),
    hit("hit-1k-h3", "/store/1k.css", Generator::Http3),
    hit("hit-16k-h3", "/store/16k.css", Generator::Http3),
    hit("hit-100k-h3", "/store/100k.css", Generator::Http3),
    hit("hit-10m-h3", "/store/10m.css", Generator::Http3),
    hit("handshake-tls13", "/store/1k.css", Generator::Handshakes),
];

const fn miss(name: &'static str, path: &'static str, generator: Generator) -> Case {
    Case { name, path, generator, reaches: Reaches::Origin }
}

const fn hit(name: &'static str, path: &'static str, generator: Generator) -> Case {
    Case { name, path, generator, reaches: Reaches::Cache }
}

/// Measures every case on every subject.
pub(crate) fn run(options: &Options) -> Result<Report> {
    crate::check_cores()?;
    let folder = tempfile::tempdir().context("making a folder for the servers")?;
    let origin = Origin::start(folder.path())?;
    let mut subjects = Vec::new();
    for name in &options.subjects {
        subjects.push(Subject::start(name, &options.place.proxima, &origin, folder.path(), Room::MEMORY)?);
    }

    let mut report = Report::new("http");
    memory(&mut report, "idle", &subjects)?;
    for case in CASES.iter().filter(|case| case.name.starts_with(&options.trials.case)) {
        let able = subjects.iter().filter(|subject| {
            if let Some(why) = (subject.cannot)(case.name) {
                eprintln!("{:<16} {:<14} left out: {why}", case.name, subject.name);
                return false;
            }
            match case.generator {
                Generator::Wrk => true,
                Generator::Http3 => subject.http3,
                _ => subject.tls.is_some(),
            }
        });
        let mut rounds: Vec<(&Subject, Vec<Round>)> = able.map(|subject| (subject, Vec::new())).collect();
        // In turns, so that whatever disturbs the machine for a while disturbs all of them.
        for _ in 0..options.trials.rounds {
            for (subject, measured) in &mut rounds {
                let round = measure(case, subject, &origin, options.trials.seconds)
                    .with_context(|| format!("{} under {}", subject.name, case.name))?;
                eprintln!("{:<16} {:<14} {}", case.name, subject.name, round.shown());
                measured.push(round);
            }
        }
        for (subject, measured) in &rounds {
            summarize(&mut report, case.name, subject, measured);
        }
    }
    memory(&mut report, "after-load", &subjects)?;
    Ok(report)
}

/// One load on one subject.
struct Round {
    load: Load,
    cpu_us_per_request: f64,
}

impl Round {
    fn shown(&self) -> String {
        let per_second = self.load.requests as f64 / self.load.seconds;
        format!("{:>8.2} µs CPU per request {per_second:>8.0} requests/s", self.cpu_us_per_request)
    }
}

fn measure(case: &Case, subject: &Subject, origin: &Origin, seconds: u64) -> Result<Round> {
    let address = match case.generator {
        Generator::Wrk => subject.clear,
        _ => subject.tls.context("the subject has no TLS")?,
    };
    let urls = match case.reaches {
        Reaches::Origin => Urls::Unique,
        Reaches::Cache => Urls::Same,
    };
    let target = Target { address, path: case.path, urls };
    let trial = case.generator.trial(&target)?;

    let (round, reached) = observe(subject, origin, || case.generator.run(&target, seconds, &trial))?;
    check(case, &round.load, reached)?;
    Ok(round)
}

/// What a load costs the subject, and how many requests reach the origin meanwhile.
fn observe(subject: &Subject, origin: &Origin, load: impl FnOnce() -> Result<Load>) -> Result<(Round, u64)> {
    let (reached_before, cpu_before) = (origin.requests()?, subject.server.cpu()?);
    let load = load().with_context(|| format!("measuring {}", subject.name))?;
    let cpu = subject.server.cpu()? - cpu_before;
    let reached = origin.requests()? - reached_before;
    Ok((Round { cpu_us_per_request: cpu.as_secs_f64() * 1e6 / load.requests as f64, load }, reached))
}

/// That the subject did the work that it is measured by.
fn check(case: &Case, load: &Load, reached: u64) -> Result<()> {
    if load.errors > 0 || load.requests == 0 {
        bail!("{} of {} requests failed", load.errors, load.requests);
    }
    // Requests may be under way at both ends of the load, and asking the origin is a request too.
    let slack = load.requests / 100 + 100;
    match case.reaches {
        Reaches::Origin if reached + slack < load.requests => {
            bail!("only {reached} of {} misses reached the origin", load.requests)
        }
        Reaches::Cache if reached > slack => bail!("{reached} of {} hits reached the origin", load.requests),
        _ => Ok(()),
    }
}

fn summarize(report: &mut Report, case: &str, subject: &Subject, rounds: &[Round]) {
    let metrics: [Metric<Round>; 4] = [
        ("cpu_us_per_request", |round| round.cpu_us_per_request),
        ("requests_per_second", |round| round.load.requests as f64 / round.load.seconds),
        ("latency_p50_us", |round| round.load.p50_us),
        ("latency_p99_us", |round| round.load.p99_us),
    ];
    report.add_medians(case, subject.name, rounds, &metrics);
}

fn memory(report: &mut Report, case: &str, subjects: &[Subject]) -> Result<()> {
    for subject in subjects {
        let server: &Server = &subject.server;
        report.add(case, subject.name, "resident_mib", server.memory_mib("VmRSS")?);
        report.add(case, subject.name, "resident_private_mib", server.memory_mib("RssAnon")?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(requests: u64, errors: u64) -> Load {
        Load { requests, errors, seconds: 1.0, p50_us: 1.0, p99_us: 2.0 }
    }

    #[test]
    fn a_miss_that_the_origin_never_saw_is_no_measurement() {
        let miss = &CASES[0];
        assert!(check(miss, &load(10_000, 0), 9_990).is_ok());
        assert!(check(miss, &load(10_000, 0), 5_000).is_err());
        assert!(check(miss, &load(10_000, 1), 10_000).is_err());
        assert!(check(miss, &load(0, 0), 0).is_err());
    }

    #[test]
    fn a_hit_that_went_to_the_origin_is_no_measurement() {
        let hit = CASES.iter().find(|case| case.name == "hit-1k").unwrap();
        assert!(check(hit, &load(10_000, 0), 2).is_ok());
        assert!(check(hit, &load(10_000, 0), 10_000).is_err());
    }
}

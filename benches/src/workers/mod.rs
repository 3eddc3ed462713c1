//! Workers: what the whole edge costs around the engine, against the bare engine on the same core; how long the first
//! request of a Worker takes; what many Workers hold of memory; and what a Worker that misbehaves costs its neighbour.
//!
//! ```text
//!   core 1                        core 0                                              core 1
//! ┌────────────┐   ┌──────────────────────────────────────────┐   ┌─────────────────────────────────────────┐
//! │ wrk, h2load│──►│ proxima ─ its processes of workerd       │   │ load first: each of N Workers once      │
//! │ load paced │   │ workerd, by itself, with the same Worker │◄──│ load paced: a neighbour, at a low rate  │
//! └────────────┘   └──────────────────────────────────────────┘   └─────────────────────────────────────────┘
//! ```
//!
//! Processor time and memory are those of a subject's processes together, or of its engine where a metric's name begins so.
//! On the one core the node has two processes of the engine for all tenants: who misbehaves may do so beside its neighbour.

mod subjects;
mod world;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::api;
use crate::dev::Dev;
use crate::http::HOST;
use crate::http::generator::{Generator, Target, Urls};
use crate::load::{self, Load};
use crate::process::{self, LOAD_CORE};
use crate::report::{Metric, PROXIMA, Report};
use crate::{Place, Trials};
use subjects::{Subject, WORKERD};

/// The behaviour that all Workers ask the engine for.
pub(crate) const COMPATIBILITY_DATE: &str = "2026-11-01";
/// What the log of one node takes, with a node of a developer.
const WORKERS_MAX: u64 = 10_000;
/// Requests a second to a neighbour: a site that people use, and far from what a core can do.
const NEIGHBOUR_RATE: f64 = 200.0;
/// The tenants whose Worker spins, or fills memory; which process each has follows from its id, and these have that of the first one.
const SPINS: u64 = 1;
const FILLS: u64 = 6;
/// Between two handshakes that name a Worker which is not loaded: a node loads twenty in a second ahead of their requests.
const GREETED_EVERY: Duration = Duration::from_millis(60);
/// How far a client is from the next PoP, one way: a network that is worth its name has one so near.
const CLIENTS_AWAY: Duration = Duration::from_millis(5);
/// Between two requests to a Worker that misbehaves.
const WILD_EVERY: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    trials: Trials,
    /// The engine.
    #[arg(long, env = "PROXIMA_WORKERD")]
    workerd: PathBuf,
    /// Workers that the node has.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(3..=WORKERS_MAX))]
    deployed: u64,
    /// How many of them are asked, and stay loaded.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=WORKERS_MAX))]
    warm: u64,
    /// How long the neighbour of one that misbehaves is asked.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=crate::SECONDS_MAX))]
    neighbour_seconds: u64,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    crate::check_cores()?;
    ensure!(
        3 * options.warm < options.deployed,
        "three times as many are asked as are to stay loaded, and one before"
    );
    let folder = tempfile::tempdir().context("making a folder for the servers")?;
    let mut report = Report::new("workers");
    let of_case = |name: &str| name.starts_with(&options.trials.case);
    if of_case("hello") {
        hello(options, folder.path(), &mut report)?;
    }
    if of_case("many") {
        many(options, folder.path(), &mut report)?;
    }
    if of_case("neighbour") {
        neighbour(options, folder.path(), &mut report)?;
    }
    Ok(report)
}

/// One load on one subject.
struct Round {
    load: Load,
    cpu_us_per_request: f64,
}

/// A Worker that says hello: as fast as may be, and at half of the lesser peak.
fn hello(options: &Options, folder: &Path, report: &mut Report) -> Result<()> {
    let (own, bare) = (home(folder, "hello")?, home(folder, WORKERD)?);
    let own = subjects::deploy(subjects::node(options, &own)?, &own)?;
    let subjects = [own, subjects::bare(options, &bare)?];
    let metrics: [Metric<Round>; 4] = [
        ("requests_per_second", |round| round.load.requests as f64 / round.load.seconds),
        ("latency_p50_us", |round| round.load.p50_us),
        ("latency_p99_us", |round| round.load.p99_us),
        ("cpu_us_per_request", |round| round.cpu_us_per_request),
    ];
    let mut peaks = Vec::new();
    for (case, generator) in [("hello", Generator::Wrk), ("hello-tls-h1", Generator::H1Tls)] {
        let mut rounds: Vec<Vec<Round>> = subjects.iter().map(|_| Vec::new()).collect();
        for _ in 0..options.trials.rounds {
            for (subject, rounds) in subjects.iter().zip(&mut rounds) {
                let address = if generator == Generator::Wrk { Some(subject.clear) } else { subject.tls };
                let Some(address) = address else { continue };
                let target = Target { address, path: "/", urls: Urls::Same };
                let trial = generator.trial(&target)?;
                let seconds = options.trials.seconds;
                rounds.push(measured(case, subject, || generator.run(&target, seconds, &trial))?);
            }
        }
        for (subject, rounds) in subjects.iter().zip(&rounds).filter(|(_, rounds)| !rounds.is_empty()) {
            report.add_medians(case, subject.name, rounds, &metrics);
            if generator == Generator::Wrk {
                peaks.extend(rounds.iter().map(|round| round.load.requests as f64 / round.load.seconds));
            }
        }
    }
    let rate = (peaks.into_iter().reduce(f64::min).context("nothing was measured")? / 2.0).round();
    let mut rounds: Vec<Vec<Round>> = subjects.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.trials.rounds {
        for (subject, rounds) in subjects.iter().zip(&mut rounds) {
            let load = || paced(subject.clear, HOST, rate, options.trials.seconds);
            rounds.push(measured("hello-half-peak", subject, load)?);
        }
    }
    for (subject, rounds) in subjects.iter().zip(&rounds) {
        report.add_medians("hello-half-peak", subject.name, rounds, &metrics);
    }
    Ok(())
}

/// Many Workers on one node: what they hold while nobody asks them, how long the first request of each takes, and what those
/// hold that were asked.
fn many(options: &Options, folder: &Path, report: &mut Report) -> Result<()> {
    let home = home(folder, "many")?;
    let empty = subjects::node(options, &home)?.server.memory_mib("RssAnon")?;
    world::fill(&home.join("data"), options.deployed)?;
    let Dev { server, http, https, .. } = subjects::node(options, &home)?;
    let mut tell = |case: &str, metric: &str, value: f64| report.add(case, PROXIMA, metric, value);
    tell("many-idle", "node_mib_more", server.memory_mib("RssAnon")? - empty);
    tell("many-idle", "engine_processes", server.of_program(WORKERD, "Pss")?.0 as f64);

    // Has the engine started: what a server that runs Workers has done long before.
    let begin = world::host(options.deployed - 1);
    let started = first(http, By::Clear, &home, [begin].into_iter())?;
    tell("many-first", "with_engine_start_us", started.p50_us);
    let asked = || (0..options.warm.min(options.deployed - 1)).map(world::host);
    for case in ["many-first", "many-again"] {
        tell_latency(report, case, &first(http, By::Clear, &home, asked())?);
    }
    let (processes, mib) = server.of_program(WORKERD, "Pss")?;
    report.add("many-warm", PROXIMA, "engine_processes", processes as f64);
    report.add("many-warm", PROXIMA, "engine_mib", mib);
    // Others, which a handshake names before they are asked: here, and as far away as clients are.
    for (round, away, cases) in [
        (1, Duration::ZERO, ["many-first-tls", "many-again-tls"]),
        (2, CLIENTS_AWAY, ["many-first-tls-far", "many-again-tls-far"]),
    ] {
        let end = |round: u64| (round * options.warm).min(options.deployed - 1);
        for case in cases {
            let named = (end(round)..end(round + 1)).map(world::host);
            tell_latency(report, case, &first(https, By::Tls { away }, &home, named)?);
        }
    }
    Ok(())
}

fn tell_latency(report: &mut Report, case: &str, load: &Load) {
    report.add(case, PROXIMA, "latency_p50_us", load.p50_us);
    report.add(case, PROXIMA, "latency_p99_us", load.p99_us);
}

/// A neighbour's answers while it is alone, and while a Worker of another tenant spins, or fills memory, again and again.
fn neighbour(options: &Options, folder: &Path, report: &mut Report) -> Result<()> {
    let home = home(folder, "neighbour")?;
    drop(subjects::node(options, &home)?);
    world::fill(&home.join("data"), (FILLS + 1) * world::WORKERS_PER_TENANT)?;
    let Dev { server, http, admin, .. } = subjects::node(options, &home)?;
    let calm = world::host(0);
    let seconds = options.neighbour_seconds;
    paced(http, &calm, NEIGHBOUR_RATE, 1)?;
    for (case, wild) in [
        ("neighbour-alone", None),
        ("neighbour-spins", Some((world::host(SPINS * world::WORKERS_PER_TENANT), "/spin"))),
        ("neighbour-fills", Some((world::host(FILLS * world::WORKERS_PER_TENANT), "/fill"))),
    ] {
        let over = AtomicBool::new(false);
        let (load, asked) = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut asked = 0_u32;
                while let Some((host, path)) = wild.as_ref().filter(|_| !over.load(Ordering::Relaxed)) {
                    // It is answered 1102: that is what is asked for.
                    if api::answers(http, host, path) {
                        bail!("{host}{path} was answered as if it were well");
                    }
                    asked += 1;
                    thread::sleep(WILD_EVERY);
                }
                Ok(asked)
            });
            let load = paced(http, &calm, NEIGHBOUR_RATE, seconds);
            over.store(true, Ordering::Relaxed);
            Ok::<_, anyhow::Error>((load?, asking.join().expect("it does not panic")?))
        })?;
        ensure!(wild.is_none() || asked > 0, "nobody misbehaved");
        eprintln!("{case:<18} p50 {:.0} µs, p99 {:.0} µs, {asked} wild requests", load.p50_us, load.p99_us);
        tell_latency(report, case, &load);
        report.add(case, PROXIMA, "wild_requests", f64::from(asked));
    }
    let relieved = api::metric(admin, "proxima_workers_relieved_total")?;
    ensure!(relieved > 0.0, "the tenants have no process in common: choose others");
    drop(server);
    Ok(())
}

/// What a load costs a subject.
fn measured(case: &str, subject: &Subject, load: impl FnOnce() -> Result<Load>) -> Result<Round> {
    let before = subject.server.cpu()?;
    let load = load().with_context(|| format!("{} under {case}", subject.name))?;
    let cpu = subject.server.cpu()? - before;
    if load.errors > 0 || load.requests == 0 {
        bail!("{case}: {} of {} requests to {} failed", load.errors, load.requests, subject.name);
    }
    let cpu_us_per_request = cpu.as_secs_f64() * 1e6 / load.requests as f64;
    let per_second = load.requests as f64 / load.seconds;
    eprintln!("{case:<18} {:<8} {cpu_us_per_request:>8.2} µs CPU {per_second:>8.0} requests/s", subject.name);
    Ok(Round { load, cpu_us_per_request })
}

/// Asks for `/` at a rate.
fn paced(address: SocketAddr, host: &str, rate: f64, seconds: u64) -> Result<Load> {
    let mut program = load::program("paced", address, host)?;
    program.args(["--rate", &rate.to_string(), "--seconds", &seconds.to_string()]);
    load::output(LOAD_CORE, &program)
}

/// How the first request of a Worker comes.
#[derive(Clone, Copy)]
enum By {
    /// Over one connection of HTTP/1.1.
    Clear,
    /// Each over a connection of its own, whose server is so far away, one way.
    Tls { away: Duration },
}

/// Asks each of these hosts once.
fn first(address: SocketAddr, by: By, home: &Path, hosts: impl Iterator<Item = String>) -> Result<Load> {
    let list = home.join("hosts");
    process::write(&list, hosts.collect::<Vec<_>>().join("\n"))?;
    let mut program: Command = load::program("each", address, HOST)?;
    program.arg("--hosts").arg(&list);
    if let By::Tls { away } = by {
        let every = GREETED_EVERY.as_millis().to_string();
        program.args(["--tls", "--away-ms", &away.as_millis().to_string(), "--every-ms", &every]);
    }
    load::output(LOAD_CORE, &program)
}

fn home(folder: &Path, name: &str) -> Result<PathBuf> {
    let home = folder.join(name);
    std::fs::create_dir_all(&home).with_context(|| format!("making the folder {}", home.display()))?;
    Ok(home)
}

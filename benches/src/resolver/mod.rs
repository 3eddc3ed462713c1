//! What resolving a name costs, against unbound, knot-resolver, pdns-recursor and BIND.
//!
//! ```text
//!   core 1                core 0                            core 1
//! ┌─────────┐   ┌───────────────────────────┐   ┌──────────────────────────────────┐
//! │ dnsperf │──►│ proxima │ unbound │ kresd… │──►│ nsd: root │ nsd: TLDs │ nsd: zones │
//! └─────────┘   └───────────────────────────┘   └──────────────────────────────────┘
//! ```
//!
//! All in a network namespace of this process's own, with an internet of three name servers ([`internet`]): what is asked
//! leaves this machine never. All subjects validate, begin at the same root with the same trust anchor, and have one thread.
//!
//! * `warm`: names that were all asked for before, from the cache; `warm-do` the same with the signatures.
//! * `cold`: each name once, each round other names: the root and the TLDs are known after a few, the zones after a few
//!   thousand. Name servers and dnsperf share a core, so that the processor time of the subject tells more than the rate.
//!
//! * `cold-far`, only when it is asked for: how long the first answer takes where name servers are some milliseconds away
//!   ([`far`]).
//!
//! A subject that does not resolve what there is, or finds what there is not, is not measured.

mod far;
mod internet;
mod subjects;

use anyhow::{Context, Result};

use crate::dnsperf::{self, METRICS, Round, Transport};
use crate::report::Report;
use crate::{Place, Trials};
use internet::{Near, ROUNDS_COLD};
use subjects::Subject;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    trials: Trials,
    /// Measure only these, for instance `unbound,bind`.
    #[arg(long, value_delimiter = ',', default_values_t = subjects::NAMES.map(str::to_owned))]
    subjects: Vec<String>,
}

/// Names that are in the cache, and how they are asked for.
const WARM: [(&str, Transport); 2] = [("warm", Transport::Udp), ("warm-do", Transport::UdpSigned)];
const COLD: &str = "cold";

/// Measures every case on every subject.
pub(crate) fn run(options: &Options) -> Result<Report> {
    crate::check_cores()?;
    if options.trials.case == far::CASE {
        return far::run(options);
    }
    let folder = tempfile::tempdir().context("making a folder for the servers")?;
    let near = Near::start(folder.path())?;
    let mut subjects = Vec::new();
    for name in &options.subjects {
        subjects.push(Subject::start(name, &options.place.proxima, &near.internet, folder.path())?);
    }
    let mut report = Report::new("resolver");
    // Before anything is warm.
    if COLD.starts_with(&options.trials.case) {
        cold(&near, &subjects, options, &mut report)?;
    }
    for (case, transport) in WARM.into_iter().filter(|(case, _)| case.starts_with(&options.trials.case)) {
        warm(case, transport, &near, &subjects, options, &mut report)?;
    }
    for subject in &subjects {
        report.add("after-load", subject.name, "resident_mib", subject.server.memory_mib("VmRSS")?);
    }
    Ok(report)
}

type Rounds<'a> = Vec<(&'a Subject, Vec<Round>)>;

/// Every name once; as many rounds as there are names for.
fn cold(near: &Near, subjects: &[Subject], options: &Options, report: &mut Report) -> Result<()> {
    let mut rounds: Rounds<'_> = subjects.iter().map(|subject| (subject, Vec::new())).collect();
    let wanted = usize::try_from(options.trials.rounds).unwrap_or(ROUNDS_COLD);
    for questions in near.cold.iter().take(wanted) {
        for (subject, measured) in &mut rounds {
            let once = || dnsperf::once(subject.address, questions, Transport::Udp);
            let round = Round::measure(&[&subject.server], once)?;
            keep(COLD, subject, round, questions, measured)?;
        }
    }
    summarize(report, COLD, &rounds);
    Ok(())
}

fn warm(
    case: &str,
    transport: Transport,
    near: &Near,
    subjects: &[Subject],
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let questions = &near.warm;
    let mut rounds: Rounds<'_> = subjects.iter().map(|subject| (subject, Vec::new())).collect();
    for (subject, _) in &rounds {
        dnsperf::once(subject.address, questions, transport)
            .with_context(|| format!("warming {} up", subject.name))?;
    }
    // In turns, so that whatever disturbs the machine for a while disturbs all of them.
    for _ in 0..options.trials.rounds {
        for (subject, measured) in &mut rounds {
            let load = || dnsperf::run(subject.address, questions, transport, options.trials.seconds);
            let round = Round::measure(&[&subject.server], load)?;
            keep(case, subject, round, questions, measured)?;
        }
    }
    summarize(report, case, &rounds);
    Ok(())
}

fn keep(
    case: &str,
    subject: &Subject,
    round: Round,
    questions: &dnsperf::Questions,
    measured: &mut Vec<Round>,
) -> Result<()> {
    eprintln!("{case:<16} {:<14} {}", subject.name, round.shown());
    let checked = round.load.check(questions.not_found_percent);
    checked.with_context(|| format!("{} under {case}", subject.name))?;
    measured.push(round);
    Ok(())
}

fn summarize(report: &mut Report, case: &str, rounds: &Rounds<'_>) {
    for (subject, measured) in rounds {
        report.add_medians(case, subject.name, measured, &METRICS);
    }
}

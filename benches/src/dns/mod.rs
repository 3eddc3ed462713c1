//! What answering a query costs, against knot, nsd, bind, pdns and dnsdist.
//!
//! ```text
//!   core 1                core 0
//! ┌─────────┐   ┌─────────────────────────┐
//! │ dnsperf │──►│ proxima │ knot │ nsd │ … │    all on loopback
//! └─────────┘   └─────────────────────────┘
//! ```
//!
//! All subjects serve the same zones ([`zones`]) and are asked the same questions in the same order. One is under load at a
//! time, in turns, each case in several rounds of which the median counts. That a subject did its work shows in the codes of
//! its answers: as many names that are not there as were asked for, and nothing refused. Processor time is that of the
//! subject alone; dnsperf takes about as much for a query as the fastest subjects do, so that it, and not the answers in a
//! second, is what tells them apart.
//!
//! A million zones are a case of their own ([`million`]), and so is a zone of a million records that is replaced ([`replaced`]).
//!
//! A case is for the subjects that can do it: over TLS those that speak it, the signed zone those that have it. Proxima and
//! knot sign it by themselves, nsd and bind have it signed ahead. Proxima denies names compactly (RFC 9824), and so answers
//! NOERROR there. How long answers take at half of the peak is measured for each at half of its own, found just before.
//!
//! Knot 3.2 speaks neither TLS nor HTTP: there dnsdist stands before it, on the same core, as its operators have it, with a
//! packet cache that has room for all questions ([`subjects`]). Over HTTP/2 the load is h2load's ([`https`]), because dnsperf
//! names no host when it opens TLS, and Proxima has no certificate for nobody.

mod https;
mod million;
mod replaced;
mod subjects;
mod zones;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};

use crate::dnsperf::{self, Questions, Round, Transport};
use crate::report::{Metric, Report};
use crate::{Place, Trials, ledger};
use subjects::Subject;
use zones::Zones;

/// Making so many in a file is a matter of seconds, and by the API one of minutes.
const ZONES_MAX: u32 = 20_000;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    trials: Trials,
    /// Measure only these, for instance `knot,nsd`.
    #[arg(long, value_delimiter = ',', default_values_t = subjects::NAMES.map(str::to_owned))]
    subjects: Vec<String>,
    /// How many small zones there are beside the large one.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(ZONES_MAX)))]
    zones: u32,
    /// How many zones there are in the case `udp-million`, which is measured only when it is asked for.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=ledger::ZONES_MAX))]
    million_zones: u64,
    /// How many records the zone has in the case `replaced`, which is measured only when it is asked for.
    #[arg(long, default_value_t = 999_990, value_parser = clap::value_parser!(u32).range(1..=999_990))]
    replaced_records: u32,
}

/// One kind of question.
struct Case {
    name: &'static str,
    questions: fn(&Zones) -> &Questions,
    transport: Transport,
}

/// The case at half of the peak, whose questions are those of the large zone.
const HALF_PEAK: &str = "udp-half-peak";

const CASES: &[Case] = &[
    Case { name: "udp-large-zone", questions: |zones| &zones.of_large, transport: Transport::Udp },
    Case { name: "udp-many-zones", questions: |zones| &zones.of_many, transport: Transport::Udp },
    Case { name: "tcp-large-zone", questions: |zones| &zones.of_large, transport: Transport::Tcp },
    Case { name: "udp-signed-zone", questions: |zones| &zones.of_signed, transport: Transport::UdpSigned },
    Case { name: "tls-large-zone", questions: |zones| &zones.of_large, transport: Transport::Tls },
    Case { name: "https-large-zone", questions: |zones| &zones.of_large, transport: Transport::Https },
];

/// Measures every case on every subject.
pub(crate) fn run(options: &Options) -> Result<Report> {
    crate::check_cores()?;
    match options.trials.case.as_str() {
        million::CASE => return million::run(options),
        replaced::CASE => return replaced::run(options),
        _ => {}
    }
    let folder = tempfile::tempdir().context("making a folder for the servers")?;
    let zones = Zones::make(folder.path(), options.zones)?;
    let mut subjects = Vec::new();
    for name in &options.subjects {
        subjects.push(Subject::start(name, &options.place.proxima, &zones, folder.path())?);
    }

    let mut report = Report::new("dns");
    for case in CASES.iter().filter(|case| case.name.starts_with(&options.trials.case)) {
        run_case(case, &zones, &subjects, options, &mut report)?;
    }
    if HALF_PEAK.starts_with(&options.trials.case) {
        half_peak(&zones, &subjects, options, folder.path(), &mut report)?;
    }
    for subject in &subjects {
        let mut resident_mib = 0.0;
        for server in subject.servers() {
            resident_mib += server.memory_mib("VmRSS")?;
        }
        report.add("after-load", subject.name, "resident_mib", resident_mib);
    }
    Ok(report)
}

fn run_case(
    case: &Case,
    zones: &Zones,
    subjects: &[Subject],
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let questions = (case.questions)(zones);
    let able = subjects.iter().filter_map(|subject| Some((subject, subject.address(case.transport)?)));
    let mut rounds: Vec<(&Subject, SocketAddr, Vec<Round>)> =
        able.map(|(subject, address)| (subject, address, Vec::new())).collect();
    for (subject, address, _) in &rounds {
        warm_up(*address, questions, case.transport)
            .with_context(|| format!("warming {} up", subject.name))?;
    }
    // In turns, so that whatever disturbs the machine for a while disturbs all of them.
    for _ in 0..options.trials.rounds {
        for (subject, address, measured) in &mut rounds {
            let round = measure(subject, *address, questions, case.transport, options.trials.seconds)
                .with_context(|| format!("{} under {}", subject.name, case.name))?;
            eprintln!("{:<16} {:<10} {}", case.name, subject.name, round.shown());
            measured.push(round);
        }
    }
    for (subject, _, measured) in &rounds {
        report.add_medians(case.name, subject.name, measured, &dnsperf::METRICS);
    }
    Ok(())
}

/// Asks for a second, so that a cache has what is asked for often; over HTTP it is looked first whether answers are right,
/// which the load does not see.
fn warm_up(address: SocketAddr, questions: &Questions, transport: Transport) -> Result<()> {
    if transport == Transport::Https {
        https::check(address, questions)?;
        return https::run(address, questions, 1).map(drop);
    }
    dnsperf::run(address, questions, transport, 1).map(drop)
}

/// What a subject did at half of its peak.
struct HalfPeak {
    questions_per_second: f64,
    p99_us: f64,
}

/// How long answers take while each subject is asked half of what it answers at its peak. The peak is looked for anew in
/// each round: what slows the machine down for a while is then in both.
fn half_peak(
    zones: &Zones,
    subjects: &[Subject],
    options: &Options,
    folder: &Path,
    report: &mut Report,
) -> Result<()> {
    let (questions, seconds) = (&zones.of_large, options.trials.seconds);
    let able = subjects.iter().filter_map(|subject| Some((subject, subject.address(Transport::Udp)?)));
    let mut rounds: Vec<(&Subject, SocketAddr, Vec<HalfPeak>)> =
        able.map(|(subject, address)| (subject, address, Vec::new())).collect();
    let told = folder.join("told");
    for _ in 0..options.trials.rounds {
        for (subject, address, measured) in &mut rounds {
            let half = dnsperf::run(*address, questions, Transport::Udp, seconds)?.per_second / 2.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "some 100,000 a second"
            )]
            let per_second = half as u32;
            let p99_us = dnsperf::p99_us(*address, questions, (per_second, seconds), &told)?;
            eprintln!("{HALF_PEAK:<16} {:<10} {per_second} questions/s: p99 {p99_us:.0} µs", subject.name);
            measured.push(HalfPeak { questions_per_second: half, p99_us });
        }
    }
    let metrics: [Metric<HalfPeak>; 2] = [
        ("p99_us", |measured| measured.p99_us),
        ("questions_per_second", |measured| measured.questions_per_second),
    ];
    for (subject, _, measured) in &rounds {
        report.add_medians(HALF_PEAK, subject.name, measured, &metrics);
    }
    Ok(())
}

fn measure(
    subject: &Subject,
    address: SocketAddr,
    questions: &Questions,
    transport: Transport,
    seconds: u64,
) -> Result<Round> {
    let servers = subject.servers();
    if transport == Transport::Https {
        return Round::measure(&servers, || https::run(address, questions, seconds));
    }
    let round = Round::measure(&servers, || dnsperf::run(address, questions, transport, seconds))?;
    round.load.check(if subject.says_nxdomain(transport) { questions.not_found_percent } else { 0.0 })?;
    Ok(round)
}

/// A question of the Internet's class without flags (RFC 1035, 4.1).
fn question(id: u16, name: &str, kind: u16) -> Result<Vec<u8>> {
    let mut message = [id, 0, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).context("a label has 63 octets at most")?);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend([kind, 1].map(u16::to_be_bytes).concat());
    Ok(message)
}

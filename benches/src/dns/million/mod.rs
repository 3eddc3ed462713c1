//! A million zones of ten records on one server: what they hold of memory, how they are answered the first time and later,
//! and how soon a change is.
//!
//! ```text
//!   one subject at a time:  fill ─▶ start ─▶ every zone asked once, all over ─▶ asked again ─▶ (Proxima) changed ─▶ asked
//!                                     │                │                           │             until it answers
//!                                memory, time     memory, cold                   warm
//! ```
//!
//! The zones are the same for all: SOA, two name servers, and [`RECORDS`]. Proxima's are in its log, which is filled directly
//! by large appends; its peers read them from one file, which is the same for each zone as names in it are relative. That
//! spares them a million files, and they share nothing of it in memory.
//!
//! Memory is what a server's processes hold: those of nsd share pages, each of which counts once ([`Server::shared_mib`]). What
//! is private is its own; the rest are pages of files, which the kernel takes back when it wants memory. Memory per million
//! records is of what is private.
//!
//! It takes half an hour and 15 GB of disk, and is therefore measured only when it is asked for by its name.

mod subjects;

use std::path::Path;
use std::time::Instant;
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::{Options, zones::Chance};
use crate::dnsperf::{self, METRICS, Questions, Round, Transport};
use crate::ledger::world;
use crate::process;
use crate::report::Report;
use subjects::{POLL, Subject, ask};

/// The case, by which alone it is measured.
pub(super) const CASE: &str = "udp-million";
const COLD: &str = "udp-million-cold";
const AFTER_CHANGE: &str = "udp-million-changed";
const MEMORY: &str = "million-memory";

/// What each zone has besides SOA and NS: name, type, content; `@` is the zone.
const RECORDS: [(&str, &str, &str); 10] = [
    ("@", "A", "10.1.2.3"),
    ("@", "AAAA", "2001:db8::1:2:3"),
    ("@", "MX", "10 mail"),
    ("@", "TXT", "\"v=spf1 mx -all\""),
    ("www", "A", "10.1.2.3"),
    ("www", "AAAA", "2001:db8::1:2:3"),
    ("mail", "A", "10.1.2.4"),
    ("mail", "AAAA", "2001:db8::1:2:4"),
    ("_dmarc", "TXT", "\"v=DMARC1; p=reject\""),
    ("_sip._tcp", "SRV", "10 5 5060 mail"),
];

/// Measures one subject after the other.
pub(super) fn run(options: &Options) -> Result<Report> {
    let zones = options.million_zones;
    // Beside the results and not in /tmp, which may be memory.
    fs::create_dir_all(&options.place.results).context("making the folder for the results")?;
    let folder = tempfile::tempdir_in(&options.place.results).context("making a folder for the servers")?;
    let questions = questions(folder.path(), zones)?;
    let mut report = Report::new("dns-million");
    let able = options.subjects.iter().filter(|name| subjects::NAMES.contains(&name.as_str()));
    for name in able {
        measure(name, options, &questions, folder.path(), &mut report)
            .with_context(|| format!("{name} with {zones} zones"))?;
    }
    Ok(report)
}

fn measure(
    name: &str,
    options: &Options,
    questions: &Questions,
    folder: &Path,
    report: &mut Report,
) -> Result<()> {
    let zones = options.million_zones;
    let home = folder.join(name);
    fs::create_dir_all(&home).with_context(|| format!("making the folder {}", home.display()))?;
    eprintln!("{name}: filling ...");
    let plan = subjects::fill(name, &options.place.proxima, zones, &home)?;
    let (subject, took) = Subject::start(plan, zones, &home)?;
    report.add(MEMORY, subject.name, "start_seconds", took.as_secs_f64());
    add_memory(&subject, "after_start", report)?;

    let once = || dnsperf::once(subject.address, questions, Transport::Udp);
    let cold = Round::measure(&[&subject.server], once)?;
    eprintln!("{COLD:<20} {:<8} {}", subject.name, cold.shown());
    cold.load.check(questions.not_found_percent)?;
    report.add_medians(COLD, subject.name, &[cold], &METRICS);
    let private = add_memory(&subject, "all_asked", report)?;
    let million_records = zones as f64 * RECORDS.len() as f64 / 1e6;
    report.add(MEMORY, subject.name, "private_mib_per_million_records", private / million_records);
    report.add(MEMORY, subject.name, "data_mib", octets_below(&home)? as f64 / f64::from(1 << 20));

    warm(CASE, &subject, options, questions, report)?;
    if subject.api.is_some() {
        let visible = change(&subject, zones / 2)?;
        report.add(AFTER_CHANGE, subject.name, "visible_after_ms", visible * 1e3);
        warm(AFTER_CHANGE, &subject, options, questions, report)?;
    }
    drop(subject);
    fs::remove_dir_all(&home).with_context(|| format!("removing the folder {}", home.display()))
}

/// Asks for the same again and again.
fn warm(
    case: &str,
    subject: &Subject,
    options: &Options,
    questions: &Questions,
    report: &mut Report,
) -> Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..options.trials.rounds {
        let load = || dnsperf::run(subject.address, questions, Transport::Udp, options.trials.seconds);
        let round = Round::measure(&[&subject.server], load)?;
        eprintln!("{case:<20} {:<8} {}", subject.name, round.shown());
        round.load.check(questions.not_found_percent)?;
        rounds.push(round);
    }
    report.add_medians(case, subject.name, &rounds, &METRICS);
    Ok(())
}

/// Memory that is private, and pages of files; the first of it in MiB.
fn add_memory(subject: &Subject, when: &str, report: &mut Report) -> Result<f64> {
    let private = subject.server.shared_mib("Pss_Anon")?;
    let files = subject.server.shared_mib("Pss_File")?;
    eprintln!("{MEMORY:<20} {:<8} {when}: {private:.0} MiB private, {files:.0} MiB of files", subject.name);
    report.add(MEMORY, subject.name, &format!("{when}_private_mib"), private);
    report.add(MEMORY, subject.name, &format!("{when}_files_mib"), files);
    Ok(private)
}

/// Adds a record to a zone by the API: how long, in seconds, until it is answered.
fn change(subject: &Subject, zone: u64) -> Result<f64> {
    let client = subject.api.as_ref().context("it has an API")?;
    let name = world::name(zone);
    let host = format!("new.{name}");
    let zone = world::zone(zone, subject.account)?.id;
    ensure!(ask(subject.address, &host)? == Some(subjects::NXDOMAIN), "{host} is there already");
    let record = json!({"type": "A", "name": host, "content": "10.9.9.9", "ttl": 60});
    let start = Instant::now();
    client.client().make(&format!("zones/{zone}/dns_records"), &record)?;
    while ask(subject.address, &host)? != Some(subjects::NOERROR) {
        if start.elapsed() > dnsperf::PATIENCE {
            bail!("{host} is not answered");
        }
        thread::sleep(POLL);
    }
    Ok(start.elapsed().as_secs_f64())
}

/// One question for each zone, all over them.
fn questions(folder: &Path, zones: u64) -> Result<Questions> {
    let (mut chance, mut text, mut not_found) = (Chance(1), String::new(), 0_u32);
    for number in scattered(zones) {
        let name = world::name(number);
        let (question, found) = match chance.below(100) {
            0..25 => (format!("{name} A"), true),
            25..50 => (format!("www.{name} A"), true),
            50..65 => (format!("www.{name} AAAA"), true),
            65..75 => (format!("{name} MX"), true),
            75..82 => (format!("{name} TXT"), true),
            82..90 => (format!("{name} NS"), true),
            _ => (format!("nothing{}.{name} A", chance.below(1_000_000)), false),
        };
        text += &question;
        text.push('\n');
        not_found += u32::from(!found);
    }
    let file = folder.join("questions");
    process::write(&file, text)?;
    Ok(Questions { file, not_found_percent: f64::from(not_found) * 100.0 / zones as f64 })
}

/// The numbers below `end`, each once and far from those before.
fn scattered(end: u64) -> impl Iterator<Item = u64> {
    // A prime that divides no number of zones that there may be.
    const STEP: u64 = 1_000_000_007;
    (0..end).map(move |number| number * STEP % end)
}

fn octets_below(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut octets = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("reading the folder {}", folder.display()))? {
        let (path, data) = {
            let entry = entry?;
            (entry.path(), entry.metadata()?)
        };
        // What is allocated: a store's file has holes.
        octets += if data.is_dir() { octets_below(&path)? } else { data.blocks() * 512 };
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_zone_is_asked_for_once_and_not_in_order() {
        for zones in [1, 7, 1_000] {
            let numbers: Vec<u64> = scattered(zones).collect();
            assert_eq!(numbers.iter().copied().collect::<BTreeSet<_>>().len() as u64, zones);
        }
        assert!(!scattered(1_000).is_sorted());
        let folder = tempfile::tempdir().unwrap();
        let questions = questions(folder.path(), 1_000).unwrap();
        assert_eq!(fs::read_to_string(&questions.file).unwrap().lines().count(), 1_000);
        assert!((5.0..15.0).contains(&questions.not_found_percent));
    }
}

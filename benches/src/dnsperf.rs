//! dnsperf, and what it prints.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{self, LOAD_CORE, Server};
use crate::report::Metric;
use crate::statistics::percentile;

/// Questions that are under way at a time: enough to keep a core busy, and fewer than a socket's buffer holds.
const OUTSTANDING: u32 = 100;
/// An answer that has not come by then is lost.
const TIMEOUT_SECONDS: u32 = 5;
/// How long is waited for what should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Of a hundred answers so many may be lost: a datagram for which a socket has no room.
const LOST_PERCENT_MAX: f64 = 1.0;
/// Sockets, or connections, from which they come.
const CLIENTS: u32 = 16;

/// What is asked.
pub(crate) struct Questions {
    /// A name and a type on each line.
    pub(crate) file: PathBuf,
    /// How many of a hundred are for names that are not there.
    pub(crate) not_found_percent: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    /// UDP, with the flag DO: signatures are wanted.
    UdpSigned,
    Tcp,
    /// DNS over TLS.
    Tls,
    /// DNS over HTTPS, by HTTP/2; dnsperf itself is not asked to speak it.
    Https,
}

/// What came of a load.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) answers: u64,
    pub(crate) lost_percent: f64,
    /// NOERROR.
    pub(crate) found_percent: f64,
    /// NXDOMAIN.
    pub(crate) not_found_percent: f64,
    pub(crate) per_second: f64,
    /// On average.
    pub(crate) latency_us: f64,
}

impl Load {
    /// That the subject did the work that it is measured by.
    pub(crate) fn check(&self, not_found_percent: f64) -> Result<()> {
        if self.answers == 0 || self.lost_percent > LOST_PERCENT_MAX {
            bail!("{} answers came, and {} % were lost", self.answers, self.lost_percent);
        }
        let others = 100.0 - self.found_percent - self.not_found_percent;
        let wrong = (self.not_found_percent - not_found_percent).abs();
        if others > 0.1 || wrong > 1.0 {
            bail!(
                "{:.1} % of the names were not there instead of {:.1} %, and {others:.1} % were answered otherwise",
                self.not_found_percent,
                not_found_percent
            );
        }
        Ok(())
    }
}

/// One load on one server.
pub(crate) struct Round {
    pub(crate) load: Load,
    cpu_us_per_answer: f64,
}

/// What tells of one.
pub(crate) const METRICS: [Metric<Round>; 3] = [
    ("cpu_us_per_answer", |round| round.cpu_us_per_answer),
    ("answers_per_second", |round| round.load.per_second),
    ("latency_us", |round| round.load.latency_us),
];

impl Round {
    /// Puts the load on a subject; processor time is that of its servers alone.
    pub(crate) fn measure(servers: &[&Server], load: impl FnOnce() -> Result<Load>) -> Result<Self> {
        let used = || servers.iter().map(|server| server.cpu()).sum::<Result<Duration>>();
        let before = used()?;
        let load = load()?;
        let cpu = used()? - before;
        Ok(Self { cpu_us_per_answer: cpu.as_secs_f64() * 1e6 / load.answers as f64, load })
    }

    pub(crate) fn shown(&self) -> String {
        let Load { per_second, latency_us, .. } = self.load;
        format!(
            "{:>7.2} µs CPU per answer {per_second:>9.0} answers/s {latency_us:>8.0} µs on average",
            self.cpu_us_per_answer
        )
    }
}

/// Asks again and again, as fast as it is answered.
pub(crate) fn run(
    address: SocketAddr,
    questions: &Questions,
    transport: Transport,
    seconds: u64,
) -> Result<Load> {
    let mut dnsperf = dnsperf(address, questions, transport);
    result(dnsperf.args(["-l", &seconds.to_string()]))
}

/// Asks each question once, as fast as they are answered.
pub(crate) fn once(address: SocketAddr, questions: &Questions, transport: Transport) -> Result<Load> {
    result(dnsperf(address, questions, transport).args(["-n", "1"]))
}

fn result(dnsperf: &Command) -> Result<Load> {
    let printed = process::output(LOAD_CORE, dnsperf)?;
    parse(&printed).with_context(|| format!("dnsperf printed no result: {printed}"))
}

/// Asks so often in a second; how long the slowest answer of the faster 99 of 100 took, in µs. `told` is a file for what
/// dnsperf tells of each question: a pipe would make it wait for its reader.
pub(crate) fn p99_us(
    address: SocketAddr,
    questions: &Questions,
    (per_second, seconds): (u32, u64),
    told: &Path,
) -> Result<f64> {
    let mut dnsperf = dnsperf(address, questions, Transport::Udp);
    dnsperf.args(["-l", &seconds.to_string(), "-v", "-Q", &per_second.to_string()]);
    Ok(percentile(&mut told_latencies_us(&dnsperf, told)?, 0.99))
}

/// Asks each question once, so many in a second; how long each answer took, in µs. Every one has to find what there is.
pub(crate) fn latencies_us(
    address: SocketAddr,
    questions: &Questions,
    per_second: u32,
    told: &Path,
) -> Result<Vec<f64>> {
    let mut dnsperf = dnsperf(address, questions, Transport::Udp);
    dnsperf.args(["-n", "1", "-v", "-Q", &per_second.to_string()]);
    let latencies = told_latencies_us(&dnsperf, told)?;
    let printed = fs::read_to_string(told).with_context(|| format!("reading {}", told.display()))?;
    let load = parse(&printed).context("dnsperf printed no result")?;
    load.check(questions.not_found_percent)?;
    Ok(latencies)
}

fn told_latencies_us(dnsperf: &Command, told: &Path) -> Result<Vec<f64>> {
    process::output_to(LOAD_CORE, dnsperf, told)?;
    let text = fs::read_to_string(told).with_context(|| format!("reading {}", told.display()))?;
    let latencies: Vec<f64> = text.lines().filter_map(latency_us).collect();
    anyhow::ensure!(!latencies.is_empty(), "dnsperf told no latencies");
    Ok(latencies)
}

/// Of a line like `> NOERROR www.example A 0.000123`; one that was never answered counts as long as it was waited for.
fn latency_us(line: &str) -> Option<f64> {
    let rest = line.strip_prefix("> ")?;
    if rest.starts_with("T ") {
        return Some(f64::from(TIMEOUT_SECONDS) * 1e6);
    }
    rest.split(' ').next_back()?.parse::<f64>().ok().map(|seconds| seconds * 1e6)
}

fn dnsperf(address: SocketAddr, questions: &Questions, transport: Transport) -> Command {
    let mut dnsperf = Command::new("dnsperf");
    dnsperf.args(["-s", &address.ip().to_string(), "-p", &address.port().to_string()]);
    dnsperf.arg("-d").arg(&questions.file);
    dnsperf.args(["-t", &TIMEOUT_SECONDS.to_string(), "-T", "1"]);
    dnsperf.args(["-c", &CLIENTS.to_string(), "-q", &OUTSTANDING.to_string()]);
    let mode = match transport {
        Transport::Udp | Transport::UdpSigned => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "dot",
        Transport::Https => "doh",
    };
    dnsperf.args(["-m", mode]);
    if transport == Transport::UdpSigned {
        dnsperf.arg("-D");
    }
    dnsperf
}

fn parse(printed: &str) -> Option<Load> {
    let after = |label: &str| {
        let rest = printed.lines().find_map(|line| line.trim_start().strip_prefix(label))?;
        Some(rest.trim_start())
    };
    let number = |text: &str| text.split([' ', '(']).next()?.parse::<f64>().ok();
    let percent = |text: &str| text.split('(').nth(1)?.split('%').next()?.parse::<f64>().ok();
    let codes = after("Response codes:").unwrap_or_default();
    let share = |code: &str| {
        let found = codes.split(", ").find(|part| part.split(' ').next() == Some(code));
        found.and_then(percent).unwrap_or_default()
    };
    Some(Load {
        answers: after("Queries completed:")?.split(' ').next()?.parse().ok()?,
        lost_percent: percent(after("Queries lost:")?)?,
        found_percent: share("NOERROR"),
        not_found_percent: share("NXDOMAIN"),
        per_second: number(after("Queries per second:")?)?,
        latency_us: number(after("Average Latency (s):")?)? * 1e6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dnsperf_prints_is_read() {
        let printed = "Statistics:\n\n  Queries sent:         238942\n  Queries completed:    238842 (99.96%)\n  \
                       Queries lost:         100 (0.04%)\n\n  Response codes:       NOERROR 179132 (75.00%), NXDOMAIN \
                       59710 (25.00%)\n  Average packet size:  request 40, response 80\n  Run time (s):         \
                       1.000123\n  Queries per second:   238812.625527\n\n  Average Latency (s):  0.000250 (min 0.000017, \
                       max 0.011131)\n  Latency StdDev (s):   0.000128\n";
        let load = parse(printed).unwrap();
        assert_eq!(load.answers, 238_842);
        assert_eq!((load.lost_percent, load.found_percent, load.not_found_percent), (0.04, 75.0, 25.0));
        assert!((load.per_second - 238_812.625_527).abs() < 1e-6 && (load.latency_us - 250.0).abs() < 1e-6);
        assert_eq!(parse("Error: no server"), None);
    }

    #[test]
    fn latencies_are_read_question_by_question() {
        assert_eq!(latency_us("> NOERROR www.example A 0.000250"), Some(250.0));
        assert_eq!(latency_us("> T www.example A"), Some(5e6));
        assert_eq!(latency_us("Statistics:"), None);
    }

    #[test]
    fn a_subject_that_answers_something_else_is_not_measured() {
        let good = Load {
            answers: 1000,
            lost_percent: 0.0,
            found_percent: 75.0,
            not_found_percent: 25.0,
            per_second: 1.0,
            latency_us: 1.0,
        };
        assert!(good.check(25.0).is_ok());
        let lost = Load { lost_percent: 5.0, ..good.clone() };
        let refused = Load { found_percent: 0.0, not_found_percent: 0.0, ..good.clone() };
        let silent = Load { answers: 0, ..good.clone() };
        let all_there = Load { found_percent: 100.0, not_found_percent: 0.0, ..good };
        for bad in [lost, refused, silent, all_there] {
            assert!(bad.check(25.0).is_err(), "{bad:?}");
        }
    }
}

//! The load over HTTPS (RFC 8484): h2load, by HTTP/2, GET.
//!
//! ```text
//!  questions ─▶ URLs ─▶ h2load, PART by PART ─▶ answers, status codes, times
//!          └─▶ curl: are the answers right? beforehand, because h2load does not look into them
//! ```
//!
//! Each of h2load's connections asks the questions of a part in their order; a part is so long that no server ends the
//! connection before, which h2load would not open again. Opening them is in the time measured: one handshake for thousands of
//! questions.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{question, subjects::HTTPS_NAME};
use crate::dnsperf::{Load, Questions};
use crate::process::{self, LOAD_CORE};

/// Connections, as many as dnsperf has.
const CONNECTIONS: usize = 16;
/// Questions under way on each: together about as many as dnsperf has.
const STREAMS: usize = 6;
/// Questions of each connection: fewer than the least after which a server ends one.
const PART: usize = 5_000;
/// Questions whose answers are looked at.
const CHECKED: usize = 200;
/// So far these may be from what all of them have, by chance: three times what chance makes of as many.
const WRONG_PERCENT_MAX: f64 = 10.0;

/// What answers were like.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Codes {
    /// NOERROR.
    pub(super) found: usize,
    /// NXDOMAIN.
    pub(super) not_found: usize,
}

/// Asks some of the questions, and looks whether as many names as there should be are not there.
pub(super) fn check(address: SocketAddr, questions: &Questions) -> Result<()> {
    let text = fs::read_to_string(&questions.file).context("reading the questions")?;
    let asked: Vec<String> = text.lines().take(CHECKED).map(str::to_owned).collect();
    let codes = answers(address, &asked)?;
    ensure!(codes.found + codes.not_found == asked.len(), "of {} questions came {codes:?}", asked.len());
    let percent = codes.not_found as f64 * 100.0 / asked.len() as f64;
    ensure!(
        (percent - questions.not_found_percent).abs() < WRONG_PERCENT_MAX,
        "{percent} % of the names were not there instead of {} %",
        questions.not_found_percent
    );
    Ok(())
}

/// Asks them by curl, one after the other on one connection.
pub(super) fn answers(address: SocketAddr, questions: &[String]) -> Result<Codes> {
    let folder = tempfile::tempdir().context("making a folder for answers")?;
    let file = |number: usize| folder.path().join(number.to_string());
    let (list, mut text) = (folder.path().join("urls"), String::new());
    for (number, question) in questions.iter().enumerate() {
        let _ = writeln!(text, "url = {:?}\noutput = {:?}", url(question)?, file(number));
    }
    fs::write(&list, text).context("writing the URLs")?;
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--insecure", "--max-time", "20"]);
    curl.arg("--connect-to").arg(format!("::{address}")).arg("--config").arg(&list);
    process::output(LOAD_CORE, &curl)?;
    let mut codes = Codes { found: 0, not_found: 0 };
    for (number, question) in questions.iter().enumerate() {
        let answer = fs::read(file(number)).context("reading an answer")?;
        // A code has four bits of the header's fourth octet (RFC 1035, 4.1.1).
        match answer.get(3).context("an answer without a header")? & 0xf {
            0 => codes.found += 1,
            3 => codes.not_found += 1,
            other => bail!("the code {other} for {question}"),
        }
    }
    Ok(codes)
}

/// Asks for so long, as fast as it is answered.
pub(super) fn run(address: SocketAddr, questions: &Questions, seconds: u64) -> Result<Load> {
    let text = fs::read_to_string(&questions.file).context("reading the questions")?;
    let urls = text.lines().map(url).collect::<Result<Vec<_>>>()?;
    let list = questions.file.with_extension("urls");
    let (begun, mut loads) = (Instant::now(), Vec::new());
    for part in urls.chunks(PART).cycle() {
        fs::write(&list, part.join("\n")).context("writing the URLs")?;
        let mut h2load = Command::new("h2load");
        h2load.args(["--threads=1", &format!("--clients={CONNECTIONS}")]);
        h2load.arg(format!("--max-concurrent-streams={STREAMS}"));
        h2load.arg(format!("--requests={}", CONNECTIONS * part.len()));
        h2load.args(["--header=accept: application/dns-message", &format!("--connect-to={address}")]);
        h2load.arg("--input-file").arg(&list);
        let printed = process::output(LOAD_CORE, &h2load)?;
        let load = parse(&printed).with_context(|| format!("h2load printed no result: {printed}"))?;
        load.check(CONNECTIONS * part.len())?;
        loads.push(load);
        if begun.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
    }
    Ok(sum(&loads))
}

/// The URL of a line of questions: a name and a type.
fn url(line: &str) -> Result<String> {
    let (name, kind) = line.split_once(' ').context("a type")?;
    let kind: u16 = match kind {
        "A" => 1,
        "NS" => 2,
        "SOA" => 6,
        "MX" => 15,
        "TXT" => 16,
        "AAAA" => 28,
        "SRV" => 33,
        _ => bail!("no question here is for {kind}"),
    };
    // By this ID caches know it again (RFC 8484, 4.1).
    let message = question(0, name, kind)?;
    Ok(format!("https://{HTTPS_NAME}/dns-query?dns={}", URL_SAFE_NO_PAD.encode(message)))
}

/// What one h2load did.
#[derive(Debug, PartialEq)]
struct Part {
    /// With a status of success.
    answers: u64,
    took: f64,
    latency_us: f64,
}

impl Part {
    fn check(&self, requests: usize) -> Result<()> {
        ensure!(self.answers == requests as u64, "{} of {requests} questions were answered", self.answers);
        Ok(())
    }
}

fn sum(parts: &[Part]) -> Load {
    let answers: u64 = parts.iter().map(|part| part.answers).sum();
    let took: f64 = parts.iter().map(|part| part.took).sum();
    let waited: f64 = parts.iter().map(|part| part.latency_us * part.answers as f64).sum();
    Load {
        answers,
        lost_percent: 0.0,
        found_percent: 0.0,
        not_found_percent: 0.0,
        per_second: answers as f64 / took,
        latency_us: waited / answers as f64,
    }
}

fn parse(printed: &str) -> Option<Part> {
    let after = |label: &str| printed.lines().find_map(|line| line.strip_prefix(label)).map(str::trim_start);
    let took = after("finished in ")?.split(',').next()?;
    let answers = after("status codes: ")?.split(' ').next()?.parse().ok()?;
    let mean = after("time for request: ")?.split_whitespace().nth(2)?;
    Some(Part { answers, took: micros(took)? / 1e6, latency_us: micros(mean)? })
}

/// A time as h2load writes it: `2.51s`, `812us`, `3.20ms`.
fn micros(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    units.iter().find_map(|(unit, micros)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_h2load_prints_is_read() {
        let printed = "finished in 2.50s, 32000.00 req/s, 1.20MB/s\nrequests: 80000 total, 80000 started, 80000 done, \
                       80000 succeeded, 0 failed, 0 errored, 0 timeout\nstatus codes: 80000 2xx, 0 3xx, 0 4xx, 0 \
                       5xx\ntraffic: 1B\n                     min         max         mean         sd        +/- \
                       sd\ntime for request:       61us     50.27ms      2.93ms       1.11ms    81.00%\n";
        let part = parse(printed).unwrap();
        assert_eq!(part, Part { answers: 80_000, took: 2.5, latency_us: 2_930.0 });
        assert!(part.check(80_000).is_ok() && part.check(80_001).is_err());
        let slower = Part { answers: 40_000, took: 5.0, latency_us: 5_930.0 };
        let load = sum(&[part, slower]);
        assert_eq!((load.answers, load.per_second, load.latency_us), (120_000, 16_000.0, 3_930.0));
        assert_eq!(parse("finished in 2.50s\n"), None);
    }

    #[test]
    fn a_question_is_a_url_as_the_standard_has_it() {
        // RFC 8484, 4.1.1, but for the flag RD.
        let url = url("www.example.com A").unwrap();
        assert_eq!(
            url,
            "https://ns1.proxima.test/dns-query?dns=AAAAAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB"
        );
        assert!(self::url("www.example.com CNAME").is_err());
    }
}

//! The load: wrk over clear HTTP/1.1, h2load over HTTP/2 and TLS.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::{HOST, LOAD_CORE};
use crate::process;
use crate::statistics::percentile;

/// Enough to keep one core busy, few enough that requests do not queue for long.
const CONNECTIONS: &str = "16";
/// h2load is told a number of requests, not a time: about what a core serves over TLS.
const H2_REQUESTS_PER_SECOND: u64 = 5_000;
/// A large answer counts as so many.
const LARGE_DIVISOR: u64 = 200;
/// Handshakes that a core makes in a second, about.
const HANDSHAKES_PER_SECOND: u64 = 400;
/// Servers end a connection after some thousands of requests, and h2load does not open another: fewer than the least
/// of them (10,000).
const H2_REQUESTS_PER_CONNECTION: u64 = 5_000;
/// Asks for each URL once (the first argument makes those of this run its own), or always for the same; at the end
/// prints what we need in one line.
const WRK_SCRIPT: &str = r#"
local path, seed, count
function init(args)
  path, seed, count = wrk.path, args[1], 0
end
function request()
  if seed == "same" then return wrk.format(nil, path) end
  count = count + 1
  return wrk.format(nil, path .. "?" .. seed .. "-" .. count)
end
function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("RESULT %d %d %d %f %f\n", summary.requests, failed, summary.duration,
    latency:percentile(50), latency:percentile(99)))
end
"#;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Generator {
    /// HTTP/1.1 in clear.
    Wrk,
    /// HTTP/1.1 by TLS.
    H1Tls,
    /// HTTP/2 by TLS.
    H2load,
    /// A TLS handshake for each request.
    Handshakes,
}

/// What is asked for.
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) path: &'static str,
    /// Each URL once.
    pub(super) unique: bool,
    /// Whether an answer is so large that few of them make a load.
    pub(super) large: bool,
}

impl Target {
    /// So many requests of usual answers take as long as these.
    fn requests(&self, usual: u64) -> u64 {
        if self.large { (usual / LARGE_DIVISOR).max(1) } else { usual }
    }
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub(super) struct Load {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) seconds: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

impl Generator {
    pub(super) fn run(self, target: &Target, seconds: u64) -> Result<Load> {
        match self {
            Self::Wrk => wrk(target, seconds),
            Self::H1Tls => h2load(target, self, target.requests(seconds * H2_REQUESTS_PER_SECOND)),
            Self::H2load => h2load(target, self, target.requests(seconds * H2_REQUESTS_PER_SECOND)),
            Self::Handshakes => h2load(target, self, seconds * HANDSHAKES_PER_SECOND),
        }
    }
}

fn wrk(target: &Target, seconds: u64) -> Result<Load> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("load.lua");
    fs::write(&script, WRK_SCRIPT).context("writing wrk's script")?;
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--connections", CONNECTIONS, "--timeout", "5s"]);
    wrk.arg("--duration").arg(format!("{seconds}s")).arg("--script").arg(&script);
    // In this spelling: in any other, wrk would send a second one of its own.
    wrk.arg("--header").arg(format!("Host: {HOST}"));
    wrk.arg(format!("http://{}{}", target.address, target.path)).arg("--");
    wrk.arg(if target.unique { seed()? } else { "same".to_owned() });
    let printed = process::output(LOAD_CORE, &wrk)?;
    parse_wrk(&printed).with_context(|| format!("wrk printed no result: {printed}"))
}

fn parse_wrk(printed: &str) -> Option<Load> {
    let mut numbers =
        printed.lines().find_map(|line| line.strip_prefix("RESULT "))?.split(' ').map(str::parse::<f64>);
    let mut next = || numbers.next()?.ok();
    let (requests, errors, duration_us) = (next()?, next()?, next()?);
    let (p50_us, p99_us) = (next()?, next()?);
    Some(Load {
        requests: whole(requests)?,
        errors: whole(errors)?,
        seconds: duration_us / 1e6,
        p50_us,
        p99_us,
    })
}

fn whole(number: f64) -> Option<u64> {
    format!("{number:.0}").parse().ok()
}

/// One connection after the other, whose streams walk one list: no two of them ask for one URL at a time.
fn h2load(target: &Target, generator: Generator, requests: u64) -> Result<Load> {
    let mut answers = Answers::default();
    let mut left = requests;
    while left > 0 {
        let now = left.min(H2_REQUESTS_PER_CONNECTION);
        answers.read(&h2load_connection(target, generator, now)?).context("h2load's log is not one")?;
        left -= now;
    }
    Ok(answers.into_load(requests))
}

/// What h2load logged of `requests`, over one connection of HTTP/2, over some of HTTP/1.1, or each over its own.
fn h2load_connection(target: &Target, generator: Generator, requests: u64) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let (list, log) = (folder.path().join("urls"), folder.path().join("log"));
    let seed = seed()?;
    let url = |number: u64| match target.unique {
        true => format!("https://{HOST}{}?{seed}-{number}\n", target.path),
        false => format!("https://{HOST}{}\n", target.path),
    };
    fs::write(&list, (0..requests).map(url).collect::<String>()).context("writing the list of URLs")?;
    let mut h2load = Command::new("h2load");
    h2load.arg("--threads=1");
    match generator {
        Generator::H1Tls => h2load.args(["--h1", "--clients", CONNECTIONS]),
        Generator::Handshakes => h2load.arg("--h1").arg(format!("--clients={requests}")),
        _ => h2load.args(["--clients=1", "--max-concurrent-streams", CONNECTIONS]),
    };
    h2load.arg(format!("--requests={requests}")).arg(format!("--connect-to={}", target.address));
    h2load.arg("--input-file").arg(&list).arg(format!("--log-file={}", log.display()));
    process::output(LOAD_CORE, &h2load)?;
    fs::read_to_string(&log).context("reading h2load's log")
}

/// Answers, as h2load logged them.
#[derive(Default)]
struct Answers {
    latencies_us: Vec<f64>,
    succeeded: u64,
    seconds: f64,
}

impl Answers {
    /// Adds those of one connection. One line for each: start in µs, status (or -1), time until its end in µs.
    fn read(&mut self, log: &str) -> Option<()> {
        let (mut first, mut last) = (f64::MAX, 0.0_f64);
        for line in log.lines() {
            let mut fields = line.split('\t');
            let start: f64 = fields.next()?.parse().ok()?;
            let status = fields.next()?;
            let took: f64 = fields.next()?.parse().ok()?;
            self.succeeded += u64::from(status == "200");
            self.latencies_us.push(took);
            first = first.min(start);
            last = last.max(start + took);
        }
        self.seconds += (last - first).max(0.0) / 1e6;
        Some(())
    }

    /// Those of `requests` that were not answered are errors.
    fn into_load(mut self, requests: u64) -> Load {
        Load {
            requests,
            errors: requests - self.succeeded.min(requests),
            seconds: self.seconds,
            p50_us: percentile(&mut self.latencies_us, 0.5),
            p99_us: percentile(&mut self.latencies_us, 0.99),
        }
    }
}

/// Makes the URLs of one run its own.
#[allow(clippy::disallowed_methods, reason = "any number that no other run had")]
fn seed() -> Result<String> {
    Ok(SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?
        .as_nanos()
        .to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_script_of_wrk_prints_is_read() {
        let printed = "Running 2s test\nRESULT 120000 3 2000000 97.000000 1230.000000\n";
        let expected = Load { requests: 120_000, errors: 3, seconds: 2.0, p50_us: 97.0, p99_us: 1230.0 };
        assert_eq!(parse_wrk(printed), Some(expected));
        assert_eq!(parse_wrk("unable to connect"), None);
    }

    #[test]
    fn requests_that_h2load_did_not_see_answered_are_errors() {
        let mut answers = Answers::default();
        answers.read("1000000\t200\t100\n1000100\t200\t300\n").unwrap();
        answers.read("1500000\t502\t500000\n").unwrap();
        let load = answers.into_load(4);
        assert_eq!((load.requests, load.errors), (4, 2));
        assert_eq!(load.seconds, 0.5004);
        assert_eq!(load.p50_us, 300.0);
        assert_eq!(Answers::default().read("not a log"), None);
    }
}

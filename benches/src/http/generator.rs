//! What makes the load: wrk over clear HTTP/1.1, h2load over TLS, our own program over HTTP/3.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::{HOST, LOAD_CORE};
use crate::load::{self, Load};
use crate::process;

/// Enough to keep one core busy, few enough that requests do not queue for long.
const CONNECTIONS: &str = "16";
/// Requests of a load that only finds out how many a second there are, where a generator is told a number and not a time.
const TRIAL_REQUESTS: u64 = 50;
/// Servers end a connection after some thousands of requests, and h2load does not open another: fewer than the least
/// of them (10,000).
const REQUESTS_PER_CONNECTION: u64 = 5_000;
/// Handshakes that are asked for at once: more would wait in the queue of a listener.
const HANDSHAKES_AT_ONCE: u64 = 400;
/// Asks for each URL once (the first argument makes those of this run its own), always for the same, or for any of some
/// (the second argument); at the end prints what we need in one line.
const WRK_SCRIPT: &str = r#"
local path, seed, of, count
function init(args)
  path, seed, of, count = wrk.path, args[1], tonumber(args[2]), 0
  math.randomseed(tonumber(seed) % 2147483647)
end
function request()
  if of == 1 then return wrk.format(nil, path) end
  if of > 1 then return wrk.format(nil, path .. "?" .. math.random(of)) end
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
pub(crate) enum Generator {
    /// HTTP/1.1 in clear.
    Wrk,
    /// HTTP/1.1 by TLS.
    H1Tls,
    /// HTTP/2 by TLS.
    H2load,
    /// HTTP/3.
    Http3,
    /// A TLS handshake for each request.
    Handshakes,
}

/// How many URLs there are, which differ by their queries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urls {
    /// One.
    Same,
    /// Each is asked for once.
    Unique,
    /// `?1` up to this number, in no order.
    Any(u32),
}

/// What is asked for.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    pub(crate) urls: Urls,
}

impl Generator {
    /// Makes a load of about `seconds`; `trial` is one that was made before, and tells how fast it goes.
    pub(crate) fn run(self, target: &Target, seconds: u64, trial: &Load) -> Result<Load> {
        let took_us = u64::try_from(Duration::from_secs_f64(trial.seconds).as_micros()).unwrap_or(u64::MAX);
        let requests = trial.requests * seconds * 1_000_000 / took_us.max(1);
        self.run_some(target, seconds, requests.max(TRIAL_REQUESTS))
    }

    /// A short load, which also fills connections, caches and branch predictors: once to have them filled, and once more
    /// to see how fast it goes.
    pub(crate) fn trial(self, target: &Target) -> Result<Load> {
        let first = self.run_some(target, 1, TRIAL_REQUESTS)?;
        if self == Self::Wrk { Ok(first) } else { self.run(target, 1, &first) }
    }

    fn run_some(self, target: &Target, seconds: u64, requests: u64) -> Result<Load> {
        match self {
            Self::Wrk => wrk(target, seconds),
            Self::Http3 => http3(target, requests),
            Self::H1Tls | Self::H2load | Self::Handshakes => h2load(target, self, requests),
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
    let of = match target.urls {
        Urls::Unique => 0,
        Urls::Same => 1,
        Urls::Any(of) => of,
    };
    wrk.arg(seed()?).arg(of.to_string());
    load::output(LOAD_CORE, &wrk)
}

fn http3(target: &Target, requests: u64) -> Result<Load> {
    let mut program = load::program("http3", target.address, HOST)?;
    program.args(["--path", target.path, "--streams", CONNECTIONS, "--requests", &requests.to_string()]);
    program.args(["--per-connection", &REQUESTS_PER_CONNECTION.to_string()]);
    load::output(LOAD_CORE, &program)
}

/// As few connections after each other as servers allow, whose streams walk one list: no two of them ask for one URL at a
/// time.
fn h2load(target: &Target, generator: Generator, requests: u64) -> Result<Load> {
    let mut answers = Answers::default();
    let mut left = requests;
    let at_once = match generator {
        Generator::H1Tls => CONNECTIONS.parse::<u64>().unwrap_or(1) * REQUESTS_PER_CONNECTION,
        Generator::Handshakes => HANDSHAKES_AT_ONCE,
        _ => REQUESTS_PER_CONNECTION,
    };
    while left > 0 {
        let now = left.min(at_once);
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
    let url = |number: u64| match target.urls {
        Urls::Same => format!("https://{HOST}{}\n", target.path),
        Urls::Unique => format!("https://{HOST}{}?{seed}-{number}\n", target.path),
        Urls::Any(of) => format!("https://{HOST}{}?{}\n", target.path, number % u64::from(of) + 1),
    };
    fs::write(&list, (0..requests).map(url).collect::<String>()).context("writing the list of URLs")?;
    let mut h2load = Command::new("h2load");
    h2load.arg("--threads=1");
    match generator {
        Generator::H1Tls => h2load.args(["--h1", "--clients", CONNECTIONS]),
        Generator::Handshakes => h2load.args(["--h1", &format!("--clients={requests}")]),
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
        let errors = requests - self.succeeded.min(requests);
        Load::new(requests, errors, Duration::from_secs_f64(self.seconds), &mut self.latencies_us)
    }
}

/// Makes the URLs of one run its own.
#[allow(clippy::disallowed_methods, reason = "any number that no other run had")]
pub(crate) fn seed() -> Result<String> {
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

//! dnsperf, and what it prints.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result};

use super::zones::Questions;
use crate::process::{self, LOAD_CORE};

/// Questions that are under way at a time: enough to keep a core busy, and fewer than a socket's buffer holds.
const OUTSTANDING: u32 = 100;
/// Sockets, or connections, from which they come.
const CLIENTS: u32 = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What came of a load.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Load {
    pub(super) answers: u64,
    pub(super) lost_percent: f64,
    /// NOERROR.
    pub(super) found_percent: f64,
    /// NXDOMAIN.
    pub(super) not_found_percent: f64,
    pub(super) per_second: f64,
    /// On average.
    pub(super) latency_us: f64,
}

/// Asks again and again, as fast as it is answered.
pub(super) fn run(
    address: SocketAddr,
    questions: &Questions,
    transport: Transport,
    seconds: u64,
) -> Result<Load> {
    let mut dnsperf = Command::new("dnsperf");
    dnsperf.args(["-s", &address.ip().to_string(), "-p", &address.port().to_string()]);
    dnsperf.arg("-d").arg(&questions.file);
    dnsperf.args(["-l", &seconds.to_string(), "-T", "1"]);
    dnsperf.args(["-c", &CLIENTS.to_string(), "-q", &OUTSTANDING.to_string()]);
    dnsperf.args(["-m", if transport == Transport::Udp { "udp" } else { "tcp" }]);
    let printed = process::output(LOAD_CORE, &dnsperf)?;
    parse(&printed).with_context(|| format!("dnsperf printed no result: {printed}"))
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
}

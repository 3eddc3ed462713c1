//! The internet at the distances of a real one: how long the first answer of a name takes that nobody asked for before.
//!
//! ```text
//!  resolver ──▶ relay at the server's address, port 53 ──▶ nsd at port 5300
//!           ◀── after so many milliseconds ──┘ ◀───────────┘
//!
//!  root 20 ms, TLDs 20 ms, zones on servers 5, 10, 15 … 80 ms away; half of the zones signed
//! ```
//!
//! Two kinds of names are asked for: the first one of a zone, whose servers and keys have to be found out, and another one of
//! a zone that is known by then. Questions come few at a time, so that nobody waits for a processor. Root and TLDs are known.
//!
//! The relays are ours, for not every kernel has a queue that delays. Over TCP nobody listens: no answer here is so long.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use super::internet::{HEAD, Internet, ROOT, TLD_COUNT, TLDS, Zone, is_signed, questions, write};
use super::subjects::Subject;
use super::{Options, internet};
use crate::dnsperf;
use crate::process::LOAD_CORE;
use crate::report::Report;
use crate::statistics::percentile;

/// The case, by which alone it is measured.
pub(super) const CASE: &str = "cold-far";

const ZONE_COUNT: u32 = 400;
/// The servers of the zones; all are the one at the first address.
const SERVERS: u8 = 16;
/// How much farther each is than the one before.
const FARTHER: Duration = Duration::from_millis(5);
/// How far the root and the TLDs are.
const ROOT_AND_TLDS: Duration = Duration::from_millis(20);
/// Where the name servers themselves are asked.
const NSD_PORT: u16 = 5_300;
/// Questions a second: few of them are under way at a time.
const PER_SECOND: u32 = 40;
/// Octets of a datagram.
const DATAGRAM_OCTETS: usize = 4_096;
/// A name server on this machine answers within this.
const NSD_TIMEOUT: Duration = Duration::from_secs(2);

/// Measures one subject after the other.
pub(super) fn run(options: &Options) -> Result<Report> {
    crate::check_cores()?;
    let folder = tempfile::tempdir().context("making a folder for the servers")?;
    let home = folder.path();
    let addresses: Vec<Ipv4Addr> = (0..SERVERS).map(server).collect();
    internet::enter_namespace(&[&[ROOT, TLDS][..], &addresses].concat())?;
    let zones = zones(home)?;
    let delegated = (0..ZONE_COUNT).map(|number| (zone_name(number), server_of(number)));
    let tlds = internet::tlds(home, delegated)?;
    let root = internet::root(home)?;
    let _servers = [
        internet::nsd("root", (ROOT, NSD_PORT), &root, home)?,
        internet::nsd("tlds", (TLDS, NSD_PORT), &tlds, home)?,
        internet::nsd("zones", (server(0), NSD_PORT), &zones, home)?,
    ];
    relay_all()?;
    let (hints, anchor) = internet::hints_and_anchor(home)?;
    let new = asked(home, "first")?;
    let known = asked(home, "second")?;
    let internet = Internet { hints, anchor };
    let mut report = Report::new("resolver-far");
    for name in &options.subjects {
        let subject = Subject::start(name, &options.place.proxima, &internet, home)?;
        for (case, questions) in [("cold-far-zone", &new), ("cold-far-name", &known)] {
            let mut took = dnsperf::latencies_us(subject.address, questions, PER_SECOND, &home.join("told"))?;
            for (metric, part) in [("p50_ms", 0.5), ("p90_ms", 0.9)] {
                let value = percentile(&mut took, part) / 1e3;
                eprintln!("{case:<16} {:<14} {metric} {value:.1}", subject.name);
                report.add(case, subject.name, metric, value);
            }
        }
    }
    Ok(report)
}

fn zone_name(number: u32) -> String {
    format!("far{number}.tld{}", number % TLD_COUNT)
}

/// The address of one of the zones' servers.
fn server(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 26, 92, 30 + number)
}

fn server_of(zone: u32) -> Ipv4Addr {
    // Neither by TLD nor by whether it is signed.
    let number = u8::try_from(zone / 8 % u32::from(SERVERS)).expect("there are few");
    server(number)
}

fn zones(folder: &Path) -> Result<Vec<Zone>> {
    let one = |number: u32| {
        let server = server_of(number);
        let text = format!("{HEAD}@ IN NS ns\nns IN A {server}\nfirst IN A 10.1.1.1\nsecond IN A 10.1.1.2\n");
        write(folder, &zone_name(number), &text, is_signed(number))
    };
    (0..ZONE_COUNT).map(one).collect()
}

/// A host of each zone, near and far ones mixed.
fn asked(folder: &Path, host: &str) -> Result<dnsperf::Questions> {
    let mut text = String::new();
    for number in 0..ZONE_COUNT {
        let _ = writeln!(text, "{host}.{} A", zone_name(number * 37 % ZONE_COUNT));
    }
    questions(folder, &format!("far-{host}"), &text, 0.0)
}

/// Begins to relay, on threads of their own that end with the process.
fn relay_all() -> Result<()> {
    let mut relays = vec![(ROOT, ROOT, ROOT_AND_TLDS), (TLDS, TLDS, ROOT_AND_TLDS)];
    for number in 0..SERVERS {
        relays.push((server(number), server(0), FARTHER * (u32::from(number) + 1)));
    }
    let mut sockets = Vec::new();
    for (at, to, takes) in relays {
        let socket = std::net::UdpSocket::bind((at, 53)).with_context(|| format!("binding {at}"))?;
        socket.set_nonblocking(true).context("setting a socket")?;
        sockets.push((socket, SocketAddr::from((to, NSD_PORT)), takes));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("starting the runtime of the relays")?;
    let mut core = CpuSet::new();
    core.set(LOAD_CORE).context("choosing a core")?;
    thread::Builder::new()
        .name("relays".to_owned())
        .spawn(move || {
            // Where that fails, they share the subject's core, which at so few questions a second does not show.
            let _ = sched_setaffinity(Pid::from_raw(0), &core);
            runtime.block_on(async move {
                for (socket, to, takes) in sockets {
                    if let Ok(socket) = UdpSocket::from_std(socket) {
                        tokio::spawn(relay(Arc::new(socket), to, takes));
                    }
                }
                std::future::pending::<()>().await;
            });
        })
        .context("starting the relays")?;
    Ok(())
}

/// Passes each question on, and its answer back after a while.
async fn relay(socket: Arc<UdpSocket>, to: SocketAddr, takes: Duration) {
    let mut question = vec![0; DATAGRAM_OCTETS];
    loop {
        let Ok((octets, from)) = socket.recv_from(&mut question).await else { continue };
        let (socket, question) = (Arc::clone(&socket), question[..octets].to_vec());
        tokio::spawn(async move {
            let answer = async {
                let asking = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
                asking.connect(to).await?;
                asking.send(&question).await?;
                let mut answer = vec![0; DATAGRAM_OCTETS];
                let octets = asking.recv(&mut answer).await?;
                answer.truncate(octets);
                Ok::<_, std::io::Error>(answer)
            };
            let (answer, ()) = tokio::join!(timeout(NSD_TIMEOUT, answer), sleep(takes));
            // A question that is lost is asked again by the resolver.
            if let Ok(Ok(answer)) = answer {
                let _ = socket.send_to(&answer, from).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    #[test]
    fn every_zone_is_asked_for_once_by_each_host_and_servers_have_zones_of_both_kinds() {
        let folder = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(asked(folder.path(), "first").unwrap().file).unwrap();
        assert_eq!(text.lines().collect::<BTreeSet<_>>().len(), 400);
        for number in 0..SERVERS {
            let its: Vec<u32> = (0..ZONE_COUNT).filter(|zone| server_of(*zone) == server(number)).collect();
            assert!(its.iter().any(|zone| is_signed(*zone)) && its.iter().any(|zone| !is_signed(*zone)));
        }
    }
}

//! An internet of three name servers: the root's, the TLDs', and one with many small zones. Half of the zones are signed, as
//! the root and all TLDs are.
//!
//! It is in a network namespace of its own, whose loopback interface has the servers' addresses: name servers are asked at
//! port 53, and not at addresses that resolvers refuse as private.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};

use crate::dnsperf::Questions;
use crate::process::{self, LOAD_CORE, Server};

pub(super) const ROOT: Ipv4Addr = Ipv4Addr::new(198, 41, 0, 4);
pub(super) const TLDS: Ipv4Addr = Ipv4Addr::new(192, 5, 6, 30);
const ZONES: Ipv4Addr = Ipv4Addr::new(192, 26, 92, 30);
pub(super) const TLD_COUNT: u32 = 4;
const ZONE_COUNT: u32 = 100;
const HOSTS: u32 = 500;
/// Rounds of names that were not asked for before: there are names for so many.
pub(super) const ROUNDS_COLD: usize = 5;
/// Names that are asked for again and again.
const WARM_NAMES: u32 = 10_000;
/// Of a hundred names so many are not there.
const MISSING_PERCENT: u32 = 10;
/// What every file begins with.
pub(super) const HEAD: &str =
    "$TTL 86400\n@ IN SOA ns.nic.bench. host.nic.bench. 1 10800 3600 604800 86400\n";

/// Where resolving begins.
pub(super) struct Internet {
    /// The root's name servers, as a zone file.
    pub(super) hints: PathBuf,
    /// The root's DS record, as a zone file.
    pub(super) anchor: PathBuf,
}

/// One that is at hand. The servers run until it is dropped.
pub(super) struct Near {
    pub(super) internet: Internet,
    /// Each asks for other names.
    pub(super) cold: Vec<Questions>,
    pub(super) warm: Questions,
    _servers: [Server; 3],
}

impl Near {
    /// Moves this process into a namespace of its own and starts the servers there.
    pub(super) fn start(home: &Path) -> Result<Self> {
        enter_namespace(&[ROOT, TLDS, ZONES])?;
        let folder = home.join("internet");
        fs::create_dir_all(&folder).context("making the folder of zones")?;
        let zones = zones(&folder)?;
        let tlds = tlds(&folder, (0..ZONE_COUNT).map(|number| (zone_name(number), ZONES)))?;
        let root = root(&folder)?;
        let servers = [
            nsd("root", (ROOT, 53), &root, &folder)?,
            nsd("tlds", (TLDS, 53), &tlds, &folder)?,
            nsd("zones", (ZONES, 53), &zones, &folder)?,
        ];
        let (hints, anchor) = hints_and_anchor(&folder)?;
        let cold = (0..ROUNDS_COLD).map(|round| cold(&folder, round)).collect::<Result<_>>()?;
        let internet = Internet { hints, anchor };
        Ok(Self { internet, cold, warm: warm(&folder)?, _servers: servers })
    }
}

/// Files with the root's name servers and its DS record, which signing it has written.
pub(super) fn hints_and_anchor(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let (hints, anchor) = (folder.join("hints"), folder.join("dsset-."));
    fs::write(&hints, format!(". 3600000 IN NS a.root.\na.root. 3600000 IN A {ROOT}\n"))
        .context("writing the hints")?;
    Ok((hints, anchor))
}

/// Moves this thread, and what it starts, into a namespace of its own with these addresses.
pub(super) fn enter_namespace(addresses: &[Ipv4Addr]) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("a network namespace of its own takes root")?;
    let ip = |arguments: &[&str]| process::output(LOAD_CORE, Command::new("ip").args(arguments));
    ip(&["link", "set", "lo", "up"])?;
    for address in addresses {
        ip(&["address", "add", &format!("{address}/32"), "dev", "lo"])?;
    }
    Ok(())
}

/// A zone's name and its file.
pub(super) type Zone = (String, PathBuf);

fn zone_name(number: u32) -> String {
    format!("zone{number}.tld{}", number % TLD_COUNT)
}

/// Whether it is signed.
pub(super) const fn is_signed(zone: u32) -> bool {
    zone.is_multiple_of(2)
}

fn zones(folder: &Path) -> Result<Vec<Zone>> {
    let one = |number: u32| {
        let mut text = format!("{HEAD}@ IN NS ns\nns IN A {ZONES}\n");
        for host in 0..HOSTS {
            let _ = writeln!(text, "host{host} IN A 10.{}.{}.{}", number % 250, host / 250, host % 250 + 1);
        }
        write(folder, &zone_name(number), &text, is_signed(number))
    };
    (0..ZONE_COUNT).map(one).collect()
}

/// The TLDs, and in each in turn one of the zones, which have these names and servers.
pub(super) fn tlds(
    folder: &Path,
    zones: impl Iterator<Item = (String, Ipv4Addr)> + Clone,
) -> Result<Vec<Zone>> {
    let one = |tld: u32| {
        let mut text = format!("{HEAD}@ IN NS ns.nic\nns.nic IN A {TLDS}\n");
        for (_, (name, server)) in (0..).zip(zones.clone()).filter(|(number, _)| number % TLD_COUNT == tld) {
            let _ = writeln!(text, "{name}. IN NS ns.{name}.\nns.{name}. IN A {server}");
        }
        write(folder, &format!("tld{tld}"), &text, true)
    };
    (0..TLD_COUNT).map(one).collect()
}

pub(super) fn root(folder: &Path) -> Result<Vec<Zone>> {
    let mut text = format!("{HEAD}@ IN NS a.root.\na.root. IN A {ROOT}\n");
    for tld in 0..TLD_COUNT {
        let _ = writeln!(text, "tld{tld}. IN NS ns.nic.tld{tld}.\nns.nic.tld{tld}. IN A {TLDS}");
    }
    Ok(vec![write(folder, ".", &text, true)?])
}

/// Writes a zone and signs it, with the DS records of the signed zones below it, which were written before.
pub(super) fn write(folder: &Path, name: &str, text: &str, is_signed: bool) -> Result<Zone> {
    let file = folder.join(format!("zone-of-{name}"));
    process::write(&file, text)?;
    if !is_signed {
        return Ok((name.to_owned(), file));
    }
    let mut keygen = Command::new("dnssec-keygen");
    keygen.args(["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "-K"]).arg(folder).arg(name);
    process::output(LOAD_CORE, &keygen)?;
    let signed = folder.join(format!("signed-{name}"));
    let mut signzone = Command::new("dnssec-signzone");
    signzone.args(["-S", "-z", "-Q", "-g", "-s", "now-1h", "-o", name, "-K"]).arg(folder);
    signzone.arg("-d").arg(folder).arg("-f").arg(&signed).arg(&file);
    process::output(LOAD_CORE, &signzone)?;
    Ok((name.to_owned(), signed))
}

pub(super) fn nsd(
    what: &'static str,
    (ip, port): (Ipv4Addr, u16),
    zones: &[Zone],
    folder: &Path,
) -> Result<Server> {
    let home = folder.join(what).display().to_string();
    let mut text = format!(
        "server:\n  ip-address: {ip}\n  port: {port}\n  server-count: 1\n  username: \"\"\n  zonesdir: \"{0}\"\n  \
         database: \"\"\n  pidfile: \"{home}.pid\"\n  xfrdfile: \"{home}.xfrd\"\n  zonelistfile: \"{home}.list\"\n  \
         xfrdir: \"{0}\"\n  rrl-ratelimit: 0\n  tcp-count: 1000\nremote-control:\n  control-enable: no\n",
        folder.display()
    );
    for (name, file) in zones {
        let _ = write!(text, "zone:\n  name: {name}\n  zonefile: {}\n", file.display());
    }
    let (config, log) = (folder.join(format!("{what}.conf")), folder.join(format!("{what}.log")));
    process::write(&config, text)?;
    let mut nsd = Command::new("nsd");
    let mut server = Server::start(what, LOAD_CORE, nsd.args(["-d", "-c"]).arg(&config), &log)?;
    server
        .wait_until_listening((ip, port).into())
        .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    Ok(server)
}

/// Every host of every zone is asked for in one of the rounds.
fn cold(folder: &Path, round: usize) -> Result<Questions> {
    let mut text = String::new();
    for host in (0..HOSTS).skip(round).step_by(ROUNDS_COLD) {
        for zone in 0..ZONE_COUNT {
            let _ = writeln!(text, "host{host}.{} A", zone_name(zone));
        }
    }
    questions(folder, &format!("cold-{round}"), &text, 0.0)
}

fn warm(folder: &Path) -> Result<Questions> {
    let mut text = String::new();
    for number in 0..WARM_NAMES {
        let (zone, host) = (zone_name(number % ZONE_COUNT), number / ZONE_COUNT);
        let word = if number % 100 < MISSING_PERCENT { "missing" } else { "host" };
        let _ = writeln!(text, "{word}{host}.{zone} A");
    }
    questions(folder, "warm", &text, f64::from(MISSING_PERCENT))
}

pub(super) fn questions(folder: &Path, name: &str, text: &str, not_found_percent: f64) -> Result<Questions> {
    let file = folder.join(format!("questions-{name}"));
    process::write(&file, text)?;
    Ok(Questions { file, not_found_percent })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_is_cold_twice_and_a_tenth_of_the_warm_ones_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let read = |questions: Questions| fs::read_to_string(questions.file).unwrap();
        let cold: Vec<String> =
            (0..ROUNDS_COLD).map(|round| read(cold(folder.path(), round).unwrap())).collect();
        let names: BTreeSet<&str> = cold.iter().flat_map(|text| text.lines()).collect();
        assert_eq!(names.len(), usize::try_from(ZONE_COUNT * HOSTS).unwrap());
        assert_eq!(names.len(), cold.iter().map(|text| text.lines().count()).sum::<usize>());
        let warm = read(warm(folder.path()).unwrap());
        assert_eq!(warm.lines().collect::<BTreeSet<_>>().len(), 10_000);
        assert_eq!(warm.lines().filter(|line| line.starts_with("missing")).count(), 1_000);
    }
}

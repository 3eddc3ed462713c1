//! The subjects: Proxima and its peers, each with one thread for the one core, and without limits of rate.

mod bind;
mod dnsdist;
mod knot;
mod nsd;
mod pdns;
mod proxima;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::https;
use super::zones::{LARGE, SIGNED, Zones};
use crate::dnsperf::Transport;
use crate::process::{self, LOAD_CORE, SUBJECT_CORE, Server};
use crate::report::PROXIMA;

/// All of them, in the order in which they are shown.
pub(super) const NAMES: [&str; 6] = [PROXIMA, "knot", "nsd", "bind", "pdns", "dnsdist"];
/// As what a server answers queries over HTTPS.
pub(super) const HTTPS_NAME: &str = "ns1.proxima.test";

pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) server: Server,
    /// The server that it asks what it does not know: its work is counted with its own.
    pub(super) behind: Option<Server>,
    pub(super) reach: Reach,
}

/// Where a subject is reached, and what it can.
pub(super) struct Reach {
    /// UDP and TCP.
    address: SocketAddr,
    /// Whether it is a peer over UDP; what stands before a server for connections is none.
    udp: bool,
    /// DNS over TLS.
    tls: Option<SocketAddr>,
    /// DNS over HTTPS.
    https: Option<SocketAddr>,
    /// How it has the signed zone.
    signed: Option<Signed>,
}

/// How a name that is not there is denied in a signed zone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Signed {
    /// NXDOMAIN, with NSEC.
    Plainly,
    /// NOERROR, with an NSEC that says NXNAME (RFC 9824).
    Compactly,
}

impl Reach {
    /// Over UDP and TCP alone, without the signed zone.
    const fn plain(address: SocketAddr) -> Self {
        Self { address, udp: true, tls: None, https: None, signed: None }
    }
}

impl Subject {
    /// Where it is asked by this transport; `None` if it does not speak it.
    pub(super) fn address(&self, transport: Transport) -> Option<SocketAddr> {
        match transport {
            Transport::Udp => self.reach.udp.then_some(self.reach.address),
            Transport::Tcp => Some(self.reach.address),
            Transport::UdpSigned => self.reach.signed.map(|_| self.reach.address),
            Transport::Tls => self.reach.tls,
            Transport::Https => self.reach.https,
        }
    }

    /// All whose work is its own.
    pub(super) fn servers(&self) -> Vec<&Server> {
        std::iter::once(&self.server).chain(&self.behind).collect()
    }

    /// Whether names that are not there are answered NXDOMAIN.
    pub(super) fn says_nxdomain(&self, transport: Transport) -> bool {
        transport != Transport::UdpSigned || self.reach.signed != Some(Signed::Compactly)
    }

    pub(super) fn start(name: &str, proxima: &Path, zones: &Zones, folder: &Path) -> Result<Self> {
        let home = folder.join(name);
        fs::create_dir_all(&home).with_context(|| format!("making the folder {}", home.display()))?;
        match name {
            PROXIMA => proxima::start(proxima, zones, &home),
            "knot" => knot::start(zones, &home),
            "nsd" => nsd::start(zones, &home),
            "bind" => bind::start(zones, &home),
            "pdns" => pdns::start(zones, &home),
            "dnsdist" => dnsdist::start(zones, &home),
            _ => bail!("there is no subject `{name}`; there are: {}", NAMES.join(", ")),
        }
    }

    /// Starts a peer with a configuration, and waits until it answers for the first and the last zone.
    fn peer(
        name: &'static str,
        (command, reach): (&Command, Reach),
        (config, text): (&Path, &str),
        zones: &Zones,
        home: &Path,
    ) -> Result<Self> {
        process::write(config, text)?;
        let log = home.join("log");
        let mut server = Server::start(name, SUBJECT_CORE, command, &log)?;
        wait_until_served(&mut server, &reach, zones)
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(Self { name, server, behind: None, reach })
    }
}

/// A certificate (ECDSA P-256) and its key, as files.
fn certify(home: &Path) -> Result<(PathBuf, PathBuf)> {
    let made = rcgen::generate_simple_self_signed([HTTPS_NAME.to_owned()]).context("making a certificate")?;
    let (certificate, key) = (home.join("certificate.pem"), home.join("key.pem"));
    fs::write(&certificate, made.cert.pem()).context("writing the certificate")?;
    fs::write(&key, made.signing_key.serialize_pem()).context("writing the key")?;
    Ok((certificate, key))
}

fn wait_until_served(server: &mut Server, reach: &Reach, zones: &Zones) -> Result<()> {
    let last = zones.all.last().map_or(LARGE, |zone| &zone.name);
    for zone in [LARGE, last] {
        server.wait_until(&format!("it answers for {zone}"), || says(reach, zone, "hostmaster"))?;
    }
    if reach.signed.is_some() {
        server.wait_until(&format!("it signs {SIGNED}"), || says(reach, SIGNED, "SOA 13 2 "))?;
    }
    if let Some(address) = reach.https {
        let answers = || https::answers(address, &[format!("{LARGE} SOA")]).is_ok_and(|said| said.found == 1);
        server.wait_until("it answers over HTTPS", answers)?;
    }
    Ok(())
}

/// Whether what the server says of a zone's SOA has this in it; signatures begin with type, algorithm and labels.
fn says(reach: &Reach, zone: &str, wanted: &str) -> bool {
    let (ip, port) = (reach.address.ip(), reach.address.port());
    let mut dig = Command::new("dig");
    dig.arg(format!("@{ip}")).args(["-p", &port.to_string()]);
    dig.args(["+short", "+dnssec", "+time=1", "+tries=1", zone, "SOA"]);
    process::output(LOAD_CORE, &dig).is_ok_and(|said| said.contains(wanted))
}

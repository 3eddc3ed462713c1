//! The subjects: Proxima and its peers, each with one thread for the one core, and without limits of rate.

mod bind;
mod knot;
mod nsd;
mod pdns;
mod proxima;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::zones::{LARGE, Zones};
use crate::process::{self, LOAD_CORE, SUBJECT_CORE, Server};
use crate::report::PROXIMA;

/// All of them, in the order in which they are shown.
pub(super) const NAMES: [&str; 5] = [PROXIMA, "knot", "nsd", "bind", "pdns"];

pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) server: Server,
    pub(super) address: SocketAddr,
}

impl Subject {
    pub(super) fn start(name: &str, proxima: &Path, zones: &Zones, folder: &Path) -> Result<Self> {
        let home = folder.join(name);
        fs::create_dir_all(&home).with_context(|| format!("making the folder {}", home.display()))?;
        match name {
            PROXIMA => proxima::start(proxima, zones, &home),
            "knot" => knot::start(zones, &home),
            "nsd" => nsd::start(zones, &home),
            "bind" => bind::start(zones, &home),
            "pdns" => pdns::start(zones, &home),
            _ => bail!("there is no subject `{name}`; there are: {}", NAMES.join(", ")),
        }
    }

    /// Starts a peer with a configuration, and waits until it answers for the first and the last zone.
    fn peer(
        name: &'static str,
        (command, address): (&Command, SocketAddr),
        (config, text): (&Path, &str),
        zones: &Zones,
        home: &Path,
    ) -> Result<Self> {
        fs::write(config, text).with_context(|| format!("writing {}", config.display()))?;
        let log = home.join("log");
        let mut server = Server::start(name, SUBJECT_CORE, command, &log)?;
        wait_until_served(&mut server, address, zones)
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(Self { name, server, address })
    }
}

fn wait_until_served(server: &mut Server, address: SocketAddr, zones: &Zones) -> Result<()> {
    let last = zones.all.last().map_or(LARGE, |zone| &zone.name);
    for zone in [LARGE, last] {
        server.wait_until(&format!("it answers for {zone}"), || answers(address, zone))?;
    }
    Ok(())
}

/// Whether a zone is served there.
fn answers(address: SocketAddr, zone: &str) -> bool {
    let mut dig = Command::new("dig");
    dig.arg(format!("@{}", address.ip())).args(["-p", &address.port().to_string()]);
    dig.args(["+short", "+time=1", "+tries=1", zone, "SOA"]);
    process::output(LOAD_CORE, &dig).is_ok_and(|said| said.contains("hostmaster"))
}

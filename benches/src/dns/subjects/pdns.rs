//! PowerDNS's authoritative server, with its backend of zone files and its packet cache.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::super::zones::Zones;
use super::{Reach, Subject};
use crate::process::free_address;

pub(super) fn start(zones: &Zones, home: &Path) -> Result<Subject> {
    let address = free_address()?;
    let folder = home.display();
    let mut named = String::new();
    for zone in &zones.all {
        let _ =
            writeln!(named, "zone \"{}\" {{ type master; file \"{}\"; }};", zone.name, zone.file.display());
    }
    fs::write(home.join("named.conf"), named).context("writing named.conf")?;
    let text = format!(
        "launch=bind\nbind-config={folder}/named.conf\nlocal-address={}\nlocal-port={}\nsocket-dir={folder}\n\
         guardian=no\ndaemon=no\nreceiver-threads=1\ndistributor-threads=1\nmax-tcp-connections=1000\n\
         max-tcp-connections-per-client=1000\nloglevel=4\nexpand-alias=no\nsecurity-poll-suffix=\n",
        address.ip(),
        address.port()
    );
    let mut pdns = Command::new("pdns_server");
    pdns.arg(format!("--config-dir={folder}"));
    Subject::peer("pdns", (&pdns, Reach::plain(address)), (&home.join("pdns.conf"), &text), zones, home)
}

//! Knot DNS.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::super::zones::{SIGNED, Zones};
use super::{Reach, Signed, Subject};
use crate::process::free_address;

pub(super) fn start(zones: &Zones, home: &Path) -> Result<Subject> {
    let address = free_address()?;
    let config = home.join("knot.conf");
    // It does not make the folder for its keys.
    fs::create_dir_all(home.join("db")).context("making the folder of its keys")?;
    let (folder, ip, port) = (home.display(), address.ip(), address.port());
    let mut text = format!(
        "server:\n  listen: {ip}@{port}\n  rundir: {folder}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\n  tcp-max-clients: 1000\n\
         log:\n  - target: stderr\n    any: warning\n\
         database:\n  storage: {folder}/db\n\
         template:\n  - id: default\n    storage: {folder}\n    journal-content: none\n    semantic-checks: off\n\
         policy:\n  - id: bench\n    algorithm: ecdsap256sha256\n    single-type-signing: on\n\
         zone:\n  - domain: {SIGNED}\n    file: {}\n    dnssec-signing: on\n    dnssec-policy: bench\n    \
         zonefile-sync: -1\n",
        zones.unsigned.display()
    );
    for zone in &zones.all {
        let _ = write!(text, "  - domain: {}\n    file: {}\n", zone.name, zone.file.display());
    }
    let mut knotd = Command::new("knotd");
    knotd.arg("-c").arg(&config);
    let reach = Reach { signed: Some(Signed::Plainly), ..Reach::plain(address) };
    Subject::peer("knot", (&knotd, reach), (&config, &text), zones, home)
}

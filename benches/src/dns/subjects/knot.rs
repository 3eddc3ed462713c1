//! Knot DNS.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::super::zones::Zones;
use super::Subject;
use crate::process::free_address;

pub(super) fn start(zones: &Zones, home: &Path) -> Result<Subject> {
    let address = free_address()?;
    let config = home.join("knot.conf");
    let (folder, ip, port) = (home.display(), address.ip(), address.port());
    let mut text = format!(
        "server:\n  listen: {ip}@{port}\n  rundir: {folder}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\n  tcp-max-clients: 1000\n\
         log:\n  - target: stderr\n    any: warning\n\
         database:\n  storage: {folder}/db\n\
         template:\n  - id: default\n    storage: {folder}\n    journal-content: none\n    semantic-checks: off\n\
         zone:\n"
    );
    for zone in &zones.all {
        let _ = write!(text, "  - domain: {}\n    file: {}\n", zone.name, zone.file.display());
    }
    let mut knotd = Command::new("knotd");
    knotd.arg("-c").arg(&config);
    Subject::peer("knot", (&knotd, address), (&config, &text), zones, home)
}

//! NSD.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::super::zones::Zones;
use super::Subject;
use crate::process::free_address;

pub(super) fn start(zones: &Zones, home: &Path) -> Result<Subject> {
    let address = free_address()?;
    let config = home.join("nsd.conf");
    let (folder, ip, port) = (home.display(), address.ip(), address.port());
    let mut text = format!(
        "server:\n  ip-address: {ip}@{port}\n  server-count: 1\n  username: \"\"\n  zonesdir: \"{folder}\"\n  \
         database: \"\"\n  pidfile: \"{folder}/pid\"\n  xfrdfile: \"{folder}/xfrd\"\n  zonelistfile: \
         \"{folder}/list\"\n  rrl-ratelimit: 0\n  tcp-count: 1000\n\
         remote-control:\n  control-enable: no\n"
    );
    for zone in &zones.all {
        let _ = write!(text, "zone:\n  name: {}\n  zonefile: {}\n", zone.name, zone.file.display());
    }
    let mut nsd = Command::new("nsd");
    nsd.args(["-d", "-c"]).arg(&config);
    Subject::peer("nsd", (&nsd, address), (&config, &text), zones, home)
}

//! NSD.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::super::zones::{SIGNED, Zones};
use super::{Reach, Signed, Subject};
use crate::process::free_address;

pub(super) fn start(zones: &Zones, home: &Path) -> Result<Subject> {
    let (address, tls) = (free_address()?, free_address()?);
    let (certificate, key) = super::certify(home)?;
    let config = home.join("nsd.conf");
    let (folder, ip, port) = (home.display(), address.ip(), address.port());
    let mut text = format!(
        "server:\n  ip-address: {ip}@{port}\n  server-count: 1\n  username: \"\"\n  zonesdir: \"{folder}\"\n  \
         database: \"\"\n  pidfile: \"{folder}/pid\"\n  xfrdfile: \"{folder}/xfrd\"\n  xfrdir: \
         \"{folder}\"\n  zonelistfile: \"{folder}/list\"\n  rrl-ratelimit: 0\n  tcp-count: 1000\n  ip-address: {ip}@{tls_port}\n  tls-port: {tls_port}\n  \
         tls-service-key: \"{}\"\n  tls-service-pem: \"{}\"\n\
         remote-control:\n  control-enable: no\nzone:\n  name: {SIGNED}\n  zonefile: {}\n",
        key.display(),
        certificate.display(),
        zones.presigned.display(),
        tls_port = tls.port(),
    );
    for zone in &zones.all {
        let _ = write!(text, "zone:\n  name: {}\n  zonefile: {}\n", zone.name, zone.file.display());
    }
    let mut nsd = Command::new("nsd");
    nsd.args(["-d", "-c"]).arg(&config);
    let reach = Reach { tls: Some(tls), signed: Some(Signed::Plainly), ..Reach::plain(address) };
    Subject::peer("nsd", (&nsd, reach), (&config, &text), zones, home)
}

//! BIND.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::super::zones::Zones;
use super::Subject;
use crate::process::free_address;

pub(super) fn start(zones: &Zones, home: &Path) -> Result<Subject> {
    let address = free_address()?;
    let config = home.join("named.conf");
    let (folder, ip, port) = (home.display(), address.ip(), address.port());
    let mut text = format!(
        "options {{ directory \"{folder}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; recursion no; \
         dnssec-validation no; pid-file none; session-keyfile none; querylog no; minimal-responses yes; \
         tcp-clients 1000; notify no; }};\ncontrols {{ }};\n"
    );
    for zone in &zones.all {
        let _ =
            writeln!(text, "zone \"{}\" {{ type primary; file \"{}\"; }};", zone.name, zone.file.display());
    }
    let mut named = Command::new("named");
    named.args(["-g", "-n", "1", "-c"]).arg(&config);
    Subject::peer("bind", (&named, address), (&config, &text), zones, home)
}

//! BIND.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::super::zones::{SIGNED, Zones};
use super::{Reach, Signed, Subject};
use crate::process::free_address;

pub(super) fn start(zones: &Zones, home: &Path) -> Result<Subject> {
    let (address, tls) = (free_address()?, free_address()?);
    let config = home.join("named.conf");
    let (folder, ip, port) = (home.display(), address.ip(), address.port());
    let mut text = format!(
        "options {{ directory \"{folder}\"; listen-on port {port} {{ {ip}; }}; listen-on port {} tls ephemeral {{ {ip}; }}; \
         listen-on-v6 {{ none; }}; recursion no; \
         dnssec-validation no; pid-file none; session-keyfile none; querylog no; minimal-responses yes; \
         tcp-clients 1000; notify no; }};\ncontrols {{ }};\n\
         zone \"{SIGNED}\" {{ type primary; file \"{}\"; }};\n",
        tls.port(),
        zones.presigned.display(),
    );
    for zone in &zones.all {
        let _ =
            writeln!(text, "zone \"{}\" {{ type primary; file \"{}\"; }};", zone.name, zone.file.display());
    }
    let mut named = Command::new("named");
    named.args(["-g", "-n", "1", "-c"]).arg(&config);
    let reach = Reach { tls: Some(tls), signed: Some(Signed::Plainly), ..Reach::plain(address) };
    Subject::peer("bind", (&named, reach), (&config, &text), zones, home)
}

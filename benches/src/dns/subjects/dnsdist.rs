//! dnsdist, for connections, before Knot DNS: both on the subject's core.
//!
//! It answers out of its packet cache what was asked for before, as its operators have it; the cache has room for all
//! questions, so that what is measured in the end is dnsdist itself. Connections may have as many queries under way as the
//! load has, which it does not allow by itself.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::super::zones::Zones;
use super::{Reach, Subject, knot};
use crate::process::free_address;

/// Answers that it keeps: twice as many as there are questions of a case.
const CACHED_MAX: u32 = 200_000;

pub(super) fn start(zones: &Zones, home: &Path) -> Result<Subject> {
    let behind = knot::start(zones, home)?;
    let (address, tls, https) = (free_address()?, free_address()?, free_address()?);
    let (certificate, key) = super::certify(home)?;
    let config = home.join("dnsdist.conf");
    let pair = format!("{:?}, {:?}", certificate.display().to_string(), key.display().to_string());
    let text = format!(
        "setSecurityPollSuffix(\"\")\nsetMaxTCPClientThreads(1)\n\
         setLocal(\"{address}\", {{ maxInFlight = 1000 }})\n\
         addTLSLocal(\"{tls}\", {pair}, {{ maxInFlight = 1000 }})\n\
         addDOHLocal(\"{https}\", {pair}, \"/dns-query\")\n\
         newServer({{ address = \"{}\" }})\n\
         getPool(\"\"):setCache(newPacketCache({CACHED_MAX}))\n",
        behind.reach.address,
    );
    let mut dnsdist = Command::new("dnsdist");
    dnsdist.args(["--supervised", "--disable-syslog", "-C"]).arg(&config);
    let reach = Reach { udp: false, tls: Some(tls), https: Some(https), ..Reach::plain(address) };
    let front = Subject::peer("dnsdist", (&dnsdist, reach), (&config, &text), zones, home)?;
    Ok(Subject { behind: Some(behind.server), ..front })
}

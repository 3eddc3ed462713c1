//! Proxima.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::super::zones::Zones;
use super::{Subject, wait_until_served};
use crate::api;
use crate::dev::Dev;
use crate::report::PROXIMA;

/// Lines of one import, which is bounded (`docs/api.md`).
const IMPORT_LINES: usize = 8_000;

/// `proxima dev`, with the zones made and filled by the API.
pub(super) fn start(binary: &Path, zones: &Zones, home: &Path) -> Result<Subject> {
    let Dev { mut server, dns, api, token, .. } = Dev::start(binary, home, &[])?;
    let client = api::Client::new(api, &token);
    let account = client.account()?;
    for zone in &zones.all {
        let made = json!({"name": zone.name, "account": {"id": account}});
        let id = client.make("zones", &made)?;
        fill(&client, &id, &zone.file, home).with_context(|| format!("filling {}", zone.name))?;
    }
    wait_until_served(&mut server, dns, zones)?;
    Ok(Subject { name: PROXIMA, server, address: dns })
}

/// Imports a zone's file; SOA and NS of the zone itself are passed over, as they are the network's.
fn fill(client: &api::Client<'_>, zone: &str, file: &Path, home: &Path) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('$')).collect();
    for lines in lines.chunks(IMPORT_LINES) {
        let part = home.join("import");
        fs::write(&part, format!("$TTL 3600\n{}\n", lines.join("\n"))).context("writing a part")?;
        client.import(zone, &part)?;
    }
    Ok(())
}

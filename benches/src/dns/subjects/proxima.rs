//! Proxima.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::super::zones::{SIGNED, Zone, Zones};
use super::{HTTPS_NAME, Reach, Signed, Subject, wait_until_served};
use crate::api;
use crate::process::{self, LOAD_CORE, SUBJECT_CORE, Server, free_address};
use crate::report::PROXIMA;

/// Lines of one import, which is bounded (`docs/api.md`).
const IMPORT_LINES: usize = 8_000;

/// The zone of its name servers.
const NETWORK: &str = "proxima.test";

/// `proxima node`, with the zones made and filled by the API.
pub(super) fn start(binary: &Path, zones: &Zones, home: &Path) -> Result<Subject> {
    let (dns, tls, api) = (free_address()?, free_address()?, free_address()?);
    let (http, https, admin) = (free_address()?, free_address()?, free_address()?);
    let data = home.join("data");
    let authority = home.join("ca");
    let mut ca = Command::new(binary);
    process::output(LOAD_CORE, ca.args(["ca", "init"]).arg(&authority))?;
    let config = home.join("node.toml");
    let text = format!(
        "[node]\nname = \"one\"\npop = \"ONE\"\nregion = \"local\"\ndata_dir = {data:?}\nkey_file = {:?}\n\
         admin = \"{admin}\"\n\
         [network]\nanycast_addresses = [\"127.0.0.1\"]\nname_servers = [\"{HTTPS_NAME}\", \"ns2.proxima.test\"]\n\
         [dns]\nlisten = [\"{dns}\"]\nlisten_tls = [\"{tls}\"]\n\
         https = true\nrate_limit_exempt = [\"127.0.0.0/8\"]\n\
         [edge]\nhttp = [\"{http}\"]\nhttps = [\"{https}\"]\n\
         [control]\nlisten = [\"{api}\"]\nactivation = \"trust\"\n",
        authority.join("at-rest.key"),
    );
    process::write(&config, text)?;
    let log = home.join("log");
    let mut node = Command::new(binary);
    let mut server =
        Server::start(PROXIMA, SUBJECT_CORE, node.arg("node").arg("--config").arg(&config), &log)?;
    let said = || fs::read_to_string(&log).unwrap_or_default();
    server
        .wait_until("it says `ready`", || said().lines().any(|line| line.trim() == "ready"))
        .with_context(said)?;

    let token = fs::read_to_string(data.join("token")).context("reading the API token")?;
    let client = api::Client::new(api, token.trim());
    let account = client.account()?;
    let signed = Zone { name: SIGNED.to_owned(), file: zones.unsigned.clone() };
    for zone in zones.all.iter().chain([&signed]) {
        let made = json!({"name": zone.name, "account": {"id": account}});
        let id = client.make("zones", &made)?;
        fill(&client, &id, &zone.file, home).with_context(|| format!("filling {}", zone.name))?;
        if zone.name == SIGNED {
            client.change(&format!("zones/{id}/dnssec"), &json!({"status": "active"}))?;
        }
    }
    // The zone of the name servers, so that they have a certificate.
    client.make("zones", &json!({"name": NETWORK, "account": {"id": account}}))?;
    let signed = Some(Signed::Compactly);
    let reach = Reach { tls: Some(tls), https: Some(https), signed, ..Reach::plain(dns) };
    wait_until_served(&mut server, &reach, zones).with_context(said)?;
    Ok(Subject { name: PROXIMA, server, behind: None, reach })
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

//! `proxima dns`.

use std::path::PathBuf;

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::json;

use super::{ApiArgs, print_table, shown};

/// DNS records.
#[derive(Debug, clap::Args)]
pub(crate) struct DnsArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    command: DnsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DnsCommand {
    /// List a zone's records.
    List {
        /// The zone.
        zone: String,
    },
    /// Make a record.
    Add {
        /// The zone.
        zone: String,
        /// The type: A, AAAA, CNAME, MX, TXT, NS, SRV or CAA.
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The name; `@` is the zone itself.
        name: String,
        /// What it says, as in a zone file.
        content: String,
        /// Seconds that others may remember it; automatic unless said.
        #[arg(long, default_value_t = 1)]
        ttl: u32,
        /// Let the traffic come through the network.
        #[arg(long)]
        proxied: bool,
    },
    /// Remove a record by its id, or all of a name.
    Remove {
        /// The zone.
        zone: String,
        /// An id, or a name.
        what: String,
    },
    /// Import a BIND zone file.
    Import {
        /// The zone.
        zone: String,
        /// The file.
        file: PathBuf,
        /// Let the traffic of A, AAAA and CNAME records come through the network.
        #[arg(long)]
        proxied: bool,
    },
    /// Print a zone as a BIND zone file.
    Export {
        /// The zone.
        zone: String,
    },
}

pub(crate) async fn run(args: DnsArgs) -> anyhow::Result<()> {
    let api = args.api.open()?;
    match args.command {
        DnsCommand::List { zone } => {
            let id = api.zone(&zone).await?;
            let rows: Vec<Vec<String>> = api
                .all(&format!("/zones/{id}/dns_records"))
                .await?
                .iter()
                .map(|record| {
                    ["type", "name", "content", "proxied", "ttl", "id"].map(|key| shown(&record[key])).into()
                })
                .collect();
            print_table(&["TYPE", "NAME", "CONTENT", "PROXIED", "TTL", "ID"], &rows);
        }
        DnsCommand::Add { zone, kind, name, content, ttl, proxied } => {
            let id = api.zone(&zone).await?;
            let body = json!({ "type": kind.to_uppercase(), "name": name, "content": content, "ttl": ttl,
                               "proxied": proxied });
            let record = api.call(Method::POST, &format!("/zones/{id}/dns_records"), Some(&body)).await?;
            println!("{}", shown(&record["result"]["id"]));
        }
        DnsCommand::Remove { zone, what } => {
            let id = api.zone(&zone).await?;
            let records = api.all(&format!("/zones/{id}/dns_records")).await?;
            let full = if what == "@" { zone.clone() } else { what.clone() };
            let matches = |record: &&serde_json::Value| {
                let name = shown(&record["name"]);
                shown(&record["id"]) == what || name == full || name == format!("{full}.{zone}")
            };
            let chosen: Vec<_> =
                records.iter().filter(matches).map(|record| json!({ "id": record["id"] })).collect();
            if chosen.is_empty() {
                bail!("{zone} has no record {what}");
            }
            api.call(
                Method::POST,
                &format!("/zones/{id}/dns_records/batch"),
                Some(&json!({ "deletes": chosen })),
            )
            .await?;
            println!("removed {}", chosen.len());
        }
        DnsCommand::Import { zone, file, proxied } => {
            let id = api.zone(&zone).await?;
            let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            let form = reqwest::multipart::Form::new()
                .part("file", reqwest::multipart::Part::bytes(text).file_name("zone.txt"))
                .text("proxied", proxied.to_string());
            let done = api.upload(&format!("/zones/{id}/dns_records/import"), form).await?;
            println!("imported {}", shown(&done["result"]["recs_added"]));
        }
        DnsCommand::Export { zone } => {
            let id = api.zone(&zone).await?;
            print!("{}", api.text(&format!("/zones/{id}/dns_records/export")).await?);
        }
    }
    Ok(())
}

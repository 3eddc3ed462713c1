//! `proxima dns`.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context, bail};
use proxima_model::ZoneName;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Api, ApiArgs, print_table, printable_lines, shown};

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
        /// The type, such as A, AAAA, CNAME, MX, TXT or HTTPS; TYPE65280 is one without a name.
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The name; `@` is the zone itself.
        name: String,
        /// What it says, as in a zone file; of a TYPE65280 such as `\# 3 abcdef`.
        content: String,
        /// Seconds that others may remember it; automatic unless said.
        #[arg(long, default_value_t = 1)]
        ttl: u32,
        /// Let the traffic come through the network.
        #[arg(long)]
        proxied: bool,
    },
    /// Change the record of a name and type in place, or make it.
    Set {
        /// The zone.
        zone: String,
        /// The type, such as A, AAAA, CNAME, MX, TXT or HTTPS; TYPE65280 is one without a name.
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The name; `@` is the zone itself.
        name: String,
        /// What it says, as in a zone file.
        content: String,
        /// Seconds that others may remember it, 1 for automatic; as it was unless given.
        #[arg(long)]
        ttl: Option<u32>,
        /// Whether the traffic comes through the network; as it was unless given.
        #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        proxied: Option<bool>,
    },
    /// Remove a record by its id, or all records of a name and type.
    Remove {
        /// The zone.
        zone: String,
        /// An id, or a name.
        what: String,
        /// Only records of this type; needed where a name has several.
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
    },
    /// Import a BIND zone file.
    Import {
        /// The zone.
        zone: String,
        /// The file.
        file: PathBuf,
        /// Let the traffic of A, AAAA and CNAME records come through the network; without it, of those that the file marks
        /// so, as an export does.
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
        DnsCommand::Set { zone, kind, name, content, ttl, proxied } => {
            let mut body = json!({ "type": kind.to_uppercase(), "content": content });
            if let Some(ttl) = ttl {
                body["ttl"] = json!(ttl);
            }
            if let Some(proxied) = proxied {
                body["proxied"] = json!(proxied);
            }
            set(&api, &zone, &name, body).await?;
        }
        DnsCommand::Remove { zone, what, kind } => {
            let path = format!("/zones/{}/dns_records", api.zone(&zone).await?);
            let records = api.all(&path).await?;
            let doomed: Vec<Value> = doomed(&records, &zone, &what, kind.as_deref())?
                .iter()
                .map(|record| json!({ "id": record["id"] }))
                .collect();
            api.call(Method::POST, &format!("{path}/batch"), Some(&json!({ "deletes": doomed }))).await?;
            println!("removed {}", doomed.len());
        }
        DnsCommand::Import { zone, file, proxied } => {
            let id = api.zone(&zone).await?;
            let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            let mut form = reqwest::multipart::Form::new()
                .part("file", reqwest::multipart::Part::bytes(text).file_name("zone.txt"));
            if proxied {
                form = form.text("proxied", "true");
            }
            let done = api.upload(&format!("/zones/{id}/dns_records/import"), form).await?;
            println!("imported {}", shown(&done["result"]["recs_added"]));
        }
        DnsCommand::Export { zone } => {
            let id = api.zone(&zone).await?;
            print!("{}", printable_lines(&api.text(&format!("/zones/{id}/dns_records/export")).await?));
        }
    }
    Ok(())
}

/// Makes a record of this name and type say `body`: the one that there is, or a new one.
async fn set(api: &Api, zone: &str, name: &str, mut body: Value) -> anyhow::Result<()> {
    let path = format!("/zones/{}/dns_records", api.zone(zone).await?);
    let records = api.all(&path).await?;
    let kind = shown(&body["type"]);
    let there = of_type(named(&records, zone, name)?, &kind);
    let record = match there.as_slice() {
        [] => {
            body["name"] = json!(name);
            if body["ttl"].is_null() {
                body["ttl"] = json!(1);
            }
            api.call(Method::POST, &path, Some(&body)).await?
        }
        [record] => api.call(Method::PATCH, &format!("{path}/{}", shown(&record["id"])), Some(&body)).await?,
        several => bail!(
            "{name} has {} {kind} records, and no command says which is meant: remove one by its id (`proxima dns list \
             {zone}`), and add what shall be there",
            several.len()
        ),
    };
    println!("{}", shown(&record["result"]["id"]));
    Ok(())
}

/// The records that this name means, by the rule of the API itself: relative to the zone, in full, or `@`.
fn named<'a>(records: &'a [Value], zone: &str, name: &str) -> anyhow::Result<Vec<&'a Value>> {
    let name = ZoneName::parse(zone)?.record_name(name)?;
    Ok(records.iter().filter(|record| record["name"] == name.as_str()).collect())
}

fn of_type<'a>(mut records: Vec<&'a Value>, kind: &str) -> Vec<&'a Value> {
    let kind = kind.to_uppercase();
    records.retain(|record| record["type"] == kind.as_str());
    records
}

/// The records to remove: the one of this id, or those of this name, which must be of one type.
fn doomed<'a>(
    records: &'a [Value],
    zone: &str,
    what: &str,
    kind: Option<&str>,
) -> anyhow::Result<Vec<&'a Value>> {
    let mut meant: Vec<&Value> = records.iter().filter(|record| record["id"] == what).collect();
    if meant.is_empty() {
        meant = named(records, zone, what)?;
    }
    if let Some(kind) = kind {
        meant = of_type(meant, kind);
    }
    let types: BTreeSet<String> = meant.iter().map(|record| shown(&record["type"])).collect();
    match types.len() {
        0 => bail!(
            "{zone} has no record {what}{}",
            kind.map(|kind| format!(" of type {kind}")).unwrap_or_default()
        ),
        1 => Ok(meant),
        _ => {
            let types = Vec::from_iter(types).join(", ");
            bail!("{what} has records of several types ({types}): say which with --type")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Value> {
        [("1", "A", "www"), ("2", "A", "www"), ("3", "TXT", "www"), ("4", "MX", "")]
            .map(|(id, kind, label)| {
                let name =
                    if label.is_empty() { "example.com".to_owned() } else { format!("{label}.example.com") };
                json!({ "id": id, "type": kind, "name": name })
            })
            .into()
    }

    #[test]
    fn records_of_several_types_are_removed_only_when_a_type_is_given() {
        let records = records();
        let ids = |what, kind| -> Result<Vec<String>, String> {
            let doomed = doomed(&records, "example.com", what, kind).map_err(|error| error.to_string())?;
            Ok(doomed.iter().map(|record| shown(&record["id"])).collect())
        };
        assert!(ids("www", None).unwrap_err().contains("(A, TXT): say which with --type"));
        assert_eq!(ids("www", Some("a")).unwrap(), ["1", "2"]);
        assert_eq!(ids("WWW.example.com.", Some("TXT")).unwrap(), ["3"]);
        assert_eq!(ids("@", None).unwrap(), ["4"]);
        assert_eq!(ids("2", None).unwrap(), ["2"]);
        assert!(ids("www", Some("MX")).unwrap_err().contains("of type MX"));
        assert!(ids("other", None).unwrap_err().contains("no record other"));
    }

    #[test]
    fn a_name_means_what_the_api_takes_it_for_and_nothing_else() {
        let names =
            ["example.com", "www.example.com", "www.example.com.example.com", "xn--bcher-kva.example.com"];
        let records = names.map(|name| json!({ "name": name }));
        let meant = |zone: &str, name: &str| -> Vec<String> {
            named(&records, zone, name).unwrap().iter().map(|record| shown(&record["name"])).collect()
        };
        assert_eq!(meant("example.com", "www.example.com"), ["www.example.com"]);
        assert_eq!(meant("Example.com.", "www"), ["www.example.com"]);
        assert_eq!(meant("example.com", "@"), ["example.com"]);
        assert_eq!(meant("example.com", "Bücher"), ["xn--bcher-kva.example.com"]);
        assert_eq!(meant("example.com", "bücher.example.com."), ["xn--bcher-kva.example.com"]);
        assert!(named(&records, "example.com", "www.example.net.").is_err());
    }
}

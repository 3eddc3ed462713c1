//! `proxima zones`.

use reqwest::Method;
use serde_json::json;

use super::{ApiArgs, print_table, shown};

/// Zones.
#[derive(Debug, clap::Args)]
pub(crate) struct ZonesArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    command: ZonesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ZonesCommand {
    /// List them.
    List,
    /// Make one.
    Add {
        /// Its name.
        name: String,
    },
    /// Remove one, with everything in it.
    Remove {
        /// Its name.
        name: String,
    },
}

pub(crate) async fn run(args: ZonesArgs) -> anyhow::Result<()> {
    let api = args.api.open()?;
    match args.command {
        ZonesCommand::List => {
            let rows: Vec<Vec<String>> = api
                .all("/zones")
                .await?
                .iter()
                .map(|zone| vec![shown(&zone["name"]), shown(&zone["status"]), shown(&zone["id"])])
                .collect();
            print_table(&["NAME", "STATUS", "ID"], &rows);
        }
        ZonesCommand::Add { name } => {
            let accounts = api.all("/accounts").await?;
            let account = accounts.first().map(|account| account["id"].clone()).unwrap_or_default();
            let zone = api
                .call(Method::POST, "/zones", Some(&json!({ "name": name, "account": { "id": account } })))
                .await?;
            let zone = &zone["result"];
            println!("{} is {}", shown(&zone["name"]), shown(&zone["status"]));
            for server in zone["name_servers"].as_array().into_iter().flatten() {
                println!("delegate it to {}", shown(server));
            }
        }
        ZonesCommand::Remove { name } => {
            let id = api.zone(&name).await?;
            api.call(Method::DELETE, &format!("/zones/{id}"), None).await?;
            println!("{name} is removed");
        }
    }
    Ok(())
}

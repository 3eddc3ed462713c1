//! `proxima log`.

mod restore;

use reqwest::Method;
use serde_json::{Value, json};

use super::{ApiArgs, print_table, printable, shown};

/// Changes that are named in one row of the list.
const NAMED_PER_ROW: usize = 3;

/// The log of changes.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, clap::Subcommand)]
enum LogCommand {
    /// List what was changed lately, the latest first.
    List {
        /// How many entries.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
        entries: u16,
        /// Which page of them.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        page: u64,
    },
    /// Bring zones, records, rules and certificates back to what they were; itself a change, which can be taken back.
    Revert {
        /// The last entry of the state that is to come back.
        #[arg(long, value_name = "SEQUENCE")]
        to: u64,
        /// Only tell what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Make the log new from a server's replica, on the node that has lost it; the node must be stopped.
    Restore(restore::RestoreArgs),
}

pub(crate) async fn run(args: LogArgs) -> anyhow::Result<()> {
    let api = || args.api.open();
    match args.command {
        LogCommand::Restore(args) => restore::run(args).await?,
        LogCommand::List { entries, page } => {
            let path = format!("/proxima/log?per_page={entries}&page={page}");
            let envelope = api()?.call(Method::GET, &path, None).await?;
            let entries = envelope["result"].as_array().into_iter().flatten();
            let rows: Vec<Vec<String>> = entries.map(row).collect();
            print_table(&["SEQUENCE", "TIME", "AUTHOR", "CHANGES"], &rows);
        }
        LogCommand::Revert { to, dry_run } => {
            let body = json!({ "sequence": to, "dry_run": dry_run });
            let envelope = api()?.call(Method::POST, "/proxima/log/revert", Some(&body)).await?;
            let result = &envelope["result"];
            let changes: Vec<&Value> = result["changes"].as_array().into_iter().flatten().collect();
            for change in &changes {
                println!("{}", told(change));
            }
            let total = result["changes_total"].as_u64().unwrap_or_default();
            let named = changes.len() as u64;
            if total > named {
                println!("and {} more", total - named);
            }
            println!("{}", shown(&envelope["messages"][0]["message"]));
            if let Some(sequence) = result["sequence"].as_u64() {
                let from = shown(&result["from"]);
                println!("entry {sequence}; `proxima log revert --to {from}` takes it back");
            }
        }
    }
    Ok(())
}

fn row(entry: &Value) -> Vec<String> {
    let author = match &entry["author_name"] {
        Value::String(name) => format!("{} ({})", printable(name), shown(&entry["author"])),
        _ => shown(&entry["author"]),
    };
    let total = entry["changes_total"].as_u64().unwrap_or_default();
    let mut changes: Vec<String> =
        entry["changes"].as_array().into_iter().flatten().take(NAMED_PER_ROW).map(told).collect();
    let more = total.saturating_sub(changes.len() as u64);
    if more > 0 {
        changes.push(format!("{more} more"));
    }
    vec![shown(&entry["sequence"]), shown(&entry["time"]), author, changes.join(", ")]
}

/// A change in words: what is known of it, or where it lies.
fn told(change: &Value) -> String {
    let action = shown(&change["action"]);
    match (&change["kind"], &change["name"]) {
        (Value::String(kind), Value::String(name)) if kind == "record" => {
            let (kind, content) = (shown(&change["type"]), shown(&change["content"]));
            format!("{action} record {} {kind} {content}", printable(name))
        }
        (kind, Value::String(name)) => format!("{action} {} {}", shown(kind), printable(name)),
        _ => format!("{action} {}", shown(&change["key"])),
    }
}

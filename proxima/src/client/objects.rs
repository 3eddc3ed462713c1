//! `proxima objects`: which servers have Durable Objects, and the operator's word that others are to have them.

use reqwest::Method;
use serde_json::{Value, json};

use super::{ApiArgs, print_table, shown};

/// Durable Objects of all accounts.
#[derive(Debug, clap::Args)]
pub(crate) struct ObjectsArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    command: ObjectsCommand,
}

#[derive(Debug, clap::Args)]
struct OfAccount {
    /// Those of this account alone, by its id or name.
    #[arg(long)]
    account: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum ObjectsCommand {
    /// List which server has which slot of each class's objects, and to which one it is being handed over.
    Homes {
        #[command(flatten)]
        of: OfAccount,
    },
    /// Hand over all objects that a server has to another one: one that is taken out of service, while it still runs.
    HandOver {
        /// The server that has them.
        #[arg(long, value_name = "SERVER")]
        from: String,
        /// The server that is to have them.
        #[arg(long, value_name = "SERVER")]
        to: String,
        #[command(flatten)]
        of: OfAccount,
    },
    /// Have a server go on with the objects that it has not handed over yet.
    Cancel {
        /// The server that has them.
        #[arg(long, value_name = "SERVER")]
        from: String,
        #[command(flatten)]
        of: OfAccount,
    },
    /// Give up all objects that a server has which is lost for good: they begin anew, empty, on another one.
    GiveUp {
        /// The server that is lost.
        #[arg(long, value_name = "SERVER")]
        from: String,
        /// The server that is to have them.
        #[arg(long, value_name = "SERVER")]
        to: String,
        #[command(flatten)]
        of: OfAccount,
        /// All that these objects kept is lost by this.
        #[arg(long, required = true)]
        lose_what_they_keep: bool,
    },
}

pub(crate) async fn run(args: ObjectsArgs) -> anyhow::Result<()> {
    let api = args.api.open()?;
    let id = async |of: OfAccount| match of.account {
        Some(account) => api.account(Some(&account)).await.map(Some),
        None => Ok(None),
    };
    let post = async |step: &str, body: Value| {
        let path = format!("/proxima/durable_objects/{step}");
        let envelope = api.call(Method::POST, &path, Some(&body)).await?;
        let result = &envelope["result"];
        anyhow::Ok(format!("{} slots of {} accounts", shown(&result["slots"]), shown(&result["accounts"])))
    };
    match args.command {
        ObjectsCommand::Homes { of } => {
            let of = id(of).await?.map_or_else(String::new, |account| format!("?account={account}"));
            let slots = api.all(&format!("/proxima/durable_objects/homes{of}")).await?;
            let rows: Vec<Vec<String>> = slots.iter().map(row).collect();
            print_table(&["ACCOUNT", "WORKER", "CLASS", "SLOT", "SERVER", "STATE"], &rows);
        }
        ObjectsCommand::HandOver { from, to, of } => {
            let body = json!({ "from": from, "to": to, "account": id(of).await? });
            let slots = post("hand_over", body).await?;
            println!(
                "{slots} are handed over to {to} from now on; `proxima objects homes` shows how far that is"
            );
        }
        ObjectsCommand::Cancel { from, of } => {
            let slots = post("cancel", json!({ "from": from, "account": id(of).await? })).await?;
            println!("{from} goes on with {slots}");
        }
        ObjectsCommand::GiveUp { from, to, of, lose_what_they_keep } => {
            let account = id(of).await?;
            let body = json!({ "from": from, "to": to, "account": account, "lose_what_they_keep": lose_what_they_keep });
            let slots = post("give_up", body).await?;
            println!("{slots} begin empty on {to}");
        }
    }
    Ok(())
}

fn row(slot: &Value) -> Vec<String> {
    let state = match (&slot["to"], &slot["began_empty"]) {
        (Value::String(_), _) => format!("is being handed over to {}", shown(&slot["to"])),
        (_, Value::Bool(true)) => "began empty".to_owned(),
        _ => String::new(),
    };
    let mut row: Vec<String> =
        ["account_id", "script", "class", "slot", "server"].map(|name| shown(&slot[name])).into();
    row.push(state);
    row
}

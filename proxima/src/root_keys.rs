//! `proxima root-keys`: the root's keys that a node's resolver trusts, or is on its way to (RFC 5011).
//!
//! It reads what the node has written in its data folder and changes nothing: whether the node runs does not matter, and who
//! may read the folder may ask.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use proxima_chassis::NodeConfig;
use proxima_dns::{Followed, FollowedKey};
use proxima_model::Timestamp;
use serde_json::{Value, json};

use crate::client::print_table;

/// Which node.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "States: `valid` is an anchor; `missing` is one that the root's last set had not; `pending` is to become one \
                  when every set has had it until the time shown; `revoked` is none any more, and `removed` was that a while \
                  ago. Keys of anchors_file that no set had yet are anchors too, and are not shown."
)]
pub(crate) struct RootKeysArgs {
    /// The node's configuration, which names its data folder.
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    config: Option<PathBuf>,
    /// The node's data folder; that of `proxima dev` unless given.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: RootKeysArgs) -> anyhow::Result<ExitCode> {
    let folder = match (args.data_dir, args.config) {
        (Some(folder), _) => folder,
        (None, Some(config)) => NodeConfig::load(&config)?.node.data_dir,
        (None, None) => crate::dev::default_data_dir(),
    };
    let followed = proxima_dns::root_keys(&folder)
        .with_context(|| format!("what the node in {} follows of the root's keys", folder.display()))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&as_json(followed.as_ref()))?);
        return Ok(ExitCode::SUCCESS);
    }
    let Some(followed) = followed else {
        println!("nothing is followed in {}: the anchors of the configuration count", folder.display());
        return Ok(ExitCode::SUCCESS);
    };
    match followed.observed_at() {
        Some(at) => println!("the root was last seen to sign its keys at {}", time(at)),
        None => println!("the root was not seen to sign its keys yet"),
    }
    let rows: Vec<Vec<String>> = followed.keys().iter().map(row).collect();
    print_table(&["KEY TAG", "ALGORITHM", "STATE", "TRUSTED", "SINCE", "HELD UNTIL"], &rows);
    Ok(ExitCode::SUCCESS)
}

fn row(key: &FollowedKey) -> Vec<String> {
    let trusted = if key.state.is_trusted() { "yes" } else { "no" };
    vec![
        key.key_tag.to_string(),
        key.algorithm.to_string(),
        key.state.name().to_owned(),
        trusted.to_owned(),
        time(key.since),
        key.held_until.map_or_else(|| "-".to_owned(), time),
    ]
}

fn as_json(followed: Option<&Followed>) -> Value {
    let key = |key: &FollowedKey| {
        json!({
            "key_tag": key.key_tag,
            "algorithm": key.algorithm,
            "state": key.state.name(),
            "trusted": key.state.is_trusted(),
            "since": time(key.since),
            "held_until": key.held_until.map(time),
        })
    };
    let keys = followed.map(Followed::keys).unwrap_or_default();
    json!({
        "observed_at": followed.and_then(Followed::observed_at).map(time),
        "keys": keys.iter().map(key).collect::<Vec<_>>(),
    })
}

fn time(seconds: u64) -> String {
    Timestamp::default().plus_seconds(i64::try_from(seconds).unwrap_or(i64::MAX)).to_string()
}

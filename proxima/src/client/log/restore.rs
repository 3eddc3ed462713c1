//! `proxima log restore`: the one command of these that asks no API, since the node that it is for is stopped.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use proxima_chassis::{NodeConfig, survey_log};
use proxima_ledger::{LogRestore, Source};

use crate::client::{print_table, printable, printable_lines};

#[derive(Debug, clap::Args)]
#[command(after_help = "docs/operating/restore-the-log.md says when, and what then.")]
pub(crate) struct RestoreArgs {
    /// The configuration of the node that keeps the log.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A server to restore from, by its `ledger.listen`; once for each. The one furthest ahead is taken: name all that
    /// can be reached.
    #[arg(long = "from", value_name = "HOST:PORT", required = true)]
    peers: Vec<String>,
    /// Do it; without this, only what would be done and lost is told.
    #[arg(long)]
    yes: bool,
}

/// What cannot be found out here, and is told before anything is changed and when it is.
const BEFORE: &str = "This takes for granted that you have made sure of:
- this node is stopped, and nothing starts it until the restore has ended. That it has the log open, or listens at
  `ledger.listen`, is noticed; that it is about to be started is not
- no other node keeps this network's log. Only the peers above were asked
- this runs as the user that the node runs as: the files that it makes are that user's";

pub(crate) async fn run(args: RestoreArgs) -> anyhow::Result<()> {
    let config = NodeConfig::load(&args.config)?;
    let mut peers = Vec::new();
    for peer in &args.peers {
        peers.push(address(peer)?);
    }
    let survey = survey_log(&config, &peers).await.context("nothing was changed")?;
    tell(&survey);
    if !args.yes {
        println!("\n{BEFORE}\n\nNothing was changed. With --yes, it is done.");
        return Ok(());
    }
    println!("\n{BEFORE}");
    let seq = survey.run().await?;
    println!("\nThe log is restored, up to entry {seq}. Start the node.");
    Ok(())
}

fn address(peer: &str) -> anyhow::Result<SocketAddr> {
    let found = peer.to_socket_addrs().with_context(|| format!("--from {peer}: give such as 10.1.1.2:7400"));
    let Some(address) = found?.next() else { bail!("--from {peer}: it has no address") };
    Ok(address)
}

fn tell(survey: &LogRestore) {
    let rows: Vec<Vec<String>> = survey.sources().iter().map(row).collect();
    print_table(&["PEER", "NAME", "ENTRY", "LOG HEARD AT", "HEARD"], &rows);
    let (address, best) = survey.best();
    let here = survey.damage().map_or_else(
        || "There is no log here.".to_owned(),
        |damage| {
            format!("The log here is damaged ({}); it is set aside, not removed.", printable_lines(damage))
        },
    );
    println!("\n{here} It is made new from {address} ({}), up to entry {}.", printable(&best.name), best.seq);
    println!("\nLost:");
    if let Some(last) = survey.lost() {
        println!("- the changes after entry {}, up to {last}: no peer that was asked holds them", best.seq);
    }
    println!("- changes that were acknowledged and reached none of these peers");
    println!("- the history: entries up to {} can no longer be listed or reverted to", best.seq);
    println!(
        "A server that holds more than entry {} and is not among these will not follow until its replica is removed.",
        best.seq
    );
}

fn row((address, source): &(SocketAddr, Result<Source, String>)) -> Vec<String> {
    match source {
        Ok(source) => vec![
            address.to_string(),
            printable(&source.name),
            source.seq.to_string(),
            source.log_last.to_string(),
            source.log_heard.map_or_else(|| "never".to_owned(), ago),
        ],
        Err(problem) => vec![address.to_string(), printable(problem)],
    }
}

/// To the second: nobody needs it finer.
fn ago(since: Duration) -> String {
    format!("{} s ago", since.as_secs())
}

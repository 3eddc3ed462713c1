//! `proxima node`: one server of a network.

use std::{path::PathBuf, process::ExitCode};

use proxima_chassis::{NodeConfig, NodeContext, init_logging, run_node};
use proxima_model::EdgeAuthority;

use crate::services;

/// One server of a network.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Signals: TERM withdraws, drains and ends; USR2 restarts without refusing a connection; \
                  HUP opens the request log anew, if there is one."
)]
pub(crate) struct NodeArgs {
    /// Its configuration: docs/operating/start.md shows one.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration, with the files and programs that it names, and end.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &NodeArgs) -> anyhow::Result<ExitCode> {
    let config = NodeConfig::load(&args.config)?;
    if args.check {
        services::check(&config)?;
        println!("{}: fine", args.config.display());
        return Ok(ExitCode::SUCCESS);
    }
    serve(config, |_| println!("ready"))
}

/// Runs a node to its end.
pub(crate) fn serve(config: NodeConfig, ready: impl FnOnce(&NodeContext)) -> anyhow::Result<ExitCode> {
    init_logging(config.node.log_format);
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    if config.node.yield_to_workers {
        proxima_chassis::yield_to_workers(&mut threads);
    }
    let runtime = threads.enable_all().thread_name("proxima").build()?;
    let ready = |node: &NodeContext| {
        tokio::spawn(publish_authority(node.clone()));
        ready(node);
    };
    let outcome = runtime.block_on(run_node(config, &services::NAMES.into(), &services::make, ready));
    // Whatever still blocks (a name being resolved, a disk that hangs) must not keep a node that has ended.
    runtime.shutdown_background();
    outcome?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the certificate of the network's own authority where clients can be told to trust it: `ca.pem` in the data
/// folder. Where the network has just begun, the authority is made moments later.
async fn publish_authority(node: NodeContext) {
    let mut applied = node.replica.watch();
    loop {
        applied.borrow_and_update();
        let found = node.replica.snapshot().and_then(|snapshot| snapshot.get::<EdgeAuthority>(&()));
        match found {
            Ok(Some(authority)) => {
                let path = node.config.node.data_dir.join("ca.pem");
                // Whole or not at all: who reads it meanwhile, after a restart, must not find half of it.
                let beside = path.with_extension("pem.new");
                let written = std::fs::write(&beside, authority.certificate_pem);
                if let Err(error) = written.and_then(|()| std::fs::rename(&beside, &path)) {
                    tracing::warn!(path = %path.display(), %error, "the authority's certificate cannot be written");
                }
                return;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the authority's certificate cannot be read"),
        }
        tokio::select! {
            () = node.shutdown.draining() => return,
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}

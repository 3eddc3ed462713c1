//! `proxima watchdog`: the command line between a node and the process that outlives it.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use proxima_anycast::watchdog::{self, WatchdogConfig};
use proxima_chassis::{LogFormat, init_logging};

/// What the node says.
#[derive(Debug, clap::Args)]
pub(crate) struct WatchdogArgs {
    /// Where BIRD's files lie.
    #[arg(long)]
    run_dir: PathBuf,
    /// The BIRD program.
    #[arg(long)]
    bird: PathBuf,
    /// How long the node may be silent, in milliseconds.
    #[arg(long)]
    silence_ms: u32,
    /// BIRD's protocols that hold the announcements.
    announcements: Vec<String>,
}

pub(crate) fn run(args: WatchdogArgs) -> anyhow::Result<ExitCode> {
    init_logging(LogFormat::Text);
    watchdog::run(WatchdogConfig {
        run_dir: args.run_dir,
        bird: args.bird,
        silence: Duration::from_millis(args.silence_ms.into()),
        announcements: args.announcements,
    })?;
    Ok(ExitCode::SUCCESS)
}

//! `proxima lab` alone: what the lab's own tests run, since they cannot wait for the whole of `proxima`.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "proxima-lab")]
enum Cli {
    /// An internet on one machine.
    Lab(proxima_lab::LabArgs),
}

fn main() -> anyhow::Result<ExitCode> {
    let Cli::Lab(args) = Cli::parse();
    proxima_lab::run(args)
}

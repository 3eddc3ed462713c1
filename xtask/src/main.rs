//! Every chore of a developer, and nothing else: `cargo xtask CHORE`.
//!
//! ```text
//! setup   installs what is missing ──┐
//! up      setup → build → lab → tour │   packages.toml, tests/requirements.txt: what, which version, why
//! test    setup → fmt, tidy, deny, nextest with clippy beside it, what measures alone, doc tests
//! tidy    house rules as failing checks (tidy.toml: the exceptions, with their reasons)
//! bench   setup → release build → Proxima and its peers in one run → target/bench/NAME.json
//! fuzz    cargo-fuzz → the parsers under libFuzzer, where a nightly toolchain is at hand
//! ```
//!
//! Invariants: a chore that is repeated does nothing the second time; it prints what it is about to do; it exits
//! non-zero when any part failed. Nothing is downloaded except packages, in the versions that the lists pin.
//!
//! Limits: Debian and its kin (apt), x86-64 and arm64. Dependencies stay few, so that this crate builds in seconds.

mod bench;
mod command;
mod fuzz;
mod setup;
mod test;
mod tidy;
mod up;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Every chore of a developer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what is missing of the packages that we build, test and run with.
    Setup {
        /// Also what the benchmarks need: the peers and the load generators.
        #[arg(long)]
        bench: bool,
    },
    /// Set up, build, start the lab and run the guided tour through it; and leave the lab up.
    Up {
        /// End after the tour; the exit code says whether it showed what it should.
        #[arg(long)]
        once: bool,
    },
    /// Set up, then check everything: format, house rules, dependencies, lints, tests and lab scenarios.
    Test {
        /// Leave out what needs root or much time: set-up and the lab scenarios.
        #[arg(long)]
        fast: bool,
    },
    /// Check the house rules.
    Tidy,
    /// Measure Proxima against its peers, side by side on this machine.
    Bench {
        /// Which benchmark: http, mixed, disk, connections, workers, kv, r2, dns, resolver or ledger.
        name: String,
        /// Handed to the benchmark as they are.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Fuzz a parser, or each of them in turn.
    Fuzz {
        /// Which fuzz target of fuzz/; all of them if absent.
        target: Option<String>,
        /// How long to fuzz each target.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = Workspace::load().and_then(|workspace| match arguments.chore {
        Chore::Setup { bench } => setup::run(&workspace, bench),
        Chore::Up { once } => up::run(&workspace, once),
        Chore::Test { fast } => test::run(&workspace, fast),
        Chore::Tidy => tidy::run(&workspace),
        Chore::Bench { name, arguments } => bench::run(&workspace, &name, &arguments),
        Chore::Fuzz { target, seconds } => fuzz::run(&workspace, target.as_deref(), seconds),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! `cargo xtask bench NAME`: builds for release, then runs the benchmark of that name.
//!
//! The benchmarks themselves live in `benches/` (package `proxima-benches`), which also says how they measure.

use std::fs;

use anyhow::{Context, Result};

use crate::command;
use crate::setup;
use crate::workspace::Workspace;

/// Sets up with the peers, builds, and measures; the result is printed and written to `target/bench/NAME.json`.
pub(crate) fn run(workspace: &Workspace, name: &str, arguments: &[String]) -> Result<()> {
    setup::run(workspace, true)?;
    let packages = ["--package", "proxima", "--package", "proxima-benches"];
    command::run(workspace.cargo(["build", "--release"]).args(packages))?;

    let results = workspace.target.join("bench");
    fs::create_dir_all(&results).with_context(|| format!("making the folder {}", results.display()))?;
    let release = workspace.target.join("release");
    let mut bench = std::process::Command::new(release.join("proxima-bench"));
    bench.arg(name).arg("--proxima").arg(release.join("proxima")).arg("--results").arg(&results);
    bench.env("PROXIMA_WORKERD", setup::workerd(workspace)).env("PROXIMA_WEED", setup::weed(workspace));
    bench.args(arguments).current_dir(&workspace.root);
    command::run(&mut bench)
}

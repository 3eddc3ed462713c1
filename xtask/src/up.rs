//! `cargo xtask up`: from a fresh machine to a running internet with a tour through it.

use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::command;
use crate::setup;
use crate::workspace::Workspace;

/// Sets up, builds, and becomes the tour. Returns only if the tour could not be started: its exit code is ours.
pub(crate) fn run(workspace: &Workspace, once: bool) -> Result<()> {
    setup::run(workspace, false)?;
    command::run(&mut workspace.cargo(["build", "--workspace", "--locked"]))?;

    let binary = workspace.target.join("debug/proxima");
    let mut tour = command::as_root(&binary)?;
    tour.arg("tour").arg("--packages").arg(&workspace.target).current_dir(&workspace.root);
    if once {
        tour.arg("--once");
    }
    if !command::is_root()? {
        println!(
            "The lab makes network namespaces and starts routers, for which it must be root: sudo may ask."
        );
    }
    println!("$ {}", command::shown(&tour));
    Err(tour.exec()).with_context(|| format!("starting `{}`", command::shown(&tour)))
}

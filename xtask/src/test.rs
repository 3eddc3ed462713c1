//! `cargo xtask test`: everything that must hold before a change lands, cheapest first.
//!
//! ```text
//! set-up ─▶ format ─▶ house rules ─▶ dependencies ─▶ build of tests ─┬▶ tests, several at once ────────┬▶ measured tests ─▶ examples
//!                                                                    └▶ lints, in what those leave over ┘  each alone
//! ```
//!
//! Most tests wait most of the time. So clippy runs beside them, by the kernel's policy for what is idle (sched(7)), and is over before
//! anything is measured.
//!
//! All steps run even if one fails, so that one run tells all that is to be mended; the summary at the end gives each
//! step's time and outcome, and says once more what failed.

mod beside;
mod built;
mod failed;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use self::beside::Beside;
use self::built::{Built, Which};
use crate::command;
use crate::setup;
use crate::tidy;
use crate::workspace::Workspace;

/// Runs every check. `fast` leaves out the set-up and the lab scenarios, and so needs no root.
pub(crate) fn run(workspace: &Workspace, fast: bool) -> Result<()> {
    if !fast && !command::is_root()? {
        bail!(
            "the lab scenarios make network namespaces, for which they must be root: run \
             `sudo --preserve-env=HOME env \"PATH=$PATH\" cargo xtask test`, or `cargo xtask test --fast` without them"
        );
    }
    let mut steps = Steps::default();
    if !fast {
        // Nothing after it can be trusted when the packages are not there.
        steps.run("set-up", || setup::run(workspace, false));
        steps.stop_if_failed()?;
    }
    steps.run("format", || command::run(&mut workspace.cargo(["fmt", "--all", "--check"])));
    steps.run("house rules", || tidy::run(workspace));
    steps.run("dependencies", || dependencies(workspace));
    match steps.run("build of tests", || Built::build(workspace)) {
        Some(built) => {
            let lints = Beside::start(&mut lints(workspace), &workspace.target.join("lints.log"));
            steps.run("tests", || built.run(workspace, Which::Shared, fast));
            steps.run("lints", || lints?.finish());
            steps.run("measured tests", || built.run(workspace, Which::Measured, fast));
        }
        None => {
            steps.run("lints", || command::run(&mut lints(workspace)));
        }
    }
    steps.run("examples in docs", || {
        command::run_quietly(&mut workspace.cargo(["test", "--workspace", "--doc", "--quiet", "--locked"]))
    });
    steps.finish()
}

/// Advisories are left out because their database is fetched from a host that is no package registry: see deny.toml.
fn dependencies(workspace: &Workspace) -> Result<()> {
    command::run(&mut workspace.cargo(["deny", "--locked", "check", "bans", "licenses", "sources"]))
}

fn lints(workspace: &Workspace) -> Command {
    workspace.cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"])
}

#[derive(Default)]
struct Steps {
    done: Vec<Step>,
}

struct Step {
    name: &'static str,
    took: Duration,
    error: Option<anyhow::Error>,
}

impl Steps {
    /// What the step made, unless it failed.
    fn run<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Option<T> {
        println!("\n━━ {name}");
        let start = Instant::now();
        let (made, error) = match step() {
            Ok(made) => (Some(made), None),
            Err(error) => {
                eprintln!("error: {error:#}");
                (None, Some(error))
            }
        };
        self.done.push(Step { name, took: start.elapsed(), error });
        made
    }

    fn failed(&self) -> Vec<&'static str> {
        self.done.iter().filter(|step| step.error.is_some()).map(|step| step.name).collect()
    }

    fn stop_if_failed(&self) -> Result<()> {
        if self.failed().is_empty() { Ok(()) } else { self.finish() }
    }

    fn finish(&self) -> Result<()> {
        println!("\n━━ summary");
        for step in &self.done {
            let outcome = if step.error.is_none() { "ok" } else { "FAILED" };
            println!("{:<20} {:>8.1} s   {outcome}", step.name, step.took.as_secs_f64());
        }
        let failed = self.failed();
        if failed.is_empty() {
            return Ok(());
        }
        println!("\n━━ what failed");
        for Step { name, error, .. } in &self.done {
            if let Some(error) = error {
                println!("{name}: {error:#}");
            }
        }
        bail!("failed: {}", failed.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_does_not_stop_the_next_but_fails_the_whole() {
        let mut steps = Steps::default();
        let mut ran = false;
        assert_eq!(steps.run("first", || -> Result<()> { bail!("broken") }), None);
        steps.run("second", || {
            ran = true;
            Ok(())
        });
        assert!(ran);
        assert_eq!(steps.finish().unwrap_err().to_string(), "failed: first");
    }
}

//! `cargo xtask test`: everything that must hold before a change lands, cheapest first.
//!
//! All steps run even if one fails, so that one run tells all that is to be mended; the summary at the end gives each
//! step's time and outcome.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

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
    steps.run("lints", || lints(workspace));
    steps.run("tests", || tests(workspace, fast));
    steps.run("examples in docs", || {
        command::run(&mut workspace.cargo(["test", "--workspace", "--doc", "--quiet", "--locked"]))
    });
    steps.finish()
}

/// Advisories are left out because their database is fetched from a host that is no package registry: see deny.toml.
fn dependencies(workspace: &Workspace) -> Result<()> {
    command::run(&mut workspace.cargo(["deny", "--locked", "check", "bans", "licenses", "sources"]))
}

fn lints(workspace: &Workspace) -> Result<()> {
    command::run(&mut workspace.cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ]))
}

/// What a lab scenario is, .config/nextest.toml says with the same expression.
const NOT_LAB: &str = "not ((package(proxima-lab) & kind(test)) | test(/(^|::)lab_/))";

fn tests(workspace: &Workspace, fast: bool) -> Result<()> {
    let mut nextest = workspace.cargo(["nextest", "run", "--workspace", "--locked"]);
    // Many tests wait for a minute, a lifetime or a client to pass: one more than there are processors keeps those busy.
    let at_once = std::thread::available_parallelism().map_or(1, usize::from) + 1;
    nextest.args(["--test-threads", &at_once.to_string()]);
    nextest.env("PROXIMA_PYTHON", setup::python(workspace));
    nextest.env("PROXIMA_HTTP_CACHE_TESTS", setup::http_cache_tests(workspace));
    nextest.env("PROXIMA_WORKERS_PACKAGES", setup::workers_packages(workspace));
    if fast {
        nextest.args(["--filterset", NOT_LAB]);
    }
    command::run(&mut nextest)
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
    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) {
        println!("\n━━ {name}");
        let start = Instant::now();
        let error = step().err();
        if let Some(error) = &error {
            eprintln!("error: {error:#}");
        }
        self.done.push(Step { name, took: start.elapsed(), error });
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
        steps.run("first", || bail!("broken"));
        steps.run("second", || {
            ran = true;
            Ok(())
        });
        assert!(ran);
        assert_eq!(steps.finish().unwrap_err().to_string(), "failed: first");
    }
}

//! The tests, built once and run in parts: while nextest runs what is built, it keeps cargo from nothing.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use super::failed;
use crate::command::{self, shown};
use crate::setup;
use crate::workspace::Workspace;

/// A lab scenario, as `.config/nextest.toml` says it too.
const LAB: &str = "(package(proxima-lab) & kind(test)) | test(/(^|::)lab_/)";
/// What `.config/nextest.toml` says of tests that run alone.
const ALL_THREADS: &str = "num-test-threads";

/// See the module.
pub(super) struct Built {
    metadata: PathBuf,
    binaries: PathBuf,
    /// The tests beside which nothing may run: those of which nextest's settings say so.
    measured: String,
}

/// Which of the tests.
#[derive(Clone, Copy)]
pub(super) enum Which {
    /// Those that run beside others.
    Shared,
    /// Those that measure, beside which nothing runs.
    Measured,
}

impl Built {
    /// Builds all tests.
    pub(super) fn build(workspace: &Workspace) -> Result<Self> {
        let settings = workspace.root.join(".config/nextest.toml");
        let text =
            fs::read_to_string(&settings).with_context(|| format!("reading {}", settings.display()))?;
        let measured = measured(&text).with_context(|| format!("reading {}", settings.display()))?;
        let metadata = workspace.target.join("tests-metadata.json");
        let binaries = workspace.target.join("tests-binaries.json");
        let mut asked = workspace.cargo(["metadata", "--format-version", "1", "--locked"]);
        keep(&mut asked, &metadata)?;
        let list = ["nextest", "list", "--workspace", "--locked", "--list-type", "binaries-only"];
        keep(workspace.cargo(list).args(["--message-format", "json"]), &binaries)?;
        Ok(Self { metadata, binaries, measured })
    }

    /// Runs some of them; `fast` leaves out the lab's.
    pub(super) fn run(&self, workspace: &Workspace, which: Which, fast: bool) -> Result<()> {
        let mut nextest = workspace.cargo(["nextest", "run"]);
        nextest.arg("--cargo-metadata").arg(&self.metadata);
        nextest.arg("--binaries-metadata").arg(&self.binaries);
        // Many tests wait for a minute, a lifetime or a client to pass: one more than there are processors keeps those busy.
        let at_once = std::thread::available_parallelism().map_or(1, usize::from) + 1;
        nextest.args(["--test-threads", &at_once.to_string()]);
        nextest.args(["--filterset", &self.filter(which, fast)]);
        nextest.env("PROXIMA_PYTHON", setup::python(workspace));
        nextest.env("PROXIMA_HTTP_CACHE_TESTS", setup::http_cache_tests(workspace));
        nextest.env("PROXIMA_WORKERS_PACKAGES", setup::workers_packages(workspace));
        // Below the root, wherever cargo's own folder is.
        let report = workspace.root.join("target/nextest/default/junit.xml");
        // A run that does not begin would leave the former one's; there may be none.
        fs::remove_file(&report).ok();
        command::run(&mut nextest).map_err(|error| match failed::told(&report) {
            Ok(told) => anyhow!("{error:#}\n{told}"),
            Err(unread) => anyhow!("{error:#}; {unread:#}"),
        })
    }

    fn filter(&self, which: Which, fast: bool) -> String {
        let not = match which {
            Which::Shared => "not ",
            Which::Measured => "",
        };
        let not_lab = if fast { format!(" & not ({LAB})") } else { String::new() };
        format!("{not}({}){not_lab}", self.measured)
    }
}

/// Runs a command whose output goes to a file, and whose progress is shown.
fn keep(command: &mut Command, file: &std::path::Path) -> Result<()> {
    println!("$ {}", shown(command));
    let output = File::create(file).with_context(|| format!("making {}", file.display()))?;
    let status = command.stdin(Stdio::null()).stdout(output).status().context("starting cargo")?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

#[derive(Deserialize)]
struct Settings {
    profile: Profiles,
}

#[derive(Deserialize)]
struct Profiles {
    default: Profile,
}

#[derive(Deserialize)]
struct Profile {
    overrides: Vec<Override>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Override {
    filter: Option<String>,
    threads_required: Option<toml::Value>,
}

/// The expression for the tests that take all threads, by nextest's settings.
fn measured(settings: &str) -> Result<String> {
    let settings: Settings = toml::from_str(settings)?;
    let overrides = settings.profile.default.overrides.into_iter();
    let alone = overrides
        .filter(|these| these.threads_required.as_ref().and_then(toml::Value::as_str) == Some(ALL_THREADS));
    let filter = |these: Override| Some(format!("({})", these.filter?));
    let filters =
        alone.map(filter).collect::<Option<Vec<_>>>().context("all tests of a platform take all threads")?;
    if filters.is_empty() {
        bail!("no test takes all threads (`threads-required = \"{ALL_THREADS}\"`), and some measure");
    }
    Ok(filters.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_take_all_threads_run_alone_and_all_others_beside_the_lints() {
        let settings = r#"
            [[profile.default.overrides]]
            filter = "package(a) | test(x)"
            threads-required = "num-test-threads"
            [[profile.default.overrides]]
            filter = "test(slow)"
            slow-timeout = { period = "60s" }
            [[profile.default.overrides]]
            filter = "test(two)"
            threads-required = 2
            [[profile.default.overrides]]
            filter = "test(lab)"
            threads-required = "num-test-threads"
        "#;
        let measured = measured(settings).unwrap();
        assert_eq!(measured, "(package(a) | test(x)) | (test(lab))");
        let built = Built { metadata: PathBuf::new(), binaries: PathBuf::new(), measured };
        assert_eq!(built.filter(Which::Measured, false), "((package(a) | test(x)) | (test(lab)))");
        assert_eq!(built.filter(Which::Shared, false), "not ((package(a) | test(x)) | (test(lab)))");
        let fast = built.filter(Which::Shared, true);
        assert_eq!(fast, format!("not ((package(a) | test(x)) | (test(lab))) & not ({LAB})"));
    }

    #[test]
    fn settings_without_any_that_run_alone_are_refused() {
        let error = super::measured("[[profile.default.overrides]]\nfilter = 'test(x)'").unwrap_err();
        assert!(error.to_string().contains("no test takes all threads"), "{error}");
    }

    #[test]
    fn lab_scenarios_are_what_nextest_runs_alone() {
        assert!(measured(include_str!("../../../.config/nextest.toml")).unwrap().contains(LAB));
    }
}

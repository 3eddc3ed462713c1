//! `cargo xtask setup`: what is missing of the packages, and nothing else, is installed.
//!
//! Each kind first asks the machine what is there (dpkg, `cargo TOOL --version`, the stamps of the Python and the Node packages), so
//! a set-up with nothing to do takes well under a second and touches no network.

mod apt;
mod cargo_tools;
mod node;
mod python;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::workspace::Workspace;

pub(crate) use node::{http_cache_tests, workerd, workers_packages};
pub(crate) use python::{interpreter as python, weed};

/// `packages.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Packages {
    /// Code name of the Debian release that the versions are of.
    release: String,
    apt: Vec<AptPackage>,
    cargo: Vec<CargoTool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AptPackage {
    name: String,
    /// What the installed version must begin with.
    version: String,
    why: String,
    /// What the package starts by itself, and must not.
    #[serde(default)]
    services: Vec<String>,
    /// The program that makes the package needless if it is there already.
    unless: Option<String>,
    #[serde(default)]
    bench: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CargoTool {
    name: String,
    version: String,
    why: String,
    #[serde(default)]
    fuzz: bool,
    #[serde(default)]
    bench: bool,
}

/// Installs what is missing; with `bench`, also the benchmarks' peers and load generators.
pub(crate) fn run(workspace: &Workspace, bench: bool) -> Result<()> {
    let packages = read(&workspace.root.join("xtask/packages.toml"))?;
    apt::install(&packages, bench)?;
    python::install(workspace)?;
    node::install(workspace)?;
    cargo_tools::install(packages.cargo.iter().filter(|tool| !tool.fuzz && (bench || !tool.bench)))
}

/// Installs what only fuzzing needs, if it is missing.
pub(crate) fn fuzz(workspace: &Workspace) -> Result<()> {
    let packages = read(&workspace.root.join("xtask/packages.toml"))?;
    cargo_tools::install(packages.cargo.iter().filter(|tool| tool.fuzz))
}

fn read(path: &PathBuf) -> Result<Packages> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("parsing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_packages_parses_and_gives_each_a_reason() {
        let packages = read(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packages.toml")).unwrap();
        assert!(packages.apt.iter().all(|package| !package.why.is_empty() && !package.version.is_empty()));
        assert!(packages.cargo.iter().all(|tool| !tool.why.is_empty()));
    }
}

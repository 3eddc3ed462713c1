//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, under libFuzzer.
//!
//! Fuzzing needs a nightly toolchain and cargo-fuzz, which the stable workspace must not depend on; so `fuzz/libfuzzer/`
//! is a workspace of its own, which holds a `main` for each target. The targets themselves are those of `fuzz/`, which
//! `cargo xtask test` runs too, over their seeds and what becomes of them. What is missing of cargo-fuzz is installed
//! here, and only here. The versions of the dependencies are those of the house: its lock file is where this one begins.
//!
//! Each target begins with the inputs of `fuzz/seeds/TARGET`, which are in git, and with those that former runs found
//! worth keeping, in `fuzz/corpus/TARGET`, which are not.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command;
use crate::setup;
use crate::workspace::Workspace;

/// Where the mains are.
const MAINS: &str = "fuzz/libfuzzer";

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    bin: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Fuzzes `target`, or each target in turn, for `seconds` each; fails at the first input that crashes one.
pub(crate) fn run(workspace: &Workspace, target: Option<&str>, seconds: u64) -> Result<()> {
    let path = workspace.root.join(MAINS).join("Cargo.toml");
    let manifest = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let chosen = choose(&manifest, target)?;

    let nightly = command::output(cargo().args(["+nightly", "--version"]))?;
    if !nightly.status.success() {
        bail!("fuzzing needs a nightly toolchain: run `rustup toolchain install nightly --profile minimal`");
    }
    setup::fuzz(workspace)?;
    fs::copy(workspace.root.join("Cargo.lock"), workspace.root.join(MAINS).join("Cargo.lock"))
        .context("giving the mains the versions of the house")?;
    for name in chosen {
        let mut fuzz = cargo();
        fuzz.args(["+nightly", "fuzz", "run", "--fuzz-dir", MAINS, &name]).current_dir(&workspace.root);
        // libFuzzer adds what it finds to the first folder.
        for (folder, must_be) in [("corpus", true), ("seeds", false)] {
            let folder = workspace.root.join("fuzz").join(folder).join(&name);
            if must_be {
                fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            }
            if folder.exists() {
                fuzz.arg(folder);
            }
        }
        fuzz.args(["--", &format!("-max_total_time={seconds}")]);
        command::run(&mut fuzz).with_context(|| format!("fuzzing {name}"))?;
    }
    Ok(())
}

/// Rustup's cargo, which alone understands `+nightly`.
fn cargo() -> std::process::Command {
    let mut cargo = std::process::Command::new("cargo");
    // A cargo that runs us pins the toolchain in the environment, which would win over `+nightly`.
    cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    cargo
}

fn choose(manifest: &str, wanted: Option<&str>) -> Result<Vec<String>> {
    let manifest: Manifest = toml::from_str(manifest).context("parsing fuzz/libfuzzer/Cargo.toml")?;
    let names: Vec<String> = manifest.bin.into_iter().map(|target| target.name).collect();
    match wanted {
        None if names.is_empty() => bail!("fuzz/libfuzzer/Cargo.toml declares no target"),
        None => Ok(names),
        Some(name) if names.iter().any(|known| known == name) => Ok(vec![name.to_owned()]),
        Some(name) => bail!("there is no fuzz target `{name}`; there are: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[[bin]]\nname = \"dns_message\"\n[[bin]]\nname = \"http1_head\"\n";

    #[test]
    fn without_a_name_every_target_is_fuzzed() {
        assert_eq!(choose(MANIFEST, None).unwrap(), ["dns_message", "http1_head"]);
    }

    #[test]
    fn an_unknown_target_is_answered_with_the_known_ones() {
        let error = choose(MANIFEST, Some("http2")).unwrap_err().to_string();
        assert_eq!(error, "there is no fuzz target `http2`; there are: dns_message, http1_head");
    }
}

//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, under libFuzzer.
//!
//! Fuzzing needs a nightly toolchain and cargo-fuzz, which the stable workspace must not depend on; so `fuzz/` is a
//! workspace of its own, and `cargo xtask test` does not build it: there, property tests cover the same parsers.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command;
use crate::workspace::Workspace;

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
    let path = workspace.root.join("fuzz/Cargo.toml");
    let manifest = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let chosen = choose(&manifest, target)?;

    if !command::output(&mut command::cargo(["fuzz", "--version"]))?.status.success() {
        bail!("cargo-fuzz is not installed: run `cargo install cargo-fuzz --locked`");
    }
    for name in chosen {
        // Through rustup's cargo, which alone understands `+nightly`.
        let mut fuzz = std::process::Command::new("cargo");
        fuzz.args(["+nightly", "fuzz", "run", &name, "--", &format!("-max_total_time={seconds}")]);
        // A cargo that runs us pins the toolchain in the environment, which would win over `+nightly`.
        fuzz.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").current_dir(&workspace.root);
        command::run(&mut fuzz).with_context(|| {
            format!("fuzzing {name} (without a nightly toolchain: `rustup toolchain install nightly`)")
        })?;
    }
    Ok(())
}

fn choose(manifest: &str, wanted: Option<&str>) -> Result<Vec<String>> {
    let manifest: Manifest = toml::from_str(manifest).context("parsing fuzz/Cargo.toml")?;
    let names: Vec<String> = manifest.bin.into_iter().map(|target| target.name).collect();
    match wanted {
        None if names.is_empty() => bail!("fuzz/Cargo.toml declares no target"),
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

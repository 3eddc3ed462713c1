//! Cargo's own tools, and the peers of benchmarks that are written in Rust, compiled by `cargo install`.

use std::process::Command;

use anyhow::Result;

use super::CargoTool;
use crate::command;

/// Installs those that are not there, into cargo's own folder: they outlive a clone, for they take minutes to compile.
pub(super) fn install<'t>(tools: impl Iterator<Item = &'t CargoTool>) -> Result<()> {
    for tool in tools {
        if is_there(tool) {
            continue;
        }
        println!("Installing {} {}, which {}.", tool.name, tool.version, tool.why);
        let mut install = command::cargo(["install", &tool.name, "--version", &tool.version, "--locked"]);
        if !tool.bench {
            // A tool that works for a second need not be optimized for minutes; what is measured must be.
            install.arg("--debug").env("CARGO_PROFILE_DEV_DEBUG", "0");
        }
        install.arg("--quiet");
        // Else it would be built in our own target folder, and stay there.
        install.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET_DIR");
        command::run(&mut install)?;
    }
    Ok(())
}

fn is_there(tool: &CargoTool) -> bool {
    let mut asked = match tool.name.strip_prefix("cargo-") {
        Some(subcommand) => command::cargo([subcommand]),
        None => Command::new(&tool.name),
    };
    // A program that is not there cannot be started.
    command::output(asked.arg("--version")).is_ok_and(|said| {
        said.status.success() && satisfies(&String::from_utf8_lossy(&said.stdout), &tool.version)
    })
}

/// Whether what a tool printed for `--version` is `wanted`, or newer in the same minor series.
fn satisfies(printed: &str, wanted: &str) -> bool {
    let found = printed.split_whitespace().find_map(parse_version);
    match (found, parse_version(wanted)) {
        (Some([major, minor, patch]), Some([wanted_major, wanted_minor, wanted_patch])) => {
            (major, minor) == (wanted_major, wanted_minor) && patch >= wanted_patch
        }
        _ => false,
    }
}

fn parse_version(text: &str) -> Option<[u32; 3]> {
    // `cargo:2.5.0`, `v2.5.0`.
    let text = text.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let mut numbers = text.split('.').map(str::parse);
    let version = [numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?];
    numbers.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_patch_of_the_same_series_will_do_and_nothing_else() {
        assert!(satisfies("cargo-nextest 0.9.143 (60fa45f63 2026-08-04)\nrelease: 0.9.143", "0.9.143"));
        assert!(satisfies("cargo-deny 0.20.10", "0.20.2"));
        assert!(satisfies("garage cargo:2.5.0 [features: k2v, lmdb]", "2.5.0"));
        assert!(!satisfies("cargo-deny 0.20.1", "0.20.2"));
        assert!(!satisfies("cargo-deny 0.21.2", "0.20.2"));
        assert!(!satisfies("", "0.20.2"));
    }
}

//! Compiles the kernel's half of connection forwarding (`bpf/stray.bpf.c`) with clang.

use std::{env, path::PathBuf, process::Command};

const SOURCE: &str = "bpf/stray.bpf.c";
/// As Debian's packages call it: the unversioned name is another package.
const CLANGS: [&str; 2] = ["clang", "clang-14"];

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("stray.bpf.o");
    let runs = |clang: &str| Command::new(clang).arg("--version").output().is_ok();
    let Some(clang) = CLANGS.iter().find(|clang| runs(clang)) else {
        println!(
            "cargo::error=clang is not installed, which compiles {SOURCE}, an eBPF program: run `cargo xtask setup`"
        );
        return;
    };
    let mut command = Command::new(clang);
    command.args(["-target", "bpf", "-O2", "-g", "-Wall", "-Werror", "-c", SOURCE, "-o"]).arg(out);
    // Debian keeps the headers that differ between architectures in a folder for each.
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    command.arg(format!("-I/usr/include/{arch}-linux-gnu"));
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            for line in String::from_utf8_lossy(&output.stderr).lines() {
                println!("cargo::error={line}");
            }
            println!(
                "cargo::error={SOURCE} does not compile with {clang}; `cargo xtask setup` installs what it needs"
            );
        }
        Err(error) => println!("cargo::error=running {clang}: {error}"),
    }
}

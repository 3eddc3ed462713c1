//! The Node packages of the whole-system suites, in `target/http-cache`: the suite `http-cache-tests`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::workspace::Workspace;

/// The oldest that the suite runs on: it uses modules and numeric versions of the language of then.
const MAJOR_MIN: u32 = 18;
/// What says which packages, and which octets they are.
const FILES: [&str; 2] = ["package.json", "package-lock.json"];

/// The folder `node_modules`. Tests find it in the environment as `PROXIMA_HTTP_CACHE_TESTS`.
pub(crate) fn modules(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("node_modules")
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("http-cache")
}

/// Installs the packages anew when the lock changed, and otherwise leaves them alone.
pub(super) fn install(workspace: &Workspace) -> Result<()> {
    let mut stamp = String::new();
    for name in FILES {
        let path = workspace.root.join("tests/http-cache").join(name);
        stamp += &fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    }
    // The stamp is written last, so an installation that was cut off is made anew.
    let folder = folder(workspace);
    let stamp_path = folder.join("installed.stamp");
    if fs::read_to_string(&stamp_path).is_ok_and(|present| present == stamp) {
        return Ok(());
    }
    let version = command::stdout(Command::new("node").arg("--version"))?;
    if major(version.trim()).is_none_or(|major| major < MAJOR_MIN) {
        bail!("node is `{}`; Node {MAJOR_MIN} or newer is needed", version.trim());
    }
    println!("Installing the Node packages of tests/http-cache: a suite that tests the cache.");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    for name in FILES {
        let from = workspace.root.join("tests/http-cache").join(name);
        fs::copy(&from, folder.join(name)).with_context(|| format!("copying {}", from.display()))?;
    }
    let mut npm = Command::new("npm");
    // No install scripts of strangers, and only packages whose hashes we locked.
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&folder);
    command::run(&mut npm)?;
    fs::write(&stamp_path, stamp).with_context(|| format!("writing {}", stamp_path.display()))
}

/// `v20.20.2` → 20.
fn major(text: &str) -> Option<u32> {
    text.strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_the_first_number() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major("20.20.2"), None);
    }
}

//! The Python environment of the whole-system suites, in `target/venv`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::workspace::Workspace;

/// The oldest that the locked packages support, and the one that they were locked with.
const VERSION_MIN: (u32, u32) = (3, 11);

/// The Python that has the packages of tests/requirements.txt. Tests find it in the environment as `PROXIMA_PYTHON`.
pub(crate) fn interpreter(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("bin/python")
}

/// SeaweedFS, which is one of those packages.
pub(crate) fn weed(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("bin/weed")
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("venv")
}

/// Makes the environment anew when the lock or the Python changed, and otherwise leaves it alone.
pub(super) fn install(workspace: &Workspace) -> Result<()> {
    let lock_path = workspace.root.join("tests/requirements.txt");
    let lock = fs::read_to_string(&lock_path).with_context(|| format!("reading {}", lock_path.display()))?;
    let version = command::stdout(Command::new("python3").arg("--version"))?;
    let version = version.trim();
    if parse_version(version).is_none_or(|version| version < VERSION_MIN) {
        bail!("python3 is `{version}`; Python {}.{} or newer is needed", VERSION_MIN.0, VERSION_MIN.1);
    }

    // The stamp is written last, so an installation that was cut off is made anew.
    let folder = folder(workspace);
    let stamp_path = folder.join("installed.stamp");
    let stamp = format!("{version}\n{lock}");
    if fs::read_to_string(&stamp_path).is_ok_and(|present| present == stamp) {
        return Ok(());
    }
    println!(
        "Installing the Python packages of tests/requirements.txt: clients that the tests drive Proxima with, and \
         SeaweedFS."
    );
    command::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(interpreter(workspace));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    // No build scripts of strangers: only wheels, and only those whose hashes we locked.
    pip.args(["--only-binary=:all:", "--require-hashes", "--requirement"]).arg(&lock_path);
    command::run(&mut pip)?;
    fs::write(&stamp_path, stamp).with_context(|| format!("writing {}", stamp_path.display()))
}

/// `Python 3.11.7` → (3, 11).
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("Python ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse_version("Python 3.11.7"), Some((3, 11)));
        assert!(parse_version("Python 3.9.2").unwrap() < VERSION_MIN);
        assert_eq!(parse_version("pypy"), None);
    }
}

//! The Node packages, each set in a folder of `target`: the suite `http-cache-tests`, the engine of Workers with the tool
//! that deploys them, and what the examples import.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::workspace::Workspace;

/// The oldest that the suite runs on: it uses modules and numeric versions of the language of then. (`workerd` needs none,
/// `wrangler` a newer one: its tests say so.)
const MAJOR_MIN: u32 = 18;
/// What says which packages, and which octets they are.
const FILES: [&str; 2] = ["package.json", "package-lock.json"];

/// Packages that are installed together.
#[derive(Clone, Copy)]
struct Set {
    /// The folder of the repository that says which.
    sources: &'static str,
    /// The one below `target` where they are.
    folder: &'static str,
    what_for: &'static str,
}

const HTTP_CACHE: Set =
    Set { sources: "tests/http-cache", folder: "http-cache", what_for: "a suite that tests the cache" };
const WORKERS: Set = Set {
    sources: "tests/workers",
    folder: "workers",
    what_for: "the engine of Workers, wrangler, which deploys them, and the SDK of the API",
};
const HONO: Set =
    Set { sources: "examples/hono", folder: "hono", what_for: "the framework of an example of Workers" };

/// The folder `node_modules` with the suite. Tests find it in the environment as `PROXIMA_HTTP_CACHE_TESTS`.
pub(crate) fn http_cache_tests(workspace: &Workspace) -> PathBuf {
    HTTP_CACHE.target(workspace).join("node_modules")
}

/// The folder `node_modules` with `workerd` and `wrangler`. Tests find it in the environment as `PROXIMA_WORKERS_PACKAGES`.
pub(crate) fn workers_packages(workspace: &Workspace) -> PathBuf {
    WORKERS.target(workspace).join("node_modules")
}

/// The engine among those.
pub(crate) fn workerd(workspace: &Workspace) -> PathBuf {
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "64" };
    workers_packages(workspace).join(format!("@cloudflare/workerd-linux-{machine}/bin/workerd"))
}

/// Installs those sets whose lock changed, and leaves the others alone.
pub(super) fn install(workspace: &Workspace) -> Result<()> {
    [HTTP_CACHE, WORKERS, HONO].into_iter().try_for_each(|set| set.install(workspace))
}

impl Set {
    fn target(self, workspace: &Workspace) -> PathBuf {
        workspace.target.join(self.folder)
    }

    fn install(self, workspace: &Workspace) -> Result<()> {
        let sources = workspace.root.join(self.sources);
        let mut stamp = String::new();
        for name in FILES {
            let path = sources.join(name);
            stamp += &fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        }
        // The stamp is written last, so an installation that was cut off is made anew.
        let folder = self.target(workspace);
        let stamp_path = folder.join("installed.stamp");
        if fs::read_to_string(&stamp_path).is_ok_and(|present| present == stamp) {
            return Ok(());
        }
        let version = command::stdout(Command::new("node").arg("--version"))?;
        if major(version.trim()).is_none_or(|major| major < MAJOR_MIN) {
            bail!("node is `{}`; Node {MAJOR_MIN} or newer is needed", version.trim());
        }
        println!("Installing the Node packages of {}: {}.", self.sources, self.what_for);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        for name in FILES {
            let from = sources.join(name);
            fs::copy(&from, folder.join(name)).with_context(|| format!("copying {}", from.display()))?;
        }
        let mut npm = Command::new("npm");
        // No install scripts of strangers, and only packages whose hashes we locked.
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&folder);
        command::run(&mut npm)?;
        fs::write(&stamp_path, stamp).with_context(|| format!("writing {}", stamp_path.display()))
    }
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

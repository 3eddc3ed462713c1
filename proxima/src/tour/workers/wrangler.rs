//! Stock wrangler, run by the site's owner in Paris on an example of the repository.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, bail};
use proxima_lab::Lab;

use super::super::{Tour, quoted, tell::OUTPUT_LINES_MAX};

/// Who deploys.
const OWNER: &str = "paris";
/// Tells wrangler where the API is, as `examples/README.md` has people do it, and runs it: after routers, which have
/// milliseconds to answer on the same processors.
const SHELL: &str = "export CLOUDFLARE_API_BASE_URL=$PROXIMA_API/client/v4 CLOUDFLARE_API_TOKEN=$PROXIMA_TOKEN; \
                     exec nice -n 10 node \"$@\" 2>&1";

/// Where what is deployed comes from, and what deploys and runs it.
pub(in super::super) struct Sources {
    /// The folder `examples` of the repository.
    examples: PathBuf,
    /// The folder in which the set-up has a folder with `node_modules` for each set of packages.
    packages: PathBuf,
}

impl Sources {
    /// Looks whether all is there.
    pub(in super::super) fn find(examples: &Path, packages: &Path) -> anyhow::Result<Self> {
        let absolute = |path: &Path| {
            std::path::absolute(path).with_context(|| format!("finding the folder {}", path.display()))
        };
        let sources = Self { examples: absolute(examples)?, packages: absolute(packages)? };
        let examples = super::EXAMPLES.map(|name| sources.examples.join(name).join("wrangler.toml"));
        for path in examples {
            if !path.exists() {
                bail!("{} is not there: name the repository's folder with --examples", path.display());
            }
        }
        for path in [
            sources.workerd(),
            sources.wrangler(),
            sources.aws(),
            sources.packages.join("hono/node_modules/hono"),
        ] {
            if !path.exists() {
                bail!(
                    "{} is not there: run `cargo xtask setup`, or name its folder `target` with --packages",
                    path.display()
                );
            }
        }
        Ok(sources)
    }

    /// The engine.
    pub(in super::super) fn workerd(&self) -> PathBuf {
        proxima_lab::workerd_in(&self.packages.join("workers/node_modules"))
    }

    /// The command line of S3.
    pub(super) fn aws(&self) -> PathBuf {
        self.packages.join("venv/bin/aws")
    }

    fn wrangler(&self) -> PathBuf {
        self.packages.join("workers/node_modules/wrangler/bin/wrangler.js")
    }
}

/// An example, in a folder of its own: wrangler writes beside what it deploys.
pub(super) struct Project {
    name: &'static str,
    folder: PathBuf,
    wrangler: PathBuf,
    account: String,
}

/// When wrangler said what.
pub(super) struct Deployed {
    /// Its code was bundled, or its files read, and the upload began.
    pub(super) begun: Instant,
    /// The API had taken all of it.
    pub(super) acknowledged: Instant,
}

impl Project {
    /// Copies the example of this name.
    pub(super) fn copy(tour: &Tour, name: &'static str) -> anyhow::Result<Self> {
        let (from, folder) = (tour.sources.examples.join(name), tour.lab.state().dir().join(name));
        copy(&from, &folder).with_context(|| format!("copying {}", from.display()))?;
        let modules = tour.sources.packages.join(name).join("node_modules");
        if modules.exists() {
            std::os::unix::fs::symlink(&modules, folder.join("node_modules"))
                .with_context(|| format!("linking {}", modules.display()))?;
        }
        Ok(Self { name, folder, wrangler: tour.sources.wrangler(), account: super::account(tour)? })
    }

    /// Changes one of its files.
    pub(super) fn edit(&self, file: &str, change: impl FnOnce(String) -> String) -> anyhow::Result<()> {
        let path = self.folder.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        fs::write(&path, change(text)).with_context(|| format!("writing {}", path.display()))
    }

    /// What is shown of a command of it.
    pub(super) fn shown(&self, args: &[&str]) -> String {
        let words: Vec<String> = args.iter().map(|word| quoted(word)).collect();
        format!("cd examples/{}; proxima lab exec {OWNER} -- wrangler {}", self.name, words.join(" "))
    }

    /// Runs wrangler, and shows what it says.
    pub(super) fn run(&self, lab: &Lab, args: &[&str]) -> anyhow::Result<String> {
        self.lines(lab, args, |_| {})
    }

    /// The same with `deploy`, and when it did what.
    pub(super) fn deploy(&self, lab: &Lab, args: &[&str]) -> anyhow::Result<Deployed> {
        let (mut begun, mut acknowledged) = (None, None);
        self.lines(lab, args, |line| {
            if line.starts_with("Total Upload") || line.contains("Starting asset upload") {
                begun.get_or_insert_with(Instant::now);
            } else if line.starts_with("Uploaded ") {
                acknowledged = Some(Instant::now());
            }
        })?;
        let unsaid = "wrangler did not say when it uploaded the Worker";
        Ok(Deployed { begun: begun.context(unsaid)?, acknowledged: acknowledged.context(unsaid)? })
    }

    fn lines(&self, lab: &Lab, args: &[&str], mut heard: impl FnMut(&str)) -> anyhow::Result<String> {
        let mut wrangler = self.command(lab, args)?;
        let mut running = wrangler.stdout(Stdio::piped()).spawn().context("starting wrangler")?;
        let said = running.stdout.take().context("wrangler has an output")?;
        let mut text = String::new();
        for (number, line) in BufReader::new(said).lines().enumerate() {
            let line = line.context("reading what wrangler says")?;
            heard(&line);
            if number < OUTPUT_LINES_MAX {
                println!("    {line}");
            }
            text += &format!("{line}\n");
        }
        if !running.wait().context("waiting for wrangler")?.success() {
            bail!("`wrangler {}` failed:\n{text}", args.join(" "));
        }
        Ok(text)
    }

    fn command(&self, lab: &Lab, args: &[&str]) -> anyhow::Result<Command> {
        let mut shell = lab.command(OWNER, "sh")?;
        shell.args(["-c", SHELL, "sh"]).arg(&self.wrangler).args(args).current_dir(&self.folder);
        shell.env("CLOUDFLARE_ACCOUNT_ID", &self.account);
        // It asks nobody, tells nobody, and writes nothing elsewhere.
        shell.env("HOME", &self.folder).env("WRANGLER_SEND_METRICS", "false").env("CI", "1");
        shell.stdin(Stdio::null());
        Ok(shell)
    }
}

/// Copies a folder with all that a repository has in it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, target) = (entry.file_name(), to.join(entry.file_name()));
        if !entry.file_type()?.is_dir() {
            fs::copy(entry.path(), target)?;
        } else if name != "node_modules" && name != ".wrangler" {
            copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}

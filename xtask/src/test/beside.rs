//! A command that runs beside others and takes what they leave of the processors; what it says is printed when they are done.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::shown;

/// See the module. Dropped, it is ended.
pub(super) struct Beside {
    child: Child,
    shown: String,
    log: PathBuf,
}

impl Beside {
    /// Starts it. What it says goes to `log`, which is made anew.
    pub(super) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let shown = shown(command);
        let failed = || format!("starting `{shown}`");
        let file = File::create(log).with_context(|| format!("making {}", log.display()))?;
        let mut idle = Command::new("chrt");
        idle.args(["--idle", "0"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => idle.env(name, value),
                None => idle.env_remove(name),
            };
        }
        // With whatever it starts, so that all of that can be ended.
        idle.process_group(0);
        if let Some(folder) = command.get_current_dir() {
            idle.current_dir(folder);
        }
        idle.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = idle.spawn().with_context(failed)?;
        println!("$ {shown}, beside what follows");
        Ok(Self { child, shown, log: log.to_owned() })
    }

    /// Waits for it, and prints what it said.
    pub(super) fn finish(mut self) -> Result<()> {
        println!("$ {}, begun before", self.shown);
        let status = self.child.wait().with_context(|| format!("waiting for `{}`", self.shown))?;
        // A compiler quotes what it was given, whatever that is.
        print!("{}", String::from_utf8_lossy(&fs::read(&self.log).context("reading what it said")?));
        if !status.success() {
            bail!("`{}` failed: {status}", self.shown);
        }
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended, and was waited for then.
        if matches!(self.child.try_wait(), Ok(None)) {
            let group = format!("-{}", self.child.id());
            Command::new("kill").args(["-KILL", "--", &group]).status().ok();
            self.child.wait().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_said_is_kept_and_its_failure_is_one() {
        let folder = std::env::temp_dir().join(format!("proxima-beside-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let log = folder.join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo said $WHAT in $(basename $PWD); chrt --pid $$; exit 3"]);
        command.env("WHAT", "this").current_dir(&folder);
        let error = Beside::start(&mut command, &log).unwrap().finish().unwrap_err();
        let said = fs::read_to_string(&log).unwrap();
        assert!(error.to_string().ends_with("failed: exit status: 3"), "{error}");
        assert!(said.starts_with("said this in proxima-beside-") && said.contains("SCHED_IDLE"), "{said}");
        fs::remove_dir_all(folder).unwrap();
    }
}

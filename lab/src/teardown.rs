//! Removes all of a lab, running or crashed. Idempotent: it looks at what is there, not at what should be.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::control::{self, Request};
use crate::error::{Doing, LabError, Result};
use crate::netns::{NETNS_DIR, ip_batch};
use crate::process::wait_until;
use crate::state::LabState;

/// How long processes may take to die after SIGKILL.
const DEATH_DEADLINE: Duration = Duration::from_secs(10);

/// Takes the lock that the daemon holds as long as it lives.
///
/// # Errors
/// A daemon lives.
pub(crate) fn lock(state: &LabState) -> Result<Flock<File>> {
    let path = state.lock();
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .doing(|| format!("opening {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        Errno::EWOULDBLOCK => LabError::AlreadyUp(state.name().to_owned()),
        error => LabError::Io { doing: format!("locking {}", path.display()), source: error.into() },
    })
}

/// Ends the daemon, kills what runs in the lab's namespaces, deletes them and the state folder.
pub(crate) fn down(state: &LabState) -> Result<()> {
    if state.dir().exists() {
        refuse_foreign(state)?;
        end_daemon(state)?;
    }
    let namespaces = namespaces(state)?;
    kill_inhabitants(&namespaces)?;
    let batch: String = namespaces.iter().map(|name| format!("netns delete {name}\n")).collect();
    ip_batch(None, &batch)?;
    if state.dir().exists() {
        std::fs::remove_dir_all(state.dir()).doing(|| format!("removing {}", state.dir().display()))?;
    }
    if let Some(root) = state.dir().parent() {
        // Stays while another lab lives in it.
        let _ = std::fs::remove_dir(root);
    }
    Ok(())
}

/// A folder that no lab made must not be deleted because of a mistyped --state-root.
fn refuse_foreign(state: &LabState) -> Result<()> {
    if state.lock().exists() {
        return Ok(());
    }
    Err(LabError::Malformed {
        what: format!("the state folder {}", state.dir().display()),
        why: "it has no daemon.lock, so no lab made it: choose another --state-root or --name".to_owned(),
    })
}

fn end_daemon(state: &LabState) -> Result<()> {
    let is_gone = || lock(state).is_ok();
    if is_gone() {
        return Ok(());
    }
    // Asked, it ends its children in order. A daemon that hangs or is still coming up is killed: the rest is swept.
    if control::ask(state, &Request::Down).is_ok() && wait_until(DEATH_DEADLINE, is_gone) {
        return Ok(());
    }
    let text = std::fs::read_to_string(state.lock()).doing(|| "reading the daemon's pid".to_owned())?;
    if let Ok(pid) = text.trim().parse::<i32>() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    if wait_until(DEATH_DEADLINE, is_gone) {
        return Ok(());
    }
    Err(LabError::Daemon(format!(
        "the daemon of the lab `{}` (pid {}) does not die",
        state.name(),
        text.trim()
    )))
}

/// The lab's namespaces that exist.
pub(crate) fn namespaces(state: &LabState) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(NETNS_DIR) {
        Ok(entries) => entries,
        // Nobody has made any namespace yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).doing(|| format!("listing {NETNS_DIR}")),
    };
    let prefix = state.namespace_prefix();
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| name.starts_with(&prefix)).collect())
}

/// Kills every process whose network namespace is one of these.
fn kill_inhabitants(namespaces: &[String]) -> Result<()> {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let ours: Vec<_> =
        namespaces.iter().filter_map(|name| identity(&Path::new(NETNS_DIR).join(name))).collect();
    let inhabitants = || -> Vec<i32> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let inside = |pid: &i32| {
            identity(Path::new(&format!("/proc/{pid}/ns/net"))).is_some_and(|net| ours.contains(&net))
        };
        pids.filter(inside).collect()
    };
    let emptied = wait_until(DEATH_DEADLINE, || {
        let pids = inhabitants();
        for pid in &pids {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        pids.is_empty()
    });
    if emptied {
        return Ok(());
    }
    Err(LabError::Daemon(format!("processes {:?} in the lab's namespaces do not die", inhabitants())))
}

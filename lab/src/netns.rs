//! Network namespaces: entering them, and running things in them.
//!
//! They are made and deleted by `ip netns`, so that every tool of iproute2 sees them.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns};

use crate::error::{Doing, LabError, Result};

/// Where iproute2 keeps named namespaces.
pub(crate) const NETNS_DIR: &str = "/run/netns";
/// How much of a failed program's output an error repeats.
const OUTPUT_BYTES_SHOWN: usize = 2000;

fn open(namespace: &str) -> Result<File> {
    let path = PathBuf::from(NETNS_DIR).join(namespace);
    File::open(&path).doing(|| format!("opening the network namespace {namespace}"))
}

/// Runs `work` on a thread of its own inside the namespace. Sockets that it makes stay in the namespace wherever they
/// go later; threads that it starts are inside too.
///
/// # Errors
/// The namespace does not exist or cannot be entered, or `work` fails.
pub(crate) fn within<T: Send>(namespace: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let file = open(namespace)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).doing(|| format!("entering the namespace {namespace}"))?;
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Moves a command that is not yet started into the namespace.
pub(crate) fn enter(command: &mut Command, namespace: &str) -> Result<()> {
    let file = open(namespace)?;
    // SAFETY: setns(2) is async-signal-safe, and the closure owns the descriptor.
    unsafe {
        command.pre_exec(move || setns(&file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from));
    }
    Ok(())
}

/// Runs a program with this on its standard input; what it printed.
pub(crate) fn feed(command: &mut Command, input: &str) -> Result<String> {
    let program = format!("{command:?}");
    let doing = || format!("running {program}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().doing(doing)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early tells why on stderr; that is the better error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().doing(doing)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let start = said.floor_char_boundary(said.len().saturating_sub(OUTPUT_BYTES_SHOWN));
    let (status, output) = (output.status.to_string(), said[start..].trim().to_owned());
    Err(LabError::ProgramFailed { program, status, output })
}

/// Runs a batch of `ip` commands, in a namespace or in none.
pub(crate) fn ip_batch(namespace: Option<&str>, batch: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    feed(command.args(["-batch", "-"]), batch).map(drop)
}

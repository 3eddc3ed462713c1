//! Graceful restart: the next process gets the listeners before this one lets go of them.
//!
//! ```text
//!  SIGUSR2 ─▶ this process: spawn itself anew, with all listening sockets and the writing end of a pipe
//!                 │                       │ next process: starts, serves, writes one octet, is ready
//!                 ▼                       ▼
//!          waits for the octet ◀──────────┘
//!            │ came                       │ did not come in time, or the next process died
//!            ▼                            ▼
//!          drains, exits 0             goes on serving, and says so
//! ```

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    process::Stdio,
    time::Duration,
};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use tokio::io::AsyncReadExt;

use crate::{Listeners, listeners::HANDED_OVER, program, start_ordinarily};

/// The environment variable that holds the pipe into which the next process says that it is ready.
const READY_FD: &str = "PROXIMA_READY_FD";
/// How long the next process may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Starts the next process and waits until it serves. Dropping this before ends the next process.
pub(crate) async fn start_next(listeners: Listeners) -> io::Result<()> {
    let (sockets, text) = listeners.hand_over()?;
    let (ready, told) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let mut command = tokio::process::Command::new(program()?);
    command
        .args(std::env::args_os().skip(1))
        .env(HANDED_OVER, text)
        .env(READY_FD, told.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let handed: Vec<OwnedFd> = sockets.into_iter().chain([told]).collect();
    let keep = move || {
        for fd in &handed {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: only fcntl(2) is called between fork and exec; it is async-signal-safe, and the closure allocates nothing.
    unsafe { command.pre_exec(keep) };
    let mut next = start_ordinarily(|| command.spawn())?;
    // Our copies, of which the pipe's writing end would hide from us that the next process has died.
    drop(command);
    let mut ready = tokio::net::unix::pipe::Receiver::from_owned_fd_unchecked(ready)?;
    let mut octet = [0];
    let failure = match tokio::time::timeout(READY_WITHIN, ready.read_exact(&mut octet)).await {
        Ok(Ok(_)) => {
            // It serves now, and outlives us.
            std::mem::forget(next);
            return Ok(());
        }
        Ok(Err(_)) => "the next process ended before it was ready",
        Err(_) => "the next process was not ready in time",
    };
    next.kill().await.ok();
    Err(io::Error::other(failure))
}

/// Tells the former process, if there is one, that this one serves.
pub(crate) fn tell_former() {
    let Some(fd) = std::env::var(READY_FD).ok().and_then(|fd| fd.parse().ok()).filter(|fd| *fd > 2) else {
        return;
    };
    // SAFETY: the former process opened this descriptor for us alone and says so in our environment; it is used once.
    let pipe = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    nix::unistd::write(&pipe, b"1").ok();
}

/// Whether this process took over from a former one.
pub(crate) fn took_over() -> bool {
    std::env::var_os(READY_FD).is_some()
}

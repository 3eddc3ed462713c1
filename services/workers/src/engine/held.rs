//! Who keeps a process from everybody else, known within some tens of milliseconds.
//!
//! ```text
//!  a request ─ written ─▶ the kernel ─ read by the process ─▶ its Worker begins ─▶ answered
//!                            │ for WAITED nothing was read, nothing came out of it, and its thread had a processor:
//!                            ▼
//!                         held: by one of those whose requests were read
//! ```
//!
//! All Workers of a process run on one thread. While one computes, no request is read, and the kernel tells of each connection whether
//! what was written to it was ([`Wire`](super::wire::Wire)). So whoever waits unread has not begun, and is not to blame. Who comes after
//! that was found out is asked in the next process; what was written stays where it is, since nobody can take it back: it would be read
//! later all the same, and do twice what it does. Only versions that have begun wait for each other, and they alone are suspects when
//! the process is ended; where none has, whoever was answered last may still compute, and is.
//!
//! Invariants: what holds a process is known for one state of its progress, and is nothing any more when something comes out of it; a
//! version that may hold it is sent nowhere else by this; no request is sent twice by this.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    os::fd::RawFd,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use nix::libc;
use tokio::time::sleep;

use super::{process::Process, watch};
use crate::version::VersionKey;

nix::ioctl_read_bad!(octets_unread, libc::TIOCOUTQ, libc::c_int);

/// After how long without an answer it is looked whether a request was read: most code computes for less.
const WAITED: Duration = Duration::from_millis(20);
/// How soon again, until the process's thread has had [`TAKEN`] since the first look: one that gets no processor is not held.
const AGAIN: Duration = Duration::from_millis(10);
/// Twice as long each time, up to this.
const AGAIN_MAX: Duration = Duration::from_millis(500);
/// One tick of the kernel's clock for programs.
const TAKEN: Duration = Duration::from_millis(10);

/// What the engine reads of a connection at a time, at the least: of longer writes the kernel does not tell when their beginning is read.
const READ_AT_ONCE: usize = 4 << 10;

/// A connection's socket, as long as it is open.
#[derive(Debug)]
pub(crate) struct Line {
    socket: Mutex<Option<RawFd>>,
    writes: AtomicU32,
    /// Whether the last of them is read at once.
    is_short: AtomicBool,
}

impl Line {
    /// Of a socket whose owner says when it closes it.
    pub(crate) fn new(socket: RawFd) -> Self {
        Self { socket: Mutex::new(Some(socket)), writes: AtomicU32::new(0), is_short: AtomicBool::new(false) }
    }

    /// The socket is about to be closed.
    pub(crate) fn close(&self) {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// So many octets were written to it.
    pub(crate) fn wrote(&self, octets: usize) {
        self.is_short.store(octets <= READ_AT_ONCE, Ordering::Relaxed);
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something was.
    pub(crate) fn writes(&self) -> u32 {
        self.writes.load(Ordering::Relaxed)
    }

    /// How much of it was not read, in the kernel's own measure (tcp(7), `SIOCOUTQ`).
    pub(crate) fn unread(&self) -> Option<libc::c_int> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unread = 0;
        // SAFETY: the descriptor is open as long as the lock is held, and the kernel writes one number, for which there is room.
        unsafe { octets_unread((*socket)?, &raw mut unread) }.ok()?;
        Some(unread)
    }

    /// Whether anything was read of what was written since there were so many writes. What is not known is taken for read: of several
    /// writes, and of long ones.
    pub(crate) fn was_read_since(&self, writes: u32) -> bool {
        match self.writes().wrapping_sub(writes) {
            0 => false,
            1 if self.is_short.load(Ordering::Relaxed) => self.unread().is_none_or(|unread| unread == 0),
            _ => true,
        }
    }
}

/// Who may keep a process from everybody else, as long as nothing comes out of it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) progress: u64,
    pub(crate) begun: BTreeSet<VersionKey>,
}

impl Process {
    /// Looks, as long as this is waited for, whether a request has to wait for another version's.
    pub(crate) async fn look_who_holds(&self, number: u64) -> Infallible {
        let (mut first, mut wait) = (None, WAITED);
        loop {
            sleep(wait).await;
            wait = if wait == WAITED { AGAIN } else { AGAIN_MAX.min(wait * 2) };
            if self.has_begun(number) {
                return std::future::pending().await;
            }
            let progress = self.progress();
            // Its own start is no holding.
            if progress == 0 || self.is_held(progress) {
                continue;
            }
            let Some(cpu) = self.id().and_then(watch::cpu) else { continue };
            match first {
                Some((then, since)) if then == progress => {
                    if cpu.saturating_sub(since) >= TAKEN {
                        self.hold(progress);
                    }
                }
                _ => first = Some((progress, cpu)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::{fd::AsRawFd as _, unix::net::UnixStream},
    };

    use super::*;

    #[test]
    fn a_short_write_is_read_or_not_and_of_others_it_is_not_known() {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let line = Line::new(ours.as_raw_fd());
        let write = |ours: &mut UnixStream| {
            ours.write_all(b"abc").expect("it is taken");
            line.wrote(3);
        };
        assert!(!line.was_read_since(0), "nothing was written");
        write(&mut ours);
        assert!(!line.was_read_since(0));
        theirs.read_exact(&mut [0; 3]).expect("it is there");
        assert!(line.was_read_since(0) && !line.was_read_since(1));
        write(&mut ours);
        assert!(line.was_read_since(0), "that of both is not known");
        assert!(!line.was_read_since(1));
        line.close();
        assert!(line.was_read_since(1), "nor that of a socket that is closed");
        let line = Line::new(ours.as_raw_fd());
        line.wrote(READ_AT_ONCE + 1);
        assert!(line.was_read_since(0), "nor that of what is read in parts");
    }
}

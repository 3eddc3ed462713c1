//! A connection to a process, which tells when the process has read what was written.
//!
//! Whatever a Worker does, its process reads on as long as its thread is free to: while an upload or the messages of a
//! WebSocket go in, nothing may come out of it for long, and it is at work all the same. That the kernel took octets says
//! nothing, for it keeps some; that it keeps no more of them than before the last were written says that the process did read.
//! What comes out of it says so by itself, and the kernel is not asked then: not before a request that follows an answer.

use std::{
    io,
    os::fd::AsRawFd as _,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use nix::libc;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::held::Line;
use crate::local::LocalStream;

/// The connection.
pub(crate) struct Wire {
    stream: LocalStream,
    line: Arc<Line>,
    progress: Arc<AtomicU64>,
    last: Option<Look>,
    /// Whether something was read since the last write.
    has_answered: bool,
}

/// What was seen before the last write.
struct Look {
    /// What the kernel kept, in its own measure (tcp(7), `SIOCOUTQ`).
    unread: libc::c_int,
    /// Whether something was written then.
    written: bool,
}

impl Wire {
    /// Counts in `progress`.
    pub(crate) fn new(stream: LocalStream, progress: Arc<AtomicU64>) -> Self {
        let line = Arc::new(Line::new(stream.as_raw_fd()));
        Self { stream, line, progress, last: None, has_answered: false }
    }

    /// By which others see what was read of it.
    pub(crate) const fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Whether nothing came of it that was not read, nor its end.
    pub(super) fn is_quiet(&self) -> bool {
        self.stream.is_quiet()
    }

    /// Looks, before more is written, whether something was read since the last time. Who writes faster than is read may
    /// write again when three quarters of what the kernel keeps, some 150 KiB, have been.
    fn look(&mut self) {
        if std::mem::take(&mut self.has_answered) {
            return;
        }
        let Some(unread) = self.line.unread() else { return };
        let read = |last: &Look| unread < last.unread || (last.written && unread == last.unread);
        if self.last.as_ref().is_some_and(read) {
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
        self.last = Some(Look { unread, written: false });
    }

    fn wrote(&mut self, taken: io::Result<usize>) -> Poll<io::Result<usize>> {
        let octets = *taken.as_ref().unwrap_or(&0);
        if let Some(last) = &mut self.last {
            last.written |= octets > 0;
        }
        self.line.wrote(octets);
        Poll::Ready(taken)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.line.close();
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.last = None;
            self.has_answered = true;
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.look();
        let taken = ready!(Pin::new(&mut self.stream).poll_write(context, octets));
        self.wrote(taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.look();
        let taken = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, pieces));
        self.wrote(taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_was_written_counts_once_it_was_read() {
        let (ours, mut theirs) = tokio::net::UnixStream::pair().expect("a pair of sockets");
        let ours = ours.try_into().expect("one of them");
        let progress = Arc::new(AtomicU64::new(0));
        let mut wire = Wire::new(ours, Arc::clone(&progress));
        let counted = || progress.load(Ordering::Relaxed);
        let mut read = [0; 3];
        for _ in 0..3 {
            wire.write_all(b"abc").await.expect("it is taken");
        }
        assert_eq!(counted(), 0, "the kernel has all of it");
        for _ in 0..3 {
            theirs.read_exact(&mut read).await.expect("it is there");
        }
        wire.write_all(b"abc").await.expect("it is taken");
        assert_eq!(counted(), 1);
        wire.write_all(b"abc").await.expect("it is taken");
        assert_eq!(counted(), 1, "the last was not read");
        wire.write_all(b"abc").await.expect("it is taken");
        assert_eq!(counted(), 1, "nor was any since");
        theirs.read_exact(&mut read).await.expect("it is there");
        theirs.read_exact(&mut read).await.expect("it is there");
        wire.write_all(b"abc").await.expect("it is taken");
        assert_eq!(counted(), 2, "some was, though not all");
        theirs.write_all(b"abc").await.expect("it is taken");
        wire.read_exact(&mut read).await.expect("it is there");
        theirs.read_exact(&mut read).await.expect("it is there");
        wire.write_all(b"abc").await.expect("it is taken");
        assert_eq!(counted(), 2, "who reads the answer knows that it came");
        for expected in [2, 3] {
            theirs.read_exact(&mut read).await.expect("it is there");
            wire.write_all(b"abc").await.expect("it is taken");
            assert_eq!(counted(), expected, "one was looked at, and then what it was compared with");
        }
    }
}

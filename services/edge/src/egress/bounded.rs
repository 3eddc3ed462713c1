//! The other side of a WebSocket that code has opened: it fails when nothing has moved on it for too long, either way, as visitors' do.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use proxima_pipeline::Upgraded;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::deadline::Deadline;

pub(super) struct Bounded {
    io: Upgraded,
    idle_max: Duration,
    until: Deadline,
}

impl Bounded {
    pub(super) fn new(io: Upgraded, idle_max: Duration) -> Self {
        let mut bounded = Self { io, idle_max, until: Deadline::default() };
        bounded.moved();
        bounded
    }

    fn moved(&mut self) {
        self.until.set(Instant::now() + self.idle_max);
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.io).poll_read(context, into) {
            self.moved();
            return Poll::Ready(read);
        }
        ready!(self.until.poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(context, octets));
        self.moved();
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const IDLE_MAX: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn it_fails_when_nothing_has_moved_for_too_long_and_goes_on_while_anything_does() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut bounded = Bounded::new(Box::new(near), IDLE_MAX);
        let begun = Instant::now();
        for comes in [true, false, true] {
            let reading = tokio::time::timeout(IDLE_MAX * 2 / 3, bounded.read_u8());
            assert!(reading.await.is_err(), "not yet");
            if comes {
                far.write_all(b"x").await.unwrap();
                assert_eq!(bounded.read_u8().await.unwrap(), b'x');
            } else {
                bounded.write_all(b"y").await.unwrap();
            }
        }
        assert_eq!(bounded.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), IDLE_MAX * 3);
    }
}

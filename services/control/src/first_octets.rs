//! A connection that has to begin to speak in time.
//!
//! Whether a connection is HTTP/1.1 or HTTP/2 is told by its first octets, and the deadline for a request's head runs only
//! from then on. A connection that says nothing, or stops within the preface of HTTP/2, would hold its place for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// Octets after which the protocol is known: the preface of HTTP/2 (RFC 9113, 3.4). No request with credentials is shorter.
const PREFACE_OCTETS: usize = 24;

/// A stream whose reads fail when its first octets do not come in time.
pub(crate) struct FirstOctets<S> {
    stream: S,
    /// Until the first octets are here.
    missing: Option<Missing>,
}

struct Missing {
    octets: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S> FirstOctets<S> {
    /// This stream, of which the first octets have to come within this time from now.
    pub(crate) fn new(stream: S, within: Duration) -> Self {
        let deadline = Box::pin(tokio::time::sleep(within));
        Self { stream, missing: Some(Missing { octets: PREFACE_OCTETS, deadline }) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstOctets<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some(missing) = &mut self.missing else { return read };
        if read.is_pending() {
            ready!(missing.deadline.as_mut().poll(cx));
            let message = "the first octets did not come in time";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
        }
        missing.octets = missing.octets.saturating_sub(buffer.filled().len() - before);
        if missing.octets == 0 {
            self.missing = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstOctets<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const WITHIN: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_stops_within_the_preface_is_left() {
        for said in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let (mut client, server) = duplex(64);
            client.write_all(said.as_bytes()).await.unwrap();
            let mut server = FirstOctets::new(server, WITHIN);
            let began = tokio::time::Instant::now();
            let error = server.read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 15), "{said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_spoke_in_time_may_think_for_as_long_as_they_like() {
        let (mut client, server) = duplex(64);
        let mut server = FirstOctets::new(server, WITHIN);
        client.write_all(&[b'a'; PREFACE_OCTETS]).await.unwrap();
        server.read_exact(&mut [0; PREFACE_OCTETS]).await.unwrap();
        tokio::time::advance(WITHIN * 2).await;
        assert!(tokio::time::timeout(WITHIN, server.read_u8()).await.is_err(), "it waits");
        client.write_all(b"b").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'b');
    }
}

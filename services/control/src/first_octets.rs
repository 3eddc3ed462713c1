//! A connection that has begun to speak.
//!
//! Whether a connection is HTTP/1.1 or HTTP/2 is told by its first octets, and both the deadline for a request's head and
//! the graceful end of a connection that is served begin only then: one that says nothing would hold its place for ever,
//! and one that is about to speak would be closed before it is heard when the node drains. So the octets that tell are
//! read first, and given back to whoever serves.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What a client of HTTP/2 says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Octets of the first read: most requests' heads.
const FIRST_READ_OCTETS: usize = 1_024;

/// A stream whose first octets are here.
pub(crate) struct Begun<S> {
    first: BytesMut,
    stream: S,
}

impl<S: AsyncRead + Unpin> Begun<S> {
    /// Waits until the protocol is known.
    ///
    /// # Errors
    /// The connection ends or breaks before.
    pub(crate) async fn of(mut stream: S) -> io::Result<Self> {
        let mut first = BytesMut::with_capacity(FIRST_READ_OCTETS);
        while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
            if stream.read_buf(&mut first).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self { first, stream })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let octets = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..octets]);
        self.first.advance(octets);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
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
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn who_says_nothing_or_stops_within_the_preface_has_not_begun() {
        for said in [&PREFACE[..0], &PREFACE[..1], &PREFACE[..PREFACE.len() - 1]] {
            let (mut client, server) = duplex(64);
            client.write_all(said).await.unwrap();
            let mut begun = Box::pin(Begun::of(server));
            assert!(begun.as_mut().now_or_never().is_none(), "{said:?}");
            drop(client);
            assert_eq!(begun.await.err().map(|error| error.kind()), Some(io::ErrorKind::UnexpectedEof));
        }
    }

    #[tokio::test]
    async fn all_that_was_said_is_read_in_pieces_of_any_size() {
        for said in ["G", "GET / HTTP/1.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore"] {
            let (mut client, server) = duplex(64);
            client.write_all(said.as_bytes()).await.unwrap();
            let mut server = Begun::of(server).await.unwrap();
            client.write_all(b" and later").await.unwrap();
            drop(client);
            let mut heard = Vec::new();
            let mut piece = [0; 7];
            loop {
                match server.read(&mut piece).await.unwrap() {
                    0 => break,
                    octets => heard.extend_from_slice(&piece[..octets]),
                }
            }
            assert_eq!(heard, format!("{said} and later").as_bytes());
        }
    }
}

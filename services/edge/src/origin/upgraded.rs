//! A connection that the origin has switched to another protocol (RFC 9110, 7.8).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;

/// The origin's side. What it sent right behind its 101 is read first.
pub(super) struct UpgradedOrigin(pub(super) Connection);

impl AsyncRead for UpgradedOrigin {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Connection { transport, buffer, .. } = &mut self.0;
        buffer.poll_left(transport, context, into)
    }
}

impl AsyncWrite for UpgradedOrigin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.transport).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.transport).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.transport).poll_shutdown(context)
    }
}

//! The body of an origin's answer, as far as it is an origin's: how its request goes on, and for how long it may be silent.

use std::{
    io,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use proxima_http1::{Answering, Upload, UploadError};
use proxima_pipeline::BodyError;
use tokio::time::Instant;

use super::connection::Connection;

/// A connection over which an origin's answer comes.
pub(super) struct AnsweringOrigin {
    connection: Connection,
    between_reads: Duration,
}

impl AnsweringOrigin {
    pub(super) fn new(mut connection: Connection, between_reads: Duration) -> Self {
        connection.deadline.clear();
        Self { connection, between_reads }
    }
}

impl Answering for AnsweringOrigin {
    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.connection.buffer.octets
    }

    /// An origin that takes no more may still be answering.
    fn poll_send(&mut self, upload: &mut Upload, context: &mut Context<'_>) -> Result<(), BodyError> {
        if upload.is_over() {
            return Ok(());
        }
        match upload.poll_send(&mut self.connection.transport, context) {
            Poll::Ready(Err(UploadError::Peer(_))) => upload.give_up(),
            Poll::Ready(Err(UploadError::Body(_))) => return Err(BodyError::Aborted),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        Ok(())
    }

    fn poll_more(&mut self, context: &mut Context<'_>, announced: Option<u64>) -> Poll<io::Result<usize>> {
        let read = self.connection.poll_read(context, announced);
        if let Poll::Ready(Ok(1..)) = read {
            self.connection.deadline.clear();
        }
        read
    }

    fn poll_silent(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Connection { transport, deadline, .. } = &mut self.connection;
        // The origin may let us wait only so long.
        if !deadline.is_set() {
            transport.acknowledge();
            deadline.set(Instant::now() + self.between_reads);
        }
        deadline.poll(context)
    }

    fn ended(self, is_kept: bool) {
        if is_kept {
            self.connection.release();
        }
    }
}

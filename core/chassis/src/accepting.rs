//! Accepting connections to the last: closing a socket resets what the kernel has made already and nobody has accepted.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::Shutdown;
use crate::shutdown::Arrivals;

/// Connections that are still taken off a socket when draining has begun: more cannot wait there than this, and a flood
/// does not keep the server from ending.
const LAST_ACCEPTED_MAX: usize = 4_096;

/// A socket at which connections are accepted until draining begins, and then those that wait there.
pub struct Accepting<'s> {
    socket: &'s TcpListener,
    drain: CancellationToken,
    arrivals: Arrivals,
    /// How many were accepted since draining began.
    last: usize,
}

impl<'s> Accepting<'s> {
    /// Accepts at `socket` until `drain`, and notes who comes.
    pub const fn new(socket: &'s TcpListener, drain: CancellationToken, arrivals: Arrivals) -> Self {
        Self { socket, drain, arrivals, last: 0 }
    }

    /// The same, until a node drains.
    pub fn until_drained(socket: &'s TcpListener, shutdown: &Shutdown) -> Self {
        Self::new(socket, shutdown.drain_token(), shutdown.arrivals().clone())
    }

    /// The next connection; `None` once draining has begun and nothing waits any more. Nothing is lost if this is dropped
    /// while it waits.
    ///
    /// # Errors
    /// Why a connection could not be accepted; the next may be.
    pub async fn next(&mut self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        if self.last >= LAST_ACCEPTED_MAX {
            return None;
        }
        let accepted = tokio::select! {
            biased;
            accepted = self.socket.accept() => accepted,
            () = self.drain.cancelled() => return None,
        };
        let draining = self.drain.is_cancelled();
        if accepted.is_err() && draining {
            return None;
        }
        if accepted.is_ok() {
            self.arrivals.note();
            self.last += usize::from(draining);
        }
        Some(accepted)
    }
}

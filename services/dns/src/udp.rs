//! Datagrams: received, answered and sent in batches, by a thread for each core with sockets of its own.
//!
//! ```text
//!  address ─┬ socket 0 (SO_REUSEPORT) ─┐                 a thread: poll ─▶ recvmmsg ─▶ answers ─▶ sendmmsg
//!           └ socket 1 ────────────────│─┐
//!  address ─┬ socket 0 ────────────────┴─│─▶ thread 0
//!           └ socket 1 ──────────────────┴─▶ thread 1
//! ```
//!
//! The kernel divides askers among an address's sockets by a hash of their address and port. It does not divide them by the
//! core that received them: a network card with fewer queues than there are cores would leave threads idle.
//!
//! Invariants: threads share nothing that is written for each query but counters; a thread that is told to drain answers
//! what had come by then; a thread ends at the latest when the service's task that waits for it is dropped.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proxima_chassis::{Arrivals, Shutdown};
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tracing::warn;

use crate::{
    DnsError,
    asker::{Asker, Transport},
    datagrams::Batch,
    server::Server,
};

/// Failures to receive in a row after which the socket is taken for broken.
const FAILURES_MAX: u32 = 100;
/// What a thread waits after a failure to receive: the kernel is short of something.
const AFTER_FAILURE: Duration = Duration::from_millis(20);
/// Sockets, and what tells a thread to drain: for most servers' addresses without an allocation.
const POLLED_INLINE: usize = 16;

/// Answers what comes in at these sockets, in a thread of its own, until the server drains; then what had come by then.
pub(crate) async fn serve(
    name: String,
    sockets: Vec<UdpSocket>,
    server: Arc<Server>,
    shutdown: Shutdown,
) -> Result<(), DnsError> {
    let address = sockets.first().and_then(|socket| socket.local_addr().ok());
    let broken = move |source| {
        let address = address.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        DnsError::Socket { protocol: "udp", address, source }
    };
    // The thread drains when the other end is closed: at the latest when this is dropped.
    let (waits, tells) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|error| broken(error.into()))?;
    let (ended, mut ending) = oneshot::channel();
    let arrivals = shutdown.arrivals().clone();
    // Here, so that an idle thread allocates nothing: the first octet that it does would cost it a heap of its own.
    let mut batch = Batch::new();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        ended.send(answer_all(&mut batch, &sockets, &server, &waits, &arrivals)).ok();
    });
    drop(thread.map_err(broken)?);
    let outcome = tokio::select! {
        outcome = &mut ending => outcome,
        () = shutdown.draining() => {
            drop(tells);
            ending.await
        }
    };
    outcome.unwrap_or_else(|_| Err(broken(io::Error::other("a thread has ended with a fault"))))
}

fn answer_all(
    batch: &mut Batch,
    sockets: &[UdpSocket],
    server: &Server,
    drain: &OwnedFd,
    arrivals: &Arrivals,
) -> Result<(), DnsError> {
    let mut failures = 0;
    let mut waiting: SmallVec<[PollFd<'_>; POLLED_INLINE]> = [PollFd::new(drain.as_fd(), PollFlags::POLLIN)]
        .into_iter()
        .chain(sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)))
        .collect();
    loop {
        match poll(&mut waiting, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => {
                let error = io::Error::from(error);
                failed(&sockets[0], error, &mut failures)?;
                continue;
            }
        }
        let is_ready = |waiting: &PollFd<'_>| waiting.revents().is_some_and(|events| !events.is_empty());
        let draining = is_ready(&waiting[0]);
        let mut received = 0;
        for (socket, waiting) in sockets.iter().zip(&waiting[1..]) {
            if !draining && !is_ready(waiting) {
                continue;
            }
            match answer_batch(batch, socket, server) {
                Ok(count) => (received, failures) = (received + count, 0),
                Err(error) => failed(socket, error, &mut failures)?,
            }
        }
        if received > 0 {
            arrivals.note();
        }
        if draining && received == 0 {
            return Ok(());
        }
    }
}

/// Answers what is there at one socket, up to a batch of it; how much there was.
fn answer_batch(batch: &mut Batch, socket: &UdpSocket, server: &Server) -> io::Result<usize> {
    let received = batch.receive(socket)?;
    for slot in 0..received {
        batch.answer(slot, |message, from, out| {
            let asker = Asker { address: from.ip(), transport: Transport::Udp };
            // What is not to be answered leaves nothing there.
            server.answer(message, asker, out);
        });
    }
    let unsent = batch.send(socket);
    if unsent > 0 {
        server.metrics.unsent.inc_by(unsent as u64);
    }
    Ok(received)
}

/// After a failure: whether it goes on.
fn failed(socket: &UdpSocket, source: io::Error, failures: &mut u32) -> Result<(), DnsError> {
    let address = socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    *failures += 1;
    if *failures == 1 {
        warn!(%address, error = %source, "receiving datagrams failed: trying again");
    }
    if *failures >= FAILURES_MAX {
        return Err(DnsError::Socket { protocol: "udp", address, source });
    }
    std::thread::sleep(AFTER_FAILURE);
    Ok(())
}

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
//! core that received them: a network card with fewer queues than there are cores would leave threads idle
//! (`docs/decisions/0011-dns-datagrams.md`, which also tells why there is no XDP here).
//!
//! An answer that has to be waited for ([`Reply::Later`]) is handed to the asynchronous runtime, which sends it from the same
//! socket by itself when it is there.
//!
//! Invariants: threads share nothing that is written for each query but counters; a thread that is told to drain answers
//! what had come by then, and what waits is waited for; a thread ends at the latest when the service's task that waits for it
//! is dropped.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proxima_chassis::{Arrivals, Shutdown};
use smallvec::SmallVec;
use socket2::SockRef;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tracing::warn;

use crate::{
    DnsError,
    answerer::{Answerer, Reply},
    asker::{Asker, Transport},
    datagrams::Batch,
};

/// Failures to receive in a row after which the socket is taken for broken.
const FAILURES_MAX: u32 = 100;
/// What a thread waits after a failure to receive: the kernel is short of something.
const AFTER_FAILURE: Duration = Duration::from_millis(20);
/// Sockets, and what tells a thread to drain: for most servers' addresses without an allocation.
const POLLED_INLINE: usize = 16;

/// Answers what comes in at these sockets, in a thread of its own, until the server drains; then what had come by then.
pub(crate) async fn serve<A: Answerer>(
    name: String,
    sockets: Vec<UdpSocket>,
    answerer: Arc<A>,
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
    let (waiting, mut all_sent) = mpsc::channel(1);
    let later = Later { runtime: Handle::current(), waiting };
    let sockets: Vec<_> = sockets.into_iter().map(Arc::new).collect();
    // Here, so that an idle thread allocates nothing: the first octet that it does would cost it a heap of its own.
    let mut batch = Batch::new();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        // What is answered may have something done behind it.
        let _entered = later.runtime.enter();
        ended.send(answer_all(&mut batch, &sockets, &answerer, &later, (&waits, &arrivals))).ok();
    });
    drop(thread.map_err(broken)?);
    let outcome = tokio::select! {
        outcome = &mut ending => outcome,
        () = shutdown.draining() => {
            drop(tells);
            ending.await
        }
    };
    // Whoever still has an answer to send keeps a sender; nothing is ever sent.
    all_sent.recv().await;
    outcome.unwrap_or_else(|_| Err(broken(io::Error::other("a thread has ended with a fault"))))
}

/// What sees to answers that have to be waited for.
struct Later {
    runtime: Handle,
    /// A clone goes with each of them.
    waiting: mpsc::Sender<Infallible>,
}

impl Later {
    /// Waits for an answer, and sends it to whom it is for. If the kernel does not take it, it is lost, as any datagram may be.
    fn send<A: Answerer>(&self, found: A::Later, socket: &Arc<UdpSocket>, to: SocketAddr, answerer: &Arc<A>) {
        let (socket, answerer, waiting) = (socket.clone(), answerer.clone(), self.waiting.clone());
        self.runtime.spawn(async move {
            let found = found.await;
            let send =
                || SockRef::from(&*socket).send_to_with_flags(&found.octets, &to.into(), libc::MSG_DONTWAIT);
            // One that a rate limit has dropped meanwhile has none.
            if !found.octets.is_empty() && send().is_err() {
                answerer.listening().metrics.unsent.inc();
            }
            drop(waiting);
        });
    }
}

fn answer_all<A: Answerer>(
    batch: &mut Batch,
    sockets: &[Arc<UdpSocket>],
    answerer: &Arc<A>,
    later: &Later,
    (drain, arrivals): (&OwnedFd, &Arrivals),
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
            match answer_batch(batch, socket, answerer, later) {
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
fn answer_batch<A: Answerer>(
    batch: &mut Batch,
    socket: &Arc<UdpSocket>,
    answerer: &Arc<A>,
    later: &Later,
) -> io::Result<usize> {
    let received = batch.receive(socket)?;
    for slot in 0..received {
        batch.answer(slot, |message, from, out| {
            let asker = Asker::new(from.ip(), Transport::Udp);
            // What is not to be answered leaves nothing there.
            if let Reply::Later(found) = answerer.answer(message, asker, out) {
                later.send(found, socket, from, answerer);
            }
        });
    }
    let unsent = batch.send(socket);
    if unsent > 0 {
        answerer.listening().metrics.unsent.inc_by(unsent as u64);
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

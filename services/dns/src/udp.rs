//! Datagrams: received, answered and sent in runs, by several tasks for each address.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use proxima_chassis::Shutdown;
use tokio::net::UdpSocket;
use tracing::warn;

use crate::{
    DnsError,
    asker::{Asker, Transport},
    rate::Limited,
    server::Server,
    wire::MESSAGE_OCTETS_MAX,
};

/// Datagrams that a task answers before it lets others run.
const RUN: usize = 32;
/// Failures to receive in a row after which the socket is taken for broken.
const FAILURES_MAX: u32 = 100;
/// What a task waits after a failure to receive: the kernel is short of something.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Answers what comes in at one socket until the server drains; then what had come by then.
pub(crate) async fn serve(
    socket: Arc<UdpSocket>,
    server: Arc<Server>,
    shutdown: Shutdown,
) -> Result<(), DnsError> {
    // As large as datagrams are, so that none is cut and taken for another. Pages that are never written take no
    // memory.
    let mut buffer = vec![0; MESSAGE_OCTETS_MAX];
    let mut answer = Vec::with_capacity(server.config.udp_payload_bytes_max.into());
    let mut failures = 0;
    loop {
        let draining = tokio::select! {
            ready = socket.readable() => ready.map(|()| false),
            () = shutdown.draining() => Ok(true),
        };
        let outcome = draining.and_then(|draining| {
            let emptied = answer_run(&socket, &server, &mut buffer, &mut answer)?;
            Ok(draining && emptied)
        });
        match outcome {
            Ok(true) => return Ok(()),
            Ok(false) => {
                failures = 0;
                tokio::task::yield_now().await;
            }
            Err(error) => {
                failures += 1;
                report(&socket, error, failures)?;
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// Answers up to [`RUN`] datagrams, or to the first that had to be signed, which takes as long as a run of others;
/// `true` if no more were there.
fn answer_run(
    socket: &UdpSocket,
    server: &Server,
    buffer: &mut [u8],
    answer: &mut Vec<u8>,
) -> io::Result<bool> {
    for _ in 0..RUN {
        let (length, from) = match socket.try_recv_from(buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        answer.clear();
        // An answer that the kernel has no room for is lost, as any datagram may be: the asker asks again.
        let asker = Asker { address: from.ip(), transport: Transport::Udp };
        let Some(answered) = server.answer(&buffer[..length], asker, answer) else { continue };
        if answered.limited == Some(Limited::Dropped) {
            continue;
        }
        if socket.try_send_to(answer, from).is_err() {
            server.metrics.unsent.inc();
        }
        if answered.signatures > 0 {
            break;
        }
    }
    Ok(false)
}

fn report(socket: &UdpSocket, source: io::Error, failures: u32) -> Result<(), DnsError> {
    let unknown = || SocketAddr::from(([0, 0, 0, 0], 0));
    let address = socket.local_addr().unwrap_or_else(|_| unknown());
    if failures == 1 {
        warn!(%address, error = %source, "receiving datagrams failed: trying again");
    }
    if failures < FAILURES_MAX { Ok(()) } else { Err(DnsError::Socket { protocol: "udp", address, source }) }
}

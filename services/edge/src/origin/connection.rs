//! One connection to an origin: made, read from, and kept or closed.

use std::{
    io,
    task::{Context, Poll},
    time::Instant,
};

use proxima_chassis::Deadline;
use proxima_http1::ReadBuffer;
use proxima_pipeline::Fault;
use tokio::{net::TcpStream, time::timeout};

use super::{
    OriginTimeouts,
    metrics::OriginMetrics,
    pool::{Destination, Kept, Lease},
    tls::OriginTls,
    transport::Transport,
};

/// A connection in use. Dropping it closes it.
pub(super) struct Connection {
    pub(super) transport: Transport,
    /// What was read and not consumed yet.
    pub(super) buffer: ReadBuffer,
    /// Until when the origin must have said something.
    pub(super) deadline: Deadline,
    /// When it was ready for this request.
    pub(super) ready: Instant,
    /// Whether it had been used before this request.
    pub(super) reused: bool,
    lease: Lease,
}

impl Connection {
    /// One that was used before, ready `now`.
    pub(super) fn idle(lease: Lease, certain: bool, now: Instant) -> Result<Self, Lease> {
        match lease.take_idle(certain, now) {
            Some(Kept { transport, buffer, deadline }) => {
                Ok(Self { transport, buffer, deadline, ready: now, reused: true, lease })
            }
            None => Err(lease),
        }
    }

    /// A new one, within `within`.
    pub(super) async fn open(
        lease: Lease,
        destination: &Destination,
        tls: &OriginTls,
        timeouts: &OriginTimeouts,
        within: std::time::Duration,
        metrics: &OriginMetrics,
    ) -> Result<Self, Fault> {
        let began = Instant::now();
        let connected = timeout(within, TcpStream::connect(destination.address)).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        lease.note_connect(connected.is_ok());
        let tcp = connected.map_err(|error| connect_fault(&error))?;
        // What we write is whole messages: there is nothing to wait for.
        tcp.set_nodelay(true).map_err(|error| connect_fault(&error))?;
        let transport = match &destination.tls {
            None => Transport::Clear(tcp),
            Some(name) => {
                let handshake = tls.connect(tcp, &name.name, name.verify);
                let shaken = timeout(timeouts.handshake, handshake).await;
                Transport::Tls(Box::new(shaken.unwrap_or(Err(Fault::OriginTls))?))
            }
        };
        metrics.opened.inc();
        metrics.connect_seconds.observe(began.elapsed().as_secs_f64());
        let (buffer, deadline, ready) = (ReadBuffer::default(), Deadline::default(), Instant::now());
        Ok(Self { transport, buffer, deadline, ready, reused: false, lease })
    }

    /// Reads what is there, at least one octet; 0 at the end. `announced`: how much is still to come, if known.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        announced: Option<u64>,
    ) -> Poll<io::Result<usize>> {
        self.buffer.poll_more(&mut self.transport, context, announced)
    }

    /// The answer has been read to its end and another may follow: kept for the next request. What came beyond the
    /// answer's end belongs to nothing: then it is closed.
    pub(super) fn release(self) {
        let Self { transport, buffer, mut deadline, lease, .. } = self;
        if let Some(buffer) = buffer.ended() {
            deadline.clear();
            lease.keep(Kept { transport, buffer, deadline });
        }
    }
}

/// What a failed connect says about the origin.
pub(super) fn connect_fault(error: &io::Error) -> Fault {
    /// `EMFILE` and `ENFILE`: the process or the machine has no more descriptors. The same on every Linux.
    const OURS: [i32; 2] = [24, 23];
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Fault::OriginDown,
        io::ErrorKind::TimedOut => Fault::OriginConnectTimeout,
        _ if error.raw_os_error().is_some_and(|number| OURS.contains(&number)) => Fault::Overloaded,
        _ => Fault::OriginUnreachable,
    }
}

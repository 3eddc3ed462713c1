//! Two connections that have left HTTP, joined: WebSocket and whatever else a 101 switched to.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use proxima_chassis::Arrivals;
use proxima_pipeline::Upgraded;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes};

/// Octets that are kept for each direction while the reader is slow.
const BUFFER_BYTES: usize = 16 * 1024;

/// Carries octets both ways until both sides have ended, one fails, or nothing moved for `idle_max`. A side that ends
/// is passed on as such, and the other way goes on: half-closed connections stay useful. Octets to the client and from
/// it are counted in `to_client` and `from_client`.
pub(super) async fn relay(
    client: impl AsyncRead + AsyncWrite + Unpin,
    origin: Upgraded,
    idle_max: Duration,
    (to_client, from_client): (Arc<AtomicU64>, Arc<AtomicU64>),
) {
    let moved = Arrivals::default();
    let mut client = Watched { io: client, moved: moved.clone(), written: to_client };
    let mut origin = Watched { io: origin, moved: moved.clone(), written: from_client };
    {
        let copying = copy_bidirectional_with_sizes(&mut client, &mut origin, BUFFER_BYTES, BUFFER_BYTES);
        tokio::select! {
            _ = copying => {}
            () = moved.until_none(idle_max) => {}
        }
    }
    // Best effort: either side may be gone.
    client.io.shutdown().await.ok();
    origin.io.shutdown().await.ok();
}

/// A side of which every octet is noticed.
struct Watched<T> {
    io: T,
    moved: Arrivals,
    /// Octets that it took.
    written: Arc<AtomicU64>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        if polled.is_ready() {
            self.moved.note();
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(context, data);
        if let Poll::Ready(written) = &polled {
            self.moved.note();
            let octets = *written.as_ref().unwrap_or(&0);
            self.written.fetch_add(octets as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

//! Connections of processes of the engine that leave HTTP: WebSockets that code opens.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use proxima_pipeline::Response;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    time::Instant,
};

/// The one protocol to which code may switch.
pub(crate) const WEBSOCKET: &str = "websocket";

/// The side of whoever asks, if it asks for that.
pub(crate) struct Switching(Option<OnUpgrade>);

impl Switching {
    /// As a request asks for it.
    pub(crate) fn asked_by(request: &mut Request<Incoming>) -> Self {
        Self(asks_for_websocket(request.headers()).then(|| hyper::upgrade::on(request)))
    }

    /// Whether it does.
    pub(crate) const fn is_asked(&self) -> bool {
        self.0.is_some()
    }

    /// Once this is answered, carries octets between who asked and the other side that comes with it, if one does, until nothing has
    /// moved for `idle_max`; until then keeps a place.
    pub(crate) fn join(
        self,
        answered: &mut Response,
        place: impl Send + 'static,
        idle_max: Option<Duration>,
    ) {
        if answered.status != StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        answered.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        let (Some(switched), Some(other)) = (self.0, answered.upgraded.take()) else { return };
        tokio::spawn(async move {
            let _place = place;
            if let Ok(asking) = switched.await {
                relay(TokioIo::new(asking), other, idle_max).await;
            }
        });
    }
}

/// Carries octets both ways. Whichever side ends or fails, the other one is told by the end of its connection.
async fn relay(
    mut asking: impl AsyncRead + AsyncWrite + Unpin,
    other: impl AsyncRead + AsyncWrite + Unpin,
    idle_max: Option<Duration>,
) {
    let moved = Arc::<AtomicU64>::default();
    let mut other = Moving { io: other, moved: Arc::clone(&moved) };
    let copied = copy_bidirectional(&mut asking, &mut other);
    match idle_max {
        None => drop(copied.await),
        Some(idle_max) => tokio::select! {
            _ = copied => {}
            () = until_still(&moved, idle_max) => {}
        },
    }
}

/// Ready when a count has not changed for so long, or an eighth longer. Copying may wait for a side that takes nothing, and then looks at
/// neither: so it is looked at from beside it.
async fn until_still(count: &AtomicU64, idle_max: Duration) {
    let (mut seen, mut since) = (count.load(Ordering::Relaxed), Instant::now());
    while since.elapsed() < idle_max {
        tokio::time::sleep(idle_max / 8).await;
        let now = count.load(Ordering::Relaxed);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
}

/// A side that counts what moves on it.
struct Moving<T> {
    io: T,
    moved: Arc<AtomicU64>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Moving<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.io).poll_read(context, into));
        self.moved.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Moving<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(context, octets));
        self.moved.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

pub(crate) fn asks_for_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::timeout,
    };

    use super::*;

    const IDLE_MAX: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_websocket_ends_when_nothing_has_moved_for_too_long_whoever_waits_for_whom() {
        let ((mut code, asking), (other, mut far)) = (duplex(64), duplex(64));
        let relaying = tokio::spawn(relay(asking, other, Some(IDLE_MAX)));
        for _ in 0..3 {
            tokio::time::sleep(IDLE_MAX * 2 / 3).await;
            far.write_all(b"x").await.expect("it goes on");
            assert_eq!(code.read_u8().await.expect("it goes on"), b'x');
        }
        // More than anybody takes in between, and code reads none of it.
        let sending = tokio::spawn(async move { far.write_all(&vec![b'x'; 1 << 20]).await });
        timeout(IDLE_MAX * 9 / 8 + Duration::from_secs(1), relaying)
            .await
            .expect("it ends")
            .expect("it does not panic");
        assert!(sending.await.expect("it does not panic").is_err(), "its connection has ended");

        let ((code, asking), (other, far)) = (duplex(64), duplex(64));
        let relaying = tokio::spawn(relay(asking, other, None));
        assert!(timeout(IDLE_MAX * 10, async { relaying.is_finished() }).await.is_ok_and(|ended| !ended));
        drop((code, far));
        relaying.await.expect("it does not panic");
    }
}

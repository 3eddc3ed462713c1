//! Connections of processes of the engine that leave HTTP: WebSockets that code opens.

use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use proxima_pipeline::Response;
use tokio::io::copy_bidirectional;

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

    /// Once this is answered, carries octets between who asked and the other side that comes with it, if one does; until then keeps a
    /// place.
    pub(crate) fn join(self, answered: &mut Response, place: impl Send + 'static) {
        if answered.status != StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        answered.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        let (Some(switched), Some(mut other)) = (self.0, answered.upgraded.take()) else { return };
        tokio::spawn(async move {
            let _place = place;
            // Whichever side ends or fails, the other one is told by the end of its connection.
            if let Ok(asking) = switched.await {
                copy_bidirectional(&mut TokioIo::new(asking), &mut other).await.ok();
            }
        });
    }
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
}

//! What Workers fetch.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::{SinkExt as _, StreamExt as _, future::BoxFuture};
use http::{HeaderValue, StatusCode, header};
use proxima_model::{AccountId, ZoneId};
use proxima_pipeline::{Body, Caller, Exchange, Fault, Fetch, FetchCaching, Response};
use tokio::io::DuplexStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role},
    },
};

use crate::harness::{HOST, OWN};

/// What was fetched; each is answered with a line that tells it.
#[derive(Default)]
pub(crate) struct Fetched {
    pub(crate) lines: Mutex<Vec<String>>,
    /// By whom.
    pub(crate) callers: Mutex<Vec<Caller>>,
    /// With which codes Workers have closed WebSockets that they had opened.
    pub(crate) closed: Arc<Mutex<Vec<u16>>>,
    /// How many of them have ended.
    pub(crate) ended: Arc<AtomicUsize>,
}

impl Fetch for Fetched {
    fn fetch<'a>(&'a self, account: AccountId, exchange: &'a mut Exchange) -> BoxFuture<'a, Response> {
        Box::pin(async move {
            self.callers.lock().unwrap().extend(exchange.extensions.get::<Caller>().cloned());
            let body = std::mem::take(&mut exchange.request_body).collect(1 << 20).await.unwrap();
            let request = &exchange.request;
            let mut ours: Vec<String> =
                request.headers.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            ours.retain(|field| ["cf-", "x-", "proxima"].iter().any(|ours| field.starts_with(ours)));
            let url = request.url();
            let switches = request.upgrade.is_some() && &*request.host == "ws.example";
            let line =
                format!("{account} {} {url} {ours:?} {:?}", request.method, String::from_utf8_lossy(&body));
            let line = match exchange.extensions.get::<FetchCaching>() {
                Some(FetchCaching(wished)) => format!("{line} {}", serde_json::to_string(&**wished).unwrap()),
                None => line,
            };
            self.lines.lock().unwrap().push(line.clone());
            if switches {
                return self.switched(&request.headers[header::SEC_WEBSOCKET_KEY]);
            }
            let mut response = Response { body: Body::full(line), ..Response::default() };
            if let Some(to) = request.target.query().and_then(|query| query.strip_prefix("to=")) {
                response.status = StatusCode::FOUND;
                response.headers.insert(header::LOCATION, HeaderValue::from_str(to).unwrap());
            }
            response
        })
    }

    fn zone<'a>(&'a self, account: AccountId, host: &'a str) -> BoxFuture<'a, Result<Option<ZoneId>, Fault>> {
        let zone = (account == OWN && host == HOST).then_some(ZoneId::from_bytes([4; 16]));
        Box::pin(std::future::ready(Ok(zone)))
    }
}

impl Fetched {
    /// Opens a WebSocket, by this key.
    fn switched(&self, key: &HeaderValue) -> Response {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (closed, ended) = (Arc::clone(&self.closed), Arc::clone(&self.ended));
        tokio::spawn(async move {
            converse(far, closed).await;
            ended.fetch_add(1, Ordering::Relaxed);
        });
        let mut response = Response { status: StatusCode::SWITCHING_PROTOCOLS, ..Response::default() };
        let accept = derive_accept_key(key.as_bytes()).parse().unwrap();
        response.headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        response.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        response.upgraded = Some(Box::new(near));
        response
    }
}

/// Sends every message back, and closes when it is asked to.
async fn converse(stream: DuplexStream, closed: Arc<Mutex<Vec<u16>>>) {
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Close(frame) => {
                closed.lock().unwrap().push(frame.map_or(1005, |frame| frame.code.into()));
            }
            Message::Text(text) if text.as_str() == "close" => {
                let farewell = CloseFrame { code: 4001.into(), reason: "as you say".into() };
                socket.close(Some(farewell)).await.ok();
            }
            echoed @ (Message::Text(_) | Message::Binary(_)) => socket.send(echoed).await.unwrap(),
            _ => {}
        }
    }
}

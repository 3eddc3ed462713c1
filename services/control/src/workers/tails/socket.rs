//! A WebSocket on which somebody looks at a Worker. It writes events, and listens only for whether somebody is still there.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use proxima_pipeline::{TailEnd, TailSeen, TailStream};
use tokio::time::{Instant, interval, timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{TailClaims, live::may_go_on, overload::Overload};
use crate::api::Api;

/// How long a client may take from the head of its answer to its WebSocket.
const UPGRADE_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may take one event, or the end: who reads nothing for so long has gone.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// How often a client is pinged, and it is looked whether it may still look.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Who has not even answered a ping for so long has gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Octets of what a client says: it has nothing to say.
const MESSAGE_OCTETS_MAX: usize = 4 << 10;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Why it ends.
enum End {
    /// Nobody is there any more.
    Gone,
    /// As it should.
    Told(CloseCode, &'static str),
}

/// Shows what is seen until it ends or nobody looks any more.
pub(super) async fn show(api: Arc<Api>, upgrading: OnUpgrade, claims: TailClaims, mut seen: TailStream) {
    let Ok(Ok(upgraded)) = timeout(UPGRADE_WITHIN, upgrading).await else { return };
    let config = WebSocketConfig::default()
        // Against RFC 6455, 5.1, wrangler does not mask its first message.
        .accept_unmasked_frames(true)
        .max_message_size(Some(MESSAGE_OCTETS_MAX))
        .max_frame_size(Some(MESSAGE_OCTETS_MAX));
    let mut socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    api.metrics.tails.inc();
    if let End::Told(code, reason) = until_ended(&api, &mut socket, &claims, &mut seen).await {
        // Nothing more is gathered for it.
        drop(seen);
        let frame = CloseFrame { code, reason: reason.into() };
        timeout(SEND_WITHIN, socket.close(Some(frame))).await.ok();
    }
    api.metrics.tails.dec();
}

async fn until_ended(api: &Arc<Api>, socket: &mut Socket, claims: &TailClaims, seen: &mut TailStream) -> End {
    let (mut seconds, mut looks) = (interval(Duration::from_secs(1)), interval(LOOK_EVERY));
    let (mut overload, mut heard) = (Overload::default(), Instant::now());
    loop {
        let message = tokio::select! {
            event = seen.next() => match event {
                // All servers write UTF-8.
                Some(TailSeen::Event(event)) => Utf8Bytes::try_from(event).ok().map(Message::Text),
                Some(TailSeen::Dropped(count)) => {
                    overload.dropped(count);
                    None
                }
                Some(TailSeen::Ended(TailEnd::GoingAway)) => {
                    return End::Told(CloseCode::Away, "this server ends: ask for another tail");
                }
                Some(TailSeen::Ended(TailEnd::Done)) | None => return End::Told(CloseCode::Normal, "it was deleted"),
            },
            said = socket.next() => match said {
                Some(Ok(Message::Close(_))) | Some(Err(_)) | None => return End::Gone,
                Some(Ok(_)) => {
                    heard = Instant::now();
                    None
                }
            },
            _ = seconds.tick() => {
                let notice = overload.second();
                notice.map(|notice| {
                    let shown = notice.show(claims.tail.worker.as_str(), api.now());
                    Message::text(shown.to_string())
                })
            }
            _ = looks.tick() => {
                if heard.elapsed() > SILENCE_MAX {
                    return End::Gone;
                }
                if !may_still(api, claims).await {
                    return End::Told(CloseCode::Policy, "it has expired, or may not be looked at any more");
                }
                Some(Message::Ping(Default::default()))
            }
        };
        if let Some(message) = message {
            match timeout(SEND_WITHIN, socket.send(message)).await {
                Ok(Ok(())) => {}
                _ => return End::Gone,
            }
        }
    }
}

/// What cannot be read now is looked at the next time.
async fn may_still(api: &Arc<Api>, claims: &TailClaims) -> bool {
    let (claims, now) = (claims.clone(), api.now());
    api.read(move |snapshot| may_go_on(snapshot, &claims, now)).await.unwrap_or(true)
}

//! Asking a zone's other servers, by UDP and TCP.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use proxima_ledger::{ReadError, Snapshot};
use proxima_model::{Reach, TransferPeer, TsigKey};
use proxima_transfer::{Exchange, Key, message, tsig::AnswerError};
use proxima_wire::{flag, rtype};
use tokio::{net::UdpSocket, time::timeout};

use crate::{api::Api, limits};

/// A peer that can be asked.
#[derive(Clone, Debug)]
pub(super) struct Other {
    pub(super) address: SocketAddr,
    pub(super) key: Option<Key>,
}

impl Other {
    /// Of a peer, with its key; or why it cannot be asked.
    pub(super) fn of(
        snapshot: &Snapshot,
        peer: &TransferPeer,
        allow_private: bool,
    ) -> Result<Result<Self, String>, ReadError> {
        let Some(address) = peer.socket() else { return Ok(Err("the peer has no address".to_owned())) };
        if !Reach::of(address.ip()).is_allowed(allow_private) {
            let ip = address.ip().to_canonical();
            return Ok(Err(format!(
                "{ip} is an address that peers may not have: [control] allow_private_peers allows private ones"
            )));
        }
        let key = match peer.tsig {
            None => None,
            Some(id) => match snapshot.get::<TsigKey>(&(peer.account, id))? {
                Some(key) => Some(Key::from(&key)),
                None => return Ok(Err("the peer's key is gone".to_owned())),
            },
        };
        Ok(Ok(Self { address, key }))
    }
}

/// Tells a peer that a zone, by its name on the wire, has changed.
///
/// # Errors
/// It does not answer, or refuses.
pub(super) async fn notify(api: &Api, other: &Other, zone: &[u8]) -> Result<(), String> {
    let any: IpAddr = match other.address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut wait = limits::NOTIFY_ANSWER_WITHIN;
    let mut last = String::new();
    for _ in 0..limits::NOTIFY_ATTEMPTS {
        // A port of its own each time, so that nobody else's answer is taken for it.
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await.map_err(|error| error.to_string())?;
        socket.connect(other.address).await.map_err(|error| error.to_string())?;
        let mut heard = None;
        match timeout(wait, notify_once(api, other, zone, &socket, &mut heard)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Failure::Refused(why))) => return Err(why),
            Ok(Err(Failure::Unsent(why))) => {
                last = why;
                tokio::time::sleep(wait).await;
            }
            Err(_) => last = heard.unwrap_or_else(|| "the peer does not answer".to_owned()),
        }
        wait = wait.saturating_mul(2).min(Duration::from_secs(60));
    }
    Err(last)
}

enum Failure {
    /// It need not be asked again.
    Refused(String),
    /// Nothing came of it.
    Unsent(String),
}

/// Tells a peer once, and waits for its answer. What anybody could have sent is `heard` and no answer: the peer's own may
/// follow (RFC 8945, 5.4).
async fn notify_once(
    api: &Api,
    other: &Other,
    zone: &[u8],
    socket: &UdpSocket,
    heard: &mut Option<String>,
) -> Result<(), Failure> {
    let unsent = |error: std::io::Error| Failure::Unsent(error.to_string());
    let id = rand::random();
    let flags = flag::NOTIFY | flag::AA;
    let mut question = message::question(id, flags, zone, rtype::SOA);
    let exchange = other.key.as_ref().map(|key| Exchange::ask(key, &mut question, seconds(api)));
    socket.send(&question).await.map_err(unsent)?;
    let mut buffer = [0; 1_232];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(unsent)?;
        let answer = &buffer[..length];
        let Ok(head) = message::head(answer) else { continue };
        if head.id != id || !head.is_answer(flag::NOTIFY) {
            continue;
        }
        if let Some(exchange) = &exchange {
            match exchange.clone().take(answer, seconds(api)) {
                Ok(_) => {}
                Err(error @ AnswerError::Refused(why)) if why.is_signed() => {
                    return Err(Failure::Refused(error.to_string()));
                }
                Err(error) => {
                    *heard = Some(error.to_string());
                    continue;
                }
            }
        }
        return match head.rcode {
            0 => Ok(()),
            rcode => Err(Failure::Refused(format!("the peer answers {}", message::rcode_name(rcode)))),
        };
    }
}

/// Now, in seconds.
pub(super) fn seconds(api: &Api) -> u64 {
    api.now().as_seconds().max(0).unsigned_abs()
}

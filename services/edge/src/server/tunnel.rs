//! WebSocket within a stream of HTTP/2 or HTTP/3: extended CONNECT (RFC 8441, RFC 9220).
//!
//! ```text
//!  client ─ CONNECT, :protocol websocket ─▶ Connect::of ─ GET, upgrade: websocket, a key ─▶ pipeline ─▶ origin (HTTP/1.1)
//!         ◀─ 200 ────────────────────────── Connect::answer ◀─ 101, the key's proof ───────┘
//!         ◀═ DATA ═▶ carry ◀══════════════════════ octets ══════════════════════════════▶ origin
//! ```
//!
//! For the stages it is the request that a client of HTTP/1.1 would have made, so that rules, logs and origins need to
//! know one form of it. That the origin has read the request as what it is, which a client of HTTP/1.1 checks (RFC 6455,
//! 4.1), is checked here; what was agreed on in the answer's other fields is the client's to check.
//!
//! Invariants: the octets that were sent before an end arrive before it; an end in one direction leaves the other open; a
//! tunnel that failed is reset, never ended as if it were whole; what is read of one side waits to be taken by the other.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{
    CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use http::{Method, StatusCode, request};
use proxima_chassis::Arrivals;
use proxima_http1::Http1Error;
use proxima_pipeline::{Exchange, Fault, Response, Upgraded, answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fields::ConnectProtocol;

/// The one protocol for which there are tunnels.
const WEBSOCKET: &str = "websocket";
/// What is put behind a key to make its proof (RFC 6455, 1.3).
const PROOF_SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Octets of one read of what the origin sends.
const READ_BYTES_MAX: usize = 16 * 1024;

/// A tunnel that is asked for, and not yet opened.
#[derive(Debug)]
pub(super) struct Connect {
    /// What proves that the origin has read the request as what it is.
    proof: HeaderValue,
}

impl Connect {
    /// Makes of a request for a tunnel the request that opens a WebSocket by HTTP/1.1; none, if it is no such request.
    ///
    /// # Errors
    /// A tunnel that is not offered here, or a request for one that is not as it has to be.
    pub(super) fn of(head: &mut request::Parts) -> Result<Option<Self>, Http1Error> {
        if head.method != Method::CONNECT {
            return Ok(None);
        }
        let protocol = head.extensions.remove::<ConnectProtocol>().ok_or(Http1Error::Connect)?;
        if !protocol.0.eq_ignore_ascii_case(WEBSOCKET) {
            return Err(Http1Error::ConnectProtocol);
        }
        if head.headers.contains_key(CONTENT_LENGTH) {
            return Err(Http1Error::LengthInvalid);
        }
        let key = BASE64_STANDARD.encode(rand::random::<[u8; 16]>());
        let proof = proof(key.as_bytes());
        let value = |text: &str| HeaderValue::from_str(text).expect("base64 is visible ASCII");
        // A client's own means nothing (RFC 8441, 5.1).
        head.headers.insert(SEC_WEBSOCKET_KEY, value(&key));
        head.method = Method::GET;
        Ok(Some(Self { proof: value(&proof) }))
    }

    /// The protocol that the request switches to.
    pub(super) fn protocol() -> Arc<str> {
        Arc::from(WEBSOCKET)
    }

    /// The answer to the client, and the origin's end of the tunnel if it is open. An answer that would look like an open
    /// tunnel and is none becomes an error.
    pub(super) fn answer(&self, exchange: &mut Exchange) -> (Response, Option<Upgraded>) {
        let fault = match exchange.response.take() {
            Some(mut response) if response.status == StatusCode::SWITCHING_PROTOCOLS => {
                match response.upgraded.take() {
                    Some(origin) if self.is_proven(&response.headers) => {
                        response.status = StatusCode::OK;
                        response.headers.remove(UPGRADE);
                        response.headers.remove(SEC_WEBSOCKET_ACCEPT);
                        return (response, Some(origin));
                    }
                    Some(_) => Fault::OriginMalformed("its Sec-WebSocket-Accept does not belong to the key"),
                    None => Fault::Internal("a switch of protocols without a connection"),
                }
            }
            Some(response) if response.status.is_success() => {
                Fault::NotImplemented("no WebSocket is spoken at this address")
            }
            Some(response) if response.status.is_informational() => {
                Fault::Internal("an informational answer where a final one was due")
            }
            Some(response) => return (response, None),
            None => Fault::Internal("the pipeline gave no answer"),
        };
        (answer(&fault, exchange), None)
    }

    fn is_proven(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter();
        given.next() == Some(&self.proof) && given.next().is_none()
    }
}

/// What a server makes of a key (RFC 6455, 4.2.2).
pub(super) fn proof(key: &[u8]) -> String {
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, PROOF_SALT].concat()))
}

/// A tunnel came to a bad end: its stream has to be reset.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// What a stream brings.
pub(super) trait FromClient {
    /// The next octets; none at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Broken>> + Send;
}

/// Where a stream is written to.
pub(super) trait ToClient {
    /// Takes octets, when there is room for them.
    fn send(&mut self, data: Bytes) -> impl Future<Output = Result<(), Broken>> + Send;
    /// Ends it.
    fn finish(&mut self) -> impl Future<Output = Result<(), Broken>> + Send;
}

/// Carries octets both ways until both sides have ended, one fails, or nothing moved for `idle_max`. What came from the
/// client is counted.
pub(super) async fn carry(
    mut from: impl FromClient,
    mut to: impl ToClient,
    origin: Upgraded,
    idle_max: Duration,
    from_client: Arc<AtomicU64>,
) -> Result<(), Broken> {
    let moved = Arrivals::default();
    let (mut origin_reads, mut origin_writes) = tokio::io::split(origin);
    let up = async {
        while let Some(data) = from.next().await? {
            moved.note();
            origin_writes.write_all(&data).await.map_err(|_| Broken)?;
            // TLS keeps what its socket had no room for until it is told.
            origin_writes.flush().await.map_err(|_| Broken)?;
            moved.note();
            from_client.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        origin_writes.shutdown().await.map_err(|_| Broken)
    };
    let down = async {
        let mut read = BytesMut::new();
        loop {
            read.reserve(READ_BYTES_MAX);
            if origin_reads.read_buf(&mut read).await.map_err(|_| Broken)? == 0 {
                return to.finish().await;
            }
            moved.note();
            to.send(read.split().freeze()).await?;
            moved.note();
        }
    };
    tokio::select! {
        ended = async { tokio::try_join!(up, down).map(drop) } => ended,
        () = moved.until_none(idle_max) => Err(Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_proven_as_in_the_example_of_the_rfc() {
        assert_eq!(proof(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}

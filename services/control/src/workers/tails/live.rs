//! `GET workers/scripts/:script_name/tails/:tail_id/live`: the WebSocket of a tail (RFC 6455). Its credential is in its URL: `wrangler`
//! sends no other.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use proxima_ledger::Snapshot;
use proxima_model::{ApiToken, Permission, Timestamp, Worker};
use proxima_pipeline::{TailRefused, lists};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{TailClaims, port, socket};
use crate::{
    api::{
        Api,
        access::{Caller, On},
        jwt::Unverified,
        page::Query,
    },
    error::{ApiError, Code},
};

/// The sub-protocol that clients speak.
const PROTOCOL: &str = "trace-v1";

/// See the module.
pub(crate) async fn live(
    State(api): State<Arc<Api>>,
    Path((_, name, id)): Path<(String, String, String)>,
    mut request: Request,
) -> Result<Response, ApiError> {
    let query = Query::parse(request.uri().query())?;
    let given = query.get("jwt").and_then(Unverified::<TailClaims>::parse).ok_or_else(invalid)?;
    let now = api.now();
    let claims = api.read(move |snapshot| admitted(snapshot, &given, now)).await?;
    if claims.tail.id != id || claims.tail.worker.as_str() != name {
        return Err(invalid());
    }
    let accepted = accept(request.headers())?;
    let seen = port(&api)?.open(claims.tail.clone()).map_err(|refused| {
        let code = match refused {
            TailRefused::WorkerFull => Code::TailQuota,
            TailRefused::ServerFull => Code::Busy,
        };
        ApiError::new(code, refused.to_string())
    })?;
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(socket::show(api, upgrading, claims, seen));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

fn invalid() -> ApiError {
    ApiError::new(Code::TokenInvalid, "this URL opens no tail: ask for another one")
}

/// What the URL says, if it may be so.
fn admitted(
    snapshot: &Snapshot,
    given: &Unverified<TailClaims>,
    now: Timestamp,
) -> Result<TailClaims, ApiError> {
    let signer = snapshot.get::<ApiToken>(&given.signer())?.ok_or_else(invalid)?;
    let claims = given.verify(&signer, now).ok_or_else(invalid)?.clone();
    if may_go_on(snapshot, &claims, now)? { Ok(claims) } else { Err(invalid()) }
}

/// Whether who asked for a tail may still look, and there is something to look at.
pub(super) fn may_go_on(
    snapshot: &Snapshot,
    TailClaims { sub, tail, .. }: &TailClaims,
    now: Timestamp,
) -> Result<bool, ApiError> {
    let Some(signer) = snapshot.get::<ApiToken>(sub)? else { return Ok(false) };
    if signer.unusable(now).is_some() || now >= tail.expires {
        return Ok(false);
    }
    let may = Caller::of(signer).may(Permission::WorkersRead, On::Account(tail.account));
    Ok(may && snapshot.get::<Worker>(&(tail.account, tail.worker.clone()))?.is_some())
}

/// What answers a client that wants to speak the protocol (RFC 6455, 4.2).
fn accept(headers: &HeaderMap) -> Result<HeaderValue, ApiError> {
    let names = |field: HeaderName, wanted: &str| {
        lists::members(headers, &field).any(|name| name.eq_ignore_ascii_case(wanted.as_bytes()))
    };
    let refuse = |what: &str| ApiError::new(Code::FieldInvalid, format!("this is a WebSocket: {what}"));
    if !names(header::UPGRADE, "websocket") || !names(header::CONNECTION, "upgrade") {
        return Err(refuse("send Connection: Upgrade and Upgrade: websocket"));
    }
    if !names(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(refuse("send Sec-WebSocket-Version: 13"));
    }
    if !names(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        return Err(refuse("send Sec-WebSocket-Protocol: trace-v1"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or_else(|| refuse("send Sec-WebSocket-Key"))?;
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| refuse("its key is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_speaks_the_protocol_is_accepted_and_no_other() {
        let fields = |changed: Option<(&'static str, Option<&'static str>)>| {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-protocol", "other, trace-v1"),
                // RFC 6455, 1.3.
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ] {
                let value = match changed {
                    Some((field, value)) if field == name => value,
                    _ => Some(value),
                };
                headers.extend(
                    value
                        .map(|value| (name.parse().unwrap(), HeaderValue::from_static(value)))
                        .into_iter()
                        .collect::<HeaderMap>(),
                );
            }
            headers
        };
        assert_eq!(accept(&fields(None)).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for changed in [
            ("connection", None),
            ("upgrade", Some("h2c")),
            ("sec-websocket-version", Some("8")),
            ("sec-websocket-protocol", Some("trace-v2")),
            ("sec-websocket-key", None),
        ] {
            assert_eq!(accept(&fields(Some(changed))).unwrap_err().code(), Code::FieldInvalid, "{changed:?}");
        }
    }
}

//! A request between two caches, and its answer, as HTTP/2 carries them. Pure.
//!
//! The request is the client's as the stages before have left it, with what the other side has to know in fields of our
//! own. Those that a client wrote itself are overwritten or taken off: they never come through.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri::PathAndQuery};
use proxima_model::{PopCode, ZoneId};
use proxima_pipeline::{
    AskedByPeer, Body, Client, Exchange, Protocol, RayId, Request, Scheme, lists::members,
};

/// The level at which is asked.
const LEVEL: HeaderName = HeaderName::from_static("proxima-tier-level");
/// Up to which state of the log the asking cache has purged.
const PURGED: HeaderName = HeaderName::from_static("proxima-tier-purged");
/// The client's address and port.
const CLIENT: HeaderName = HeaderName::from_static("proxima-tier-client");
/// The client's protocol.
const PROTOCOL: HeaderName = HeaderName::from_static("proxima-tier-protocol");
/// On a request: forget this URL of this zone instead.
const FORGET: HeaderName = HeaderName::from_static("proxima-tier-forget");
/// On an answer: that the origin failed, and how.
pub(crate) const FAULT: HeaderName = HeaderName::from_static("proxima-tier-fault");
/// On an answer: that it is none, and why.
pub(crate) const DECLINED: HeaderName = HeaderName::from_static("proxima-tier-declined");

/// What a question has that is not the client's.
pub(crate) const OF_QUESTIONS: [HeaderName; 4] = [LEVEL, PURGED, CLIENT, PROTOCOL];

/// How a directive begins by which a client takes what is stale (RFC 9111, 5.2.1.2), in any case.
const MAX_STALE: &[u8] = b"max-stale";

const PROTOCOLS: [Protocol; 4] = [Protocol::Http10, Protocol::Http11, Protocol::Http2, Protocol::Http3];

/// The request to another server for what an exchange wants.
pub(crate) fn ask(exchange: &Exchange, level: u8, purged_up_to: u64) -> Option<http::Request<Body>> {
    let mut headers = exchange.request.headers.clone();
    headers.remove(header::HOST);
    headers.remove(FORGET);
    // What a client takes that is stale, no other cache is to give to this one.
    let takes_stale = |member: &[u8]| {
        member.get(..MAX_STALE.len()).is_some_and(|name| name.eq_ignore_ascii_case(MAX_STALE))
    };
    if members(&headers, &header::CACHE_CONTROL).any(takes_stale) {
        headers.remove(header::CACHE_CONTROL);
    }
    headers.insert(LEVEL, HeaderValue::from(u16::from(level)));
    headers.insert(PURGED, HeaderValue::from(purged_up_to));
    headers.insert(CLIENT, HeaderValue::try_from(exchange.client.address.to_string()).ok()?);
    headers.insert(PROTOCOL, HeaderValue::from_static(exchange.client.protocol.name()));
    request(&exchange.request.url(), headers)
}

/// The request to forget a URL of a zone.
pub(crate) fn forget(zone: ZoneId, url: &str) -> Option<http::Request<Body>> {
    let mut headers = HeaderMap::new();
    headers.insert(FORGET, HeaderValue::try_from(zone.to_string()).ok()?);
    request(url, headers)
}

fn request(url: &str, headers: HeaderMap) -> Option<http::Request<Body>> {
    let mut request = http::Request::new(Body::empty());
    *request.uri_mut() = url.parse().ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

/// What a peer asks.
#[derive(Debug)]
pub(crate) enum Asked {
    /// An answer.
    Answer(Box<Exchange>),
    /// That this URL of this zone be forgotten.
    Forget(ZoneId, Uri),
}

/// Reads a peer's request. `local` is the address at which it came.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(
    parts: http::request::Parts,
    pop: &PopCode,
    local: SocketAddr,
    now: proxima_model::Timestamp,
) -> Result<Asked, &'static str> {
    let http::request::Parts { method, uri, mut headers, .. } = parts;
    if let Some(zone) = headers.get(FORGET) {
        let zone = zone.to_str().ok().and_then(|zone| zone.parse().ok()).ok_or("it names no zone")?;
        return Ok(Asked::Forget(zone, uri));
    }
    if method != Method::GET {
        return Err("it is no GET");
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let level = text(LEVEL).and_then(|text| text.parse().ok()).ok_or("it names no level")?;
    let purged_up_to = text(PURGED).and_then(|text| text.parse().ok()).ok_or("it names no state")?;
    let address = text(CLIENT).and_then(|text| text.parse().ok()).ok_or("it names no client")?;
    let named = text(PROTOCOL).and_then(|text| PROTOCOLS.into_iter().find(|one| one.name() == text));
    let protocol = named.ok_or("it names no protocol")?;
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return Err("its scheme is neither http nor https"),
    };
    let authority = uri.authority().ok_or("it names no host")?;
    for name in &OF_QUESTIONS {
        headers.remove(name);
    }
    let host = HeaderValue::try_from(authority.as_str()).map_err(|_| "its host is none")?;
    headers.insert(header::HOST, host);
    let client = Client { address, local, protocol, tls: None };
    let request = Request {
        method,
        scheme,
        host: authority.host().into(),
        port: authority.port_u16(),
        target: uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")),
        headers,
        upgrade: None,
    };
    let mut exchange = Exchange::new(RayId::new(pop.clone()), client, request, Body::empty(), now);
    exchange.extensions.insert(AskedByPeer { level, purged_up_to });
    Ok(Asked::Answer(Box::new(exchange)))
}

#[cfg(test)]
mod tests {
    use proxima_model::Timestamp;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(0);

    fn pop() -> PopCode {
        PopCode::parse("FRA").expect("a code")
    }

    fn exchange(headers: &[(&'static str, &'static str)]) -> Exchange {
        let client = Client {
            address: ([192, 0, 2, 7], 4_711).into(),
            local: ([198, 51, 100, 1], 443).into(),
            protocol: Protocol::Http3,
            tls: None,
        };
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let request = Request {
            method: Method::GET,
            scheme: Scheme::Https,
            host: "a.test".into(),
            port: Some(8443),
            target: PathAndQuery::from_static("/x?y=%20"),
            headers: headers.collect(),
            upgrade: None,
        };
        Exchange::new(RayId::new(pop()), client, request, Body::empty(), NOW)
    }

    #[test]
    fn a_request_arrives_as_it_was_asked() {
        let asked = exchange(&[
            ("host", "a.test:8443"),
            ("accept", "a"),
            ("proxima-tier-level", "9"),
            ("proxima-tier-forget", "1"),
        ]);
        let (parts, _) = ask(&asked, 2, 77).expect("a request").into_parts();
        let Ok(Asked::Answer(read)) = read(parts, &pop(), ([10, 0, 0, 1], 7403).into(), NOW) else {
            panic!("it is a question");
        };
        assert_eq!(read.request.url(), asked.request.url());
        assert_eq!(read.client.address, asked.client.address);
        assert_eq!(read.client.protocol, Protocol::Http3);
        let expected: HeaderMap = exchange(&[("accept", "a"), ("host", "a.test:8443")]).request.headers;
        assert_eq!(read.request.headers, expected);
        let by = read.extensions.get::<AskedByPeer>();
        assert_eq!(by, Some(&AskedByPeer { level: 2, purged_up_to: 77 }));
    }

    #[test]
    fn no_cache_is_asked_for_what_only_the_client_takes_stale() {
        for (line, stays) in [
            (&b"max-stale"[..], false),
            (b"no-transform, Max-Stale=60", false),
            (b"x=\"\xff\", MAX-STALE", false),
            (b"max-age=60", true),
            (b"\xff", true),
        ] {
            let mut asked = exchange(&[]);
            asked.request.headers.insert("cache-control", HeaderValue::from_bytes(line).unwrap());
            let request = ask(&asked, 1, 1).expect("a request");
            assert_eq!(request.headers().contains_key("cache-control"), stays, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_request_of_a_peer_is_refused() {
        let whole = || ask(&exchange(&[]), 1, 1).expect("a request").into_parts().0;
        let read = |parts| read(parts, &pop(), ([10, 0, 0, 1], 7403).into(), NOW);
        assert!(read(whole()).is_ok());
        for name in OF_QUESTIONS {
            let mut parts = whole();
            parts.headers.insert(&name, HeaderValue::from_static("nonsense"));
            assert!(read(parts).is_err(), "{name}");
            let mut parts = whole();
            parts.headers.remove(&name);
            assert!(read(parts).is_err(), "{name}");
        }
        let mut parts = whole();
        parts.method = Method::POST;
        assert!(read(parts).is_err());
        let mut parts = whole();
        parts.uri = Uri::from_static("/x");
        assert!(read(parts).is_err());
        let zone = ZoneId::from_bytes([7; 16]);
        let forget = forget(zone, "http://a.test/x").expect("a request").into_parts().0;
        assert!(matches!(read(forget), Ok(Asked::Forget(of, uri)) if of == zone && uri == "http://a.test/x"));
    }
}

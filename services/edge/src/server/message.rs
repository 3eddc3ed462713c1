//! What HTTP/2 and HTTP/3 have in common: a request's head, and an answer's.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode, request};
use proxima_http1::{Host, Http1Error, bodiless, content_length, is_mistakable, is_target};
use proxima_pipeline::{Body, Exchange, Fault, Protocol, Response, answer, strip_hop_by_hop};

use super::ServerContext;
use super::admit::Asked;
use super::tunnel::Connect;

/// The request that a stream asks, held to the same rules as one by HTTP/1.1: it may be sent on as such. What RFC 9113
/// (8.2, 8.3) and RFC 9114 (4.2, 4.3) call malformed has been refused by then.
///
/// One for a tunnel says so beside.
pub(super) fn asked(
    mut head: request::Parts,
    protocol: Protocol,
) -> Result<(Asked, Option<Connect>), Http1Error> {
    let connect = Connect::of(&mut head)?;
    let request::Parts { method, uri, mut headers, .. } = head;
    let host = host(&uri, &headers)?;
    if headers.keys().any(|name| is_mistakable(name.as_str().as_bytes())) {
        return Err(Http1Error::FieldNameAmbiguous);
    }
    if [CONNECTION, TRANSFER_ENCODING, UPGRADE].iter().any(|name| headers.contains_key(name)) {
        return Err(Http1Error::ConnectionInvalid);
    }
    let body_bytes = content_length(&headers)?;
    let parts = uri.into_parts();
    let target = parts.path_and_query.ok_or(Http1Error::Target)?;
    let asterisk = target == "*" && method == Method::OPTIONS;
    if !is_target(target.as_str().as_bytes()) || !(asterisk || target.as_str().starts_with('/')) {
        return Err(Http1Error::Target);
    }
    strip_hop_by_hop(&mut headers);
    headers.remove(EXPECT);
    join_cookies(&mut headers)?;
    if !headers.contains_key(HOST) {
        // What goes on by HTTP/1.1 must have one (RFC 9113, 8.3.1).
        let authority = parts.authority.ok_or(Http1Error::HostMissing)?;
        headers.insert(HOST, HeaderValue::from_str(authority.as_str()).map_err(|_| Http1Error::HostInvalid)?);
    }
    let upgrade = connect.as_ref().map(|_| Connect::protocol());
    let asked = Asked {
        protocol,
        method,
        scheme: parts.scheme,
        host,
        target,
        headers,
        body_bytes,
        upgrade,
        ray: None,
    };
    Ok((asked, connect))
}

/// The one host that `:authority` and `Host` must agree on, where there are both (RFC 9113, 8.3.1;
/// RFC 9114, 4.3.1).
fn host(uri: &http::Uri, headers: &HeaderMap) -> Result<Host, Http1Error> {
    let mut named = headers.get_all(HOST).iter();
    let from_field =
        named.next().map(|value| Host::parse(&Bytes::copy_from_slice(value.as_bytes()))).transpose()?;
    if named.next().is_some() {
        return Err(Http1Error::HostDoubled);
    }
    let authority =
        uri.authority().map(|text| Host::parse(&Bytes::copy_from_slice(text.as_str().as_bytes())));
    let port_default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    match (authority.transpose()?, from_field) {
        (Some(authority), Some(field)) if !authority.same_place(&field, port_default) => {
            Err(Http1Error::HostMismatch)
        }
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err(Http1Error::HostMissing),
    }
}

/// HTTP/2 and HTTP/3 let a client send each cookie as a field of its own; HTTP/1.1 does not (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) -> Result<(), Http1Error> {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return Ok(());
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])).map_err(|_| Http1Error::FieldValue)?;
    headers.insert(COOKIE, joined);
    Ok(())
}

/// The final answer: what the pipeline left, or an error.
pub(super) fn final_response(exchange: &mut Exchange) -> Response {
    match exchange.response.take() {
        Some(response) if response.status.is_informational() => {
            answer(&Fault::Internal("an informational answer where a final one was due"), exchange)
        }
        Some(response) => response,
        None => answer(&Fault::Internal("the pipeline gave no answer"), exchange),
    }
}

/// The head that opens a tunnel: it has no length (RFC 9110, 9.3.6).
pub(super) fn tunnel_head(server: &ServerContext, response: Response) -> (StatusCode, HeaderMap) {
    let Response { status, mut headers, .. } = response;
    strip_hop_by_hop(&mut headers);
    headers.remove(CONTENT_LENGTH);
    server.put_date(&mut headers);
    (status, headers)
}

/// The head of an answer, and the body that follows it: none, where there may be none.
pub(super) fn response_head(
    server: &ServerContext,
    response: Response,
    head_only: bool,
) -> (http::Response<()>, Body) {
    let Response { status, mut headers, body, .. } = response;
    let length = match head_only {
        false => body.length(),
        true => {
            body.length().filter(|&length| length > 0).or_else(|| content_length(&headers).ok().flatten())
        }
    };
    strip_hop_by_hop(&mut headers);
    headers.remove(CONTENT_LENGTH);
    if let Some(length) = length.filter(|_| !bodiless(status)) {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    server.put_date(&mut headers);
    let mut head = http::Response::new(());
    *head.status_mut() = status;
    *head.headers_mut() = headers;
    (head, if head_only || bodiless(status) { Body::empty() } else { body })
}

//! Writing heads. What frames a message is written here and nowhere else: a `Content-Length`, `Transfer-Encoding` or
//! `Connection` among a message's fields is left out, so that no stage and no peer can make a head contradict the body
//! that follows it.

use bytes::BytesMut;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Version};
use proxima_pipeline::{put_decimal, put_line};

use super::error::Http1Error;
use super::framing::{Framing, bodiless};

/// What the written `Connection` field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionField {
    /// No such field: HTTP/1.1 persists by itself.
    Absent,
    /// `close`: nothing follows.
    Close,
    /// `keep-alive`: said to HTTP/1.0 clients who asked for it.
    KeepAlive,
    /// `upgrade`, together with the protocol in `Upgrade`.
    Upgrade(HeaderValue),
}

/// Writes a request's head as HTTP/1.1. `headers` must hold one `Host`. With [`Framing::None`] no length is declared
/// at all, which for a request means that no body follows. An error means that nothing was written.
pub fn write_request_head(
    method: &Method,
    target: &PathAndQuery,
    headers: &HeaderMap,
    framing: Framing,
    connection: &ConnectionField,
    buffer: &mut BytesMut,
) -> Result<(), Http1Error> {
    let one_host = headers.get_all(http::header::HOST).iter().count() == 1;
    // `http` lets a path through that no reader of ours would take: white space cannot occur, but other octets can.
    let target = target.as_str().as_bytes();
    let printable = !target.is_empty() && target.iter().all(|octet| octet.is_ascii_graphic());
    if !one_host || !printable || framing == Framing::UntilClose || method == Method::CONNECT {
        return Err(Http1Error::Unwritable);
    }
    buffer.reserve(64 + target.len() + room(headers));
    request_line(method, target, buffer);
    rest(headers, declared(framing), connection, buffer);
    Ok(())
}

/// Begins the head of a request in absolute form (RFC 9112, 3.2.2), as those are asked who answer for any host: its line, and these
/// fields but for those that frame a message. What is sent more than once is written once so; [`write_request_end`] ends it. An error
/// means that nothing was written.
pub fn write_request_start<'a>(
    method: &Method,
    url: &str,
    headers: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    buffer: &mut BytesMut,
) -> Result<(), Http1Error> {
    let printable = !url.is_empty() && url.bytes().all(|octet| octet.is_ascii_graphic());
    if !printable || method == Method::CONNECT {
        return Err(Http1Error::Unwritable);
    }
    request_line(method, url.as_bytes(), buffer);
    fields(headers, buffer);
    Ok(())
}

/// Ends the head of a request: how its body is framed, and what is to become of the connection. With [`Framing::None`] no body follows.
pub fn write_request_end(framing: Framing, connection: &ConnectionField, buffer: &mut BytesMut) {
    end(declared(framing), connection, false, buffer);
}

fn request_line(method: &Method, target: &[u8], buffer: &mut BytesMut) {
    for part in [method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"] {
        buffer.extend_from_slice(part);
    }
}

/// Writes a response's head. The version that is written is always HTTP/1.1 (RFC 9110, 2.5); what an HTTP/1.0 client
/// cannot read, a chunked body, the caller must not choose for it.
///
/// `framing` is that of the body which the same answer to `GET` would have: an answer to `HEAD` declares it too, and
/// the caller writes no body. For a status that never has a body nothing is declared.
pub fn write_response_head(
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    connection: &ConnectionField,
    buffer: &mut BytesMut,
) {
    buffer.reserve(64 + room(headers));
    buffer.extend_from_slice(b"HTTP/1.1 ");
    buffer.extend_from_slice(status.as_str().as_bytes());
    buffer.extend_from_slice(b" ");
    buffer.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    buffer.extend_from_slice(b"\r\n");
    let declared = match framing {
        _ if bodiless(status) => Declared::Nothing,
        Framing::None => Declared::Length(0),
        framing => declared(framing),
    };
    rest(headers, declared, connection, buffer);
}

/// The field that declares where the body ends.
enum Declared {
    Nothing,
    Length(u64),
    Chunked,
}

const fn declared(framing: Framing) -> Declared {
    match framing {
        Framing::None | Framing::UntilClose => Declared::Nothing,
        Framing::Length(length) => Declared::Length(length),
        Framing::Chunked => Declared::Chunked,
    }
}

/// Room for the fields of a head; a guess that is nearly always enough.
fn room(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() + 64
}

fn rest(headers: &HeaderMap, declared: Declared, connection: &ConnectionField, buffer: &mut BytesMut) {
    fields(headers, buffer);
    end(declared, connection, headers.contains_key(UPGRADE), buffer);
}

fn fields<'a>(headers: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>, buffer: &mut BytesMut) {
    for (name, value) in headers {
        if ![CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name) {
            put_line(buffer, name, value.as_bytes());
        }
    }
}

/// `names`: whether the protocol of an upgrade is named already.
fn end(declared: Declared, connection: &ConnectionField, names: bool, buffer: &mut BytesMut) {
    match declared {
        Declared::Nothing => {}
        Declared::Length(length) => {
            buffer.extend_from_slice(b"content-length: ");
            put_decimal(buffer, length);
            buffer.extend_from_slice(b"\r\n");
        }
        Declared::Chunked => buffer.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    match connection {
        ConnectionField::Absent => {}
        ConnectionField::Close => buffer.extend_from_slice(b"connection: close\r\n"),
        ConnectionField::KeepAlive => buffer.extend_from_slice(b"connection: keep-alive\r\n"),
        ConnectionField::Upgrade(protocol) => {
            buffer.extend_from_slice(b"connection: upgrade\r\n");
            if !names {
                put_line(buffer, &UPGRADE, protocol.as_bytes());
            }
        }
    }
    buffer.extend_from_slice(b"\r\n");
}

/// The version word of an HTTP/1 message, for logs and metrics.
pub fn version_name(version: Version) -> &'static str {
    if version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" }
}

//! Requests that are answered as they lie in the buffer: what can be said of a head without taking it apart.

use http::header::{ACCEPT_ENCODING, CONNECTION, HOST};
use http::{Method, Version};

use super::limits::HOST_BYTES_MAX;
use super::request::RequestLine;

/// Fields that frame a message, ask for something beside an answer, or are meant for this connection: whoever sends one
/// (`Connection: keep-alive` apart) has its request taken apart.
const OF_THE_CONNECTION: [&str; 10] = [
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A plain request: a GET for a path, of one host in its usual spelling, without body and with none of the
/// fields that mean something to anybody. By HTTP/1.1 it is one that
/// [`RequestParser::take`](super::RequestParser::take) would take with the same result, and that leaves the connection open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainRequest<'a> {
    /// The host: lower case, without port and last dot; no IPv6 address.
    pub host: &'a str,
    /// The port, if one was named; not that of the scheme.
    pub port: Option<u16>,
    /// Path and query.
    pub target: &'a str,
    /// The value of `Accept-Encoding`.
    pub accept_encoding: Option<&'a [u8]>,
    /// Octets of the request as it would be passed on, without the fields of the connection.
    pub bytes: u64,
}

/// Reads one. `heeded` says which fields mean something to those behind us; `default_port` is the scheme's.
pub(super) fn plain<'a>(
    head: &'a [u8],
    line: &RequestLine,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    default_port: u16,
    heeded: impl Fn(&[u8]) -> bool,
) -> Option<PlainRequest<'a>> {
    let target = head.get(line.target.clone())?;
    if line.method != Method::GET || line.version != Version::HTTP_11 || !is_target(target) {
        return None;
    }
    let (mut host, mut accept_encoding) = (None, None);
    let mut bytes = "GET  HTTP/1.1\r\n".len() + target.len() + "\r\n".len();
    for (name, value) in fields {
        match known(name) {
            Some(Known::Host) if host.is_none() => host = Some(value),
            Some(Known::AcceptEncoding) if accept_encoding.is_none() => accept_encoding = Some(value),
            Some(Known::Connection) if value.eq_ignore_ascii_case(b"keep-alive") => continue,
            None if !is_of_the_connection(name) && !heeded(name) => {}
            _ => return None,
        }
        bytes += name.len() + value.len() + ": \r\n".len();
    }
    let (host, port) = place(host?, default_port)?;
    let target = std::str::from_utf8(target).ok()?;
    Some(PlainRequest { host, port, target, accept_encoding, bytes: bytes as u64 })
}

/// Fields that a plain request may have, and that mean something.
enum Known {
    Host,
    AcceptEncoding,
    Connection,
}

fn known(name: &[u8]) -> Option<Known> {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match name.len() {
        4 if is(HOST.as_str()) => Some(Known::Host),
        10 if is(CONNECTION.as_str()) => Some(Known::Connection),
        15 if is(ACCEPT_ENCODING.as_str()) => Some(Known::AcceptEncoding),
        _ => None,
    }
}

/// Whether a field of this name is one of [`OF_THE_CONNECTION`].
pub fn is_of_the_connection(name: &[u8]) -> bool {
    let is = |known: &&str| known.len() == name.len() && name.eq_ignore_ascii_case(known.as_bytes());
    OF_THE_CONNECTION.iter().any(is)
}

/// A path and a query of the octets that RFC 3986 (3.3, 3.4) has for them. Others are let through, some of them: that is
/// for the long way to say.
pub fn is_target(target: &[u8]) -> bool {
    let good = |octet: u8| octet.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@?".contains(&octet);
    target.first() == Some(&b'/') && target.iter().all(|&octet| good(octet))
}

/// A host and its port, if they are spelt as stages see them.
pub fn place(text: &[u8], default_port: u16) -> Option<(&str, Option<u16>)> {
    let text = std::str::from_utf8(text).ok()?;
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(number(port).filter(|port| *port != default_port)?)),
        None => (text, None),
    };
    let good = |octet: u8| {
        octet.is_ascii_lowercase() || octet.is_ascii_digit() || matches!(octet, b'-' | b'.' | b'_')
    };
    let mut label_begins = true;
    for octet in host.bytes() {
        // No label is empty, and none is the last one's dot.
        if !good(octet) || label_begins && octet == b'.' {
            return None;
        }
        label_begins = octet == b'.';
    }
    (!label_begins && host.len() <= HOST_BYTES_MAX).then_some((host, port))
}

/// A port as one writes it, without zeros before it.
fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| digits)
}

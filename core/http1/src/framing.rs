//! Where a message's body ends (RFC 9112, 6) and what `Connection` says (RFC 9110, 7.6.1).

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};
use proxima_pipeline::{Body, frames_or_routes};

use super::error::Http1Error;
use super::limits::LENGTH_DIGITS_MAX;
use super::section::is_token;

/// How the octets after a head are to be read as its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body follows.
    None,
    /// Exactly this many octets follow.
    Length(u64),
    /// Chunks follow, then a trailer section.
    Chunked,
    /// Everything up to the end of the connection; responses only.
    UntilClose,
}

impl Framing {
    /// How the body of a request is framed that we send. Methods that are made to carry one say so when it is empty (RFC 9110, 8.6).
    pub fn of_request_body(method: &Method, body: &Body) -> Self {
        match body.length() {
            Some(0) if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => Self::Length(0),
            Some(0) => Self::None,
            Some(length) => Self::Length(length),
            None if body.is_empty() => Self::None,
            None => Self::Chunked,
        }
    }

    /// Whether no octet of a body follows.
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// What `Connection` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ConnectionOptions {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

impl ConnectionOptions {
    /// Reads all `Connection` fields.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Http1Error> {
        let mut options = Self::default();
        for option in headers.get_all(CONNECTION).iter().flat_map(elements) {
            if option.eq_ignore_ascii_case(b"close") {
                options.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                options.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                options.upgrade = true;
            } else if !is_token(option) || frames_or_routes(option) {
                return Err(Http1Error::ConnectionInvalid);
            }
        }
        Ok(options)
    }

    /// Whether another message may follow on the connection (RFC 9112, 9.3).
    pub(super) fn persistent(self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keep_alive)
    }
}

/// The elements of a comma-separated list; empty ones are no elements (RFC 9110, 5.6.1).
fn elements(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|&octet| octet == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// The framing of a request (RFC 9112, 6.3), where every doubt is an error.
pub(super) fn of_request(headers: &HeaderMap, version: Version) -> Result<Framing, Http1Error> {
    declared(headers, version).map(|framing| framing.unwrap_or(Framing::None))
}

/// The framing of a response to a request by `HEAD` (`head`) or another method. What a response without body declares
/// is checked all the same: an origin that contradicts itself is not believed.
pub(super) fn of_response(
    headers: &HeaderMap,
    version: Version,
    status: StatusCode,
    head: bool,
) -> Result<Framing, Http1Error> {
    let framing = declared(headers, version)?;
    if head || bodiless(status) {
        return Ok(Framing::None);
    }
    Ok(framing.unwrap_or(Framing::UntilClose))
}

/// Whether answers of this status never have a body (RFC 9110, 6.4.1).
pub fn bodiless(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// What `Content-Length` and `Transfer-Encoding` say.
fn declared(headers: &HeaderMap, version: Version) -> Result<Option<Framing>, Http1Error> {
    let length = content_length(headers)?;
    if !chunked(headers)? {
        return Ok(length.map(Framing::Length));
    }
    if length.is_some() {
        return Err(Http1Error::LengthWithEncoding);
    }
    if version != Version::HTTP_11 {
        return Err(Http1Error::EncodingInHttp10);
    }
    Ok(Some(Framing::Chunked))
}

/// The one number that `Content-Length` may hold.
pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Http1Error> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Http1Error::LengthDoubled);
    }
    let digits = value.as_bytes();
    if digits.is_empty() || digits.len() > LENGTH_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Http1Error::LengthInvalid);
    }
    Ok(Some(digits.iter().fold(0u64, |length, digit| length * 10 + u64::from(digit - b'0'))))
}

/// Whether `Transfer-Encoding` says exactly `chunked`.
fn chunked(headers: &HeaderMap) -> Result<bool, Http1Error> {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(false) };
    if values.next().is_some() {
        return Err(Http1Error::EncodingInvalid);
    }
    if value.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Ok(true);
    }
    let mut codings = value.as_bytes().split(|&octet| octet == b',').map(<[u8]>::trim_ascii);
    if !codings.clone().all(is_token) {
        return Err(Http1Error::EncodingInvalid);
    }
    // `chunked` twice or before another coding is malformed; a coding that we merely do not know is not.
    match codings.any(|coding| !coding.eq_ignore_ascii_case(b"chunked")) {
        true => Err(Http1Error::EncodingUnsupported),
        false => Err(Http1Error::EncodingInvalid),
    }
}

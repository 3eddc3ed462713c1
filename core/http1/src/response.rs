//! Heads of responses, as origins and the engine of Workers send them (RFC 9112, 4).

use std::ops::Range;

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderValue, UPGRADE};
use http::{Method, StatusCode, Version};

use super::error::Http1Error;
use super::framing::{self, ConnectionOptions, Framing};
use super::limits::Limits;
use super::request::version;
use super::section::{FieldScanner, LineScanner, SectionLimits, is_field_value};

/// A response's head that holds to RFC 9112, with its framing decided.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// 100 to 599. Informational ones (but for 101) are followed by another head: bear
    /// [`INFORMATIONAL_MAX`](super::INFORMATIONAL_MAX) of them.
    pub status: StatusCode,
    /// All fields as they came, hop-by-hop ones included: see [`strip_hop_by_hop`](proxima_pipeline::strip_hop_by_hop).
    pub headers: HeaderMap,
    /// How the body is read.
    pub framing: Framing,
    /// Whether the connection can carry another request once the body has been read to its end.
    pub keep_alive: bool,
    /// The protocol that a 101 switches to.
    pub upgrade: Option<HeaderValue>,
}

impl ResponseHead {
    /// Whether another head follows before the answer proper.
    pub fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Reads heads of responses from a growing buffer; remembers how far it came.
#[derive(Clone, Debug, Default)]
pub struct ResponseParser {
    lines: LineScanner,
    line: Option<(Version, StatusCode)>,
    fields: FieldScanner,
}

impl ResponseParser {
    /// Takes a whole head from the front of `buffer`, or nothing until there is one. `method` is that of the request
    /// which is answered: an answer to `HEAD` has no body whatever it declares. `buffer` must only grow between calls.
    pub fn parse(
        &mut self,
        buffer: &mut BytesMut,
        method: &Method,
        limits: &Limits,
    ) -> Result<Option<ResponseHead>, Http1Error> {
        if self.line.is_none() {
            let line = self.lines.next(buffer, limits.head_bytes_max, Http1Error::HeadTooLarge)?;
            self.line = line.map(|line| status_line(buffer, line)).transpose()?;
        }
        if self.line.is_none() {
            return Ok(None);
        }
        let section = SectionLimits {
            bytes_max: limits.head_bytes_max,
            fields_max: limits.head_fields_max,
            too_large: Http1Error::HeadTooLarge,
            too_many: Http1Error::TooManyFields,
        };
        if !self.fields.scan(&mut self.lines, buffer, &section)? {
            return Ok(None);
        }
        let done = std::mem::take(self);
        let (version, status) = done.line.expect("the status line was read above");
        let head = buffer.split_to(done.lines.position()).freeze();
        let headers = done.fields.into_map(&head)?;
        let framing = framing::of_response(&headers, version, status, method == Method::HEAD)?;
        let connection = ConnectionOptions::read(&headers)?;
        let switches = status == StatusCode::SWITCHING_PROTOCOLS;
        let upgrade = (switches && connection.upgrade).then(|| headers.get(UPGRADE).cloned()).flatten();
        let keep_alive = connection.persistent(version) && framing != Framing::UntilClose && !switches;
        Ok(Some(ResponseHead { version, status, headers, framing, keep_alive, upgrade }))
    }
}

/// Takes a whole head of a response from the front of `buffer`, or nothing until there is one. For callers that keep no
/// state between calls; [`ResponseParser`] does not look at an octet twice.
pub fn parse_response_head(
    buffer: &mut BytesMut,
    method: &Method,
    limits: &Limits,
) -> Result<Option<ResponseHead>, Http1Error> {
    ResponseParser::default().parse(buffer, method, limits)
}

/// `HTTP-version SP status-code SP [ reason-phrase ]`. The second space is forgiven where no reason follows: many
/// origins leave both away, and nothing can be smuggled through it. The reason is dropped, as HTTP/2 does.
fn status_line(buffer: &[u8], line: Range<usize>) -> Result<(Version, StatusCode), Http1Error> {
    let text = &buffer[line];
    let (start, rest) = text.split_at_checked(8).ok_or(Http1Error::StatusLine)?;
    let version = version(start).ok_or(Http1Error::StatusLine)??;
    let (digits, reason) = match rest {
        [b' ', a, b, c] => ([*a, *b, *c], &[][..]),
        [b' ', a, b, c, b' ', reason @ ..] => ([*a, *b, *c], reason),
        _ => return Err(Http1Error::StatusLine),
    };
    if !matches!(digits[0], b'1'..=b'5') || !is_field_value(reason) {
        return Err(Http1Error::StatusLine);
    }
    let status = StatusCode::from_bytes(&digits).map_err(|_| Http1Error::StatusLine)?;
    Ok((version, status))
}

//! Heads of requests (RFC 9112, 3).

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{EXPECT, HOST, HeaderMap, HeaderValue, UPGRADE};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Version};

use super::error::Http1Error;
use super::framing::{self, ConnectionOptions, Framing};
use super::host::Host;
use super::limits::{Limits, METHOD_BYTES_MAX};
use super::plain::{PlainRequest, plain};
use super::section::{FieldScanner, LineScanner, SectionLimits, is_token, is_token_octet};

/// Octets of ` ` + ` HTTP/1.1` + CRLF around a request line's method and target.
const REQUEST_LINE_OVERHEAD: usize = 12;

/// A request's head that holds to RFC 9112, with everything decided that its framing and routing need.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method; never `CONNECT`.
    pub method: Method,
    /// The target in origin form (or `*` with `OPTIONS`): an absolute target is reduced to it.
    pub target: PathAndQuery,
    /// The scheme of an absolute target.
    pub scheme: Option<Scheme>,
    /// The one host that the request is for.
    pub host: Host,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// All fields as they came, hop-by-hop ones included: see [`strip_hop_by_hop`](proxima_pipeline::strip_hop_by_hop).
    pub headers: HeaderMap,
    /// How the body is read.
    pub framing: Framing,
    /// Whether the client wants another request on this connection.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The protocols that the client offers to switch to, if `Connection` lists `upgrade`.
    pub upgrade: Option<HeaderValue>,
}

/// Reads heads of requests from a growing buffer; remembers how far it came.
#[derive(Clone, Debug, Default)]
pub struct RequestParser {
    lines: LineScanner,
    line: Option<RequestLine>,
    skipped_empty_line: bool,
    fields: FieldScanner,
}

/// Where the parts of the request line lie.
#[derive(Clone, Debug)]
pub(super) struct RequestLine {
    pub(super) method: Method,
    pub(super) target: Range<usize>,
    pub(super) version: Version,
}

impl RequestParser {
    /// Takes a whole head from the front of `buffer`, or nothing until there is one. `buffer` must only grow between
    /// calls. After an error the connection must be closed; after a head the parser is ready for the next.
    pub fn parse(
        &mut self,
        buffer: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<RequestHead>, Http1Error> {
        if self.scan(buffer, limits)? { self.take(buffer).map(Some) } else { Ok(None) }
    }

    /// Reads on, and says whether a whole head is there now: to be taken, or looked at and skipped. `buffer` must only
    /// grow between calls. After an error the connection must be closed.
    pub fn scan(&mut self, buffer: &[u8], limits: &Limits) -> Result<bool, Http1Error> {
        if self.line.is_none() {
            self.line = self.request_line(buffer, limits)?;
        }
        if self.line.is_none() {
            return Ok(false);
        }
        let section = SectionLimits {
            bytes_max: limits.head_bytes_max,
            fields_max: limits.head_fields_max,
            too_large: Http1Error::HeadTooLarge,
            too_many: Http1Error::TooManyFields,
        };
        self.fields.scan(&mut self.lines, buffer, &section)
    }

    /// Takes the head that was found off the front of `buffer`; the parser is ready for the next.
    ///
    /// # Panics
    /// [`scan`](Self::scan) has not said that there is one.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<RequestHead, Http1Error> {
        let done = std::mem::take(self);
        let line = done.line.expect("a whole head has a request line");
        let head = buffer.split_to(done.lines.position()).freeze();
        let headers = done.fields.into_map(&head)?;
        assemble(&head, line, headers)
    }

    /// The head that was found, as it lies in `buffer`, if it is a plain one: see [`PlainRequest`].
    pub fn plain<'a>(
        &'a self,
        buffer: &'a [u8],
        default_port: u16,
        heeded: impl Fn(&[u8]) -> bool,
    ) -> Option<PlainRequest<'a>> {
        let line = self.line.as_ref().filter(|_| !self.fields.has_underscores())?;
        let head = buffer.get(..self.lines.position())?;
        plain(head, line, self.fields.iter(head), default_port, heeded)
    }

    /// Passes over the head that was found; the parser is ready for the next.
    pub fn skip(&mut self, buffer: &mut BytesMut) {
        buffer.advance(self.lines.position());
        *self = Self::default();
    }

    /// Whether no octet of the next request has been seen: the connection is idle, and may be closed without loss.
    pub fn is_idle(&self, buffer: &[u8]) -> bool {
        self.line.is_none() && (buffer.is_empty() || buffer == b"\r\n")
    }

    fn request_line(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<RequestLine>, Http1Error> {
        loop {
            let start = self.lines.position();
            // What can be no request is refused at its first octet: a TLS hello on the clear port, for example.
            if buffer
                .get(start)
                .is_some_and(|&first| !is_token_octet(first) && first != b'\r' && first != b'\n')
            {
                return Err(Http1Error::RequestLine);
            }
            let line_max = METHOD_BYTES_MAX + limits.target_bytes_max + REQUEST_LINE_OVERHEAD;
            let end_max = (start + line_max).min(limits.head_bytes_max);
            let Some(line) = self.lines.next(buffer, end_max, Http1Error::TargetTooLong)? else {
                return Ok(None);
            };
            // One empty line is forgiven, since old clients end a body with it (RFC 9112, 2.2).
            if line.is_empty() && !self.skipped_empty_line {
                self.skipped_empty_line = true;
                continue;
            }
            return request_line(buffer, line, limits).map(Some);
        }
    }
}

/// Takes a whole head of a request from the front of `buffer`, or nothing until there is one. For callers that keep no
/// state between calls; [`RequestParser`] does not look at an octet twice.
pub fn parse_request_head(buffer: &mut BytesMut, limits: &Limits) -> Result<Option<RequestHead>, Http1Error> {
    RequestParser::default().parse(buffer, limits)
}

/// `method SP request-target SP HTTP-version`, with single spaces and nothing else.
fn request_line(buffer: &[u8], line: Range<usize>, limits: &Limits) -> Result<RequestLine, Http1Error> {
    let text = &buffer[line.clone()];
    let method_end = memchr::memchr(b' ', text).ok_or(Http1Error::RequestLine)?;
    let target_start = method_end + 1;
    let target_end = match memchr::memchr(b' ', &text[target_start..]) {
        Some(length) => target_start + length,
        None if text.len() > target_start => return Err(Http1Error::VersionMissing),
        None => return Err(Http1Error::RequestLine),
    };
    let method = &text[..method_end];
    if method_end > METHOD_BYTES_MAX {
        return Err(Http1Error::MethodTooLong);
    }
    if !is_token(method) {
        return Err(Http1Error::Method);
    }
    if text == b"PRI * HTTP/2.0" {
        return Err(Http1Error::Http2Preface);
    }
    let version = version(&text[target_end + 1..]).ok_or(Http1Error::RequestLine)??;
    let target = &text[target_start..target_end];
    if target.len() > limits.target_bytes_max {
        return Err(Http1Error::TargetTooLong);
    }
    if !is_target(target) {
        return Err(Http1Error::Target);
    }
    let method = Method::from_bytes(method).map_err(|_| Http1Error::Method)?;
    if method == Method::CONNECT {
        return Err(Http1Error::Connect);
    }
    Ok(RequestLine { method, target: line.start + target_start..line.start + target_end, version })
}

/// `HTTP/DIGIT.DIGIT`: nothing if it is none, an error if we do not speak it.
pub(super) fn version(text: &[u8]) -> Option<Result<Version, Http1Error>> {
    match text {
        b"HTTP/1.1" => Some(Ok(Version::HTTP_11)),
        b"HTTP/1.0" => Some(Ok(Version::HTTP_10)),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Some(Err(Http1Error::VersionUnsupported))
        }
        _ => None,
    }
}

/// Octets that a target may have: visible ASCII but for the fragment's `#`, which is never sent, and for those that no
/// URI has and that programs behind us read in ways of their own (`\` as `/`, `<` and `>` as markup).
pub fn is_target(target: &[u8]) -> bool {
    !target.is_empty()
        && target.iter().fold(true, |good, &octet| {
            good & (octet > 0x20 && octet < 0x7f) & !matches!(octet, b'#' | b'\\' | b'<' | b'>')
        })
}

/// The parts of a target, whichever of its forms it has (RFC 9112, 3.2).
struct Target {
    path: PathAndQuery,
    scheme: Option<Scheme>,
    authority: Option<Host>,
}

fn target(text: Bytes, method: &Method) -> Result<Target, Http1Error> {
    let origin = |text: Bytes| PathAndQuery::from_maybe_shared(text).map_err(|_| Http1Error::Target);
    match text.first() {
        Some(b'/') => return Ok(Target { path: origin(text)?, scheme: None, authority: None }),
        Some(b'*') if text.len() == 1 && method == Method::OPTIONS => {
            return Ok(Target { path: PathAndQuery::from_static("*"), scheme: None, authority: None });
        }
        _ => {}
    }
    let (scheme, after) = [(Scheme::HTTP, "http://"), (Scheme::HTTPS, "https://")]
        .into_iter()
        .find(|(_, prefix)| {
            text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        })
        .map(|(scheme, prefix)| (scheme, text.slice(prefix.len()..)))
        .ok_or(Http1Error::Target)?;
    let authority_end = after.iter().position(|&octet| octet == b'/' || octet == b'?').unwrap_or(after.len());
    let authority = Host::parse(&after.slice(..authority_end)).map_err(|_| Http1Error::Target)?;
    let rest = after.slice(authority_end..);
    let path = match rest.first() {
        Some(b'/') => origin(rest)?,
        // `OPTIONS http://host` means the server as a whole (RFC 9112, 3.2.4).
        None if method == Method::OPTIONS => PathAndQuery::from_static("*"),
        None => PathAndQuery::from_static("/"),
        Some(_) => origin([b"/", rest.as_ref()].concat().into())?,
    };
    Ok(Target { path, scheme: Some(scheme), authority: Some(authority) })
}

/// Everything that is decided from the whole head.
fn assemble(head: &Bytes, line: RequestLine, headers: HeaderMap) -> Result<RequestHead, Http1Error> {
    let RequestLine { method, target: span, version } = line;
    let Target { path, scheme, authority } = target(head.slice(span), &method)?;
    let host = host(&headers)?;
    if let Some(authority) = authority {
        let port_default = if scheme == Some(Scheme::HTTPS) { 443 } else { 80 };
        if !authority.same_place(&host, port_default) {
            return Err(Http1Error::HostMismatch);
        }
    }
    let framing = framing::of_request(&headers, version)?;
    let connection = ConnectionOptions::read(&headers)?;
    let expect_continue = expectation(&headers, version)? && !framing.is_empty();
    let upgrade = match connection.upgrade && version == Version::HTTP_11 {
        true => headers.get(UPGRADE).cloned(),
        false => None,
    };
    Ok(RequestHead {
        keep_alive: connection.persistent(version),
        method,
        target: path,
        scheme,
        host,
        version,
        headers,
        framing,
        expect_continue,
        upgrade,
    })
}

/// The one `Host` that a request must have. HTTP/1.0 may leave it out, but then it names no site of anybody's.
fn host(headers: &HeaderMap) -> Result<Host, Http1Error> {
    let mut values = headers.get_all(HOST).iter();
    let value = values.next().ok_or(Http1Error::HostMissing)?;
    if values.next().is_some() {
        return Err(Http1Error::HostDoubled);
    }
    // A slice of the head would do, but `http` does not give it back: one small copy.
    Host::parse(&Bytes::copy_from_slice(value.as_bytes()))
}

/// Whether the client expects `100 Continue` (RFC 9110, 10.1.1); HTTP/1.0 clients cannot.
fn expectation(headers: &HeaderMap, version: Version) -> Result<bool, Http1Error> {
    let mut values = headers.get_all(EXPECT).iter();
    let Some(value) = values.next() else { return Ok(false) };
    if version == Version::HTTP_10 {
        return Ok(false);
    }
    if values.next().is_some() || !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
        return Err(Http1Error::Expectation);
    }
    Ok(true)
}

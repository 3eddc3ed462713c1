//! The short way: a request that is answered as it lies in its connection's buffer, without being taken apart.
//!
//! ```text
//!  head, scanned ─▶ Glance ─▶ stage 1 ─▶ stage 2 ─▶ … ─▶ one that has the answer ready (the cache)
//!                                │ Pass                     │ Ready: a head that was made when it was stored, and its body
//!                                └ Unsure, whichever it is  ▼
//!                                    ▼                   back, in reverse order: each stage that passed adds its fields
//!                                 nothing has happened:     │
//!                                 the long way begins       └─▶ octets, in the protocol's form (HeadForm)
//! ```
//!
//! A hit is answered by what was known before it came: which fields its answer has, but for a handful. So no map of
//! fields is made of the request, none of the answer, and no exchange. Every stage says beside its
//! [`on_request`](crate::Stage::on_request) what it does at a glance; the list of stages is the same.
//!
//! Invariants:
//! * **Both ways answer alike**, field by field. Whoever is not sure that they do says so, and the long way is gone from
//!   its beginning. That is what a stage says that has never heard of the short one.
//! * **A request that has a field of any meaning to a stage is not for it** ([`Stage::heeds`](crate::Stage::heeds)): what
//!   stages look at here is the request line, the host, the client and `Accept-Encoding`.
//! * **Nothing is left behind** by a stage before the last word is spoken: it is spoken by the one that answers, and on the
//!   way back nothing can fail.

use std::{fmt, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{AGE, ALT_SVC, CONNECTION, CONTENT_LENGTH, DATE, SERVER, STRICT_TRANSPORT_SECURITY},
    header::{TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS},
};
use tokio::time::Instant;

use crate::{Client, RayId, Scheme, Site};

/// Fields that stages on the way back say in place of what a stored answer says. They are kept apart in a
/// [`PreparedHead`]: nothing that was written has to be found again.
static REPLACED: [HeaderName; 6] = [
    SERVER,
    HeaderName::from_static("cf-ray"),
    DATE,
    ALT_SVC,
    STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
];
/// What frames a message is written by whoever sends it.
static FRAMING: [HeaderName; 3] = [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION];
/// Octets of the fields that stages add: a guess that is nearly always enough.
const ADDED_OCTETS: usize = 256;
/// Digits of the largest number.
const DIGITS_MAX: usize = 20;
/// Names up to this length are found by it; longer ones, of which there are hardly any, are searched for.
const NAME_OCTETS_INDEXED: usize = 32;

/// How a protocol writes an answer's head: none of them may depend on what was written before it on the connection.
pub trait HeadForm: fmt::Debug + Sync {
    /// Its place among the [`HEAD_FORMS`]: what one form has written is of no use to another.
    fn place(&self) -> usize;
    /// Begins a head.
    fn begin(&self, status: StatusCode, out: &mut BytesMut);
    /// Writes a field.
    fn field(&self, name: &HeaderName, value: &[u8], out: &mut BytesMut);
    /// Ends the head.
    fn end(&self, out: &mut BytesMut);
}

/// How many forms there are: that of HTTP/1.1, and that of HTTP/2.
pub const HEAD_FORMS: usize = 2;

/// Lines, as HTTP/1.1 has them.
#[derive(Clone, Copy, Debug)]
pub struct Http1Form;

impl HeadForm for Http1Form {
    fn place(&self) -> usize {
        0
    }

    fn begin(&self, status: StatusCode, out: &mut BytesMut) {
        out.put_slice(b"HTTP/1.1 ");
        out.put_slice(status.as_str().as_bytes());
        out.put_slice(b" ");
        out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        out.put_slice(b"\r\n");
    }

    fn field(&self, name: &HeaderName, value: &[u8], out: &mut BytesMut) {
        put_line(out, name, value);
    }

    fn end(&self, out: &mut BytesMut) {
        out.put_slice(b"\r\n");
    }
}

/// A request by GET without body, with no field that a stage heeds, as it lies in its connection's buffer.
#[derive(Debug)]
pub struct Glance<'a> {
    /// Who asks.
    pub client: &'a Client,
    /// How the answer's head is written.
    pub form: &'static dyn HeadForm,
    /// Clear or TLS.
    pub scheme: Scheme,
    /// The host asked for: lower case, without port and last dot.
    pub host: &'a str,
    /// The port asked for, where one was named; never the scheme's own.
    pub port: Option<u16>,
    /// Path and query; begins with a slash.
    pub target: &'a str,
    /// The value of `Accept-Encoding`, if there is one; never several lines.
    pub accept_encoding: Option<&'a [u8]>,
    /// The request's name.
    pub ray: &'a RayId,
    /// When the head had been read.
    pub received: Instant,
    /// The zone asked for, compiled; set by the zone stage.
    pub site: Option<Arc<Site>>,
}

impl Glance<'_> {
    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What a stage says at a glance.
#[derive(Debug)]
pub enum Sight {
    /// As [`Flow::Continue`](crate::Flow::Continue): to the next stage.
    Pass,
    /// This is the answer.
    Ready(Ready),
    /// The request has to be looked at more closely.
    Unsure,
}

/// An answer of which all but a few fields were made before.
#[derive(Debug)]
pub struct Ready {
    /// Its head.
    pub head: Arc<PreparedHead>,
    /// How old it is, in seconds (RFC 9111, 5.1).
    pub age_seconds: u64,
    /// Its body.
    pub body: Bytes,
    /// What the cache did: the place in [`CACHE_STATUSES`](crate::CACHE_STATUSES).
    pub cache: usize,
}

/// The head of an answer in one form, made once for all requests that get it: without `Age`, without what stages add on
/// the way back, and without its end.
#[derive(Debug)]
pub struct PreparedHead {
    status: StatusCode,
    form: &'static dyn HeadForm,
    octets: Bytes,
    /// What it says where no stage says otherwise.
    apart: Box<[(HeaderName, HeaderValue)]>,
}

impl PreparedHead {
    /// Of an answer with these fields and a body of so many octets.
    pub fn new(
        form: &'static dyn HeadForm,
        status: StatusCode,
        headers: &HeaderMap,
        body_bytes: u64,
    ) -> Self {
        let mut octets = BytesMut::new();
        form.begin(status, &mut octets);
        let mut apart = Vec::new();
        for (name, value) in headers.iter().filter(|(name, _)| !FRAMING.contains(name)) {
            if REPLACED.contains(name) {
                apart.push((name.clone(), value.clone()));
            } else {
                form.field(name, value.as_bytes(), &mut octets);
            }
        }
        put_number(form, &CONTENT_LENGTH, body_bytes, &mut octets);
        // A copy: it is kept for long, and must take the memory that it says it takes.
        Self { status, form, octets: Bytes::copy_from_slice(&octets), apart: apart.into() }
    }

    /// The status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// What it takes.
    pub fn octets(&self) -> usize {
        let apart: usize = self.apart.iter().map(|(_, value)| value.len()).sum();
        size_of::<Self>() + self.octets.len() + size_of_val(&*self.apart) + apart
    }
}

/// An answer while stages add their fields to it, on the way back.
#[derive(Debug)]
pub struct Adding<'a> {
    ready: Ready,
    out: &'a mut BytesMut,
    /// Which of [`REPLACED`] a stage has said, by their places.
    said: u8,
}

/// What is left of an answer once its head is written.
#[derive(Debug)]
pub struct Glanced {
    /// Its status.
    pub status: StatusCode,
    /// Its body, still to be written.
    pub body: Bytes,
    /// What the cache did: the place in [`CACHE_STATUSES`](crate::CACHE_STATUSES).
    pub cache: usize,
}

impl<'a> Adding<'a> {
    pub(crate) fn new(ready: Ready, out: &'a mut BytesMut) -> Self {
        out.reserve(ready.head.octets.len() + ADDED_OCTETS);
        out.put_slice(&ready.head.octets);
        put_number(ready.head.form, &AGE, ready.age_seconds, out);
        Self { ready, out, said: 0 }
    }

    /// Adds a field, in place of what the stored answer says under the same name. Only fields of [`REPLACED`] can be said.
    pub fn add(&mut self, name: &HeaderName, value: &[u8]) {
        let place = REPLACED.iter().position(|replaced| replaced == name);
        debug_assert!(place.is_some(), "{name} is not among the fields that are kept apart");
        self.said |= place.map_or(0, |place| 1 << place);
        self.ready.head.form.field(name, value, self.out);
    }

    /// Whether it says this already: among [`REPLACED`], by what is stored or by a stage.
    pub fn says(&self, name: &HeaderName) -> bool {
        let said = |(place, replaced): (usize, &HeaderName)| replaced == name && self.said & 1 << place != 0;
        REPLACED.iter().enumerate().any(said) || self.ready.head.apart.iter().any(|(kept, _)| kept == name)
    }

    pub(crate) fn end(self) -> Glanced {
        let Ready { head, body, cache, .. } = self.ready;
        for (name, value) in &head.apart {
            let place = REPLACED.iter().position(|replaced| replaced == name);
            if place.is_none_or(|place| self.said & 1 << place == 0) {
                head.form.field(name, value.as_bytes(), self.out);
            }
        }
        head.form.end(self.out);
        Glanced { status: head.status, body, cache }
    }
}

/// Writes a field whose value is a number.
fn put_number(form: &dyn HeadForm, name: &HeaderName, number: u64, out: &mut BytesMut) {
    let mut digits = [0; DIGITS_MAX];
    let mut left = &mut digits[..];
    put_decimal(&mut left, number);
    let length = DIGITS_MAX - left.len();
    form.field(name, &digits[..length], out);
}

/// Writes one field line. `http` guarantees that no name holds a control octet, nor a value that it made.
pub fn put_line(lines: &mut impl BufMut, name: &HeaderName, value: &[u8]) {
    lines.put_slice(name.as_str().as_bytes());
    lines.put_slice(b": ");
    lines.put_slice(value);
    lines.put_slice(b"\r\n");
}

/// A number in decimal digits, without the machinery of formatting.
pub fn put_decimal(lines: &mut impl BufMut, mut number: u64) {
    let mut digits = [b'0'; DIGITS_MAX];
    let mut start = DIGITS_MAX;
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    lines.put_slice(&digits[start..]);
}

/// The names of fields with which a request is not for the short way. Compared in any case.
#[derive(Debug, Default)]
pub struct Heeded {
    /// By length.
    names: Vec<Vec<&'static [u8]>>,
    /// Beginnings of names.
    beginnings: Vec<&'static [u8]>,
}

impl Heeded {
    /// These names, in lower case. One that ends with `*` stands for all that begin so.
    pub fn new(names: impl IntoIterator<Item = &'static str>) -> Self {
        let mut heeded = Self { names: vec![Vec::new(); NAME_OCTETS_INDEXED + 1], beginnings: Vec::new() };
        for name in names {
            match name.strip_suffix('*') {
                Some(beginning) => heeded.beginnings.push(beginning.as_bytes()),
                None => heeded.names[name.len().min(NAME_OCTETS_INDEXED)].push(name.as_bytes()),
            }
        }
        heeded
    }

    /// Whether a field of this name is heeded.
    pub fn has(&self, name: &[u8]) -> bool {
        let of_length = self.names.get(name.len().min(NAME_OCTETS_INDEXED));
        let first = name.first().map(u8::to_ascii_lowercase);
        of_length.is_some_and(|names| {
            names.iter().any(|known| known.first().copied() == first && known.eq_ignore_ascii_case(name))
        }) || self.beginnings.iter().any(|beginning| {
            name.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_a_stage_says_stands_in_place_of_what_is_stored_and_framing_is_written_anew() {
        let stored = fields(&[
            ("server", "origin"),
            ("date", "then"),
            ("alt-svc", "theirs"),
            ("content-length", "99"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("x-a", "1"),
            ("x-a", "2"),
        ]);
        let head = Arc::new(PreparedHead::new(&Http1Form, StatusCode::OK, &stored, 3));
        assert!(head.octets() > head.octets.len());
        let ready = Ready { head, age_seconds: 60, body: Bytes::from_static(b"abc"), cache: 0 };
        let mut out = BytesMut::from("before");
        let mut adding = Adding::new(ready, &mut out);
        assert!(adding.says(&DATE) && !adding.says(&STRICT_TRANSPORT_SECURITY));
        adding.add(&SERVER, b"proxima");
        adding.add(&STRICT_TRANSPORT_SECURITY, b"max-age=1");
        assert!(adding.says(&STRICT_TRANSPORT_SECURITY));
        let Glanced { status, body, cache } = adding.end();
        assert_eq!((status, &body[..], cache), (StatusCode::OK, &b"abc"[..], 0));
        let expected = "beforeHTTP/1.1 200 OK\r\nx-a: 1\r\nx-a: 2\r\ncontent-length: 3\r\nage: 60\r\nserver: proxima\r\n\
                        strict-transport-security: max-age=1\r\ndate: then\r\nalt-svc: theirs\r\n\r\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn names_are_heeded_in_any_case_and_by_their_beginnings() {
        let long = "x-a-name-that-is-longer-than-any-that-is-found-by-its-length";
        let heeded = Heeded::new(["range", "if-range", "cf-*", long]);
        for name in ["range", "Range", "IF-RANGE", "cf-", "CF-Ray", "cf-connecting-ip", long] {
            assert!(heeded.has(name.as_bytes()), "{name}");
        }
        for name in ["", "r", "ranges", "rangf", "if-ranges", "c", "cf", "x-cf-ray", &long[1..], "accept"] {
            assert!(!heeded.has(name.as_bytes()), "{name}");
        }
        assert!(!Heeded::default().has(b"range"));
    }

    #[test]
    fn numbers_are_written_as_everybody_writes_them() {
        for number in [0, 7, 10, 86_400, u64::MAX] {
            let mut written = Vec::new();
            put_decimal(&mut written, number);
            assert_eq!(written, number.to_string().as_bytes());
        }
    }
}

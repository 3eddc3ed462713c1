//! Bodies: decoding what a [`Framing`] announced, and encoding chunks (RFC 9112, 6 and 7).

use bytes::{Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, HOST,
    HeaderMap, HeaderName, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::error::Http1Error;
use super::framing::Framing;
use super::limits::{CHUNK_SIZE_DIGITS_MAX, Limits};
use super::section::{FieldScanner, LineScanner, SectionLimits, is_field_value, is_mistakable};

/// Fields that frame, route or authorise a message and therefore come too late in a trailer (RFC 9110, 6.5.1).
const TRAILERS_FORBIDDEN: [HeaderName; 13] = [
    AUTHORIZATION,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    HOST,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Whether a field may come after a body, by whichever protocol: what comes by one may go on by another.
pub fn may_be_trailer(name: &HeaderName) -> bool {
    !TRAILERS_FORBIDDEN.contains(name) && !is_mistakable(name.as_str().as_bytes())
}

/// What one call of [`BodyDecoder::decode`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The next octets of the body, never empty.
    Data(Bytes),
    /// The trailer section, never empty; [`Decoded::End`] follows.
    Trailers(HeaderMap),
    /// The body is complete, and what is left in the buffer belongs to the next message.
    End,
    /// More octets must be read first.
    NeedMore,
}

/// Reads one body from a growing buffer, holding back nothing: data is given out as it comes, as slices.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    limits: Limits,
    extension_bytes: usize,
}

#[derive(Clone, Debug)]
enum State {
    Length(u64),
    UntilClose,
    ChunkSize(LineScanner),
    ChunkData(u64),
    ChunkEnd,
    /// Boxed, since few bodies come this far and all would pay for its size.
    Trailers(Box<(LineScanner, FieldScanner)>),
    Done,
}

impl BodyDecoder {
    /// A decoder for a body of this framing.
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize(LineScanner::default()),
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, limits: *limits, extension_bytes: 0 }
    }

    /// Whether the body is complete.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// How many octets are still to come, if that was announced.
    pub const fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(remaining) => Some(remaining),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Takes what is there from the front of `buffer`, which must only grow between calls. After an error the
    /// connection must be closed.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, Http1Error> {
        loop {
            match &mut self.state {
                State::Done => return Ok(Decoded::End),
                _ if buffer.is_empty() => return Ok(Decoded::NeedMore),
                State::UntilClose => return Ok(Decoded::Data(buffer.split().freeze())),
                State::Length(remaining) => {
                    let data = take(buffer, remaining);
                    if *remaining == 0 {
                        self.state = State::Done;
                    }
                    return Ok(Decoded::Data(data));
                }
                State::ChunkData(remaining) => {
                    let data = take(buffer, remaining);
                    if *remaining == 0 {
                        self.state = State::ChunkEnd;
                    }
                    return Ok(Decoded::Data(data));
                }
                State::ChunkEnd => {
                    if !b"\r\n".starts_with(&buffer[..buffer.len().min(2)]) {
                        return Err(Http1Error::ChunkEnd);
                    }
                    if buffer.len() < 2 {
                        return Ok(Decoded::NeedMore);
                    }
                    let _ = buffer.split_to(2);
                    self.state = State::ChunkSize(LineScanner::default());
                }
                State::ChunkSize(lines) => {
                    let too_long = Http1Error::ChunkExtension;
                    let Some(line) = lines.next(buffer, self.limits.chunk_line_bytes_max, too_long)? else {
                        return Ok(Decoded::NeedMore);
                    };
                    let line_end = lines.position();
                    let (size, extension_bytes) = chunk_line(&buffer[line])?;
                    self.extension_bytes += extension_bytes;
                    if self.extension_bytes > self.limits.chunk_extension_bytes_max {
                        return Err(Http1Error::ChunkExtension);
                    }
                    let _ = buffer.split_to(line_end);
                    self.state = match size {
                        0 => State::Trailers(Box::default()),
                        size => State::ChunkData(size),
                    };
                }
                State::Trailers(section) => {
                    let (lines, fields) = &mut **section;
                    let limits = SectionLimits {
                        bytes_max: self.limits.trailer_bytes_max,
                        fields_max: self.limits.trailer_fields_max,
                        too_large: Http1Error::TrailersTooLarge,
                        too_many: Http1Error::TrailersTooLarge,
                    };
                    if !fields.scan(lines, buffer, &limits)? {
                        return Ok(Decoded::NeedMore);
                    }
                    let section = buffer.split_to(lines.position()).freeze();
                    let trailers = std::mem::take(fields).into_map(&section)?;
                    self.state = State::Done;
                    if !trailers.keys().all(may_be_trailer) {
                        return Err(Http1Error::TrailerForbidden);
                    }
                    if !trailers.is_empty() {
                        return Ok(Decoded::Trailers(trailers));
                    }
                }
            }
        }
    }

    /// The other side closed, and what it sent has been decoded. An error if it promised more than it sent.
    pub fn end_of_input(&mut self) -> Result<(), Http1Error> {
        match self.state {
            State::Done | State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Http1Error::Incomplete),
        }
    }
}

/// As many of the `remaining` octets as `buffer` has.
fn take(buffer: &mut BytesMut, remaining: &mut u64) -> Bytes {
    let length = usize::try_from(*remaining).unwrap_or(usize::MAX).min(buffer.len());
    *remaining -= length as u64;
    buffer.split_to(length).freeze()
}

/// `chunk-size [ ";" extension ]`: the size, and how long the extension is. White space is refused wherever a lenient
/// reader would skip it.
fn chunk_line(line: &[u8]) -> Result<(u64, usize), Http1Error> {
    let digits_end = line.iter().position(|octet| !octet.is_ascii_hexdigit()).unwrap_or(line.len());
    if digits_end == 0 || digits_end > CHUNK_SIZE_DIGITS_MAX {
        return Err(Http1Error::ChunkSize);
    }
    let (digits, extension) = line.split_at(digits_end);
    match extension.first() {
        None => {}
        Some(b';') if is_field_value(extension) => {}
        Some(b';') => return Err(Http1Error::ChunkExtension),
        Some(_) => return Err(Http1Error::ChunkSize),
    }
    let digit = |octet: &u8| match octet {
        b'0'..=b'9' => u64::from(octet - b'0'),
        octet => u64::from(octet.to_ascii_lowercase() - b'a') + 10,
    };
    Ok((digits.iter().fold(0, |size, octet| size * 16 + digit(octet)), extension.len()))
}

/// Octets that [`encode_chunk_start`] writes at most: 16 digits and CRLF.
pub const CHUNK_START_BYTES_MAX: usize = 18;

/// What ends each chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// What ends a chunked body without trailers.
pub const CHUNKED_END: &[u8] = b"0\r\n\r\n";

/// Writes the line before the data of a chunk of `length` octets. `length` must not be 0, which would end the body.
pub fn encode_chunk_start(length: u64, buffer: &mut BytesMut) {
    debug_assert_ne!(length, 0, "an empty chunk ends the body");
    let digits = (u64::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for index in (0..digits).rev() {
        let nibble = (length >> (4 * index)) & 0xf;
        buffer.extend_from_slice(&[b"0123456789abcdef"[usize::try_from(nibble).unwrap_or_default()]]);
    }
    buffer.extend_from_slice(b"\r\n");
}

/// Writes `data` as one chunk; nothing if it is empty, since an empty chunk would end the body.
pub fn encode_chunk(data: &[u8], buffer: &mut BytesMut) {
    if !data.is_empty() {
        buffer.reserve(data.len() + CHUNK_START_BYTES_MAX + CHUNK_END.len());
        encode_chunk_start(data.len() as u64, buffer);
        buffer.extend_from_slice(data);
        buffer.extend_from_slice(CHUNK_END);
    }
}

/// Writes the end of a chunked body with those of `trailers` that may be trailers.
pub fn encode_trailers(trailers: &HeaderMap, buffer: &mut BytesMut) {
    buffer.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.iter().filter(|(name, _)| may_be_trailer(name)) {
        proxima_pipeline::put_line(buffer, name, value.as_bytes());
    }
    buffer.extend_from_slice(b"\r\n");
}

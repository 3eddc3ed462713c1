//! What is written: frames, and field sections without a dynamic table and without Huffman's code. The code would save
//! some dozens of octets of an answer's head and cost more time than all the rest of encoding it.

use bytes::{BufMut, BytesMut};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, StatusCode};
use proxima_pipeline::HeadForm;

use super::code::Code;
use super::frame::{FRAME_BYTES_MAX, FRAME_HEAD_BYTES, flag, frame_type};
use super::settings::{frame_bytes, id};
use super::static_table;
use crate::fields::{write_prefixed, write_string};

fn write_frame_head(length: usize, kind: u8, flags: u8, stream: u32, out: &mut BytesMut) {
    debug_assert!(length <= FRAME_BYTES_MAX, "frames are cut before");
    let length = u32::try_from(length).unwrap_or_default().to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.put_u32(stream);
}

/// Says what we are like: streams at once, octets of a new stream's window, octets of a head; and that the priorities of
/// RFC 7540 are not heeded.
pub fn write_settings(streams_max: u32, window_bytes: u32, head_bytes_max: u32, out: &mut BytesMut) {
    let settings = [
        (id::MAX_CONCURRENT_STREAMS, streams_max),
        (id::INITIAL_WINDOW_SIZE, window_bytes),
        (id::MAX_HEADER_LIST_SIZE, head_bytes_max),
        (id::ENABLE_CONNECT_PROTOCOL, 1),
        (id::NO_RFC7540_PRIORITIES, 1),
    ];
    out.reserve(frame_bytes(settings.len()));
    write_frame_head(frame_bytes(settings.len()) - FRAME_HEAD_BYTES, frame_type::SETTINGS, 0, 0, out);
    for (id, value) in settings {
        out.put_u16(id);
        out.put_u32(value);
    }
}

/// Says that the client's settings are in force.
pub fn write_settings_answer(out: &mut BytesMut) {
    write_frame_head(0, frame_type::SETTINGS, flag::ACK, 0, out);
}

/// Answers a PING.
pub fn write_ping_answer(opaque: [u8; 8], out: &mut BytesMut) {
    write_frame_head(opaque.len(), frame_type::PING, flag::ACK, 0, out);
    out.extend_from_slice(&opaque);
}

/// Asks for a sign of life.
pub fn write_ping(opaque: [u8; 8], out: &mut BytesMut) {
    write_frame_head(opaque.len(), frame_type::PING, 0, 0, out);
    out.extend_from_slice(&opaque);
}

/// Says that streams above `last` are not looked at, and why.
pub fn write_goaway(last: u32, code: Code, out: &mut BytesMut) {
    write_frame_head(8, frame_type::GOAWAY, 0, 0, out);
    out.put_u32(last);
    out.put_u32(code.0);
}

/// Ends a stream.
pub fn write_reset(stream: u32, code: Code, out: &mut BytesMut) {
    write_frame_head(4, frame_type::RST_STREAM, 0, stream, out);
    out.put_u32(code.0);
}

/// Lets the client send more, on a stream or (0) on the connection.
pub fn write_window_update(stream: u32, bytes: u32, out: &mut BytesMut) {
    write_frame_head(4, frame_type::WINDOW_UPDATE, 0, stream, out);
    out.put_u32(bytes);
}

/// Begins a frame of `length` octets of content, which follow it.
pub fn write_data_head(length: usize, end: bool, stream: u32, out: &mut BytesMut) {
    let flags = if end { flag::END_STREAM } else { 0 };
    write_frame_head(length, frame_type::DATA, flags, stream, out);
}

/// Writes the head of an answer. `table_reset`: the client has made its table smaller, and must be told that none is used
/// (RFC 7541, 4.2).
pub fn write_head(
    status: StatusCode,
    headers: &HeaderMap,
    end: bool,
    table_reset: bool,
    stream: u32,
    out: &mut BytesMut,
) {
    write_section(end, table_reset, stream, out, |out| {
        write_status(status, out);
        write_fields(headers, out);
    });
}

/// Writes trailers, which end the stream.
pub fn write_trailers(trailers: &HeaderMap, table_reset: bool, stream: u32, out: &mut BytesMut) {
    write_section(true, table_reset, stream, out, |out| write_fields(trailers, out));
}

/// Begins a section that is written behind this, and ended by [`end_section`].
pub(crate) fn begin_section(stream: u32, out: &mut BytesMut) {
    write_frame_head(0, frame_type::HEADERS, 0, stream, out);
}

/// Writes the head of an answer that lies ready.
pub(crate) fn write_ready(section: &[u8], end: bool, table_reset: bool, stream: u32, out: &mut BytesMut) {
    write_section(end, table_reset, stream, out, |out| out.extend_from_slice(section));
}

/// A section: one HEADERS, and as many CONTINUATIONs as it takes.
fn write_section(
    end: bool,
    table_reset: bool,
    stream: u32,
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut),
) {
    let at = out.len();
    begin_section(stream, out);
    if table_reset {
        write_prefixed(0, 5, 0x20, out);
    }
    write(out);
    end_section(at, end, stream, out);
}

/// Ends a section, whose frame begins at `at`: its length is known now.
pub(crate) fn end_section(at: usize, end: bool, stream: u32, out: &mut BytesMut) {
    let start = at + FRAME_HEAD_BYTES;
    let flags = if end { flag::END_STREAM } else { 0 };
    let length = out.len() - start;
    if length <= FRAME_BYTES_MAX {
        set_head(&mut out[at..], length, flags | flag::END_HEADERS);
        return;
    }
    let rest = out.split_off(start + FRAME_BYTES_MAX);
    set_head(&mut out[at..], FRAME_BYTES_MAX, flags);
    let mut pieces = rest.chunks(FRAME_BYTES_MAX).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
        write_frame_head(piece.len(), frame_type::CONTINUATION, flags, stream, out);
        out.extend_from_slice(piece);
    }
}

/// Sets what a frame's head says, once it is known.
fn set_head(head: &mut [u8], length: usize, flags: u8) {
    let length = u32::try_from(length).unwrap_or_default().to_be_bytes();
    head[..3].copy_from_slice(&length[1..]);
    head[4] = flags;
}

fn write_status(status: StatusCode, out: &mut BytesMut) {
    match static_table::status_index(status) {
        Some(index) => write_prefixed(index, 7, 0x80, out),
        None => {
            write_prefixed(static_table::STATUS_NAME, 4, 0, out);
            write_string(status.as_str().as_bytes(), 7, 0, out);
        }
    }
}

fn write_fields(headers: &HeaderMap, out: &mut BytesMut) {
    for (name, value) in headers {
        write_field(name, value.as_bytes(), value.is_sensitive(), out);
    }
}

/// A field without indexing; what must never be indexed by anybody on the way is for cookies (RFC 7541, 6.2.2 and 6.2.3).
fn write_field(name: &HeaderName, value: &[u8], is_sensitive: bool, out: &mut BytesMut) {
    let pattern = if is_sensitive || *name == SET_COOKIE { 0x10 } else { 0 };
    match static_table::name_index(name.as_str()) {
        Some(index) => write_prefixed(index, 4, pattern, out),
        None => {
            out.put_u8(pattern);
            write_string(name.as_str().as_bytes(), 7, 0, out);
        }
    }
    write_string(value, 7, 0, out);
}

/// Sections of HTTP/2: what we write of them refers to nothing that was written before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Http2Form;

impl HeadForm for Http2Form {
    fn place(&self) -> usize {
        1
    }

    fn begin(&self, status: StatusCode, out: &mut BytesMut) {
        write_status(status, out);
    }

    fn field(&self, name: &HeaderName, value: &[u8], out: &mut BytesMut) {
        write_field(name, value, false, out);
    }

    fn end(&self, _out: &mut BytesMut) {}
}

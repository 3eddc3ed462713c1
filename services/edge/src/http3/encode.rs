//! What is written: frames, and field sections without a dynamic table and without Huffman's code. The code would save
//! some dozens of octets of an answer's head and cost more time than all the rest of encoding it.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, StatusCode};

use super::frame::frame_type;
use super::integer::write_varint;
use super::stream_type;
use crate::fields::{write_prefixed, write_string};

/// The setting that bounds the field sections which we take (RFC 9114, 7.2.4.1).
const MAX_FIELD_SECTION_SIZE: u64 = 0x06;
/// The prefix of a section that refers to no dynamic table: Required Insert Count and Base are 0.
const NO_DYNAMIC_TABLE: [u8; 2] = [0, 0];
/// `:status` with a value that is not in the static table: any entry of that name will do.
const STATUS_NAME: u64 = 24;

/// The setting that offers extended CONNECT (RFC 9220, 5).
const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;

/// Begins our control stream: its type, and settings that bound a client's field sections.
pub fn write_settings(field_section_bytes_max: u64, out: &mut BytesMut) {
    write_varint(stream_type::CONTROL, out);
    let mut settings = BytesMut::new();
    write_varint(MAX_FIELD_SECTION_SIZE, &mut settings);
    write_varint(field_section_bytes_max, &mut settings);
    write_varint(ENABLE_CONNECT_PROTOCOL, &mut settings);
    write_varint(1, &mut settings);
    write_varint(frame_type::SETTINGS, out);
    write_varint(settings.len() as u64, out);
    out.extend_from_slice(&settings);
}

/// Says that requests from this stream's on are not looked at.
pub fn write_goaway(stream_id: u64, out: &mut BytesMut) {
    let mut id = BytesMut::new();
    write_varint(stream_id, &mut id);
    write_varint(frame_type::GOAWAY, out);
    write_varint(id.len() as u64, out);
    out.extend_from_slice(&id);
}

/// Begins a frame of `length` octets of data, which follow it.
pub fn write_data_head(length: u64, out: &mut BytesMut) {
    write_varint(frame_type::DATA, out);
    write_varint(length, out);
}

/// Writes the head of an answer.
pub fn write_head(status: StatusCode, headers: &HeaderMap, out: &mut BytesMut) {
    write_section(out, |out| {
        match status_index(status) {
            Some(index) => write_prefixed(index, 6, 0xc0, out),
            None => {
                write_prefixed(STATUS_NAME, 4, 0x50, out);
                write_string(status.as_str().as_bytes(), 7, 0, out);
            }
        }
        write_fields(headers, out);
    });
}

/// Writes trailers.
pub fn write_trailers(trailers: &HeaderMap, out: &mut BytesMut) {
    write_section(out, |out| write_fields(trailers, out));
}

fn write_section(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    write_varint(frame_type::HEADERS, out);
    // The length is written when it is known, as an integer of four octets whatever it is (RFC 9000, 16).
    let at = out.len();
    out.put_u32(0);
    out.extend_from_slice(&NO_DYNAMIC_TABLE);
    write(out);
    let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX) | 0x8000_0000;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

fn write_fields(headers: &HeaderMap, out: &mut BytesMut) {
    for (name, value) in headers {
        let value = value.as_bytes();
        if let Some(index) = whole_index(name.as_str(), value) {
            write_prefixed(index, 6, 0xc0, out);
            continue;
        }
        match name_index(name.as_str()) {
            Some(index) => write_prefixed(index, 4, 0x50, out),
            None => write_string(name.as_str().as_bytes(), 3, 0x20, out),
        }
        write_string(value, 7, 0, out);
    }
}

/// The entry of the static table for a status.
pub(super) fn status_index(status: StatusCode) -> Option<u64> {
    Some(match status.as_u16() {
        103 => 24,
        200 => 25,
        304 => 26,
        404 => 27,
        503 => 28,
        100 => 63,
        204 => 64,
        206 => 65,
        302 => 66,
        400 => 67,
        403 => 68,
        421 => 69,
        425 => 70,
        500 => 71,
        _ => return None,
    })
}

/// The entry of the static table for a field with this value: those that answers often have.
pub(super) fn whole_index(name: &str, value: &[u8]) -> Option<u64> {
    Some(match (name, value) {
        ("accept-ranges", b"bytes") => 32,
        ("access-control-allow-origin", b"*") => 35,
        ("cache-control", b"max-age=0") => 36,
        ("cache-control", b"no-cache") => 39,
        ("cache-control", b"no-store") => 40,
        ("cache-control", b"public, max-age=31536000") => 41,
        ("content-encoding", b"br") => 42,
        ("content-encoding", b"gzip") => 43,
        ("content-type", b"application/javascript") => 45,
        ("content-type", b"application/json") => 46,
        ("content-type", b"image/gif") => 48,
        ("content-type", b"image/jpeg") => 49,
        ("content-type", b"image/png") => 50,
        ("content-type", b"text/css") => 51,
        ("content-type", b"text/html; charset=utf-8") => 52,
        ("content-type", b"text/plain") => 53,
        ("vary", b"accept-encoding") => 59,
        ("x-content-type-options", b"nosniff") => 61,
        _ => return None,
    })
}

/// An entry of the static table for a field's name: those that answers have.
pub(super) fn name_index(name: &str) -> Option<u64> {
    Some(match name {
        "age" => 2,
        "content-disposition" => 3,
        "content-length" => 4,
        "date" => 6,
        "etag" => 7,
        "last-modified" => 10,
        "link" => 11,
        "location" => 12,
        "set-cookie" => 14,
        "accept-ranges" => 32,
        "access-control-allow-headers" => 33,
        "access-control-allow-origin" => 35,
        "cache-control" => 36,
        "content-encoding" => 42,
        "content-type" => 44,
        "strict-transport-security" => 56,
        "vary" => 59,
        "x-content-type-options" => 61,
        "x-xss-protection" => 62,
        "access-control-allow-credentials" => 73,
        "access-control-allow-methods" => 76,
        "access-control-expose-headers" => 79,
        "alt-svc" => 83,
        "content-security-policy" => 85,
        "server" => 92,
        "timing-allow-origin" => 93,
        "x-frame-options" => 97,
        _ => return None,
    })
}

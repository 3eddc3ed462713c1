//! HTTP/1.1 (RFC 9112) as a core: octets in, heads and bodies out, and back. No clock, and no I/O but in what both clients share:
//! [`Upload`] sends a request into whatever takes octets, [`PulledBody`] reads an answer from whatever gives them.
//!
//! ```text
//!  octets ─▶ LineScanner ─▶ FieldScanner ─▶ RequestParser  ─▶ RequestHead  ┐
//!            (CRLF only)    (field lines)   ResponseParser ─▶ ResponseHead ┤ framing
//!                                                                         ▼
//!                                                                    BodyDecoder ─▶ data, trailers, end
//!  octets ◀─ write_request_head, write_response_head, encode_chunk, encode_trailers ◀─ the stages' answer
//! ```
//!
//! Both roles use it: the server reads requests and writes responses; the clients, of origins and of the engine that runs Workers, the
//! other way round.
//!
//! Invariants:
//! * **One reading.** What two readers of RFC 9112 could understand in different ways is refused, by either role: a
//!   message that passed has one length, one host and one end, so nothing can be smuggled in it.
//! * **Cutting changes nothing.** However the input is cut into pieces, the result is the same, errors included.
//! * **Framing is written by us.** No field of a message decides how it is framed when it is written.
//! * **Errors end the connection.** There is no way on after one; see [`Http1Error`].
//! * Nothing is copied but the host's name: values and data are slices of what was read.
//!
//! Limits: [`Limits`] and the constants beside it.

mod body;
mod error;
mod framing;
mod host;
mod limits;
pub mod plain;
mod pulled;
mod request;
mod response;
mod section;
#[cfg(test)]
mod tests;
mod upload;
mod write;

pub use body::may_be_trailer;
pub use body::{
    BodyDecoder, CHUNK_END, CHUNK_START_BYTES_MAX, CHUNKED_END, Decoded, encode_chunk, encode_chunk_start,
    encode_trailers,
};
pub use error::Http1Error;
pub use framing::content_length;
pub use framing::{Framing, bodiless};
pub use host::Host;
pub use limits::{
    CHUNK_SIZE_DIGITS_MAX, HOST_BYTES_MAX, INFORMATIONAL_MAX, LENGTH_DIGITS_MAX, Limits, METHOD_BYTES_MAX,
};
pub use plain::PlainRequest;
pub use pulled::{Answering, PulledBody, ReadBuffer};
pub use request::is_target;
pub use request::{RequestHead, RequestParser, parse_request_head};
pub use response::{ResponseHead, ResponseParser, parse_response_head};
pub use section::{is_field_value, is_mistakable, is_token};
pub use upload::{Upload, UploadError};
pub use write::{
    ConnectionField, version_name, write_request_end, write_request_head, write_request_start,
    write_response_head,
};

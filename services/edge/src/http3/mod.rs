//! HTTP/3 (RFC 9114) above QUIC's streams, with QPACK (RFC 9204), as a pure core: octets of a stream in, heads and
//! bodies out, and back. No I/O, no clock, no async.
//!
//! ```text
//!  request stream ─▶ MessageDecoder ─▶ section ─▶ qpack ─▶ request head, trailers
//!                                    └▶ data (slices of what was read)
//!  control stream ─▶ ControlDecoder ─▶ settings, ids that may not go backwards
//!  QPACK's streams ─▶ EncoderStream, DecoderStream ─▶ nothing: what they say could only be an error
//!  answer ─▶ write_head, write_data_head, write_trailers ─▶ octets
//! ```
//!
//! Invariants:
//! * **Nothing is gathered but field sections**, and those up to their bound. Data are passed on as they come; frames
//!   of unknown types, of whatever length, are skipped octet by octet.
//! * **No dynamic table.** We allow none to our clients and use none ourselves, so that a field section means the same
//!   whatever came before it: it cannot block, and no memory grows with a connection.
//! * **Cutting changes nothing.** However the input is cut into pieces, the result is the same, errors included.
//! * **Malformed is malformed** (RFC 9114, 4.1.2): pseudo-header fields that are missing, doubled, unknown or late,
//!   upper case, fields of a connection. What is lawful but could be misread by an origin is refused later, by the
//!   rules that HTTP/1.1 and HTTP/2 are held to as well.
//!
//! Limits: [`Limits`](proxima_http1::Limits) for sections, [`CONTROL_FRAME_BYTES_MAX`] for the frames of a control
//! stream.

mod code;
mod control;
mod encode;
mod frame;
mod head;
mod integer;
mod qpack;
mod static_table;
#[cfg(test)]
mod tests;

pub use code::{Broken, Code};
pub use control::{CONTROL_FRAME_BYTES_MAX, ControlDecoder, DecoderStream, EncoderStream, Settings};
pub use encode::{write_data_head, write_goaway, write_head, write_settings, write_trailers};
pub use frame::{MessageDecoder, Piece};
pub use head::{read_request, read_trailers};
pub use integer::{VARINT_BYTES_MAX, read_varint};
pub use qpack::decode_section;

/// What a unidirectional stream begins with, to say what it is for (RFC 9114, 6.2; RFC 9204, 4.2).
pub mod stream_type {
    /// Control.
    pub const CONTROL: u64 = 0x00;
    /// Push: only servers push.
    pub const PUSH: u64 = 0x01;
    /// QPACK's encoder.
    pub const QPACK_ENCODER: u64 = 0x02;
    /// QPACK's decoder.
    pub const QPACK_DECODER: u64 = 0x03;
}

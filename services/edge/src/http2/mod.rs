//! HTTP/2 (RFC 9113) with HPACK (RFC 7541), as a pure core: frames and field sections in, and back. No I/O, no clock, no
//! async.
//!
//! ```text
//!  octets ─▶ FrameHead ─▶ payload without padding ─▶ Decoder (HPACK) ─▶ request head, trailers
//!                                                 └▶ Settings, Priority, windows
//!  answer ─▶ write_head, write_data_head, write_trailers, … ─▶ octets
//! ```
//!
//! Invariants:
//! * **A dynamic table in one direction only.** A client may refer to what it sent before, within [`TABLE_BYTES_MAX`];
//!   what we write refers to the static table alone, so that nothing of an answer depends on any before it.
//! * **A section is decoded to its end**, also one that is over its bounds or malformed: what follows on the connection
//!   may refer to it (RFC 7541, 4.1). Only what cannot be decoded ends the connection.
//! * **Malformed is malformed**: see [`crate::fields`]. What is lawful but could be misread by an origin is refused
//!   later, by the rules that HTTP/1.1 and HTTP/3 are held to as well.
//!
//! Limits: [`Limits`](proxima_http1::Limits) for sections, [`FRAME_BYTES_MAX`] for frames, [`TABLE_BYTES_MAX`].

mod code;
mod encode;
mod frame;
mod head;
mod hpack;
mod priority;
mod settings;
mod static_table;
#[cfg(test)]
mod tests;

pub use code::{Broken, Code};
pub(crate) use encode::{Http2Form, begin_section, end_section, write_ready};
pub use encode::{
    write_data_head, write_goaway, write_head, write_ping, write_ping_answer, write_reset, write_settings,
    write_settings_answer, write_trailers, write_window_update,
};
pub use frame::{FRAME_BYTES_MAX, FRAME_HEAD_BYTES, FrameHead, flag, frame_type, unpadded};
pub(crate) use head::{decode_request, request_head};
pub use head::{read_request, read_trailers};
pub use hpack::{Decoder, TABLE_BYTES_MAX};
pub use priority::Priority;
pub use settings::{Setting, read_settings};

/// What a client sends first (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Octets of a window before anything was said of it (RFC 9113, 6.9.2).
pub const WINDOW_BYTES: u32 = 65_535;
/// The largest that a window may be (RFC 9113, 6.9.1), and the largest number of a stream.
pub const LARGEST: u32 = (1 << 31) - 1;

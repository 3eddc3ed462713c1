//! Content codings (RFC 9110, 8.4.1): which one a client gets, what changes in the fields, and the encoders.
//!
//! ```text
//!   Accept-Encoding ──▶ coding::negotiate ──▶ zstd │ br │ gzip │ as it is
//!   answer's fields ──▶ fields::is_compressible ──▶ fields::encode: content-encoding, vary, weak etag, …
//!                                        ┌── stored whole: Forms, made once per object ──▶ kept beside it
//!   body ──▶ Compressor, which bounds work ┤
//!                                        └── anything else: stream, flushed whenever its source pauses
//! ```
//!
//! The cache keeps forms of what it stores; the edge's stage `compression` encodes all other answers on their way. Both
//! ask the one [`Compressor`] of the node, so that the bounds and the counters are the node's.
//!
//! Invariants:
//! * **No answer becomes wrong by being encoded.** What has a coding already, a part, a `no-transform`, goes as it is.
//!   A strong entity tag becomes weak, and what speaks of the octets (lengths, digests, ranges) goes or is made anew.
//! * **An object is encoded once per coding**, off the threads that serve; its form is counted in its octets.
//! * **Nothing is held back.** A stream whose source pauses is flushed before it waits.
//! * **Busy means as it is.** Work beyond the bounds is not queued: the client gets the content unencoded.
//!
//! Limits: [`STREAMS_MAX`](work::STREAMS_MAX), [`FORMS_WAITING_MAX`](work::FORMS_WAITING_MAX),
//! [`FORM_OCTETS_MAX`](work::FORM_OCTETS_MAX), and the levels and windows in [`encoder`].
//!
//! Libraries: `flate2` on `zlib-rs` and `brotli`, both Rust, and `zstd`, the reference library; used directly rather than
//! by `async-compression`, since a flush must follow from the source's pausing, and stored content needs no async.

pub mod coding;
pub mod encoder;
pub mod fields;
pub mod forms;
pub mod metrics;
mod stream;
pub mod work;

pub use coding::{Coding, negotiate_line, wanted};
pub use forms::{Form, Forms};
pub use metrics::Metrics;
pub use work::Compressor;

/// The name in metrics and traces.
pub const NAME: &str = "compression";

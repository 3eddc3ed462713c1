//! What the servers of one zone say to each other, on the wire: transactions signed by a key that both sides have (TSIG,
//! RFC 8945), and who may ask.
//!
//! ```text
//!  message ─▶ tsig::find ─▶ Exchange::check (the keys of the zone's peers, now) ─▶ Access::allows (from where, by which key)
//!                │ none        │ Refusal: NOTAUTH and BADKEY, BADSIG, BADTIME        │ no: REFUSED
//!                └─────────────│─────────────────────────────────────────────────────┤
//!                              ▼                                                     ▼
//!                     an answer that says why                         the answer, each message signed (Exchange::sign)
//! ```
//!
//! `services/dns` answers with it, `services/control` asks with it; so it lies beneath both. Nothing here does I/O or has
//! a clock: who calls hands in the time.
//!
//! Invariants:
//! * **No octet from outside panics:** what is cut off, points forward or is too long is [`Malformed`].
//! * **A signature is compared whole and in constant time.** A shorter one than its hash's is refused (RFC 8945, 5.2.2.1
//!   allows it, and nobody needs it): with BADTRUNC where it is long enough to be one, else as malformed.
//! * **What is refused is refused in the protocol's form:** unsigned where the key or the signature is wrong, signed where
//!   the time is, with our time in it (RFC 8945, 5.2 and 5.3.2).
//! * **An answer in many messages is one transaction:** each signature covers the one before it (RFC 8945, 5.3.1).
//!
//! What comes in is read by [`stream`]: nothing is given out before all of it has come. What a zone that came signed is worth is
//! judged by [`presigned`], for those who answer by it and for those who tell its owner.
//!
//! Limits: messages between two signed ones of an answer ([`tsig::UNSIGNED_MAX`]), octets of them, and those of DNS itself.

mod access;
pub mod message;
pub mod nsec3;
pub mod presigned;
pub mod stream;
pub mod tsig;

pub use access::{Access, KnownPeer};
pub use proxima_wire::Malformed;
pub use tsig::{Exchange, Key, Refusal, Tsig};

//! DNSSEC signed on line: record sets are signed as they are asked for, and what does not exist is denied for the very
//! name that was asked for ([decision 5](../../../../docs/decisions/0005-dnssec.md)).
//!
//! ```text
//!  set of an answer ─▶ kept by its place? (signatures.rs) ──yes──────────────────────────────────────▶ RRSIG
//!                                   └─no─▶ what is signed (signer.rs) ─▶ kept by its digest? ──yes──▶┤
//!  no such name, no such type ─▶ NSEC (denial.rs) ─┤                             └─no─▶ a new one ──▶┘
//!    or, on wish, NSEC3 (nsec3.rs) ────────────────┘
//! ```
//!
//! Invariants:
//! * **Nothing here runs for who does not ask for it,** or in a zone that is not signed.
//! * **A kept signature is found by what it signs,** or by where that lies in a compiled zone, which never changes: a changed
//!   record or key never finds an old one.
//! * **Every signature outlives every TTL** by days, by whichever server's clock within an hour.
//! * **A denial never covers another name's or type's existence:** it ends right behind the name, and lists every type
//!   that the name may have.

mod denial;
pub(crate) mod nsec3;
mod signatures;
mod signer;

pub(crate) use denial::nsec;
pub(crate) use signatures::Signatures;
pub(crate) use signer::Signer;

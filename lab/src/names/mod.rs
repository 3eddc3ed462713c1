//! The lab's domain name system: a root, TLDs and sites on servers of other brands, and the way from there to Proxima.
//!
//! ```text
//!                  root.hints, root.key
//!  resolver ─────────▶ .  ─DS─▶ com.  ─DS─▶ on-knot.com.           knot, nsd, bind; signed by dnssec-signzone
//!                                  └──DS─▶ example.com             Proxima, at its anycast addresses
//!                                     `proxima lab delegate`
//!
//!  zones of the topology ──Tree──▶ text ──sign──▶ NAME.signed ──SIGHUP──▶ each server that has the zone
//! ```
//!
//! [`tree`] says what is in the zones, [`software`] writes the configurations, both pure; [`sign`] makes keys and runs the
//! signer. The daemon runs the servers.
//!
//! Invariants
//! - All servers of a zone read the same signed file: none of them signs by itself, so that they never differ.
//! - A server's name lies in the zone that it serves, with its addresses beside it and, as glue, in the parent: no zone needs
//!   another one to be found.
//! - What the parent says of a zone on Proxima is what that zone itself asks for (CDS, RFC 7344), never made up.
//!
//! Limits: `DELEGATIONS_MAX` zones on Proxima. Signatures hold for the thirty days of dnssec-signzone's default: a lab does
//! not live so long.

mod answer_times;
mod sign;
mod software;
mod tree;

pub use answer_times::AnswerTimes;
pub(crate) use answer_times::measure;
pub(crate) use sign::{keep_keys, sign};
pub(crate) use software::{program, render_resolver, render_server};
pub(crate) use tree::Tree;

/// The delegations that a lab takes: its zones are signed anew, whole, for each.
pub(crate) const DELEGATIONS_MAX: usize = 1_000;

/// The name of a file for a zone: the root has none that could be one.
fn file_stem(zone: &str) -> &str {
    match zone.trim_end_matches('.') {
        "" => "root",
        name => name,
    }
}

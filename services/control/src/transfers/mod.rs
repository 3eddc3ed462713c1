//! Zone transfers, as v4 calls them "secondary DNS": `accounts/:account_id/secondary_dns/{acls,peers,tsigs}` and
//! `zones/:zone_id/secondary_dns/{outgoing,incoming}`.
//!
//! A peer is another server of an account's zones: where it is, and by which key it is known. Ranges (`acls`) are further
//! addresses that all peers of the account may come from. Outgoing transfers name the peers that may have a zone from here;
//! every server of the network serves them (`services/dns`).
//!
//! ```text
//!  zone changed ─▶ a second later: whom of its peers was this serial not told? ─▶ NOTIFY, five times at the most ─▶ the log:
//!  (on the log's node, as all upkeep)                                              by UDP, signed if it has a key   notices
//! ```
//!
//! Peers are told by one server, that of the log ([`notifier`]), from an address of its own and not from an anycast one:
//! a peer that restricts who may tell it has to let that address.

mod client;
mod exercise;
mod incoming;
mod notifier;
mod nouns;
pub(crate) mod of_zone;
mod outgoing;
mod places;

pub(crate) use exercise::exercise;
pub(crate) use incoming::{Notices, run as fetch};
pub(crate) use notifier::run as notify;
pub(crate) use nouns::{create, delete, get, list, put};
pub(crate) use outgoing::{disable, enable, status, tell_peers};

use proxima_model::Invalid;

use crate::error::{ApiError, Code};

fn invalid(invalid: &Invalid) -> ApiError {
    ApiError::invalid(Code::TransferInvalid, invalid)
}

fn refuse(field: &str, message: impl std::fmt::Display) -> ApiError {
    ApiError::new(Code::TransferInvalid, format!("{field}: {message}")).at(format!("/{field}"))
}

/// A whole number within bounds: JSON has one kind of number, and clients of v4 send these as fractions.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is whole and within the bounds"
)]
fn whole(given: f64, bounds: std::ops::RangeInclusive<u32>) -> Option<u32> {
    let fits =
        given.fract() == 0.0 && given >= f64::from(*bounds.start()) && given <= f64::from(*bounds.end());
    fits.then_some(given as u32)
}

fn unknown(what: &str) -> ApiError {
    ApiError::new(Code::TransferNotFound, format!("{what} does not exist"))
}

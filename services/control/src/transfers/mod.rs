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
mod incoming;
mod notifier;
mod nouns;
mod outgoing;

pub(crate) use incoming::{
    Notices, create as create_incoming, delete as delete_incoming, force, get as get_incoming,
    put as put_incoming, run as fetch,
};
pub(crate) use notifier::run as notify;
pub(crate) use nouns::{create, delete, get, list, put};
pub(crate) use outgoing::{
    create as create_outgoing, delete as delete_outgoing, disable, enable, force_notify, get as get_outgoing,
    put as put_outgoing, status,
};

use proxima_model::Invalid;

use crate::error::{ApiError, Code};

fn invalid(invalid: &Invalid) -> ApiError {
    ApiError::invalid(Code::TransferInvalid, invalid)
}

fn refuse(field: &str, message: impl std::fmt::Display) -> ApiError {
    ApiError::new(Code::TransferInvalid, format!("{field}: {message}")).at(format!("/{field}"))
}

fn unknown(what: &str) -> ApiError {
    ApiError::new(Code::TransferNotFound, format!("{what} does not exist"))
}

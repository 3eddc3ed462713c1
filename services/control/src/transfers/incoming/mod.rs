//! Zones that come from elsewhere: `zones/:zone_id/secondary_dns/incoming` and `force_axfr`, and what fetches them.
//!
//! ```text
//!  NOTIFY at any server ─▶ Notices ─▶ ZoneNotice in the log ─┐
//!  SOA refresh, retry; the owner asks ───────────────────────┴▶ plan::next ─▶ fetch: SOA? ─▶ IXFR or AXFR ─▶ apply ─▶ the log
//!                                          │ (pure)             primary by primary, whole or nothing        one append, or
//!                                          └▶ expired ─▶ the log: SERVFAIL at every server                   a generation
//! ```
//!
//! It runs where the log is, as all upkeep does, so that a zone is fetched once for the network. While that server is away,
//! zones are served as they are, and do not expire.
//!
//! Invariants:
//! * **Whole or not at all:** nothing of a transfer is applied before its last record has come; see
//!   [`proxima_model::SecondaryZone`] for how large ones come in force.
//! * **The serial is the primary's,** and so is the SOA record.
//! * **What nobody can have here is left out, and counted:** records of types that are not served (NULL), names of other
//!   octets than hosts' and services', and what a signed zone has because it is signed, unless it is to be answered as its
//!   primary signed it (`dnssec_presigned`): then all that is kept is kept octet by octet, and what is wrong with it is told.
//! * **No account keeps another waiting** as long as there are fewer of them than places: each has a share of those ([`super::places`]),
//!   and whatever its primaries do, a look ends, and a zone that nobody is heard of expires meanwhile.
//!
//! Limits: `limits::TRANSFER_…`.

mod api;
mod apply;
mod compare;
mod fetch;
mod notices;
mod plan;
mod records;
mod refresh;
mod runner;

pub(super) use api::{Body, refresh};
pub(crate) use notices::Notices;
pub(super) use records::{Kept, ours};
pub(crate) use runner::run;

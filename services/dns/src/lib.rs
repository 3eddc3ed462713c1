//! DNS: every server answers with authority for every zone, from its own replica; and, at other addresses, resolves names for
//! those who may ask.
//!
//! The transports (`udp.rs`, `tcp.rs`, `tls.rs`, `quic.rs`, `https.rs`) carry messages for either role, and know it as an
//! `Answerer` (`answerer.rs`). What follows is about authority; `resolver/mod.rs` tells of resolving.
//!
//! ```text
//!  UDP, TCP, TLS ──▶ Query::parse ──▶ zone of the name ──▶ the name in it ──▶ Writer ──▶ answer
//!  and QUIC           (query.rs)       (CompiledZones of     (zone.rs)          (message.rs)
//!  (udp.rs, tcp.rs,       │             core/ledger)             │ alias: once more, for its target
//!   tls.rs, quic.rs;      │                                      │
//!   HTTPS: https.rs)      ▼                                      ▼
//!                   FORMERR, NOTIMP,   REFUSED: no zone     proxied ▶ the network's addresses   NXDOMAIN, NODATA ▶ SOA
//!                   or no answer                            delegated ▶ NS and glue, not AA
//! ```
//!
//! [`Responder`] with [`ZoneTree`] is the core: it does no I/O but that of its [`Zones`], which know names outside, too, and
//! what it says follows from the zones and the query. A clock and the network's keys come in where signatures are asked for, which are kept behind locks (`dnssec/signatures.rs`),
//! and with cookies; over UDP a clock and what was asked before, which the rate limit remembers without locks, decide whether
//! it is said. The shell receives, sends and counts.
//!
//! Invariants:
//! * **A record set is answered whole or not at all.** What does not fit over UDP is left out and TC says so.
//! * **Answers are never larger than asked for**, 512 octets without EDNS (RFC 6891, 6.2.3) and 1,232 with it unless
//!   configured; nothing is answered to an answer; a question for everything gets one small record (RFC 8482).
//! * **A zone whose delegation was not seen speaks for nobody else:** it answers questions about itself, but its data
//!   is used neither for aliases of other zones nor in the place of an active zone above it.
//! * **What the question says is said back to the letter,** so that a resolver's random case (draft "0x20") survives.
//! * **No network is flooded:** beyond a rate for like answers over UDP to one network, and one for all answers to it, they
//!   are dropped or ask to come again by TCP or with a cookie, before anything is written or signed. What is signed for all
//!   networks together is not bounded, so a flood that forges many of them costs signatures.
//! * **Who has authority resolves for aliases only**, in the background: where one that has to be flattened (at an apex, or
//!   beside other records) leads out of the zones here (`flattening/mod.rs`). The first question about it waits a moment, and
//!   no other waits for that.
//!
//! What askers say in EDNS options, and what they are answered, stands in `edns.rs`. Cookies (RFC 7873) are made with
//! secrets derived from the network's ticket keys, so that one that a server gave is good at all of them (`cookies.rs`).
//!
//! Beside a zone's records stand the answers to a certificate authority's challenges (RFC 8555, 8.4), which
//! `services/control` puts into the log while it orders: TXT at `_acme-challenge.ZONE`, TTL 30.
//!
//! A zone with keys (`proxima_model::ZoneSigning`) is signed on line ([`dnssec`]): with DO set, every set of an answer has
//! its RRSIG, and what does not exist is denied by one NSEC record (RFC 9824).
//!
//! How a name is answered:
//!
//! | its records | A, AAAA | CNAME | other types |
//! |---|---|---|---|
//! | proxied, in an active zone that is not paused | the network's addresses, TTL 300 | NODATA | its own |
//! | CNAME | CNAME, and on in the zones here | CNAME | CNAME, and on in the zones here |
//! | CNAME at the apex or beside others | the target's addresses, also from outside | NODATA | its own |
//! | others | its own | NODATA | its own |
//!
//! HTTPS of a proxied name is the owner's own record, or else one that says how the network speaks HTTPS
//! (`respond/https.rs`). A delegation answers DS alone with authority (RFC 4035, 3.1.4.1), and its referral has the DS set or
//! its denial for who wants it signed; a DS record where nothing is delegated is not answered. Only names in data of RFC
//! 1035's types are compressed (RFC 3597, 4).
//!
//! Zones go to the other servers that their owners name, over TCP and TLS, and their signed questions are answered signed
//! (`transfer/mod.rs`).
//!
//! What was asked and answered is counted, reported to the log's node and told by the API (`analytics/mod.rs`).
//!
//! Limits: aliases of one answer (`respond.rs`), connections, queries of a connection and silence on it ([`DnsConfig`]),
//! octets read and unwritten for a connection and answers that it waits for (`tcp.rs`, `quic.rs`), threads that are busy with handshakes and how long one
//! takes (`tls.rs`), names outside that are known and resolved (`flattening/mod.rs`), signatures kept (`dnssec/signatures.rs`), answers to one network over UDP (`rate.rs`), transfers at a
//! time (`transfer/mod.rs`).

mod analytics;
mod answerer;
mod asker;
mod bound;
mod config;
mod cookies;
mod datagrams;
mod dnssec;
mod edns;
mod error;
mod exercise;
mod flattening;
mod https;
mod message;
mod metrics;
mod name;
mod query;
mod quic;
mod rate;
mod resolver;
mod respond;
mod root;
mod rrset;
mod server;
mod service;
mod tcp;
mod tls;
mod transfer;
mod udp;
mod wire;
mod zone;

pub use analytics::AnalyticsConfig;
pub use asker::{Asker, Shown, Transport};
pub use config::DnsConfig;
pub use error::DnsError;
#[doc(hidden)]
pub use exercise::{exercise, exercise_block_list};
pub use flattening::{FlatteningConfig, Outside};
pub use https::DnsOverHttps;
pub use proxima_resolver::{Followed, FollowedKey};
pub use rate::Limited;
pub use resolver::{Blocked, LocationConfig, PolicyConfig, Reason, ResolverConfig};
pub use respond::{Answered, Responder, Zones};
pub use root::root_keys;
pub use service::{DnsAddresses, DnsService};
pub use wire::Rcode;
pub use zone::ZoneTree;

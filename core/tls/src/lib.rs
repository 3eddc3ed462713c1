//! What services that speak TLS or QUIC to clients have in common: which certificate is shown, and the secrets by which
//! every server of the network understands what another one said.
//!
//! ```text
//!  replica ─▶ Certificates ─▶ the certificate for a name, parsed, cached          (certificates.rs)
//!          │                └▶ HostAuthorities: who vouches for a host's clients  (authorities.rs)
//!          └▶ TicketKeys ─┬─▶ Tickets: the newest key seals, any of them opens    (tickets.rs)
//!                         └─▶ QuicKeys: tokens, stateless resets, connection ids  (quic/keys.rs)
//!  former process's UDP socket, and the later one's ─▶ steer: which of them a datagram goes to (quic/steering.rs)
//! ```
//!
//! `server_config` (config.rs) is where they are put together for a listener. No listener and no handshake: those are the
//! services'. Invariants:
//! * **Serve from what is here.** Certificates and keys are read from this server's replica, compiled once and swapped
//!   whole.
//! * **A zone whose delegation was not seen takes no names of an active zone above it** (`proxima_ledger::nearest_active`).
//!
//! Limits: zones whose certificates are kept parsed ([`CERTIFICATE_ZONES_MAX`]), certificates of one zone that are looked
//! at, keys that are held at once, tokens that are remembered as used.

mod authorities;
mod certificates;
mod config;
mod quic;
mod tickets;

pub use authorities::HostAuthorities;
pub use certificates::{CERTIFICATE_ZONES_MAX, Certificates, ZoneCertificates};
pub use config::server_config;
pub use quic::{CONNECTION_ID_BYTES, PreparedKeys, QuicKeys, steer};
pub use tickets::{PreparedTickets, TICKET_SECONDS, Tickets};

//! The edge's own stages, in the order in which a request meets them.
//!
//! ```text
//!  ClientFacts ─▶ TraceEndpoint ─▶ LoopGuard ─▶ (purges) ─▶ ZoneStage ─▶ Alternatives ─▶ SecurityHeader ─┐
//!  who asks       /cdn-cgi/*       CDN-Loop     the cache's  host → Site  Alt-Svc         HSTS            │
//!   ┌─────────────────────────────────────────────────────────────────────────────────────────────────────┘
//!   └▶ ClientCertificates ─▶ OriginRules ─▶ Compression ─▶ (cache) ─▶ OriginStage
//!      who may ask           where to go    on its way out            the origin's answer
//! ```
//!
//! Each but the last decides at once. [`ClientFacts`] stands first, since it also names the ray on every answer,
//! errors included.

mod alternatives;
mod client_certificates;
mod client_facts;
mod compression;
mod loop_guard;
mod origin;
mod origin_rules;
mod security_header;
mod sites;
#[cfg(test)]
pub(crate) mod tests;
mod trace_endpoint;
mod zone;

pub use alternatives::Alternatives;
pub use client_certificates::ClientCertificates;
pub use client_facts::ClientFacts;
pub(crate) use client_facts::{CF_RAY, take_off_ours};
pub use compression::Compression;
pub use loop_guard::LoopGuard;
pub use origin::OriginStage;
pub use origin_rules::OriginRules;
pub use security_header::SecurityHeader;
pub use sites::{Missing, Sites};
pub(crate) use sites::{Wait, unreadable};
pub use trace_endpoint::TraceEndpoint;
pub use zone::{PublicPorts, ZoneStage};

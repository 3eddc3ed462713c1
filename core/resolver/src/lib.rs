//! Recursive, validating resolution of names: from the root's servers down, believing only what is signed or may be unsigned.
//!
//! ```text
//!  Query ──▶ Resolver::answer_now ── kept, and not expired ──▶ a copy, TTLs aged         (query.rs, resolver.rs)
//!                 │ not
//!                 ▼
//!  a home elsewhere in the PoP? ── asked, kept, told                                     (homes.rs, asking.rs)
//!                 │ no, or it is lost
//!                 ▼
//!  Resolver::answer ── one resolution for all who ask the same ──▶ aliases, one by one    (resolver.rs)
//!                                                                     │
//!      ┌──────────────────────────────────────────────────────────────┘
//!      ▼
//!  Core::lookup ── kept? ── nearest known zone ──▶ ask its servers ──▶ referral ──▶ the zone below, its keys ─┐
//!  (iterate.rs)                (zones.rs)         (exchange.rs,  ▲ └──▶ answer or denial ──▶ judged           │
//!                                                   upstream.rs) └────────────────────── (keys.rs, denial.rs) ┘
//! ```
//!
//! The core does no I/O and has no clock: [`Upstream`] carries messages, [`Settings::clock`] tells the time. [`Sockets`]
//! is the `Upstream` of the real world.
//!
//! Invariants:
//! * **Nothing is believed that was not asked.** An answer has the asked address, the id and the question to the letter, in
//!   random case; what it says outside of the zone whose server it is is dropped (`reply.rs`). An alias's target is
//!   always asked for anew. Addresses that come with a referral serve to ask that zone, and are never answers.
//! * **Authority first.** What a server says without AA is taken, for a minute, only if no server of the zone that can be asked
//!   says it with AA (`exchange.rs`).
//! * **A chain of keys from the root, or a proof that there is none.** Each name is secure, insecure or bogus; bogus is
//!   SERVFAIL with an extended error (RFC 8914), but for who sets CD.
//! * **A cold name waits for no key alone.** The servers of a signed zone that is entered are asked for its keys and, at the same
//!   time, for what is sought; what they said to that is judged when the keys are known, and is nothing until then.
//! * **A question costs a bounded amount:** of time, questions to name servers, checks of signatures, hashes, lookups within
//!   lookups, aliases; a name server can make none of them grow (`iterate.rs`, `keys.rs`, `denial.rs`, `resolver.rs`). Who
//!   asks for more gets a failure, and nothing is remembered because of it but that. One zone has a share of what is resolved
//!   at a time (`servers.rs`).
//! * **Nothing outlives its TTL,** a zone's keys and digests least of all; and what is bogus is asked for once more: of
//!   another server, and with keys fetched anew (`iterate.rs`, `zones.rs`).
//! * **Servers learn no more than they need:** names are minimised (RFC 9156), and clients' addresses are never passed on.
//! * **What a signed zone has denied is not asked for again,** by whatever name (RFC 8198, `denials.rs`).
//! * **A PoP asks once.** Where servers share what they find ([`Resolver::share`]), each name has one as its home, which the
//!   others ask before name servers; a home that is lost costs a bounded wait (`homes.rs`).
//! * **What has expired is served only if there is nothing better,** after a while or when all servers fail (RFC 8767).
//!
//! Limits: the constants of each file, and the octets of [`Settings::cache_octets`].
//!
//! [`Resolver::tend`] is for who serves it to call now and then: it finds out which servers the root has (`priming.rs`), and
//! follows its keys while they roll over (`anchors.rs`).
//!
//! What it leaves out: servers that are silent to EDNS (`exchange.rs`).

mod anchors;
mod asking;
mod decided;
mod denial;
mod denials;
mod edns;
mod exchange;
mod exercise;
mod hints;
mod homes;
mod iterate;
mod keys;
mod message;
mod metrics;
mod name;
mod priming;
mod query;
mod reply;
mod resolver;
mod rrset;
mod servers;
mod settings;
mod stored;
mod tend;
mod upstream;
mod way;
mod zones;

#[cfg(test)]
mod tests;

pub use anchors::{
    AnchorChange, AnchorState, Followed, FollowedKey, NotFollowed, Observation, TrustAnchors, Unobserved,
};
pub use decided::{AliasGuard, Aliases, BlockReason, Decided, LocalRecord};
pub use edns::{Cookie, CookieAnswer};
#[doc(hidden)]
pub use exercise::{exercise, exercise_anchors, exercise_homes};
pub use hints::{HintsError, parse_anchors, parse_hints};
pub use homes::{Awaited, HOME_ANSWER_OCTETS_MAX, HOME_QUESTION_OCTETS_MAX, HomeQuestion, Homes, NotHome};
pub use iterate::ZONE_ASKED_MAX;
pub use metrics::Metrics;
pub use name::{Name, NotAName};
pub use query::{Query, Read, Refusal, Written};
pub use resolver::Resolver;
pub use settings::{Clock, Settings};
pub use tend::Tended;
pub use upstream::{Sockets, Transport, Upstream};

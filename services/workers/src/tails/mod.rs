//! Tails: live logs, of every invocation on every server, for who looks at a Worker.
//!
//! ```text
//!  dispatcher.js `Tail` ─▶ tail.sock ─▶ Events: made whole, cut ─▶ Looks: those of the Worker, whose filters it passes
//!  a process that was ended ─▶ stage ───────▶ lost.rs ─────────────┘          │                       │
//!                                                                     Queue ◀─┘ who looks here         └▶ Queue ─▶ line by line
//!                                                                       ▲                                         │
//!  Network::open (port Tails) ◀────────────────────────────────────────┴──── follow.rs ◀── the same elsewhere ◀──┘
//! ```
//!
//! While somebody looks at a Worker its versions are loaded under another name (`ACCOUNT/WORKER/VERSION?tail`), with a tail: the
//! engine then says after each invocation what it logged, threw and how it ended. Nobody else's requests are marked, and when nobody
//! looks a request costs one atomic load. The second copy stays in the memory of its process until that ends.
//!
//! Invariants:
//! * **A Worker waits for nobody who looks.** What goes to a reader lies in a [`queue::Queue`] of so many octets; beyond, events are
//!   dropped and counted, on the server where they happen and where they are shown.
//! * **Servers that are away delay nothing**: each is followed by a task of its own, and asked again with back-off.
//! * **Filters are asked where an event happens**; what nobody wants goes nowhere.
//! * **Secrets are not shown**: fields and parts of URLs that look like one come redacted from the engine, and a filter sees no more
//!   than who looks.
//!
//! Limits: [`looks::LOOKS_MAX`] and [`TAILS_PER_WORKER_MAX`] on a server, [`network::HELD_MAX`] shown by a server,
//! [`queue::OCTETS_MAX`] each, [`event::OCTETS_MAX`] an event.
//!
//! [`TAILS_PER_WORKER_MAX`]: proxima_pipeline::TAILS_PER_WORKER_MAX

mod answers;
pub(crate) mod event;
mod events;
mod filter;
mod follow;
mod line;
mod looks;
pub(crate) mod lost;
mod network;
mod queue;
#[cfg(test)]
mod tests;

pub(crate) use answers::Answers;
pub(crate) use events::Events;
pub(crate) use looks::Looks;
pub(crate) use network::Network;

/// The name under which servers ask each other for what happens there.
pub const TAILS_SERVICE: &str = "tails";
/// Where they ask.
const PATH: &str = "/tail";

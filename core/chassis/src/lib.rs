//! What every service is built on: one lifecycle, one configuration, one way to listen, to be healthy and to be seen.
//!
//! ```text
//!  node.toml ─▶ NodeConfig ─▶ Ledger::start ─▶ NodeContext ─▶ services are made (proxima/src/services.rs)
//!                                                                   │
//!        ┌──────────── prepare (pure) ◀── Snapshot + ChangeSet ◀────┤ replica applied an entry
//!        ▼                                                          ▼
//!   all prepared? ─▶ commit, all ─▶ state in force is seq N      run: bind, serve, drain
//!        │ one failed                                               │
//!        ▼                                                          ▼
//!   the former state stays in force, and says so               health ─▶ /readyz, anycast
//! ```
//!
//! Invariants:
//! * **Whole state, never backwards, never half.** [`Service::prepare`] may fail and changes nothing; commits cannot
//!   fail, and run back to back on one thread, in the order of the list of services.
//! * **A service ends in one way:** withdraw (no new users are sent here), drain (what was begun is ended, within the
//!   deadline), stop. [`Shutdown`] tells which of them it is time for.
//! * **Nothing is bound twice.** Listeners come from [`Listeners`], which hands them to the next process on a graceful
//!   restart, so that no connection is refused.
//! * **Whatever is configured is checked at the start:** unknown sections and keys are errors that say where.

mod accepting;
mod admin;
mod clock;
mod config;
mod deadline;
mod expiry;
mod handover;
mod health;
mod identity;
mod in_force;
mod listeners;
mod node;
mod notify;
mod places;
mod program;
mod scheduling;
mod service;
mod shutdown;
mod telemetry;

pub use accepting::Accepting;
pub use clock::{Clock, SimulatedClock, SystemClock, random_id};
pub use config::{ConfigError, NetworkConfig, NodeConfig, NodeSection};
pub use deadline::Deadline;
pub use health::{Health, HealthBoard, ServiceHealth};
pub use identity::{ClusterAuthority, Identity, IdentityConfig, IdentityError, NODE_DOMAIN};
pub use listeners::{ListenError, Listeners};
pub use node::{MakeServices, NodeContext, NodeError, check_node, run_node, survey_log};
pub use places::{Place, Places};
pub use program::program;
pub use scheduling::{engine_asked, exchange_begun, start_ordinarily, yield_to_workers};
pub use service::{PrepareError, Prepared, Service, ServiceError};
pub use shutdown::{Arrivals, Shutdown};
pub use telemetry::{GaugeGuard, LogFormat, Metrics, init_logging};

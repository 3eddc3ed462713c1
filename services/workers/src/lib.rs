//! Workers: customers' code on every server, next to its users.
//!
//! ```text
//!  request ─▶ WorkersStage: route or custom domain? (Site::workers) ── no ──▶ cache ─▶ origin
//!                 │ which Worker                                                ▲
//!                 ▼                                                             │ Fetch (port of the pipeline): the own
//!             Deployments: which version ─▶ Engine ─▶ process of workerd        │ account's sites; those of others, as a
//!                 │                           │          dispatcher.js          │ visitor; else by name, to addresses that
//!                 │                           │                                 │ were checked, and are public
//!                                             │            │      │             │
//!                 replica ─▶ Code ◀── code.sock ───────────┤      └─ egress.sock ─▶ Egress
//!  edge ─▶ Prewarm (port) ─▶ Warmer ──▶ Engine      │      │
//!  control ─▶ CheckWorkers (port) ─▶ Checks ─▶ Engine      │
//!             KeyValue (port) ◀─ KeyValues ◀── kv.sock ───────┤
//!          ResponseCache (port) ◀─ Responses ◀── cache.sock ───────┤
//!          Objects (port) ◀─ BucketObjects ◀── r2.sock ────────┤
//!   that object's home ◀─ Durable ◀── durable.sock ────────┘
//!                 └▶ assets (assets/): a file of the version, from the replica ◀── assets.sock
//!    Tails (port) ◀─ Looks ◀─ Events ◀─ tail.sock, if somebody looks ┘
//! ```
//!
//! The engine is `workerd`, a program of its own. Its processes run a dispatcher of ours, which loads the version that a
//! request is for by its name, from this server's replica, and keeps it. A version never changes, so a deployment takes
//! effect with the next request, and what had begun ends as it began. A version that is asked very often gets a process of its own,
//! without a dispatcher before it (`engine/own/mod.rs`).
//!
//! Invariants:
//! * **Code reaches nothing but the node.** What it fetches goes through a socket of ours, on behalf of its account, whatever
//!   it does; it has no other way out, and its sockets API leads nowhere. The node checks the address that it then connects
//!   to. Redirects are fetches like any other.
//! * **No Worker holds up all others.** A process that uses its processor up while nothing comes out of it, or too much
//!   memory, is ended ([`engine`]'s `watch.rs`). Who alone was at work in it is convicted and answers 1102; several are set
//!   apart from each other (`verdicts.rs`), and their requests sent once more where that can do nothing twice.
//! * **What a Worker says is not believed to be ours**: faults are told with a secret that it does not know; one that runs alone can
//!   find out that of its own process, and tell with it faults of its own.
//! * **A server without `workerd` serves everything else**, static assets among it: requests for code are answered 503, and its
//!   health says so.
//!
//! Limits: [`WorkersConfig`], and the constants beside what they bound: requests in a process, what an account fetches at a
//! time, processes for suspects. What they do not bound, since the engine does not tell which request it works for: the time
//! that one request takes of a processor in many small pieces (which is measured, or estimated where several are in flight:
//! `engine/spent.rs`), how much of it a version wants for itself (`cpu_ms_max` of its own). A loop is ended where it comes back to this network (`CDN-Loop`).
//! What one invocation asks for is counted by the dispatcher (`engine/budgets.js`), exactly while it is the only one of its version that is
//! under way in its process, and on average else; and by the node (`engine/shares.rs`) where the dispatcher does not see invocations begin:
//! of Durable Objects, and of versions that run alone. An answer ends when nothing has come of it for five minutes.
//! Memory is watched, and bounded by the kernel where the node has a control group to divide (`engine/groups.rs`). A Worker that broke out of V8 would be alone in its process's cage (`cage/`):
//! without network, files, other processes or rights, but with the node's sockets, at which it could ask for what is its neighbours'
//! in that process (`answering.rs`).
//!
//! A Worker that is bound to another one has its `fetch` and its methods (RPC), which the dispatcher passes on in the process that they
//! share (`Service` in `engine/dispatcher.js`); the one that was asked first is convicted for what the others do. Of a request 32 may be
//! asked so, and a recursion ends with error 1019.
//!
//! A binding to a namespace of keys and values is an entrypoint of the dispatcher's, which says on whose behalf it asks and for which
//! namespace; `kv_namespace.js`, which runs in the Worker, makes of it what Workers know as `KVNamespace`. Whatever a Worker does
//! with either, it reaches the namespaces that it is bound to, and the node looks for each operation whether they are its account's.
//!
//! A binding to a bucket is made the same way, by `r2_bucket.js`: the engine has one of its own, and hands it to no Worker that is
//! loaded. Objects pass as they come.
//!
//! A version may have static assets ([`assets`](self)), with which the node answers by itself, without `workerd`; code asks for them by
//! a binding as it asks for keys and values. A Worker that is bound to one with code and assets asks its code.
//!
//! Durable Objects ([`durable`](self)) run each on one server, in a process of the engine that all objects of their account share there,
//! and no Worker.
//!
//! A client whose handshake names a host of a Worker has it loaded meanwhile ([`prewarm`](self)).
//!
//! A version that is uploaded is started once before it is kept ([`checks`](self)): one that does not start is refused, in the engine's
//! words.
//!
//! Live logs cost nothing while nobody looks ([`tails`]): then a Worker is loaded once more, with a tail.
//!
//! The Cache API is a module of ours too (`cache_api.js`), which code that says `caches` begins with: the engine gives its own to none
//! that is loaded. What is kept lies in this server's cache, apart from what visitors get, and by account ([`responses`](self)).
//!
//! A Worker that throws after `passThroughOnException` has its request go on as if there was none: a module of ours (`pass_through.js`),
//! which code that says so begins with, has it fetched from what lies behind, past what an invocation may ask for.
//!
//! A WebSocket that code opens is a fetch as long as it is open: it has that place among what its account fetches, and is bound to go
//! where any fetch may.
//!
//! A custom domain stands in the place of an origin: what a Worker fetches from it, its Worker answers ([`DomainsStage`]), as do routes and
//! custom domains of other accounts, whose sites are asked as by a visitor ([`proxima_pipeline::Stranger`]). How many Workers have called
//! each other so, one the next, each of them is loaded with (`Variant`); the seventeenth that is called is error 1019.
//!
//! Why it is built so: `docs/decisions/0012-workers-engine.md`.
//!
//! [`engine`]: self
//! [`tails`]: self

mod answering;
mod assets;
mod caching;
mod cage;
mod checks;
mod code;
mod config;
mod durable;
mod egress;
mod engine;
mod error;
mod facts;
mod key_values;
mod local;
mod marked;
mod metrics;
mod objects;
mod prewarm;
mod program;
mod queued;
mod queues;
mod refuse;
mod responses;
mod scheduled;
mod service;
mod stage;
mod switched;
mod tails;
mod version;
mod zones;

pub use cage::{CageError, Launcher, enter};
pub use config::{IsolationLevel, WorkersConfig};
pub use durable::DURABLE_SERVICE;
pub use error::WorkersError;
pub use service::WorkersService;
pub use stage::{DomainsStage, WorkersStage};
pub use tails::TAILS_SERVICE;
pub use zones::Zones;

/// Reads octets as rules for assets, for fuzz targets.
#[doc(hidden)]
pub fn exercise_asset_rules(octets: &[u8]) {
    assets::exercise(octets);
}

/// Its name: its table in the configuration, its metrics' prefix.
pub const SERVICE: &str = "workers";

//! The ledger's tests over real files, real sockets and real processes: one program, so that it is linked once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers, too")]

mod asks;
mod common;
mod compiled;
mod compiled_ahead;
mod compiled_behind;
mod damage;
mod durability;
mod frames;
mod hostile;
mod log_suite;
mod relay;
mod replication;
mod restore;
mod scans;

//! Workers in a node of their own, run by the real engine.

#![allow(clippy::unwrap_used, reason = "in a test, what should be there and is not ends it")]

mod failing;
mod fetching;
mod harness;
mod misbehaving;
mod running;
mod scheduled;

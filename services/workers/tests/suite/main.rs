//! Workers in a node of their own, run by the real engine.

#![allow(clippy::unwrap_used, reason = "in a test, what should be there and is not ends it")]

mod assets;
mod caged;
mod calling;
mod checks;
mod durable;
mod durable_places;
mod durable_servers;
mod failing;
mod fetched;
mod fetching;
mod groups;
mod hand_over;
mod harness;
mod key_values;
mod limits;
#[path = "../../../../tests/memory_kv.rs"]
mod memory_kv;
#[path = "../../../../tests/memory_queues.rs"]
mod memory_queues;
mod misbehaving;
mod own;
mod passing;
mod queues;
mod responses;
mod rpc;
mod running;
mod scheduled;
mod sockets;
mod spent;
mod tails;

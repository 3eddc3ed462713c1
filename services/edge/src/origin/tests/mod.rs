//! The origin client against origins of every kind, over real sockets.

mod bodies;
mod faults;
mod grpc;
mod harness;
mod resolving;
mod reuse;
mod tls;
mod upgrades;
mod uploads;

//! Tests of authoritative DNS: the pure core by tables, properties and an oracle; the service over real sockets with
//! real clients.

mod allocations;
mod answers;
mod corpus;
mod differential;
mod dnssec;
mod encrypted;
mod flattening;
mod flood;
mod hostile;
mod keys_of_others;
mod large;
mod locations;
mod memory;
mod neighbours;
mod oracle;
mod random_names;
mod recursion;
mod resolver_clients;
mod resolving;
mod rolls;
mod serials;
mod sockets;
mod standards;
mod support;
mod transfers;
#[path = "../../../../core/resolver/tests/tree/mod.rs"]
#[allow(clippy::unwrap_used, reason = "helpers of a test")]
mod tree;
mod types;

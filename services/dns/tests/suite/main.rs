//! Tests of authoritative DNS: the pure core by tables, properties and an oracle; the service over real sockets with
//! real clients.

mod answers;
mod dnssec;
mod encrypted;
mod flood;
mod hostile;
mod oracle;
mod sockets;
mod support;
mod transfers;
mod types;

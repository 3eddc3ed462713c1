//! QUIC (RFC 9000) at many servers with one address: secrets that all of them have, and which process of one server a
//! datagram goes to.

mod keys;
mod steering;

pub use keys::{CONNECTION_ID_BYTES, PreparedKeys, QuicKeys};
pub use steering::steer;

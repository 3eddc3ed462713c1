//! The port by which who shakes hands with clients tells who runs code that a client comes: what has to be loaded is, while
//! the handshake goes on.

/// Is told of clients that come.
pub trait Prewarm: Send + Sync + 'static {
    /// A client has begun a handshake for this host, lower case or not, for which there is a certificate. Must neither wait nor do
    /// more than remember it: the handshake goes on afterwards.
    fn greeted(&self, host: &str);
}

//! What can go wrong between servers that forward for each other, and with the kernel's half.

use std::{io, net::SocketAddr, time::Duration};

use super::message::{DecodeError, VERSION};

/// Why something of connection forwarding failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// The kernel refuses the program.
    #[error("{doing} the eBPF program: {}", chain(source.as_ref()))]
    Program { doing: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// The program is not what was compiled.
    #[error("the eBPF object lacks what its source has")]
    Object,
    /// The program cannot be attached there.
    #[error("attaching the eBPF program to {interface}: {source}")]
    Interface { interface: String, source: io::Error },
    /// There is nowhere to attach it.
    #[error(
        "no interface has a network in which a neighbor lies: give neighbors that are directly connected"
    )]
    NoUplink,
    /// The operating system refuses something.
    #[error("{doing}: {source}")]
    System { doing: &'static str, source: io::Error },
    /// It was to be done in time.
    #[error("{doing} took longer than {limit:?}")]
    Late { doing: &'static str, limit: Duration },
    /// A peer's frame holds no message.
    #[error("it sent something that is not a message: {0}")]
    Garbage(#[from] DecodeError),
    /// A peer's message has no place there.
    #[error("it sent {0}")]
    Unexpected(&'static str),
    /// The connection has ended.
    #[error("it closed the connection")]
    Closed,
    /// A peer said no.
    #[error("it said: {0}")]
    Refused(String),
    /// A peer has another version of the protocol.
    #[error("it speaks version {theirs} of the protocol, this node version {VERSION}")]
    Version { theirs: u16 },
    /// A peer is about prefixes that this server does not announce.
    #[error("none of the prefixes is one that this server announces")]
    Foreign,
    /// A peer, or all of them, have as many connections here as they may.
    #[error("there is no room for another connection")]
    Full,
    /// This server is ending.
    #[error("this server is ending")]
    Ending,
    /// The socket for peers.
    #[error("forward_listen {address}: {source}")]
    Listen { address: SocketAddr, source: Box<dyn std::error::Error + Send + Sync> },
}

impl ForwardError {
    pub(super) fn program<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        doing: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Program { doing, source: source.into() }
    }
}

/// An error and what caused it: the loader's say only the outermost.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

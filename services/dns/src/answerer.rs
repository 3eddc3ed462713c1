//! Who answers at a listener: the transports carry queries, and one of two roles says what is answered.
//!
//! ```text
//!  udp.rs, tcp.rs, quic.rs, https.rs ─▶ Answerer::answer ─┬▶ Reply::Now: it stands in the buffer that was given
//!                                                         ├▶ Reply::Later: it has to be waited for, others go on
//!                                                         └▶ Reply::None: it is not to be answered
//! ```
//!
//! [`Server`](crate::server::Server), which has authority, answers at once from the zones that are here, but for the first
//! questions about an alias that leads outside (`flattening/mod.rs`), and about a large zone until it is compiled. [`Recursive`](crate::resolver::Recursive) answers what
//! it knows at once, and resolves the rest.

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use proxima_chassis::{GaugeGuard, Place};
use tokio::io::AsyncWrite;

use crate::{
    asker::{Asker, Shown},
    config::DnsConfig,
    message::put_length,
    metrics::ListenerMetrics,
    respond::Answered,
    wire::LENGTH_OCTETS,
};

/// One of the roles.
pub(crate) trait Answerer: Send + Sync + Sized + 'static {
    /// An answer that has to be waited for. It may be dropped: then nobody wants it any more.
    type Later: Future<Output = Found> + Send + 'static;

    /// Appends the answer to a message to `out`, if it can be said without waiting; otherwise nothing.
    fn answer(self: &Arc<Self>, message: &[u8], asker: Asker, out: &mut Vec<u8>) -> Reply<Self::Later>;

    /// What its listeners have in common.
    fn listening(&self) -> &Listening;

    /// Whether it answers this client at all. Who may not ask is told so in the protocol's form: by [`Self::answer`], or
    /// by a status where there is one.
    fn admits(&self, _asker: Asker) -> bool {
        true
    }

    /// Counts a client that is not admitted and was told so by a status, so that [`Self::answer`] never has its question.
    fn turned_away(&self, _asker: Asker) {}

    /// What a client shows by the name that it knows the server by, where it says one (TLS, QUIC).
    fn shown_by(&self, _server_name: Option<&str>) -> Shown {
        Shown::Nothing
    }

    /// What a client shows by a token in a URL; `None` where there are none.
    fn shown_in_url(&self, _token: &str) -> Option<Shown> {
        None
    }

    /// Whether a label of a host may be a token, by its length alone; never where there are none.
    fn may_be_token(&self, _label: &str) -> bool {
        false
    }

    /// Whom a query is answered for and what is decided of it before it is looked up, for people; nothing where that is the
    /// same for all. Tells no token.
    fn explain(&self, _message: &[u8], _asker: Asker) -> Option<String> {
        None
    }

    /// Octets of the whole message at the beginning of a stream, with its length, if [`Self::answer_at_length`] answers it.
    fn takes_long(_unread: &[u8]) -> Option<usize> {
        None
    }

    /// Answers a message by many.
    ///
    /// # Errors
    /// The client has gone, or takes too long.
    fn answer_at_length(
        self: &Arc<Self>,
        _stream: &mut (impl AsyncWrite + Unpin + Send),
        _message: &[u8],
        _asker: Asker,
    ) -> impl Future<Output = io::Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

/// An answer that has to be waited for, of whichever kind.
pub(crate) type Waiting = Pin<Box<dyn Future<Output = Found> + Send>>;

/// What was made of a message.
pub(crate) enum Reply<L> {
    /// It is answered; if a rate limit dropped it, by nothing.
    Now(Answered),
    /// It will be answered.
    Later(L),
    /// It is not to be answered.
    None,
}

/// An answer that was waited for.
pub(crate) struct Found {
    /// The whole message.
    pub(crate) octets: Vec<u8>,
    /// What it says.
    pub(crate) answered: Answered,
    /// The place that it has among those that wait, until it is written or in a buffer that has bounds of its own.
    pub(crate) place: Place,
    /// It counts as waiting for as long; given back after its place.
    pub(crate) waiting: Option<GaugeGuard>,
}

/// What all listeners of a role have in common.
pub(crate) struct Listening {
    /// What they count.
    pub(crate) metrics: ListenerMetrics,
    /// How long a connection may go without a whole query (RFC 7766, 6.2.3).
    pub(crate) idle: Duration,
    /// Queries of one connection, after which it is closed.
    pub(crate) queries_max: u32,
}

impl Listening {
    pub(crate) fn new(config: &DnsConfig, metrics: ListenerMetrics) -> Self {
        Self { metrics, idle: config.tcp_idle(), queries_max: config.tcp_queries_max }
    }
}

/// As [`Answerer::answer`], with the answer's length before it, as streams carry messages (RFC 1035, 4.2.2).
pub(crate) fn answer_framed<A: Answerer>(
    answerer: &Arc<A>,
    message: &[u8],
    asker: Asker,
    out: &mut Vec<u8>,
) -> Reply<A::Later> {
    let begin = out.len();
    out.extend_from_slice(&[0; LENGTH_OCTETS]);
    let reply = answerer.answer(message, asker, out);
    match reply {
        Reply::Now(_) => put_length(&mut out[begin..]),
        Reply::Later(_) | Reply::None => out.truncate(begin),
    }
    reply
}

/// Appends an answer that was waited for, with its length before it.
pub(crate) fn frame(found: &Found, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(&[0; LENGTH_OCTETS]);
    out.extend_from_slice(&found.octets);
    put_length(&mut out[begin..]);
}

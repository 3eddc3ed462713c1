//! What answers with authority.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use proxima_ledger::{CompiledZones, ReadError, Replica};
use proxima_pipeline::ZoneNotices;
use tokio::io::AsyncWrite;
use tracing::{Level, enabled, trace, warn};

use crate::{
    answerer::{Answerer, Listening, Never, Reply},
    asker::Asker,
    config::DnsConfig,
    metrics::DnsMetrics,
    places::Places,
    respond::{Answered, Responder, Zones},
    transfer::{self, Journal},
    zone::ZoneTree,
};

/// The role that has authority.
pub(crate) struct Server {
    pub(crate) config: DnsConfig,
    pub(crate) metrics: DnsMetrics,
    listening: Listening,
    pub(crate) zones: CompiledZones<ZoneTree>,
    pub(crate) responder: Responder,
    pub(crate) replica: Replica,
    /// Places for transfers of zones.
    pub(crate) transfers: Arc<Places>,
    /// What zones were when they were transferred.
    pub(crate) journal: Journal,
    /// Who is told that a zone which comes from elsewhere has changed there.
    pub(crate) notices: OnceLock<Arc<dyn ZoneNotices>>,
    /// Whether the replica could not be read when it was last tried.
    unreadable: AtomicBool,
}

impl Server {
    pub(crate) fn new(
        config: DnsConfig,
        metrics: DnsMetrics,
        listening: Listening,
        responder: Responder,
        replica: Replica,
    ) -> Self {
        let zones = CompiledZones::new(replica.clone(), config.zones_max);
        let transfers = Places::new(transfer::TRANSFERS_MAX, transfer::TRANSFERS_PER_CLIENT_MAX);
        let (notices, unreadable) = (OnceLock::new(), AtomicBool::new(false));
        Self {
            config,
            metrics,
            listening,
            zones,
            responder,
            replica,
            transfers,
            journal: Journal::default(),
            notices,
            unreadable,
        }
    }

    /// Appends the answer to a message to `out`; `None` if it is not to be answered.
    fn say(&self, message: &[u8], asker: Asker, out: &mut Vec<u8>) -> Option<Answered> {
        let begun = self.metrics.begin();
        let base = out.len();
        let mut answered = self.responder.respond(self, message, asker, out);
        if let Some(refused) = answered.filter(Answered::may_be_a_peers) {
            answered = Some(self.answer_peer(message, asker, (out, base), refused));
        }
        self.metrics.count(asker.transport, answered, begun.map(|begun| begun.elapsed()));
        if enabled!(target: "proxima_dns", Level::TRACE) {
            trace_answer(asker, message, answered);
        }
        answered
    }

    /// Whether the replica can be read, as far as queries have shown; asks the replica itself only after one failed.
    pub(crate) fn can_read(&self) -> bool {
        if !self.unreadable.load(Ordering::Relaxed) {
            return true;
        }
        let readable = self.replica.snapshot().is_ok();
        if readable {
            self.unreadable.store(false, Ordering::Relaxed);
        }
        readable
    }
}

impl Answerer for Server {
    type Later = Never;

    fn answer(self: &Arc<Self>, message: &[u8], asker: Asker, out: &mut Vec<u8>) -> Reply<Never> {
        self.say(message, asker, out).map_or(Reply::None, Reply::Now)
    }

    fn listening(&self) -> &Listening {
        &self.listening
    }

    fn takes_long(unread: &[u8]) -> Option<usize> {
        transfer::waiting(unread)
    }

    async fn answer_at_length(
        self: &Arc<Self>,
        stream: &mut (impl AsyncWrite + Unpin + Send),
        message: &[u8],
        asker: Asker,
    ) -> io::Result<()> {
        transfer::serve(stream, self, message, asker).await
    }
}

impl Zones for Server {
    fn find(&self, name: &str) -> Result<Option<Arc<ZoneTree>>, ReadError> {
        let found = self.zones.find(name);
        if let Err(error) = &found {
            // One zone that cannot be decoded is that zone's trouble; these are the whole server's.
            let whole = matches!(error, ReadError::Corrupt(_) | ReadError::NotReady);
            if !whole || !self.unreadable.swap(true, Ordering::Relaxed) {
                warn!(%error, %name, "answering SERVFAIL: a zone cannot be read");
            }
        }
        found
    }

    fn beneath(&self, name: &str) -> Option<Vec<String>> {
        self.zones.beneath(name)
    }
}

#[cold]
fn trace_answer(asker: Asker, message: &[u8], answered: Option<Answered>) {
    trace!(target: "proxima_dns", transport = ?asker.transport, octets = message.len(), ?answered, "query");
}

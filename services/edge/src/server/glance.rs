//! The short way (`core/pipeline/src/glance.rs`), as far as HTTP/1.1 and HTTP/2 have it in common: a request is looked at
//! where it lies, answered with what lies ready, and counted when that has been written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use proxima_chassis::GaugeGuard;
use proxima_http1::PlainRequest;
use proxima_pipeline::{Client, Ended, Glance, Glanced, HeadForm, RayId, Scheme, Site};
use tokio::time::Instant;

use super::ServerContext;
use crate::observe::Observer;

/// A request that was answered: what is left to be written, and what to be counted then.
pub(super) struct Seen {
    pub(super) body: Bytes,
    site: Option<Arc<Site>>,
    /// All but what was sent.
    ended: Ended,
}

impl ServerContext {
    /// Answers a request, if that can be done at a glance: its answer's head lies at the end of `out` then.
    pub(super) fn glance(
        &self,
        (client, scheme): (&Client, Scheme),
        form: &'static dyn HeadForm,
        plain: &PlainRequest<'_>,
        ray: &RayId,
        out: &mut BytesMut,
    ) -> Option<Seen> {
        let mut glance = Glance {
            client,
            form,
            scheme,
            host: plain.host,
            port: plain.port,
            target: plain.target,
            accept_encoding: plain.accept_encoding,
            ray,
            received: Instant::now(),
            site: None,
        };
        let Glanced { status, body, cache } = self.pipeline.glance(&mut glance, out)?;
        let (site, after) = (glance.site, glance.received.elapsed());
        let (answered, request_bytes) = (Some((status, after)), plain.bytes);
        let ended = Ended { answered, cache, request_bytes, response_bytes: 0, origin: None };
        self.metrics.answered(client.protocol, status);
        Some(Seen { body, site, ended })
    }
}

impl Seen {
    /// Counts it: so many octets were sent.
    pub(super) fn count(&self, context: &ServerContext, response_bytes: u64) {
        context.observer.zones.count(self.site.as_deref(), &Ended { response_bytes, ..self.ended });
    }

    /// Counts it once this is dropped, by what was sent until then: `sent_before` octets had been before it. So long it is in
    /// flight.
    pub(super) fn waiting(&self, context: &ServerContext, sent: Arc<AtomicU64>, sent_before: u64) -> Waiting {
        Waiting {
            observer: Arc::clone(&context.observer),
            site: self.site.clone(),
            ended: self.ended,
            sent,
            sent_before,
            _in_flight: context.metrics.begin_exchange(),
        }
    }
}

/// An answer that is being written, which is counted when this is dropped.
pub(super) struct Waiting {
    observer: Arc<Observer>,
    site: Option<Arc<Site>>,
    ended: Ended,
    sent: Arc<AtomicU64>,
    sent_before: u64,
    _in_flight: GaugeGuard,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let response_bytes = self.sent.load(Ordering::Relaxed).saturating_sub(self.sent_before);
        self.observer.zones.count(self.site.as_deref(), &Ended { response_bytes, ..self.ended });
    }
}

//! The short way of a request by HTTP/1.1 (`core/pipeline/src/glance.rs`): looked at where it lies, answered with what lies
//! ready.
//!
//! A request that turns out to be for the long way has lost nothing, and has been given nothing but its name: which requests
//! are logged is decided by that, so it is not drawn twice.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use proxima_pipeline::{Ended, Glance, Glanced, Site};
use tokio::time::Instant;

use super::{After, Connection, Gone};
use crate::observe::Observer;
use crate::server::outbound::Pieces;
use crate::server::{REQUESTS_PER_CONNECTION_MAX, Transport};

/// A request that was answered: what is left to be written, and what to be counted then.
pub(super) struct Seen {
    body: Bytes,
    site: Option<Arc<Site>>,
    /// All but what was sent.
    ended: Ended,
    /// Octets that had gone out before it.
    sent_before: u64,
}

impl<T: Transport> Connection<T> {
    /// Answers the request whose head is there, if that can be done at a glance. It is then no longer in the buffer, and its
    /// answer's head is staged.
    pub(super) fn glance(&mut self) -> Option<Seen> {
        // The last answers of a connection say that they are.
        if self.served + 1 >= REQUESTS_PER_CONNECTION_MAX || self.drain.is_cancelled() {
            return None;
        }
        let (context, scheme) = (&self.context, self.peer.scheme());
        let heeded = |name: &[u8]| context.pipeline.heeds(name);
        let plain = self.parser.plain(&self.buffer, scheme.default_port(), heeded)?;
        self.ray.renew();
        self.is_named = true;
        if context.observer.logs(&self.ray) {
            return None;
        }
        let sent_before = self.out.written.load(Ordering::Relaxed);
        let mut glance = Glance {
            client: &self.client,
            scheme,
            host: plain.host,
            port: plain.port,
            target: plain.target,
            accept_encoding: plain.accept_encoding,
            ray: &self.ray,
            received: Instant::now(),
            site: None,
        };
        let Glanced { status, body, cache } = context.pipeline.glance(&mut glance, self.out.staged())?;
        let (site, after) = (glance.site, glance.received.elapsed());
        let (answered, request_bytes) = (Some((status, after)), plain.bytes);
        let ended = Ended { answered, cache, request_bytes, response_bytes: 0, origin: None };
        context.metrics.answered(self.client.protocol, status);
        self.parser.skip(&mut self.buffer);
        self.is_named = false;
        self.served += 1;
        Some(Seen { body, site, ended, sent_before })
    }

    /// Writes the answer to its end, and counts it. A client that takes it at once is not in flight for anybody to see.
    pub(super) async fn deliver(&mut self, seen: Seen) -> After {
        let Seen { body, site, ended, sent_before } = seen;
        self.out.push(body, Pieces::Plain);
        // Made when the client has to be waited for: then it is counted also if the connection's task is dropped.
        let mut waiting = None;
        let written = poll_fn(|context| {
            let polled = self.poll_out(context);
            if polled.is_pending() && waiting.is_none() {
                waiting = Some(Waiting {
                    observer: Arc::clone(&self.context.observer),
                    site: site.clone(),
                    ended,
                    sent: Arc::clone(&self.out.written),
                    sent_before,
                    _in_flight: self.context.metrics.begin_exchange(),
                });
            }
            polled
        })
        .await;
        if waiting.is_none() {
            let response_bytes = self.out.written.load(Ordering::Relaxed).saturating_sub(sent_before);
            self.context.observer.zones.count(site.as_deref(), &Ended { response_bytes, ..ended });
        }
        match written {
            Ok(()) => After::Next,
            Err(Gone) => {
                self.context.metrics.client_gone();
                After::Gone
            }
        }
    }
}

/// An answer that is being written, which is counted when this is dropped.
struct Waiting {
    observer: Arc<Observer>,
    site: Option<Arc<Site>>,
    ended: Ended,
    sent: Arc<AtomicU64>,
    sent_before: u64,
    _in_flight: proxima_chassis::GaugeGuard,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let response_bytes = self.sent.load(Ordering::Relaxed).saturating_sub(self.sent_before);
        self.observer.zones.count(self.site.as_deref(), &Ended { response_bytes, ..self.ended });
    }
}

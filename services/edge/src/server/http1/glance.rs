//! The short way of a request by HTTP/1.1: looked at in the connection's buffer, answered with what lies ready.
//!
//! A request that turns out to be for the long way has lost nothing, and has been given nothing but its name: which requests
//! are logged is decided by that, so it is not drawn twice.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proxima_pipeline::Http1Form;

use super::{After, Connection, Gone};
use crate::server::glance::Seen;
use crate::server::outbound::Pieces;
use crate::server::{REQUESTS_PER_CONNECTION_MAX, Transport};

impl<T: Transport> Connection<T> {
    /// Answers the request whose head is there, if that can be done at a glance. It is then no longer in the buffer, and its
    /// answer's head is staged. With how many octets had gone out before it.
    pub(super) fn glance(&mut self) -> Option<(Seen, u64)> {
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
        let asked = (&self.client, scheme);
        let seen = context.glance(asked, &Http1Form, &plain, &self.ray, self.out.staged())?;
        self.parser.skip(&mut self.buffer);
        self.is_named = false;
        self.served += 1;
        Some((seen, sent_before))
    }

    /// Writes the answer to its end, and counts it. A client that takes it at once is not in flight for anybody to see.
    pub(super) async fn deliver(&mut self, mut seen: Seen, sent_before: u64) -> After {
        self.out.push(std::mem::take(&mut seen.body), Pieces::Plain);
        // Made when the client has to be waited for: then it is counted also if the connection's task is dropped.
        let mut waiting = None;
        let written = poll_fn(|context| {
            let polled = self.poll_out(context);
            if polled.is_pending() && waiting.is_none() {
                waiting = Some(seen.waiting(&self.context, Arc::clone(&self.out.written), sent_before));
            }
            polled
        })
        .await;
        if waiting.is_none() {
            let sent = self.out.written.load(Ordering::Relaxed).saturating_sub(sent_before);
            seen.count(&self.context, sent);
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

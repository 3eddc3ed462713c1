//! The short way of a request by HTTP/2: looked at as it was decoded, answered with what lies ready. Its section has been
//! decoded by then, once, since what follows may refer to it.
//!
//! ```text
//!  FieldList ─ plain? ─▶ stages, at a glance ─▶ section of its head ─┬─ its turn, and room for all of it ─▶ Output
//!     │ not, or a stage is not sure                                  └─▶ Stream.outgoing ─ when its turn comes ─┘
//!     └─▶ the long way
//! ```
//!
//! An answer for which there is room, and before which none has to go, is written where its request was read: no stream is
//! made for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use proxima_pipeline::RayId;

use super::stream::Answering;
use super::streams::COPIED_BYTES_MAX;
use super::{OUTPUT_BYTES_MAX, Session};
use crate::http2::{FRAME_BYTES_MAX, Http2Form, Priority, begin_section, end_section, write_data_head};
use crate::server::Transport;
use crate::server::glance::Seen;

impl<T: Transport> Session<T> {
    /// Answers the request whose fields were decoded last, which has no body, if that can be done at a glance.
    ///
    /// # Errors
    /// It is for the long way, with this name, if it has got one: which requests are logged is decided by it.
    pub(super) fn glance(&mut self, id: u32) -> Result<(), Option<RayId>> {
        if self.streams.table_reset {
            return Err(None);
        }
        let scheme = self.peer.scheme();
        let Self { context, client, fields, ray, output, .. } = self;
        let heeded = |name: &[u8]| context.pipeline.heeds(name);
        let plain = fields.plain(scheme, heeded).ok_or(None)?;
        ray.renew();
        if context.observer.logs(ray) {
            return Err(Some(ray.clone()));
        }
        let (before, at) = (output.bytes(), output.staged.len());
        begin_section(id, &mut output.staged);
        let begun = output.staged.len();
        let look = || context.glance((client, scheme), &Http2Form, &plain.request, ray, &mut output.staged);
        // What a stage does wrong is for the long way, where it ends its own stream and no other.
        let Ok(Some(seen)) = catch_unwind(AssertUnwindSafe(look)) else {
            output.staged.truncate(at);
            return Err(Some(ray.clone()));
        };
        let said = plain.priority.map(Priority::read);
        let priority = self.priority(id, said);
        if self.is_next(before, &seen.body) {
            end_section(at, seen.body.is_empty(), id, &mut self.output.staged);
            self.write_at_once(id, seen, before);
        } else {
            let section = self.output.staged.split_off(begun).freeze();
            self.output.staged.truncate(at);
            self.queue(id, priority, section, seen);
        }
        self.took_one();
        Ok(())
    }

    /// Whether an answer of this body, before which so much waits to be written, can be written now, and none has to go
    /// before it. What has come with it could be more urgent, where the client says so.
    fn is_next(&mut self, waits: usize, body: &Bytes) -> bool {
        body.len() <= FRAME_BYTES_MAX
            && waits < OUTPUT_BYTES_MAX
            && (!self.has_priorities || self.inbound.is_empty())
            && self.hub.is_quiet()
            && self.streams.is_quiet()
            && self.streams.take(body.len())
    }

    fn write_at_once(&mut self, id: u32, mut seen: Seen, before: usize) {
        let body = std::mem::take(&mut seen.body);
        if !body.is_empty() {
            write_data_head(body.len(), true, id, &mut self.output.staged);
            self.output.push(body, COPIED_BYTES_MAX);
        }
        let bytes = self.output.bytes() - before;
        self.idle.wrote(bytes);
        seen.count(&self.context, bytes as u64);
    }

    fn queue(&mut self, id: u32, priority: Priority, section: Bytes, mut seen: Seen) {
        let stream = self.open(id, true, priority);
        let waiting = seen.waiting(&self.context, Arc::clone(&stream.sent), 0);
        Answering::new(stream).ready(section, std::mem::take(&mut seen.body), Box::new(waiting));
    }
}

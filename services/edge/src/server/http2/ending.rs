//! How a connection of HTTP/2 ends, and what has its time until then.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::stream::Left;
use super::{CLOSE, END_PING, Ending, LINGER_BYTES_MAX, Session};
use crate::fields::FieldList;
use crate::http2::{Code, LARGEST, write_goaway, write_ping};
use crate::server::{BODY_PROGRESS_BYTES_MIN, Transport};

impl<T: Transport> Session<T> {
    pub(super) fn poll_deadlines(&mut self, context: &mut Context<'_>) -> Poll<Code> {
        if self.streams.len() == 0 && self.tasks.is_empty() {
            if !self.quiet.is_set() {
                let closes = self.ending != Ending::No;
                let waits = if closes { CLOSE } else { self.context.timeouts.until_head(self.served) };
                self.quiet.set(Instant::now() + waits);
                // An idle connection holds no buffer.
                self.fields = FieldList::default();
            }
            if self.ending == Ending::Heard && self.output.bytes() == 0 && !self.unflushed {
                return Poll::Ready(Code::NO_ERROR);
            }
        } else {
            self.quiet.clear();
        }
        if self.quiet.poll(context).is_ready() {
            if self.ending != Ending::No {
                return Poll::Ready(Code::NO_ERROR);
            }
            self.end();
            context.waker().wake_by_ref();
        }
        if self.head.poll(context).is_ready() {
            return Poll::Ready(Code::NO_ERROR);
        }
        self.poll_leaving(context);
        if self.hears.poll(context).is_ready() {
            self.end_heard();
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Ends streams whose answers nobody takes, and those that were answered long before their requests were whole.
    fn poll_leaving(&mut self, context: &mut Context<'_>) {
        if self.hub.left.load(Ordering::Relaxed) == 0 {
            self.left.clear();
        } else if !self.left.is_set() {
            self.left_moved = self.hub.moved.load(Ordering::Relaxed);
            self.left.set(Instant::now() + self.context.timeouts.write_idle);
        }
        if self.left.poll(context).is_ready() {
            let moved = self.hub.moved.load(Ordering::Relaxed) - self.left_moved;
            for id in self.streams.stalled(moved >= BODY_PROGRESS_BYTES_MIN as u64) {
                self.reset(id, Code::CANCEL);
            }
            context.waker().wake_by_ref();
        }
        if self.leaves.poll(context).is_ready() {
            for id in self.streams.leaving(Instant::now()) {
                self.reset(id, Code::NO_ERROR);
            }
            if let Some(next) = self.streams.first_leaves() {
                self.leaves.set(next);
            }
            context.waker().wake_by_ref();
        }
    }

    /// Says that no more streams are to be begun; those that are on their way until the client has heard of it are taken
    /// (RFC 9113, 6.8).
    pub(super) fn end(&mut self) {
        self.ending = Ending::Said;
        self.quiet.clear();
        self.hears.set(Instant::now() + CLOSE);
        write_goaway(LARGEST, Code::NO_ERROR, &mut self.output.staged);
        write_ping(END_PING, &mut self.output.staged);
    }

    /// The client has heard of it, or had the time to.
    pub(super) fn end_heard(&mut self) {
        self.ending = Ending::Heard;
        self.quiet.clear();
        self.hears.clear();
        self.last_said = Some(self.last_id);
        write_goaway(self.last_id, Code::NO_ERROR, &mut self.output.staged);
    }

    /// Takes leave, if anybody listens. All streams end with it.
    pub(super) async fn close(mut self, code: Option<Code>) {
        self.tasks.abort_all();
        for entry in self.streams.iter() {
            match entry.stream.leave() {
                Some(Left::Begun | Left::Behind) => self.context.metrics.answer_cut(),
                Some(Left::Unanswered) => self.context.metrics.client_gone(),
                None => {}
            }
        }
        let Some(code) = code else { return };
        if code != Code::NO_ERROR {
            self.context.metrics.http2_broken(code);
        }
        if self.ending != Ending::Heard || code != Code::NO_ERROR {
            let last = self.last_said.unwrap_or(self.last_id);
            write_goaway(last, code, &mut self.output.staged);
        }
        let leaving = async {
            poll_fn(|context| self.poll_write(context)).await.ok();
            self.io.shutdown().await.ok();
            // Closing with unread octets would reset the connection, and what was said last with it.
            let mut discarded = 0;
            while discarded < LINGER_BYTES_MAX {
                self.inbound.clear();
                match self.io.read_buf(&mut self.inbound).await {
                    Ok(0) | Err(_) => return,
                    Ok(length) => discarded += length,
                }
            }
        };
        tokio::time::timeout(CLOSE, leaving).await.ok();
    }
}

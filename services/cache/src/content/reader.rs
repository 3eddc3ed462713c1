//! A reader of content in memory: at its own pace, while it grows or when it is whole.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use proxima_pipeline::BodyError;

use super::Content;

/// A body over content.
pub(super) struct Reader {
    pub(super) content: Arc<Content>,
    pub(super) position: u64,
    /// Where to stop, where that is known.
    pub(super) end: Option<u64>,
    /// Its name among the readers of growing content.
    pub(super) id: Option<u64>,
    pub(super) failed: bool,
}

impl Reader {
    fn poll_piece(&self, context: &Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(whole) = self.content.whole.get() {
            return Poll::Ready(whole.at(self.position).map(Ok));
        }
        let mut growing = self.content.lock();
        // It may have become whole between the two looks: then the pieces are gone, and the other place has them.
        if let Some(whole) = self.content.whole.get() {
            return Poll::Ready(whole.at(self.position).map(Ok));
        }
        let cut_off = self.id.and_then(|id| growing.readers.get(&id)).is_none_or(|reader| reader.cut_off);
        if cut_off {
            return Poll::Ready(Some(Err(BodyError::TimedOut)));
        }
        if let Some(piece) = growing.at(self.position) {
            return Poll::Ready(Some(Ok(piece)));
        }
        match growing.end {
            Some(Ok(())) => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => {}
        }
        if let Some(reader) = self.id.and_then(|id| growing.readers.get_mut(&id)) {
            reader.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Tells the writer how far it has come, which matters only while content is passing.
    fn moved(&self) {
        if self.content.is_whole() {
            return;
        }
        let mut growing = self.content.lock();
        if let Some(reader) = self.id.and_then(|id| growing.readers.get_mut(&id)) {
            reader.position = self.position;
        }
        if growing.passing {
            drop(growing);
            self.content.moved.notify_one();
        }
    }
}

impl http_body::Body for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let mut piece = match std::task::ready!(self.poll_piece(context)) {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => {
                self.failed = true;
                return Poll::Ready(Some(Err(error)));
            }
            None => return Poll::Ready(None),
        };
        if let Some(left) = self.end.map(|end| end - self.position) {
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        self.position += piece.len() as u64;
        self.moved();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.failed || self.end.is_some_and(|end| self.position >= end)
    }

    fn size_hint(&self) -> SizeHint {
        let end = self.end.or_else(|| self.content.length());
        end.map_or_else(SizeHint::default, |end| SizeHint::with_exact(end.saturating_sub(self.position)))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut growing = self.content.lock();
        growing.readers.remove(&id);
        drop(growing);
        self.content.moved.notify_one();
    }
}

//! A body that says that it has come to its end.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use proxima_pipeline::{Body, BodyError};

/// Octets of a mark.
const MARK_OCTETS: usize = 16;

/// What stands behind the last octet of a body (`marked.js`). A stream that fails in a Worker ends, for whoever reads it behind the next
/// isolate, as one that is whole does; this one is whole only with its mark.
pub(crate) struct Mark([u8; MARK_OCTETS]);

impl Mark {
    /// Of hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut mark = [0; MARK_OCTETS];
        hex::decode_to_slice(text, &mut mark).ok()?;
        Some(Self(mark))
    }
}

/// A body without its mark.
pub(crate) struct Marked {
    body: Body,
    mark: Mark,
    /// What may be the mark.
    held: BytesMut,
    next: Option<Bytes>,
    broke: Arc<AtomicBool>,
}

impl Marked {
    /// `broke` is set if the body ends without its mark.
    pub(crate) fn new(body: Body, mark: Mark, broke: Arc<AtomicBool>) -> Self {
        Self { body, mark, held: BytesMut::with_capacity(MARK_OCTETS), next: None, broke }
    }

    /// Holds the last octets back, and lets go of what lies before them, in one or two pieces.
    fn take(&mut self, mut piece: Bytes) -> Option<Bytes> {
        let free = (self.held.len() + piece.len()).saturating_sub(MARK_OCTETS);
        let of_held = free.min(self.held.len());
        let first = self.held.split_to(of_held).freeze();
        let second = piece.split_to(free - of_held);
        self.held.extend_from_slice(&piece);
        self.next = (!second.is_empty()).then_some(second);
        if first.is_empty() { self.next.take() } else { Some(first) }
    }
}

impl HttpBody for Marked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let marked = self.get_mut();
        if let Some(next) = marked.next.take() {
            return Poll::Ready(Some(Ok(Frame::data(next))));
        }
        loop {
            let frame = ready!(Pin::new(&mut marked.body).poll_frame(context));
            let failed = match frame {
                Some(Ok(frame)) => {
                    let Ok(piece) = frame.into_data() else { continue };
                    match marked.take(piece) {
                        Some(piece) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                        None => continue,
                    }
                }
                None if *marked.held == marked.mark.0 => return Poll::Ready(None),
                None => BodyError::WrongLength,
                Some(Err(error)) => error,
            };
            marked.broke.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(failed)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these pieces.
    async fn read(pieces: &[&'static [u8]]) -> (Result<Bytes, BodyError>, bool) {
        // With room for all of them and their end.
        let (mut sender, body) = Body::channel(pieces.len() + 1, None);
        for piece in pieces {
            sender.send(Bytes::from_static(piece)).await.unwrap();
        }
        sender.finish().await;
        let broke = Arc::<AtomicBool>::default();
        let mark = Mark::parse(&"6d".repeat(MARK_OCTETS)).unwrap();
        let read = Body::stream(Marked::new(body, mark, Arc::clone(&broke))).collect(1 << 10).await;
        (read, broke.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_body_is_whole_with_its_mark_however_it_is_cut() {
        let whole: &[&[&'static [u8]]] =
            &[&[b"mmmmmmmmmmmmmmmm"], &[b"mmmmmmmm", b"mmmmmmmm"], &[b"", b"mmmmmmm", b"m", b"mmmmmmmm"]];
        for pieces in whole {
            assert_eq!(read(pieces).await, (Ok(Bytes::new()), false), "{pieces:?}");
        }
        let with_content: &[&[&'static [u8]]] = &[
            &[b"0123456789mmmmmmmmmmmmmmmm"],
            &[b"0123456789", b"mmmmmmmmmmmmmmmm"],
            &[b"01", b"23456789mmm", b"mmmmmmmmmmmm", b"m"],
            &[b"0", b"1", b"23456789", b"mmmmmmmmmmmmmmm", b"m"],
        ];
        for pieces in with_content {
            assert_eq!(read(pieces).await, (Ok(Bytes::from_static(b"0123456789")), false), "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn a_body_without_its_mark_broke_off() {
        let broken: &[&[&'static [u8]]] =
            &[&[], &[b"0123456789"], &[b"mmmmmmmmmmmmmmm"], &[b"0123456789", b"mmmmmmmmmmmmmmmmx"]];
        for pieces in broken {
            let (read, broke) = read(pieces).await;
            assert_eq!((read.is_err(), broke), (true, true), "{pieces:?}");
        }
        assert!(Mark::parse("6d").is_none());
    }
}

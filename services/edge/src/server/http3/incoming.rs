//! What a request stream brings: a head, and a body that is passed on as its reader takes it.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request};
use proxima_http1::{Limits, content_length};
use proxima_pipeline::BodyError;
use quinn::{ReadError, RecvStream};

use super::varint;
use crate::fields::ConnectProtocol;
use crate::http3::{Broken, Code, MessageDecoder, Piece, read_request, read_trailers};
use crate::server::inbound::{BodyFeed, Room};
use crate::server::pace::Pace;

/// Octets of one read: what lies ready is passed on in pieces of this size at most.
const READ_BYTES_MAX: usize = 16 * 1024;
/// Octets of a body that lie between its stream and who reads it. What is read from a stream no longer counts against
/// the connection's window, so this bounds, with [`STREAMS_MAX`](super::STREAMS_MAX), what a connection holds beside it:
/// 4 MiB, with the last read of each.
pub(super) const WINDOW_BYTES: usize = 16 * 1024;

/// Why a request, or the rest of it, cannot be had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It breaks the protocol, or a bound.
    Broken(Broken),
    /// The client took it back, or has gone.
    Cancelled,
    /// The client took too long.
    TimedOut,
}

impl From<Broken> for Unread {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// What follows a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// Nothing.
    Nothing,
    /// A body, of which this has come.
    Body(Option<Piece>),
}

/// What is to be passed on of a body.
pub(super) struct Upload {
    pub(super) feed: BodyFeed,
    /// What has come of it already.
    pub(super) first: Option<Piece>,
    /// Octets that are still to come, if that was announced.
    pub(super) left: Option<u64>,
    /// Octets that may still come before it is too long.
    pub(super) allowance: u64,
    pub(super) pace: Pace,
}

pub(super) struct Incoming {
    receive: RecvStream,
    decoder: MessageDecoder,
    read: Bytes,
    ended: bool,
}

impl Incoming {
    pub(super) fn new(receive: RecvStream, limits: &Limits) -> Self {
        Self {
            receive,
            decoder: MessageDecoder::new(limits.head_bytes_max),
            read: Bytes::new(),
            ended: false,
        }
    }

    /// The next piece; `None` at the end. Nothing is lost if this is dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, Unread> {
        loop {
            if let Some(piece) = self.decoder.decode(&mut self.read)? {
                return Ok(Some(piece));
            }
            match self.receive.read_chunk(READ_BYTES_MAX, true).await {
                Ok(Some(chunk)) => self.read = chunk.bytes,
                Ok(None) => {
                    self.ended = true;
                    self.decoder.finish()?;
                    return Ok(None);
                }
                Err(ReadError::Reset(_)) => {
                    self.ended = true;
                    return Err(Unread::Cancelled);
                }
                Err(_) => return Err(Unread::Cancelled),
            }
        }
    }

    /// The head, and what follows it.
    pub(super) async fn head(&mut self, limits: &Limits) -> Result<(Request<()>, Follows), Unread> {
        let Some(Piece::Head(section)) = self.next().await? else {
            return Err(Broken::Stream(Code::REQUEST_INCOMPLETE).into());
        };
        let request = read_request(&section, limits)?;
        let announced = content_length(request.headers()).ok().flatten();
        let follows = match announced {
            // Whether these have a body is said by nothing but the stream's end, which most often is here already.
            // In a tunnel nothing need come before it is open.
            None if request.extensions().get::<ConnectProtocol>().is_some() => Follows::Body(None),
            None if has_usually_no_body(request.method()) => {
                self.next().await?.map_or(Follows::Nothing, some)
            }
            _ => match self.next().now_or_never() {
                Some(next) => next?.map_or(Follows::Nothing, some),
                None => Follows::Body(None),
            },
        };
        if follows == Follows::Nothing && announced.is_some_and(|octets| octets > 0) {
            return Err(Broken::Stream(Code::MESSAGE_ERROR).into());
        }
        Ok((request, follows))
    }

    /// Passes a body on until it ends, or nobody wants more of it.
    pub(super) async fn pass_on(&mut self, mut upload: Upload, limits: &Limits) -> Result<(), Unread> {
        let passed = self.try_pass_on(&mut upload, limits).await;
        let end = match &passed {
            Ok(end) => *end,
            Err(Unread::Cancelled) => Err(BodyError::Aborted),
            Err(Unread::TimedOut) => Err(BodyError::TimedOut),
            Err(Unread::Broken(Broken::TooLarge)) => Err(BodyError::TooLarge),
            Err(Unread::Broken(_)) => Err(BodyError::Malformed),
        };
        upload.feed.end(end);
        passed.map(drop)
    }

    /// How the body ended for its reader, where the stream can go on.
    async fn try_pass_on(
        &mut self,
        upload: &mut Upload,
        limits: &Limits,
    ) -> Result<Result<(), BodyError>, Unread> {
        loop {
            let mut waited = false;
            let room = poll_fn(|context| {
                let room = upload.feed.poll_room(context);
                waited |= room.is_pending();
                room
            });
            let room = tokio::select! {
                biased;
                room = room => room,
                () = taken_back(&mut self.receive) => return Err(Unread::Cancelled),
            };
            if room == Room::Abandoned {
                return Ok(Err(BodyError::Aborted));
            }
            if waited {
                // It was not the client who was slow.
                upload.pace.held_back();
            }
            let piece = match upload.first.take() {
                Some(first) => Some(first),
                None => tokio::select! {
                    biased;
                    piece = self.next() => piece?,
                    () = abandoned(&upload.feed) => return Ok(Err(BodyError::Aborted)),
                    () = poll_fn(|context| upload.pace.poll_over(context)) => return Err(Unread::TimedOut),
                },
            };
            match piece {
                Some(Piece::Data(data)) => {
                    let octets = data.len() as u64;
                    upload.pace.came(data.len());
                    if let Some(left) = &mut upload.left {
                        *left = left.checked_sub(octets).ok_or(Broken::Stream(Code::MESSAGE_ERROR))?;
                    }
                    match upload.allowance.checked_sub(octets) {
                        Some(less) => upload.allowance = less,
                        None => return Ok(Err(BodyError::TooLarge)),
                    }
                    upload.feed.push(data);
                }
                Some(Piece::Trailers(section)) => upload.feed.push_trailers(read_trailers(&section, limits)?),
                Some(Piece::Head(_)) => return Err(Broken::Connection(Code::FRAME_UNEXPECTED).into()),
                None if upload.left.is_some_and(|left| left > 0) => {
                    return Err(Broken::Stream(Code::MESSAGE_ERROR).into());
                }
                None => return Ok(Ok(())),
            }
        }
    }

    /// Waits until the client resets its half; never, if all of it is here.
    pub(super) async fn taken_back(&mut self) {
        taken_back(&mut self.receive).await;
    }

    /// Asks the client to send no more, unless it has ended.
    pub(super) fn stop(&mut self, code: Code) {
        if !self.ended {
            // Fails only for a stream that has ended.
            self.receive.stop(varint(code)).ok();
        }
    }
}

fn some(piece: Piece) -> Follows {
    Follows::Body(Some(piece))
}

/// Waits until the client resets its half of a stream; never, if all of it is here.
async fn taken_back(receive: &mut RecvStream) {
    if receive.received_reset().await == Ok(None) {
        std::future::pending::<()>().await;
    }
}

/// Waits until nobody reads a body any more.
async fn abandoned(feed: &BodyFeed) {
    poll_fn(|context| match feed.poll_room(context) {
        Poll::Ready(Room::Abandoned) => Poll::Ready(()),
        _ => Poll::Pending,
    })
    .await;
}

fn has_usually_no_body(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::DELETE, Method::TRACE, Method::CONNECT]
        .contains(method)
}

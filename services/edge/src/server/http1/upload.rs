//! A request's body while it is read from its connection.

use std::task::{Context, Poll};

use bytes::BytesMut;
use proxima_http1::{BodyDecoder, Decoded, Framing, RequestHead};
use proxima_pipeline::{Body, BodyError};

use crate::server::inbound::{BodyFeed, Room, body_feed};
use crate::server::{BODY_PROGRESS_BYTES_MIN, ServerContext};

/// Octets of a body that nobody wants which are read all the same, so that the connection can be used again.
const DISCARD_BYTES_MAX: u64 = 64 * 1024;

/// What can be done next for a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    /// Read more.
    NeedMore,
    /// Wait for its reader to take some of it.
    Waiting,
    /// Nothing: nobody reads it, and it is too long to throw away.
    Stuck,
    /// It has ended.
    Ended,
}

/// Whether the client waits for `100 Continue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invitation {
    NotNeeded,
    Owed,
    Withheld,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Well,
    Badly,
}

pub(super) struct Upload {
    decoder: BodyDecoder,
    feed: BodyFeed,
    invitation: Invitation,
    announced: Option<u64>,
    /// Octets that may still come before it is too long.
    allowance: u64,
    discarded: u64,
    /// Octets since the last that counted as progress.
    fresh: usize,
    end: Option<End>,
    /// Whether the last attempt to move it on found nobody who takes it.
    blocked: bool,
}

impl Upload {
    /// The body of this request, if it has one, and what the stages get of it.
    pub(super) fn begin(head: &RequestHead, server: &ServerContext) -> (Option<Self>, Body) {
        if head.framing.is_empty() {
            return (None, Body::empty());
        }
        let announced = match head.framing {
            Framing::Length(length) => Some(length),
            _ => None,
        };
        let (feed, body) = body_feed(announced);
        let upload = Self {
            decoder: BodyDecoder::new(head.framing, &server.limits),
            feed,
            invitation: if head.expect_continue { Invitation::Owed } else { Invitation::NotNeeded },
            announced,
            allowance: server.request_body_bytes_max,
            discarded: 0,
            fresh: 0,
            end: None,
            blocked: false,
        };
        (Some(upload), body)
    }

    /// Its length, if that was announced.
    pub(super) const fn announced(&self) -> Option<u64> {
        self.announced
    }

    pub(super) const fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Whether it has ended, and where it should: only then is what follows a request.
    pub(super) fn ended_well(&self) -> bool {
        self.end == Some(End::Well)
    }

    /// Whether it can be expected to end well although its answer is written now.
    pub(super) fn may_end_well(&self) -> bool {
        match self.end {
            Some(end) => end == End::Well,
            None if self.invitation != Invitation::NotNeeded => false,
            None => {
                !self.feed.is_abandoned()
                    || self.decoder.remaining().is_some_and(|left| left <= DISCARD_BYTES_MAX)
            }
        }
    }

    /// Whether nobody takes what has come: its reader is slow, or gone.
    pub(super) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Moves what is in the buffer on to the reader.
    pub(super) fn feed(&mut self, buffer: &mut BytesMut, context: &mut Context<'_>) -> Feed {
        let feed = self.try_feed(buffer, context);
        self.blocked = matches!(feed, Feed::Waiting | Feed::Stuck);
        feed
    }

    fn try_feed(&mut self, buffer: &mut BytesMut, context: &mut Context<'_>) -> Feed {
        loop {
            let Poll::Ready(room) = self.feed.poll_room(context) else { return Feed::Waiting };
            if room == Room::Abandoned
                && (self.discarded > DISCARD_BYTES_MAX || self.invitation != Invitation::NotNeeded)
            {
                return Feed::Stuck;
            }
            match self.decoder.decode(buffer) {
                Ok(Decoded::Data(data)) => {
                    let length = data.len() as u64;
                    self.fresh += data.len();
                    // Who sends without waiting does not need to be invited.
                    self.invitation = Invitation::NotNeeded;
                    match self.allowance.checked_sub(length) {
                        Some(left) => self.allowance = left,
                        None => return self.fail(BodyError::TooLarge),
                    }
                    match room {
                        Room::Open => self.feed.push(data),
                        Room::Abandoned => self.discarded += length,
                    }
                }
                Ok(Decoded::Trailers(trailers)) => self.feed.push_trailers(trailers),
                Ok(Decoded::End) => {
                    self.feed.end(Ok(()));
                    self.end = Some(End::Well);
                    return Feed::Ended;
                }
                Ok(Decoded::NeedMore) => return Feed::NeedMore,
                Err(_) => return self.fail(BodyError::Malformed),
            }
        }
    }

    /// Whether `100 Continue` is to be written now; said once.
    pub(super) fn invites(&mut self) -> bool {
        let now = self.invitation == Invitation::Owed && self.feed.is_wanted();
        if now {
            self.invitation = Invitation::NotNeeded;
        }
        now
    }

    /// The answer is being written: it is too late for `100 Continue`.
    pub(super) fn withhold_invitation(&mut self) {
        if self.invitation == Invitation::Owed {
            self.invitation = Invitation::Withheld;
        }
    }

    /// Whether the client rightly sends nothing.
    pub(super) fn is_held_back(&self) -> bool {
        self.invitation != Invitation::NotNeeded
    }

    /// Whether enough came since the last time to give the client more time.
    pub(super) fn progressed(&mut self) -> bool {
        let enough = self.fresh >= BODY_PROGRESS_BYTES_MIN;
        if enough {
            self.fresh = 0;
        }
        enough
    }

    /// Nothing came for too long.
    pub(super) fn time_out(&mut self) {
        self.fail(BodyError::TimedOut);
    }

    fn fail(&mut self, error: BodyError) -> Feed {
        self.feed.end(Err(error));
        self.end = Some(End::Badly);
        Feed::Ended
    }
}

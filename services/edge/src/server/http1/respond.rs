//! Writing an answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use http::header::{HeaderMap, HeaderValue};
use http::{StatusCode, Version};
use http_body::Body as _;
use proxima_http1::{ConnectionField, Framing, bodiless, content_length, write_response_head};
use proxima_pipeline::{Body, Response};

use super::upload::Upload;
use super::{After, Connection, Gone};
use crate::server::Transport;
use crate::server::outbound::Pieces;

/// What of a request decides how its answer is written.
pub(super) struct Asker {
    pub(super) version: Version,
    /// By `HEAD`: the answer has no body.
    pub(super) head_only: bool,
    /// Whether another request may follow.
    pub(super) keep_alive: bool,
    /// Whether a switch to WebSocket was asked for.
    pub(super) websocket: bool,
}

/// How an answer's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    framing: Framing,
    /// Whether a body is written at all.
    body: bool,
}

impl Plan {
    fn new(asker: &Asker, status: StatusCode, headers: &HeaderMap, body: &Body) -> Self {
        if bodiless(status) {
            return Self { framing: Framing::None, body: false };
        }
        if asker.head_only {
            // What the answer to GET would declare, if that is known; else nothing.
            let declared = body.length().filter(|&length| length > 0);
            let declared = declared.or_else(|| content_length(headers).ok().flatten());
            return Self { framing: declared.map_or(Framing::UntilClose, Framing::Length), body: false };
        }
        let framing = match body.length() {
            Some(length) => Framing::Length(length),
            None if asker.version == Version::HTTP_10 => Framing::UntilClose,
            None => Framing::Chunked,
        };
        Self { framing, body: true }
    }

    /// Whether the client sees where the answer ends without the connection's end.
    fn is_delimited(self) -> bool {
        !self.body || self.framing != Framing::UntilClose
    }
}

/// Why an answer was not written to its end.
enum Broken {
    Gone,
    /// Its body failed.
    Cut,
}

impl From<Gone> for Broken {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl<T: Transport> Connection<T> {
    /// Writes the answer, and says how the connection goes on.
    pub(super) async fn respond(
        &mut self,
        asker: &Asker,
        response: Response,
        mut upload: Option<Upload>,
    ) -> After {
        let Response { status, mut headers, body, upgraded, .. } = response;
        if let Some(upload) = &mut upload {
            upload.withhold_invitation();
        }
        if let (StatusCode::SWITCHING_PROTOCOLS, true, Some(origin)) = (status, asker.websocket, upgraded) {
            let field = ConnectionField::Upgrade(HeaderValue::from_static("websocket"));
            write_response_head(status, &headers, Framing::None, &field, self.out.staged());
            return match poll_fn(|context| self.poll_out(context)).await {
                Ok(()) => After::Relay(origin, None),
                Err(Gone) => After::Gone,
            };
        }
        self.context.put_date(&mut headers);
        let plan = Plan::new(asker, status, &headers, &body);
        let keep_alive = asker.keep_alive
            && plan.is_delimited()
            && !self.drain.is_cancelled()
            && upload.as_ref().is_none_or(Upload::may_end_well);
        let field = match (keep_alive, asker.version) {
            (false, _) => ConnectionField::Close,
            (true, Version::HTTP_10) => ConnectionField::KeepAlive,
            (true, _) => ConnectionField::Absent,
        };
        write_response_head(status, &headers, plan.framing, &field, self.out.staged());
        drop(headers);
        match self.write_answer(plan, body, &mut upload).await {
            Ok(()) if keep_alive => self.finish_upload(upload).await,
            Ok(()) => After::Close,
            Err(Broken::Gone) => {
                self.context.metrics.client_gone();
                After::Gone
            }
            Err(Broken::Cut) => {
                self.context.metrics.answer_cut();
                if !plan.is_delimited() {
                    self.io.reset_on_close();
                }
                After::Gone
            }
        }
    }

    async fn write_answer(
        &mut self,
        plan: Plan,
        body: Body,
        upload: &mut Option<Upload>,
    ) -> Result<(), Broken> {
        let pieces = if plan.framing == Framing::Chunked { Pieces::Chunked } else { Pieces::Plain };
        if !plan.body || body.is_empty() && pieces == Pieces::Plain {
            drop(body);
        } else if let Some(bytes) = body.as_full() {
            self.out.push(bytes.clone(), Pieces::Plain);
        } else {
            return self.stream(body, pieces, upload).await;
        }
        Ok(poll_fn(|context| self.poll_out(context)).await?)
    }

    /// Writes a body piece by piece, while watching the reading side.
    async fn stream(
        &mut self,
        mut body: Body,
        pieces: Pieces,
        upload: &mut Option<Upload>,
    ) -> Result<(), Broken> {
        let mut left = body.length();
        let mut done = false;
        poll_fn(|context| {
            loop {
                let mut starved = false;
                while !done && !starved && self.out.has_room() {
                    match Pin::new(&mut body).poll_frame(context) {
                        Poll::Pending => starved = true,
                        Poll::Ready(frame) => match self.stage_frame(frame, pieces, &mut left) {
                            Ok(ended) => done = ended,
                            Err(broken) => return Poll::Ready(Err(broken)),
                        },
                    }
                }
                match self.poll_out(context) {
                    Poll::Ready(Ok(())) if done => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(())) if !starved => {}
                    Poll::Ready(Err(Gone)) => return Poll::Ready(Err(Broken::Gone)),
                    _ => break,
                }
            }
            self.poll_inbound(upload, context).map(|Gone| Err(Broken::Gone))
        })
        .await
    }

    /// Puts one frame of a body into the queue; whether it was the last.
    fn stage_frame(
        &mut self,
        frame: Option<Result<http_body::Frame<bytes::Bytes>, proxima_pipeline::BodyError>>,
        pieces: Pieces,
        left: &mut Option<u64>,
    ) -> Result<bool, Broken> {
        let trailers = match frame {
            Some(Err(_)) => return Err(Broken::Cut),
            None => None,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    if let Some(left) = left {
                        *left = left.checked_sub(data.len() as u64).ok_or(Broken::Cut)?;
                    }
                    self.out.push(data, pieces);
                    return Ok(false);
                }
                Err(frame) => frame.into_trailers().ok(),
            },
        };
        if left.is_some_and(|left| left > 0) {
            return Err(Broken::Cut);
        }
        if pieces == Pieces::Chunked {
            self.out.push_end(trailers.as_ref());
        }
        Ok(true)
    }

    /// Reads the rest of a body whose request has been answered, if that is little.
    async fn finish_upload(&mut self, mut upload: Option<Upload>) -> After {
        poll_fn(|context| {
            let settled = |upload: &Option<Upload>| match upload {
                None => Some(After::Next),
                Some(upload) if upload.ended_well() => Some(After::Next),
                Some(upload) if upload.has_ended() || upload.is_blocked() => Some(After::Close),
                Some(_) => None,
            };
            if let Some(after) = settled(&upload) {
                return Poll::Ready(after);
            }
            if self.poll_inbound(&mut upload, context).is_ready() {
                return Poll::Ready(After::Gone);
            }
            settled(&upload).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

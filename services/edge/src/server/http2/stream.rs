//! One stream: its request, its exchange, its answer.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::EXPECT;
use http::{Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use proxima_pipeline::{Body, BodyError, Exchange, Interim, Interims, Protocol, Response};
use tokio::time::Instant;

use crate::deadline::Deadline;
use crate::http1::may_be_trailer;
use crate::observe::response_head_bytes;
use crate::server::admit::{Asked, fault_of};
use crate::server::message::{asked, final_response, response_head};
use crate::server::{BODY_PROGRESS_BYTES_MIN, Peer, ServerContext};

/// The stream cannot be written to any more, or its answer's body failed.
struct Ended;

/// Serves one stream.
pub(super) async fn serve(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    peer: Peer,
    server: Arc<ServerContext>,
) {
    let _in_flight = server.metrics.begin_exchange();
    let (head, body) = request.into_parts();
    // Who asks first is invited at once: its window, not this, is what holds it back.
    if !body.is_end_stream() && head.headers.get(EXPECT).is_some_and(|value| value == "100-continue") {
        let mut invitation = http::Response::new(());
        *invitation.status_mut() = StatusCode::CONTINUE;
        respond.send_informational(invitation).ok();
    }
    let head_only = head.method == Method::HEAD;
    let sent = Arc::new(AtomicU64::new(0));
    let mut exchange = match asked(head, Protocol::Http2) {
        Ok(asked) => {
            let body = Incoming::body(body, &asked, &server);
            let (mut exchange, fault) = server.admit(&peer, asked, body, &sent);
            match fault {
                Some(fault) => exchange.response = Some(server.refusal(&fault, &exchange)),
                None => {
                    if run(&server, &mut exchange, &mut respond).await.is_err() {
                        server.metrics.client_gone();
                        return;
                    }
                }
            }
            exchange
        }
        Err(error) => {
            server.metrics.refused(error);
            let mut exchange = server.unreadable(&peer, Protocol::Http2, &sent);
            exchange.response = Some(server.refusal(&fault_of(error), &exchange));
            exchange
        }
    };
    exchange.request_body = Body::empty();
    let response = final_response(&mut exchange);
    server.metrics.answered(Protocol::Http2, response.status);
    exchange.answered(&response);
    if write(&server, response, head_only, &mut respond, &sent).await.is_err() {
        server.metrics.answer_cut();
    }
}

/// Runs the pipeline, unless the client resets the stream first.
async fn run(
    server: &ServerContext,
    exchange: &mut Exchange,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), Ended> {
    let interims = Interims::default();
    exchange.interims = Some(interims.clone());
    let mut run = pin!(server.pipeline.run(exchange));
    poll_fn(|context| {
        if run.as_mut().poll(context).is_ready() {
            while let Some(interim) = interims.take() {
                send_interim(interim, respond);
            }
            return Poll::Ready(Ok(()));
        }
        while let Some(interim) = interims.poll_take(context) {
            send_interim(interim, respond);
        }
        respond.poll_reset(context).map(|_| Err(Ended))
    })
    .await
}

/// Sends an answer before the answer. If that fails, so will the answer.
fn send_interim(Interim { status, headers }: Interim, respond: &mut SendResponse<Bytes>) {
    let mut head = http::Response::new(());
    *head.status_mut() = status;
    *head.headers_mut() = headers;
    respond.send_informational(head).ok();
}

/// Writes the answer.
async fn write(
    server: &ServerContext,
    response: Response,
    head_only: bool,
    respond: &mut SendResponse<Bytes>,
    sent: &AtomicU64,
) -> Result<(), Ended> {
    let (head, body) = response_head(server, response, head_only);
    let ends = body.is_empty();
    let head_bytes = response_head_bytes(head.headers());
    let mut stream = respond.send_response(head, ends).map_err(|_| Ended)?;
    sent.fetch_add(head_bytes, Ordering::Relaxed);
    if ends {
        return Ok(());
    }
    let written = write_body(server, body, &mut stream, sent).await;
    if written.is_err() {
        // The client must not take for whole what is not.
        stream.send_reset(Reason::INTERNAL_ERROR);
    }
    written
}

async fn write_body(
    server: &ServerContext,
    mut body: Body,
    stream: &mut SendStream<Bytes>,
    sent: &AtomicU64,
) -> Result<(), Ended> {
    let mut left = body.length();
    loop {
        let frame = poll_fn(|context| {
            if let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(context) {
                return Poll::Ready(Ok(frame));
            }
            stream.poll_reset(context).map(|_| Err(Ended))
        })
        .await?;
        let Some(frame) = frame else {
            if left.is_some_and(|left| left > 0) {
                return Err(Ended);
            }
            return stream.send_data(Bytes::new(), true).map_err(|_| Ended);
        };
        match frame.map_err(|_| Ended)?.into_data() {
            Ok(data) => {
                left = left.map(|left| left.checked_sub(data.len() as u64).ok_or(Ended)).transpose()?;
                let last = left == Some(0);
                send(server, data, last, stream, sent).await?;
                if last {
                    return Ok(());
                }
            }
            Err(frame) => {
                let trailers = frame.into_trailers().map_err(|_| Ended)?;
                return stream.send_trailers(trailers).map_err(|_| Ended);
            }
        }
    }
}

/// Sends a piece as the client's windows allow, within the time that it has for opening them: a client that opens them
/// by single octets gets no more.
async fn send(
    server: &ServerContext,
    mut data: Bytes,
    last: bool,
    stream: &mut SendStream<Bytes>,
    sent: &AtomicU64,
) -> Result<(), Ended> {
    let mut deadline = Deadline::default();
    let mut fresh = 0;
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let capacity = poll_fn(|context| {
            // What was granted before but not used is still there.
            if stream.capacity() > 0 {
                return Poll::Ready(Ok(stream.capacity()));
            }
            match stream.poll_capacity(context) {
                Poll::Ready(Some(Ok(capacity))) if capacity > 0 => return Poll::Ready(Ok(capacity)),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Ended)),
                Poll::Ready(Some(Ok(_))) => context.waker().wake_by_ref(),
                Poll::Pending => {}
            }
            if fresh >= BODY_PROGRESS_BYTES_MIN || !deadline.is_set() {
                fresh = 0;
                deadline.set(Instant::now() + server.timeouts.write_idle);
            }
            if stream.poll_reset(context).is_ready() {
                return Poll::Ready(Err(Ended));
            }
            deadline.poll(context).map(|()| Err(Ended))
        })
        .await?;
        let piece = data.split_to(capacity.min(data.len()));
        let length = piece.len();
        fresh += length;
        let ends = last && data.is_empty();
        stream.send_data(piece, ends).map_err(|_| Ended)?;
        sent.fetch_add(length as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// A request's body by HTTP/2: pulled, so that the client's window opens only as octets are taken.
struct Incoming {
    stream: RecvStream,
    left: Option<u64>,
    allowance: u64,
    fresh: usize,
    deadline: Deadline,
    idle: std::time::Duration,
    state: Reading,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Data,
    Trailers,
    Done,
}

impl Incoming {
    fn body(stream: RecvStream, asked: &Asked, server: &ServerContext) -> Body {
        if stream.is_end_stream() {
            return Body::empty();
        }
        Body::stream(Self {
            stream,
            left: asked.body_bytes,
            allowance: server.request_body_bytes_max,
            fresh: 0,
            deadline: Deadline::default(),
            idle: server.timeouts.body_idle,
            state: Reading::Data,
        })
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.state == Reading::Data {
            match self.stream.poll_data(context) {
                Poll::Pending => {
                    if self.fresh >= BODY_PROGRESS_BYTES_MIN || !self.deadline.is_set() {
                        self.fresh = 0;
                        self.deadline.set(Instant::now() + self.idle);
                    }
                    ready!(self.deadline.poll(context));
                    return Poll::Ready(Some(Err(BodyError::TimedOut)));
                }
                Poll::Ready(Some(Ok(data))) => return Poll::Ready(Some(self.took(data).map(Frame::data))),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(broken(&error)))),
                Poll::Ready(None) => self.state = Reading::Trailers,
            }
        }
        match ready!(self.stream.poll_trailers(context)) {
            Ok(Some(trailers)) => {
                self.state = Reading::Done;
                // What frames or routes a message comes too late here (RFC 9110, 6.5.1).
                let good = trailers.keys().all(may_be_trailer);
                Poll::Ready(Some(if good {
                    Ok(Frame::trailers(trailers))
                } else {
                    Err(BodyError::Malformed)
                }))
            }
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(broken(&error)))),
        }
    }

    fn took(&mut self, data: Bytes) -> Result<Bytes, BodyError> {
        let length = data.len();
        self.fresh += length;
        self.allowance = self.allowance.checked_sub(length as u64).ok_or(BodyError::TooLarge)?;
        self.left = self.left.map(|left| left.saturating_sub(length as u64));
        // Fails only for more than was received.
        self.stream.flow_control().release_capacity(length).ok();
        Ok(data)
    }
}

fn broken(error: &h2::Error) -> BodyError {
    match error.reason() {
        Some(Reason::PROTOCOL_ERROR) => BodyError::WrongLength,
        _ => BodyError::Aborted,
    }
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.state == Reading::Done {
            return Poll::Ready(None);
        }
        let frame = ready!(self.poll_next(context));
        if !matches!(frame, Some(Ok(_))) {
            self.state = Reading::Done;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.state == Reading::Done || self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

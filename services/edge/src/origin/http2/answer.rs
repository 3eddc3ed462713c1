//! One request by HTTP/2, and its answer.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Request, Uri, Version, header, uri::Scheme};
use http_body::{Body as HttpBody, Frame};
use proxima_chassis::Deadline;
use proxima_http1::may_be_trailer;
use proxima_pipeline::{Body, BodyError, Fault, Response, strip_hop_by_hop};
use tokio::time::Instant as TokioInstant;

use super::Connection;
use crate::origin::client::Call;

impl Connection {
    /// Asks, and waits for the head of the answer; what is left of both goes on with the answer's body.
    pub(in crate::origin) async fn ask(self, call: Call<'_>, body: Body) -> Result<Response, Fault> {
        let Self { sender, used, timeouts } = self;
        let idle = timeouts.call_idle;
        let request = head(call)?;
        let ready = tokio::time::timeout(timeouts.queue, sender.ready()).await;
        let mut sender = ready.map_err(|_| Fault::Overloaded)?.map_err(|error| fault(&error))?;
        let ends = body.is_empty();
        let (mut answer, stream) = sender.send_request(request, ends).map_err(|error| fault(&error))?;
        let mut upload =
            Upload { stream, body: (!ends).then_some(body), waiting: Bytes::new(), progressed: false };
        let mut deadline = Deadline::default();
        deadline.set(TokioInstant::now() + idle);
        let answer = std::future::poll_fn(|context| {
            if let Poll::Ready(Err(error)) = upload.poll_send(context) {
                return Poll::Ready(Err(Fault::of_request_body(error)));
            }
            if let Poll::Ready(answer) = Pin::new(&mut answer).poll(context) {
                return Poll::Ready(answer.map_err(|error| fault(&error)));
            }
            if std::mem::take(&mut upload.progressed) {
                deadline.set(TokioInstant::now() + idle);
            }
            ready!(deadline.poll(context));
            Poll::Ready(Err(Fault::OriginTimeout))
        })
        .await?;
        let (parts, stream) = answer.into_parts();
        let mut headers = parts.headers;
        strip_hop_by_hop(&mut headers);
        deadline.clear();
        let body = if stream.is_end_stream() && upload.body.is_none() {
            Body::empty()
        } else {
            let reading = Reading::Data;
            Body::stream(Answer { stream, upload, deadline, idle, reading, used: InUse(used) })
        };
        Ok(Response { status: parts.status, headers, body, ..Response::default() })
    }
}

fn head(call: Call<'_>) -> Result<Request<()>, Fault> {
    const UNWRITABLE: Fault = Fault::BadRequest("it cannot be written as HTTP/2");
    let host = call.headers.get(header::HOST).ok_or(UNWRITABLE)?;
    let uri = Uri::builder()
        .scheme(Scheme::HTTPS)
        .authority(host.as_bytes())
        .path_and_query(call.target.clone())
        .build()
        .map_err(|_| UNWRITABLE)?;
    let mut request = Request::new(());
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    *headers = call.headers.clone();
    headers.remove(header::HOST);
    // What gRPC says to find out whether all on the way let trailers through. We do.
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    Ok(request)
}

/// What is left of a request's body.
struct Upload {
    stream: SendStream<Bytes>,
    /// `None` once its end has been sent, or the origin wants no more.
    body: Option<Body>,
    /// Of a piece that the origin has no room for yet.
    waiting: Bytes,
    progressed: bool,
}

impl Upload {
    /// Sends what there is and the origin has room for.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while let Some(body) = &mut self.body {
            if !self.waiting.is_empty() {
                if self.stream.capacity() == 0 {
                    self.stream.reserve_capacity(self.waiting.len());
                    match ready!(self.stream.poll_capacity(context)) {
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => self.body = None,
                    }
                    continue;
                }
                let piece = self.waiting.split_to(self.stream.capacity().min(self.waiting.len()));
                self.send(|stream| stream.send_data(piece, false), false);
                continue;
            }
            match ready!(Pin::new(body).poll_frame(context)) {
                None => self.send(|stream| stream.send_data(Bytes::new(), true), true),
                Some(Err(error)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    self.body = None;
                    return Poll::Ready(Err(error));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.waiting = data,
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        self.send(|stream| stream.send_trailers(trailers), true);
                    }
                },
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whatever fails here is told by the answer, too.
    fn send(&mut self, what: impl FnOnce(&mut SendStream<Bytes>) -> Result<(), h2::Error>, ends: bool) {
        self.progressed = true;
        if what(&mut self.stream).is_err() || ends {
            self.body = None;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Data,
    Trailers,
    Done,
}

/// Keeps the connection from being idle, and tells since when it is.
struct InUse(Arc<Mutex<Instant>>);

impl Drop for InUse {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// An answer's body. Whoever pulls it also sends what is left of the request's.
struct Answer {
    stream: RecvStream,
    upload: Upload,
    deadline: Deadline,
    /// For how long nothing may move in either direction.
    idle: std::time::Duration,
    reading: Reading,
    #[expect(dead_code, reason = "held until the answer is read")]
    used: InUse,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.reading == Reading::Done {
            return Poll::Ready(None);
        }
        if let Poll::Ready(Err(error)) = this.upload.poll_send(context) {
            return Poll::Ready(Some(Err(error)));
        }
        if std::mem::take(&mut this.upload.progressed) {
            this.deadline.clear();
        }
        let Poll::Ready(frame) = this.poll_read(context) else {
            if !this.deadline.is_set() {
                this.deadline.set(TokioInstant::now() + this.idle);
            }
            ready!(this.deadline.poll(context));
            return Poll::Ready(Some(Err(BodyError::TimedOut)));
        };
        this.deadline.clear();
        Poll::Ready(frame)
    }
}

impl Answer {
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.reading == Reading::Data {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(data)) => {
                    // Fails only for more than was received.
                    self.stream.flow_control().release_capacity(data.len()).ok();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(BodyError::Aborted))),
                None => self.reading = Reading::Trailers,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(context));
        self.reading = Reading::Done;
        Poll::Ready(match trailers {
            Ok(None) => None,
            Ok(Some(trailers)) if trailers.keys().all(may_be_trailer) => Some(Ok(Frame::trailers(trailers))),
            Ok(Some(_)) => Some(Err(BodyError::Malformed)),
            Err(_) => Some(Err(BodyError::Aborted)),
        })
    }
}

/// What a broken stream or connection says about the origin.
fn fault(error: &h2::Error) -> Fault {
    if error.is_library() { Fault::OriginMalformed("it breaks HTTP/2") } else { Fault::OriginClosed }
}

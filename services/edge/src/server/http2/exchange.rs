//! One exchange: its request, the pipeline, its answer.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use proxima_http1::Http1Error;
use proxima_pipeline::{Body, BodyError, Exchange, Interim, Interims, Protocol, RayId, Response};

use super::stream::{Answering, Ended, Next, Reading, Stream};
use super::tunnel;
use crate::observe::Recorded;
use crate::server::admit::{Asked, fault_of};
use crate::server::message::{asked, final_response, response_head};
use crate::server::pace::Pace;
use crate::server::{Peer, ServerContext};

/// Octets of a whole body that is left to the connection: its exchange does not wait until it is written.
const LEFT_BYTES_MAX: usize = 16 * 1024;

/// Serves one stream. `follows`: its request, which may have its name already, has a body.
pub(super) async fn serve(
    (request, ray): (Request<()>, Option<RayId>),
    follows: bool,
    stream: Arc<Stream>,
    peer: Peer,
    server: Arc<ServerContext>,
) {
    let _in_flight = server.metrics.begin_exchange();
    let answering = Answering::new(Arc::clone(&stream));
    let (head, ()) = request.into_parts();
    // Who asks first is invited at once: its window, not this, is what holds it back.
    if follows && head.headers.get(EXPECT).is_some_and(|value| value == "100-continue") {
        answering.interim(Interim { status: StatusCode::CONTINUE, headers: HeaderMap::new() });
    }
    let head_only = head.method == Method::HEAD;
    let mut exchange = match asked(head, Protocol::Http2) {
        Ok((asked, Some(connect))) => {
            let asked = (asked, connect);
            // Boxed: others are not to carry about what a tunnel takes.
            return Box::pin(tunnel::serve(asked, follows, stream, answering, &peer, &server)).await;
        }
        Ok((asked, None)) => {
            let asked = Asked { ray, ..asked };
            let pace = || Pace::of(&asked.headers, &server.timeouts, answering.sent());
            let body = if follows { Incoming::body(stream, &asked, pace(), &server) } else { Body::empty() };
            let (mut exchange, fault) = server.admit(&peer, asked, body, answering.sent());
            match fault {
                Some(fault) => exchange.response = Some(server.refusal(&fault, &exchange)),
                None => {
                    if run(&server, &mut exchange, &answering).await.is_err() {
                        server.metrics.client_gone();
                        return;
                    }
                }
            }
            exchange
        }
        Err(error) => refused(error, &peer, &server, &answering),
    };
    exchange.request_body = Body::empty();
    answer(&server, exchange, head_only, answering).await;
}

/// Answers a request whose head could not be taken.
pub(super) async fn refuse(error: Http1Error, stream: Arc<Stream>, peer: Peer, server: Arc<ServerContext>) {
    let _in_flight = server.metrics.begin_exchange();
    let answering = Answering::new(stream);
    let exchange = refused(error, &peer, &server, &answering);
    answer(&server, exchange, false, answering).await;
}

fn refused(error: Http1Error, peer: &Peer, server: &ServerContext, answering: &Answering) -> Recorded {
    server.metrics.refused(error);
    let mut exchange = server.unreadable(peer, Protocol::Http2, answering.sent());
    exchange.response = Some(server.refusal(&fault_of(error), &exchange));
    exchange
}

/// Runs the pipeline, unless the client resets the stream first.
pub(super) async fn run(
    server: &ServerContext,
    exchange: &mut Exchange,
    answering: &Answering,
) -> Result<(), Ended> {
    let interims = Interims::default();
    exchange.interims = Some(interims.clone());
    let mut run = pin!(server.pipeline.run(exchange));
    poll_fn(|context| {
        if run.as_mut().poll(context).is_ready() {
            while let Some(interim) = interims.take() {
                answering.interim(interim);
            }
            return Poll::Ready(Ok(()));
        }
        while let Some(interim) = interims.poll_take(context) {
            answering.interim(interim);
        }
        answering.poll_gone(context).map(|()| Err(Ended))
    })
    .await
}

/// Gives the answer that the exchange has come to.
pub(super) async fn answer(
    server: &ServerContext,
    mut exchange: Recorded,
    head_only: bool,
    mut answering: Answering,
) {
    let response = final_response(&mut exchange);
    server.metrics.answered(Protocol::Http2, response.status);
    exchange.answered(&response);
    match write(server, response, head_only, &mut answering).await {
        Ok(()) => answering.finish(Box::new(exchange)),
        Err(Ended) => server.metrics.answer_cut(),
    }
}

/// Writes the answer.
async fn write(
    server: &ServerContext,
    response: Response,
    head_only: bool,
    answering: &mut Answering,
) -> Result<(), Ended> {
    let (head, body) = response_head(server, response, head_only);
    let (http::response::Parts { status, headers, .. }, ()) = head.into_parts();
    if body.is_empty() {
        answering.head(status, headers, None, true);
        return Ok(());
    }
    if let Some(data) = body.as_full().cloned() {
        let left = data.len() <= LEFT_BYTES_MAX;
        answering.head(status, headers, Some(data), true);
        return if left { Ok(()) } else { answering.room(true, server).await };
    }
    answering.head(status, headers, None, false);
    write_body(server, body, answering).await
}

async fn write_body(server: &ServerContext, mut body: Body, answering: &mut Answering) -> Result<(), Ended> {
    let mut left = body.length();
    loop {
        let frame = poll_fn(|context| {
            if let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(context) {
                return Poll::Ready(Ok(frame));
            }
            answering.poll_gone(context).map(|()| Err(Ended))
        })
        .await?;
        let Some(frame) = frame else {
            if left.is_some_and(|left| left > 0) {
                return Err(Ended);
            }
            answering.data(Bytes::new(), true);
            break;
        };
        match frame.map_err(|_| Ended)?.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                left = left.map(|left| left.checked_sub(data.len() as u64).ok_or(Ended)).transpose()?;
                let whole = left == Some(0) && body.is_end_stream();
                answering.data(data, whole);
                if whole {
                    break;
                }
                answering.room(false, server).await?;
            }
            Err(_) if left.is_some_and(|left| left > 0) => return Err(Ended),
            Err(frame) => {
                answering.trailers(frame.into_trailers().map_err(|_| Ended)?);
                break;
            }
        }
    }
    answering.room(true, server).await
}

/// A request's body by HTTP/2: pulled, so that the client's window opens only as octets are taken.
struct Incoming {
    stream: Reading,
    left: Option<u64>,
    allowance: u64,
    pace: Pace,
    done: bool,
}

impl Incoming {
    fn body(stream: Arc<Stream>, asked: &Asked, pace: Pace, server: &ServerContext) -> Body {
        Body::stream(Self {
            stream: Reading(stream),
            left: asked.body_bytes,
            allowance: server.request_body_bytes_max,
            pace,
            done: false,
        })
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.stream.poll_next(context) {
            Poll::Pending => {
                ready!(self.pace.poll_over(context));
                Poll::Ready(Some(Err(BodyError::TimedOut)))
            }
            Poll::Ready(Next::Data(data)) => Poll::Ready(Some(self.took(data).map(Frame::data))),
            Poll::Ready(Next::End(end)) => {
                self.done = true;
                Poll::Ready(end.map(|trailers| trailers.map(Frame::trailers)).transpose())
            }
        }
    }

    fn took(&mut self, data: Bytes) -> Result<Bytes, BodyError> {
        let length = data.len();
        self.pace.came(length);
        self.allowance = self.allowance.checked_sub(length as u64).ok_or(BodyError::TooLarge)?;
        self.left = self.left.map(|left| left.saturating_sub(length as u64));
        Ok(data)
    }
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let frame = ready!(self.poll_next(context));
        if !matches!(frame, Some(Ok(_))) {
            self.done = true;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

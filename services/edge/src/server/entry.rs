//! The way in for requests that come by no connection: what Workers ask of sites of other accounts here.
//!
//! Such a request is held to what a listener holds a client's to, passes all stages, and is counted and logged as one. By `https` it has
//! what a handshake would have settled: TLS 1.3, the host's name, no certificate of a client's. It leaves the server nowhere on its way,
//! so that the host's own certificate is not asked for.
//!
//! It has a client's time, too: its body has to come at a pace ([`Pace`]), and an answer that its Worker does not take ends
//! ([`Timeouts::write_idle`](super::Timeouts)), with what it comes from. Who waits for more of it may wait.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use proxima_http1::{Http1Error, Limits};
use proxima_pipeline::{
    Body, BodyError, Exchange, Fault, Protocol, Request, Response, Scheme, Stranger, TlsFacts, Upgraded,
    strip_hop_by_hop,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::admit::{Asked, fault_of};
use super::message::{asked, final_response};
use super::pace::Pace;
use super::{Peer, ServerContext};
use crate::observe::{Recorded, fields_bytes, head_bytes};

/// From where Workers of other accounts ask, as sites see it. Nobody on the Internet has it (RFC 6666): no site trusts whoever comes from
/// there, and each can tell what does.
pub(crate) const STRANGERS: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0x103);

/// Octets of an answer that are given at a time: of a larger piece its reader would seem to take nothing for as long as it is at it.
const PIECE_OCTETS_MAX: usize = 16 * 1024;

/// See the module.
#[derive(Clone)]
pub struct Entry(Arc<ServerContext>);

impl Entry {
    pub(crate) const fn new(server: Arc<ServerContext>) -> Self {
        Self(server)
    }

    /// Answers what an exchange asks for, and says what failed. Of the exchange comes along its request and its body, and nothing of what
    /// else lies in it.
    pub(crate) async fn answer(&self, from: &mut Exchange, stranger: Stranger) -> (Response, Option<Fault>) {
        let (server, sent) = (&*self.0, Arc::<AtomicU64>::default());
        let peer = peer(&from.request);
        let mut fault;
        let mut exchange = match request(from, &server.limits) {
            Ok(asked) => {
                let body = self.bounded(std::mem::take(&mut from.request_body), &asked.headers, &sent);
                let (mut exchange, refused) = server.admit(&peer, asked, body, &sent);
                exchange.extensions.insert(stranger);
                fault = refused;
                if fault.is_none() {
                    server.pipeline.run(&mut exchange).await;
                    fault = exchange.extensions.get::<Fault>().cloned();
                }
                exchange
            }
            Err(error) => {
                server.metrics.refused(error);
                fault = Some(fault_of(error));
                server.unreadable(&peer, Protocol::Http11, &sent)
            }
        };
        if let Some(fault) = fault.as_ref().filter(|_| exchange.response.is_none()) {
            exchange.response = Some(server.refusal(fault, &exchange));
        }
        exchange.request_body = Body::empty();
        let mut response = final_one(&mut exchange);
        server.metrics.entered(response.status);
        exchange.answered(&response);
        sent.fetch_add(fields_bytes(&response.headers), Ordering::Relaxed);
        // The exchange lives until its answer is read, as for clients.
        let exchange = Box::new(exchange);
        match response.upgraded.take() {
            Some(io) => response.upgraded = Some(Box::new(Switched::new(io, exchange))),
            None => {
                strip_hop_by_hop(&mut response.headers);
                let body = std::mem::take(&mut response.body);
                response.body = Body::stream(Answered::new(body, exchange, sent, server.timeouts.write_idle));
            }
        }
        (response, fault)
    }

    /// The body of a request with these fields, with the bounds that it has by a connection; `sent` counts octets of the answer.
    fn bounded(&self, body: Body, headers: &HeaderMap, sent: &Arc<AtomicU64>) -> Body {
        if body.is_empty() {
            return body;
        }
        let pace = Pace::of(headers, &self.0.timeouts, sent);
        Body::stream(Bounded { body, left: self.0.request_body_bytes_max, pace })
    }
}

fn peer(request: &Request) -> Peer {
    let tls = (request.scheme == Scheme::Https).then(|| {
        Arc::new(TlsFacts {
            version: "TLSv1.3",
            server_name: Some(Arc::clone(&request.host)),
            resumed: false,
            client_certificate: None,
        })
    });
    let local = SocketAddr::from((Ipv6Addr::UNSPECIFIED, request.scheme.default_port()));
    Peer { address: SocketAddr::from((STRANGERS, 0)), local, tls }
}

/// The request, as it would be read.
fn request(from: &Exchange, limits: &Limits) -> Result<Asked, Http1Error> {
    let request = &from.request;
    if request.target.as_str().len() > limits.target_bytes_max {
        return Err(Http1Error::TargetTooLong);
    }
    if request.headers.len() > limits.head_fields_max {
        return Err(Http1Error::TooManyFields);
    }
    if head_bytes(request) > limits.head_bytes_max as u64 {
        return Err(Http1Error::HeadTooLarge);
    }
    let uri = Uri::try_from(request.url()).map_err(|_| Http1Error::Target)?;
    let (mut head, ()) = http::Request::new(()).into_parts();
    (head.method, head.uri, head.headers) = (request.method.clone(), uri, request.headers.clone());
    let (asked, _) = asked(head, Protocol::Http11)?;
    let upgrade = request.upgrade.clone().filter(|_| from.request_body.is_empty());
    Ok(Asked { upgrade, ray: Some(from.ray.clone()), ..asked })
}

/// The final answer, which may be one that switches protocols.
fn final_one(exchange: &mut Exchange) -> Response {
    let asked = exchange.request.upgrade.is_some();
    let switches = |response: &mut Response| {
        asked && response.status == StatusCode::SWITCHING_PROTOCOLS && response.upgraded.is_some()
    };
    match exchange.response.take_if(switches) {
        Some(response) => response,
        None => final_response(exchange),
    }
}

/// A body of a request, of which only so much may come, and not too slowly.
struct Bounded {
    body: Body,
    left: u64,
    pace: Pace,
}

impl Bounded {
    /// Nothing more of it is wanted.
    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.body = Body::empty();
        Poll::Ready(Some(Err(error)))
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Pending => {
                ready!(self.pace.poll_over(context));
                return self.fail(BodyError::TimedOut);
            }
            Poll::Ready(Some(Ok(frame))) => {
                let octets = frame.data_ref().map_or(0, Bytes::len);
                self.pace.came(octets);
                match self.left.checked_sub(octets as u64) {
                    Some(left) => self.left = left,
                    None => return self.fail(BodyError::TooLarge),
                }
            }
            Poll::Ready(_) => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, whose octets are counted as they are taken.
struct Answered {
    given: Arc<Mutex<Given>>,
    sent: Arc<AtomicU64>,
    /// Who polls nothing any more does not see its time pass.
    _watched: Option<AbortOnDropHandle<()>>,
}

/// An answer as far as it was given to its reader.
struct Given {
    /// What it comes from; `None` once that has ended before its end.
    from: Option<(Body, Box<Recorded>)>,
    /// What has come, and was not given yet.
    rest: Bytes,
    /// Since when its reader has asked for nothing more. Not while it waits for that.
    left: Option<Instant>,
    /// Why it has ended, until that is told.
    cut: Option<BodyError>,
}

impl Answered {
    /// Of which the next piece is asked for within `idle`.
    fn new(body: Body, exchange: Box<Recorded>, sent: Arc<AtomicU64>, idle: Duration) -> Self {
        let is_one_piece = match body.as_full() {
            Some(octets) => octets.len() <= PIECE_OCTETS_MAX,
            None => body.is_empty(),
        };
        let (from, left) = (Some((body, exchange)), Some(Instant::now()));
        let given = Arc::new(Mutex::new(Given { from, rest: Bytes::new(), left, cut: None }));
        let watched = (!is_one_piece)
            .then(|| AbortOnDropHandle::new(tokio::spawn(cut_when_left(Arc::downgrade(&given), idle))));
        Self { given, sent, _watched: watched }
    }
}

impl Given {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some((body, _)) = &mut self.from else { return Poll::Ready(self.cut.take().map(Err)) };
        if self.rest.is_empty() {
            match ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let octets = self.rest.len().min(PIECE_OCTETS_MAX);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(octets)))))
    }
}

fn lock(given: &Mutex<Given>) -> MutexGuard<'_, Given> {
    given.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends an answer whose reader asks for nothing more for `idle`.
async fn cut_when_left(given: Weak<Mutex<Given>>, idle: Duration) {
    let mut until = Instant::now() + idle;
    loop {
        sleep_until(until).await;
        match look(&given, idle) {
            Some(later) => until = later,
            None => return,
        }
    }
}

/// When to look again; `None` where it has ended.
fn look(given: &Weak<Mutex<Given>>, idle: Duration) -> Option<Instant> {
    let (given, now) = (given.upgrade()?, Instant::now());
    let mut given = lock(&given);
    let until = given.left.unwrap_or(now) + idle;
    if until > now {
        return Some(until);
    }
    given.cut = Some(BodyError::TimedOut);
    given.rest = Bytes::new();
    let from = given.from.take();
    // What goes with it takes its time, and locks of its own.
    drop(given);
    drop(from);
    None
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut given = lock(&self.given);
        let polled = given.poll_piece(context);
        given.left = None;
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            given.left = Some(Instant::now());
            let octets = frame.data_ref().map_or(0, Bytes::len);
            self.sent.fetch_add(octets as u64, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let given = lock(&self.given);
        given.rest.is_empty() && given.from.as_ref().is_some_and(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let given = lock(&self.given);
        let Some((body, _)) = &given.from else { return SizeHint::default() };
        let (hint, rest) = (body.size_hint(), given.rest.len() as u64);
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}

/// The other side of a connection that was switched, whose octets are counted.
struct Switched {
    io: Upgraded,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    _exchange: Box<Recorded>,
}

impl Switched {
    fn new(io: Upgraded, mut exchange: Box<Recorded>) -> Self {
        let (sent, received) = exchange.relayed();
        Self { io, sent, received, _exchange: exchange }
    }
}

impl AsyncRead for Switched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        self.sent.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Switched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(context, data);
        if let Poll::Ready(Ok(octets)) = &polled {
            self.received.fetch_add(*octets as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;

//! A connection that speaks HTTP/1.1: one task, one exchange at a time, answers in the order of the requests.
//!
//! ```text
//!  next_head ─▶ a plain hit? glance ─▶ deliver ─▶ next_head …
//!      └─▶ exchange: run (pipeline) ─▶ respond ─▶ next_head …
//!                   │ both watch the reading side: body in, pipelined requests kept, client gone → dropped
//!                   └─▶ 101: relay          └─▶ close: last word, then linger
//! ```

mod glance;
mod respond;
mod upload;

use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::header::{EXPECT, HeaderValue};
use http::{Method, Version};
use proxima_chassis::Deadline;
use proxima_http1::{ConnectionField, Framing, Http1Error, RequestHead, RequestParser, write_response_head};
use proxima_pipeline::{
    Body, Client, Exchange, Fault, Interim, Interims, Protocol, RayId, Response, Upgraded, answer,
    strip_hop_by_hop,
};
use tokio::io::ReadBuf;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use self::respond::Asker;
use self::upload::{Feed, Upload};
use super::admit::{Asked, fault_of};
use super::glance::Seen;
use super::outbound::Outbound;
use super::relay::relay;
use super::transport::Rewound;
use super::{Peer, REQUESTS_PER_CONNECTION_MAX, ServerContext, Transport};
use crate::observe::Recorded;

/// Octets that one read of a head takes, on the stack: an idle connection holds no buffer.
const HEAD_READ_BYTES: usize = 8 * 1024;
/// Octets that one read of a body takes.
const BODY_READ_BYTES: usize = 32 * 1024;
/// Octets of following requests that are read while one is being answered: enough to notice that a client has gone
/// behind a few pipelined requests; a client that pipelines more waits.
const PIPELINED_BYTES_MAX: usize = 16 * 1024;
/// How long a client that got its last answer may take to read it and close.
const LINGER: Duration = Duration::from_secs(2);
/// Octets that are read and thrown away in that time.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The client has gone, or cannot be spoken to any more.
struct Gone;

/// What came where a request should begin.
enum Next {
    Head(Box<RequestHead>),
    /// One that has been answered at a glance: the answer's head waits to be written, behind so many octets of this connection.
    Seen(Seen, u64),
    Refused(Http1Error),
    /// The head took too long.
    Late,
    /// Nothing more will come.
    Ended,
}

/// How a connection goes on after an exchange.
enum After {
    Next,
    Close,
    Gone,
    /// With what counts it, once the exchange is over as one of HTTP.
    Relay(Upgraded, Option<Box<Recorded>>),
}

struct Connection<T> {
    io: T,
    /// Read, but not used yet.
    buffer: BytesMut,
    parser: RequestParser,
    out: Outbound,
    read_deadline: Deadline,
    write_deadline: Deadline,
    /// One for all exchanges: they follow each other, and each has passed on its own before its answer is written.
    interims: Interims,
    drain: CancellationToken,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    served: u32,
    /// The name of the latest request that was looked at; and whether the one that is there has it.
    ray: RayId,
    is_named: bool,
    peer: Peer,
    client: Client,
    context: Arc<ServerContext>,
}

pub(super) async fn serve<T: Transport>(
    io: T,
    buffer: BytesMut,
    peer: Peer,
    context: Arc<ServerContext>,
    drain: CancellationToken,
) {
    let draining = Box::pin(drain.clone().cancelled_owned());
    let mut connection = Connection {
        io,
        buffer,
        parser: RequestParser::default(),
        out: Outbound::default(),
        read_deadline: Deadline::default(),
        write_deadline: Deadline::default(),
        interims: Interims::default(),
        drain,
        draining,
        served: 0,
        ray: context.new_ray(),
        is_named: false,
        client: peer.client(Protocol::Http11),
        peer,
        context,
    };
    loop {
        let after = match connection.next_head().await {
            Next::Head(head) => connection.exchange(*head).await,
            Next::Seen(seen, sent_before) => connection.deliver(seen, sent_before).await,
            Next::Refused(error) => connection.refuse(error).await,
            Next::Late => connection.answer_unread(&Fault::RequestTimeout).await,
            Next::Ended => After::Gone,
        };
        match after {
            After::Next => {}
            After::Close => return connection.close().await,
            After::Gone => return,
            After::Relay(origin, mut recorded) => {
                let Connection { io, buffer, context, .. } = connection;
                let counts = recorded.as_mut().map(|recorded| recorded.relayed()).unwrap_or_default();
                let client = Rewound { before: buffer, io };
                return relay(client, origin, context.timeouts.upgrade_idle, counts).await;
            }
        }
    }
}

impl<T: Transport> Connection<T> {
    /// Reads the next request's head.
    async fn next_head(&mut self) -> Next {
        let mut begun = false;
        self.read_deadline.clear();
        let next = poll_fn(|context| {
            loop {
                match self.parser.scan(&self.buffer, &self.context.limits) {
                    Ok(true) => return Poll::Ready(self.found()),
                    Ok(false) => {}
                    Err(error) => return Poll::Ready(Next::Refused(error)),
                }
                let idle = self.parser.is_idle(&self.buffer);
                if !idle && !std::mem::replace(&mut begun, true) && self.served > 0 {
                    self.read_deadline.clear();
                }
                match self.poll_read_head(context) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::Ended),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending => {
                        // A client that has just come is not sent away: it has a request on its way to us.
                        if idle && self.served > 0 && self.draining.as_mut().poll(context).is_ready() {
                            return Poll::Ready(Next::Ended);
                        }
                        if !self.read_deadline.is_set() {
                            let timeouts = &self.context.timeouts;
                            let waits = if idle { timeouts.until_head(self.served) } else { timeouts.head };
                            self.read_deadline.set(Instant::now() + waits);
                        }
                        ready!(self.read_deadline.poll(context));
                        return Poll::Ready(if idle { Next::Ended } else { Next::Late });
                    }
                }
            }
        })
        .await;
        self.read_deadline.clear();
        next
    }

    /// A whole head is there.
    fn found(&mut self) -> Next {
        if let Some((seen, sent_before)) = self.glance() {
            return Next::Seen(seen, sent_before);
        }
        match self.parser.take(&mut self.buffer) {
            Ok(head) => Next::Head(Box::new(head)),
            Err(error) => Next::Refused(error),
        }
    }

    /// Runs the pipeline for a request and writes its answer.
    async fn exchange(&mut self, mut head: RequestHead) -> After {
        self.served += 1;
        let server = Arc::clone(&self.context);
        let _in_flight = server.metrics.begin_exchange();
        strip_hop_by_hop(&mut head.headers);
        head.headers.remove(EXPECT);
        // Only a protocol that we know is passed on: `h2c` through a proxy is a way around it.
        let websocket = head.framing.is_empty() && head.upgrade.as_ref().is_some_and(is_websocket);
        let mut asker = Asker {
            version: head.version,
            head_only: head.method == Method::HEAD,
            keep_alive: head.keep_alive && self.served < REQUESTS_PER_CONNECTION_MAX,
            websocket,
        };
        let (mut upload, body) = Upload::begin(&head, &server);
        let asked = Asked {
            protocol: protocol(head.version),
            method: head.method,
            scheme: head.scheme,
            host: head.host,
            target: head.target,
            headers: head.headers,
            body_bytes: upload.as_ref().and_then(Upload::announced),
            upgrade: websocket.then(|| Arc::from("websocket")),
            ray: std::mem::take(&mut self.is_named).then(|| self.ray.clone()),
        };
        let (mut exchange, fault) = server.admit(&self.peer, asked, body, &self.out.written);
        // HTTP/1.0 knows none (RFC 9110, 15.2).
        exchange.interims = (asker.version != Version::HTTP_10).then(|| self.interims.clone());
        match fault {
            Some(fault) => {
                exchange.response = Some(server.refusal(&fault, &exchange));
                // Whoever asks a server of the wrong name, or sends too much, is better off on a new connection.
                asker.keep_alive = false;
            }
            None => match self.run(&mut exchange, &mut upload).await {
                Ok(()) => {}
                Err(Gone) => {
                    server.metrics.client_gone();
                    return After::Gone;
                }
            },
        }
        // A body that no stage took is one that nobody will read.
        exchange.request_body = Body::empty();
        let response = final_response(&mut exchange, websocket);
        server.metrics.answered(exchange.client.protocol, response.status);
        exchange.answered(&response);
        // The exchange lives until its answer is written: stages keep guards in it, and then it is counted.
        match self.respond(&asker, response, upload).await {
            After::Relay(origin, _) => After::Relay(origin, Some(Box::new(exchange))),
            after => after,
        }
    }

    /// Runs the pipeline while watching the reading side.
    async fn run(&mut self, exchange: &mut Exchange, upload: &mut Option<Upload>) -> Result<(), Gone> {
        let server = Arc::clone(&self.context);
        let mut run = pin!(server.pipeline.run(exchange));
        poll_fn(|context| {
            // First, so that an answer that is there at once costs no look at the socket.
            if run.as_mut().poll(context).is_ready() {
                while let Some(interim) = self.interims.take() {
                    self.stage_interim(&interim);
                }
                return Poll::Ready(Ok(()));
            }
            while let Some(interim) = self.interims.poll_take(context) {
                self.stage_interim(&interim);
            }
            if self.poll_inbound(upload, context).is_ready() {
                return Poll::Ready(Err(Gone));
            }
            if !self.out.is_empty() && matches!(self.poll_out(context), Poll::Ready(Err(Gone))) {
                return Poll::Ready(Err(Gone));
            }
            Poll::Pending
        })
        .await
    }

    /// Writes an answer before the answer, in front of it.
    fn stage_interim(&mut self, interim: &Interim) {
        let Interim { status, headers } = interim;
        let staged = self.out.staged();
        write_response_head(*status, headers, Framing::None, &ConnectionField::Absent, staged);
    }

    /// Reads what the client sends while its request is being answered: the body, then what it pipelines. Ready only
    /// when the client has gone.
    fn poll_inbound(&mut self, upload: &mut Option<Upload>, context: &mut Context<'_>) -> Poll<Gone> {
        loop {
            let body = match upload {
                Some(upload) if !upload.has_ended() => match upload.feed(&mut self.buffer, context) {
                    Feed::NeedMore => Some(upload),
                    Feed::Ended => continue,
                    Feed::Waiting | Feed::Stuck => {
                        self.read_deadline.clear();
                        return Poll::Pending;
                    }
                },
                Some(upload) if !upload.ended_well() => return Poll::Pending,
                _ if self.buffer.len() >= PIPELINED_BYTES_MAX => return Poll::Pending,
                _ => None,
            };
            let read = match &body {
                Some(_) => self.poll_read_body(context),
                None => self.poll_read_head(context),
            };
            match (read, body) {
                (Poll::Ready(Ok(0) | Err(_)), _) => return Poll::Ready(Gone),
                (Poll::Ready(Ok(_)), _) => {}
                (Poll::Pending, None) => {
                    self.read_deadline.clear();
                    return Poll::Pending;
                }
                (Poll::Pending, Some(body)) => {
                    if body.invites() {
                        self.out.staged().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                    if body.progressed() {
                        self.read_deadline.clear();
                    }
                    if body.is_held_back() {
                        return Poll::Pending;
                    }
                    if !self.read_deadline.is_set() {
                        self.read_deadline.set(Instant::now() + self.context.timeouts.body_idle);
                    }
                    ready!(self.read_deadline.poll(context));
                    body.time_out();
                }
            }
        }
    }

    /// Reads into the buffer by way of the stack.
    fn poll_read_head(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); HEAD_READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(context, &mut read))?;
        if self.buffer.is_empty() {
            // Lets go of the former request's octets, which its head still holds slices of.
            self.buffer = BytesMut::with_capacity(read.filled().len());
        }
        self.buffer.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Reads into the buffer directly.
    fn poll_read_body(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.reserve(BODY_READ_BYTES);
        tokio_util::io::poll_read_buf(Pin::new(&mut self.io), context, &mut self.buffer)
    }

    /// Writes all that is staged, within the time that a client has for taking it.
    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let polled = match self.out.poll_write(&mut self.io, context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.io).poll_flush(context),
            other => other,
        };
        match polled {
            Poll::Ready(Ok(())) => {
                self.write_deadline.clear();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Gone)),
            Poll::Pending => {
                if !self.write_deadline.is_set() || self.out.progressed() {
                    self.write_deadline.set(Instant::now() + self.context.timeouts.write_idle);
                }
                self.write_deadline.poll(context).map(|()| Err(Gone))
            }
        }
    }

    /// Answers a request that could not be read.
    async fn refuse(&mut self, error: Http1Error) -> After {
        self.context.metrics.refused(error);
        self.answer_unread(&fault_of(error)).await
    }

    async fn answer_unread(&mut self, fault: &Fault) -> After {
        let mut exchange = self.context.unreadable(&self.peer, Protocol::Http11, &self.out.written);
        let response = self.context.refusal(fault, &exchange);
        self.context.metrics.answered(Protocol::Http11, response.status);
        exchange.answered(&response);
        let asker =
            Asker { version: Version::HTTP_11, head_only: false, keep_alive: false, websocket: false };
        self.respond(&asker, response, None).await
    }

    /// Ends the connection so that the client hears the last answer: closes the sending half, then reads for a moment
    /// what was still on its way. Closing with unread octets would reset the connection, and the answer with it.
    async fn close(mut self) {
        let lingering = async {
            poll_fn(|context| Pin::new(&mut self.io).poll_shutdown(context)).await.ok();
            let mut discarded = 0;
            while discarded < LINGER_BYTES_MAX {
                self.buffer.clear();
                match poll_fn(|context| self.poll_read_body(context)).await {
                    Ok(0) | Err(_) => return,
                    Ok(length) => discarded += length,
                }
            }
        };
        tokio::time::timeout(LINGER, lingering).await.ok();
    }
}

/// The answer of an exchange that has been run. A switch of protocols that nobody asked for is a defect.
fn final_response(exchange: &mut Exchange, websocket: bool) -> Response {
    match exchange.response.take() {
        Some(response)
            if response.status.is_informational() && !(websocket && response.upgraded.is_some()) =>
        {
            answer(&Fault::Internal("an informational answer where a final one was due"), exchange)
        }
        Some(response) => response,
        None => answer(&Fault::Internal("the pipeline gave no answer"), exchange),
    }
}

fn is_websocket(upgrade: &HeaderValue) -> bool {
    upgrade.as_bytes().eq_ignore_ascii_case(b"websocket")
}

fn protocol(version: Version) -> Protocol {
    if version == Version::HTTP_10 { Protocol::Http10 } else { Protocol::Http11 }
}

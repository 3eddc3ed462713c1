//! One request to an origin: over which connection, how often, and what its answer means.

use std::{
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::PathAndQuery};
use proxima_http1::{
    ConnectionField, Framing, INFORMATIONAL_MAX, Limits, PulledBody, ResponseHead, ResponseParser, Upload,
    UploadError, write_request_head,
};
use proxima_pipeline::{Body, Fault, Interim, Interims, Response, Trace, strip_hop_by_hop};
use smallvec::SmallVec;
use tokio::time::Instant as TokioInstant;

use super::{
    OriginTimeouts,
    body::AnsweringOrigin,
    connection::Connection,
    metrics::OriginMetrics,
    pool::{Destination, Pool},
    tls::OriginTls,
    upgraded::UpgradedOrigin,
};

/// Addresses of one origin that are tried for one request.
pub(super) const ADDRESSES_TRIED_MAX: usize = 4;
/// As which stage the client writes into traces.
const STAGE: &str = "origin";

/// What is asked of an origin, but for the body.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) method: &'a Method,
    pub(super) target: &'a PathAndQuery,
    /// With the `Host` that the origin is to see.
    pub(super) headers: &'a HeaderMap,
    /// The protocol to which the client wants to switch.
    pub(super) upgrade: Option<&'a str>,
    /// Where answers before the answer go.
    pub(super) interims: Option<&'a Interims>,
}

/// Speaks HTTP/1.1 to origins over pooled connections.
pub(super) struct OriginClient {
    pool: Arc<Pool>,
    tls: OriginTls,
    timeouts: OriginTimeouts,
    limits: Limits,
    metrics: OriginMetrics,
}

/// Which connections will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reuse {
    /// One that was used before, if it looks usable.
    Any,
    /// The same, if the kernel says that it is usable.
    Certain,
    /// A new one.
    Never,
}

/// A request that was not answered.
struct Failure {
    fault: Fault,
    /// Whether the connection ended before any octet of an answer.
    closed_unheard: bool,
    /// Whether the kernel took any octet of the request.
    begun: bool,
    /// The request's body, if none of it is gone.
    unsent: Option<Body>,
}

impl OriginClient {
    pub(super) const fn new(
        pool: Arc<Pool>,
        tls: OriginTls,
        timeouts: OriginTimeouts,
        metrics: OriginMetrics,
    ) -> Self {
        Self { pool, tls, timeouts, limits: Limits::DEFAULT, metrics }
    }

    /// Sends a request to one of `destinations`, which are addresses of the same origin.
    ///
    /// A connection that had been used before may turn out to have been closed by the origin meanwhile. Then the
    /// request is sent once more, over a new connection, where that cannot do anything twice (RFC 9110, 9.2.2): the
    /// method is idempotent or nothing of the request went out, and none of the body is gone.
    ///
    /// `asked` is told which address the last connection led to.
    pub(super) async fn send(
        &self,
        destinations: &[Destination],
        call: Call<'_>,
        mut body: Body,
        trace: &mut Trace,
        asked: &mut Option<IpAddr>,
    ) -> Result<Response, Fault> {
        let framing = Framing::of_request_body(call.method, &body);
        let again = body.as_full().cloned();
        let idempotent = call.method.is_idempotent();
        let mut reuse = if idempotent { Reuse::Any } else { Reuse::Certain };
        loop {
            let (connection, address) = self.connection(destinations, reuse, trace).await?;
            *asked = Some(address);
            let reused = connection.reused;
            let upload = Upload::new(call.head(framing)?, body, framing);
            let failure = match self.exchange(connection, call, upload, trace).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let harmless = reused && failure.closed_unheard && (idempotent || !failure.begun);
            body = match (harmless, &again, failure.unsent) {
                (true, Some(whole), _) => Body::full(whole.clone()),
                (true, None, Some(unsent)) => unsent,
                _ => return Err(failure.fault),
            };
            self.metrics.retried.inc();
            trace.note(
                STAGE,
                || "the reused connection was closed before an answer: once more over a new one",
            );
            reuse = Reuse::Never;
        }
    }

    /// A connection to one of `destinations`: those that failed a moment ago are tried last.
    async fn connection(
        &self,
        destinations: &[Destination],
        reuse: Reuse,
        trace: &mut Trace,
    ) -> Result<(Connection, IpAddr), Fault> {
        let mut order: SmallVec<[&Destination; ADDRESSES_TRIED_MAX]> = destinations.iter().collect();
        if order.len() > 1 {
            let spread = rand::random_range(0..order.len());
            order.rotate_left(spread);
            order.sort_by_key(|destination| self.pool.failed_lately(destination));
            order.truncate(ADDRESSES_TRIED_MAX);
        }
        let mut until = None;
        let mut last = Fault::OriginUnreachable;
        for (index, destination) in order.iter().enumerate() {
            let lease = self.pool.lease(destination, self.timeouts.queue).await?;
            // After what may have taken long: the origin's time begins when there is a connection for it.
            let now = Instant::now();
            let until = *until.get_or_insert(now + self.timeouts.connect);
            let lease = match reuse {
                Reuse::Never => lease,
                _ => match Connection::idle(lease, reuse == Reuse::Certain, now) {
                    Ok(connection) => {
                        self.metrics.reused.inc();
                        trace.note(STAGE, || format!("reuses a connection to {}", destination.address));
                        return Ok((connection, destination.address.ip()));
                    }
                    Err(lease) => lease,
                },
            };
            // Each has its share of the time that is left, the last one all of it.
            let left = u32::try_from(order.len() - index).unwrap_or(1);
            let within = until.saturating_duration_since(now) / left;
            // Boxed: a handshake's state is large, and most requests have none.
            let opening =
                Connection::open(lease, destination, &self.tls, &self.timeouts, within, &self.metrics);
            match Box::pin(opening).await {
                Ok(connection) => {
                    trace.note(STAGE, || format!("opened a connection to {}", destination.address));
                    return Ok((connection, destination.address.ip()));
                }
                Err(fault) => {
                    trace.note(STAGE, || format!("{}: {fault}", destination.address));
                    last = fault;
                }
            }
        }
        Err(last)
    }

    /// Sends the request and reads the head of its answer; what is left of both goes on with the answer's body.
    async fn exchange(
        &self,
        connection: Connection,
        call: Call<'_>,
        upload: Upload,
        trace: &mut Trace,
    ) -> Result<Response, Failure> {
        let began = connection.ready;
        let mut asked =
            Asked { connection, upload, parser: ResponseParser::default(), informational: 0, heard: false };
        let head = {
            asked.connection.deadline.set(TokioInstant::from_std(began) + self.timeouts.first_byte);
            let mut polled = false;
            std::future::poll_fn(|context| {
                if let Poll::Ready(head) = asked.poll_head(call, &self.limits, context) {
                    return Poll::Ready(head);
                }
                // The time runs from when the request has gone out; most go out at once.
                let polled_before = std::mem::replace(&mut polled, true);
                if asked.upload.take_progressed() && polled_before {
                    asked.connection.deadline.set(TokioInstant::now() + self.timeouts.first_byte);
                }
                ready!(asked.connection.deadline.poll(context));
                Poll::Ready(Err(Fault::OriginTimeout))
            })
            .await
        };
        match head {
            Ok(head) => {
                let took = began.elapsed();
                self.metrics.first_byte_seconds.observe(took.as_secs_f64());
                trace.note(STAGE, || format!("answered {} after {took:.1?}", head.status));
                self.answer(asked, head, call).map_err(Failure::from)
            }
            Err(fault) => Err(Failure {
                closed_unheard: fault == Fault::OriginClosed && !asked.heard,
                begun: asked.upload.begun,
                unsent: asked.upload.into_unsent_body(),
                fault,
            }),
        }
    }

    /// The answer as the stages see it.
    fn answer(&self, asked: Asked, head: ResponseHead, call: Call<'_>) -> Result<Response, Fault> {
        let Asked { connection, upload, .. } = asked;
        let ResponseHead { status, mut headers, framing, keep_alive, upgrade, .. } = head;
        strip_hop_by_hop(&mut headers);
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let protocol = upgrade.filter(|protocol| call.asks_for(protocol));
            let protocol = protocol.ok_or(Fault::OriginMalformed("it switches to a protocol unasked"))?;
            headers.insert(header::UPGRADE, protocol);
            let upgraded = Some(Box::new(UpgradedOrigin(connection)) as _);
            return Ok(Response { status, headers, upgraded, ..Response::default() });
        }
        let connection = AnsweringOrigin::new(connection, self.timeouts.between_reads);
        let body = PulledBody::of(connection, framing, &self.limits, upload, keep_alive);
        Ok(Response { status, headers, body, ..Response::default() })
    }
}

impl Call<'_> {
    fn head(&self, framing: Framing) -> Result<BytesMut, Fault> {
        let connection = match self.upgrade {
            None => ConnectionField::Absent,
            Some(protocol) => ConnectionField::Upgrade(
                HeaderValue::from_str(protocol).map_err(|_| Fault::BadRequest("its Upgrade is malformed"))?,
            ),
        };
        let mut head = BytesMut::new();
        write_request_head(self.method, self.target, self.headers, framing, &connection, &mut head)
            .map_err(|_| Fault::BadRequest("it cannot be written as HTTP/1.1"))?;
        Ok(head)
    }

    fn asks_for(&self, protocol: &HeaderValue) -> bool {
        self.upgrade.is_some_and(|asked| protocol.as_bytes().eq_ignore_ascii_case(asked.as_bytes()))
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { fault, closed_unheard: false, begun: true, unsent: None }
    }
}

/// A request that waits for its answer.
struct Asked {
    connection: Connection,
    upload: Upload,
    parser: ResponseParser,
    informational: usize,
    /// Whether any octet of an answer came.
    heard: bool,
}

impl Asked {
    /// Goes on sending, and reads the head of the answer: it may come before all has been sent.
    fn poll_head(
        &mut self,
        call: Call<'_>,
        limits: &Limits,
        context: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Fault>> {
        self.drive_upload(context)?;
        loop {
            if !self.connection.buffer.octets.is_empty() {
                self.heard = true;
                let parsed = self.parser.parse(&mut self.connection.buffer.octets, call.method, limits);
                match parsed.map_err(|error| Fault::OriginMalformed(error.describe()))? {
                    Some(mut head) if head.is_interim() => {
                        self.informational += 1;
                        if self.informational > INFORMATIONAL_MAX {
                            let endless = "it sends informational answers without end";
                            return Poll::Ready(Err(Fault::OriginMalformed(endless)));
                        }
                        if let Some(interims) = call.interims {
                            strip_hop_by_hop(&mut head.headers);
                            // It has no content, and HTTP/2 clients would take this for the final answer's (RFC 9110, 8.6).
                            head.headers.remove(header::CONTENT_LENGTH);
                            interims.put(Interim { status: head.status, headers: head.headers });
                        }
                        continue;
                    }
                    Some(head) => return Poll::Ready(Ok(head)),
                    None => {}
                }
            }
            match ready!(self.connection.poll_read(context, None)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Fault::OriginClosed)),
                Ok(_) => {}
            }
        }
    }

    fn drive_upload(&mut self, context: &mut Context<'_>) -> Result<(), Fault> {
        if self.upload.is_over() {
            return Ok(());
        }
        match self.upload.poll_send(&mut self.connection.transport, context) {
            // It may have answered before it stopped listening: what it sent is read first.
            Poll::Ready(Err(UploadError::Peer(_))) => self.upload.give_up(),
            Poll::Ready(Err(UploadError::Body(error))) => return Err(Fault::of_request_body(error)),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        Ok(())
    }
}

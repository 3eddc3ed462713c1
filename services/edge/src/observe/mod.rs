//! What is kept of an exchange when it has ended: numbers by zone, and a line in the request log.
//!
//! ```text
//!  listener: head read ─▶ Recorded (owns the Exchange) ─▶ stages ─▶ answered() ─▶ octets go out: `sent` grows
//!                             │                                                        │
//!                             └── dropped, however the exchange ended ◀────────────────┘
//!                                    ├─▶ ZoneTraffic of its site       (zones: a slot in the site; metrics, API)
//!                                    └─▶ sampled by its ray? ─▶ line ─▶ bounded queue ─▶ thread ─▶ file
//! ```
//!
//! Invariants:
//! * **Every exchange counts once**, in the protocol-independent way: it is the drop of [`Recorded`] that counts it, also
//!   when its connection's task is dropped half-way. A request that was answered at a glance is none; it is counted alike
//!   by who answered it (`server/http1/glance.rs`), and is none of those that are logged.
//! * **What was sent counts**, not what was to be sent: octets that the connection took. For HTTP/1.1 that is what
//!   the kernel took (heads and framing included), for HTTP/3 what the stream took (the same), for HTTP/2 the frames of
//!   its stream as they were given to the connection, which holds at most 64 KiB of them all.
//! * **No request waits for it**: numbers are additions without lock; a line that finds the queue full is dropped and
//!   counted.
//!
//! The cost of an exchange, beside the line: one look at the clock, a walk over the request's fields, a look-up among the
//! answer's, and about six additions; 160 ns together, measured over 200,000 exchanges.

mod config;
mod line;
mod request_log;
mod zones;

use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, uri::PathAndQuery};
use http_body::{Body as HttpBody, Frame, SizeHint};
use proxima_pipeline::{
    Body, BodyError, CACHE_STATUSES, Ended, Exchange, OriginSeen, RayId, Request, Response, cache_status,
};

pub use self::config::RequestLogConfig;
pub(crate) use self::request_log::RequestLog;
pub(crate) use self::zones::{SWEPT_EVERY, ZoneTable, register};

/// What the cache says it did.
const CF_CACHE_STATUS: HeaderName = HeaderName::from_static("cf-cache-status");

/// What exchanges leave behind.
pub struct Observer {
    pub(crate) zones: Arc<ZoneTable>,
    pub(crate) log: Option<RequestLog>,
}

impl Observer {
    pub(crate) const fn new(zones: Arc<ZoneTable>, log: Option<RequestLog>) -> Self {
        Self { zones, log }
    }

    /// Whether the request of this name gets a line however it ends.
    pub(crate) fn logs(&self, ray: &RayId) -> bool {
        self.log.as_ref().is_some_and(|log| log.takes(ray))
    }
}

/// An exchange of a client, which leaves its traces when it is dropped.
pub(crate) struct Recorded {
    exchange: Exchange,
    observer: Arc<Observer>,
    answered: Option<Answered>,
    /// Octets that went out on what carries the exchange, and how many of them before it.
    sent: Arc<AtomicU64>,
    sent_before: u64,
    head_bytes: u64,
    /// Octets of its body that a stage took, if it has one.
    received: Option<Arc<AtomicU64>>,
}

/// An answer's head, as far as it is kept.
struct Answered {
    status: StatusCode,
    after: Duration,
    cache: usize,
    content_type: Option<HeaderValue>,
}

impl Recorded {
    /// Begins with the request's head; `sent` counts what goes out, from now on for this exchange.
    pub(crate) fn new(mut exchange: Exchange, observer: Arc<Observer>, sent: &Arc<AtomicU64>) -> Self {
        let head_bytes = head_bytes(&exchange.request);
        let received = (!exchange.request_body.is_empty()).then(|| {
            let octets = Arc::new(AtomicU64::new(0));
            let body = std::mem::take(&mut exchange.request_body);
            exchange.request_body = Body::stream(Counted { body, octets: Arc::clone(&octets) });
            octets
        });
        let sent_before = sent.load(Ordering::Relaxed);
        let sent = Arc::clone(sent);
        Self { exchange, observer, answered: None, sent, sent_before, head_bytes, received }
    }

    /// Its answer is about to be written.
    pub(crate) fn answered(&mut self, response: &Response) {
        self.answered = Some(Answered {
            status: response.status,
            after: self.exchange.received.elapsed(),
            cache: cache_status(response.headers.get(CF_CACHE_STATUS).map(HeaderValue::as_bytes)),
            content_type: match self.observer.log {
                Some(_) => response.headers.get(CONTENT_TYPE).cloned(),
                None => None,
            },
        });
    }

    /// It goes on as another protocol: where octets to and from the client are to be counted.
    pub(crate) fn relayed(&mut self) -> (Arc<AtomicU64>, Arc<AtomicU64>) {
        (Arc::clone(&self.sent), Arc::clone(self.received.get_or_insert_default()))
    }

    fn ended(&self) -> Ended {
        let answered = self.answered.as_ref();
        let body_bytes = self.received.as_ref().map_or(0, |octets| octets.load(Ordering::Relaxed));
        Ended {
            answered: answered.map(|answered| (answered.status, answered.after)),
            cache: answered.map_or(CACHE_STATUSES.len() - 1, |answered| answered.cache),
            request_bytes: self.head_bytes + body_bytes,
            response_bytes: self.sent.load(Ordering::Relaxed).saturating_sub(self.sent_before),
            origin: self.exchange.extensions.get::<OriginSeen>().map(|seen| seen.took),
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let ended = self.ended();
        self.observer.zones.count(self.exchange.site.as_deref(), &ended);
        if let Some(log) = &self.observer.log {
            let content_type = self.answered.as_ref().and_then(|answered| answered.content_type.as_ref());
            log.note(&self.exchange, &ended, content_type);
        }
    }
}

impl Deref for Recorded {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        &self.exchange
    }
}

impl DerefMut for Recorded {
    fn deref_mut(&mut self) -> &mut Exchange {
        &mut self.exchange
    }
}

/// Octets of a request's head as HTTP/1.1 writes it, with fields as the first stage gets them.
pub(crate) fn head_bytes(request: &Request) -> u64 {
    let (method, target): (&Method, &PathAndQuery) = (&request.method, &request.target);
    let line = method.as_str().len() + target.as_str().len() + "  HTTP/1.1\r\n".len();
    line as u64 + fields_bytes(&request.headers)
}

/// Octets of fields as HTTP/1.1 writes them, with the empty line behind them.
pub(crate) fn fields_bytes(headers: &HeaderMap) -> u64 {
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    (fields.sum::<usize>() + "\r\n".len()) as u64
}

/// A request's body whose octets are counted as they are taken.
struct Counted {
    body: Body,
    octets: Arc<AtomicU64>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.octets.fetch_add(data.len() as u64, Ordering::Relaxed);
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

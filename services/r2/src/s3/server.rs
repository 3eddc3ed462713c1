//! The shell: accepts connections, bounds them, and hands requests to `s3s`.
//!
//! What `s3s` would take that is not offered here is refused before it reads a body: forms, whose files it gathers in memory
//! before it looks at their signature, and signatures of version 2.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use proxima_chassis::{GaugeGuard, Shutdown};
use s3s::{
    Body, S3Error, S3ErrorCode,
    host::SingleDomain,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Sleep,
};
use tokio_util::task::TaskTracker;

use super::{Front, error::not_offered};
use crate::metrics::Metrics;

/// How long a client may take to send a request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(15);
/// How long a body that comes may pause.
const BODY_IDLE: Duration = Duration::from_secs(60);
/// Octets of a request's head: 8 KiB of metadata, a key of which each octet takes three, a signed query, and room.
const HEAD_OCTETS_MAX: usize = 64 << 10;
/// Octets of XML: a thousand keys to delete, of the longest, each octet written with six, or ten thousand parts.
const XML_OCTETS_MAX: usize = 8 << 20;
/// Streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;
/// How long accepting pauses after the system refused a connection (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The service behind the listeners.
#[derive(Clone)]
pub(crate) struct Door {
    s3: S3Service,
    requests: Arc<Semaphore>,
    metrics: Metrics,
}

impl Door {
    /// With buckets as hosts below `host`, if there is one, and so many requests at a time.
    pub(crate) fn new(
        front: Front,
        host: Option<&str>,
        requests_max: usize,
        metrics: Metrics,
    ) -> Result<Self, s3s::host::DomainError> {
        let mut builder = S3ServiceBuilder::new(front.clone());
        builder.set_auth(front.clone());
        builder.set_access(front);
        if let Some(host) = host {
            builder.set_host(SingleDomain::new(host)?);
        }
        let mut config = s3s::config::S3Config::default();
        config.xml_max_body_size = XML_OCTETS_MAX;
        builder.set_config(Arc::new(s3s::config::StaticConfigProvider::new(Arc::new(config))));
        Ok(Self { s3: builder.build(), requests: Arc::new(Semaphore::new(requests_max)), metrics })
    }

    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Answer>> {
        let method = request.method().clone();
        let under_way = GaugeGuard::new(&self.metrics.under_way);
        let refused = |error: S3Error| error.to_http_response().map_err(io::Error::other);
        let response = match (self.requests.clone().try_acquire_owned(), refuse(&request)) {
            (_, Some(refusal)) => refused(refusal)?.map(|body| Answer { body, _held: None }),
            (Err(_), None) => {
                let busy = S3Error::with_message(S3ErrorCode::SlowDown, "too many requests at a time");
                refused(busy)?.map(|body| Answer { body, _held: None })
            }
            (Ok(place), None) => {
                let request = request.map(|body| Body::http_body_unsync(Paced::new(body)));
                let response = self.s3.call(request).await;
                let response = response.map_err(|error| io::Error::other(s3s::StdError::from(error)))?;
                // Its body is part of it.
                response.map(|body| Answer { body, _held: Some((place, under_way)) })
            }
        };
        self.metrics.answered(&method, response.status().as_u16());
        Ok(response)
    }
}

/// What is refused before anything of it is read.
fn refuse<B>(request: &Request<B>) -> Option<S3Error> {
    let has_query = |name: &str| {
        let query = request.uri().query().unwrap_or_default();
        query.split('&').any(|pair| pair.split('=').next() == Some(name))
    };
    let field = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_form =
        field(header::CONTENT_TYPE).trim_start().to_ascii_lowercase().starts_with("multipart/form-data");
    if request.method() == Method::POST && is_form {
        return Some(not_offered("uploading by forms"));
    }
    if field(header::AUTHORIZATION).starts_with("AWS ")
        || has_query("Signature")
        || has_query("AWSAccessKeyId")
    {
        let what = "this way of signing is not offered: use AWS4-HMAC-SHA256";
        let mut refusal = S3Error::with_message(S3ErrorCode::InvalidRequest, what);
        refusal.set_status_code(StatusCode::BAD_REQUEST);
        return Some(refusal);
    }
    None
}

/// The body of an answer, and its place among those that are under way.
struct Answer {
    body: Body,
    _held: Option<(tokio::sync::OwnedSemaphorePermit, GaugeGuard)>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that may not pause for too long.
struct Paced {
    body: Incoming,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    const fn new(body: Incoming) -> Self {
        Self { body, pause: None }
    }
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.pause = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(BODY_IDLE)));
        std::task::ready!(pause.as_mut().poll(context));
        Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Accepts until the node drains, then ends what was begun within the deadline.
pub(crate) async fn serve(
    listener: TcpListener,
    door: Door,
    connections: Arc<Semaphore>,
    shutdown: Shutdown,
) {
    let conversations = TaskTracker::new();
    loop {
        let permit = tokio::select! {
            () = shutdown.draining() => break,
            permit = connections.clone().acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break };
        let stream = tokio::select! {
            () = shutdown.draining() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(target: "proxima_r2", %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        stream.set_nodelay(true).ok();
        let (door, shutdown) = (door.clone(), shutdown.clone());
        conversations.spawn(async move {
            let counted = GaugeGuard::new(&door.metrics.connections);
            converse(stream, door, &shutdown).await;
            drop((permit, counted));
        });
    }
    drop(listener);
    conversations.close();
    tokio::time::timeout(shutdown.drain_within(), conversations.wait()).await.ok();
}

/// Serves one connection to its end.
async fn converse(stream: TcpStream, door: Door, shutdown: &Shutdown) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(HEAD_OCTETS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_OCTETS_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(HEAD_DEADLINE);
    let service = service_fn(|request| {
        let door = door.clone();
        async move { door.answer(request).await }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        // First, so that what is here has been read: a connection that has read nothing would be closed.
        biased;
        served = connection.as_mut() => served,
        () = shutdown.draining() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(target: "proxima_r2", %error, "a connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_old_signatures_are_refused_before_they_are_read() {
        let refused = |method: Method, uri: &str, name: &str, value: &str| {
            let request = Request::builder().method(method).uri(uri).header(name, value);
            refuse(&request.body(()).unwrap()).map(|error| error.code().as_str().to_owned())
        };
        let form = "Multipart/Form-Data; boundary=x";
        assert_eq!(refused(Method::POST, "/b", "content-type", form).as_deref(), Some("NotImplemented"));
        assert_eq!(refused(Method::PUT, "/b/k", "content-type", form), None, "an object may be one");
        assert_eq!(refused(Method::GET, "/b", "authorization", "AWS k:s").as_deref(), Some("InvalidRequest"));
        let signed = "/b/k?AWSAccessKeyId=k&Expires=1&Signature=s";
        assert_eq!(refused(Method::GET, signed, "x-y", "z").as_deref(), Some("InvalidRequest"));
        assert_eq!(refused(Method::GET, "/b/k?X-Amz-Signature=s", "x-y", "z"), None);
        assert_eq!(refused(Method::GET, "/b", "authorization", "AWS4-HMAC-SHA256 x"), None);
    }
}

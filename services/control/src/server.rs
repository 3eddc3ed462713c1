//! The shell: accepts connections, bounds them, and hands requests to the router.

use std::{
    convert::Infallible,
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use hyper::{
    body::Incoming,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use proxima_chassis::Shutdown;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::{
    api::{Api, turn::Turn},
    error::{ApiError, Code},
    first_octets::Begun,
    limits, routes,
    unread::{self, Lingering, Unread},
};

/// How a request came here; among its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    /// Who connected.
    pub(crate) peer: IpAddr,
    /// Whether it came by TLS.
    pub(crate) tls: bool,
}

/// What stands before every endpoint.
#[derive(Clone)]
struct Door {
    api: Arc<Api>,
    requests: Arc<Semaphore>,
    /// The templates of all routes: what a metric may be labelled with.
    templates: Arc<[&'static str]>,
}

/// The router with everything that stands before it.
pub(crate) fn service(api: &Arc<Api>, requests_max: usize) -> Router {
    let templates = routes::endpoints().iter().map(|endpoint| endpoint.path).collect();
    let door = Door { api: api.clone(), requests: Arc::new(Semaphore::new(requests_max)), templates };
    routes::router(api)
        // Bodies have their bounds where they are read; this one is for forms, which are read whole before.
        .layer(axum::extract::DefaultBodyLimit::max(limits::ASSETS_FORM_OCTETS_MAX))
        .layer(middleware::from_fn_with_state(door, enter))
}

/// Bounds how many are inside and for how long, and counts what comes out.
async fn enter(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = method_label(request.method());
    let route = template(&door, &request);
    let response = match door.requests.clone().try_acquire_owned() {
        Err(_) => ApiError::new(Code::Busy, "too many requests at a time; ask again").into_response(),
        Ok(place) => {
            let turn = Turn::of(place);
            request.extensions_mut().insert(turn.clone());
            let served = AssertUnwindSafe(next.run(request)).catch_unwind();
            let deadline = match route {
                routes::OBJECT_PATH => limits::OBJECT_DEADLINE,
                routes::ASSETS_PATH => limits::ASSETS_DEADLINE,
                _ => limits::REQUEST_DEADLINE,
            };
            let outcome = tokio::time::timeout(deadline, served).await;
            // Whatever still holds the request.
            turn.over();
            match outcome {
                Ok(Ok(response)) => response,
                Ok(Err(_)) => {
                    tracing::error!(route, method, "an endpoint panicked");
                    ApiError::new(Code::Internal, "a fault of ours; it has been logged").into_response()
                }
                Err(_) => {
                    let message =
                        "it took too long; a change may still have been made: look before asking again";
                    ApiError::new(Code::Timeout, message).into_response()
                }
            }
        }
    };
    let code = response.extensions().get::<Code>().copied();
    door.api.metrics.answered(route, method, response.status().as_u16(), code, began.elapsed());
    response
}

const fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn template(door: &Door, request: &Request) -> &'static str {
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let path = matched.and_then(|path| path.strip_prefix(routes::PREFIX)).unwrap_or_default();
    door.templates.iter().find(|template| **template == path).copied().unwrap_or("none")
}

/// Accepts until the node drains, then ends what was begun within the deadline.
pub(crate) async fn serve(
    (listener, tls): (TcpListener, Option<TlsAcceptor>),
    router: Router,
    api: Arc<Api>,
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
        let (stream, peer) = tokio::select! {
            () = shutdown.draining() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        stream.set_nodelay(true).ok();
        let (api, router, tls) = (api.clone(), router.clone(), tls.clone());
        let arrived = Arrived { peer: peer.ip(), tls: tls.is_some() };
        let shutdown = shutdown.clone();
        conversations.spawn(async move {
            api.metrics.connections.inc();
            match tls {
                None => converse(stream, router, arrived, &shutdown).await,
                Some(tls) => match tokio::time::timeout(limits::HEAD_DEADLINE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => converse(stream, router, arrived, &shutdown).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!("a TLS handshake took too long"),
                },
            }
            api.metrics.connections.dec();
            drop(permit);
        });
    }
    drop(listener);
    let within: Duration = shutdown.drain_within();
    conversations.close();
    tokio::time::timeout(within, conversations.wait()).await.ok();
}

/// Serves one connection to its end.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    arrived: Arrived,
    shutdown: &Shutdown,
) {
    // Who has connected is about to speak: a drain waits for that, but not for who only holds a connection.
    let late = async {
        shutdown.draining().await;
        tokio::time::sleep(limits::FIRST_OCTETS_WHILE_DRAINING).await;
    };
    let begun = tokio::select! {
        begun = tokio::time::timeout(limits::HEAD_DEADLINE, Begun::of(stream)) => begun,
        () = late => return,
    };
    let stream = match begun {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a connection ended before it said anything"),
        Err(_) => return tracing::debug!("a connection did not begin to speak in time"),
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_DEADLINE)
        .max_buf_size(limits::HEAD_OCTETS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(u32::try_from(limits::HEAD_OCTETS_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(limits::HEAD_DEADLINE);
    let router = TowerToHyperService::new(router);
    let unread = Unread::default();
    let stream = Lingering::new(stream, unread.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(arrived);
        let (request, lent) = unread::lend(request);
        let (answering, unread) = (router.call(request), unread.clone());
        async move {
            let mut response = answering.await?;
            if let Some(lent) = lent {
                lent.settle(&mut response, &unread).await;
            }
            Ok::<_, Infallible>(response)
        }
    });
    // A WebSocket leaves HTTP, and this conversation with it.
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
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
        tracing::debug!(%error, "a connection broke off");
    }
}

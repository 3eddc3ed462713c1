//! One request stream: its request, its exchange, its answer.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;

use http::header::EXPECT;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use proxima_http1::Http1Error;
use proxima_pipeline::{Body, Exchange, Fault, Interims, Protocol};
use quinn::{RecvStream, SendStream};

use super::Closing;
use super::incoming::{Follows, Incoming, Unread, Upload, WINDOW_BYTES};
use super::outgoing::{Cut, Outgoing};
use super::tunnel;
use crate::http3::{Broken, Code};
use crate::observe::Recorded;
use crate::quic::Handshake;
use crate::server::admit::{Asked, fault_of};
use crate::server::inbound::body_feed_of;
use crate::server::message::{asked, final_response, response_head};
use crate::server::pace::Pace;
use crate::server::{Peer, ServerContext};

/// How a request stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Answered, or refused.
    Served,
    /// Answered, but not to the end.
    Cut,
    /// The client wants no answer any more.
    Cancelled,
    /// The connection had to end with it, and has: it is closed and counted.
    Connection(Code),
}

/// `Early-Data` (RFC 8470, 5.1).
const EARLY_DATA: HeaderName = HeaderName::from_static("early-data");

/// Serves one request stream.
pub(super) async fn serve(
    closing: Closing,
    (send, receive): (SendStream, RecvStream),
    peer: Peer,
    handshake: Option<Handshake>,
    server: Arc<ServerContext>,
) -> Ended {
    let mut out = Outgoing::new(send, server.timeouts.write_idle);
    let mut incoming = Incoming::new(receive, &server.limits);
    let reading = tokio::time::timeout(server.timeouts.head, incoming.head(&server.limits));
    let ended = match reading.await.unwrap_or(Err(Unread::TimedOut)) {
        Ok((mut request, follows)) => {
            if let Some(handshake) = &handshake {
                early(handshake, &mut request).await;
            }
            exchange(&server, &peer, request, follows, &mut incoming, &mut out).await
        }
        Err(Unread::Broken(Broken::TooLarge)) => {
            refuse(&server, &peer, Http1Error::HeadTooLarge, false, &mut out).await
        }
        Err(unread) => unreadable(&server, &unread, &mut incoming, &mut out),
    };
    if let Ended::Connection(code) = ended {
        // Before the stream is reset: the client shall see why. Counted with it, since the session may hear that the connection
        // is closed before it hears of this.
        closing.close(code, &server);
        return ended;
    }
    // What is still on its way is not needed (RFC 9114, 4.1.1).
    incoming.stop(Code::NO_ERROR);
    if ended != Ended::Served || out.delivered().await.is_ok() {
        return ended;
    }
    server.metrics.answer_cut();
    Ended::Cut
}

/// A request that has come before the handshake is over, and so perhaps not from the client: one that changes nothing is
/// passed on at once, and says so (RFC 8470, 5.1); all others wait.
async fn early(handshake: &Handshake, request: &mut Request<()>) {
    if handshake.is_over() {
    } else if request.method().is_safe() && handshake.take_early() {
        request.headers_mut().insert(EARLY_DATA, HeaderValue::from_static("1"));
    } else {
        handshake.over().await;
    }
}

/// Ends a stream that has no request, or no longer.
pub(super) fn unreadable(
    server: &ServerContext,
    unread: &Unread,
    incoming: &mut Incoming,
    out: &mut Outgoing,
) -> Ended {
    let code = match unread {
        Unread::Broken(Broken::Connection(code)) => return Ended::Connection(*code),
        Unread::Broken(Broken::Stream(code)) => {
            server.metrics.http3_broken(*code);
            *code
        }
        Unread::Broken(Broken::TooLarge) => Code::EXCESSIVE_LOAD,
        Unread::Cancelled | Unread::TimedOut => Code::REQUEST_CANCELLED,
    };
    incoming.stop(code);
    out.reset(code);
    Ended::Cancelled
}

/// Runs an exchange, while its body comes in.
async fn exchange(
    server: &ServerContext,
    peer: &Peer,
    request: Request<()>,
    follows: Follows,
    incoming: &mut Incoming,
    out: &mut Outgoing,
) -> Ended {
    let _in_flight = server.metrics.begin_exchange();
    let (head, ()) = request.into_parts();
    let head_only = head.method == Method::HEAD;
    let expects = head.headers.get(EXPECT).is_some_and(|value| value == "100-continue");
    let asked = match asked(head, Protocol::Http3) {
        Ok((asked, None)) => asked,
        Ok((asked, Some(connect))) => {
            let asked = (asked, connect);
            // Boxed: others are not to carry about what a tunnel takes.
            return Box::pin(tunnel::serve(asked, peer, server, incoming, out)).await;
        }
        Err(error) => return refuse(server, peer, error, head_only, out).await,
    };
    // Who asks first is invited at once: its window, not this, is what holds it back.
    if expects
        && follows == Follows::Body(None)
        && out.interim(StatusCode::CONTINUE, &HeaderMap::new()).await.is_err()
    {
        return Ended::Cancelled;
    }
    let (upload, body) = upload(server, &asked, follows, out.sent());
    let (exchange, fault) = server.admit(peer, asked, body, out.sent());
    let outcome = {
        let mut unwanted = pin!(out.unwanted());
        let mut answering = pin!(answer(server, exchange, fault, head_only, out));
        let mut receiving = pin!(async {
            match upload {
                Some(upload) => incoming.pass_on(upload, &server.limits).await,
                None => Ok(()),
            }
        });
        let mut received = false;
        loop {
            tokio::select! {
                biased;
                answered = &mut answering => break Ok(answered),
                passed = &mut receiving, if !received => match passed {
                    // Its reader was told, and answers as it sees fit.
                    Ok(()) | Err(Unread::TimedOut | Unread::Broken(Broken::TooLarge)) => received = true,
                    Err(unread) => break Err(unread),
                },
                () = &mut unwanted => break Err(Unread::Cancelled),
            }
        }
    };
    match outcome {
        Ok(Ok(())) => Ended::Served,
        Ok(Err(Cut)) => {
            server.metrics.answer_cut();
            // The client must not take for whole what is not.
            out.reset(Code::INTERNAL_ERROR);
            Ended::Cut
        }
        Err(unread) => {
            if unread == Unread::Cancelled {
                server.metrics.client_gone();
            }
            unreadable(server, &unread, incoming, out)
        }
    }
}

/// The body of a request: what reads it from the stream, and what the stages get of it.
fn upload(
    server: &ServerContext,
    asked: &Asked,
    follows: Follows,
    sent: &Arc<AtomicU64>,
) -> (Option<Upload>, Body) {
    let Follows::Body(first) = follows else { return (None, Body::empty()) };
    let (feed, body) = body_feed_of(WINDOW_BYTES, asked.body_bytes);
    let upload = Upload {
        feed,
        first,
        left: asked.body_bytes,
        allowance: server.request_body_bytes_max,
        pace: Pace::of(&asked.headers, &server.timeouts, sent),
    };
    (Some(upload), body)
}

/// Runs the pipeline and writes its answer.
async fn answer(
    server: &ServerContext,
    mut exchange: Recorded,
    fault: Option<Fault>,
    head_only: bool,
    out: &mut Outgoing,
) -> Result<(), Cut> {
    match fault {
        Some(fault) => exchange.response = Some(server.refusal(&fault, &exchange)),
        None => run(server, &mut exchange, out).await?,
    }
    finish(server, exchange, head_only, out).await
}

/// Writes the answer that an exchange has come to.
pub(super) async fn finish(
    server: &ServerContext,
    mut exchange: Recorded,
    head_only: bool,
    out: &mut Outgoing,
) -> Result<(), Cut> {
    exchange.request_body = Body::empty();
    let response = final_response(&mut exchange);
    server.metrics.answered(Protocol::Http3, response.status);
    exchange.answered(&response);
    let (head, body) = response_head(server, response, head_only);
    out.answer(&head, body).await
}

pub(super) async fn run(
    server: &ServerContext,
    exchange: &mut Exchange,
    out: &mut Outgoing,
) -> Result<(), Cut> {
    let interims = Interims::default();
    exchange.interims = Some(interims.clone());
    let mut running = pin!(server.pipeline.run(exchange));
    loop {
        let interim = tokio::select! {
            biased;
            () = &mut running => break,
            interim = poll_fn(|context| interims.poll_take(context).map_or(Poll::Pending, Poll::Ready)) => interim,
        };
        out.interim(interim.status, &interim.headers).await?;
    }
    while let Some(interim) = interims.take() {
        out.interim(interim.status, &interim.headers).await?;
    }
    Ok(())
}

/// Answers a request that no stage sees.
async fn refuse(
    server: &ServerContext,
    peer: &Peer,
    error: Http1Error,
    head_only: bool,
    out: &mut Outgoing,
) -> Ended {
    server.metrics.refused(error);
    let mut exchange = server.unreadable(peer, Protocol::Http3, out.sent());
    let response = server.refusal(&fault_of(error), &exchange);
    server.metrics.answered(Protocol::Http3, response.status);
    exchange.answered(&response);
    let (head, body) = response_head(server, response, head_only);
    match out.answer(&head, body).await {
        Ok(()) => Ended::Served,
        Err(Cut) => Ended::Cancelled,
    }
}

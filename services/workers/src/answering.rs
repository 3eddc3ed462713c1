//! The sockets at which processes of the engine ask the node: who asks, in whose name, and whether that may be.
//!
//! ```text
//!  a process ─▶ socket ─▶ its id, by the kernel ─▶ Process ─▶ does it run that account's Workers? ─ no ─▶ 403
//!                                                                   │ yes
//!                                                  is anything left of what it may ask for? ─ no ─▶ 429, `proxima-refused`
//!                                                  (Shares, where the node counts)          └ yes ─▶ whoever answers
//! ```
//!
//! The dispatcher says in whose name something is asked, and is believed as far as its process goes: whoever breaks out of V8 there can
//! write what it likes, but not the id that the kernel tells of who has connected (`SO_PEERCRED`, unix(7)).

use std::{
    convert::Infallible,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use proxima_model::AccountId;
use proxima_pipeline::Body;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::{
    engine::{Engine, Pace, Process, Processes, Shares},
    facts::{FIELD, Said},
    local::LocalStream,
    metrics::Metrics,
    refuse::refuse,
};

/// How long accepting rests when the system has no descriptors for another connection: trying again at once would only keep a
/// processor busy.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// The field by which the dispatcher knows that something was refused; nobody else's answer has it.
const REFUSED: HeaderName = HeaderName::from_static("proxima-refused");
/// What stands before the account in the path of which version of a Worker is deployed.
const DEPLOYED: &str = "deployed/";

/// Answers at sockets in the folder of the engine.
pub(crate) struct Answering {
    checks: Arc<Checks>,
    /// Until the node stops.
    stopped: CancellationToken,
}

/// What is looked at before anybody answers.
struct Checks {
    processes: Arc<Processes>,
    shares: Arc<Shares>,
    metrics: Metrics,
    pace: Mutex<Pace>,
}

/// Where it stands in whose name something is asked.
#[derive(Clone, Copy)]
enum Named {
    /// In a field of the engine's.
    ByField,
    /// In the path; and in the field, if there is one.
    ByPath,
}

impl Answering {
    /// Of this engine.
    pub(crate) fn new(engine: &Engine, metrics: Metrics, stopped: CancellationToken) -> Self {
        let (processes, shares) = (engine.processes(), engine.shares());
        Self { checks: Arc::new(Checks { processes, shares, metrics, pace: Mutex::default() }), stopped }
    }

    /// Answers at a socket at which things are asked in the name of accounts.
    pub(crate) fn at<A, F>(&self, listener: UnixListener, answer: A)
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    {
        self.at_known(listener, move |_, request| answer(request));
    }

    /// The same, where who answers is told which process asks.
    pub(crate) fn at_known<A, F>(&self, listener: UnixListener, answer: A)
    where
        A: Fn(&Arc<Process>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    {
        let checks = Arc::clone(&self.checks);
        tokio::spawn(serve(listener, self.stopped.clone(), checks, Named::ByField, answer));
    }

    /// Answers at the socket of code: whose it is, says the path.
    pub(crate) fn at_code<A, F>(&self, listener: UnixListener, answer: A)
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    {
        let checks = Arc::clone(&self.checks);
        let answer = move |_: &Arc<Process>, request| answer(request);
        tokio::spawn(serve(listener, self.stopped.clone(), checks, Named::ByPath, answer));
    }
}

impl Checks {
    /// The process that has connected.
    fn who(&self, stream: &UnixStream) -> Option<Arc<Process>> {
        let id = u32::try_from(stream.peer_cred().ok()?.pid()?).ok()?;
        self.processes.of(id)
    }

    /// Why a process is not answered. What it says of the request is handed on to who answers.
    fn refuse(
        &self,
        process: &Process,
        named: Named,
        request: &mut Request<Incoming>,
    ) -> Option<Response<Body>> {
        let said = Said::of(request.headers());
        if !is_named_well(process, named, said.as_ref(), request) {
            self.metrics.misnamed.inc();
            if self.pace.lock().unwrap_or_else(PoisonError::into_inner).may_tell() {
                tracing::warn!(
                    place = ?process.place,
                    "a process of the engine asks in a name that is not its Workers': one may have broken out of V8"
                );
            }
            return Some(refuse(StatusCode::FORBIDDEN, "no Worker of that account runs in this process"));
        }
        let said = said?;
        let may = match &said {
            Said { code: Some(key), subrequests: Some(each_max), alone: Some(apart), .. } => {
                self.shares.take(*apart, key, *each_max)
            }
            _ => true,
        };
        request.extensions_mut().insert(said);
        (!may).then(|| {
            let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "");
            response.headers_mut().insert(REFUSED, HeaderValue::from_static("subrequests"));
            response
        })
    }
}

/// Whether a process may say what a request says of whose it is.
fn is_named_well(process: &Process, named: Named, said: Option<&Said>, request: &Request<Incoming>) -> bool {
    let by_field = match said {
        Some(Said { account, code, .. }) => {
            process.may_name(*account) && code.as_ref().is_none_or(|key| key.account == *account)
        }
        // What cannot be read is not the dispatcher's.
        None => matches!(named, Named::ByPath) && !request.headers().contains_key(FIELD),
    };
    let by_path = || of_path(request.uri().path()).is_some_and(|account| process.may_name(account));
    by_field && (matches!(named, Named::ByField) || by_path())
}

/// Whose code a path asks for.
fn of_path(path: &str) -> Option<AccountId> {
    let path = path.strip_prefix('/')?;
    path.strip_prefix(DEPLOYED).unwrap_or(path).split('/').next()?.parse().ok()
}

async fn serve<A, F>(
    listener: UnixListener,
    stopped: CancellationToken,
    checks: Arc<Checks>,
    named: Named,
    answer: A,
) where
    A: Fn(&Arc<Process>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection of the engine cannot be taken");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        // One that has ended meanwhile is nobody any more.
        let Some(process) = checks.who(&stream) else { continue };
        let stream = match LocalStream::try_from(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection of the engine cannot be waited for");
                continue;
            }
        };
        let (checks, answer) = (Arc::clone(&checks), answer.clone());
        let checked = service_fn(move |mut request: Request<Incoming>| {
            let refused = checks.refuse(&process, named, &mut request);
            let answered = refused.is_none().then(|| answer(&process, request));
            async move {
                if let Some(refused) = refused {
                    return Ok(refused);
                }
                let mut response = answered.expect("nobody refused it").await?;
                response.headers_mut().remove(REFUSED);
                Ok::<_, Infallible>(response)
            }
        });
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), checked).with_upgrades();
        let stopped = stopped.clone();
        tokio::spawn(async move {
            tokio::select! {
                // Processes of the engine may end whenever they like.
                _ = connection => {}
                () = stopped.cancelled() => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_code_say_whose_it_is() {
        let account = AccountId::from_bytes([7; 16]);
        for (path, expected) in [
            (format!("/{account}/app/1"), Some(account)),
            (format!("/deployed/{account}/app"), Some(account)),
            (format!("//{account}/app/1"), None),
            (format!("/deployed//{account}"), None),
            ("/deployed/".to_owned(), None),
            ("/".to_owned(), None),
        ] {
            assert_eq!(of_path(&path), expected, "{path}");
        }
    }
}

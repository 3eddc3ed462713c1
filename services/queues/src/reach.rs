//! Asking another server: within its time, and in bounds.

use std::{sync::Arc, time::Duration};

use http::{Request, StatusCode};
use proxima_model::NodeName;
use proxima_pipeline::{Body, NoAnswer, QueueError, ServerPlaces, Servers};
use tokio::time::timeout;

use crate::{
    SERVICE,
    named::KNOWN_WITHIN,
    wire::{self, Answer, BODY_OCTETS_MAX, PATH_OF_CLIENTS, Question, Refusal},
};

/// How long a server may take for what is short and asks nobody else: some round trips around the world, for a connection must
/// be made, and an fsync.
const WITHIN: Duration = Duration::from_secs(3);
/// How long a server's own store may take for a write, and how long the other replica is waited for: no longer than it is asked.
pub(crate) const WITHIN_HERE: Duration = Duration::from_secs(5);

/// Why a server gave no answer that is of use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// It was not reached, or took too long, or does not have the service. What was asked may have been done.
    #[error("{0} does not answer")]
    Away(NodeName),
    /// It said no.
    #[error("it refused: {0:?}")]
    Refused(Refusal),
}

impl From<Unanswered> for QueueError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Away(server) => Self::Unreachable(format!("{server} does not answer")),
            Unanswered::Refused(refusal) => refusal.into(),
        }
    }
}

/// See the module.
pub(crate) struct Reach {
    servers: Arc<dyn Servers>,
    /// Of what clients ask: what replicas tell each other always finds a way.
    places: ServerPlaces,
}

impl Reach {
    pub(crate) fn new(servers: Arc<dyn Servers>) -> Self {
        Self { places: ServerPlaces::new(&*servers), servers }
    }

    /// Asks a server.
    pub(crate) async fn ask(&self, server: &NodeName, question: &Question) -> Result<Answer, Unanswered> {
        let away = || Unanswered::Away(server.clone());
        let is_of_clients = question.path() == PATH_OF_CLIENTS;
        let place = is_of_clients.then(|| self.places.take(server)).transpose();
        let _place = place.map_err(|_| Unanswered::Refused(Refusal::Busy))?;
        let mut request = Request::new(Body::full(wire::write(question)));
        *request.uri_mut() = http::Uri::from_static(question.path());
        let answered = async {
            let response = match self.servers.ask(server, SERVICE, request).await {
                Ok(response) => response,
                // It is there, or was, and has too much to do.
                Err(NoAnswer::Busy) => return Err(Unanswered::Refused(Refusal::Busy)),
                Err(NoAnswer::Lost | NoAnswer::Declined) => return Err(away()),
            };
            if response.status() != StatusCode::OK {
                return Err(Unanswered::Refused(Refusal::NotUnderstood));
            }
            let octets = response.into_body().collect(BODY_OCTETS_MAX).await.map_err(|_| away())?;
            match wire::read_answer(&octets) {
                Some(Answer::Refused(refusal)) => Err(Unanswered::Refused(refusal)),
                Some(answer) => Ok(answer),
                None => Err(Unanswered::Refused(Refusal::NotUnderstood)),
            }
        };
        timeout(within(question), answered).await.unwrap_or_else(|_| Err(away()))
    }
}

/// How long a server may take: longer than those that it asks itself.
const fn within(question: &Question) -> Duration {
    match question {
        Question::Hello | Question::Replicate { .. } | Question::Backlog { .. } => WITHIN,
        // It waits for its replica of the log, for its store, and for the other replica.
        Question::Send { .. }
        | Question::Pull { .. }
        | Question::Settle { .. }
        | Question::SettleEach { .. }
        | Question::Purge { .. } => Duration::from_secs(KNOWN_WITHIN.as_secs() + 3 * WITHIN_HERE.as_secs()),
    }
}

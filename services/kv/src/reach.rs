//! Asking another server: within its time, in bounds, and for a while not at all where one was found to be away.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, StatusCode};
use proxima_model::NodeName;
use proxima_pipeline::{Body, KvError, NoAnswer, Servers};
use tokio::time::{Instant, timeout};

use crate::{
    SERVICE,
    named::KNOWN_WITHIN,
    room::{Room, Taken},
    wire::{Answer, BODY_OCTETS_MAX, PATH, Question, Refusal},
};

/// How long a server may take for what is short and asks nobody else: some round trips around the world, for a connection must
/// be made, and an fsync.
const WITHIN: Duration = Duration::from_secs(3);
/// What a connection that is worth anything moves in a second, for what is long.
const OCTETS_PER_SECOND: usize = 1 << 20;
/// For how long a server that was found to be away is not waited for.
const AWAY_REST: Duration = Duration::from_secs(5);
/// Octets of an answer whose length is not known before it has come: for these there is room, or it is not read.
const UNKNOWN_OCTETS: usize = BODY_OCTETS_MAX;

/// Why a server gave no answer that is of use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// It was not reached, or took too long, or what it said is not understood. What was asked may have been done.
    #[error("{0} does not answer")]
    Away(NodeName),
    /// It said no.
    #[error("it refused")]
    Refused(Refusal),
    /// There is no room here for what it says.
    #[error("too much is under way")]
    NoRoom,
}

impl From<Unanswered> for KvError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Away(server) => Self::Unreachable(format!("{server} does not answer")),
            Unanswered::NoRoom | Unanswered::Refused(Refusal::Busy) => Self::Busy,
            Unanswered::Refused(Refusal::Full(text)) => Self::Full(text),
            Unanswered::Refused(Refusal::Broken(text)) => Self::Broken(text),
            Unanswered::Refused(Refusal::Unknown) => {
                Self::Unreachable("its home does not know the namespace yet".to_owned())
            }
            Unanswered::Refused(Refusal::NotHere | Refusal::NotUnderstood) => {
                Self::Unreachable("who should have it does not".to_owned())
            }
        }
    }
}

/// See the module.
pub(crate) struct Reach {
    servers: Arc<dyn Servers>,
    room: Room,
    away: Mutex<HashMap<NodeName, Instant>>,
}

impl Reach {
    pub(crate) fn new(servers: Arc<dyn Servers>, room: Room) -> Self {
        Self { servers, room, away: Mutex::default() }
    }

    /// Whether a server was found to be away a moment ago.
    pub(crate) fn is_away(&self, server: &NodeName) -> bool {
        self.away().get(server).is_some_and(|since| since.elapsed() < AWAY_REST)
    }

    /// Asks a server. The room is for the values in the answer.
    pub(crate) async fn ask(
        &self,
        server: &NodeName,
        question: &Question,
    ) -> Result<(Answer, Taken), Unanswered> {
        let octets = question.write();
        let away = || {
            self.away().insert(server.clone(), Instant::now());
            Unanswered::Away(server.clone())
        };
        let mut request = Request::new(Body::full(octets.clone()));
        *request.uri_mut() = http::Uri::from_static(PATH);
        let asked =
            timeout(within(question) + moving(octets.len()), self.servers.ask(server, SERVICE, request))
                .await;
        let response = match asked {
            Ok(Ok(response)) => response,
            // It is there, or was, and has too much to do; or runs a version without this service.
            Ok(Err(NoAnswer::Busy | NoAnswer::Declined)) => return Err(Unanswered::Refused(Refusal::Busy)),
            Ok(Err(NoAnswer::Lost)) | Err(_) => return Err(away()),
        };
        self.away().remove(server);
        if response.status() != StatusCode::OK {
            return Err(Unanswered::Refused(Refusal::NotUnderstood));
        }
        let body = response.into_body();
        let length =
            body.length().map_or(UNKNOWN_OCTETS, |length| usize::try_from(length).unwrap_or(usize::MAX));
        let taken = self.room.take(length).ok_or(Unanswered::NoRoom)?;
        let read = timeout(WITHIN + moving(length), body.collect(BODY_OCTETS_MAX)).await;
        let Ok(Ok(octets)) = read else { return Err(away()) };
        match Answer::read(octets) {
            Ok(Answer::Refused(refusal)) => Err(Unanswered::Refused(refusal)),
            Ok(answer) => Ok((answer, taken)),
            Err(_) => Err(Unanswered::Refused(Refusal::NotUnderstood)),
        }
    }

    fn away(&self) -> std::sync::MutexGuard<'_, HashMap<NodeName, Instant>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a server may take to begin its answer: longer than those that it asks itself.
fn within(question: &Question) -> Duration {
    match question {
        // From its cache, or from one replica, or from the other one.
        Question::Read { near_ms: Some(_), .. } => WITHIN * 3,
        // It waits for its replica of the log, and for the other replica.
        Question::Write { .. } => WITHIN * 3 + KNOWN_WITHIN,
        _ => WITHIN,
    }
}

/// How long octets may be under way.
fn moving(octets: usize) -> Duration {
    Duration::from_secs((octets.min(BODY_OCTETS_MAX) / OCTETS_PER_SECOND) as u64)
}

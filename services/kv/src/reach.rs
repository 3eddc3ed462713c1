//! Asking another server: within its time, in bounds, and for a while not at all where one was found to be away; where it only
//! took too long, not what is of the same kind.

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

/// What tells of each other how soon it is answered. A server whose connection was lost is away for all; one that took too long
/// for what is of one kind, because its disk is slow or a third server is waited for, does the others as ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Near,
    Write,
    List,
    Merge,
    Forget,
    /// What servers do among themselves, and no client waits for.
    Upkeep,
}

impl Kind {
    const fn of(question: &Question) -> Self {
        match question {
            Question::Read { near_ms: None, .. } => Self::Read,
            Question::Read { near_ms: Some(_), .. } => Self::Near,
            Question::Write { .. } => Self::Write,
            Question::List { .. } => Self::List,
            Question::Merge(_) => Self::Merge,
            Question::Forget(_) => Self::Forget,
            Question::Changes { .. }
            | Question::ChangesAmong { .. }
            | Question::Versions { .. }
            | Question::VersionsUpTo { .. }
            | Question::Nudge => Self::Upkeep,
        }
    }
}

/// Why a server gave no answer that is of use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// It was not reached, or took too long, or does not have the service. What was asked may have been done.
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
            Unanswered::Refused(Refusal::Broken(text) | Refusal::Ahead(text)) => Self::Broken(text),
            Unanswered::Refused(Refusal::Unknown) => {
                Self::Unreachable("its home does not know the namespace yet".to_owned())
            }
            Unanswered::Refused(Refusal::NotHere | Refusal::NotUnderstood | Refusal::OtherServers) => {
                Self::Unreachable("who should have it does not".to_owned())
            }
        }
    }
}

/// See the module.
pub(crate) struct Reach {
    servers: Arc<dyn Servers>,
    room: Room,
    away: Mutex<HashMap<NodeName, Vec<Missed>>>,
}

/// When a server gave no answer, of which kind; of all, if it was lost.
type Missed = (Option<Kind>, Instant);

impl Reach {
    pub(crate) fn new(servers: Arc<dyn Servers>, room: Room) -> Self {
        Self { servers, room, away: Mutex::default() }
    }

    /// Whether a server was found to be away a moment ago, for what is of this kind.
    pub(crate) fn is_away(&self, server: &NodeName, kind: Kind) -> bool {
        let counts = |(of, since): &Missed| of.is_none_or(|of| of == kind) && since.elapsed() < AWAY_REST;
        self.away().get(server).is_some_and(|missed| missed.iter().any(counts))
    }

    /// Asks a server. The room is for the values in the answer.
    pub(crate) async fn ask(
        &self,
        server: &NodeName,
        question: &Question,
    ) -> Result<(Answer, Taken), Unanswered> {
        let (octets, kind) = (question.write(), Kind::of(question));
        let mut request = Request::new(Body::full(octets.clone()));
        *request.uri_mut() = http::Uri::from_static(PATH);
        let within = within(kind, octets.len());
        let response = match timeout(within, self.servers.ask(server, SERVICE, request)).await {
            Ok(Ok(response)) => response,
            // It is there, or was, and has too much to do.
            Ok(Err(NoAnswer::Busy)) => return Err(Unanswered::Refused(Refusal::Busy)),
            Ok(Err(NoAnswer::Lost)) => return Err(self.missed(server, None)),
            // Its version does not have this service. As long as that is so it takes no writes from anybody; what it may have taken
            // before, under another version, it took as a server does that goes away then: the other replica has it, or gets it when
            // it comes back. So its namespaces are the other replica's meanwhile, and while a network is upgraded to a version
            // with the service, those servers that have it serve.
            Ok(Err(NoAnswer::Declined)) => return Err(self.missed(server, None)),
            Err(_) => return Err(self.missed(server, Some(kind))),
        };
        self.answered(server, kind);
        if response.status() != StatusCode::OK {
            return Err(Unanswered::Refused(Refusal::NotUnderstood));
        }
        let body = response.into_body();
        let length =
            body.length().map_or(UNKNOWN_OCTETS, |length| usize::try_from(length).unwrap_or(usize::MAX));
        let taken = self.room.take(length).ok_or(Unanswered::NoRoom)?;
        let octets = match timeout(WITHIN + moving(length), body.collect(BODY_OCTETS_MAX)).await {
            Ok(Ok(octets)) => octets,
            Ok(Err(_)) => return Err(self.missed(server, None)),
            Err(_) => return Err(self.missed(server, Some(kind))),
        };
        match Answer::read(octets) {
            Ok(Answer::Refused(refusal)) => Err(Unanswered::Refused(refusal)),
            Ok(answer) => Ok((answer, taken)),
            Err(_) => Err(Unanswered::Refused(Refusal::NotUnderstood)),
        }
    }

    fn missed(&self, server: &NodeName, of: Option<Kind>) -> Unanswered {
        let mut away = self.away();
        let missed = away.entry(server.clone()).or_default();
        missed.retain(|(it, _)| *it != of);
        missed.push((of, Instant::now()));
        Unanswered::Away(server.clone())
    }

    fn answered(&self, server: &NodeName, kind: Kind) {
        if let Some(missed) = self.away().get_mut(server) {
            missed.retain(|(of, _)| of.is_some_and(|of| of != kind));
        }
    }

    fn away(&self) -> std::sync::MutexGuard<'_, HashMap<NodeName, Vec<Missed>>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long this server's own store may take for a write of so many octets: no longer than another one.
pub(crate) fn within_here(octets: usize) -> Duration {
    WITHIN + moving(octets)
}

/// How long a server may take to begin its answer, from when so many octets are sent: longer than those that it asks itself.
fn within(kind: Kind, octets: usize) -> Duration {
    match kind {
        // From its cache, or from one replica, or from the other one.
        Kind::Near => WITHIN * 3 + moving(octets),
        // It waits for its replica of the log, for its store, and for the other replica.
        Kind::Write => KNOWN_WITHIN + (WITHIN + moving(octets)) * 3,
        _ => WITHIN + moving(octets),
    }
}

/// How long octets may be under way.
fn moving(octets: usize) -> Duration {
    Duration::from_secs((octets.min(BODY_OCTETS_MAX) / OCTETS_PER_SECOND) as u64)
}

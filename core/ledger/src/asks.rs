//! Questions to the log's node that are no part of the state: what servers have counted and would have kept, for
//! instance, which every server would otherwise have to hold.
//!
//! ```text
//!   a service ── Log::ask(topic, question) ──▶ RemoteLog ── TLS ──▶ Server ──▶ Desk ──▶ who answers that topic
//!  (any node)                                  (the connection of appends)      (log's node)
//! ```
//!
//! # Invariants
//! * Nothing here is durable, and nothing waits for it that serves: a question is answered within [`ASK_DEADLINE`], or
//!   has failed.
//! * **At least once.** A question may come again when a connection breaks before its answer; who answers must bear it.
//! * Both sides of the connection are nodes of the cluster; who answers trusts them as far.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;

/// How long a question may take, with its way.
pub const ASK_DEADLINE: Duration = Duration::from_secs(5);
/// Octets of a question, or of an answer.
pub const ASK_OCTETS_MAX: usize = 1 << 20;

/// Answers the questions of a topic.
#[async_trait]
pub trait Answers: Send + Sync + 'static {
    /// The answer, or why there is none, in words for who asks. It may be dropped before it is done.
    async fn answer(&self, question: Vec<u8>) -> Result<Vec<u8>, String>;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The log's node was not reached in time.
    #[error("the log's node was not reached within {ASK_DEADLINE:?} ({0})")]
    Unreachable(String),
    /// It is more than may be sent.
    #[error("the question or its answer has more than {ASK_OCTETS_MAX} octets")]
    TooLarge,
    /// Too many questions wait.
    #[error("too many questions wait for the log's node; try again later")]
    Busy,
    /// Nobody there answers such questions: that service does not run there.
    #[error("the log's node answers no questions about `{0}`")]
    Nobody(String),
    /// Who answers says why not.
    #[error("{0}")]
    Refused(String),
}

/// Who answers what, at the log's node. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Desk(Arc<RwLock<BTreeMap<&'static str, Arc<dyn Answers>>>>);

impl Desk {
    /// From now on this one answers the questions of a topic.
    pub(crate) fn seat(&self, topic: &'static str, answers: Arc<dyn Answers>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(topic, answers);
    }

    pub(crate) async fn answer(&self, topic: &str, question: Vec<u8>) -> Result<Vec<u8>, AskError> {
        if question.len() > ASK_OCTETS_MAX {
            return Err(AskError::TooLarge);
        }
        let answers = self.0.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned();
        let answers = answers.ok_or_else(|| AskError::Nobody(topic.to_owned()))?;
        let late = |_| AskError::Unreachable("it is still working on the answer".to_owned());
        let answer = tokio::time::timeout(ASK_DEADLINE, answers.answer(question)).await.map_err(late)?;
        match answer {
            Ok(answer) if answer.len() > ASK_OCTETS_MAX => Err(AskError::TooLarge),
            answer => answer.map_err(AskError::Refused),
        }
    }
}

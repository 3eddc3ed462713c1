//! Asking a bucket's home: its answer, or in bounded time that there is none.

use std::{sync::Arc, time::Duration};

use http::{Request, Uri};
use proxima_model::NodeName;
use proxima_pipeline::{Body, NoAnswer, NoPlace, ObjectError, ServerPlaces, Servers};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{
    answers::WAIT_EVERY,
    body::{Coming, Sent, Unread, Wanted},
    wire::{self, ANSWER_OCTETS_MAX, Answer, Asked, PATH, QUESTION_OCTETS_MAX},
};
use crate::SERVICE;

/// How long a server may take to begin its answer, which it does before it has looked at the question: a connection must be made,
/// and some round trips around the world.
const BEGIN_WITHIN: Duration = Duration::from_secs(8);
/// How long a server may say nothing while it is at it: some waits of it may be late.
const SILENCE_MAX: Duration = WAIT_EVERY.saturating_mul(4);

/// An answer and what follows it.
pub(super) struct Answered {
    pub(super) answer: Answer,
    coming: Coming,
    /// Kept as long as something comes.
    held: (OwnedSemaphorePermit, Wanted),
}

impl Answered {
    /// The octets that follow, as many as the answer says.
    pub(super) fn body(self, octets: u64) -> Body {
        self.coming.rest(Some(octets)).holding(self.held)
    }
}

/// See the module.
pub(crate) struct Reach {
    servers: Arc<dyn Servers>,
    places: ServerPlaces,
}

impl Reach {
    pub(crate) fn new(servers: Arc<dyn Servers>) -> Self {
        let places = ServerPlaces::new(&*servers);
        Self { servers, places }
    }

    pub(super) fn servers(&self) -> &dyn Servers {
        &*self.servers
    }

    /// Asks a server; what is put goes with the question, as fast as it takes it.
    pub(super) async fn ask(
        &self,
        server: &NodeName,
        asked: &Asked,
        body: Body,
    ) -> Result<Answered, ObjectError> {
        let away = |what: &str| ObjectError::Unreachable(format!("{server} {what}"));
        let place = self.places.take(server).map_err(|why| match why {
            NoPlace::Unknown => away("is none of this network's servers"),
            NoPlace::Busy => ObjectError::Busy,
        })?;
        let head = wire::write(asked, QUESTION_OCTETS_MAX)
            .map_err(|_| ObjectError::Invalid("more is asked for than one request may say".to_owned()))?;
        let (sent, wanted) = Sent::new(head, body);
        let mut request = Request::new(Body::stream(sent));
        *request.uri_mut() = Uri::from_static(PATH);
        // Whoever puts something and breaks off is to blame, and not the home.
        let lost = |what: &str| match wanted.failed() {
            Some(error) => ObjectError::from(error),
            None => away(what),
        };
        let begun = timeout(BEGIN_WITHIN, self.servers.ask(server, SERVICE, request)).await;
        let response = match begun {
            Ok(Ok(response)) => response,
            Ok(Err(NoAnswer::Busy)) => return Err(ObjectError::Busy),
            Ok(Err(NoAnswer::Declined)) => return Err(away("does not take it")),
            Ok(Err(NoAnswer::Lost)) | Err(_) => return Err(lost("does not answer")),
        };
        if !response.status().is_success() {
            return Err(away("runs another version"));
        }
        let mut coming = Coming::new(response.into_body());
        match coming.head(ANSWER_OCTETS_MAX, SILENCE_MAX).await {
            Ok(Answer::Refused(refusal)) => Err(refusal.into()),
            Ok(answer) => Ok(Answered { answer, coming, held: (place, wanted) }),
            Err(Unread::Lost) => Err(lost("broke off")),
            Err(Unread::Malformed) => Err(away("runs another version")),
        }
    }
}

//! What is asked of an object, and why it is not answered, as it goes between Workers, the node, and other servers.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proxima_model::DurableObjectId;
use proxima_pipeline::{Body, Fault, Response};
use serde::{Deserialize, Serialize};

use super::PASSED_OCTETS_MAX;
use crate::facts::decoded;

/// What is asked for; and in an answer what became of it, unless the object itself answers: `value` or `threw` of the process, or a
/// [`Refusal`]'s word.
pub(super) const OUTCOME: HeaderName = HeaderName::from_static("proxima-durable");
/// The outcome of what is being handed over.
pub(super) const MOVING: &str = "moving";
/// Octets of an object's or a method's name.
const NAME_OCTETS_MAX: usize = 1024;

/// Which object is asked, and what of it: by a request, unless a method or a property is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) id: DurableObjectId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) property: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) turn: Option<Turn>,
}

/// Which of the calls of one stub, of those that were under way at a time: an object begins with them in the order in which they were
/// made, whichever came first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Turn {
    /// A name that nobody else gives.
    line: String,
    /// From 0.
    number: u32,
    /// The first of those that have no answer yet.
    from: u32,
}

impl Asked {
    /// Takes what a Worker asks for out of its request's fields; `None` where that cannot be read.
    pub(super) fn take(headers: &mut HeaderMap) -> Option<Self> {
        decoded::<Self>(&headers.remove(OUTCOME)?).filter(Self::is_bounded)
    }

    pub(super) fn is_bounded(&self) -> bool {
        let line = self.turn.as_ref().map(|turn| &turn.line);
        let texts = [self.name.as_ref(), self.method.as_ref(), self.property.as_ref(), line];
        texts.into_iter().flatten().all(|text| text.len() <= NAME_OCTETS_MAX)
    }

    /// Refuses what is too long to be passed to a method.
    pub(super) fn check_length(&self, body: &Body) -> Result<(), Refusal> {
        if self.method.is_none() || body.length().is_some_and(|octets| octets <= PASSED_OCTETS_MAX) {
            return Ok(());
        }
        Err(Refusal::refused(&format!(
            "what is passed to its method has more than {PASSED_OCTETS_MAX} octets"
        )))
    }
}

/// Why an object does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Durable Object cannot be asked: {message}")]
pub(super) struct Refusal {
    /// For who reads by program: `refused`, `away` (later it may be there), `busy`, `lost` (whether it was done is not known); between
    /// servers also `moving` (it is being handed over, and nothing was done).
    pub(super) outcome: &'static str,
    status: StatusCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn refused(message: &str) -> Self {
        Self { outcome: "refused", status: StatusCode::BAD_REQUEST, message: message.to_owned() }
    }

    pub(super) fn unreadable() -> Self {
        Self::refused("what is asked for cannot be read")
    }

    /// Its home cannot be reached, or cannot run it: it is nowhere else.
    pub(super) const fn away(message: String) -> Self {
        Self { outcome: "away", status: StatusCode::SERVICE_UNAVAILABLE, message }
    }

    /// It is where who is asked does not run it, or not yet: ask again soon.
    pub(super) fn moving(what: &str) -> Self {
        let (status, message) = (StatusCode::SERVICE_UNAVAILABLE, what.to_owned());
        Self { outcome: MOVING, status, message }
    }

    pub(super) fn is_moving(&self) -> bool {
        self.outcome == MOVING
    }

    /// The same for a Worker, which was not answered in time.
    pub(super) fn given_up(self) -> Self {
        Self::away(format!(
            "its objects change their server, and it took too long ({}); ask again",
            self.message
        ))
    }

    pub(super) fn busy() -> Self {
        let message = "the objects of this account are asked too much at a time".to_owned();
        Self { outcome: "busy", status: StatusCode::TOO_MANY_REQUESTS, message }
    }

    /// Its account has as many WebSockets open as it may.
    pub(super) fn crowded(open_max: usize) -> Self {
        let message = format!(
            "the objects of this account have {open_max} WebSockets open on its server, as many as they may"
        );
        Self { outcome: "busy", status: StatusCode::TOO_MANY_REQUESTS, message }
    }

    pub(super) fn lost() -> Self {
        let message = "it was cut off before it answered; what was asked may have been done".to_owned();
        Self { outcome: "lost", status: StatusCode::BAD_GATEWAY, message }
    }

    pub(super) fn broken(message: &str) -> Self {
        Self { outcome: "refused", status: StatusCode::INTERNAL_SERVER_ERROR, message: message.to_owned() }
    }

    /// Whether that is no fault of who asks.
    pub(super) fn is_ours(&self) -> bool {
        self.status.is_server_error()
    }

    /// As the Worker's stub reads it.
    pub(super) fn answer(&self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(OUTCOME, HeaderValue::from_static(self.outcome));
        Response { status: self.status, headers, body: Body::full(self.to_string()), ..Response::default() }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Overloaded => Self::busy(),
            Fault::WorkersUnavailable(why) => Self::away(why.to_owned()),
            Fault::WorkerLost | Fault::OriginTimeout => Self::lost(),
            Fault::WorkerExceeded(what) | Fault::WorkerLockedOut { last: what, .. } => Self {
                outcome: "lost",
                status: StatusCode::SERVICE_UNAVAILABLE,
                message: format!("it exceeded its resource limits: {what}"),
            },
            other => Self::broken(&other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::encoded;

    #[test]
    fn what_is_asked_for_is_taken_out_of_the_fields_and_bounded() {
        let asked = Asked {
            id: DurableObjectId::from_bytes([0xab; 32]),
            name: Some("zürich %1".to_owned()),
            method: Some("increment".to_owned()),
            property: None,
            turn: None,
        };
        let mut headers = HeaderMap::from_iter([(OUTCOME, encoded(&asked).expect("it can be written"))]);
        assert_eq!(Asked::take(&mut headers), Some(asked.clone()));
        assert_eq!(Asked::take(&mut headers), None);
        let long = Asked { method: Some("m".repeat(NAME_OCTETS_MAX + 1)), ..asked };
        assert_eq!(
            Asked::take(&mut HeaderMap::from_iter([(OUTCOME, encoded(&long).expect("it can be"))])),
            None
        );
        let (sender, unknown) = Body::channel(1, None);
        drop(sender);
        assert!(long.check_length(&unknown).is_err(), "of unknown length");
        assert!(long.check_length(&Body::full("[]")).is_ok());
    }
}

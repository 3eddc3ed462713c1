//! The one place where an error becomes an envelope.
//!
//! [`Code`] is the table of them; [`ApiError`] is one or several of them with words for people, and [`IntoResponse`] writes them.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use proxima_ledger::{AppendError, ReadError};
use proxima_model::Invalid;
use serde_json::json;

pub(crate) use crate::code::{Code, Fault, Retry};
use crate::limits;

/// Why the service cannot be made or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Its configuration is wrong.
    #[error("[control] {0}")]
    Config(String),
    /// The network's first account and token could not be made.
    #[error("making the first account and token: {0}")]
    Bootstrap(String),
    /// The given token is not one.
    #[error("the token to begin with is not one: {0}")]
    Token(Invalid),
    /// The resolver could not be made.
    #[error("making the resolver for delegations: {0}")]
    Resolver(String),
    /// A certificate could not be made.
    #[error("making a certificate: {0}")]
    Certificate(String),
    /// `[control.acme]` is wrong, or the client of the authority that it names cannot be made.
    #[error("{0}")]
    Acme(String),
    /// The replica could not be read.
    #[error("reading the replica: {0}")]
    Read(#[from] ReadError),
    /// The log did not take a change.
    #[error("appending to the log: {0}")]
    Append(#[from] AppendError),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    /// In words for whoever asked.
    pub(crate) message: String,
    /// Where in the body, as a JSON pointer (RFC 6901).
    pub(crate) pointer: Option<String>,
}

/// Why a request was not served: at least one problem; the first decides the status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; "))]
pub(crate) struct ApiError {
    pub(crate) problems: Vec<Problem>,
}

impl ApiError {
    /// One problem.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { problems: vec![Problem { code, message: message.into(), pointer: None }] }
    }

    /// Says where in the body it is.
    pub(crate) fn at(mut self, pointer: impl Into<String>) -> Self {
        let pointer = pointer.into();
        for problem in &mut self.problems {
            problem.pointer = Some(match problem.pointer.take() {
                Some(inner) => format!("{pointer}{inner}"),
                None => pointer.clone(),
            });
        }
        self
    }

    /// A field of ours that is wrong, under the code that its kind of thing has.
    pub(crate) fn invalid(code: Code, invalid: &Invalid) -> Self {
        let pointer = format!("/{}", invalid.field.replace('.', "/"));
        Self::new(code, invalid.to_string()).at(pointer)
    }

    /// A field of a record that is wrong.
    pub(crate) fn record(invalid: &Invalid) -> Self {
        let code = match invalid.field {
            "name" => Code::RecordNameInvalid,
            "type" => Code::RecordTypeInvalid,
            "proxied" => Code::ProxiedInvalid,
            "ttl" => Code::TtlInvalid,
            "priority" => Code::PriorityInvalid,
            "comment" | "tags" => Code::RecordTextInvalid,
            _ => Code::ContentInvalid,
        };
        Self::invalid(code, invalid)
    }

    /// What was asked for does not exist, or is somebody else's: nobody can tell which.
    pub(crate) fn no_object(path: &str) -> Self {
        let message = format!("Could not route to {path}, perhaps your object identifier is invalid?");
        Self::new(Code::NoObject, message)
    }

    /// A former state that is further back than one append goes.
    pub(crate) fn too_far(problem: &str) -> Self {
        Self::new(
            Code::SequenceInvalid,
            format!(
                "{problem}, and all of it must come back at once. Restore the zones that matter by importing their zone \
                 files (`proxima dns import`)"
            ),
        )
    }

    /// The first problem's code, which decides the status.
    pub(crate) fn code(&self) -> Code {
        self.problems.first().map_or(Code::Internal, |problem| problem.code)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooManyReaders => Self::new(Code::Busy, "too many requests at a time; ask again"),
            error => {
                tracing::error!(%error, "the replica cannot be read");
                Self::new(Code::ReplicaUnreadable, format!("this server's replica cannot be read: {error}"))
            }
        }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        let message = error.to_string();
        match error {
            AppendError::Precondition { .. } => {
                Self::new(Code::Conflict, "other changes came between again and again; ask again")
            }
            AppendError::KeyReused { .. } => Self::new(
                Code::KeyReused,
                "this Idempotency-Key was used before, with another body; nothing was changed. Use another key",
            ),
            AppendError::TooLarge { .. } => Self::new(Code::TooLong, message),
            AppendError::Invalid(_) => {
                // The log is there. Of what was to be changed, this server made something that is no change.
                tracing::error!(%error, "a change that cannot be written was asked of the log: nothing was changed");
                Self::new(Code::Internal, message)
            }
            error if error.may_retry() => Self::new(Code::LogUnreachable, message),
            error => {
                tracing::error!(%error, "the log refused a change");
                Self::new(Code::LogUnreachable, message)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.code();
        let errors: Vec<_> = self
            .problems
            .iter()
            .map(|problem| {
                let mut error = json!({ "code": problem.code.number(), "message": problem.message });
                if let Some(pointer) = &problem.pointer {
                    error["source"] = json!({ "pointer": pointer });
                }
                if problem.code == Code::CredentialsMalformed {
                    error["error_chain"] =
                        json!([{ "code": 6111, "message": "Invalid format for Authorization header" }]);
                }
                error
            })
            .collect();
        let body = json!({ "success": false, "errors": errors, "messages": [], "result": null });
        let mut response = (code.status(), Json(body)).into_response();
        let headers = response.headers_mut();
        if code.retry() == Retry::Later && code.status().is_server_error() {
            headers.insert(header::RETRY_AFTER, seconds(limits::RETRY_AFTER));
        }
        if code.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(code);
        response
    }
}

fn seconds(duration: Duration) -> HeaderValue {
    HeaderValue::from(duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_put_before_those_within() {
        let inner = ApiError::record(&Invalid::new("data.port", "99999 is not a number", "give 0 to 65535"));
        assert_eq!(inner.at("/posts/3").problems[0].pointer.as_deref(), Some("/posts/3/data/port"));
    }

    #[test]
    fn only_what_may_succeed_later_says_when_to_ask_again() {
        let busy = ApiError::new(Code::LogUnreachable, "away").into_response();
        assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(busy.headers()[header::RETRY_AFTER], "5");
        let wrong = ApiError::new(Code::RecordExists, "twice").into_response();
        assert!(!wrong.headers().contains_key(header::RETRY_AFTER));
    }
}

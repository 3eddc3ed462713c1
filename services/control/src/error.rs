//! The one place where an error becomes an envelope.
//!
//! [`Code`] is the table: for each error its number in the v4 API (where clients look for one, it is theirs), the HTTP
//! status, whose fault it is and whether the same request may succeed later. [`ApiError`] is one or several of them with
//! words for people, and [`IntoResponse`] writes them.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use proxima_ledger::{AppendError, ReadError};
use proxima_model::Invalid;
use serde_json::json;

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

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Whoever asked.
    Client,
    /// Ours.
    Proxima,
}

/// Whether the same request may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It will fail again.
    Never,
    /// It may succeed when it is sent again, unchanged.
    Later,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $status:ident, $fault:ident, $retry:ident;)*) => {
        /// Every error that the API answers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its number.
            pub(crate) const fn number(self) -> u32 {
                match self { $(Self::$name => $number,)* }
            }

            /// The status of the answer.
            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// Whose fault it is.
            pub(crate) const fn fault(self) -> Fault {
                match self { $(Self::$name => Fault::$fault,)* }
            }

            /// Whether to ask again.
            pub(crate) const fn retry(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)* }
            }
        }
    };
}

codes! {
    // Who asks.
    /// No credentials.
    CredentialsMissing = 9106, UNAUTHORIZED, Client, Never;
    /// Credentials of a shape that no token has.
    CredentialsMalformed = 6003, BAD_REQUEST, Client, Never;
    /// No such token, or another secret.
    TokenInvalid = 1000, UNAUTHORIZED, Client, Never;
    /// A token that is disabled, expired or not valid yet.
    TokenUnusable = 10000, UNAUTHORIZED, Client, Never;
    /// A token without the permission.
    NotAllowed = 9109, FORBIDDEN, Client, Never;

    // What is asked.
    /// No such path.
    NoRoute = 7000, NOT_FOUND, Client, Never;
    /// A path whose zone, account or other object does not exist, or is somebody else's: both look the same.
    NoObject = 7003, NOT_FOUND, Client, Never;
    /// A path that has no such method.
    WrongMethod = 7001, METHOD_NOT_ALLOWED, Client, Never;
    /// A body that is not JSON of the right shape.
    BodyInvalid = 9207, BAD_REQUEST, Client, Never;
    /// A body of another content type.
    ContentType = 6007, UNSUPPORTED_MEDIA_TYPE, Client, Never;
    /// A body or query that is too long.
    TooLong = 7002, PAYLOAD_TOO_LARGE, Client, Never;
    /// A query parameter that is wrong.
    QueryInvalid = 1012, BAD_REQUEST, Client, Never;
    /// Something of the v4 API that does not exist here yet.
    NotOffered = 1107, BAD_REQUEST, Client, Never;

    // Zones, accounts, tokens.
    /// A name that no zone can have.
    ZoneNameInvalid = 1001, BAD_REQUEST, Client, Never;
    /// A zone of this name exists.
    ZoneExists = 1061, BAD_REQUEST, Client, Never;
    /// An account that does not exist, or is somebody else's.
    AccountInvalid = 1068, BAD_REQUEST, Client, Never;
    /// A setting that does not exist.
    SettingUnknown = 1006, NOT_FOUND, Client, Never;
    /// A value that a setting cannot have.
    SettingInvalid = 1007, BAD_REQUEST, Client, Never;
    /// Any other field that is wrong.
    FieldInvalid = 1009, BAD_REQUEST, Client, Never;
    /// A token that grants what its maker does not hold.
    TokenExceeds = 1097, FORBIDDEN, Client, Never;

    // Records.
    /// A name that no record can have.
    RecordNameInvalid = 9000, BAD_REQUEST, Client, Never;
    /// A type that does not exist here.
    RecordTypeInvalid = 9001, BAD_REQUEST, Client, Never;
    /// A record that cannot be proxied.
    ProxiedInvalid = 9004, BAD_REQUEST, Client, Never;
    /// Content that its type does not have.
    ContentInvalid = 9005, BAD_REQUEST, Client, Never;
    /// A time to live out of range.
    TtlInvalid = 9021, BAD_REQUEST, Client, Never;
    /// A priority out of range.
    PriorityInvalid = 9104, BAD_REQUEST, Client, Never;
    /// A comment or tag that is too long.
    RecordTextInvalid = 9300, BAD_REQUEST, Client, Never;
    /// More records than a zone or a name may have.
    RecordQuota = 81045, BAD_REQUEST, Client, Never;
    /// A record that does not exist.
    RecordNotFound = 81044, NOT_FOUND, Client, Never;
    /// An alias where another record says where the host is.
    HostExists = 81053, BAD_REQUEST, Client, Never;
    /// A record where an alias is.
    AliasExists = 81054, BAD_REQUEST, Client, Never;
    /// A record of a custom domain of a Worker.
    RecordManaged = 1046, BAD_REQUEST, Client, Never;
    /// An identical record.
    RecordExists = 81058, BAD_REQUEST, Client, Never;
    /// A line of a zone file.
    ZoneFileInvalid = 81061, BAD_REQUEST, Client, Never;

    // Rules, certificates, purges, transfers, traces.
    /// A ruleset or rule that does not exist.
    RulesetNotFound = 10003, NOT_FOUND, Client, Never;
    /// A rule that is not one.
    RuleInvalid = 20120, BAD_REQUEST, Client, Never;
    /// A certificate that does not exist.
    CertificateNotFound = 1301, NOT_FOUND, Client, Never;
    /// A certificate or key that cannot be used.
    CertificateInvalid = 1302, BAD_REQUEST, Client, Never;
    /// A purge that is not one.
    PurgeInvalid = 1094, BAD_REQUEST, Client, Never;
    /// A peer, key, range or configuration of zone transfers that does not exist.
    TransferNotFound = 81100, NOT_FOUND, Client, Never;
    /// One that cannot be so.
    TransferInvalid = 81101, BAD_REQUEST, Client, Never;
    /// A request that cannot be traced.
    TraceInvalid = 1305, BAD_REQUEST, Client, Never;

    // Workers.
    /// A Worker that does not exist.
    WorkerNotFound = 10007, NOT_FOUND, Client, Never;
    /// A Worker that does not exist, asked for as a service.
    ServiceNotFound = 10090, NOT_FOUND, Client, Never;
    /// An upload or settings of a Worker that cannot be so.
    WorkerInvalid = 10006, BAD_REQUEST, Client, Never;
    /// A Worker that is too large.
    WorkerTooLarge = 10027, PAYLOAD_TOO_LARGE, Client, Never;
    /// More Workers, or of them, than an account may have.
    WorkerQuota = 10037, BAD_REQUEST, Client, Never;
    /// A binding that is inherited from a version that does not have it.
    InheritInvalid = 10057, BAD_REQUEST, Client, Never;
    /// A Worker that others bind to.
    WorkerInUse = 10064, BAD_REQUEST, Client, Never;
    /// A version or deployment that does not exist.
    WorkerVersionNotFound = 10221, NOT_FOUND, Client, Never;
    /// A change of the version that answers, while that is not the latest one.
    VersionNotDeployed = 10215, BAD_REQUEST, Client, Never;
    /// A secret that does not exist.
    SecretNotFound = 10056, NOT_FOUND, Client, Never;
    /// A route that does not exist.
    RouteNotFound = 10024, NOT_FOUND, Client, Never;
    /// A pattern that no route can have.
    RouteInvalid = 10082, BAD_REQUEST, Client, Never;
    /// A route of the same pattern.
    RouteExists = 10083, BAD_REQUEST, Client, Never;
    /// A custom domain that does not exist.
    DomainNotFound = 100_114, NOT_FOUND, Client, Never;
    /// A host that cannot be a custom domain.
    DomainInvalid = 100_115, BAD_REQUEST, Client, Never;
    /// A custom domain where something else says where the host is.
    DomainConflict = 100_117, BAD_REQUEST, Client, Never;

    // Keys and values. Products of v4 number their errors apart from each other: some numbers mean something else elsewhere.
    /// A key that has no value.
    KvKeyNotFound = 10009, NOT_FOUND, Client, Never;
    /// A namespace that does not exist.
    KvNamespaceNotFound = 10013, NOT_FOUND, Client, Never;
    /// A namespace of this title exists.
    KvTitleTaken = 10014, BAD_REQUEST, Client, Never;
    /// More namespaces than an account may have.
    KvQuota = 10018, BAD_REQUEST, Client, Never;
    /// A title that no namespace can have.
    KvTitleInvalid = 10019, BAD_REQUEST, Client, Never;
    /// A value, what is said of it, or a body of many that is too large.
    KvTooLarge = 10024, PAYLOAD_TOO_LARGE, Client, Never;
    /// A limit out of range.
    KvLimitInvalid = 10028, BAD_REQUEST, Client, Never;
    /// A key that no value can have.
    KvKeyInvalid = 10030, BAD_REQUEST, Client, Never;
    /// A key that is too long.
    KvKeyTooLong = 10030, URI_TOO_LONG, Client, Never;
    /// A value, what is said of it, or a time to live that cannot be so.
    KvValueInvalid = 10033, BAD_REQUEST, Client, Never;
    /// A namespace that is bound to, but does not exist.
    KvBindingInvalid = 10041, BAD_REQUEST, Client, Never;
    /// A namespace to which Workers are bound.
    KvInUse = 10052, BAD_REQUEST, Client, Never;
    /// Keys and values cannot be reached, or not be kept.
    KvUnavailable = 10023, SERVICE_UNAVAILABLE, Proxima, Later;
    /// This server has no keys and values.
    KvAbsent = 10025, SERVICE_UNAVAILABLE, Proxima, Never;
    /// A bucket of this name exists. Products of v4 number their errors apart: some numbers mean something else elsewhere.
    BucketExists = 10004, CONFLICT, Client, Never;
    /// A name that no bucket can have.
    BucketNameInvalid = 10005, BAD_REQUEST, Client, Never;
    /// A bucket that does not exist.
    BucketNotFound = 10006, NOT_FOUND, Client, Never;
    /// A key that has no object.
    ObjectNotFound = 10007, NOT_FOUND, Client, Never;
    /// A bucket that is to be deleted has objects.
    BucketNotEmpty = 10008, CONFLICT, Client, Never;
    /// More buckets than an account may have.
    BucketQuota = 10009, BAD_REQUEST, Client, Never;
    /// More is said of an object than may be.
    ObjectMetadataTooLarge = 10012, BAD_REQUEST, Client, Never;
    /// A key that no object can have.
    ObjectKeyInvalid = 10020, BAD_REQUEST, Client, Never;
    /// Something else of an object that cannot be so.
    ObjectInvalid = 10029, BAD_REQUEST, Client, Never;
    /// An object that is too large for one request.
    ObjectTooLarge = 100_100, PAYLOAD_TOO_LARGE, Client, Never;
    /// A disk is full.
    ObjectsFull = 10044, INSUFFICIENT_STORAGE, Proxima, Later;
    /// Objects cannot be reached, or not be read.
    ObjectsUnavailable = 10043, SERVICE_UNAVAILABLE, Proxima, Later;

    // Ours.
    /// Other writes came between, again and again.
    Conflict = 10013, CONFLICT, Proxima, Later;
    /// What an idempotency key made is no longer there, or can be shown only once.
    RepeatGone = 10014, CONFLICT, Client, Never;
    /// An idempotency key that was used for something else.
    KeyReused = 10019, CONFLICT, Client, Never;
    /// A place in the log that cannot be gone back to.
    SequenceInvalid = 10020, BAD_REQUEST, Client, Never;
    /// A change on a condition that does not hold.
    ConditionFailed = 10021, PRECONDITION_FAILED, Client, Never;
    /// Too many requests at a time.
    Busy = 971, SERVICE_UNAVAILABLE, Proxima, Later;
    /// It took too long.
    Timeout = 10015, GATEWAY_TIMEOUT, Proxima, Later;
    /// The state that was asked for has not come here yet.
    NotYet = 10016, GATEWAY_TIMEOUT, Proxima, Later;
    /// The log cannot be reached or takes no changes: reads go on.
    LogUnreachable = 10017, SERVICE_UNAVAILABLE, Proxima, Later;
    /// What was counted cannot be had from where it is kept.
    CountsUnavailable = 10022, SERVICE_UNAVAILABLE, Proxima, Later;
    /// This server's replica cannot be read.
    ReplicaUnreadable = 10018, SERVICE_UNAVAILABLE, Proxima, Later;
    /// A fault of ours.
    Internal = 10001, INTERNAL_SERVER_ERROR, Proxima, Never;
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
        Self::new(
            Code::NoObject,
            format!("Could not route to {path}, perhaps your object identifier is invalid?"),
        )
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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_of_a_product_is_told_apart_by_number_and_status_which_fits_its_fault() {
        let of_r2 = |code: &Code| ["Bucket", "Object"].iter().any(|of| format!("{code:?}").starts_with(of));
        let told = |code: &Code| (of_r2(code), code.number(), code.status().as_u16());
        assert_eq!(Code::ALL.iter().map(told).collect::<BTreeSet<_>>().len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            if code.fault() == Fault::Client {
                assert!(code.status().is_client_error(), "{code:?}");
            }
        }
    }

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

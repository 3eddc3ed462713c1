//! What can fail on a request's way: whose fault it was and whether trying again may help are data of it.

use http::StatusCode;

use crate::BodyError;

/// Whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The client asked wrongly.
    Client,
    /// The site's origin, or the site's configuration, failed.
    Origin,
    /// We failed.
    Proxima,
}

/// Which of its limits a Worker exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// Time of a processor.
    #[error("it took more time of a processor than it may")]
    Cpu,
    /// Memory.
    #[error("it took more memory than it may")]
    Memory,
    /// It ended the process that ran it.
    #[error("it ended the process that ran it")]
    Process,
}

/// What failed. Statuses 520 to 530 have the meanings that operators know from Cloudflare.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The request is malformed, or of a shape that is used for smuggling.
    #[error("the request is malformed: {0}")]
    BadRequest(&'static str),
    /// The request did not arrive in time.
    #[error("the request did not arrive in time")]
    RequestTimeout,
    /// The body is too long.
    #[error("the request's body is longer than is allowed")]
    BodyTooLarge,
    /// The target is too long.
    #[error("the request's target is longer than is allowed")]
    TargetTooLong,
    /// The fields are too many or too long.
    #[error("the request's header fields are too many or too long")]
    HeadersTooLarge,
    /// The method is not served.
    #[error("the method is not allowed here")]
    MethodNotAllowed,
    /// A coding or a version that is not spoken here.
    #[error("not implemented: {0}")]
    NotImplemented(&'static str),
    /// An expectation other than `100-continue` (RFC 9110, 10.1.1).
    #[error("the request expects what cannot be promised here")]
    ExpectationUnmet,
    /// A version of HTTP that is not spoken here.
    #[error("this version of HTTP is not spoken here")]
    VersionUnsupported,
    /// The host asked for is not the one of the TLS session (RFC 9110, 7.4).
    #[error("the host asked for is not one of this TLS session")]
    Misdirected,
    /// No zone here has that host.
    #[error("this network serves no site of that name")]
    HostUnknown,
    /// The zone's owner forbids what was asked for.
    #[error("the site does not allow this: {0}")]
    Forbidden(&'static str),
    /// The request has come through us before.
    #[error("the request has already passed through this network: the site's origin leads back to it")]
    Loop,
    /// The cache alone was asked, and it has nothing (RFC 9111, 5.2.1.7).
    #[error("only a cached answer was asked for, and there is none")]
    NotCached,
    /// The origin's answer is not HTTP as it should be (520).
    #[error("the origin's answer is malformed: {0}")]
    OriginMalformed(&'static str),
    /// The origin closed the connection without an answer (520).
    #[error("the origin closed the connection without an answer")]
    OriginClosed,
    /// The origin refuses connections (521).
    #[error("the origin refuses connections")]
    OriginDown,
    /// Connecting took too long (522).
    #[error("connecting to the origin took too long")]
    OriginConnectTimeout,
    /// There is no way to the origin (523).
    #[error("the origin cannot be reached")]
    OriginUnreachable,
    /// The answer took too long (524).
    #[error("the origin's answer took too long")]
    OriginTimeout,
    /// The TLS handshake failed (525).
    #[error("the TLS handshake with the origin failed")]
    OriginTls,
    /// The certificate does not hold (526).
    #[error("the origin's certificate is not valid")]
    OriginCertificate,
    /// The origin's name has no address (530, 1016).
    #[error("the origin's name does not resolve")]
    OriginName,
    /// The origin's address is one to which we must not connect (530, 1000).
    #[error("the origin's address is not allowed")]
    OriginForbidden,
    /// The site's Worker threw an exception (500, 1101).
    #[error("the site's Worker threw an exception")]
    WorkerThrew,
    /// The site's Worker cannot be started, or is not there (500, 1101).
    #[error("the site's Worker cannot be run: {0}")]
    WorkerBroken(&'static str),
    /// The site's Worker took more than it may (503, 1102).
    #[error("the site's Worker exceeded its resource limits: {0}")]
    WorkerExceeded(Exceeded),
    /// It did so again and again, and is not run for a while (503, 1102).
    #[error(
        "the site's Worker exceeded its resource limits again and again, and is not run for {seconds} s: {last}"
    )]
    WorkerLockedOut {
        /// What it did the last time.
        last: Exceeded,
        /// For how long it is not run from now on.
        seconds: u64,
    },
    /// The site's Workers ask each other without end (508, 1019).
    #[error("the site's Workers ask each other again and again")]
    WorkerLoop,
    /// The site's Worker was cut off, without its fault as far as can be told, and the request may not be sent twice (502).
    #[error("the site's Worker was cut off before it answered")]
    WorkerLost,
    /// Nothing can run a Worker here at the moment (503).
    #[error("Workers cannot be run on this server: {0}")]
    WorkersUnavailable(&'static str),
    /// The objects of a public bucket cannot be read at the moment (503).
    #[error("the bucket's objects cannot be read at the moment")]
    BucketUnavailable,
    /// A server of ours was asked for more than it knows: it has not heard yet of purges that the asking one has carried
    /// out. Never a client's answer.
    #[error("this server has not heard of all purges yet")]
    Behind,
    /// We have too much to do.
    #[error("this server is overloaded")]
    Overloaded,
    /// A defect of ours, or a broken replica.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl Fault {
    /// What a request's body that ended early says about the client.
    pub const fn of_request_body(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::BodyTooLarge,
            BodyError::TimedOut => Self::RequestTimeout,
            BodyError::WrongLength => Self::BadRequest("its body is not as long as its head says"),
            BodyError::Malformed => Self::BadRequest("its body's framing is malformed"),
            BodyError::Aborted => Self::BadRequest("its body was cut off"),
        }
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        let code = match self {
            Self::BadRequest(_) => 400,
            Self::Forbidden(_) => 403,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::TargetTooLong => 414,
            Self::ExpectationUnmet => 417,
            Self::Misdirected => 421,
            Self::HeadersTooLarge => 431,
            Self::Internal(_) | Self::WorkerThrew | Self::WorkerBroken(_) => 500,
            Self::NotImplemented(_) => 501,
            Self::WorkerLost => 502,
            Self::Overloaded
            | Self::Behind
            | Self::WorkerExceeded(_)
            | Self::WorkerLockedOut { .. }
            | Self::WorkersUnavailable(_)
            | Self::BucketUnavailable => 503,
            Self::NotCached => 504,
            Self::VersionUnsupported => 505,
            Self::Loop | Self::WorkerLoop => 508,
            Self::OriginMalformed(_) | Self::OriginClosed => 520,
            Self::OriginDown => 521,
            Self::OriginConnectTimeout => 522,
            Self::OriginUnreachable => 523,
            Self::OriginTimeout => 524,
            Self::OriginTls => 525,
            Self::OriginCertificate => 526,
            Self::OriginName | Self::OriginForbidden | Self::HostUnknown => 530,
        };
        StatusCode::from_u16(code).expect("every code above is a status")
    }

    /// The finer code that an error page shows: Cloudflare's 1xxx where one exists, else the status.
    pub fn code(&self) -> u16 {
        match self {
            Self::OriginForbidden => 1000,
            Self::HostUnknown => 1001,
            Self::OriginName => 1016,
            Self::WorkerThrew | Self::WorkerBroken(_) => 1101,
            Self::WorkerExceeded(_) | Self::WorkerLockedOut { .. } => 1102,
            Self::WorkerLoop => 1019,
            other => other.status().as_u16(),
        }
    }

    /// A name for logs, metrics and programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::RequestTimeout => "request_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NotImplemented(_) => "not_implemented",
            Self::ExpectationUnmet => "expectation_unmet",
            Self::VersionUnsupported => "version_unsupported",
            Self::Misdirected => "misdirected",
            Self::HostUnknown => "host_unknown",
            Self::Forbidden(_) => "forbidden",
            Self::Loop => "loop",
            Self::NotCached => "not_cached",
            Self::OriginMalformed(_) => "origin_malformed",
            Self::OriginClosed => "origin_closed",
            Self::OriginDown => "origin_down",
            Self::OriginConnectTimeout => "origin_connect_timeout",
            Self::OriginUnreachable => "origin_unreachable",
            Self::OriginTimeout => "origin_timeout",
            Self::OriginTls => "origin_tls",
            Self::OriginCertificate => "origin_certificate",
            Self::OriginName => "origin_name",
            Self::OriginForbidden => "origin_forbidden",
            Self::WorkerThrew => "worker_threw",
            Self::WorkerBroken(_) => "worker_broken",
            Self::WorkerExceeded(_) => "worker_exceeded",
            Self::WorkerLockedOut { .. } => "worker_locked_out",
            Self::WorkerLoop => "worker_loop",
            Self::WorkerLost => "worker_lost",
            Self::WorkersUnavailable(_) => "workers_unavailable",
            Self::BucketUnavailable => "bucket_unavailable",
            Self::Overloaded => "overloaded",
            Self::Behind => "behind",
            Self::Internal(_) => "internal",
        }
    }

    /// The fault that another server met on the way to a site's origin, by its name; what it said beside is lost. `None`:
    /// a fault of this name is that server's own, and whoever asked it may ask another.
    pub fn met_by_another(name: &str) -> Option<Self> {
        let all = [
            Self::OriginMalformed("as another server of ours found"),
            Self::OriginClosed,
            Self::OriginDown,
            Self::OriginConnectTimeout,
            Self::OriginUnreachable,
            Self::OriginTimeout,
            Self::OriginTls,
            Self::OriginCertificate,
            Self::OriginName,
            Self::OriginForbidden,
            Self::Loop,
            // Its home is the same, whoever asks for it.
            Self::BucketUnavailable,
            // Of what one origin may be asked at a time: asking past that server would ask it for more.
            Self::Overloaded,
        ];
        all.into_iter().find(|fault| fault.name() == name)
    }

    /// Whose fault it was.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Internal(_)
            | Self::Overloaded
            | Self::Behind
            | Self::WorkerLost
            | Self::WorkersUnavailable(_)
            | Self::BucketUnavailable => Blame::Proxima,
            Self::WorkerThrew
            | Self::WorkerBroken(_)
            | Self::WorkerExceeded(_)
            | Self::WorkerLockedOut { .. }
            | Self::WorkerLoop => Blame::Origin,
            other if other.status().as_u16() >= 520 && *other != Self::HostUnknown => Blame::Origin,
            Self::Loop => Blame::Origin,
            _ => Blame::Client,
        }
    }

    /// Whether the same request may succeed a moment later.
    pub const fn retry(&self) -> bool {
        matches!(
            self,
            Self::RequestTimeout
                | Self::OriginClosed
                | Self::OriginDown
                | Self::OriginConnectTimeout
                | Self::OriginUnreachable
                | Self::OriginTimeout
                | Self::WorkerLost
                | Self::WorkersUnavailable(_)
                | Self::BucketUnavailable
                | Self::Overloaded
                | Self::Behind
        )
    }
}

//! The table of the API's errors: for each its number in the v4 API (where clients look for one, it is theirs), the HTTP status,
//! whose fault it is and whether the same request may succeed later.

use axum::http::StatusCode;

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
    /// A Worker that does not start.
    WorkerFails = 10021, BAD_REQUEST, Client, Never;
    /// A Worker that has nothing which could be asked.
    WorkerHandlesNothing = 10068, BAD_REQUEST, Client, Never;
    /// A Worker that is too large.
    WorkerTooLarge = 10027, PAYLOAD_TOO_LARGE, Client, Never;
    /// More Workers, or of them, than an account may have.
    WorkerQuota = 10037, BAD_REQUEST, Client, Never;
    /// A binding that is inherited from a version that does not have it.
    InheritInvalid = 10057, BAD_REQUEST, Client, Never;
    /// A Worker that others bind to, or a version without a class that has Durable Objects.
    WorkerInUse = 10064, BAD_REQUEST, Client, Never;
    /// A binding to a class that there are no Durable Objects of.
    DurableClassUnknown = 10061, BAD_REQUEST, Client, Never;
    /// A migration of classes that cannot be done.
    DurableMigration = 10074, BAD_REQUEST, Client, Never;
    /// A migration to a class that is not exported.
    DurableClassAbsent = 10070, BAD_REQUEST, Client, Never;
    /// Migrations that begin where the Worker is not.
    DurableTag = 10079, PRECONDITION_FAILED, Client, Never;
    /// A namespace of Durable Objects that does not exist.
    DurableNamespaceNotFound = 10066, NOT_FOUND, Client, Never;
    /// Objects that cannot be asked at the moment.
    DurableUnavailable = 10067, SERVICE_UNAVAILABLE, Proxima, Later;
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
    /// More live logs of a Worker than it may have.
    TailQuota = 10036, TOO_MANY_REQUESTS, Client, Later;

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
    /// No more keys and values can be kept.
    KvFull = 10023, INSUFFICIENT_STORAGE, Proxima, Later;
    /// Keys and values cannot be reached.
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
    /// An object on a condition that does not hold.
    ObjectConditionFailed = 10031, PRECONDITION_FAILED, Client, Never;
    /// A bucket that has no rules for other sites.
    BucketCorsAbsent = 10059, NOT_FOUND, Client, Never;
    /// Rules of event notifications for a queue that are not there.
    BucketNotificationNotFound = 11_011, NOT_FOUND, Client, Never;
    /// A rule of event notifications that cannot be so, or too many.
    BucketNotificationInvalid = 11_014, BAD_REQUEST, Client, Never;
    /// A bucket that has no rules of event notifications.
    BucketNotificationsAbsent = 11_015, NOT_FOUND, Client, Never;
    /// A rule of event notifications that could match what another one of the queue does.
    BucketNotificationOverlap = 11_020, CONFLICT, Client, Never;
    /// An object that is too large for one request.
    ObjectTooLarge = 100_100, PAYLOAD_TOO_LARGE, Client, Never;
    /// A disk is full.
    ObjectsFull = 10044, INSUFFICIENT_STORAGE, Proxima, Later;
    /// Objects cannot be reached, or not be read.
    ObjectsUnavailable = 10043, SERVICE_UNAVAILABLE, Proxima, Later;

    // Queues.
    /// A queue that does not exist.
    QueueNotFound = 11_000, NOT_FOUND, Client, Never;
    /// A consumer that does not exist.
    QueueConsumerNotFound = 11_001, NOT_FOUND, Client, Never;
    /// A name that no queue can have.
    QueueNameInvalid = 11_003, BAD_REQUEST, Client, Never;
    /// The queue has a consumer already.
    QueueConsumerExists = 11_004, BAD_REQUEST, Client, Never;
    /// A queue to which Workers are bound, or whose name another one's consumer names.
    QueueInUse = 11_005, BAD_REQUEST, Client, Never;
    /// A queue of this name exists.
    QueueNameTaken = 11_009, BAD_REQUEST, Client, Never;
    /// More queues than an account may have.
    QueueQuota = 11_010, BAD_REQUEST, Client, Never;
    /// A message, or what is asked about messages, that cannot be so.
    QueueMessageInvalid = 11_011, BAD_REQUEST, Client, Never;
    /// Settings that no consumer can have.
    QueueConsumerInvalid = 100_127, BAD_REQUEST, Client, Never;
    /// Settings that no queue can have.
    QueueInvalid = 100_128, BAD_REQUEST, Client, Never;
    /// Nothing more can be kept of a queue, or at all.
    QueueFull = 11_012, INSUFFICIENT_STORAGE, Proxima, Later;
    /// A queue cannot be reached, or not be read.
    QueueUnavailable = 11_013, SERVICE_UNAVAILABLE, Proxima, Later;
    /// This server has no queues.
    QueueAbsent = 11_014, SERVICE_UNAVAILABLE, Proxima, Never;

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
}

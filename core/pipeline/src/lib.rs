//! The one straight way of a request, and what it is carried in.
//!
//! ```text
//!  listener (h1, h2, later h3)                                        control (`proxima explain`)
//!      │ head + Body                                                      │ Explainer
//!      ▼                                                                  ▼
//!  Exchange ──▶ stage 1 ──▶ stage 2 ──▶ … ──▶ last stage (origin)   the same stages, traced in full
//!      ▲            │on_request: Continue, Respond(..) or Fail(..)
//!      │            ▼
//!      └── on_response, in reverse order, of every stage that had said Continue
//! ```
//!
//! Invariants:
//! * **Stages see only this crate's types and those of `http`**: no listener's and no HTTP library's. Whatever carries
//!   the bytes, the stages are the same.
//! * **One list, in order.** [`Pipeline::new`] takes the stages once; there is no registration and no priority.
//! * **Every exchange ends with a response.** A stage that fails says what failed ([`Fault`]); [`answer`] turns that
//!   into an answer, and is the only place that does.
//! * **Every stage writes what it decided** into the exchange's [`Trace`]; words are made only when somebody asked.
//! * **Nothing is buffered whole.** A [`Body`] is pulled: who reads slowly makes the sender wait.
//!
//! What it costs: a stage that decides without waiting returns [`Decision::Now`] and costs one virtual call and no
//! allocation; only one that waits is boxed ([`Decision::Later`]). A usual hit does not come this way at all: it is answered
//! at a glance (`glance.rs`), by the same stages in the same order.

mod answer;
mod body;
mod checks;
mod client_certificate;
mod durable;
pub mod entity_tags;
mod exchange;
mod explain;
mod fault;
mod fetch;
mod glance;
mod hop_by_hop;
mod http_date;
mod interim;
mod invoke;
mod key_value;
pub mod lists;
mod neighbours;
mod notices;
mod objects;
mod pipeline;
mod prewarm;
mod queries;
mod queues;
pub mod ranges;
mod ray;
mod rendezvous;
mod responses;
mod rules;
mod servers;
mod site;
mod stage;
pub mod structured;
mod tails;
mod tiers;
mod trace;
mod traffic;
mod workers;

pub use answer::answer;
pub use body::{Body, BodyError, BodySender};
pub use checks::{CheckWorkers, NewWorkerVersion, WorkerCheck, WorkerUnfit};
pub use client_certificate::ClientCertificate;
pub use durable::{DURABLE_LISTED_MAX, DurableAbout, DurableError, DurableObjects};
pub use exchange::{
    Client, Exchange, OriginChoice, Protocol, Request, Response, Scheme, TlsFacts, Upgraded, UpgradedIo,
};
pub use explain::{ExplainRequest, Explainer, Explanation};
pub use fault::{Blame, Exceeded, Fault};
pub use fetch::{Caller, Fetch, FetchCaching, Stranger, WorkerZones};
pub use glance::{
    Adding, Glance, Glanced, HEAD_FORMS, HeadForm, Heeded, Http1Form, PreparedHead, Ready, Sight,
    put_decimal, put_line,
};
pub use hop_by_hop::{frames_or_routes, is_hop_by_hop, strip_hop_by_hop};
pub use http_date::{http_date, read_http_date};
pub use interim::{Interim, Interims};
pub use invoke::{CronTrigger, Invoke, NotConsumed, QueueBatch, QueueOutcome};
pub use key_value::{
    KV_LIST_MAX, KV_READ_MANY_MAX, KV_READ_MANY_OCTETS_MAX, KeyValue, KvError, KvInvalid, KvListed,
    KvListing, KvManyError, KvPage, KvPair, KvRead, KvValue, kv_expires, kv_read_many,
};
pub use neighbours::{
    AnswersNeighbours, NEIGHBOUR_ANSWER_OCTETS_MAX, NEIGHBOUR_QUESTION_OCTETS_MAX, NEIGHBOUR_QUESTIONS_MAX,
    NeighbourAnswer, Neighbours, NoAnswer, Taken,
};
pub use notices::ZoneNotices;
pub use objects::{
    BucketContent, ChecksumAlgorithm, ChecksumKind, CorsAllowed, CorsPolicy, CorsRule, Expected, Lifecycle,
    LifecycleCondition, LifecycleConditions, LifecycleRule, LifecycleTransition, NOTIFICATION_RULES_MAX,
    NewBucket, NewNotificationRule, NotificationError, NotificationRule, Notifications,
    OBJECT_KEY_OCTETS_MAX, OBJECT_METADATA_OCTETS_MAX, OBJECT_PART_OCTETS_MIN, OBJECT_PARTS_MAX,
    OBJECT_PUT_OCTETS_MAX, OBJECTS_LISTED_MAX, ObjectAbout, ObjectAction, ObjectChecksum, ObjectConditions,
    ObjectCopy, ObjectDelete, ObjectError, ObjectFields, ObjectFuture, ObjectGet, ObjectKey, ObjectListing,
    ObjectPage, ObjectPartPage, ObjectPut, ObjectRange, ObjectRead, Objects, PartAbout, PartChosen, PartKept,
    PartPage, QueueNotified, Span, StorageClassTransition, Tags, UploadAbout, UploadBegin, UploadComplete,
    UploadId, UploadListing, UploadPage, is_of_xml,
};
pub use pipeline::{Pipeline, Rest};
pub use prewarm::Prewarm;
pub use queries::{
    NoQueryReport, QUERY_HOURS_KEPT, QUERY_INTERVALS_MAX, QUERY_MINUTES_KEPT, QUERY_NAMES_OTHER,
    QUERY_ROWS_MAX, QueryComparison, QueryCondition, QueryDimension, QueryKey, QueryReport, QueryReportAsked,
    QueryReports, QueryRow,
};
pub use queues::{
    QUEUE_BATCH_OCTETS_MAX, QueueBacklog, QueueContentType, QueueDelivered, QueueError, QueueMessage,
    QueuePull, QueuePulled, QueueSettled, QueueSettlement, QueueSettling, Queues, check_queue_messages,
};
pub use ray::RayId;
pub use rendezvous::{REPLICAS, rendezvous_weight, replicas};
pub use responses::{ResponseCache, ResponsePlace, ResponseRefused};
pub use rules::{Asked, SiteRule, cookies, extension, name_and_value};
pub use servers::{AnswersServers, NoPlace, SERVER_REQUESTS_MAX, ServerAbout, ServerPlaces, Servers};
pub use site::{Site, SiteHost};
pub use stage::{Decision, Flow, Stage};
pub use tails::{
    TAIL_FILTERS_OCTETS_MAX, TAILS_PER_WORKER_MAX, Tail, TailEnd, TailFilter, TailRefused, TailSeen,
    TailStream, Tails,
};
pub use tiers::{AskedByPeer, CacheFill, FromPeer, Invalidations};
pub use trace::{Trace, TraceEntry};
pub use traffic::{
    CACHE_STATUSES, ENDS, Ended, OriginSeen, TrafficNumbers, TrafficReader, TrafficSlot, WorkerSeen,
    WorkerTook, ZoneTraffic, cache_status,
};
pub use workers::SiteWorkers;

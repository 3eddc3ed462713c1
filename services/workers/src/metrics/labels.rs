//! What the metrics are told apart by.

use http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use proxima_pipeline::Fault;

/// What became of a request for a Worker, of a cron trigger, or of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Outcome {
    Answered,
    Threw,
    /// It threw, and its request passed it.
    Passed,
    Broken,
    Exceeded,
    LockedOut,
    Looped,
    Lost,
    Unavailable,
    Other,
}

impl Outcome {
    pub(super) fn of(fault: Option<&Fault>) -> Self {
        match fault {
            None => Self::Answered,
            Some(Fault::WorkerThrew) => Self::Threw,
            Some(Fault::WorkerBroken(_)) => Self::Broken,
            Some(Fault::WorkerExceeded(_)) => Self::Exceeded,
            Some(Fault::WorkerLockedOut { .. }) => Self::LockedOut,
            Some(Fault::WorkerLoop) => Self::Looped,
            Some(Fault::WorkerLost) => Self::Lost,
            Some(Fault::WorkersUnavailable(_)) => Self::Unavailable,
            Some(_) => Self::Other,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Ran {
    pub(super) outcome: Outcome,
}

/// Whose fetch has had a Worker called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum CalledBy {
    /// A Worker's of its account, from its custom domain.
    Own,
    /// A Worker's of another account.
    Stranger,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Call {
    pub(super) by: CalledBy,
}

/// What of a Worker is invoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Handler {
    /// What answers requests.
    Fetch,
    /// What is run by cron triggers.
    Scheduled,
    /// What is given messages.
    Queue,
    /// A Durable Object, by whatever way.
    Object,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Invoked {
    pub(super) handler: Handler,
}

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum End {
    /// Its Worker took too much time of a processor.
    Cpu,
    /// It took too much memory.
    Memory,
    /// By itself.
    Exited,
    /// Nothing was asked of it, another one has taken its place, or the node ends.
    Unneeded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Ending {
    pub(super) why: End,
}

/// What a Worker was convicted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Deed {
    Cpu,
    Memory,
    Process,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Conviction {
    pub(super) why: Deed,
}

/// Whom a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum RanIn {
    Shared,
    Apart,
    Own,
    Objects,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Took {
    pub(super) place: RanIn,
}

/// What may stand around a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Wall {
    /// Namespaces, a root file system of its own, and no rights.
    Namespaces,
    /// The filter of system calls.
    Filter,
    /// What of memory, threads and processors the kernel lets it have, by a control group.
    Memory,
    Threads,
    Processor,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Around {
    pub(super) wall: Wall,
}

/// What became of something that a Worker asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Fetched {
    Answered,
    Refused,
    Failed,
}

impl Fetched {
    /// Who is to blame for this status.
    pub(crate) fn of_refusal(status: StatusCode) -> Self {
        if status.is_server_error() { Self::Failed } else { Self::Refused }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Subrequest {
    pub(super) outcome: Fetched,
}

/// What of keys and values a Worker asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum KvOperation {
    Get,
    GetBulk,
    Put,
    Delete,
    List,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KvAsked {
    pub(super) operation: KvOperation,
    pub(super) outcome: Fetched,
}

/// What of a bucket a Worker asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum R2Operation {
    Head,
    Get,
    Put,
    Delete,
    List,
    Multipart,
    Unreadable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct R2Asked {
    pub(super) operation: R2Operation,
    pub(super) outcome: Fetched,
}

/// How an alarm ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Rang {
    Done,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Alarm {
    pub(super) outcome: Rang,
}

/// What became of a hand-over of a slot's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Handed {
    Given,
    Taken,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HandOver {
    pub(super) outcome: Handed,
}

/// What of the cache a Worker asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum CacheOperation {
    Match,
    Put,
    Delete,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum CacheOutcome {
    Found,
    Absent,
    Stored,
    /// A response that is not to be kept.
    Refused,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CacheAsked {
    pub(super) operation: CacheOperation,
    pub(super) outcome: CacheOutcome,
}

/// What became of a host that a client came for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Warmed {
    /// Its Worker was loaded, or had been.
    Loaded,
    /// It was so lately.
    Warm,
    /// It could not be.
    Failed,
    /// More hosts waited than may.
    Dropped,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Prewarming {
    pub(super) outcome: Warmed,
}

/// What became of an event for a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Told {
    Kept,
    Dropped,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TailEvent {
    pub(super) outcome: Told,
}

/// What became of a version that was to be tried before it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Check {
    Fine,
    /// It does not start, or has nothing that could be asked.
    Refused,
    /// It could not be tried, and is kept untried.
    Unavailable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Checking {
    pub(super) outcome: Check,
}

//! The Workers' metrics: `proxima_workers_…`.

mod labels;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use proxima_pipeline::{Exceeded, Fault};

use self::labels::{
    Alarm, Around, CacheAsked, Call, Checking, Conviction, Deed, Ending, HandOver, Handed, Invoked, KvAsked,
    Outcome, Prewarming, R2Asked, Ran, Rang, Subrequest, TailEvent, Told, Took,
};
pub(crate) use self::labels::{
    CacheOperation, CacheOutcome, CalledBy, Check, End, Fetched, Handler, KvOperation, R2Operation, RanIn,
    Wall, Warmed,
};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Arc<Counted>);

#[derive(Debug)]
pub(crate) struct Counted {
    requests: Family<Ran, Counter>,
    calls: Family<Call, Counter>,
    scheduled: Family<Ran, Counter>,
    scheduled_seconds: Histogram,
    queued: Family<Ran, Counter>,
    queued_seconds: Histogram,
    seconds: Histogram,
    cpu_time: Family<Invoked, Histogram, fn() -> Histogram>,
    wall_time: Family<Invoked, Histogram, fn() -> Histogram>,
    ends: Family<Ending, Counter>,
    convictions: Family<Conviction, Counter>,
    cpu_seconds: Family<Took, Counter<f64, AtomicU64>>,
    subrequests: Family<Subrequest, Counter>,
    key_values: Family<KvAsked, Counter>,
    objects: Family<R2Asked, Counter>,
    durable_objects: Family<Subrequest, Counter>,
    alarms: Family<Alarm, Counter>,
    hand_overs: Family<HandOver, Counter>,
    handed_over_octets: Counter,
    queues: Family<Subrequest, Counter>,
    cache: Family<CacheAsked, Counter>,
    prewarms: Family<Prewarming, Counter>,
    checks: Family<Checking, Counter>,
    pub(crate) assets: Counter,
    pub(crate) retried: Counter,
    pub(crate) relieved: Counter,
    pub(crate) misnamed: Counter,
    pub(crate) starts: Counter,
    pub(crate) loads: Counter,
    pub(crate) processes: Gauge,
    walls: Family<Around, Gauge>,
    pub(crate) own_processes: Gauge,
    pub(crate) own_failed: Counter,
    pub(crate) tails: Gauge,
    tail_events: Family<TailEvent, Counter>,
}

impl std::ops::Deref for Metrics {
    type Target = Counted;

    fn deref(&self) -> &Counted {
        &self.0
    }
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let counted = Counted {
            requests: Family::default(),
            calls: Family::default(),
            scheduled: Family::default(),
            // From 10 milliseconds to a quarter of an hour.
            scheduled_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 17)),
            queued: Family::default(),
            queued_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 17)),
            // From half a millisecond to 16 seconds.
            seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
            // From a tenth of a millisecond to 26 seconds.
            cpu_time: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_1, 2.0, 19))),
            // From half a millisecond to a quarter of an hour.
            wall_time: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_5, 2.0, 22))),
            ends: Family::default(),
            convictions: Family::default(),
            cpu_seconds: Family::default(),
            subrequests: Family::default(),
            key_values: Family::default(),
            objects: Family::default(),
            durable_objects: Family::default(),
            alarms: Family::default(),
            hand_overs: Family::default(),
            handed_over_octets: Counter::default(),
            queues: Family::default(),
            cache: Family::default(),
            prewarms: Family::default(),
            checks: Family::default(),
            assets: Counter::default(),
            retried: Counter::default(),
            relieved: Counter::default(),
            misnamed: Counter::default(),
            starts: Counter::default(),
            loads: Counter::default(),
            processes: Gauge::default(),
            walls: Family::default(),
            own_processes: Gauge::default(),
            own_failed: Counter::default(),
            tails: Gauge::default(),
            tail_events: Family::default(),
        };
        registry.register("requests", "Requests for Workers", counted.requests.clone());
        registry.register("calls", "Those of them that other Workers have fetched", counted.calls.clone());
        registry.register("scheduled", "Cron triggers that were run", counted.scheduled.clone());
        registry.register("scheduled_seconds", "How long they took", counted.scheduled_seconds.clone());
        registry.register("queued", "Batches of messages that Workers were given", counted.queued.clone());
        registry.register("queued_seconds", "How long they took", counted.queued_seconds.clone());
        registry.register(
            "first_byte_seconds",
            "From a request to the head of its Worker's answer",
            counted.seconds.clone(),
        );
        let had = "What an invocation has had of a processor, or its share where others were in flight";
        registry.register("cpu_time_seconds", had, counted.cpu_time.clone());
        registry.register(
            "wall_time_seconds",
            "From when a Worker was invoked until its answer had ended",
            counted.wall_time.clone(),
        );
        registry.register("ends", "Processes of the engine that ended", counted.ends.clone());
        registry.register(
            "convictions",
            "Workers that alone were at work in a process that took too much, or was ended by them",
            counted.convictions.clone(),
        );
        registry.register(
            "cpu_seconds",
            "What the threads on which Workers run have had of processors",
            counted.cpu_seconds.clone(),
        );
        registry.register("subrequests", "What Workers fetched", counted.subrequests.clone());
        registry.register("key_values", "What Workers asked of keys and values", counted.key_values.clone());
        registry.register("objects", "What Workers asked of buckets", counted.objects.clone());
        let asked = "What Workers here asked of Durable Objects, wherever those are";
        registry.register("durable_objects", asked, counted.durable_objects.clone());
        registry.register("alarms", "Alarms of Durable Objects that were run here", counted.alarms.clone());
        let handed = "Slots of Durable Objects that were handed over by this server, or to it; and attempts that failed";
        registry.register("hand_overs", handed, counted.hand_overs.clone());
        let octets = "What the Durable Objects kept that this server has handed over";
        registry.register_with_unit("handed_over", octets, Unit::Bytes, counted.handed_over_octets.clone());
        registry.register("queues", "What Workers asked of queues", counted.queues.clone());
        registry.register("cache", "What Workers asked of the Cache API", counted.cache.clone());
        registry.register(
            "prewarms",
            "Workers that were to be loaded while a client shook hands",
            counted.prewarms.clone(),
        );
        let tried = "Versions that were uploaded here, and started before they were kept";
        registry.register("checks", tried, counted.checks.clone());
        registry.register("assets", "Answers by static assets", counted.assets.clone());
        registry.register(
            "retried",
            "Requests sent once more, after the process that had them ended",
            counted.retried.clone(),
        );
        registry.register(
            "relieved",
            "Requests that the next process took, since a Worker kept their own busy",
            counted.relieved.clone(),
        );
        registry.register(
            "misnamed",
            "What was asked in the name of an account by a process that does not run its Workers, and refused",
            counted.misnamed.clone(),
        );
        registry.register("starts", "Processes of the engine that were started", counted.starts.clone());
        registry.register("loads", "Workers that a process has loaded", counted.loads.clone());
        registry.register("processes", "Processes of the engine", counted.processes.clone());
        registry.register(
            "walls",
            "What stands around each process of the engine: 1 where it does",
            counted.walls.clone(),
        );
        registry.register(
            "own_processes",
            "Those of them that one version has alone, since it is asked often",
            counted.own_processes.clone(),
        );
        registry.register(
            "own_failed",
            "Versions that are asked often and whose own process did not start",
            counted.own_failed.clone(),
        );
        registry.register(
            "tails",
            "Tails of Workers that are looked at here or elsewhere",
            counted.tails.clone(),
        );
        registry.register("tail_events", "Events for tails", counted.tail_events.clone());
        Self(Arc::new(counted))
    }

    /// Something stands around each process, or does not.
    pub(crate) fn stands(&self, wall: Wall, does: bool) {
        self.walls.get_or_create(&Around { wall }).set(does.into());
    }

    /// An event for who looks at a Worker had room, or not.
    pub(crate) fn told(&self, had_room: bool) {
        let outcome = if had_room { Told::Kept } else { Told::Dropped };
        self.tail_events.get_or_create(&TailEvent { outcome }).inc();
    }

    pub(crate) fn scheduled(&self, fault: Option<&Fault>, took: Duration) {
        self.scheduled.get_or_create(&Ran { outcome: Outcome::of(fault) }).inc();
        self.scheduled_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn queued(&self, fault: Option<&Fault>, took: Duration) {
        self.queued.get_or_create(&Ran { outcome: Outcome::of(fault) }).inc();
        self.queued_seconds.observe(took.as_secs_f64());
    }

    /// A request was answered, or was not; `passed` if by what lies behind its Worker, which threw.
    pub(crate) fn ran(&self, fault: Option<&Fault>, passed: bool, took: Duration) {
        let outcome = if passed { Outcome::Passed } else { Outcome::of(fault) };
        self.requests.get_or_create(&Ran { outcome }).inc();
        if fault.is_none() && !passed {
            self.seconds.observe(took.as_secs_f64());
        }
    }

    /// An invocation has ended, and has had so much of a processor in so much time.
    pub(crate) fn invoked(&self, handler: Handler, cpu: Duration, wall: Duration) {
        self.cpu_time.get_or_create(&Invoked { handler }).observe(cpu.as_secs_f64());
        self.wall_time.get_or_create(&Invoked { handler }).observe(wall.as_secs_f64());
    }

    pub(crate) fn ended(&self, why: End) {
        self.ends.get_or_create(&Ending { why }).inc();
        self.processes.dec();
    }

    /// A Worker was found to be to blame for the end of a process.
    pub(crate) fn convicted(&self, exceeded: Exceeded) {
        let why = match exceeded {
            Exceeded::Cpu => Deed::Cpu,
            Exceeded::Memory => Deed::Memory,
            Exceeded::Process => Deed::Process,
        };
        self.convictions.get_or_create(&Conviction { why }).inc();
    }

    /// A process has had so much more of a processor.
    pub(crate) fn took(&self, place: RanIn, cpu: Duration) {
        self.cpu_seconds.get_or_create(&Took { place }).inc_by(cpu.as_secs_f64());
    }

    pub(crate) fn called(&self, by: CalledBy) {
        self.calls.get_or_create(&Call { by }).inc();
    }

    pub(crate) fn fetched(&self, outcome: Fetched) {
        self.subrequests.get_or_create(&Subrequest { outcome }).inc();
    }

    pub(crate) fn asked_of_key_values(&self, operation: KvOperation, outcome: Fetched) {
        self.key_values.get_or_create(&KvAsked { operation, outcome }).inc();
    }

    pub(crate) fn warmed(&self, outcome: Warmed) {
        self.prewarms.get_or_create(&Prewarming { outcome }).inc();
    }

    pub(crate) fn checked(&self, outcome: Check) {
        self.checks.get_or_create(&Checking { outcome }).inc();
    }

    pub(crate) fn asked_of_cache(&self, operation: CacheOperation, outcome: CacheOutcome) {
        self.cache.get_or_create(&CacheAsked { operation, outcome }).inc();
    }

    pub(crate) fn asked_of_objects(&self, operation: R2Operation, outcome: Fetched) {
        self.objects.get_or_create(&R2Asked { operation, outcome }).inc();
    }

    pub(crate) fn asked_of_durable(&self, outcome: Fetched) {
        self.durable_objects.get_or_create(&Subrequest { outcome }).inc();
    }

    pub(crate) fn alarm(&self, is_done: bool) {
        let outcome = if is_done { Rang::Done } else { Rang::Failed };
        self.alarms.get_or_create(&Alarm { outcome }).inc();
    }

    pub(crate) fn handed_over(&self, octets: u64) {
        self.hand_overs.get_or_create(&HandOver { outcome: Handed::Given }).inc();
        self.handed_over_octets.inc_by(octets);
    }

    pub(crate) fn taken_over(&self) {
        self.hand_overs.get_or_create(&HandOver { outcome: Handed::Taken }).inc();
    }

    pub(crate) fn hand_over_failed(&self) {
        self.hand_overs.get_or_create(&HandOver { outcome: Handed::Failed }).inc();
    }

    pub(crate) fn asked_of_queues(&self, outcome: Fetched) {
        self.queues.get_or_create(&Subrequest { outcome }).inc();
    }
}

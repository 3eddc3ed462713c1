//! The log where it is kept: one writer, which takes what waits and makes all of it durable with one sync of the disk.

use std::{path::Path, sync::Arc, thread};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use proxima_model::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::{
    Answers, Append, AppendError, Appended, AskError, Entry, FollowError, Log, Replica, ReplicaError,
    ReplicaOptions, Sealer, Seq, Update,
    asks::Desk,
    codec, limits,
    store::{Head, Seen, Store, StoreError},
    tail,
    writer::Writer,
};

/// Tells the time; entries' times never go back, whatever it tells.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The system's clock.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let millis = since_epoch.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        Timestamp::from_millis(millis)
    })
}

/// The log on its own node. Its state and its entries are one store, so they cannot diverge, and [`Self::replica`] is
/// that store. Cheap to clone; all clones are the same log.
#[derive(Clone)]
pub struct EmbeddedLog {
    replica: Replica,
    jobs: mpsc::Sender<Job>,
    desk: Desk,
    writer: Arc<std::sync::Mutex<Option<thread::JoinHandle<()>>>>,
}

enum Job {
    Append(Box<Waiting>),
    /// Nothing is taken after it.
    End,
}

struct Waiting {
    append: Append,
    answer: oneshot::Sender<Result<Appended, AppendError>>,
}

impl EmbeddedLog {
    /// Opens the log in this folder, or makes a new one. A damaged log is refused with what to do.
    pub fn open(path: &Path, sealer: Sealer, options: ReplicaOptions) -> Result<Self, ReplicaError> {
        Self::open_with_clock(path, sealer, options, system_clock())
    }

    /// As [`Self::open`], with another clock.
    pub fn open_with_clock(
        path: &Path,
        sealer: Sealer,
        options: ReplicaOptions,
        clock: Clock,
    ) -> Result<Self, ReplicaError> {
        let replica = Replica::open_log(path, sealer, options)?;
        let (jobs, waiting) = mpsc::channel(limits::APPEND_QUEUE_MAX);
        let store = replica
            .store()
            .map_err(|error| ReplicaError::Open { path: path.to_owned(), reason: error.to_string() })?;
        let committer = Committer { replica: replica.clone(), store, clock };
        let writer = thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || committer.run(waiting))
            .map_err(|source| ReplicaError::Folder { path: path.to_owned(), source })?;
        Ok(Self {
            replica,
            jobs,
            desk: Desk::default(),
            writer: Arc::new(std::sync::Mutex::new(Some(writer))),
        })
    }

    /// Who answers what is asked of this node.
    pub(crate) const fn desk(&self) -> &Desk {
        &self.desk
    }

    /// The state that the log's entries made.
    pub const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Stops taking appends, by any clone, and waits until those taken are answered and nothing writes any more. The store
    /// closes with the last clone, and with that of the replica.
    pub async fn close(self) {
        self.jobs.send(Job::End).await.ok();
        let writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(writer) = writer else {
            return; // Another clone waits for it.
        };
        let joined = tokio::task::spawn_blocking(move || writer.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the log's writer panicked");
        }
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        check_size(&append)?;
        let (answer, answered) = oneshot::channel();
        let job = Job::Append(Box::new(Waiting { append, answer }));
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppendError::Busy,
            mpsc::error::TrySendError::Closed(_) => AppendError::Closed,
        })?;
        answered.await.unwrap_or(Err(AppendError::Closed))
    }

    async fn subscribe(
        &self,
        from: Seq,
    ) -> Result<BoxStream<'static, Result<Update, FollowError>>, FollowError> {
        tail::follow(self.replica.clone(), from)
    }

    fn last(&self) -> Seq {
        self.replica.seq()
    }

    async fn ask(&self, topic: &'static str, question: Vec<u8>) -> Result<Vec<u8>, AskError> {
        self.desk.answer(topic, question).await
    }

    fn seat(&self, topic: &'static str, answers: Arc<dyn Answers>) -> bool {
        self.desk.seat(topic, answers);
        true
    }
}

/// Whether an append is within bounds.
pub(crate) fn check_size(append: &Append) -> Result<(), AppendError> {
    let within = |amount: usize, limit: usize, what: &'static str| {
        if amount > limit { Err(AppendError::TooLarge { what, limit }) } else { Ok(()) }
    };
    within(append.changes.len(), limits::CHANGES_PER_APPEND_MAX, "changes")?;
    within(append.preconditions.len(), limits::PRECONDITIONS_PER_APPEND_MAX, "preconditions")?;
    within(append.author.len(), limits::NAME_OCTETS_MAX, "octets in its author's name")?;
    within(append.idempotency_key.0.len(), limits::NAME_OCTETS_MAX, "octets in its idempotency key")?;
    if append.idempotency_key.0.is_empty() {
        return Err(AppendError::Invalid("its idempotency key is empty".to_owned()));
    }
    let keys = append.changes.iter().map(crate::Change::key);
    for key in keys.chain(append.preconditions.iter().map(crate::Precondition::key)) {
        within(key.as_str().len(), limits::KEY_OCTETS_MAX, "octets in a key")?;
        if key.as_str().is_empty() {
            return Err(AppendError::Invalid("a key is empty".to_owned()));
        }
    }
    for change in &append.changes {
        if let crate::Change::Put { value, .. } = change {
            within(value.len(), limits::VALUE_OCTETS_MAX, "octets in a value")?;
        }
    }
    let octets = append.changes.iter().map(crate::Change::octets).sum();
    within(octets, limits::APPEND_OCTETS_MAX, "octets")
}

/// The one thread that writes.
struct Committer {
    replica: Replica,
    store: Arc<Store>,
    clock: Clock,
}

type Outcome = Result<Appended, AppendError>;

impl Committer {
    fn run(self, mut waiting: mpsc::Receiver<Job>) {
        while let Some(first) = waiting.blocking_recv() {
            let (mut jobs, mut octets, mut next) = (Vec::new(), 0, Some(first));
            while let Some(job) = next {
                match job {
                    Job::Append(job) => {
                        octets += job.append.changes.iter().map(crate::Change::octets).sum::<usize>();
                        jobs.push(*job);
                    }
                    // What was taken before is still received.
                    Job::End => waiting.close(),
                }
                let has_room = jobs.len() < limits::GROUP_COMMIT_MAX && octets < limits::GROUP_COMMIT_OCTETS;
                next = if has_room { waiting.try_recv().ok() } else { None };
            }
            if !jobs.is_empty() {
                self.answer(jobs);
            }
        }
    }

    fn answer(&self, jobs: Vec<Waiting>) {
        let appends: Vec<&Append> = jobs.iter().map(|job| &job.append).collect();
        let outcomes = match self.commit(&appends).map_err(|error| self.store.write_failed(error)) {
            // One that does not fit must not take those with it that do.
            Err(StoreError::Full(_)) if appends.len() > 1 => {
                appends.iter().map(|append| self.commit_one(append)).collect()
            }
            Err(error) => {
                let error = self.explain(&error);
                vec![Err(error); appends.len()]
            }
            Ok(outcomes) => outcomes,
        };
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            // Whoever asked may have gone; the change stays, and a retry is answered by its idempotency key.
            let _ = job.answer.send(outcome);
        }
    }

    fn commit_one(&self, append: &Append) -> Outcome {
        match self.commit(&[append]).map_err(|error| self.store.write_failed(error)) {
            Ok(mut outcomes) => outcomes.pop().unwrap_or(Err(AppendError::Closed)),
            Err(error) => Err(self.explain(&error)),
        }
    }

    /// Applies what may be applied, in order, in one transaction. Outcomes count only once it is committed.
    fn commit(&self, appends: &[&Append]) -> Result<Vec<Outcome>, StoreError> {
        if let Some(reason) = self.replica.fault() {
            // A reader found damage: what is decided upon the state can no longer be trusted.
            return Err(StoreError::Corrupt(reason));
        }
        let mut writer = Writer::begin(&self.store)?
            .ok_or_else(|| StoreError::Corrupt("the log has lost its head".to_owned()))?;
        let before = writer.head().seq;
        let mut outcomes = Vec::with_capacity(appends.len());
        for append in appends {
            outcomes.push(self.apply(&mut writer, append)?);
        }
        if writer.head().seq > before {
            let head: Head = writer.commit()?;
            self.replica.publish(&head);
            self.replica.room().written();
        }
        Ok(outcomes)
    }

    fn apply(&self, writer: &mut Writer<'_>, append: &Append) -> Result<Outcome, StoreError> {
        if let Some(Seen { seq, fingerprint, .. }) = writer.seen(append)? {
            let reused = fingerprint.zip(append.fingerprint).is_some_and(|(then, now)| then != now);
            return Ok(if reused {
                Err(AppendError::KeyReused { seq })
            } else {
                Ok(Appended { seq, repeated: true })
            });
        }
        if let Some((failed, found)) = writer.failed(&append.preconditions)? {
            return Ok(Err(AppendError::Precondition { failed, found }));
        }
        let seq = writer.head().seq.next();
        let at = (self.clock)().max(writer.head().at);
        let entry = Entry { seq, at, append: append.clone() };
        writer.apply(&entry, &codec::encode_entry(&entry))?;
        self.replica.announce(&entry);
        Ok(Ok(Appended { seq, repeated: false }))
    }

    fn explain(&self, error: &StoreError) -> AppendError {
        match error {
            StoreError::Full(reason) => {
                self.replica.room().refused(reason, self.store.disk_free());
                AppendError::Full(reason.clone())
            }
            StoreError::Readers => AppendError::Busy,
            StoreError::Corrupt(reason) => {
                // Marks the replica, so that nothing is read from it any more either.
                self.replica.failed(&self.store, error);
                AppendError::Store(reason.clone())
            }
            StoreError::Io(reason) => AppendError::Store(reason.clone()),
        }
    }
}

//! The log as every other node sees it: appends travel over one warm connection, and are repeated under their
//! idempotency keys until they are answered or their time is over.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream::BoxStream};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ASK_DEADLINE, ASK_OCTETS_MAX, Answers, Append, AppendError, Appended, AskError, FollowError, Log, Seq,
    Update, codec,
    embedded::check_size,
    limits::{
        APPEND_DEADLINE, APPEND_DEADLINE_AWAY, APPENDS_IN_FLIGHT_MAX, BACKOFF_MAX, BACKOFF_MIN,
        HEARTBEAT_DEADLINE,
    },
    message::{Message, NoAnswer},
    peer::{Connection, Dialer, PeerError},
    vitals::Vitals,
};

/// The log on another node. Cheap to clone; all clones share one connection.
#[derive(Clone)]
pub struct RemoteLog {
    address: SocketAddr,
    dialer: Dialer,
    vitals: Arc<Vitals>,
    jobs: mpsc::Sender<Job>,
    state: Arc<Mutex<State>>,
}

enum Job {
    Append { append: Arc<Append>, answer: oneshot::Sender<Result<Appended, AppendError>> },
    Ask { topic: &'static str, question: Vec<u8>, answer: oneshot::Sender<Result<Vec<u8>, AskError>> },
}

impl Job {
    /// Whether nobody waits for its answer any more.
    fn is_given_up(&self) -> bool {
        match self {
            Self::Append { answer, .. } => answer.is_closed(),
            Self::Ask { answer, .. } => answer.is_closed(),
        }
    }

    fn message(&self, id: u64) -> Message {
        match self {
            Self::Append { append, .. } => Message::Append { id, append: Append::clone(append) },
            Self::Ask { topic, question, .. } => {
                Message::Ask { id, topic: (*topic).to_owned(), question: question.clone() }
            }
        }
    }
}

/// How the connection is.
struct State {
    /// Since when there has been none, if so.
    away_since: Option<Instant>,
    /// The last thing that went wrong.
    problem: String,
}

impl RemoteLog {
    /// Connects in the background, and keeps the connection until `shutdown`.
    pub(crate) fn start(
        address: SocketAddr,
        dialer: Dialer,
        vitals: Arc<Vitals>,
        shutdown: CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let (jobs, waiting) = mpsc::channel(APPENDS_IN_FLIGHT_MAX);
        let state = State { away_since: Some(Instant::now()), problem: "not connected yet".to_owned() };
        let state = Arc::new(Mutex::new(state));
        let line = Line {
            address,
            dialer: dialer.clone(),
            vitals: Arc::clone(&vitals),
            state: Arc::clone(&state),
            waiting,
            pending: BTreeMap::new(),
            next_id: 0,
        };
        tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = line.run() => {}
            }
        });
        Self { address, dialer, vitals, jobs, state }
    }

    /// Whether the connection to the log is up, and if not, why.
    pub fn problem(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.away_since.map(|_| state.problem.clone())
    }

    /// Until when an append made now is tried.
    fn deadline(&self) -> Instant {
        let away = self.state.lock().unwrap_or_else(PoisonError::into_inner).away_since;
        let away = away.is_some_and(|since| since.elapsed() >= APPEND_DEADLINE);
        Instant::now() + if away { APPEND_DEADLINE_AWAY } else { APPEND_DEADLINE }
    }

    fn unreachable(&self, waited: Duration) -> AppendError {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = match state.away_since {
            Some(_) => state.problem.clone(),
            None => "it did not answer in time".to_owned(),
        };
        AppendError::Unreachable { log: self.address, waited, reason }
    }

    /// Hands the append over and waits for its answer.
    async fn propose(&self, append: Arc<Append>, deadline: Instant) -> Option<Result<Appended, AppendError>> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.jobs.send(Job::Append { append, answer }).await.ok()?;
            answered.await.ok()
        };
        timeout_at(deadline, asked).await.ok().map(|answer| answer.unwrap_or(Err(AppendError::Closed)))
    }
}

#[async_trait]
impl Log for RemoteLog {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        check_size(&append)?;
        let append = Arc::new(append);
        let (started, deadline) = (Instant::now(), self.deadline());
        let mut backoff = BACKOFF_MIN;
        loop {
            match self.propose(Arc::clone(&append), deadline).await {
                None => return Err(self.unreachable(started.elapsed())),
                // The log's node restarts, or is overrun: the idempotency key makes another attempt harmless.
                Some(Err(error @ (AppendError::Busy | AppendError::Closed))) => {
                    if Instant::now() + backoff >= deadline || self.jobs.is_closed() {
                        return Err(error);
                    }
                    sleep(backoff).await;
                    backoff = (2 * backoff).min(BACKOFF_MAX);
                }
                Some(answer) => return answer,
            }
        }
    }

    async fn subscribe(
        &self,
        from: Seq,
    ) -> Result<BoxStream<'static, Result<Update, FollowError>>, FollowError> {
        let upstream = |error: PeerError| FollowError::Upstream(error.to_string());
        let (mut connection, _) = self.dialer.dial(self.address, None).await.map_err(upstream)?;
        connection.send(&Message::Subscribe { from, digest: None }).await.map_err(upstream)?;
        // The first word says whether the subscription is given.
        let first = receive(&mut connection, from).await?;
        let rest = futures_util::stream::unfold(Some(connection), move |connection| async move {
            let mut connection = connection?;
            let update = receive(&mut connection, from).await;
            let connection = update.is_ok().then_some(connection);
            Some((update, connection))
        });
        Ok(futures_util::stream::once(async { Ok(first) }).chain(rest).boxed())
    }

    fn last(&self) -> Seq {
        self.vitals.log_last()
    }

    async fn ask(&self, topic: &'static str, question: Vec<u8>) -> Result<Vec<u8>, AskError> {
        if question.len() > ASK_OCTETS_MAX {
            return Err(AskError::TooLarge);
        }
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(Job::Ask { topic, question, answer }).map_err(|_| AskError::Busy)?;
        match timeout(ASK_DEADLINE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(AskError::Unreachable("this node stops".to_owned())),
            Err(_) => Err(AskError::Unreachable(
                self.problem().unwrap_or_else(|| "it did not answer in time".to_owned()),
            )),
        }
    }

    fn seat(&self, _topic: &'static str, _answers: Arc<dyn Answers>) -> bool {
        false
    }
}

/// The next update of a subscription.
async fn receive(connection: &mut Connection, from: Seq) -> Result<Update, FollowError> {
    let upstream = |error: PeerError| FollowError::Upstream(error.to_string());
    match connection.receive_within(HEARTBEAT_DEADLINE).await.map_err(upstream)? {
        Message::Entry(entry) => {
            let entry = codec::decode_entry(&entry).map_err(|error| upstream(error.into()))?;
            Ok(Update::Entry(Arc::new(entry)))
        }
        Message::Heartbeat(pulse) => Ok(Update::Heartbeat(pulse.seq)),
        Message::Failed(failure) => Err(failure.into_error(from)),
        _ => Err(upstream(PeerError::Unexpected("something that was not subscribed to"))),
    }
}

/// The connection, and the appends and questions that wait for it.
struct Line {
    address: SocketAddr,
    dialer: Dialer,
    vitals: Arc<Vitals>,
    state: Arc<Mutex<State>>,
    waiting: mpsc::Receiver<Job>,
    /// Sent and not answered; sent again on the next connection.
    pending: BTreeMap<u64, Job>,
    next_id: u64,
}

impl Line {
    async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let began = Instant::now();
            let error = match self.connected().await {
                Ok(()) => return, // Nobody appends any more.
                Err(error) => error,
            };
            let was_up = self.down(&error);
            if was_up {
                tracing::warn!(log = %self.address, %error, "lost the connection to the log");
            }
            backoff = if was_up && began.elapsed() > BACKOFF_MAX {
                BACKOFF_MIN
            } else {
                (2 * backoff).min(BACKOFF_MAX)
            };
            if !self.pause(backoff.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await {
                return;
            }
        }
    }

    /// Waits before the next attempt, for less if somebody appends; `false` if nobody will any more.
    async fn pause(&mut self, longest: Duration) -> bool {
        self.pending.retain(|_, job| !job.is_given_up());
        let earliest = Instant::now() + BACKOFF_MIN;
        let room = self.pending.len() < APPENDS_IN_FLIGHT_MAX;
        tokio::select! {
            () = sleep(longest) => {}
            job = self.waiting.recv(), if room => {
                let Some(job) = job else { return false };
                self.keep(job);
                sleep_until(earliest).await;
            }
        }
        true
    }

    /// Keeps what is asked for under the next name until it is answered.
    fn keep(&mut self, job: Job) {
        self.pending.insert(self.next_id, job);
        self.next_id += 1;
    }

    /// Connects, and carries appends until the connection ends.
    async fn connected(&mut self) -> Result<(), PeerError> {
        let ours = self.vitals.log_id();
        let (mut connection, welcome) = self.dialer.dial(self.address, ours).await?;
        if !welcome.keeps_log {
            return Err(PeerError::Refused(
                "this node does not keep the log; is `ledger.log` right?".to_owned(),
            ));
        }
        if let (Some(ours), Some(theirs)) = (ours, welcome.log)
            && ours != theirs
        {
            let other = FollowError::OtherLog { ours: ours.to_string(), theirs: theirs.to_string() };
            return Err(PeerError::Refused(other.to_string()));
        }
        self.vitals.hear(&welcome.pulse);
        self.up();
        // Whoever waits no longer repeats the append, or has given up on it.
        self.pending.retain(|_, job| !job.is_given_up());
        for (&id, job) in &self.pending {
            connection.send(&job.message(id)).await?;
        }
        loop {
            let room = self.pending.len() < APPENDS_IN_FLIGHT_MAX;
            tokio::select! {
                message = connection.receive_within(HEARTBEAT_DEADLINE) => self.heard(message?)?,
                job = self.waiting.recv(), if room => {
                    let Some(job) = job else { return Ok(()) };
                    let message = job.message(self.next_id);
                    self.keep(job);
                    connection.send(&message).await?;
                }
            }
        }
    }

    fn heard(&mut self, message: Message) -> Result<(), PeerError> {
        let (id, outcome) = match message {
            Message::Heartbeat(pulse) => {
                self.vitals.hear(&pulse);
                return Ok(());
            }
            Message::Told { id, answer } => return self.told(id, answer.map_err(NoAnswer::into_error)),
            Message::Appended { id, seq, repeated } => (id, Ok(Appended { seq, repeated })),
            Message::Refused { id, refusal } => (id, Err(refusal.into_error())),
            _ => return Err(PeerError::Unexpected("something that was not asked for")),
        };
        let Some(Job::Append { answer, .. }) = self.pending.remove(&id) else {
            return Err(PeerError::Unexpected("an answer to nothing"));
        };
        // Whoever asked may have given up.
        let _ = answer.send(outcome);
        Ok(())
    }

    fn told(&mut self, id: u64, told: Result<Vec<u8>, AskError>) -> Result<(), PeerError> {
        let Some(Job::Ask { answer, .. }) = self.pending.remove(&id) else {
            return Err(PeerError::Unexpected("an answer to nothing"));
        };
        let _ = answer.send(told);
        Ok(())
    }

    fn up(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.away_since = None;
        tracing::info!(log = %self.address, "connected to the log");
    }

    /// Whether the connection had been up.
    fn down(&self, error: &PeerError) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_up = state.away_since.is_none();
        state.away_since.get_or_insert_with(Instant::now);
        state.problem = error.to_string();
        was_up
    }
}

//! The other replica has it, too.
//!
//! ```text
//!   a write ─▶ Merge ─▶ the other replica      acknowledged when that has it
//!                 └ it is away: the write is acknowledged, and counted as unsent; Nudge is tried until it is there again
//!
//!   at the start, when it is nudged, and from time to time, a server pulls from each of the others:
//!   Changes since N ─▶ keys and stamps of what namespaces they share ─▶ Versions of what is later than here ─▶ N is noted
//! ```
//!
//! Keys and stamps are asked for before values: most of what was pushed is told once more, and costs no more than that. What a
//! server has of namespaces that were moved to another one, because servers were added, is pulled by that one in the same way.
//! Which namespaces they share follows from a list of servers, and is the asker's to say: N is noted for its list.
//!
//! What has no room here holds up nothing that needs none, such as a deletion: N stays in front of it, so that it is asked for
//! again (`lacks.rs`), and until a value has come this server is no home, if it has not been one since it started.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use prometheus_client::metrics::gauge::Gauge;
use proxima_model::{KvNamespaceId, NodeName};
use proxima_pipeline::KvError;
use proxima_store::StoreId;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    kv::{Kv, Writes},
    lacks::{Lacks, Pass},
    place,
    reach::{Kind, Unanswered},
    stamp::{self, Stamp},
    store::{Change, Cursor, Job, Number, StoreError, Version},
    wire::{Among, Answer, Question, Refusal},
};

/// How often each of the others is asked what was missed, without a reason.
const PULL_EVERY: Duration = Duration::from_secs(20);
/// How often a server is tried, before this one answers as a home, that cannot be taken over from: connections may not be made
/// yet. As long as something comes it goes on.
const FIRST_PULLS: usize = 6;
/// How long one waits in between. Who does not answer for as long is not tried again.
const FIRST_PULL_REST: Duration = Duration::from_secs(1);
/// How often one is tried then that is there, and from which nothing can be taken over, as long as this server is no home for it.
const UNSETTLED_PULL_EVERY: Duration = Duration::from_secs(5);
/// Servers that are pulled from at once.
const PULLS_AT_ONCE: usize = 4;
/// How often a server that has missed something is told so, until it takes it over.
const NUDGE_EVERY: Duration = Duration::from_secs(5);
/// How often a write is pushed to a replica that is there, and has too much to do.
const PUSHES: u32 = 4;
/// How long one waits after the first of them, and twice as long after each that follows.
const PUSH_REST: Duration = Duration::from_millis(50);
/// Servers that wait to be pulled from: one that has no place is pulled from in its turn.
const PULLS_WAITING_MAX: usize = 256;

/// How this server and the others stand.
pub(crate) struct Replication {
    ready: AtomicBool,
    /// From whom this server has not taken over what it missed before it started, and may.
    unsettled: Mutex<HashSet<NodeName>>,
    /// How many these are.
    unsettled_count: Gauge,
    /// When all was taken over from a server, the last time.
    in_step: Mutex<HashMap<NodeName, Instant>>,
    lacks: Lacks,
    /// Writes that a server has missed.
    behind: Mutex<HashMap<NodeName, u64>>,
    pulls: mpsc::Sender<NodeName>,
    waiting: Mutex<Option<mpsc::Receiver<NodeName>>>,
}

impl Replication {
    /// With `unsettled` for the metrics.
    pub(crate) fn new(others: Vec<&NodeName>, unsettled: Gauge) -> Self {
        unsettled.set(count_of(others.len()));
        let (pulls, waiting) = mpsc::channel(PULLS_WAITING_MAX);
        Self {
            ready: AtomicBool::new(others.is_empty()),
            unsettled: Mutex::new(others.into_iter().cloned().collect()),
            unsettled_count: unsettled,
            in_step: Mutex::default(),
            lacks: Lacks::default(),
            behind: Mutex::default(),
            pulls,
            waiting: Mutex::new(Some(waiting)),
        }
    }

    /// Whether this server has taken over what it missed before it started, as far as others were reached.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// All was taken over from a server, or there is nothing that could be.
    fn settle(&self, server: &NodeName) {
        let mut unsettled = lock(&self.unsettled);
        unsettled.remove(server);
        self.unsettled_count.set(count_of(unsettled.len()));
        if unsettled.is_empty() {
            self.ready.store(true, Ordering::Release);
        }
    }

    /// When all was taken over from a server, the last time.
    pub(crate) fn in_step_at(&self, server: &NodeName) -> Option<Instant> {
        lock(&self.in_step).get(server).copied()
    }

    /// A server says that there is something to take over from it.
    pub(crate) fn nudged(&self, by: &NodeName) {
        self.pulls.try_send(by.clone()).ok();
    }

    /// How many writes a server has missed.
    pub(crate) fn missed(&self, server: &NodeName) -> u64 {
        lock(&self.behind).get(server).copied().unwrap_or_default()
    }

    fn miss(&self, server: &NodeName, writes: u64) {
        *lock(&self.behind).entry(server.clone()).or_default() += writes;
    }

    /// A server has been told so many writes that it had missed.
    pub(crate) fn told(&self, server: &NodeName, writes: u64) {
        let mut behind = lock(&self.behind);
        if let Some(left) = behind.get_mut(server) {
            *left = left.saturating_sub(writes);
            if *left == 0 {
                behind.remove(server);
            }
        }
    }

    /// Writes that others have missed.
    pub(crate) fn unsent(&self) -> u64 {
        lock(&self.behind).values().sum()
    }

    /// Servers that have what has no room here.
    pub(crate) fn lacking(&self) -> u64 {
        self.lacks.count() as u64
    }
}

/// How a server is asked what was missed.
#[derive(Clone, Copy)]
enum Asking {
    /// By the digest of this server's list.
    Digest,
    /// By the list itself, of a server that has another one.
    Servers,
    /// As version 1 asked, a server that knows nothing else: by its own list. What it leaves out where the lists differ is asked
    /// for when it has been upgraded, since what is noted of version 1 counts for nothing else.
    Version1,
}

/// Why not all was taken over from a server.
#[derive(Debug, thiserror::Error)]
enum NotPulled {
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("it is not understood what a server says")]
    Misunderstood,
    #[error(transparent)]
    Own(#[from] StoreError),
    /// All was looked at, and what there is room for is here.
    #[error("not all has room here: {why}")]
    Lacked { why: StoreError, of_values: bool },
}

impl NotPulled {
    /// Whether it is no use to wait for that server: it is away; or nobody can read its store; or its version does not tell; or nothing
    /// is lacking but that keys were deleted of which there is nothing here.
    fn is_final(&self) -> bool {
        match self {
            Self::Misunderstood | Self::Unanswered(Unanswered::Away(_)) => true,
            Self::Unanswered(Unanswered::Refused(refusal)) => {
                matches!(refusal, Refusal::Broken(_) | Refusal::NotUnderstood)
            }
            Self::Lacked { of_values, .. } => !of_values,
            Self::Unanswered(Unanswered::NoRoom) | Self::Own(_) => false,
        }
    }
}

fn count_of(servers: usize) -> i64 {
    i64::try_from(servers).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kv {
    /// Has the other replicas write this, too; those that are away later.
    pub(crate) async fn push(
        &self,
        namespace: KvNamespaceId,
        writes: Writes,
        stamps: Vec<Stamp>,
    ) -> Result<(), KvError> {
        let replicas = place::replicas(self.servers.all(), namespace);
        let others: Vec<_> = replicas.iter().filter(|server| server.name != self.me).collect();
        if others.is_empty() {
            return Ok(());
        }
        let version = |((key, value), stamp)| Version { namespace, key, stamp, value };
        let versions: Vec<_> = writes.into_iter().zip(stamps).map(version).collect();
        let count = versions.len() as u64;
        let question = Question::Merge(versions);
        for server in others {
            let pushed = match self.reach.is_away(&server.name, Kind::Merge) {
                true => Ok(false),
                false => self.pushed(&server.name, &question).await,
            };
            // Written here it is, whatever the client is told: it is taken over as soon as there is room.
            if matches!(pushed, Ok(false) | Err(KvError::Full(_))) {
                self.replication.miss(&server.name, count);
            }
            if !pushed? {
                self.metrics.alone.inc();
            }
        }
        Ok(())
    }

    /// Whether a server has written this; `false` if it is away. If it is there and does not take it, the write has failed: it
    /// would be acknowledged with one copy for as long as that goes on.
    async fn pushed(&self, server: &NodeName, question: &Question) -> Result<bool, KvError> {
        for tried in 0..PUSHES {
            match self.reach.ask(server, question).await {
                Ok(_) => return Ok(true),
                Err(Unanswered::NoRoom | Unanswered::Refused(Refusal::Busy)) => {
                    sleep(PUSH_REST * 2_u32.pow(tried)).await;
                }
                Err(Unanswered::Refused(Refusal::Full(text))) => {
                    return Err(KvError::Full(format!("{server}: {text}")));
                }
                Err(Unanswered::Refused(Refusal::Ahead(text))) => {
                    return Err(KvError::Broken(format!("{server}: {text}")));
                }
                Err(unanswered) => {
                    tracing::warn!(%server, error = %KvError::from(unanswered), "the other replica misses a write, and takes it over later");
                    return Ok(false);
                }
            }
        }
        Err(KvError::Busy)
    }

    /// Takes over from a server what was missed; says how many messages of it came.
    async fn pull(&self, server: &NodeName, came: &mut usize) -> Result<(), NotPulled> {
        match self.pull_by(server, Asking::Digest, came).await {
            Err(NotPulled::Unanswered(Unanswered::Refused(Refusal::OtherServers))) => {
                self.pull_by(server, Asking::Servers, came).await
            }
            Err(NotPulled::Unanswered(Unanswered::Refused(Refusal::NotUnderstood))) => {
                self.pull_by(server, Asking::Version1, came).await
            }
            pulled => pulled,
        }
    }

    async fn pull_by(&self, server: &NodeName, asking: Asking, came: &mut usize) -> Result<(), NotPulled> {
        let begun = Instant::now();
        let name = self.cursor_of(server, asking);
        let known = name.clone();
        let noted = self.own.read(move |store, _| store.cursor(&known)).await?;
        let mut pass = self.replication.lacks.begin(&name, noted);
        let (mut cursor, mut has_all) = (pass.from, pass.why.is_none());
        let up_to = loop {
            let (answer, _) = self.reach.ask(server, &self.changes_since(cursor, asking)).await?;
            let Answer::Feed(store, feed) = answer else { return Err(NotPulled::Misunderstood) };
            let (up_to, has_more) = (feed.up_to, feed.has_more);
            has_all &= self.take_over(server, store, feed.changes, (&mut pass, came)).await?;
            let next = Cursor { store, up_to };
            // What was passed over is asked for again, and all behind it.
            if next != cursor && has_all {
                self.own.commit(Job::Cursor(name.clone(), [cursor, next])).await?;
            }
            if !has_more {
                break next;
            }
            if next == cursor {
                return Err(NotPulled::Misunderstood);
            }
            cursor = next;
        };
        let ended = self.replication.lacks.end(name, up_to, pass);
        ended.map_err(|(why, of_values)| NotPulled::Lacked { why, of_values })?;
        if has_all {
            lock(&self.replication.in_step).insert(server.clone(), begun);
        }
        Ok(())
    }

    /// Under which name it is noted what was taken over from a server. Where other servers are added or gone, this one may have
    /// other namespaces, of which nothing was told so far.
    fn cursor_of(&self, server: &NodeName, asking: Asking) -> String {
        let map = self.map;
        match asking {
            Asking::Digest | Asking::Servers => format!("{server}/{map:016x}/among"),
            Asking::Version1 => format!("{server}/{map:016x}"),
        }
    }

    fn changes_since(&self, Cursor { store, up_to: since }: Cursor, asking: Asking) -> Question {
        let among = match asking {
            Asking::Version1 => return Question::Changes { store, since },
            Asking::Digest => Among::Digest(self.map),
            Asking::Servers => Among::Servers(self.servers.all().to_vec()),
        };
        Question::ChangesAmong { store, since, among }
    }

    /// Takes these over; whether all of them could be. What is too far ahead, or has no room, is passed over: it must not hold up
    /// the others.
    async fn take_over(
        &self,
        server: &NodeName,
        store: StoreId,
        mut changes: Vec<Change>,
        (pass, came): (&mut Pass, &mut usize),
    ) -> Result<bool, NotPulled> {
        let (now, told) = (self.clock.now(), changes.len());
        changes.retain(|change| stamp::check(&change.stamp, now).is_ok());
        let ahead = told - changes.len();
        if ahead > 0 {
            tracing::warn!(%server, ahead, "writes are not taken over from a server yet: a server's clock is wrong");
        }
        let mut missing: Vec<Number> = self.own.read(move |store, _| store.missing(&changes)).await?;
        while !missing.is_empty() {
            let numbers = missing.clone();
            let question = match pass.value_octets_max {
                None => Question::Versions { store, numbers },
                Some(value_octets_max) => Question::VersionsUpTo { store, numbers, value_octets_max },
            };
            let (answer, _taken) = match (self.reach.ask(server, &question).await, &pass.why) {
                // Its version cannot leave out what has no room here.
                (Err(Unanswered::Refused(Refusal::NotUnderstood)), Some(why)) => {
                    return Err(NotPulled::Lacked { why: why.clone(), of_values: true });
                }
                (asked, _) => asked?,
            };
            let Answer::Versions(versions, done) = answer else { return Err(NotPulled::Misunderstood) };
            if done == 0 || done > missing.len() {
                return Err(NotPulled::Misunderstood);
            }
            let done_now = self.own.commit(Job::Merge(versions)).await?;
            self.metrics.merged.inc_by(done_now.taken as u64);
            if let Some(lacked) = done_now.lacked {
                pass.lacked(lacked);
            }
            missing.drain(..done);
            *came += 1;
        }
        Ok(ahead == 0 && pass.why.is_none())
    }

    /// Takes over anew from all: what was taken over before is not there any more.
    pub(crate) fn pull_anew(&self) {
        lock(&self.replication.in_step).clear();
        self.replication.lacks.clear();
        self.others().for_each(|server| self.replication.nudged(server));
    }

    fn others(&self) -> impl Iterator<Item = &NodeName> {
        self.servers.all().iter().map(|server| &server.name).filter(|name| **name != self.me)
    }

    /// Keeps this server and the others in step, until `stop`.
    pub(crate) async fn replicate_until(self: Arc<Self>, stop: CancellationToken) {
        let Some(waiting) = lock(&self.replication.waiting).take() else { return };
        // Without a store there is nothing to keep in step: others represent this server.
        if self.servers.all().len() < 2 || self.own.fault().is_some() {
            return;
        }
        tokio::select! {
            () = self.pull_for_ever(waiting) => {}
            () = self.nudge_for_ever() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn pull_for_ever(&self, mut waiting: mpsc::Receiver<NodeName>) {
        self.pull_from(self.others().cloned().collect(), FIRST_PULLS).await;
        let [mut ticks, mut unsettled] = [PULL_EVERY, UNSETTLED_PULL_EVERY].map(interval);
        for ticks in [&mut ticks, &mut unsettled] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.reset();
        }
        loop {
            tokio::select! {
                _ = ticks.tick() => self.pull_from(self.others().cloned().collect(), 1).await,
                _ = unsettled.tick(), if !self.replication.is_ready() => {
                    let servers = lock(&self.replication.unsettled).clone();
                    self.pull_from(servers, 1).await;
                }
                Some(server) = waiting.recv() => self.try_pull(&server, 1).await,
            }
        }
    }

    async fn pull_from(&self, servers: HashSet<NodeName>, tries: usize) {
        stream::iter(&servers)
            .for_each_concurrent(PULLS_AT_ONCE, |server| self.try_pull(server, tries))
            .await;
    }

    async fn try_pull(&self, server: &NodeName, tries: usize) {
        let mut left = tries;
        while left > 0 {
            let (begun, mut came) = (Instant::now(), 0);
            let Err(error) = self.pull(server, &mut came).await else {
                return self.replication.settle(server);
            };
            let (is_final, is_lack) = (error.is_final(), matches!(error, NotPulled::Lacked { .. }));
            match KvError::from(error) {
                error @ (KvError::Unreachable(_) | KvError::Busy) => {
                    tracing::debug!(%server, %error, "nothing is taken over from a server now");
                }
                error => tracing::warn!(%server, %error, "what a server has cannot be taken over"),
            }
            left = match came {
                // All was looked at, or all that can be, whatever came.
                _ if is_lack => 0,
                0 if begun.elapsed() >= FIRST_PULL_REST => 0,
                0 => left - 1,
                _ => tries,
            };
            match left {
                // Who is there, and refuses, may have what was written or deleted meanwhile: until it has told, or is away, others
                // are asked instead of this server.
                0 if is_final => self.replication.settle(server),
                0 => {}
                _ => sleep(FIRST_PULL_REST).await,
            }
        }
    }

    async fn nudge_for_ever(&self) {
        let mut ticks = interval(NUDGE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let behind: Vec<NodeName> = lock(&self.replication.behind).keys().cloned().collect();
            for server in behind {
                self.reach.ask(&server, &Question::Nudge).await.ok();
            }
        }
    }
}

impl From<NotPulled> for KvError {
    fn from(error: NotPulled) -> Self {
        match error {
            NotPulled::Unanswered(unanswered) => unanswered.into(),
            NotPulled::Misunderstood => Unanswered::Refused(Refusal::NotUnderstood).into(),
            NotPulled::Own(error) | NotPulled::Lacked { why: error, .. } => error.into(),
        }
    }
}

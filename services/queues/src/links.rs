//! How this server and the others stand: who is there, and what each of them has done after this one.
//!
//! ```text
//!   a job ─▶ store, and its outbox for the other replica ─▶ Replicate, in the order of the outbox ─▶ the other replica's store
//!     └ waits for its number ◀── done; or the other one is away, and does it when it is back ◀───────────┘
//! ```
//!
//! One message at a time is under way to each server, so that it does what this one has done in the same order: nothing that is
//! deleted comes back.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use proxima_model::{NodeName, QueueId};
use proxima_pipeline::QueueError;
use proxima_store::StoreId;
use tokio::{
    sync::{Notify, Semaphore, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    home::Home,
    reach::Unanswered,
    store::Job,
    wire::{Answer, Numbered, Operation, Question, Refusal},
};

/// How often each of the others is asked whether it is there.
const HELLO_EVERY: Duration = Duration::from_secs(2);
/// How often a server must not have answered before this one is ready without it.
const HELLOS_MISSED: u32 = 3;
/// For how long a queue's home must have been away before the other replica delivers.
const TAKEN_OVER_AFTER: Duration = Duration::from_secs(5);
/// How long one waits before a server is told again that was away, or has too much to do.
const TELL_REST: Duration = Duration::from_millis(500);
/// Numbers that were told before it is noted in the store that they need not be told again: it costs an fsync, and what is told
/// twice is done once.
const NOTED_EVERY: u64 = 256;
/// What a server asks as a replica at once: whether this one is there and that it do something, by two processes while one takes over
/// from the other, and the same of such that it has given up.
const ANSWERS_MAX: usize = 8;
/// Ranges of numbers that a server had no room for that are kept for those who ask a moment later: with each a round trip has passed.
const LACKED_MAX: usize = 16;
/// How long the other replica is waited for. A server that is away is found to be so earlier.
const DONE_WITHIN: Duration = Duration::from_secs(10);

/// What became of what the other replica was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Done,
    /// It had no room for all of the messages.
    LackedRoom,
    /// It is away.
    Away,
}

/// Another server.
pub(crate) struct Link {
    pub(crate) server: NodeName,
    /// Places for what it asks as a replica, which nobody else can take: it never waits for what clients ask.
    pub(crate) answers: Semaphore,
    wake: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Up to which number it has done what it was told.
    done: u64,
    /// The numbers, from one to another, that it was told last of those that it had no room for.
    lacked: VecDeque<RangeInclusive<u64>>,
    waiting: BTreeMap<u64, Vec<oneshot::Sender<Told>>>,
    /// Since when, and how often, it was found to be away.
    missed: Option<(Instant, u32)>,
    /// Which store it has, and the last number that this had for this server when it was met first: what comes while this one catches
    /// up keeps nothing waiting.
    met: Option<(StoreId, u64)>,
    /// Whether all that has been taken.
    is_settled: bool,
}

impl Link {
    fn new(server: NodeName) -> Self {
        Self { server, answers: Semaphore::new(ANSWERS_MAX), wake: Notify::new(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was found to be away, the last time.
    pub(crate) fn is_away(&self) -> bool {
        self.state().missed.is_some()
    }

    /// Whether it has been away for so long that another one takes its place.
    pub(crate) fn is_gone(&self) -> bool {
        self.state()
            .missed
            .is_some_and(|(since, times)| times >= HELLOS_MISSED && since.elapsed() >= TAKEN_OVER_AFTER)
    }

    /// Waits until it has done what it is told under a number.
    async fn done(&self, number: u64) -> Result<Told, QueueError> {
        let waiting = {
            let mut state = self.state();
            if state.done >= number {
                let lacked = state.lacked.iter().any(|range| range.contains(&number));
                return Ok(if lacked { Told::LackedRoom } else { Told::Done });
            }
            if state.missed.is_some() {
                self.wake.notify_one();
                return Ok(Told::Away);
            }
            let (told, waiting) = oneshot::channel();
            state.waiting.entry(number).or_default().push(told);
            waiting
        };
        self.wake.notify_one();
        match timeout(DONE_WITHIN, waiting).await {
            Ok(told) => Ok(told.unwrap_or(Told::Away)),
            // It is there, and has too much to do. It may do this yet.
            Err(_) => Err(QueueError::Busy),
        }
    }

    fn has_done(&self, up_to: u64, lacked_room: bool) {
        let mut state = self.state();
        if lacked_room {
            let range = state.done + 1..=up_to;
            state.lacked.push_back(range);
            if state.lacked.len() > LACKED_MAX {
                state.lacked.pop_front();
            }
        }
        state.done = state.done.max(up_to);
        let later = state.waiting.split_off(&(up_to + 1));
        let done = std::mem::replace(&mut state.waiting, later);
        drop(state);
        tell_waiting(done, if lacked_room { Told::LackedRoom } else { Told::Done });
    }

    fn is_there(&self) {
        self.state().missed = None;
    }

    /// It has no room even for what it is told: nothing is acknowledged that it would have to keep.
    fn is_full(&self) {
        let waiting = std::mem::take(&mut self.state().waiting);
        tell_waiting(waiting, Told::LackedRoom);
    }

    fn missed(&self) {
        let mut state = self.state();
        let (since, times) = state.missed.unwrap_or((Instant::now(), 0));
        if times == 0 {
            tracing::warn!(server = %self.server, "a server that has queues does not answer");
        }
        state.missed = Some((since, times.saturating_add(1)));
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        tell_waiting(waiting, Told::Away);
    }
}

/// Tells those who wait what became of it. Who does not wait any more has given up.
fn tell_waiting(waiting: BTreeMap<u64, Vec<oneshot::Sender<Told>>>, told: Told) {
    for waiting in waiting.into_values().flatten() {
        waiting.send(told).ok();
    }
}

/// The links to all others.
pub(crate) struct Links(HashMap<NodeName, Arc<Link>>);

impl Links {
    pub(crate) fn new(others: impl Iterator<Item = NodeName>) -> Self {
        Self(others.map(|name| (name.clone(), Arc::new(Link::new(name)))).collect())
    }

    pub(crate) fn get(&self, server: &NodeName) -> Option<&Arc<Link>> {
        self.0.get(server)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.0.values()
    }

    /// Whether all was taken that the others had for this server when it came, as far as they are there: what it did not see they
    /// have done meanwhile.
    pub(crate) fn are_settled(&self) -> bool {
        self.all().all(|link| {
            let state = link.state();
            state.is_settled || state.missed.is_some_and(|(_, times)| times >= HELLOS_MISSED)
        })
    }
}

impl Home {
    /// Waits until the other replica has done what it is told under this number, if it is told of it.
    pub(crate) async fn told(
        &self,
        other: Option<&NodeName>,
        number: Option<u64>,
    ) -> Result<Told, QueueError> {
        let link = other.and_then(|other| self.links.get(other));
        match (link, number) {
            (Some(link), Some(number)) => link.done(number).await,
            _ => Ok(Told::Done),
        }
    }

    /// Has the other replica told, without waiting for it.
    pub(crate) fn tell(&self, other: Option<&NodeName>) {
        if let Some(link) = other.and_then(|other| self.links.get(other)) {
            link.wake.notify_one();
        }
    }

    /// Keeps all links, until `stop`.
    pub(crate) async fn link_until(self: Arc<Self>, stop: CancellationToken) {
        // Without a store there is nothing to tell, and others represent this server.
        if self.own.store().is_err() {
            return;
        }
        let keep = |link: &Arc<Link>| {
            let (home, link) = (Arc::clone(&self), Arc::clone(link));
            async move {
                tokio::join!(home.tell_for_ever(&link), home.greet_for_ever(&link));
            }
        };
        tokio::select! {
            _ = join_all(self.links.all().map(keep)) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Tells a server what it is to do, in order.
    async fn tell_for_ever(&self, link: &Link) {
        let (mut told, mut noted) = (0, 0);
        loop {
            let server = link.server.clone();
            match self.own.read(move |store, _| store.to_tell(&server, told)).await {
                Ok(Some((operations, up_to))) => {
                    if self.tell_once(link, operations, up_to).await {
                        told = up_to;
                    } else {
                        sleep(TELL_REST).await;
                    }
                    if told - noted < NOTED_EVERY {
                        continue;
                    }
                }
                Ok(None) => {
                    if told == noted {
                        link.wake.notified().await;
                        continue;
                    }
                }
                Err(error) => {
                    tracing::warn!(server = %link.server, %error, "what a server is to be told cannot be read");
                    sleep(HELLO_EVERY).await;
                    continue;
                }
            }
            let job = Job::Confirmed { server: link.server.clone(), up_to: told };
            if let Err(error) = self.write(job).await {
                tracing::warn!(%error, "it cannot be noted what a server was told");
            }
            noted = told;
        }
    }

    /// Whether it was told.
    async fn tell_once(&self, link: &Link, operations: Vec<Numbered>, up_to: u64) -> bool {
        if operations.is_empty() {
            link.has_done(up_to, false);
            return true;
        }
        let Ok(store) = self.own.store().map(|store| store.id()) else { return false };
        let put = |numbered: &Numbered| match &numbered.operation {
            Operation::Put(queue, _) => Some(QueueId::from_bytes(*queue)),
            _ => None,
        };
        let queues: HashSet<QueueId> = operations.iter().filter_map(put).collect();
        match self.reach.ask(&link.server, &Question::Replicate { store, operations }).await {
            Ok(Answer::Replicated { lacked_room }) => {
                link.is_there();
                // Told anew later: it may have room then.
                let untaken = Job::Untaken { server: link.server.clone(), queues };
                if lacked_room && let Err(error) = self.write(untaken).await {
                    tracing::warn!(%error, "it cannot be noted that a server has no room");
                    return false;
                }
                link.has_done(up_to, lacked_room);
                true
            }
            Err(Unanswered::Refused(Refusal::Busy)) => false,
            Err(Unanswered::Refused(Refusal::Full(_))) => {
                link.is_full();
                false
            }
            Ok(_) | Err(_) => {
                link.missed();
                false
            }
        }
    }

    /// Notes which store a server has, if that is not known, and whether all was taken that it had for this one when it was met first.
    pub(crate) async fn note_met(&self, link: &Link, store: StoreId, last: u64) {
        let awaited = {
            let state = link.state();
            match state.met.filter(|(met, _)| *met == store) {
                Some(_) if state.is_settled => return,
                Some((_, first)) => first,
                None => last,
            }
        };
        let server = link.server.clone();
        let taken = self.own.read(move |own, _| own.taken(&server, store)).await.ok().flatten();
        if taken.is_none()
            && let Err(error) = self.write(Job::Met { server: link.server.clone(), store }).await
        {
            tracing::warn!(server = %link.server, %error, "it cannot be noted which store a server has");
            return;
        }
        let mut state = link.state();
        state.met = Some((store, awaited));
        state.is_settled |= taken.unwrap_or_default() >= awaited;
    }

    /// Asks a server whether it is there, and whether it has something that was missed here.
    async fn greet_for_ever(&self, link: &Link) {
        let mut ticks = interval(HELLO_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let was_away = link.is_away();
            match self.reach.ask(&link.server, &Question::Hello).await {
                Ok(Answer::Hello { store, last }) => {
                    link.is_there();
                    if was_away {
                        link.wake.notify_one();
                    }
                    self.note_met(link, store, last).await;
                }
                Err(Unanswered::Refused(Refusal::Busy)) => {}
                Ok(_) | Err(_) => link.missed(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link::new(NodeName::parse("ams1").expect("a name"))
    }

    #[tokio::test]
    async fn who_asks_late_hears_that_there_was_no_room_though_others_lacked_it_since() {
        let link = link();
        for (up_to, lacked_room) in [(2, false), (5, true), (9, true), (10, false)] {
            link.has_done(up_to, lacked_room);
        }
        for (number, told) in [
            (2, Told::Done),
            (3, Told::LackedRoom),
            (5, Told::LackedRoom),
            (6, Told::LackedRoom),
            (9, Told::LackedRoom),
            (10, Told::Done),
        ] {
            assert_eq!(link.done(number).await, Ok(told), "{number}");
        }
    }

    #[tokio::test]
    async fn who_waits_hears_of_a_server_that_is_there_and_has_no_room_even_to_note_it() {
        let link = link();
        let (told, ()) = tokio::join!(link.done(1), async {
            tokio::task::yield_now().await;
            link.is_full();
        });
        assert_eq!(told, Ok(Told::LackedRoom));
    }
}

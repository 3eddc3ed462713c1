//! Compilations under way: each zone is compiled once, however many ask for it at the same time.
//!
//! ```text
//!  the first who asks ─▶ lead ─▶ snapshot ─▶ T::compile ─▶ land ─▶ cache, and those who wait
//!  the others         ─▶ wait ────────────────────────────────────┘
//!  a change's commit  ─▶ overtake: of a flight that began before it, what lands is what the change made
//!                     ─▶ leave behind: what the change made is not there yet, and follows
//! ```
//!
//! Invariant: what lands is at least as new as each change that was committed since the flight began, but for those that left
//! the zone behind: the former state is served until what lands is as new as they are, and until then they do not count as
//! served ([`Flights::unserved`]). So a zone that changes more often than it can be compiled is served nevertheless, and
//! each compilation brings it forward.
//!
//! A flight whose compilation ends with a fault of its own lets those go on who wait: one of them compiles.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
};

use proxima_model::ZoneId;
use tokio::sync::{Notify, watch};

use crate::{ReadError, Seq, ahead::Unserved};

/// A compiled zone, which one it is, and which state it was made of, at least.
pub(crate) struct Kept<T> {
    pub(crate) compiled: Arc<T>,
    pub(crate) zone: ZoneId,
    pub(crate) seq: Seq,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { compiled: Arc::clone(&self.compiled), ..*self }
    }
}

/// What a compilation came to: no zone, if there is none of that name any more.
pub(crate) type Outcome<T> = Result<Option<Arc<T>>, ReadError>;

/// Those under way, by the name of the zone, and the zones that were left behind.
pub(crate) struct Flights<T> {
    under_way: Mutex<UnderWay<T>>,
    unserved: watch::Sender<Option<Seq>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        let under_way = UnderWay { flights: HashMap::new(), behind: HashMap::new() };
        Self { under_way: Mutex::new(under_way), unserved: watch::Sender::new(None) }
    }
}

/// What [`Flights`] holds.
pub(crate) struct UnderWay<T> {
    flights: HashMap<Box<str>, Arc<Flight<T>>>,
    behind: HashMap<Box<str>, Behind>,
}

/// What is not served yet of a zone's changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Behind {
    /// The zone that changed.
    zone: ZoneId,
    /// No change that is not served is earlier.
    first: Seq,
    /// And none is later.
    last: Seq,
}

/// One of them.
pub(crate) struct Flight<T> {
    state: Mutex<State<T>>,
    landed: Condvar,
    /// The same, for those who wait without a thread.
    landed_for_tasks: Notify,
    /// Whether it takes so long that who has others to answer waits without a thread, once that is known.
    pub(crate) is_large: OnceLock<bool>,
}

struct State<T> {
    /// What a change made of the zone meanwhile.
    newer: Option<Kept<T>>,
    /// Of which state it has to be made at least.
    at_least: Seq,
    /// What it came to; an inner `None` if it ended with a fault.
    outcome: Option<Option<Outcome<T>>>,
}

/// Who asks for a zone that is not there.
pub(crate) enum Role<T> {
    /// The first: it compiles.
    Leads(Arc<Flight<T>>),
    /// Another one compiles.
    Waits(Arc<Flight<T>>),
}

impl<T> Flights<T> {
    /// Takes part in the compilation of the zone of this name.
    pub(crate) fn join(&self, name: &str) -> Role<T> {
        let mut under_way = self.lock();
        if let Some(flight) = under_way.flights.get(name) {
            return Role::Waits(Arc::clone(flight));
        }
        // What is kept of a zone that was left behind is not what is sought.
        let at_least = under_way.behind.get(name).map_or(Seq::ZERO, |behind| behind.first);
        let state = State { newer: None, at_least, outcome: None };
        let flight = Arc::new(Flight {
            state: Mutex::new(state),
            landed: Condvar::new(),
            landed_for_tasks: Notify::new(),
            is_large: OnceLock::new(),
        });
        under_way.flights.insert(name.into(), Arc::clone(&flight));
        Role::Leads(flight)
    }

    /// Whether the zone of this name is being compiled.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.lock().flights.contains_key(name)
    }

    /// The zone of this name, if it was left behind.
    pub(crate) fn behind(&self, name: &str) -> Option<ZoneId> {
        self.lock().behind.get(name).map(|behind| behind.zone)
    }

    /// Holds all up: none begins, and none lands.
    pub(crate) fn lock(&self) -> MutexGuard<'_, UnderWay<T>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells from which change on something is not served yet.
    pub(crate) fn tell_unserved(&self, under_way: &UnderWay<T>) {
        let first = under_way.behind.values().map(|behind| behind.first).min();
        self.unserved.send_if_modified(|told| std::mem::replace(told, first) != first);
    }

    /// From which change on something is not served yet.
    pub(crate) fn unserved(&self) -> Unserved {
        self.unserved.subscribe()
    }
}

impl<T> UnderWay<T> {
    /// The flight of the zone of this name.
    pub(crate) fn flight(&self, name: &str) -> Option<&Flight<T>> {
        self.flights.get(name).map(|flight| &**flight)
    }

    /// All of them.
    pub(crate) fn flights(&self) -> impl Iterator<Item = &Flight<T>> {
        self.flights.values().map(|flight| &**flight)
    }

    /// The zone of this name goes on as it was before these changes, which follow; whether it was not behind before.
    pub(crate) fn leave_behind(&mut self, name: &str, zone: ZoneId, (from, to): (Seq, Seq)) -> bool {
        let first = from.next();
        match self.behind.get_mut(name) {
            Some(behind) => {
                *behind = Behind { zone, first: behind.first.min(first), last: behind.last.max(to) };
                false
            }
            None => self.behind.insert(name.into(), Behind { zone, first, last: to }).is_none(),
        }
    }

    /// Whether this is of another zone than the one that has the name since a change which is not served yet.
    pub(crate) fn is_of_another(&self, name: &str, kept: &Kept<T>) -> bool {
        self.behind.get(name).is_some_and(|behind| behind.zone != kept.zone && kept.seq < behind.last)
    }

    /// From now on the zone of this name is served as of this state; whether it is still behind.
    pub(crate) fn serves(&mut self, name: &str, seq: Seq) -> bool {
        let Some(behind) = self.behind.get_mut(name) else { return false };
        if seq >= behind.last {
            self.behind.remove(name);
            return false;
        }
        behind.first = behind.first.max(seq.next());
        true
    }

    /// Whether the zone of this name was left behind.
    pub(crate) fn is_behind(&self, name: &str) -> bool {
        self.behind.contains_key(name)
    }

    /// Nothing former is served of the zone of this name.
    pub(crate) fn serves_nothing(&mut self, name: &str) {
        self.behind.remove(name);
    }

    /// The same of all zones.
    pub(crate) fn serves_nothing_at_all(&mut self) {
        self.behind.clear();
    }
}

impl<T> Flight<T> {
    /// What it came to; `None` if it ended with a fault.
    pub(crate) fn wait(&self) -> Option<Outcome<T>> {
        let mut state = self.state();
        loop {
            if let Some(outcome) = &state.outcome {
                return outcome.clone();
            }
            state = self.landed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// As [`Self::wait`], for a task.
    pub(crate) async fn wait_in_task(&self) -> Option<Outcome<T>> {
        let mut landed = pin!(self.landed_for_tasks.notified());
        // From here on no landing is missed.
        landed.as_mut().enable();
        let known = self.state().outcome.clone();
        if let Some(outcome) = known {
            return outcome;
        }
        landed.await;
        self.state().outcome.clone().flatten()
    }

    /// A change is committed: what lands is made of this state at least, and may be what the change made.
    pub(crate) fn overtake(&self, at_least: Seq, newer: Option<&Kept<T>>) {
        let mut state = self.state();
        state.at_least = state.at_least.max(at_least);
        if let Some(newer) = newer
            && state.newer.as_ref().is_none_or(|known| known.seq < newer.seq)
        {
            state.newer = Some(newer.clone());
        }
    }

    /// The newest of what was made of the state `seq`, if the zone was there, and what changes made meanwhile; `None` if
    /// neither is new enough, and it has to be compiled once more.
    pub(crate) fn newest(&self, seq: Seq, compiled: Option<Kept<T>>) -> Option<(Seq, Option<Kept<T>>)> {
        let state = self.state();
        if let Some(newer) =
            state.newer.as_ref().filter(|newer| newer.seq > seq && newer.seq >= state.at_least)
        {
            return Some((newer.seq, Some(newer.clone())));
        }
        (seq >= state.at_least).then_some((seq, compiled))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn land(&self, outcome: Option<Outcome<T>>) {
        self.state().outcome.get_or_insert(outcome);
        self.landed.notify_all();
        self.landed_for_tasks.notify_waiters();
    }
}

/// Whoever compiles holds this: at its end, however it comes, the flight is over.
pub(crate) struct Leading<'f, T> {
    flights: &'f Flights<T>,
    flight: Option<Arc<Flight<T>>>,
    name: &'f str,
}

impl<'f, T> Leading<'f, T> {
    pub(crate) const fn new(flights: &'f Flights<T>, flight: Arc<Flight<T>>, name: &'f str) -> Self {
        Self { flights, flight: Some(flight), name }
    }

    /// What it leads.
    pub(crate) fn flight(&self) -> &Flight<T> {
        self.flight.as_ref().expect("it is there until it lands or another one leads")
    }

    /// The zone's name.
    pub(crate) const fn name(&self) -> &'f str {
        self.name
    }

    /// It came to this. The lock shows that no change is committed between looking and landing.
    pub(crate) fn land(mut self, under_way: &mut UnderWay<T>, outcome: Outcome<T>) {
        under_way.flights.remove(self.name);
        if let Some(flight) = self.flight.take() {
            flight.land(Some(outcome));
        }
    }

    /// Another one leads from now on.
    pub(crate) fn hand_over(mut self) -> HandedOver<T> {
        HandedOver(self.flight.take())
    }
}

impl<T> Drop for Leading<'_, T> {
    fn drop(&mut self) {
        if let Some(flight) = self.flight.take() {
            self.flights.lock().flights.remove(self.name);
            flight.land(None);
        }
    }
}

/// A flight that waits for who leads it. If nobody comes, those who wait for it go on.
pub(crate) struct HandedOver<T>(Option<Arc<Flight<T>>>);

impl<T> HandedOver<T> {
    /// Leads it.
    pub(crate) fn lead<'f>(mut self, flights: &'f Flights<T>, name: &'f str) -> Option<Leading<'f, T>> {
        self.0.take().map(|flight| Leading::new(flights, flight, name))
    }
}

impl<T> Drop for HandedOver<T> {
    fn drop(&mut self) {
        if let Some(flight) = self.0.take() {
            flight.land(None);
        }
    }
}

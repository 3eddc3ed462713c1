//! Compilations under way: each zone is compiled once, however many ask for it at the same time.
//!
//! ```text
//!  the first who asks ─▶ lead ─▶ snapshot ─▶ T::compile ─▶ land ─▶ cache, and those who wait
//!  the others         ─▶ wait ────────────────────────────────────┘
//!  a change's commit  ─▶ overtake: of a flight that began before it, what lands is what the change made
//! ```
//!
//! Who has others to answer meanwhile has a large zone compiled by a thread that does nothing else ([`Aside`]), and waits
//! without holding its own up. That thread compiles one zone at a time: a server that has just started goes on answering from
//! the zones that are there.
//!
//! Invariant: what lands is at least as new as each change that was committed since the flight began. A flight whose
//! compilation ends with a fault lets those go on who wait: one of them compiles.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
};

use tokio::sync::Notify;

use crate::{ReadError, Seq};

/// A compiled zone, and which state it was made of, at least.
pub(crate) struct Kept<T> {
    pub(crate) compiled: Arc<T>,
    pub(crate) seq: Seq,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { compiled: Arc::clone(&self.compiled), seq: self.seq }
    }
}

/// What a compilation came to: no zone, if there is none of that name any more.
pub(crate) type Outcome<T> = Result<Option<Arc<T>>, ReadError>;

/// Those under way, by the name of the zone.
pub(crate) struct Flights<T> {
    under_way: Mutex<HashMap<Box<str>, Arc<Flight<T>>>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { under_way: Mutex::default() }
    }
}

/// One of them.
pub(crate) struct Flight<T> {
    state: Mutex<State<T>>,
    landed: Condvar,
    /// The same, for those who wait without a thread.
    landed_for_tasks: Notify,
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

/// Those under way, of which none begins and none lands meanwhile.
pub(crate) type UnderWay<'f, T> = MutexGuard<'f, HashMap<Box<str>, Arc<Flight<T>>>>;

impl<T> Flights<T> {
    /// Takes part in the compilation of the zone of this name.
    pub(crate) fn join(&self, name: &str) -> Role<T> {
        let mut under_way = self.lock();
        if let Some(flight) = under_way.get(name) {
            return Role::Waits(Arc::clone(flight));
        }
        let state = State { newer: None, at_least: Seq::ZERO, outcome: None };
        let flight = Arc::new(Flight {
            state: Mutex::new(state),
            landed: Condvar::new(),
            landed_for_tasks: Notify::new(),
        });
        under_way.insert(name.into(), Arc::clone(&flight));
        Role::Leads(flight)
    }

    /// Whether the zone of this name is being compiled.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    /// Holds all up.
    pub(crate) fn lock(&self) -> UnderWay<'_, T> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// As [`Self::wait`], for a task, which then looks for itself what is there.
    pub(crate) async fn wait_in_task(&self) {
        let mut landed = pin!(self.landed_for_tasks.notified());
        // From here on no landing is missed.
        landed.as_mut().enable();
        let has_landed = self.state().outcome.is_some();
        if !has_landed {
            landed.await;
        }
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
    pub(crate) fn newest(&self, seq: Seq, compiled: Option<Kept<T>>) -> Option<Option<Kept<T>>> {
        let state = self.state();
        if let Some(newer) =
            state.newer.as_ref().filter(|newer| newer.seq > seq && newer.seq >= state.at_least)
        {
            return Some(Some(newer.clone()));
        }
        (seq >= state.at_least).then_some(compiled)
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

/// Whoever compiles holds this: at its end, also by a panic, the flight is over.
pub(crate) struct Leading<'f, T> {
    pub(crate) flights: &'f Flights<T>,
    pub(crate) flight: &'f Flight<T>,
    pub(crate) name: &'f str,
}

impl<T> Leading<'_, T> {
    /// It came to this. The lock shows that no change is committed between looking and landing.
    pub(crate) fn land(&self, under_way: &mut UnderWay<'_, T>, outcome: Outcome<T>) {
        under_way.remove(self.name);
        self.flight.land(Some(outcome));
    }
}

impl<T> Drop for Leading<'_, T> {
    fn drop(&mut self) {
        let has_landed = self.flight.state().outcome.is_some();
        if !has_landed {
            self.flights.lock().remove(self.name);
            self.flight.land(None);
        }
    }
}

/// A thread that compiles large zones, one behind the other. It begins with the first, and ends with this.
pub(crate) struct Aside(OnceLock<Option<mpsc::Sender<Task>>>);

type Task = Box<dyn FnOnce() + Send>;

impl Aside {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Has it done there; gives it back if there can be no thread. There are as many at most as zones that are under way.
    pub(crate) fn run(&self, task: impl FnOnce() + Send + 'static) -> Result<(), Task> {
        let begin = || {
            let (sender, tasks) = mpsc::channel::<Task>();
            let work = move || {
                for task in tasks {
                    // Whoever waits for it is told of a fault by the flight, and compiles for itself.
                    catch_unwind(AssertUnwindSafe(task)).ok();
                }
            };
            let thread = std::thread::Builder::new().name("large zones".to_owned()).spawn(work);
            thread.is_ok().then_some(sender)
        };
        match self.0.get_or_init(begin) {
            Some(sender) => sender.send(Box::new(task)).map_err(|mpsc::SendError(task)| task),
            None => Err(Box::new(task)),
        }
    }
}

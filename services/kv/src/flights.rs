//! One question for all who ask for a key at the same time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

use crate::cache::Name;

type Flight<T> = Shared<BoxFuture<'static, T>>;

/// Questions under way. Whoever of those who wait goes, the others take it on; when all have gone it ends.
pub(crate) struct Flights<T: Clone + Send + 'static>(Arc<Mutex<List<T>>>);

struct List<T: Clone + Send + 'static> {
    under_way: HashMap<Name, (u64, WeakShared<BoxFuture<'static, T>>)>,
    last: u64,
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(List { under_way: HashMap::new(), last: 0 })))
    }

    /// What `ask` comes to, or what another one comes to that is under way.
    pub(crate) fn join(&self, name: &Name, ask: impl FnOnce() -> BoxFuture<'static, T>) -> Flight<T> {
        let mut list = lock(&self.0);
        if let Some(flight) = list.under_way.get(name).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        list.last += 1;
        let landing = Landing { list: Arc::clone(&self.0), name: name.clone(), number: list.last };
        let asked = ask();
        let flight = async move {
            let _landing = landing;
            asked.await
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            let number = list.last;
            list.under_way.insert(name.clone(), (number, weak));
        }
        flight
    }
}

impl<T: Clone + Send + 'static> Flights<T> {
    /// Who asks for a key from now on does not join who has asked before.
    pub(crate) fn leave(&self, name: &Name) {
        lock(&self.0).under_way.remove(name);
    }
}

fn lock<T: Clone + Send + 'static>(list: &Mutex<List<T>>) -> MutexGuard<'_, List<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a question off the list when it has ended, in whichever way.
struct Landing<T: Clone + Send + 'static> {
    list: Arc<Mutex<List<T>>>,
    name: Name,
    number: u64,
}

impl<T: Clone + Send + 'static> Drop for Landing<T> {
    fn drop(&mut self) {
        let mut list = lock(&self.list);
        // Another one may have taken its place, if nobody waits for this one any more.
        if list.under_way.get(&self.name).is_some_and(|(number, _)| *number == self.number) {
            list.under_way.remove(&self.name);
        }
    }
}
